//! The request and reply bodies of each model family, as InvokeModel takes and gives them, and what Converse must be told
//! beside the common fields. Pure: bytes in, bytes out.
//!
//! Converse hides all this and is the default. InvokeModel is there for what Converse does not carry (embeddings, batch
//! records of old families, models whose native interface does more), and gives the same [`Reply`].
//!
//! * One file a family, with its request, its whole reply and the chunks of its stream ([`Stream`]).
//! * A reply counts only with a stop reason and a price: the figures that the service meters (`X-Amzn-Bedrock-*` headers,
//!   or `amazon-bedrock-invocationMetrics` in a stream's last chunk) before those in the body; without either it is an
//!   error, for an answer without a price would not count against the budget.
//! * Limits whose defaults cut answers off (20 tokens for Cohere, 512 for Llama) are always stated.
//! * Document text can not end its own turn (`template`), and errors never quote it.
//!
//! Shapes after the Bedrock User Guide, "Inference request parameters and response fields for foundation models"
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html>).

mod ai21;
mod answer;
mod anthropic;
mod anthropic_text;
mod attachment;
mod cache;
mod choices;
mod cohere;
mod deepseek;
mod embed;
mod json;
mod llama;
mod mistral;
mod nova;
mod openai;
mod schema;
mod settings;
mod stop;
mod stream;
mod template;
#[cfg(test)]
mod tests;
mod titan;

pub use cache::{caches, shared_bytes};
pub use embed::{
    EmbedLimits, EmbedOptions, EmbedPurpose, Embeddings, embed_limits, embed_reply, embed_request,
};
pub use json::{Json, Object};
pub use settings::{AnswerForm, Settings};
pub use stop::stop_reason;
pub use stream::{Progress, Stream};

use crate::catalog::{Family, Model};
use crate::domain::{Api, Call, Reply, Usage};
use answer::Answer;

/// A request that can not be made, or a reply that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FamilyError {
    #[error(
        "the request body of `{model}` has no place for {what}; leave them out, or call it with `api = \"converse\"`"
    )]
    Unsupported { model: String, what: &'static str },
    #[error("`{model}` has no InvokeModel; call it with `api = \"converse\"`")]
    ConverseOnly { model: String },
    #[error("`{model}` does not answer prompts; choose a chat model")]
    NoChat { model: String },
    #[error("`{model}` makes no embeddings of text; choose an embedding model")]
    NoEmbeddings { model: String },
    #[error(
        "max_tokens = {max_tokens}, and the request body of `{model}` takes {max} at most; lower it, or call it with \
         `api = \"converse\"`"
    )]
    MaxTokens { model: String, max_tokens: u32, max: u32 },
    #[error("the schema of the answer is no JSON")]
    Schema,
    #[error(
        "a thinking budget of {budget} tokens leaves nothing of max_tokens = {max_tokens} for the answer; \
         raise max_tokens, for it covers both"
    )]
    ThinkingBudget { budget: u32, max_tokens: u32 },
    #[error("{texts} texts for one call to `{model}`, which takes 1 to {max}")]
    TextCount { model: String, texts: usize, max: usize },
    #[error("text {index} has {chars} characters; `{model}` takes 1 to {max}")]
    TextLength { model: String, index: usize, chars: usize, max: usize },
    #[error("`{model}` makes no vectors of {dimensions} numbers; choose one of {allowed}")]
    Dimensions { model: String, dimensions: u32, allowed: &'static str },
    /// The parser's own words may quote the answer, so only its place is told.
    #[error("the answer can not be read (JSON, line {line}, column {column})")]
    Unreadable { line: usize, column: usize },
    #[error("the answer has no {what}")]
    Missing { what: &'static str },
    #[error("the model broke off with `{kind}`")]
    BrokeOff { kind: String },
    #[error("{vectors} vectors came back for {texts} texts, or some are no vectors")]
    Vectors { vectors: usize, texts: usize },
}

impl FamilyError {
    /// The request is at fault, and nothing was sent; otherwise the reply is, and may have been billed.
    pub fn is_of_request(&self) -> bool {
        match self {
            FamilyError::Unsupported { .. }
            | FamilyError::ConverseOnly { .. }
            | FamilyError::NoChat { .. }
            | FamilyError::NoEmbeddings { .. }
            | FamilyError::MaxTokens { .. }
            | FamilyError::Schema
            | FamilyError::ThinkingBudget { .. }
            | FamilyError::TextCount { .. }
            | FamilyError::TextLength { .. }
            | FamilyError::Dimensions { .. } => true,
            FamilyError::Unreadable { .. }
            | FamilyError::Missing { .. }
            | FamilyError::BrokeOff { .. }
            | FamilyError::Vectors { .. } => false,
        }
    }
}

/// The body of a request: the same call, the same bytes. `streamed` for InvokeModelWithResponseStream, which some families
/// must be told in the body as well.
pub fn request(model: &Model, call: &Call, streamed: bool) -> Result<Vec<u8>, FamilyError> {
    if !model.features.invoke {
        return Err(FamilyError::ConverseOnly { model: model.id.clone() });
    }
    if streamed && !model.streaming {
        return Err(FamilyError::Unsupported { model: model.id.clone(), what: "streams" });
    }
    let max = max_output_tokens(model, Api::Invoke);
    if model.max_output_tokens > 0 && call.max_tokens > max {
        return Err(FamilyError::MaxTokens { model: model.id.clone(), max_tokens: call.max_tokens, max });
    }
    let settings = Settings::of(model, call)?;
    let body = match family_of_chat(model)? {
        Family::AnthropicMessages => anthropic::request(model, call, &settings),
        Family::AnthropicText => anthropic_text::request(model, call, &settings)?,
        Family::AmazonTitanText => titan::request(model, call, &settings)?,
        Family::AmazonNova => nova::request(model, call, &settings),
        Family::MetaLlama2 => llama::request_2(model, call, &settings)?,
        Family::MetaLlama3 => llama::request_3(model, call, &settings)?,
        Family::MetaLlama4 => llama::request_4(model, call, &settings)?,
        Family::MistralText => mistral::text_request(model, call, &settings)?,
        Family::MistralChat => mistral::chat_request(model, call, &settings)?,
        Family::CohereCommand => cohere::command_request(model, call, &settings, streamed)?,
        Family::CohereCommandR => cohere::command_r_request(model, call, &settings)?,
        Family::Ai21J2 => ai21::j2_request(model, call, &settings)?,
        Family::Ai21Jamba => ai21::jamba_request(model, call, &settings)?,
        Family::DeepseekR1 => deepseek::request(model, call, &settings)?,
        Family::OpenaiChat => openai::request(model, call, &settings)?,
        _ => return Err(FamilyError::NoChat { model: model.id.clone() }),
    };
    Ok(body.into_bytes())
}

/// The largest `max_tokens` that the model takes by this interface: Llama's own body has a lower limit than the model.
pub fn max_output_tokens(model: &Model, api: Api) -> u32 {
    match (api, model.family) {
        (Api::Invoke, Family::MetaLlama2 | Family::MetaLlama3 | Family::MetaLlama4) => {
            model.max_output_tokens.min(llama::MAX_GEN_LEN)
        }
        _ => model.max_output_tokens,
    }
}

/// The answer in a whole body. `metered` is what the response headers say of tokens; it wins over the body.
pub fn reply(model: &Model, body: &[u8], metered: Option<Usage>) -> Result<Reply, FamilyError> {
    let family = family_of_chat(model)?;
    let mut answer = Answer::default();
    answer.read_common(body)?;
    match family {
        Family::AnthropicMessages => anthropic::read(body, &mut answer)?,
        Family::AnthropicText => anthropic_text::read(body, &mut answer)?,
        Family::AmazonTitanText => titan::read(body, &mut answer)?,
        Family::AmazonNova => nova::read(body, &mut answer)?,
        Family::MetaLlama2 | Family::MetaLlama3 | Family::MetaLlama4 => llama::read(body, &mut answer)?,
        Family::MistralText => mistral::read_text(body, &mut answer)?,
        Family::CohereCommand => cohere::read_command(body, &mut answer)?,
        Family::CohereCommandR => cohere::read_command_r(body, &mut answer)?,
        Family::Ai21J2 => ai21::read_j2(body, &mut answer)?,
        Family::DeepseekR1 | Family::MistralChat | Family::Ai21Jamba | Family::OpenaiChat => {
            choices::read(body, &mut answer)?;
        }
        _ => return Err(FamilyError::NoChat { model: model.id.clone() }),
    }
    answer.finish(family, metered)
}

/// One chunk of a streamed answer.
fn read_chunk(model: &Model, chunk: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    answer.read_common(chunk)?;
    match family_of_chat(model)? {
        Family::AnthropicMessages => anthropic::read_chunk(chunk, answer),
        Family::AnthropicText => anthropic_text::read_chunk(chunk, answer),
        Family::AmazonTitanText => titan::read_chunk(chunk, answer),
        Family::AmazonNova => nova::read_chunk(chunk, answer),
        Family::MetaLlama2 | Family::MetaLlama3 | Family::MetaLlama4 => llama::read_chunk(chunk, answer),
        Family::MistralText => mistral::read_text_chunk(chunk, answer),
        Family::CohereCommand => cohere::read_command_chunk(chunk, answer),
        Family::CohereCommandR => cohere::read_command_r_chunk(chunk, answer),
        Family::DeepseekR1 | Family::MistralChat | Family::Ai21Jamba | Family::OpenaiChat => {
            choices::read_chunk(chunk, answer)
        }
        _ => Err(FamilyError::NoChat { model: model.id.clone() }),
    }
}

/// The family of a model that answers prompts (Nova has embeddings under the same name).
fn family_of_chat(model: &Model) -> Result<Family, FamilyError> {
    match model.kind {
        crate::catalog::Kind::Chat => Ok(model.family),
        crate::catalog::Kind::Embedding => Err(FamilyError::NoChat { model: model.id.clone() }),
    }
}

/// The model's id holds one of these.
fn named(model: &Model, parts: &[&str]) -> bool {
    parts.iter().any(|part| model.base_id.contains(part))
}
