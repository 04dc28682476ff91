//! New prices from the map that LiteLLM keeps and many people have at hand (`model_prices_and_context_window.json`).
//!
//! The map is edited by hand by many: it has had slips of a thousand, zeros for unknown, ids that the service does not know.
//! So a figure is compared with the one we have, a jump of a hundred is left out and reported, and nothing is changed in
//! place: the result is a file of rows for `apply_overrides`, which a person can read before it is used. Only prices, windows
//! and ends are taken from it for models that we know; what a model can do, its documentation says better.
//!
//! Numbers: the reader of JSON makes doubles of them, and every decimal of up to 15 digits comes back from a double as it was
//! written, so that what is parsed here as a decimal is the text of the file.

mod newcomer;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::decimal::dollars;
use super::update::{Change, Draft, Update};
use super::{Catalog, Date, Entry, Kind, Price, Prices};
use crate::domain::Usd;

/// Why a text is no price map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LitellmError {
    #[error(
        "line {line}: not JSON ({message}); take model_prices_and_context_window.json from github.com/BerriAI/litellm"
    )]
    NotJson { line: usize, message: String },
    #[error(
        "no model of Bedrock is in it; take model_prices_and_context_window.json from github.com/BerriAI/litellm"
    )]
    NoModels,
}

/// The map's names of what a price has, in our order.
const COSTS: [&str; 5] = [
    "input_cost_per_token",
    "output_cost_per_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
    "cache_creation_input_token_cost_above_1hr",
];
const NAMES: [&str; 5] = ["input", "output", "cache_read", "cache_write", "cache_write_1h"];
const TIERS: [(&str, &str); 3] = [("flex", "_flex"), ("priority", "_priority"), ("batch", "_batches")];
/// A thousand dollars for a million tokens: more than ten times the dearest model of the table.
const DEAREST: Usd = Usd::from_pico(1_000_000_000);
const JUMP: u64 = 100;
/// No window is as large.
const TOKENS_MAX: u64 = 100_000_000;

impl Catalog {
    /// What a price map of LiteLLM would change in this catalogue. `force` takes jumps by a factor of 100 too.
    pub fn update_from_litellm(&self, text: &str, today: Date, force: bool) -> Result<Update, LitellmError> {
        let map: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|error| {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default().to_owned();
            LitellmError::NotJson { line: error.line().max(1), message }
        })?;
        let ours = |value: &Value| {
            matches!(value["litellm_provider"].as_str(), Some("bedrock" | "bedrock_converse"))
                && matches!(value["mode"].as_str(), Some("chat" | "embedding"))
        };
        let offers: BTreeMap<&str, &Map<String, Value>> = map
            .iter()
            .filter(|(_, value)| ours(value))
            .filter_map(|(key, value)| Some((key.as_str(), value.as_object()?)))
            .collect();
        if offers.is_empty() {
            return Err(LitellmError::NoModels);
        }
        let source_name = format!("model_prices_and_context_window.json of LiteLLM, as read on {today}");
        let draft = Draft::new(format!("litellm {today}"), source_name);
        let mut reading = Reading { catalog: self, force, draft };
        for (key, fields) in &offers {
            match (self.models.get(*key), region_key(key)) {
                (Some(entry), _) => reading.compare(entry, fields),
                (None, Some((region, id))) => match self.models.get(id) {
                    Some(entry) => reading.compare_region(entry, region, fields),
                    None => reading.draft.update.skipped.push((*key).to_owned()),
                },
                (None, None) => reading.add(key, fields, &offers),
            }
        }
        reading.drop_orphans();
        Ok(reading.draft.finish())
    }
}

/// `bedrock/eu-west-2/ID`
fn region_key(key: &str) -> Option<(&str, &str)> {
    let (region, id) = key.strip_prefix("bedrock/")?.split_once('/')?;
    let is_region = region.split('-').count() >= 3 && region.ends_with(|c: char| c.is_ascii_digit());
    (is_region && !id.contains('/')).then_some((region, id))
}

struct Reading<'a> {
    catalog: &'a Catalog,
    /// Jumps are taken too.
    force: bool,
    draft: Draft,
}

type Fields = Map<String, Value>;

impl Reading<'_> {
    fn compare(&mut self, entry: &Entry, fields: &Fields) {
        let model = &entry.model;
        let id = &model.id;
        let is_embedding = model.kind == Kind::Embedding;
        let price = entry.priced.then_some(model.price);
        let prices = [
            ("price", "", price),
            ("flex", "_flex", model.tiers.flex),
            ("priority", "_priority", model.tiers.priority),
            ("batch", "_batches", model.tiers.batch),
        ];
        for (key, suffix, old) in prices {
            if let Some(figures) = self.price(id, key, old, fields, suffix, is_embedding) {
                self.draft.put(id, key, json!(figures));
            }
        }
        if let Some((above_tokens, suffix)) = long_prompt(fields) {
            let old = model.long_prompt.map(|long| long.price);
            let figures = self.price(id, "long", old, fields, &suffix, is_embedding);
            let old_above = model.long_prompt.map(|long| long.above_tokens);
            let moved = old_above.is_some_and(|old| old != above_tokens);
            if moved {
                self.draft.change(
                    id,
                    "long.above",
                    old_above.map(|n| n.to_string()),
                    above_tokens.to_string(),
                );
            }
            let whole = figures.or_else(|| old.filter(|_| moved).map(|price| self::figures(&price)));
            if let Some(mut figures) = whole {
                figures.insert(0, Some(above_tokens));
                self.draft.put(id, "long", json!(figures));
            }
        }
        self.limit(id, "window", model.window_tokens, fields, "max_input_tokens");
        if !is_embedding {
            self.limit(id, "output", model.max_output_tokens.into(), fields, "max_output_tokens");
        }
        self.end_of_life(entry, fields);
    }

    fn compare_region(&mut self, entry: &Entry, region: &str, fields: &Fields) {
        let model = &entry.model;
        let id = &model.id;
        let is_embedding = model.kind == Kind::Embedding;
        let here = entry.regions.get(region).copied();
        // A bare id that only works where it has a price of its own: there is nothing to compare with.
        let usual =
            (entry.priced && model.on_demand).then_some(Prices { price: model.price, tiers: model.tiers });
        let Some(old) = here.or(usual) else { return };
        let mut row = Map::new();
        let mut is_changed = false;
        let olds = [
            ("price", "", Some(old.price)),
            ("flex", "_flex", old.tiers.flex),
            ("priority", "_priority", old.tiers.priority),
            ("batch", "_batches", old.tiers.batch),
        ];
        for (key, suffix, old) in olds {
            let field = format!("regions.{region}.{key}");
            let new = self.price(id, &field, old, fields, suffix, is_embedding);
            is_changed |= new.is_some();
            if let Some(figures) = new.or_else(|| old.as_ref().map(figures)) {
                row.insert(key.to_owned(), json!(figures));
            }
        }
        if !is_changed {
            return;
        }
        // Regions are replaced as a whole, so those that stay as they are have to be named again.
        let regions = self.draft.rows.get(id).and_then(|row| row.get("regions")).cloned();
        let mut regions = regions.unwrap_or_else(|| {
            let all = entry.regions.iter().map(|(region, prices)| (region.clone(), region_row(prices)));
            Value::Object(all.collect())
        });
        regions[region] = Value::Object(row);
        self.draft.put(id, "regions", regions);
    }

    /// The figures of one price if any of them is new; those that the map does not give stay.
    fn price(
        &mut self,
        id: &str,
        field: &str,
        old: Option<Price>,
        fields: &Fields,
        suffix: &str,
        is_embedding: bool,
    ) -> Option<Vec<Option<u64>>> {
        let before = old.as_ref().map(figures).unwrap_or_default();
        let reported = self.draft.update.changed.len();
        let mut after = before.clone();
        after.resize(COSTS.len(), None);
        for (index, (cost, name)) in COSTS.iter().zip(NAMES).enumerate() {
            let key = format!("{cost}{suffix}");
            let Some(new) = self.amount(id, &key, fields) else { continue };
            let old = before.get(index).copied().flatten();
            let may_be_free = index == 1 && is_embedding;
            if new == Usd::ZERO && old.is_none_or(|old| old == 0) && !may_be_free {
                // The map writes 0 for "not known".
                continue;
            }
            let field = format!("{field}.{name}");
            if Some(new.pico()) != old && self.accepts(id, &field, old, new.pico(), per_million) {
                after[index] = Some(new.pico());
            }
        }
        if is_embedding && after[1].is_none() {
            after[1] = Some(0);
        }
        let is_price = after[0].is_some() && after[1].is_some();
        while after.last() == Some(&None) {
            after.pop();
        }
        if !is_price {
            // Half a price is none.
            self.draft.update.changed.truncate(reported);
        }
        (is_price && after != before).then_some(after)
    }

    /// An amount that the map gives, if it can be one.
    fn amount(&mut self, id: &str, key: &str, fields: &Fields) -> Option<Usd> {
        let text = match fields.get(key)? {
            Value::Null => return None,
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let reason = match dollars(&text) {
            Ok(amount) if amount <= DEAREST => return Some(amount),
            Ok(_) => "more than a thousand dollars for a million tokens".to_owned(),
            Err(error) => error.to_string(),
        };
        self.draft.refuse(id, key, reason);
        None
    }

    fn limit(&mut self, id: &str, field: &'static str, old: u64, fields: &Fields, key: &str) {
        let Some(value) = fields.get(key).filter(|value| !value.is_null()) else { return };
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            // Some rows say 200000.0.
            _ => value
                .as_u64()
                .or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64)),
        };
        match number.filter(|number| (1..=TOKENS_MAX).contains(number)) {
            None => self.draft.refuse(id, key, "not a number of tokens".to_owned()),
            Some(new) if new == old => {}
            Some(new) => {
                let known = (old > 0).then_some(old);
                if self.accepts(id, field, known, new, |n| n.to_string()) {
                    self.draft.put(id, field, json!(new));
                }
            }
        }
    }

    /// The service's own page says better when a model ends, so the map is asked only where it was the source, or where
    /// nothing is known.
    fn end_of_life(&mut self, entry: &Entry, fields: &Fields) {
        let Some(Value::String(text)) = fields.get("deprecation_date") else { return };
        let id = &entry.model.id;
        let Ok(new) = text.parse::<Date>() else {
            return self.draft.refuse(id, "deprecation_date", "not a date".to_owned());
        };
        let old = entry.model.end_of_life;
        let own = entry.row.from.get("end_of_life").is_some_and(|source| source.starts_with("litellm"));
        if old != Some(new) && (old.is_none() || own) {
            self.draft.change(id, "end_of_life", old.map(|date| date.to_string()), new.to_string());
            self.draft.put(id, "end_of_life", json!(new.to_string()));
        }
    }

    /// Reports the change, and whether it is to be made.
    fn accepts(
        &mut self,
        id: &str,
        field: &str,
        old: Option<u64>,
        new: u64,
        show: fn(u64) -> String,
    ) -> bool {
        let jumps = old.is_some_and(|old| {
            new == 0 || new >= old.saturating_mul(JUMP) || old >= new.saturating_mul(JUMP)
        });
        let change =
            Change { id: id.to_owned(), field: field.to_owned(), old: old.map(show), new: show(new) };
        if jumps && (!self.force || new == 0) {
            self.draft.update.suspicious.push(change);
            return false;
        }
        self.draft.update.changed.push(change);
        true
    }
}

impl Reading<'_> {
    /// Profiles whose base model was refused.
    fn drop_orphans(&mut self) {
        let rows = &self.draft.rows;
        let is_orphan = |row: &Fields| {
            let base = row.get("base").and_then(Value::as_str);
            base.is_some_and(|base| !self.catalog.models.contains_key(base) && !rows.contains_key(base))
        };
        let orphans: Vec<String> =
            rows.iter().filter(|(_, row)| is_orphan(row)).map(|(id, _)| id.clone()).collect();
        for id in orphans {
            self.draft.rows.remove(&id);
            self.draft.update.added.retain(|added| *added != id);
            self.draft.refuse(&id, "input_cost_per_token", "a profile of a model that is refused".to_owned());
        }
    }
}

/// The prompt length above which the map has another price, and how the names of those costs end.
fn long_prompt(fields: &Fields) -> Option<(u64, String)> {
    let thousands = fields.keys().filter_map(|key| {
        let number = key.strip_prefix("input_cost_per_token_above_")?.strip_suffix("k_tokens")?;
        number.parse::<u64>().ok().filter(|n| (1..=100_000).contains(n))
    });
    // Of several limits the lowest, which never makes a price too low for long.
    let thousands = thousands.min()?;
    Some((thousands * 1_000, format!("_above_{thousands}k_tokens")))
}

fn figures(price: &Price) -> Vec<Option<u64>> {
    let all =
        [Some(price.input), Some(price.output), price.cache_read, price.cache_write, price.cache_write_1h];
    let mut all: Vec<Option<u64>> = all.into_iter().map(|amount| amount.map(Usd::pico)).collect();
    while all.last() == Some(&None) {
        all.pop();
    }
    all
}

fn region_row(prices: &Prices) -> Value {
    let mut row = json!({ "price": figures(&prices.price) });
    let tiers =
        [("flex", prices.tiers.flex), ("priority", prices.tiers.priority), ("batch", prices.tiers.batch)];
    for (key, price) in tiers {
        if let Some(price) = price {
            row[key] = json!(figures(&price));
        }
    }
    row
}

/// Dollars for a million tokens, as price lists for people say it.
fn per_million(pico: u64) -> String {
    Usd::from_pico(pico.saturating_mul(1_000_000)).to_string()
}

#[cfg(test)]
mod tests;
