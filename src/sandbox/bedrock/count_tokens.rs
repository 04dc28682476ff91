//! CountTokens: the same number that Converse bills, for nothing (API reference: CountTokens).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Value, json};

use super::conversation::Conversation;
use super::input::{self, Node};
use super::models::Limits;
use super::refusal::Refusal;
use super::{blocks, extras, native};

/// Answers a request body. CPU work.
pub fn answer(limits: &Limits, body: &Bytes) -> Result<Value, Refusal> {
    let body = input::parse(body)?;
    let members = Node::root(&body).members(&["input"])?;
    let conversation = match members.need("input")?.union(&["converse", "invokeModel"])? {
        ("converse", node) => {
            let members =
                node.members(&["messages", "system", "toolConfig", "additionalModelRequestFields"])?;
            let mut conversation = blocks::read(&members, limits)?;
            conversation.tools = extras::tools(&members, limits, "")?.0;
            conversation
        }
        (_, node) => native(&node, limits)?,
    };
    Ok(json!({ "inputTokens": conversation.measure(limits)?.input_tokens }))
}

/// The conversation in a native body.
fn native(node: &Node, limits: &Limits) -> Result<Conversation, Refusal> {
    let body = node.members(&["body"])?.need("body")?;
    let not_json = || body.invalid("Member must be JSON in base64");
    let decoded = BASE64.decode(body.text()?).map_err(|_| not_json())?;
    let parsed: Value = serde_json::from_slice(&decoded).map_err(|_| not_json())?;
    Ok(native::read(&parsed, limits, false)?.conversation)
}
