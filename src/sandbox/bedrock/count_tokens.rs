//! CountTokens: the same number that Converse bills, for nothing (API reference: CountTokens).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::tokens::{self, Encoding};

use super::conversation::Conversation;
use super::input::{self, Node};
use super::models::Limits;
use super::refusal::Refusal;

/// Answers a request body. CPU work.
pub fn answer(limits: &Limits, body: &Bytes) -> Result<Value, Refusal> {
    let body = input::parse(body)?;
    let members = Node::root(&body).members(&["input"])?;
    let tokens = match members.need("input")?.union(&["converse", "invokeModel"])? {
        ("converse", node) => {
            let members = node.members(&["messages", "system", "toolConfig", "additionalModelRequestFields"])?;
            Conversation::read(&members, limits)?.input_tokens(limits)?
        }
        (_, node) => native(&node)?,
    };
    Ok(json!({ "inputTokens": tokens }))
}

/// A native body is counted as it is written: the families' shapes are not this file's to know.
fn native(node: &Node) -> Result<u64, Refusal> {
    let body = node.members(&["body"])?.need("body")?;
    let decoded = BASE64.decode(body.text()?).map_err(|_| body.invalid("Member must be base64"))?;
    let text = String::from_utf8(decoded).map_err(|_| body.invalid("Member must be JSON in UTF-8"))?;
    let parsed: Value = serde_json::from_str(&text).map_err(|_| body.invalid("Member must be JSON in UTF-8"))?;
    if !parsed.is_object() {
        return Err(body.invalid("Member must be a JSON object"));
    }
    Ok(tokens::count(&text, Encoding::O200kBase))
}
