//! Cohere Command and Command Light (the user guide's page is gone with them): a prompt, generations.

use serde_json::{Value, json};

use super::super::answer::{Answer, Stop};
use super::super::conversation::{Conversation, Message};
use super::super::input::Node;
use super::super::models::Limits;
use super::super::question::Asked;
use super::super::refusal::Refusal;
use super::super::speech::Speech;
use super::{id, line, parameters, said};

/// If left out: a trap for every answer.
const TOKENS_DEFAULT: u32 = 20;
const TOKENS_MAX: u32 = 4_096;

pub fn read(body: &Value, limits: &Limits, is_stream: bool) -> Result<Asked, Refusal> {
    let members = Node::root(body).members(&[
        "prompt",
        "max_tokens",
        "temperature",
        "p",
        "k",
        "stop_sequences",
        "return_likelihoods",
        "num_generations",
        "truncate",
        "stream",
        "logit_bias",
    ])?;
    let prompt = members.need("prompt")?.text()?;
    let max_tokens = parameters::max_tokens(&members, "max_tokens", TOKENS_DEFAULT, TOKENS_MAX)?;
    parameters::sampling(&members, limits, &[("temperature", 5.0), ("p", 1.0), ("k", 500.0)])?;
    if let Some(node) = members.get("num_generations") {
        node.integer_within(1, 1)?;
    }
    for (name, values) in
        [("return_likelihoods", ["GENERATION", "ALL", "NONE"]), ("truncate", ["NONE", "START", "END"])]
    {
        if let Some(node) = members.get(name) {
            node.one_of(&values)?;
        }
    }
    // The parameter page had it as "required to support streaming".
    let streams = members.get("stream").map_or(Ok(false), |node| node.boolean())?;
    if is_stream && !streams {
        return Err(Refusal::validation(
            "Malformed input request: #: required key [stream] must be true to stream, please reformat your input and try again.",
        ));
    }
    let conversation = Conversation::of("", vec![Message::user(prompt)]);
    let stop_sequences = parameters::stops(&members, "stop_sequences")?;
    Ok(Asked { conversation, max_tokens, stop_sequences, ..Asked::default() })
}

/// Cohere's reasons, of both generations of its models.
pub fn stop(answer: &Answer) -> &'static str {
    match &answer.stop {
        stop if stop.is_truncation() => "MAX_TOKENS",
        Stop::ContentFiltered | Stop::Refusal => "ERROR_TOXIC",
        _ => "COMPLETE",
    }
}

pub fn body(answer: &Answer) -> Value {
    let generation = json!({ "id": id("gen-", answer), "text": answer.text, "finish_reason": stop(answer) });
    json!({ "id": id("", answer), "generations": [generation], "prompt": "" })
}

pub fn speech(answer: &Answer) -> Speech {
    let pieces = said(&answer.text, |text| json!({ "index": 0, "is_finished": false, "text": text }));
    let end = json!({ "index": 0, "is_finished": true, "text": "", "finish_reason": stop(answer) });
    Speech { said: pieces, stop: vec![line(end)], ..Speech::default() }
}
