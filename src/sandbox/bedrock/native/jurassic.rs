//! AI21 Jurassic-2 (the user guide's page is gone with it): a prompt, completions, and never a stream.

use serde_json::{Value, json};

use super::super::answer::{Answer, Stop};
use super::super::conversation::{Conversation, Message};
use super::super::input::Node;
use super::super::models::Limits;
use super::super::question::Asked;
use super::super::refusal::Refusal;
use super::{id, parameters};

const TOKENS_DEFAULT: u32 = 200;
const TOKENS_MAX: u32 = 8_191;
const PENALTIES: &[&str] = &["countPenalty", "presencePenalty", "frequencyPenalty"];

pub fn read(body: &Value, limits: &Limits) -> Result<Asked, Refusal> {
    let members = Node::root(body).members(&[
        "prompt",
        "maxTokens",
        "minTokens",
        "numResults",
        "temperature",
        "topP",
        "stopSequences",
        PENALTIES[0],
        PENALTIES[1],
        PENALTIES[2],
    ])?;
    let prompt = members.need("prompt")?.text()?;
    let max_tokens = parameters::max_tokens(&members, "maxTokens", TOKENS_DEFAULT, TOKENS_MAX)?;
    parameters::sampling(&members, limits, &[("temperature", 1.0), ("topP", 1.0)])?;
    if let Some(node) = members.get("numResults") {
        node.integer_within(1, 1)?;
    }
    for node in PENALTIES.iter().filter_map(|name| members.get(name)) {
        let penalty = node.members(&[
            "scale",
            "applyToWhitespaces",
            "applyToPunctuations",
            "applyToNumbers",
            "applyToStopwords",
            "applyToEmojis",
        ])?;
        penalty.need("scale")?.number_within(0.0, 500.0)?;
    }
    let conversation = Conversation::of("", vec![Message::user(prompt)]);
    let stop_sequences = parameters::stops(&members, "stopSequences")?;
    Ok(Asked { conversation, max_tokens, stop_sequences, ..Asked::default() })
}

pub fn body(answer: &Answer) -> Value {
    let reason = match &answer.stop {
        stop if stop.is_truncation() => "length",
        Stop::Sequence(_) => "stop",
        _ => "endoftext",
    };
    let completion =
        json!({ "data": { "text": answer.text, "tokens": [] }, "finishReason": { "reason": reason } });
    json!({ "id": id("", answer), "prompt": { "text": "", "tokens": [] }, "completions": [completion] })
}
