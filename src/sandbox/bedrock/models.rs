//! What the stand-in knows about models: the one place where it reads the catalogue.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::catalog::{Catalog, CatalogError, Date, Family, Kind as ModelKind, Model, Thinking};

use super::super::Options;
use super::super::scenario::Lifecycle;
use super::abilities::{self, Abilities};
use super::refusal::{Kind, Refusal};

const LEGACY_DAYS: i64 = 180;

/// What limits a call to a model.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The model itself, whatever it was called by.
    pub base_id: String,
    pub family: Family,
    /// Prompt and answer together, in tokens.
    pub window_tokens: u64,
    pub max_output_tokens: u32,
    /// Whether temperature and its like are accepted.
    pub sampling: bool,
    pub system_prompt: bool,
    pub streaming: bool,
    pub thinking: Thinking,
    pub embeds: bool,
    pub can: Abilities,
}

/// How far the life of a model has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Active,
    Legacy,
    Ended,
}

/// The models of an account: the catalogue's on a day, and what the account's own ARNs lead to.
#[derive(Debug)]
pub struct Models {
    today: Option<Date>,
    aliases: BTreeMap<String, String>,
    lifecycles: Vec<Lifecycle>,
}

impl Models {
    pub fn new(options: &Options) -> Models {
        let aliases = options.scenario.iter().flat_map(|scenario| &scenario.aliases);
        let aliases = aliases.map(|alias| (alias.arn.clone(), alias.model.clone())).collect();
        let lifecycles =
            options.scenario.as_ref().map_or_else(Vec::new, |scenario| scenario.lifecycles.clone());
        Models { today: options.today, aliases, lifecycles }
    }

    /// The limits of the model that an operation on text would call under this id or ARN.
    pub fn callable(&self, id: &str) -> Result<Limits, Refusal> {
        let limits = self.invocable(id)?;
        if limits.embeds {
            return Err(Refusal::validation(
                "This action doesn't support the model that you provided. Try again with a supported text or chat model.",
            ));
        }
        Ok(limits)
    }

    /// The limits of the model that InvokeModel would call under this id or ARN.
    pub fn invocable(&self, id: &str) -> Result<Limits, Refusal> {
        let id = self.aliases.get(id).map_or(id, String::as_str);
        let model = Catalog::builtin().find(id, self.today()).map_err(|error| refusal(&error))?;
        match self.stage(model) {
            Stage::Ended => Err(end_of_life()),
            Stage::Active | Stage::Legacy => Ok(limits(model)),
        }
    }

    /// How far the life of a model has gone.
    pub fn stage(&self, model: &Model) -> Stage {
        let (today, row) = (self.today(), self.lifecycle(&model.base_id));
        let ends = self.end_of_life(model);
        let legacy = row.and_then(|row| row.legacy);
        match ends {
            Some(on) if on <= today => Stage::Ended,
            _ if legacy.is_some_and(|on| on <= today) => Stage::Legacy,
            // As long before its end a model becomes legacy, at the latest (user guide: model lifecycle).
            Some(on) if legacy.is_none() && on.days_after(today) <= LEGACY_DAYS => Stage::Legacy,
            _ => Stage::Active,
        }
    }

    /// The day on which a model ends, as the scenario has it or the catalogue.
    pub fn end_of_life(&self, model: &Model) -> Option<Date> {
        self.lifecycle(&model.base_id).map_or(model.end_of_life, |row| row.end_of_life)
    }

    pub fn lifecycle(&self, base_id: &str) -> Option<&Lifecycle> {
        self.lifecycles.iter().find(|row| row.model == base_id)
    }

    /// What can be said of a model whether it lives or not.
    pub fn limits(&self, model: &Model) -> Limits {
        limits(model)
    }

    /// What a prompt router chose, to be told in the answer.
    pub fn routed(&self, id: &str) -> Option<&str> {
        id.contains("prompt-router/").then(|| self.aliases.get(id).map(String::as_str)).flatten()
    }

    /// The account's own ARNs and the models they lead to.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.aliases.iter().map(|(arn, model)| (arn.as_str(), model.as_str()))
    }

    /// The limits of the model whose tokens CountTokens would count under this id. It takes the bare id of a model even
    /// where inference needs a profile, and no profile even where inference needs one.
    pub fn countable(&self, id: &str) -> Result<Limits, Refusal> {
        let Some(model) = Catalog::builtin().models().find(|model| model.base_id == id) else {
            let error = Catalog::builtin().find(id, self.today()).err();
            return Err(error.map_or_else(invalid_id, |error| refusal(&error)));
        };
        if model.end_of_life.is_some_and(|on| on <= self.today()) {
            return Err(end_of_life());
        }
        if !model.counts_tokens {
            return Err(Refusal::validation("The provided model doesn't support counting tokens."));
        }
        Ok(limits(model))
    }

    pub fn today(&self) -> Date {
        self.today.unwrap_or_else(|| {
            let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            Date::from_unix_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
        })
    }
}

fn limits(model: &Model) -> Limits {
    Limits {
        base_id: model.base_id.clone(),
        family: model.family,
        window_tokens: model.window_tokens,
        max_output_tokens: model.max_output_tokens,
        sampling: model.sampling,
        system_prompt: model.system_prompt,
        streaming: model.streaming,
        thinking: model.thinking,
        embeds: model.kind == ModelKind::Embedding,
        can: abilities::of(model.family, &model.base_id),
    }
}

fn refusal(error: &CatalogError) -> Refusal {
    match error {
        CatalogError::EndOfLife { .. } => end_of_life(),
        CatalogError::ProfileOnly { id, .. } => Refusal::validation(format!(
            "Invocation of model ID {id} with on-demand throughput isn't supported. Retry your request with the ID or ARN of an inference profile that contains this model."
        )),
        // A model that the catalogue knows nothing of, or no price of, can not be played.
        _ => invalid_id(),
    }
}

fn invalid_id() -> Refusal {
    Refusal::validation("The provided model identifier is invalid.")
}

fn end_of_life() -> Refusal {
    let message = "This model version has reached the end of its life. Please refer to the AWS documentation for more details.";
    Refusal::new(Kind::ResourceNotFound, message)
}
