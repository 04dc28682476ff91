//! How the table is written down, in `models.json` and in the files of users that change it.
//!
//! One row a model, only what is not the default. A row with `base` is an inference profile: what it leaves out is as in
//! the row of its base model, but for prices, quotas and what else belongs to the id that is called. Rows are kept as
//! they were written, so that a file of the user can change a single figure of one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::date::Date;
use super::features::{CacheRule, Feature, Features, Reasoning, Sampling};
use super::model::{Family, Kind, LongPrompt, Model, Price, Thinking, TierPrices};
use super::quota::Quota;
use super::{Entry, Prices, estimate};
use crate::domain::Usd;

/// The keys of a row.
pub(super) const KEYS: &[&str] = &[
    "id",
    "base",
    "family",
    "kind",
    "window",
    "output",
    "price",
    "long",
    "flex",
    "priority",
    "batch",
    "regions",
    "only_in",
    "on_demand",
    "quota",
    "can",
    "sampling",
    "system",
    "streams",
    "counts",
    "thinking",
    "reasoning",
    "cache",
    "vector",
    "burndown",
    "start",
    "legacy",
    "end_of_life",
    "successor",
    "from",
];

/// Keys that belong to the id that is called: a profile does not have them from its base model.
pub(super) const OWN_KEYS: &[&str] =
    &["base", "price", "long", "flex", "priority", "batch", "regions", "only_in", "on_demand", "quota"];

/// A whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// For people.
    #[serde(default, rename = "read_as")]
    _read_as: serde::de::IgnoredAny,
    #[serde(default, rename = "licence")]
    _licence: serde::de::IgnoredAny,
    #[serde(default)]
    pub sources: Sources,
    /// Image models, which are not for us, and the day each of them ended.
    #[serde(default)]
    pub images: BTreeMap<String, Date>,
    #[serde(default)]
    pub models: Vec<Row>,
}

/// Where figures come from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sources {
    /// The full names of short ones.
    #[serde(default)]
    pub names: BTreeMap<String, String>,
    /// The short name of the usual source of a figure, by its key in a row.
    #[serde(default)]
    pub usual: BTreeMap<String, String>,
}

/// A model as written. Every key but `id` may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub id: String,
    pub base: Option<String>,
    pub family: Option<Family>,
    pub kind: Option<Kind>,
    pub window: Option<u64>,
    pub output: Option<u32>,
    pub price: Option<Figures>,
    /// Above so many tokens, then as `price`.
    pub long: Option<Figures>,
    pub flex: Option<Figures>,
    pub priority: Option<Figures>,
    pub batch: Option<Figures>,
    pub regions: Option<BTreeMap<String, RegionRow>>,
    pub only_in: Option<Vec<String>>,
    pub on_demand: Option<bool>,
    pub quota: Option<QuotaRow>,
    pub can: Option<Vec<Feature>>,
    pub sampling: Option<Sampling>,
    pub system: Option<bool>,
    pub streams: Option<bool>,
    pub counts: Option<bool>,
    pub thinking: Option<Thinking>,
    pub reasoning: Option<Reasoning>,
    pub cache: Option<CacheRule>,
    pub vector: Option<u32>,
    pub burndown: Option<u32>,
    pub start: Option<Date>,
    pub legacy: Option<Date>,
    pub end_of_life: Option<Date>,
    pub successor: Option<String>,
    /// Sources that are not the usual ones: a key of this row, and a short name or a text.
    #[serde(default)]
    pub from: BTreeMap<String, String>,
}

/// Where the bare id costs something else, or can be called although it can not elsewhere.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegionRow {
    pub price: Figures,
    pub flex: Option<Figures>,
    pub priority: Option<Figures>,
    pub batch: Option<Figures>,
}

/// `[requests a minute, tokens a minute, tokens a day]`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct QuotaRow(pub Figure, pub Figure, pub Figure);

/// `[input, output, cache read, cache write for 5 minutes, cache write for an hour]`, the last three optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Figures(pub Vec<Figure>);

/// A whole number, `null` or `"unknown"` (TOML has no null); or dollars for a million tokens, as in `"3.00"`, which are as
/// many picodollars a token times a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figure(pub Option<u64>);

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Figure, D::Error> {
        struct FigureVisitor;
        impl Visitor<'_> for FigureVisitor {
            type Value = Figure;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number (prices: picodollars a token), or dollars for a million tokens as in \"3.00\"")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Figure, E> {
                Ok(Figure(Some(number)))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Figure, E> {
                let number = u64::try_from(number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))?;
                Ok(Figure(Some(number)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Figure, E> {
                if text == "unknown" {
                    return Ok(Figure(None));
                }
                let dollars: Usd =
                    text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
                if !dollars.pico().is_multiple_of(1_000_000) {
                    return Err(E::custom("dollars for a million tokens have at most six decimals"));
                }
                Ok(Figure(Some(dollars.pico() / 1_000_000)))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Figure, E> {
                Ok(Figure(None))
            }
        }
        deserializer.deserialize_any(FigureVisitor)
    }
}

impl Row {
    /// Puts what `other` says over what this row says.
    pub fn overlay(&mut self, other: &Row) {
        fn put<T: Clone>(old: &mut Option<T>, new: &Option<T>) {
            if new.is_some() {
                old.clone_from(new);
            }
        }
        put(&mut self.base, &other.base);
        put(&mut self.family, &other.family);
        put(&mut self.kind, &other.kind);
        put(&mut self.window, &other.window);
        put(&mut self.output, &other.output);
        put(&mut self.price, &other.price);
        put(&mut self.long, &other.long);
        put(&mut self.flex, &other.flex);
        put(&mut self.priority, &other.priority);
        put(&mut self.batch, &other.batch);
        put(&mut self.regions, &other.regions);
        put(&mut self.only_in, &other.only_in);
        put(&mut self.on_demand, &other.on_demand);
        put(&mut self.quota, &other.quota);
        put(&mut self.can, &other.can);
        put(&mut self.sampling, &other.sampling);
        put(&mut self.system, &other.system);
        put(&mut self.streams, &other.streams);
        put(&mut self.counts, &other.counts);
        put(&mut self.thinking, &other.thinking);
        put(&mut self.reasoning, &other.reasoning);
        put(&mut self.cache, &other.cache);
        put(&mut self.vector, &other.vector);
        put(&mut self.burndown, &other.burndown);
        put(&mut self.start, &other.start);
        put(&mut self.legacy, &other.legacy);
        put(&mut self.end_of_life, &other.end_of_life);
        put(&mut self.successor, &other.successor);
        for key in other.keys() {
            // A figure that is stated anew has a source of its own.
            self.from.remove(key);
        }
        self.from.extend(other.from.iter().map(|(key, source)| (key.clone(), source.clone())));
    }

    /// The keys of figures that the row states.
    pub fn keys(&self) -> Vec<&'static str> {
        let stated = [
            ("base", self.base.is_some()),
            ("family", self.family.is_some()),
            ("kind", self.kind.is_some()),
            ("window", self.window.is_some()),
            ("output", self.output.is_some()),
            ("price", self.price.is_some()),
            ("long", self.long.is_some()),
            ("flex", self.flex.is_some()),
            ("priority", self.priority.is_some()),
            ("batch", self.batch.is_some()),
            ("regions", self.regions.is_some()),
            ("only_in", self.only_in.is_some()),
            ("on_demand", self.on_demand.is_some()),
            ("quota", self.quota.is_some()),
            ("can", self.can.is_some()),
            ("sampling", self.sampling.is_some()),
            ("system", self.system.is_some()),
            ("streams", self.streams.is_some()),
            ("counts", self.counts.is_some()),
            ("thinking", self.thinking.is_some()),
            ("reasoning", self.reasoning.is_some()),
            ("cache", self.cache.is_some()),
            ("vector", self.vector.is_some()),
            ("burndown", self.burndown.is_some()),
            ("start", self.start.is_some()),
            ("legacy", self.legacy.is_some()),
            ("end_of_life", self.end_of_life.is_some()),
            ("successor", self.successor.is_some()),
        ];
        stated.into_iter().filter(|(_, is_stated)| *is_stated).map(|(key, _)| key).collect()
    }

    /// The row of a profile with what it has from the row of its base model.
    fn completed_by(&self, base: &Row) -> Row {
        let mut row = Row {
            // As OWN_KEYS has them.
            base: None,
            price: None,
            long: None,
            flex: None,
            priority: None,
            batch: None,
            regions: None,
            only_in: None,
            on_demand: None,
            quota: None,
            ..base.clone()
        };
        row.overlay(self);
        row.id.clone_from(&self.id);
        row
    }
}

/// The entry of one row. `base` is the row of the model behind a profile. `Err`: what is missing.
pub(super) fn entry(row: &Arc<Row>, base: Option<&Row>) -> Result<Entry, &'static str> {
    let whole = base.map_or_else(|| (**row).clone(), |base| row.completed_by(base));
    let prices = prices(&whole)?;
    let features = features(&whole);
    let quota = whole.quota.map(|QuotaRow(requests, tokens, day)| Quota {
        requests_per_minute: requests.0,
        tokens_per_minute: tokens.0,
        tokens_per_day: day.0,
    });
    let family = whole.family.ok_or("family")?;
    let base_id = row.base.clone().unwrap_or_else(|| row.id.clone());
    let regions =
        whole.regions.iter().flatten().map(|(region, row)| Some((region.clone(), region_prices(row)?)));
    let model = Model {
        family,
        kind: whole.kind.unwrap_or_default(),
        window_tokens: whole.window.ok_or("window")?,
        max_output_tokens: whole.output.unwrap_or(0),
        price: prices.map_or(Price::new(Usd::ZERO, Usd::ZERO), |prices| prices.price),
        long_prompt: long(&whole)?,
        tiers: prices.map(|prices| prices.tiers).unwrap_or_default(),
        features,
        cache: whole.cache,
        sampling: features.sampling != Sampling::None,
        system_prompt: whole.system.unwrap_or(true),
        streaming: whole.streams.unwrap_or(true),
        counts_tokens: whole.counts.unwrap_or(false),
        on_demand: whole.on_demand.unwrap_or(true),
        thinking: whole.thinking.unwrap_or_default(),
        burndown: whole.burndown.unwrap_or(1),
        start: whole.start,
        legacy: whole.legacy,
        end_of_life: whole.end_of_life,
        successor: whole.successor,
        quota: quota.unwrap_or_default(),
        only_in: whole.only_in.unwrap_or_default(),
        estimate: estimate::for_model(family, &base_id),
        id: row.id.clone(),
        base_id,
    };
    let regions = regions.collect::<Option<_>>().ok_or("regions")?;
    Ok(Entry { model, priced: prices.is_some(), regions, row: Arc::clone(row) })
}

fn features(row: &Row) -> Features {
    let can = |feature| row.can.as_ref().is_some_and(|list| list.contains(&feature));
    Features {
        converse: can(Feature::Converse),
        invoke: can(Feature::Invoke),
        tools: can(Feature::Tools),
        forced_tool: can(Feature::ForcedTool),
        structured_output: can(Feature::StructuredOutput),
        vision: can(Feature::Vision),
        documents: can(Feature::Documents),
        batch: can(Feature::Batch),
        sampling: row.sampling.unwrap_or_default(),
        reasoning: row.reasoning,
        vector_dimensions: row.vector,
    }
}

fn prices(row: &Row) -> Result<Option<Prices>, &'static str> {
    let Some(figures) = &row.price else { return Ok(None) };
    let tiers = tiers(&row.flex, &row.priority, &row.batch)?;
    Ok(Some(Prices { price: price(&figures.0).ok_or("price")?, tiers }))
}

fn region_prices(row: &RegionRow) -> Option<Prices> {
    let tiers = tiers(&row.flex, &row.priority, &row.batch).ok()?;
    Some(Prices { price: price(&row.price.0)?, tiers })
}

fn tiers(
    flex: &Option<Figures>,
    priority: &Option<Figures>,
    batch: &Option<Figures>,
) -> Result<TierPrices, &'static str> {
    let read = |figures: &Option<Figures>, key| {
        figures.as_ref().map(|figures| price(&figures.0).ok_or(key)).transpose()
    };
    Ok(TierPrices {
        flex: read(flex, "flex")?,
        priority: read(priority, "priority")?,
        batch: read(batch, "batch")?,
    })
}

fn long(row: &Row) -> Result<Option<LongPrompt>, &'static str> {
    let Some(figures) = &row.long else { return Ok(None) };
    let (above_tokens, rest) = figures.0.split_first().ok_or("long")?;
    let long = LongPrompt { above_tokens: above_tokens.0.ok_or("long")?, price: price(rest).ok_or("long")? };
    Ok(Some(long))
}

fn price(figures: &[Figure]) -> Option<Price> {
    let figure = |index: usize| figures.get(index).and_then(|figure| figure.0).map(Usd::from_pico);
    (figures.len() <= 5).then_some(())?;
    Some(Price {
        input: figure(0)?,
        output: figure(1)?,
        cache_read: figure(2),
        cache_write: figure(3),
        cache_write_1h: figure(4),
    })
}
