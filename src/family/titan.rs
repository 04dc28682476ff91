//! Amazon Titan Text
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html>).

use serde::Deserialize;

use super::answer::{Answer, parse};
use super::json::Object;
use super::settings::Settings;
use super::template::{LINED, defused, joined};
use super::{FamilyError, attachment};
use crate::catalog::Model;
use crate::domain::Call;

pub(super) fn request(model: &Model, call: &Call, settings: &Settings) -> Result<Object, FamilyError> {
    attachment::refuse(model, call)?;
    let stops = &call.options.stop_sequences;
    if !stops.iter().all(|stop| stop == "User:" || stop.chars().all(|c| c == '|')) {
        return Err(FamilyError::Unsupported {
            model: model.id.clone(),
            what: "stop sequences but `User:` and bars",
        });
    }
    let text = joined(call);
    let mut generation = Object::new().with("maxTokenCount", call.max_tokens);
    generation.put_some("temperature", settings.temperature);
    generation.put_some("topP", settings.top_p);
    generation.put_strings("stopSequences", stops);
    let prompt = format!("User: {}\nBot:", defused(&text, LINED));
    Ok(Object::new().with("inputText", prompt).with("textGenerationConfig", generation))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    input_text_token_count: Option<u64>,
    results: Vec<Completion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Completion {
    token_count: Option<u64>,
    output_text: String,
    completion_reason: Option<String>,
}

pub(super) fn read(body: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let whole: Whole = parse(body)?;
    let result = whole.results.first().ok_or(FamilyError::Missing { what: "result" })?;
    answer.say(&result.output_text);
    answer.tokens(whole.input_text_token_count, result.token_count);
    if let Some(word) = &result.completion_reason {
        answer.stop(word);
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    output_text: String,
    input_text_token_count: Option<u64>,
    total_output_text_token_count: Option<u64>,
    completion_reason: Option<String>,
}

pub(super) fn read_chunk(chunk: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let chunk: Chunk = parse(chunk)?;
    answer.say(&chunk.output_text);
    answer.tokens(chunk.input_text_token_count, chunk.total_output_text_token_count);
    if let Some(word) = &chunk.completion_reason {
        answer.stop(word);
    }
    Ok(())
}
