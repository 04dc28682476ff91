//! Mistral: the older models read one prompt, those from 24.07 on take messages
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral.html>).

use serde::Deserialize;

use super::answer::{Answer, parse};
use super::json::{Json, Object};
use super::settings::{AnswerForm, Settings};
use super::template::{BRACKETED, defused, joined};
use super::{FamilyError, attachment};
use crate::catalog::Model;
use crate::domain::Call;

pub(super) fn text_request(model: &Model, call: &Call, settings: &Settings) -> Result<Object, FamilyError> {
    attachment::refuse(model, call)?;
    let text = joined(call);
    let prompt = format!("<s>[INST] {} [/INST]", defused(&text, BRACKETED));
    Ok(sampled(Object::new().with("prompt", prompt), call, settings))
}

pub(super) fn chat_request(model: &Model, call: &Call, settings: &Settings) -> Result<Object, FamilyError> {
    let mut body = Object::new().with("messages", messages(model, call)?);
    body = sampled(body, call, settings);
    // With one tool to choose from, "any" is that one.
    hold_to_form(&mut body, &settings.form, |_| "any".into());
    Ok(body)
}

fn sampled(mut body: Object, call: &Call, settings: &Settings) -> Object {
    body.put("max_tokens", call.max_tokens);
    body.put_some("temperature", settings.temperature);
    body.put_some("top_p", settings.top_p);
    body.put_strings("stop", &call.options.stop_sequences);
    body
}

/// System and user, as the chat completions interface takes them.
pub(super) fn messages(model: &Model, call: &Call) -> Result<Vec<Json>, FamilyError> {
    let mut messages = Vec::with_capacity(2);
    if let Some(system) = call.system.as_deref().filter(|system| !system.is_empty()) {
        messages.push(Object::new().with("role", "system").with("content", system).into());
    }
    let content = attachment::chat_content(model, call, &call.user)?;
    messages.push(Object::new().with("role", "user").with("content", content).into());
    Ok(messages)
}

/// How models of the chat completions interface are held to a schema (User Guide, "Get validated JSON results from
/// models"). `choice` is how the family writes that the tool of this name must be called.
pub(super) fn hold_to_form(body: &mut Object, form: &AnswerForm, choice: fn(&str) -> Json) {
    let named =
        |name: &str, key: &str, schema: &Json| Object::new().with("name", name).with(key, schema.clone());
    match form {
        AnswerForm::Prose => {}
        AnswerForm::Schema { name, schema } => {
            let schema = named(name, "schema", schema);
            body.put(
                "response_format",
                Object::new().with("type", "json_schema").with("json_schema", schema),
            );
        }
        AnswerForm::Tool { name, schema } => {
            let function = named(name, "parameters", schema);
            body.put("tools", vec![Object::new().with("type", "function").with("function", function).into()]);
            body.put("tool_choice", choice(name));
        }
    }
}

#[derive(Deserialize)]
struct Whole {
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    text: String,
    stop_reason: Option<String>,
}

pub(super) fn read_text(body: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let whole: Whole = parse(body)?;
    let output = whole.outputs.first().ok_or(FamilyError::Missing { what: "output" })?;
    answer.say(&output.text);
    if let Some(word) = &output.stop_reason {
        answer.stop(word);
    }
    Ok(())
}

pub(super) fn read_text_chunk(chunk: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    read_text(chunk, answer)
}
