//! CountTokens: the same number that Converse bills, for nothing (API reference: CountTokens).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Value, json};

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
            let members =
                node.members(&["messages", "system", "toolConfig", "additionalModelRequestFields"])?;
            Conversation::read(&members, limits)?.input_tokens(limits)?
        }
        (_, node) => native(&node)?.input_tokens(limits)?,
    };
    Ok(json!({ "inputTokens": tokens }))
}

/// The conversation in a native body. All models whose tokens are counted are Claude, so it is the Messages API's shape.
fn native(node: &Node) -> Result<Conversation, Refusal> {
    let body = node.members(&["body"])?.need("body")?;
    let not_json = || body.invalid("Member must be JSON in base64");
    let decoded = BASE64.decode(body.text()?).map_err(|_| not_json())?;
    let parsed: Value = serde_json::from_slice(&decoded).map_err(|_| not_json())?;
    let members = Node::root(&parsed).object()?;
    let mut system = Vec::new();
    if let Some(node) = members.get("system") {
        texts(&node, &mut system)?;
    }
    let mut messages = Vec::new();
    for node in members.need("messages")?.items()? {
        let mut message = Vec::new();
        texts(&node.object()?.need("content")?, &mut message)?;
        messages.push(message);
    }
    Ok(Conversation::of_texts(system, messages))
}

/// A text, or the texts of a list of blocks.
fn texts(node: &Node, texts: &mut Vec<String>) -> Result<(), Refusal> {
    if let Ok(text) = node.text() {
        texts.push(text.to_owned());
        return Ok(());
    }
    for block in node.items()? {
        if let Some(text) = block.object()?.get("text") {
            texts.push(text.text()?.to_owned());
        }
    }
    Ok(())
}
