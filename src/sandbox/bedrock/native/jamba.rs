//! AI21 Jamba (user guide: AI21 Labs Jamba models): chat completion.

use serde_json::Value;

use super::super::answer::Answer;
use super::super::models::Limits;
use super::super::question::Asked;
use super::super::refusal::Refusal;
use super::super::speech::Speech;
use super::chat::{self, Dialect};

const TOKENS_MAX: u32 = 4_096;
const CHAT: Dialect = Dialect {
    known: &[
        "messages",
        "max_tokens",
        "temperature",
        "top_p",
        "stop",
        "n",
        "frequency_penalty",
        "presence_penalty",
    ],
    max_tokens: &["max_tokens"],
    temperature_max: 2.0,
    reason: "finish_reason",
    id: "chatcmpl-",
    usage: true,
};

pub fn read(body: &Value, limits: &Limits) -> Result<Asked, Refusal> {
    chat::read(body, limits, &CHAT, TOKENS_MAX.min(limits.max_output_tokens))
}

pub fn body(model: &str, answer: &Answer) -> Value {
    chat::body(model, answer, &CHAT)
}

pub fn speech(model: &str, answer: &Answer) -> Speech {
    chat::speech(model, answer, &CHAT)
}
