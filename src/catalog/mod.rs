//! The model catalogue: which models there are, what they take and refuse, and what a token of theirs costs.
//!
//! No Bedrock API tells prices or windows, so a table is shipped (`models.json`; where it comes from and under which
//! licence stands in it and in `NOTICE`). Ids die every few months: dead ones stay in the table to be refused by
//! name, with the day they ended and what to use instead. A model without a known price is refused, never priced
//! at zero: a budget that does not see a call can not hold.

mod date;
mod estimate;
mod model;
mod nearest;
mod quota;
mod table;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::domain::Usd;

pub use date::{Date, ParseDateError};
pub use estimate::TokenEstimate;
pub use model::{Family, Kind, LongPrompt, Model, Price, Thinking};
pub(crate) use nearest::nearest;
pub use quota::{Quota, Scope};

/// Models by id.
#[derive(Clone, Debug)]
pub struct Catalog {
    models: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    model: Model,
    /// False: the model's prices are zero because nobody knows them, and it is never handed out.
    priced: bool,
    /// Where the bare id costs something else than `model.price`, by region.
    regions: BTreeMap<String, Price>,
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
                Some("name the model or its system inference profile, e.g. `us.amazon.nova-lite-v1:0`".to_owned())
            }
            CatalogError::NotAModelArn { .. } => Some(
                "write `arn:aws:bedrock:REGION:ACCOUNT:inference-profile/ID` or `arn:aws:bedrock:REGION::foundation-model/ID`"
                    .to_owned(),
            ),
        }
    }
}

static BUILTIN: LazyLock<Catalog> =
    LazyLock::new(|| table::read(include_str!("models.json")).expect("the embedded table is read by a test"));

impl Catalog {
    /// The catalogue that is shipped, at the prices of us-east-1 for bare ids.
    pub fn builtin() -> &'static Catalog {
        &BUILTIN
    }

    /// The same catalogue as seen from one region: bare ids cost what they cost there, and a bare id that works in
    /// few regions only may be called where it does.
    pub fn in_region(&self, region: &str) -> Catalog {
        let mut catalog = self.clone();
        for entry in catalog.models.values_mut() {
            if let Some(price) = entry.regions.get(region) {
                entry.model.price = *price;
                entry.model.on_demand = true;
            }
        }
        catalog
    }

    /// Gives the model `id` this price, cached tokens at that of input. False: there is no such model.
    pub fn set_price(&mut self, id: &str, input: Usd, output: Usd) -> bool {
        let Some(entry) = self.models.get_mut(id) else { return false };
        entry.model.price = Price { input, output, cache_read: None, cache_write: None };
        entry.model.long_prompt = None;
        entry.priced = true;
        true
    }

    /// All models, by id; those without a price are left out.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.values().filter(|entry| entry.priced).map(|entry| &entry.model)
    }

    /// The model that `id` calls: a model id, an inference profile id, or the ARN of either.
    ///
    /// `today` decides which models are dead. What it returns can be called and priced; `Model::id` is the id within
    /// the ARN, so callers keep the ARN for the call itself.
    pub fn find(&self, id: &str, today: Date) -> Result<&Model, CatalogError> {
        let id = if id.starts_with("arn:") { id_of_arn(id)? } else { id };
        let Some(entry) = self.models.get(id) else {
            return Err(self.unknown(id));
        };
        let model = &entry.model;
        if let Some(on) = model.end_of_life.filter(|on| *on <= today) {
            let successor = self.successor(model, today);
            return Err(CatalogError::EndOfLife { id: id.to_owned(), on, successor });
        }
        if !model.on_demand {
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

/// The last path element of `arn:PARTITION:bedrock:REGION:ACCOUNT:TYPE/ID`, for types whose id names a model.
fn id_of_arn(arn: &str) -> Result<&str, CatalogError> {
    let not_a_model = || CatalogError::NotAModelArn { arn: arn.to_owned() };
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, _, service, _, _, resource] = fields[..] else {
        return Err(not_a_model());
    };
    let (resource_type, id) = resource.split_once('/').ok_or_else(not_a_model)?;
    match (service, resource_type) {
        ("bedrock", "inference-profile" | "foundation-model") if !id.is_empty() => Ok(id),
        (
            "bedrock",
            "application-inference-profile"
            | "provisioned-model"
            | "prompt-router"
            | "default-prompt-router"
            | "custom-model"
            | "custom-model-deployment"
            | "imported-model",
        ) => Err(CatalogError::OpaqueArn { arn: arn.to_owned() }),
        _ => Err(not_a_model()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Usage, Usd};

    fn day(text: &str) -> Date {
        text.parse().expect("a date")
    }

    fn find(id: &str) -> Result<&'static Model, CatalogError> {
        Catalog::builtin().find(id, day("2026-11-20"))
    }

    fn usd(text: &str) -> Usd {
        text.parse().expect("an amount")
    }

    #[test]
    fn usable_models_are_found_by_id_and_by_arn() {
        for (id, base) in [
            ("amazon.nova-micro-v1:0", "amazon.nova-micro-v1:0"),
            ("us.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
            ("global.anthropic.claude-haiku-5-5", "anthropic.claude-haiku-5-5"),
            ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
            (
                "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-pro-v1:0",
                "amazon.nova-pro-v1:0",
            ),
            ("us.openai.gpt-5.6-luna", "openai.gpt-5.6-luna"),
        ] {
            assert_eq!(find(id).map(|model| model.base_id.as_str()), Ok(base));
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        for (id, message, hint) in [
            (
                "us.amazon.nova-mirco-v1:0",
                "unknown model `us.amazon.nova-mirco-v1:0`",
                "similar ids: `us.amazon.nova-micro-v1:0`, `eu.amazon.nova-micro-v1:0`, `us.amazon.nova-pro-v1:0`",
            ),
            (
                "anthropic.claude-3-haiku-20240307-v1:0",
                "model `anthropic.claude-3-haiku-20240307-v1:0` reached its end of life on 2026-09-10",
                "use `us.anthropic.claude-haiku-5-5` instead",
            ),
            (
                "eu.anthropic.claude-3-5-sonnet-20241022-v2:0",
                "model `eu.anthropic.claude-3-5-sonnet-20241022-v2:0` reached its end of life on 2026-03-01",
                "use `eu.anthropic.claude-sonnet-5-5` instead",
            ),
            (
                "amazon.titan-text-express-v1",
                "model `amazon.titan-text-express-v1` reached its end of life on 2025-08-15",
                "use `amazon.nova-micro-v1:0` instead",
            ),
            (
                "openai.gpt-5.6-luna",
                "model `openai.gpt-5.6-luna` can not be called on demand by its bare id",
                "name one of its inference profiles: `global.openai.gpt-5.6-luna`, `us.openai.gpt-5.6-luna`",
            ),
            (
                "us.twelvelabs.pegasus-1-5-v1:0",
                "no price is known for model `us.twelvelabs.pegasus-1-5-v1:0`, so a budget could not be kept",
                "state its price in `route.prices`, or choose a model that has one in the catalogue",
            ),
            (
                "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
                "the ARN `arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123` does not say which model it leads to",
                "name the model or its system inference profile, e.g. `us.amazon.nova-lite-v1:0`",
            ),
            (
                "arn:aws:s3:::bucket/key",
                "`arn:aws:s3:::bucket/key` is not the ARN of a Bedrock model or inference profile",
                "write `arn:aws:bedrock:REGION:ACCOUNT:inference-profile/ID` or `arn:aws:bedrock:REGION::foundation-model/ID`",
            ),
        ] {
            let error = find(id).expect_err(id);
            assert_eq!((error.to_string().as_str(), error.hint().as_deref()), (message, Some(hint)));
        }
        assert_eq!(find("zzz").expect_err("no such model").hint(), None);
    }

    #[test]
    fn a_model_dies_on_its_day() {
        let id = "us.anthropic.claude-opus-4-1-20250805-v1:0";
        assert!(Catalog::builtin().find(id, day("2027-01-07")).is_ok());
        assert!(Catalog::builtin().find(id, day("2027-01-08")).is_err());
    }

    #[test]
    fn cost_is_exact_and_honours_the_long_prompt_tier_and_the_cache() {
        let usage = |input_tokens, output_tokens, cache_read_tokens, cache_write_tokens| Usage {
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens,
        };
        for (id, usage, expected) in [
            ("us.amazon.nova-micro-v1:0", usage(1_000_000, 1_000_000, 0, 0), "0.175"),
            ("us.amazon.nova-micro-v1:0", usage(1, 0, 1, 0), "0.00000004375"),
            ("us.anthropic.claude-haiku-5-5", usage(100_000, 1_000, 0, 0), "0.01155"),
            ("us.anthropic.claude-haiku-5-5", usage(100_001, 1_000, 0, 0), "0.05775055"),
            // The cached part of the prompt counts towards its length.
            ("us.anthropic.claude-haiku-5-5", usage(1, 0, 100_000, 0), "0.00550055"),
            ("us.anthropic.claude-haiku-5-5", usage(0, 0, 0, 1_000), "0.0001375"),
            // Nova Micro has no price for cache writes: charged as input, which is never too little.
            ("us.amazon.nova-micro-v1:0", usage(0, 0, 0, 1_000_000), "0.035"),
        ] {
            assert_eq!(find(id).expect(id).cost(usage), usd(expected), "{id} {usage:?}");
        }
    }

    #[test]
    fn a_region_changes_the_price_of_bare_ids_and_where_they_work() {
        let london = Catalog::builtin().in_region("eu-west-2");
        let today = day("2026-11-20");
        let price = |catalog: &Catalog, id| catalog.find(id, today).map(|model| model.price.input);
        assert_eq!(price(Catalog::builtin(), "minimax.minimax-m2.5"), Ok(usd("0.0000003")));
        assert_eq!(price(&london, "minimax.minimax-m2.5"), Ok(usd("0.00000047")));
        assert!(price(Catalog::builtin(), "anthropic.claude-sonnet-4-6").is_err());
        assert_eq!(price(&london, "anthropic.claude-sonnet-4-6"), Ok(usd("0.0000033")));
    }

    #[test]
    fn every_row_holds_together() {
        let builtin = Catalog::builtin();
        let ids: Vec<&str> = builtin.models().map(|model| model.id.as_str()).collect();
        assert!(ids.is_sorted() && ids.len() > 300, "{}", ids.len());
        for model in builtin.models() {
            let Model { id, base_id, price, .. } = model;
            assert!(builtin.models.contains_key(base_id), "{id}: no row for its base");
            assert!(
                id == base_id || id.ends_with(&format!(".{base_id}")),
                "{id}: not a profile of {base_id}"
            );
            assert!(id == base_id || model.on_demand, "{id}: a profile is what can be called");
            assert!(price.input > Usd::ZERO && model.window_tokens > 0, "{id}");
            assert_eq!(model.kind == Kind::Chat, model.max_output_tokens > 0, "{id}");
            assert_eq!(model.kind == Kind::Chat, price.output > Usd::ZERO, "{id}");
            assert!(matches!(model.burndown, 1 | 5 | 10 | 15), "{id}");
            assert!(model.long_prompt.is_none_or(|long| long.price.input > price.input), "{id}");
            assert!(model.estimate.likely_ppm <= model.estimate.at_most_ppm, "{id}");
            assert!(model.end_of_life.is_none_or(|on| on > day("2024-01-01")), "{id}");
        }
    }

    #[test]
    fn every_dead_model_names_a_living_successor() {
        let today = day("2026-11-20");
        for model in
            Catalog::builtin().models().filter(|model| model.end_of_life.is_some_and(|on| on <= today))
        {
            let Err(CatalogError::EndOfLife { successor: Some(successor), .. }) = find(&model.id) else {
                panic!("{}: {:?}", model.id, find(&model.id));
            };
            assert!(find(&successor).is_ok(), "{}: {successor}", model.id);
        }
    }

    #[test]
    fn quirks_follow_the_service() {
        for (id, sampling, counts_tokens, burndown) in [
            ("us.anthropic.claude-opus-4-6-v1", true, true, 5),
            ("us.anthropic.claude-opus-4-7", false, false, 5),
            ("us.anthropic.claude-opus-4-8", false, false, 15),
            ("us.anthropic.claude-sonnet-5", false, false, 10),
            ("us.anthropic.claude-haiku-5-5", false, false, 10),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", true, true, 5),
            ("us.openai.gpt-5.6-terra", false, false, 10),
            ("us.amazon.nova-lite-v1:0", true, false, 1),
            ("openai.gpt-oss-20b-1:0", true, false, 1),
        ] {
            let model = find(id).expect(id);
            assert_eq!(
                (model.sampling, model.counts_tokens, model.burndown),
                (sampling, counts_tokens, burndown),
                "{id}"
            );
        }
        assert_eq!(find("us.anthropic.claude-opus-5-5").map(|model| model.thinking), Ok(Thinking::Always));
        assert_eq!(find("us.anthropic.claude-sonnet-5").map(|model| model.thinking), Ok(Thinking::Default));
        assert_eq!(find("mistral.mistral-7b-instruct-v0:2").map(|model| model.system_prompt), Ok(false));
    }
}
