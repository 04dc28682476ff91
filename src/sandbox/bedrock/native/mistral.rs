//! Mistral (user guide: Mistral AI models): text completion in `[INST]` marks, and chat completion since July 2024.

use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::input::Node;
use super::super::models::Limits;
use super::super::question::Asked;
use super::super::refusal::Refusal;
use super::super::speech::Speech;
use super::chat::{self, Dialect};
use super::template::{self, Speaker};
use super::{parameters, plain};

const TOKENS_DEFAULT: u32 = 512;
const TOKENS_MAX: u32 = 8_192;
const MARKS: &[(&str, Speaker)] = &[
    ("[INST]", Speaker::User),
    ("[/INST]", Speaker::Assistant),
    ("<s>", Speaker::Nobody),
    ("</s>", Speaker::Nobody),
];
const CHAT: Dialect = Dialect {
    known: &[
        "messages",
        "max_tokens",
        "temperature",
        "top_p",
        "tools",
        "tool_choice",
        "stop",
        "response_format",
    ],
    max_tokens: &["max_tokens"],
    temperature_max: 1.0,
    reason: "stop_reason",
    id: "chatcmpl-",
    usage: false,
};

pub fn read_text(body: &Value, limits: &Limits) -> Result<Asked, Refusal> {
    let members =
        Node::root(body).members(&["prompt", "max_tokens", "stop", "temperature", "top_p", "top_k"])?;
    let most = TOKENS_MAX.min(limits.max_output_tokens);
    let is_small = ["mistral-7b", "mixtral"].iter().any(|name| limits.base_id.contains(name));
    let default = if is_small { TOKENS_DEFAULT } else { most };
    let max_tokens = parameters::max_tokens(&members, "max_tokens", default, most)?;
    parameters::sampling(&members, limits, &[("temperature", 1.0), ("top_p", 1.0), ("top_k", 200.0)])?;
    let conversation = template::read(members.need("prompt")?.text()?, MARKS);
    let stop_sequences = parameters::stops(&members, "stop")?;
    Ok(Asked { conversation, max_tokens, stop_sequences, ..Asked::default() })
}

fn stop(answer: &Answer) -> &'static str {
    if answer.stop.is_truncation() { "length" } else { "stop" }
}

pub fn body_text(answer: &Answer) -> Value {
    json!({ "outputs": [{ "text": answer.text, "stop_reason": stop(answer) }] })
}

pub fn speech_text(answer: &Answer) -> Speech {
    let chunk = |text: &str| json!({ "outputs": [{ "text": text, "stop_reason": null }] });
    plain(answer, chunk, json!({ "outputs": [{ "text": "", "stop_reason": stop(answer) }] }))
}

pub fn read_chat(body: &Value, limits: &Limits) -> Result<Asked, Refusal> {
    // The models of 2024 and of early 2025 have a limit of their own, the later ones that of their card.
    let is_old = ["-2407", "-2502"].iter().any(|date| limits.base_id.contains(date));
    let most = if is_old { TOKENS_MAX.min(limits.max_output_tokens) } else { limits.max_output_tokens };
    chat::read(body, limits, &CHAT, most)
}

pub fn body_chat(model: &str, answer: &Answer) -> Value {
    chat::body(model, answer, &CHAT)
}

pub fn speech_chat(model: &str, answer: &Answer) -> Speech {
    chat::speech(model, answer, &CHAT)
}
