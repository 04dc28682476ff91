//! Messages and system prompt: the part of a request that Converse and CountTokens have in common.

use crate::tokens::{self, Encoding};

use super::input::{Members, Node};
use super::models::Limits;
use super::refusal::Refusal;

/// What a message adds to the tokens of its text, and a request to those of its messages: roles and separators.
const MESSAGE_TOKENS: u64 = 4;
const REQUEST_TOKENS: u64 = 3;

/// Members of a content block; those of later issues are known so that they are refused in other words.
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

/// A valid conversation. Text blocks only: the stand-in reads nothing else.
#[derive(Debug)]
pub struct Conversation {
    system: Vec<String>,
    messages: Vec<Message>,
}

#[derive(Debug)]
struct Message {
    role: Role,
    texts: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    User,
    Assistant,
}

impl Conversation {
    /// Reads the members `messages` and `system`.
    pub fn read(members: &Members, limits: &Limits) -> Result<Conversation, Refusal> {
        let system = match members.get("system") {
            None => Vec::new(),
            Some(_) if !limits.system_prompt => {
                return Err(Refusal::validation(
                    "This model doesn't support the system field. Remove system and try again.",
                ));
            }
            Some(node) => system(&node)?,
        };
        let mut messages = Vec::new();
        for node in members.need("messages")?.items()? {
            messages.push(message(&node)?);
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
        Ok(Conversation { system, messages })
    }

    /// One that was read elsewhere: the texts of its system prompt and of each of its messages, to be counted.
    pub fn of_texts(system: Vec<String>, messages: Vec<Vec<String>>) -> Conversation {
        let messages = messages.into_iter().map(|texts| Message { role: Role::User, texts }).collect();
        Conversation { system, messages }
    }

    /// The tokens that are billed as input; refused if they do not fit the model.
    pub fn input_tokens(&self, limits: &Limits) -> Result<u64, Refusal> {
        let too_long = || Refusal::validation("Input is too long for requested model.");
        let texts = || self.system.iter().chain(self.messages.iter().flat_map(|message| &message.texts));
        // The longest token of the vocabulary has 128 bytes: a text that can not fit need not be counted.
        let bytes: usize = texts().map(String::len).sum();
        if bytes as u64 / 128 > limits.window_tokens {
            return Err(too_long());
        }
        let tokens: u64 = texts().map(|text| tokens::count(text, Encoding::O200kBase)).sum();
        let tokens = tokens + MESSAGE_TOKENS * self.messages.len() as u64 + REQUEST_TOKENS;
        if tokens > limits.window_tokens { Err(too_long()) } else { Ok(tokens) }
    }

    /// What the last user message says.
    pub fn question(&self) -> String {
        let last = self.messages.iter().rev().find(|message| message.role == Role::User);
        last.map(|message| message.texts.join("\n")).unwrap_or_default()
    }
}

fn system(node: &Node) -> Result<Vec<String>, Refusal> {
    let mut texts = Vec::new();
    for block in node.items()? {
        match block.union(&["text", "guardContent", "cachePoint"])? {
            ("text", text) => texts.push(not_blank(&text, "SystemContentBlock", &block)?),
            ("cachePoint", point) => cache_point(&point)?,
            (_, other) => texts.push(guarded(&other)?),
        }
    }
    Ok(texts)
}

fn message(node: &Node) -> Result<Message, Refusal> {
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
    let mut texts = Vec::new();
    for block in blocks {
        match block.union(BLOCK)? {
            ("text", text) => texts.push(not_blank(&text, "ContentBlock", &block)?),
            ("cachePoint", point) => cache_point(&point)?,
            ("guardContent", guard) => texts.push(guarded(&guard)?),
            // A model's own thoughts, sent back: not read again.
            ("reasoningContent", _) if role == Role::Assistant => {}
            (name, _) => {
                let message = format!(
                    "The model returned the following errors: the sandbox's model reads text, not {name} blocks"
                );
                return Err(Refusal::validation(message));
            }
        }
    }
    Ok(Message { role, texts })
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

fn guarded(node: &Node) -> Result<String, Refusal> {
    let text = node.members(&["text"])?.need("text")?;
    let members = text.members(&["text", "qualifiers"])?;
    Ok(members.need("text")?.text()?.to_owned())
}

fn cache_point(node: &Node) -> Result<(), Refusal> {
    let members = node.members(&["type", "ttl"])?;
    members.need("type")?.one_of(&["default"])?;
    members.get("ttl").map_or(Ok(()), |ttl| ttl.one_of(&["5m", "1h"]).map(|_| ()))
}
