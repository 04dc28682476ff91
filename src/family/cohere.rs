//! Cohere Command, which reads one prompt, and Command R, which takes a message
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-cohere-command.html>).

use serde::Deserialize;

use super::answer::{Answer, parse};
use super::json::Object;
use super::settings::Settings;
use super::template::{PIPED, defused, joined};
use super::{FamilyError, attachment};
use crate::catalog::Model;
use crate::domain::Call;

/// `max_tokens` is 20 where it is left out, and prompts that are too long are cut unless that is forbidden.
pub(super) fn command_request(
    model: &Model,
    call: &Call,
    settings: &Settings,
    streamed: bool,
) -> Result<Object, FamilyError> {
    attachment::refuse(model, call)?;
    let text = joined(call);
    let body = Object::new().with("prompt", &*defused(&text, PIPED));
    let mut body = sampled(body, call, settings).with("truncate", "NONE");
    if streamed {
        body.put("stream", true);
    }
    Ok(body)
}

pub(super) fn command_r_request(
    model: &Model,
    call: &Call,
    settings: &Settings,
) -> Result<Object, FamilyError> {
    attachment::refuse(model, call)?;
    let mut body = Object::new().with("message", call.user.as_str());
    body.put_some("preamble", call.system.as_deref().filter(|system| !system.is_empty()));
    Ok(sampled(body, call, settings))
}

fn sampled(mut body: Object, call: &Call, settings: &Settings) -> Object {
    body.put("max_tokens", call.max_tokens);
    body.put_some("temperature", settings.temperature);
    body.put_some("p", settings.top_p);
    body.put_strings("stop_sequences", &call.options.stop_sequences);
    body
}

#[derive(Deserialize)]
struct Whole {
    generations: Vec<Generation>,
}

#[derive(Deserialize)]
struct Generation {
    text: String,
    finish_reason: Option<String>,
}

pub(super) fn read_command(body: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let whole: Whole = parse(body)?;
    let generation = whole.generations.first().ok_or(FamilyError::Missing { what: "generation" })?;
    answer.say(&generation.text);
    if let Some(word) = &generation.finish_reason {
        answer.stop(word);
    }
    Ok(())
}

/// The last one may come without text.
#[derive(Deserialize)]
struct Chunk {
    text: Option<String>,
    finish_reason: Option<String>,
}

pub(super) fn read_command_chunk(chunk: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let chunk: Chunk = parse(chunk)?;
    answer.say(chunk.text.as_deref().unwrap_or_default());
    if let Some(word) = &chunk.finish_reason {
        answer.stop(word);
    }
    Ok(())
}

pub(super) fn read_command_r(body: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let generation: Generation = parse(body)?;
    answer.say(&generation.text);
    if let Some(word) = &generation.finish_reason {
        answer.stop(word);
    }
    Ok(())
}

#[derive(Deserialize)]
struct Event {
    event_type: String,
    text: Option<String>,
    finish_reason: Option<String>,
}

pub(super) fn read_command_r_chunk(chunk: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let event: Event = parse(chunk)?;
    match event.event_type.as_str() {
        "text-generation" => answer.say(event.text.as_deref().unwrap_or_default()),
        // It repeats the whole answer.
        "stream-end" => {
            if let Some(word) = &event.finish_reason {
                answer.stop(word);
            }
        }
        _ => {}
    }
    Ok(())
}
