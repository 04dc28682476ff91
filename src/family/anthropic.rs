//! Claude by its Messages interface
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html>).

use serde::Deserialize;

use super::answer::{Answer, parse};
use super::cache::{caches, shared_bytes};
use super::json::{Json, Object};
use super::settings::{AnswerForm, Settings};
use super::{FamilyError, attachment};
use crate::catalog::Model;
use crate::domain::{AttachmentKind, Call};

/// The only one there is.
const VERSION: &str = "bedrock-2023-05-31";

pub(super) fn request(model: &Model, call: &Call, settings: &Settings) -> Object {
    let caches = caches(model, call);
    let mut body = Object::new().with("anthropic_version", VERSION).with("max_tokens", call.max_tokens);
    if let Some(system) = call.system.as_deref().filter(|system| !system.is_empty()) {
        body.put("system", vec![text_block(system, caches)]);
    }
    let message = Object::new().with("role", "user").with("content", content(model, call));
    body.put("messages", vec![message.into()]);
    body.put_some("temperature", settings.temperature);
    body.put_some("top_p", settings.top_p);
    body.put_strings("stop_sequences", &call.options.stop_sequences);
    for (field, value) in settings.reasoning.iter() {
        body.put(field, value.clone());
    }
    let mut output = Object::new();
    output.put_some("effort", settings.effort);
    match &settings.form {
        AnswerForm::Prose => {}
        AnswerForm::Schema { schema, .. } => {
            output.put("format", Object::new().with("type", "json_schema").with("schema", schema.clone()));
        }
        AnswerForm::Tool { name, schema } => {
            let tool = Object::new().with("name", name.as_str()).with("input_schema", schema.clone());
            body.put("tools", vec![tool.into()]);
            body.put("tool_choice", Object::new().with("type", "tool").with("name", name.as_str()));
        }
    }
    if !output.is_empty() {
        body.put("output_config", output);
    }
    body
}

fn text_block(text: &str, is_cached: bool) -> Json {
    let mut block = Object::new().with("type", "text").with("text", text);
    if is_cached {
        block.put("cache_control", Object::new().with("type", "ephemeral"));
    }
    block.into()
}

fn content(model: &Model, call: &Call) -> Json {
    let mut blocks = Vec::new();
    for attachment in &call.attachments {
        let block_type = if attachment.kind == AttachmentKind::Pdf { "document" } else { "image" };
        let source = Object::new()
            .with("type", "base64")
            .with("media_type", attachment::media_type(attachment.kind))
            .with("data", attachment::base64(attachment));
        blocks.push(Object::new().with("type", block_type).with("source", source).into());
    }
    let (shared, own) = call.user.split_at(shared_bytes(model, call));
    if !shared.is_empty() {
        blocks.push(text_block(shared, true));
    }
    // Blocks without text are refused.
    if !own.is_empty() {
        blocks.push(text_block(own, false));
    }
    blocks.into()
}

#[derive(Deserialize)]
struct Whole {
    content: Vec<Block>,
    stop_reason: Option<String>,
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Block {
    r#type: String,
    text: Option<String>,
    input: Option<Json>,
}

#[derive(Deserialize)]
struct Tokens {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

impl Tokens {
    fn note(&self, answer: &mut Answer) {
        answer.tokens(self.input_tokens, self.output_tokens);
        answer.cached_tokens(self.cache_read_input_tokens, self.cache_creation_input_tokens);
    }
}

/// Reasoning has blocks of its own types, which are passed over.
pub(super) fn read(body: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let whole: Whole = parse(body)?;
    for block in &whole.content {
        match block.r#type.as_str() {
            "text" => answer.say(block.text.as_deref().ok_or(FamilyError::Missing { what: "text" })?),
            "tool_use" => {
                let input = block.input.as_ref().ok_or(FamilyError::Missing { what: "tool input" })?;
                answer.begin_tool();
                answer.add_tool_input(&input.to_string());
            }
            _ => {}
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

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Begun,
    },
    ContentBlockStart {
        content_block: Block,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    MessageDelta {
        delta: Ending,
        usage: Option<Tokens>,
    },
    Error {
        error: Fault,
    },
    /// Pings, ends of blocks and of the message, and what is yet to be invented.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Begun {
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Ending {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Fault {
    r#type: String,
}

pub(super) fn read_chunk(chunk: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    match parse(chunk)? {
        Event::MessageStart { message } => {
            if let Some(tokens) = message.usage {
                tokens.note(answer);
            }
        }
        Event::ContentBlockStart { content_block } => match content_block.r#type.as_str() {
            "text" => answer.say(content_block.text.as_deref().unwrap_or_default()),
            "tool_use" => answer.begin_tool(),
            _ => {}
        },
        Event::ContentBlockDelta { delta } => match delta {
            Delta::Text { text } => answer.say(&text),
            Delta::InputJson { partial_json } => answer.add_tool_input(&partial_json),
            Delta::Thinking { thinking } => answer.think(&thinking),
            Delta::Other => {}
        },
        Event::MessageDelta { delta, usage } => {
            if let Some(word) = &delta.stop_reason {
                answer.stop(word);
            }
            if let Some(tokens) = usage {
                tokens.note(answer);
            }
        }
        Event::Error { error } => {
            return Err(FamilyError::BrokeOff { kind: super::stop_reason(&error.r#type).to_string() });
        }
        Event::Other => {}
    }
    Ok(())
}
