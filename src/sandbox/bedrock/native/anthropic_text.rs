//! Anthropic Claude, text completions (Claude 2 and Instant; the user guide's page is gone with them).

use serde_json::{Value, json};

use super::super::answer::{Answer, Stop};
use super::super::input::Node;
use super::super::models::Limits;
use super::super::question::Asked;
use super::super::refusal::Refusal;
use super::super::speech::Speech;
use super::template::{self, Speaker};
use super::{parameters, plain};

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

pub fn read(body: &Value, limits: &Limits) -> Result<Asked, Refusal> {
    let members = Node::root(body).members(&[
        "prompt",
        "max_tokens_to_sample",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "anthropic_version",
    ])?;
    let prompt = members.need("prompt")?.text()?;
    members.need("max_tokens_to_sample")?;
    let max_tokens = parameters::max_tokens(&members, "max_tokens_to_sample", 1, limits.max_output_tokens)?;
    parameters::sampling(&members, limits, &[("temperature", 1.0), ("top_p", 1.0), ("top_k", 500.0)])?;
    // What stands before the first human turn is the system prompt (Claude 2.1).
    if !prompt.contains(HUMAN) {
        return Err(Refusal::validation("Invalid prompt: prompt must start with \"\\n\\nHuman:\" turn"));
    }
    if !prompt.rsplit(HUMAN).next().is_some_and(|last| last.contains(ASSISTANT)) {
        return Err(Refusal::validation("Invalid prompt: prompt must end with \"\\n\\nAssistant:\" turn"));
    }
    let conversation = template::read(prompt, &[(HUMAN, Speaker::User), (ASSISTANT, Speaker::Assistant)]);
    let stop_sequences = parameters::stops(&members, "stop_sequences")?;
    Ok(Asked { conversation, max_tokens, stop_sequences, ..Asked::default() })
}

/// A turn that ends by itself ends at the mark of the next one.
fn stop(answer: &Answer) -> (&'static str, Option<&str>) {
    match &answer.stop {
        stop if stop.is_truncation() => ("max_tokens", None),
        Stop::Sequence(sequence) => ("stop_sequence", Some(sequence)),
        _ => ("stop_sequence", Some(HUMAN)),
    }
}

pub fn body(answer: &Answer) -> Value {
    let (reason, stop) = stop(answer);
    json!({ "type": "completion", "completion": answer.text, "stop_reason": reason, "stop": stop })
}

pub fn speech(answer: &Answer) -> Speech {
    let (reason, stop) = stop(answer);
    let chunk =
        |text: &str| json!({ "type": "completion", "completion": text, "stop_reason": null, "stop": null });
    plain(
        answer,
        chunk,
        json!({ "type": "completion", "completion": "", "stop_reason": reason, "stop": stop }),
    )
}
