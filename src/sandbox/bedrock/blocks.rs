//! Messages and system prompts made of content blocks: the part of a request that Converse, CountTokens and Nova's own body
//! have in common (API reference: Message, ContentBlock).

use super::conversation::{Conversation, Message, Part, Role};
use super::exhibit::{self, DOCUMENT_FORMATS, Exhibit, IMAGE_FORMATS};
use super::extras::{cache_point, unsupported};
use super::input::{Members, Node};
use super::models::Limits;
use super::refusal::Refusal;

/// Members of a content block; those that the stand-in does not read are known so that they are refused in other words.
const BLOCK: &[&str] = &[
    "text",
    "image",
    "document",
    "video",
    "audio",
    "toolUse",
    "toolResult",
    "guardContent",
    "cachePoint",
    "reasoningContent",
    "citationsContent",
    "searchResult",
    "toolAddition",
    "toolRemoval",
];

/// Reads the members `messages` and `system`.
pub fn read(members: &Members, limits: &Limits) -> Result<Conversation, Refusal> {
    let system = match members.get("system") {
        None => Vec::new(),
        Some(_) if !limits.system_prompt => {
            return Err(Refusal::validation(
                "This model doesn't support the system field. Remove system and try again.",
            ));
        }
        Some(node) => system(&node, limits)?,
    };
    let mut messages = Vec::new();
    for node in members.need("messages")?.items()? {
        messages.push(message(&node, limits)?);
    }
    if messages.first().is_none_or(|message| message.role != Role::User) {
        return Err(Refusal::validation(
            "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
        ));
    }
    if messages.windows(2).any(|pair| pair[0].role == pair[1].role) {
        return Err(Refusal::validation(
            "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again.",
        ));
    }
    let conversation = Conversation { tools: Vec::new(), system, messages };
    exhibit::check(conversation.parts().filter_map(|part| match part {
        Part::Shown(exhibit) => Some(exhibit),
        _ => None,
    }))?;
    Ok(conversation)
}

fn system(node: &Node, limits: &Limits) -> Result<Vec<Part>, Refusal> {
    let mut parts = Vec::new();
    for block in node.items()? {
        parts.push(match block.union(&["text", "guardContent", "cachePoint"])? {
            ("text", text) => Part::Text(not_blank(&text, "SystemContentBlock", &block)?),
            ("cachePoint", point) => cache_point(&point, limits, false)?,
            (_, other) => guarded(&other)?,
        });
    }
    Ok(parts)
}

fn message(node: &Node, limits: &Limits) -> Result<Message, Refusal> {
    let members = node.members(&["role", "content"])?;
    let role = match members.need("role")?.one_of(&["user", "assistant"])? {
        "user" => Role::User,
        _ => Role::Assistant,
    };
    let blocks = members.need("content")?.items()?;
    if blocks.is_empty() {
        let place = node.dotted();
        return Err(Refusal::validation(format!(
            "The content field in the Message object at {place} is empty. Add a ContentBlock object to the content field and try again."
        )));
    }
    let (mut parts, mut has_document) = (Vec::new(), false);
    for block in &blocks {
        let (name, inner) = block.union(BLOCK)?;
        has_document |= name == "document";
        parts.extend(part(name, &inner, block, role, limits)?);
    }
    if has_document && !parts.iter().any(|part| matches!(part, Part::Text(_) | Part::Guarded(_))) {
        return Err(Refusal::validation(
            "A text block is required in a message that has a document block. Add a text block and try again.",
        ));
    }
    Ok(Message { role, parts })
}

fn part(name: &str, node: &Node, block: &Node, role: Role, limits: &Limits) -> Result<Option<Part>, Refusal> {
    let part = match name {
        "text" => Part::Text(not_blank(node, "ContentBlock", block)?),
        "cachePoint" => cache_point(node, limits, false)?,
        "guardContent" => guarded(node)?,
        "image" if role == Role::User => Part::Shown(image(node, limits)?),
        "document" if role == Role::User => Part::Shown(document(node, limits)?),
        "toolUse" if role == Role::Assistant => {
            let members = node.members(&["toolUseId", "name", "input", "type"])?;
            members.need("toolUseId")?.text()?;
            Part::Data(format!("{} {}", members.need("name")?.text()?, members.need("input")?.value()))
        }
        "toolResult" if role == Role::User => {
            let members = node.members(&["toolUseId", "content", "status", "type"])?;
            members.need("toolUseId")?.text()?;
            Part::Data(members.need("content")?.value().to_string())
        }
        // A model's own thoughts, sent back: not read again.
        "reasoningContent" if role == Role::Assistant => return Ok(None),
        name => {
            let message = format!(
                "The model returned the following errors: the sandbox's model does not read {name} blocks here"
            );
            return Err(Refusal::validation(message));
        }
    };
    Ok(Some(part))
}

fn image(node: &Node, limits: &Limits) -> Result<Exhibit, Refusal> {
    if !limits.can.images {
        return Err(unsupported("image"));
    }
    let members = node.members(&["format", "source"])?;
    let format = members.need("format")?.one_of(IMAGE_FORMATS)?;
    let (_, bytes) = members.need("source")?.union(&["bytes"])?;
    Exhibit::image(format, &exhibit::decode(bytes.text()?)?)
}

fn document(node: &Node, limits: &Limits) -> Result<Exhibit, Refusal> {
    if !limits.can.documents {
        return Err(unsupported("document"));
    }
    let members = node.members(&["format", "name", "source", "context", "citations"])?;
    let name = members.need("name")?;
    if !exhibit::is_name(name.text()?) {
        return Err(Refusal::validation(
            "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, parentheses, and square brackets. The name can't contain more than one consecutive whitespace character.",
        ));
    }
    let format = members.get("format").map_or(Ok("txt"), |format| format.one_of(DOCUMENT_FORMATS))?;
    match members.need("source")?.union(&["bytes", "text"])? {
        ("bytes", bytes) => Exhibit::document(format, &exhibit::decode(bytes.text()?)?),
        (_, text) => Exhibit::document("txt", text.text()?.as_bytes()),
    }
}

fn not_blank(text: &Node, object: &str, block: &Node) -> Result<String, Refusal> {
    let value = text.text()?;
    if value.trim().is_empty() {
        let place = block.dotted();
        return Err(Refusal::validation(format!(
            "The text field in the {object} object at {place} is blank. Add text to the text field, and try again."
        )));
    }
    Ok(value.to_owned())
}

fn guarded(node: &Node) -> Result<Part, Refusal> {
    let text = node.members(&["text"])?.need("text")?;
    let members = text.members(&["text", "qualifiers"])?;
    Ok(Part::Guarded(members.need("text")?.text()?.to_owned()))
}
