//! Amazon Nova: the shapes of Converse in an InvokeModel body
//! (<https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html>).

use serde::Deserialize;

use super::FamilyError;
use super::answer::{Answer, parse};
use super::attachment;
use super::cache::{caches, shared_bytes};
use super::json::{Json, Object};
use super::settings::{AnswerForm, Settings};
use crate::catalog::Model;
use crate::domain::{AttachmentKind, Call};

pub(super) fn request(model: &Model, call: &Call, settings: &Settings) -> Object {
    let caches = caches(model, call);
    let mut body = Object::new().with("schemaVersion", "messages-v1");
    if let Some(system) = call.system.as_deref().filter(|system| !system.is_empty()) {
        let mut blocks = vec![text_block(system)];
        if caches {
            blocks.push(cache_point());
        }
        body.put("system", blocks);
    }
    let message = Object::new().with("role", "user").with("content", content(model, call));
    body.put("messages", vec![message.into()]);
    let mut inference = Object::new().with("maxTokens", call.max_tokens);
    inference.put_some("temperature", settings.temperature);
    inference.put_some("topP", settings.top_p);
    inference.put_strings("stopSequences", &call.options.stop_sequences);
    for (field, value) in settings.reasoning.iter() {
        inference.put(field, value.clone());
    }
    body.put("inferenceConfig", inference);
    if let AnswerForm::Tool { name, schema } = &settings.form {
        let input = Object::new().with("json", schema.clone());
        let spec = Object::new().with("name", name.as_str()).with("inputSchema", input);
        let choice = Object::new().with("tool", Object::new().with("name", name.as_str()));
        let tools = vec![Object::new().with("toolSpec", spec).into()];
        body.put("toolConfig", Object::new().with("tools", tools).with("toolChoice", choice));
    }
    body
}

fn text_block(text: &str) -> Json {
    Object::new().with("text", text).into()
}

fn cache_point() -> Json {
    Object::new().with("cachePoint", Object::new().with("type", "default")).into()
}

fn content(model: &Model, call: &Call) -> Json {
    let mut blocks = Vec::new();
    for (number, attachment) in call.attachments.iter().enumerate() {
        let source = Object::new().with("bytes", attachment::base64(attachment));
        let block = Object::new().with("format", attachment::format(attachment.kind));
        blocks.push(match attachment.kind {
            // A name is asked for, and the model reads it: it must not be somebody else's words.
            AttachmentKind::Pdf => {
                let named = block.with("name", format!("document {}", number + 1)).with("source", source);
                Object::new().with("document", named).into()
            }
            _ => Object::new().with("image", block.with("source", source)).into(),
        });
    }
    let (shared, own) = call.user.split_at(shared_bytes(model, call));
    if !shared.is_empty() {
        blocks.push(text_block(shared));
        blocks.push(cache_point());
    }
    if !own.is_empty() {
        blocks.push(text_block(own));
    }
    blocks.into()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    output: Output,
    stop_reason: Option<String>,
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Output {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Vec<Block>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    text: Option<String>,
    tool_use: Option<ToolUse>,
}

#[derive(Deserialize)]
struct ToolUse {
    input: Option<Json>,
}

/// Cached tokens have had two names.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tokens {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    cache_read_input_token_count: Option<u64>,
    cache_write_input_token_count: Option<u64>,
}

impl Tokens {
    fn note(&self, answer: &mut Answer) {
        answer.tokens(self.input_tokens, self.output_tokens);
        let read = self.cache_read_input_tokens.or(self.cache_read_input_token_count);
        let write = self.cache_write_input_tokens.or(self.cache_write_input_token_count);
        answer.cached_tokens(read, write);
    }
}

pub(super) fn read(body: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let whole: Whole = parse(body)?;
    for block in &whole.output.message.content {
        if let Some(text) = &block.text {
            answer.say(text);
        }
        if let Some(tool) = &block.tool_use {
            let input = tool.input.as_ref().ok_or(FamilyError::Missing { what: "tool input" })?;
            answer.begin_tool();
            answer.add_tool_input(&input.to_string());
        }
    }
    if let Some(word) = &whole.stop_reason {
        answer.stop(word);
    }
    if let Some(tokens) = &whole.usage {
        tokens.note(answer);
    }
    Ok(())
}

/// One of these is there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    content_block_start: Option<Started>,
    content_block_delta: Option<Added>,
    message_stop: Option<Stopped>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Started {
    start: Option<Start>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    tool_use: Option<Json>,
}

#[derive(Deserialize)]
struct Added {
    delta: Delta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta {
    text: Option<String>,
    tool_use: Option<Piece>,
    reasoning_content: Option<Json>,
}

#[derive(Deserialize)]
struct Piece {
    input: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stopped {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    usage: Option<Tokens>,
}

pub(super) fn read_chunk(chunk: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let chunk: Chunk = parse(chunk)?;
    if chunk.content_block_start.and_then(|started| started.start?.tool_use).is_some() {
        answer.begin_tool();
    }
    if let Some(Added { delta }) = chunk.content_block_delta {
        answer.say(delta.text.as_deref().unwrap_or_default());
        if let Some(piece) = delta.tool_use {
            answer.add_tool_input(piece.input.as_deref().unwrap_or_default());
        }
        if let Some(reasoning) = delta.reasoning_content {
            answer.think(&reasoning.to_string());
        }
    }
    if let Some(word) = chunk.message_stop.and_then(|stopped| stopped.stop_reason) {
        answer.stop(&word);
    }
    if let Some(tokens) = chunk.metadata.and_then(|metadata| metadata.usage) {
        tokens.note(answer);
    }
    Ok(())
}
