//! How the table is written down: JSON, one model a line, money in picodollars a token, defaults left out.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::date::Date;
use super::model::{Family, Kind, LongPrompt, Model, Price, Thinking};
use super::{Catalog, Entry, estimate, quota};
use crate::domain::Usd;

#[derive(Deserialize)]
struct Table {
    models: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    base: Option<String>,
    family: Family,
    #[serde(default)]
    kind: Kind,
    window: u64,
    #[serde(default)]
    output: u32,
    price: Option<Vec<Option<u64>>>,
    long: Option<Vec<Option<u64>>>,
    #[serde(default)]
    regions: BTreeMap<String, Vec<Option<u64>>>,
    #[serde(default = "yes")]
    sampling: bool,
    #[serde(default = "yes")]
    system: bool,
    #[serde(default)]
    counts: bool,
    #[serde(default = "yes")]
    on_demand: bool,
    #[serde(default)]
    thinking: Thinking,
    #[serde(default = "one")]
    burndown: u32,
    end_of_life: Option<Date>,
    successor: Option<String>,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

pub(super) fn read(json: &str) -> Result<Catalog, serde_json::Error> {
    let table: Table = serde_json::from_str(json)?;
    let models = table.models.into_iter().map(|row| (row.id.clone(), entry(row))).collect();
    Ok(Catalog { models })
}

fn entry(row: Row) -> Entry {
    let price = row.price.as_deref().and_then(price);
    let long_prompt = row.long.as_deref().and_then(|long| {
        let (above_tokens, rest) = long.split_first()?;
        Some(LongPrompt { above_tokens: (*above_tokens)?, price: self::price(rest)? })
    });
    let regions = row
        .regions
        .iter()
        .filter_map(|(region, figures)| Some((region.clone(), self::price(figures)?)))
        .collect();
    let base_id = row.base.unwrap_or_else(|| row.id.clone());
    let unknown = Price { input: Usd::ZERO, output: Usd::ZERO, cache_read: None, cache_write: None };
    let model = Model {
        family: row.family,
        kind: row.kind,
        window_tokens: row.window,
        max_output_tokens: row.output,
        price: price.unwrap_or(unknown),
        long_prompt,
        sampling: row.sampling,
        system_prompt: row.system,
        streaming: streams(row.family),
        counts_tokens: row.counts,
        on_demand: row.on_demand,
        thinking: row.thinking,
        burndown: row.burndown,
        end_of_life: row.end_of_life,
        successor: row.successor,
        quota: quota::default_for(&row.id, &base_id),
        estimate: estimate::for_model(row.family, &base_id),
        id: row.id,
        base_id,
    };
    Entry { model, priced: price.is_some(), regions }
}

/// Jurassic-2 has no streaming operation, and Llama 4's parameter page says that it has none either.
fn streams(family: Family) -> bool {
    !matches!(family, Family::Ai21J2 | Family::MetaLlama4)
}

/// `[input, output, cache read, cache write]`, the last two optional.
fn price(figures: &[Option<u64>]) -> Option<Price> {
    let figure = |index: usize| figures.get(index).copied().flatten().map(Usd::from_pico);
    Some(Price { input: figure(0)?, output: figure(1)?, cache_read: figure(2), cache_write: figure(3) })
}
