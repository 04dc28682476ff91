//! The model catalogue: which models there are, what they take and refuse, and what a token of theirs costs.
//!
//! No Bedrock API tells prices or windows, so a table is shipped (`models.json`; where it comes from and under which
//! licence stands in it and in `NOTICE`). Ids die every few months: dead ones stay in the table to be refused by
//! name, with the day they ended and what to use instead. A model without a known price is refused, never priced
//! at zero: a budget that does not see a call can not hold.
//!
//! What the table says can be changed, in this order: rows of a file of the user (`Catalog::apply_overrides`), the region
//! (`in_region`), prices that a pipeline states (`set_price`), and what its opaque ARNs lead to (`set_alias`). Such a file
//! comes from a person, from LiteLLM's price map (`update_from_litellm`) or from the service (`update_from_service`).

mod arn;
mod date;
mod decimal;
mod details;
mod estimate;
mod features;
mod geography;
mod litellm;
mod model;
mod nearest;
mod overrides;
mod quota;
mod service;
mod table;
mod update;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::domain::Usd;
use arn::Target;
use table::{Row, Sources, Table};

pub use arn::AliasError;
pub use date::{Date, ParseDateError};
pub use details::Details;
pub use estimate::TokenEstimate;
pub use features::{CacheRule, Feature, Features, Reasoning, Sampling};
pub use litellm::LitellmError;
pub use model::{Family, Kind, LongPrompt, Model, Price, Status, Thinking, Tier, TierPrices};
pub(crate) use nearest::nearest;
pub use overrides::{Overridden, TableError};
pub use quota::{Quota, Scope};
pub use service::{ListedModel, ListedProfile, Listing};
pub use update::{Change, RefusedFigure, Update};

/// Models by id.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    models: BTreeMap<String, Entry>,
    sources: Sources,
    /// Image models and the day each ended: refused by name like other dead ones.
    images: BTreeMap<String, Date>,
    /// What ARNs lead to that do not say it.
    aliases: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
struct Entry {
    model: Model,
    /// False: the model's prices are zero because nobody knows them, and it is never handed out.
    priced: bool,
    /// Where the bare id costs something else than `model.price`, by region.
    regions: BTreeMap<String, Prices>,
    /// As it was written.
    row: Arc<Row>,
}

/// What a model costs in one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prices {
    pub price: Price,
    pub tiers: TierPrices,
}

/// Why an id can not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    #[error("unknown model `{id}`")]
    Unknown {
        id: String,
        /// At most three ids that look alike.
        nearest: Vec<String>,
    },
    #[error("model `{id}` reached its end of life on {on}")]
    EndOfLife { id: String, on: Date, successor: Option<String> },
    #[error("model `{id}` can not be called on demand by its bare id")]
    ProfileOnly {
        id: String,
        /// The inference profiles that lead to it.
        profiles: Vec<String>,
    },
    #[error("no price is known for model `{id}`, so a budget could not be kept")]
    Unpriced { id: String },
    #[error("the ARN `{arn}` does not say which model it leads to")]
    OpaqueArn { arn: String },
    #[error("`{arn}` is not the ARN of a Bedrock model or inference profile")]
    NotAModelArn { arn: String },
}

impl CatalogError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let list = |ids: &[String]| ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
        match self {
            CatalogError::Unknown { nearest, .. } if nearest.is_empty() => None,
            CatalogError::Unknown { nearest, .. } => Some(format!("similar ids: {}", list(nearest))),
            CatalogError::EndOfLife { successor, .. } => successor.as_ref().map(|id| format!("use `{id}` instead")),
            CatalogError::ProfileOnly { profiles, .. } if profiles.is_empty() => None,
            CatalogError::ProfileOnly { profiles, .. } => {
                Some(format!("name one of its inference profiles: {}", list(profiles)))
            }
            CatalogError::Unpriced { .. } => Some("state its price in `route.prices`, or choose a model that has one in the catalogue".to_owned()),
            CatalogError::OpaqueArn { .. } => {
                Some("state what it leads to in `route.models`, or name a model or its system inference profile, e.g. `us.amazon.nova-lite-v1:0`".to_owned())
            }
            CatalogError::NotAModelArn { .. } => Some(
                "write `arn:aws:bedrock:REGION:ACCOUNT:inference-profile/ID` or `arn:aws:bedrock:REGION::foundation-model/ID`"
                    .to_owned(),
            ),
        }
    }
}

static BUILTIN: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::read(include_str!("models.json")).expect("the embedded table is read by a test")
});

impl Catalog {
    /// The catalogue that is shipped, at the prices of us-east-1 for bare ids.
    pub fn builtin() -> &'static Catalog {
        &BUILTIN
    }

    fn read(json: &str) -> Result<Catalog, serde_json::Error> {
        let table: Table = serde_json::from_str(json)?;
        let rows: BTreeMap<String, Arc<Row>> =
            table.models.into_iter().map(|row| (row.id.clone(), Arc::new(row))).collect();
        let entry = |row: &Arc<Row>| {
            let base = row.base.as_ref().and_then(|base| rows.get(base));
            let entry = table::entry(row, base.map(|row| &**row)).map_err(|key| {
                serde::de::Error::custom(format_args!("`{}` in the row of {}", key, row.id))
            })?;
            Ok((row.id.clone(), entry))
        };
        let models = rows.values().map(entry).collect::<Result<_, serde_json::Error>>()?;
        Ok(Catalog { models, sources: table.sources, images: table.images, aliases: BTreeMap::new() })
    }

    /// The same catalogue as seen from one region: bare ids cost what they cost there, and a bare id that works in
    /// few regions only may be called where it does.
    pub fn in_region(&self, region: &str) -> Catalog {
        let mut catalog = self.clone();
        for entry in catalog.models.values_mut() {
            if let Some(prices) = entry.regions.get(region) {
                entry.model.price = prices.price;
                entry.model.tiers = prices.tiers;
                entry.model.on_demand = true;
            }
        }
        catalog
    }

    /// Gives the model `id` this price, cached tokens at that of input; it has no other tiers then. False: there is no
    /// such model.
    pub fn set_price(&mut self, id: &str, input: Usd, output: Usd) -> bool {
        let Some(entry) = self.models.get_mut(id) else { return false };
        entry.model.price = Price::new(input, output);
        entry.model.long_prompt = None;
        entry.model.tiers = TierPrices::default();
        entry.priced = true;
        true
    }

    /// All models, by id; those without a price are left out.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.values().filter(|entry| entry.priced).map(|entry| &entry.model)
    }

    /// The model that `id` calls: a model id, an inference profile id, the ARN of either, or an ARN that `set_alias` was
    /// told about.
    ///
    /// `today` decides which models are dead. What it returns can be called and priced; `Model::id` is the id within
    /// the ARN, so callers keep the ARN for the call itself.
    pub fn find(&self, id: &str, today: Date) -> Result<&Model, CatalogError> {
        let alias = self.aliases.get(id);
        let id = match alias {
            Some(id) => id,
            None if id.starts_with("arn:") => match arn::target(id)? {
                Target::Named(id) => id,
                Target::Opaque => return Err(CatalogError::OpaqueArn { arn: id.to_owned() }),
            },
            None => id,
        };
        let Some(entry) = self.models.get(id) else {
            if let Some(on) = self.images.get(id).filter(|on| **on <= today) {
                return Err(CatalogError::EndOfLife { id: id.to_owned(), on: *on, successor: None });
            }
            return Err(self.unknown(id));
        };
        let model = &entry.model;
        if let Some(on) = model.end_of_life.filter(|on| *on <= today) {
            let successor = self.successor(model, today);
            return Err(CatalogError::EndOfLife { id: id.to_owned(), on, successor });
        }
        // What an ARN leads to may be a bare id that can not be called as such.
        if !model.on_demand && alias.is_none() {
            let profiles = self.profiles(id, today).map(|profile| profile.id.clone()).collect();
            return Err(CatalogError::ProfileOnly { id: id.to_owned(), profiles });
        }
        if !entry.priced {
            return Err(CatalogError::Unpriced { id: id.to_owned() });
        }
        Ok(model)
    }

    /// What to call when `model` has ended: an id that can be called, in the same geography where there is one.
    pub fn successor(&self, model: &Model, today: Date) -> Option<String> {
        model.successor.as_deref().and_then(|base| self.callable(base, &model.id, today))
    }

    /// The living inference profiles of a base model.
    fn profiles<'a>(&'a self, base_id: &'a str, today: Date) -> impl Iterator<Item = &'a Model> {
        let alive = move |model: &&Model| model.end_of_life.is_none_or(|on| on > today);
        self.models().filter(move |model| model.base_id == base_id && model.id != base_id).filter(alive)
    }

    /// An id under which `base_id` can be called, with the geography of `like` if it has one there.
    fn callable(&self, base_id: &str, like: &str, today: Date) -> Option<String> {
        let geography = |id: &str| id.split('.').next().unwrap_or_default().to_owned();
        let bare = self.models.get(base_id).filter(|entry| entry.model.on_demand).map(|_| base_id);
        let same = self.profiles(base_id, today).find(|profile| geography(&profile.id) == geography(like));
        let any = || self.profiles(base_id, today).map(|profile| profile.id.as_str());
        // `us.` has the most source regions; `global.` would send data out of a geography unasked.
        let usual = || any().find(|id| id.starts_with("us.")).or_else(|| any().next());
        same.map(|profile| profile.id.as_str()).or(bare).or_else(usual).map(str::to_owned)
    }

    fn unknown(&self, id: &str) -> CatalogError {
        let ids = self.models().filter(|model| model.on_demand).map(|model| model.id.as_str());
        let nearest = nearest(id, ids, 3).into_iter().map(str::to_owned).collect();
        CatalogError::Unknown { id: id.to_owned(), nearest }
    }
}

#[cfg(test)]
mod tests;
