//! What the stand-in knows about models: the one place where it reads the catalogue.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::catalog::{Catalog, CatalogError, Date, Kind as ModelKind, Model, Thinking};

use super::refusal::{Kind, Refusal};

/// What limits a call to a model.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Prompt and answer together, in tokens.
    pub window_tokens: u64,
    pub max_output_tokens: u32,
    /// Whether temperature and its like are accepted.
    pub sampling: bool,
    pub system_prompt: bool,
    pub streaming: bool,
    /// Whether it reasons before it answers when the request says nothing about it.
    pub thinking: bool,
}

/// The limits of the model that Converse would call under this id or ARN.
pub fn callable(id: &str) -> Result<Limits, Refusal> {
    match Catalog::builtin().find(id, today()) {
        Ok(model) if model.kind == ModelKind::Chat => Ok(limits(model)),
        Ok(_) => Err(Refusal::validation(
            "This action doesn't support the model that you provided. Try again with a supported text or chat model.",
        )),
        Err(error) => Err(refusal(&error)),
    }
}

/// The limits of the model whose tokens CountTokens would count under this id. It takes the bare id of a model even where
/// inference needs a profile, and no profile even where inference needs one.
pub fn countable(id: &str) -> Result<Limits, Refusal> {
    let Some(model) = Catalog::builtin().models().find(|model| model.base_id == id) else {
        let error = Catalog::builtin().find(id, today()).err();
        return Err(error.map_or_else(invalid_id, |error| refusal(&error)));
    };
    if model.end_of_life.is_some_and(|on| on <= today()) {
        return Err(end_of_life());
    }
    if !model.counts_tokens {
        return Err(Refusal::validation("The provided model doesn't support counting tokens."));
    }
    Ok(limits(model))
}

fn limits(model: &Model) -> Limits {
    Limits {
        window_tokens: model.window_tokens,
        max_output_tokens: model.max_output_tokens,
        sampling: model.sampling,
        system_prompt: model.system_prompt,
        streaming: model.streaming,
        thinking: model.thinking != Thinking::OnRequest,
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

fn today() -> Date {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Date::from_unix_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}
