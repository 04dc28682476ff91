//! InvokeModel and InvokeModelWithResponseStream: each family's own body, one file a family (inference parameters in the
//! user guide). Written from the service's side: nothing here is shared with what writes these bodies for the client.
//!
//! ```text
//! read    a request body     -> what is asked, or the service's refusal
//! body    an answer          -> the response body
//! speech  an answer          -> the chunks of a stream
//! ```

mod anthropic;
mod anthropic_text;
mod chat;
mod cohere_command;
mod cohere_command_r;
mod deepseek;
mod jamba;
mod jurassic;
mod llama;
mod mistral;
mod nova;
mod openai;
mod parameters;
mod template;
mod titan;

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::catalog::Family;

use super::answer::{Answer, Usage};
use super::models::Limits;
use super::question::Asked;
use super::refusal::Refusal;
use super::speech::{Line, Speech, pieces};

/// Reads a request body. `is_stream`: for InvokeModelWithResponseStream.
pub fn read(body: &Value, limits: &Limits, is_stream: bool) -> Result<Asked, Refusal> {
    match limits.family {
        Family::AnthropicMessages => anthropic::read(body, limits),
        Family::AnthropicText => anthropic_text::read(body, limits),
        Family::AmazonTitanText => titan::read(body, limits),
        Family::AmazonNova => nova::read(body, limits),
        Family::MetaLlama2 | Family::MetaLlama3 | Family::MetaLlama4 => llama::read(body, limits),
        Family::MistralText => mistral::read_text(body, limits),
        Family::MistralChat => mistral::read_chat(body, limits),
        Family::CohereCommand => cohere_command::read(body, limits, is_stream),
        Family::CohereCommandR => cohere_command_r::read(body, limits),
        Family::Ai21J2 => jurassic::read(body, limits),
        Family::Ai21Jamba => jamba::read(body, limits),
        Family::DeepseekR1 => deepseek::read(body, limits),
        Family::OpenaiChat => openai::read(body, limits),
        Family::AmazonTitanEmbed
        | Family::CohereEmbed
        | Family::TwelvelabsEmbed
        | Family::TwelvelabsPegasus => Err(unsupported()),
    }
}

/// The response body.
pub fn body(family: Family, model: &str, answer: &Answer) -> Value {
    let mut body = match family {
        Family::AnthropicMessages => anthropic::body(model, answer),
        Family::AnthropicText => anthropic_text::body(answer),
        Family::AmazonTitanText => titan::body(answer),
        Family::AmazonNova => nova::body(answer),
        Family::MetaLlama2 | Family::MetaLlama3 | Family::MetaLlama4 => llama::body(answer),
        Family::MistralText => mistral::body_text(answer),
        Family::MistralChat => mistral::body_chat(model, answer),
        Family::CohereCommand => cohere_command::body(answer),
        Family::CohereCommandR => cohere_command_r::body(answer),
        Family::Ai21J2 => jurassic::body(answer),
        Family::Ai21Jamba => jamba::body(model, answer),
        Family::DeepseekR1 => deepseek::body(answer),
        Family::OpenaiChat => openai::body(model, answer),
        Family::AmazonTitanEmbed
        | Family::CohereEmbed
        | Family::TwelvelabsEmbed
        | Family::TwelvelabsPegasus => {
            json!({})
        }
    };
    if let Some(action) = guardrail_action(answer) {
        body["amazon-bedrock-guardrailAction"] = json!(action);
    }
    body
}

/// The chunks of a stream; the last one says what it costs.
pub fn speech(family: Family, model: &str, answer: &Answer, times: Times) -> Speech {
    let mut speech = match family {
        Family::AnthropicMessages => anthropic::speech(model, answer),
        Family::AnthropicText => anthropic_text::speech(answer),
        Family::AmazonTitanText => titan::speech(answer),
        Family::AmazonNova => nova::speech(answer, times.last),
        Family::MetaLlama2 | Family::MetaLlama3 | Family::MetaLlama4 => llama::speech(answer),
        Family::MistralText => mistral::speech_text(answer),
        Family::MistralChat => mistral::speech_chat(model, answer),
        Family::CohereCommand => cohere_command::speech(answer),
        Family::CohereCommandR => cohere_command_r::speech(answer),
        Family::Ai21Jamba => jamba::speech(model, answer),
        Family::DeepseekR1 => deepseek::speech(answer),
        Family::OpenaiChat => openai::speech(model, answer),
        Family::Ai21J2
        | Family::AmazonTitanEmbed
        | Family::CohereEmbed
        | Family::TwelvelabsEmbed
        | Family::TwelvelabsPegasus => Speech::default(),
    };
    if let Some(last) = speech.stop.last_mut() {
        last.payload["amazon-bedrock-invocationMetrics"] = metrics(answer.usage, times);
        if let Some(action) = guardrail_action(answer) {
            last.payload["amazon-bedrock-guardrailAction"] = json!(action);
        }
    }
    speech
}

/// How long a call takes until its first and its last token.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub first: Duration,
    pub last: Duration,
}

/// The refusal of a model that InvokeModel does not take.
pub fn unsupported() -> Refusal {
    Refusal::validation(
        "The model that you provided doesn't support the InvokeModel operation. Use the Converse operation and try again.",
    )
}

fn metrics(usage: Usage, times: Times) -> Value {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    json!({
        "inputTokenCount": usage.input,
        "outputTokenCount": usage.output,
        "invocationLatency": ms(times.last),
        "firstByteLatency": ms(times.first),
        "cacheReadInputTokenCount": usage.cached.read,
        "cacheWriteInputTokenCount": usage.cached.written(),
    })
}

fn guardrail_action(answer: &Answer) -> Option<&'static str> {
    answer.guarded.map(|intervened| if intervened { "INTERVENED" } else { "NONE" })
}

/// An id with the vendor's prefix, the same for the same answer.
fn id(prefix: &str, answer: &Answer) -> String {
    format!("{prefix}{}", hex::encode(&Sha256::digest(answer.text.as_bytes())[..12]))
}

/// Pieces of a text as chunks.
fn said(text: &str, chunk: impl Fn(&str) -> Value) -> Vec<Line> {
    pieces(text).into_iter().map(|piece| Line::saying("chunk", chunk(piece), piece)).collect()
}

fn line(payload: Value) -> Line {
    Line::new("chunk", payload)
}

/// A stream of nothing but pieces of text and an end.
fn plain(answer: &Answer, chunk: impl Fn(&str) -> Value, end: Value) -> Speech {
    Speech { said: said(&answer.text, chunk), stop: vec![line(end)], ..Speech::default() }
}
