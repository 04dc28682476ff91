//! Claude 2 and before: one prompt in which the speakers are named
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-text-completion.html>).

use serde::Deserialize;

use super::answer::{Answer, parse};
use super::json::Object;
use super::settings::Settings;
use super::template::{SPOKEN, defused, joined};
use super::{FamilyError, attachment};
use crate::catalog::Model;
use crate::domain::{Call, StopReason};

const HUMAN: &str = "\n\nHuman:";

pub(super) fn request(model: &Model, call: &Call, settings: &Settings) -> Result<Object, FamilyError> {
    attachment::refuse(model, call)?;
    let text = joined(call);
    let prompt = format!("{HUMAN} {}\n\nAssistant:", defused(&text, SPOKEN));
    let mut body = Object::new().with("prompt", prompt).with("max_tokens_to_sample", call.max_tokens);
    body.put_some("temperature", settings.temperature);
    body.put_some("top_p", settings.top_p);
    body.put_strings("stop_sequences", &call.options.stop_sequences);
    Ok(body)
}

#[derive(Deserialize)]
struct Completion {
    completion: String,
    stop_reason: Option<String>,
    /// Which sequence it was.
    stop: Option<String>,
}

pub(super) fn read(body: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let completion: Completion = parse(body)?;
    // It always begins with the space after the colon of the prompt.
    answer.say(completion.completion.strip_prefix(' ').unwrap_or(&completion.completion));
    stopped(&completion, answer);
    Ok(())
}

pub(super) fn read_chunk(chunk: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let completion: Completion = parse(chunk)?;
    let text = &completion.completion;
    answer.say(if answer.bytes() == 0 { text.strip_prefix(' ').unwrap_or(text) } else { text });
    stopped(&completion, answer);
    Ok(())
}

/// The model ends its turn by beginning the human's, which the interface takes for a stop sequence.
fn stopped(completion: &Completion, answer: &mut Answer) {
    match (completion.stop_reason.as_deref(), completion.stop.as_deref()) {
        (Some("stop_sequence"), None | Some(HUMAN)) => answer.stop_as(StopReason::EndTurn),
        (Some(word), _) => answer.stop(word),
        (None, _) => {}
    }
}
