//! OpenAI's chat completion, which most open-weight models on Bedrock speak (user guide: OpenAI models).

use serde_json::Value;

use super::super::answer::Answer;
use super::super::models::Limits;
use super::super::question::Asked;
use super::super::refusal::Refusal;
use super::super::speech::Speech;
use super::chat::{self, Dialect};

const CHAT: Dialect = Dialect {
    known: &[
        "model",
        "messages",
        "max_completion_tokens",
        "max_tokens",
        "temperature",
        "top_p",
        "stop",
        "stream",
        "stream_options",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "reasoning_effort",
        "n",
        "seed",
        "user",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "top_k",
    ],
    max_tokens: &["max_completion_tokens", "max_tokens"],
    temperature_max: 2.0,
    reason: "finish_reason",
    id: "chatcmpl-",
    usage: true,
};

pub fn read(body: &Value, limits: &Limits) -> Result<Asked, Refusal> {
    chat::read(body, limits, &CHAT, limits.max_output_tokens)
}

/// gpt-oss says its thoughts in the text itself.
pub fn body(model: &str, answer: &Answer) -> Value {
    chat::body(model, answer, &CHAT)
}

pub fn speech(model: &str, answer: &Answer) -> Speech {
    chat::speech(model, answer, &CHAT)
}
