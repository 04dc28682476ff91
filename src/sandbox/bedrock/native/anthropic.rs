//! Anthropic Claude, Messages API (user guide: Anthropic Claude Messages API). Errors are in the words of Anthropic's own
//! validation, which names places with dots.

use serde_json::{Value, json};

use super::super::answer::{Answer, SIGNATURE, Stop};
use super::super::conversation::{Conversation, Message, Part, Role};
use super::super::exhibit::{self, Exhibit};
use super::super::extras;
use super::super::input::{Members, Node};
use super::super::models::Limits;
use super::super::question::{Asked, Form};
use super::super::refusal::Refusal;
use super::super::schema;
use super::super::speech::Speech;
use super::{id, line, parameters, said};

const VERSION: &str = "bedrock-2023-05-31";
const REQUEST: &[&str] = &[
    "anthropic_version",
    "anthropic_beta",
    "max_tokens",
    "messages",
    "system",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "metadata",
];

pub fn read(body: &Value, limits: &Limits) -> Result<Asked, Refusal> {
    let members = strict(&Node::root(body), REQUEST)?;
    for name in ["anthropic_version", "max_tokens", "messages"] {
        if members.get(name).is_none() {
            return Err(refused(&format!("{name}: Field required")));
        }
    }
    if members.need("anthropic_version")?.text()? != VERSION {
        return Err(refused(&format!("anthropic_version: Input should be '{VERSION}'")));
    }
    let max_tokens = max_tokens(&members, limits)?;
    parameters::sampling(&members, limits, &[("temperature", 1.0), ("top_p", 1.0), ("top_k", 500.0)])?;
    if members.get("temperature").is_some() && members.get("top_p").is_some() && !limits.can.both_samplings {
        return Err(super::super::converse::both_samplings());
    }
    let thinking = members.get("thinking");
    let thinking = thinking.map(|node| extras::claude_thinking(&node, limits, max_tokens)).transpose()?;
    let mut conversation = conversation(&members, limits)?;
    let form = tools(&members, limits, &mut conversation)?;
    let form = match (form, output(&members, limits)?) {
        (Form::Prose, ordered) => ordered,
        (called, _) => called,
    };
    let stop_sequences = parameters::stops(&members, "stop_sequences")?;
    Ok(Asked { conversation, max_tokens, stop_sequences, thinking, form, ..Asked::default() })
}

fn max_tokens(members: &Members, limits: &Limits) -> Result<u32, Refusal> {
    let (wanted, most) = (members.need("max_tokens")?.integer(1)?, limits.max_output_tokens);
    u32::try_from(wanted).ok().filter(|wanted| *wanted <= most).ok_or_else(|| {
        let model = name(&limits.base_id);
        refused(&format!(
            "max_tokens: {wanted} > {most}, which is the maximum allowed number of output tokens for {model}"
        ))
    })
}

/// Members that are all known.
fn strict<'a>(node: &Node<'a>, known: &[&str]) -> Result<Members<'a>, Refusal> {
    let members = node.object()?;
    match members.names().find(|name| !known.contains(name)) {
        None => Ok(members),
        Some(name) => {
            let place = node.dotted();
            let place = if place == "#" { String::new() } else { format!("{place}.") };
            let name: String = name.chars().take(64).collect();
            Err(refused(&format!("{place}{name}: Extra inputs are not permitted")))
        }
    }
}

fn refused(what: &str) -> Refusal {
    Refusal::validation(what)
}

fn conversation(members: &Members, limits: &Limits) -> Result<Conversation, Refusal> {
    let system = members.get("system").map_or(Ok(Vec::new()), |node| content(&node, Role::User, limits))?;
    let mut messages = Vec::new();
    for node in members.need("messages")?.items()? {
        let members = strict(&node, &["role", "content"])?;
        let role = match members.need("role")?.one_of(&["user", "assistant"])? {
            "user" => Role::User,
            _ => Role::Assistant,
        };
        let parts = content(&members.need("content")?, role, limits)?;
        if parts.is_empty() {
            return Err(refused(&format!("{}: all messages must have non-empty content", node.dotted())));
        }
        messages.push(Message { role, parts });
    }
    if messages.first().is_none_or(|message| message.role != Role::User) {
        return Err(refused("messages: first message must use the \"user\" role"));
    }
    let conversation = Conversation { tools: Vec::new(), system, messages };
    exhibit::check(conversation.parts().filter_map(|part| match part {
        Part::Shown(exhibit) => Some(exhibit),
        _ => None,
    }))?;
    Ok(conversation)
}

/// A text, or blocks.
fn content(node: &Node, role: Role, limits: &Limits) -> Result<Vec<Part>, Refusal> {
    let mut parts = Vec::new();
    if let Ok(text) = node.text() {
        parts.push(Part::Text(text.to_owned()));
        return Ok(parts);
    }
    for block in node.items()? {
        let members = block.object()?;
        let kind = members.need("type")?;
        let known: &[&str] = match kind.text()? {
            "text" => &["type", "text", "cache_control", "citations"],
            "image" => &["type", "source", "cache_control"],
            "document" => &["type", "source", "title", "context", "citations", "cache_control"],
            "tool_use" => &["type", "id", "name", "input", "cache_control"],
            "tool_result" => &["type", "tool_use_id", "content", "is_error", "cache_control"],
            "thinking" | "redacted_thinking" if role == Role::Assistant => {
                &["type", "thinking", "signature", "data"]
            }
            _ => {
                let place = block.dotted();
                return Err(refused(&format!(
                    "{place}: Input tag found using 'type' does not match any of the expected tags"
                )));
            }
        };
        strict(&block, known)?;
        match kind.text()? {
            "text" => {
                let text = members.need("text")?;
                if text.text()?.trim().is_empty() {
                    return Err(refused("messages: text content blocks must contain non-whitespace text"));
                }
                parts.push(Part::Text(text.text()?.to_owned()));
            }
            "image" => parts.push(Part::Shown(image(&members, limits)?)),
            "document" => parts.push(Part::Shown(document(&members, limits)?)),
            "tool_use" => parts.push(Part::Data(format!(
                "{} {}",
                members.need("name")?.text()?,
                members.need("input")?.value()
            ))),
            "tool_result" => {
                parts.extend(members.get("content").map(|content| Part::Data(content.value().to_string())))
            }
            // A model's own thoughts, sent back: not read again.
            _ => {}
        }
        parts.extend(kept(&members, limits, false)?);
    }
    Ok(parts)
}

/// The place behind a block up to which the prompt is to be kept.
fn kept(members: &Members, limits: &Limits, in_tools: bool) -> Result<Option<Part>, Refusal> {
    let Some(node) = members.get("cache_control") else { return Ok(None) };
    let members = strict(&node, &["type", "ttl"])?;
    members.need("type")?.one_of(&["ephemeral"])?;
    let ttl = members.get("ttl").map(|ttl| ttl.one_of(&["5m", "1h"])).transpose()?;
    extras::keep(ttl, limits, in_tools).map(Some)
}

fn image(members: &Members, limits: &Limits) -> Result<Exhibit, Refusal> {
    if !limits.can.images {
        return Err(refused("'claude' does not support image input."));
    }
    let source = strict(&members.need("source")?, &["type", "media_type", "data"])?;
    source.need("type")?.one_of(&["base64"])?;
    let media = source.need("media_type")?.one_of(&["image/png", "image/jpeg", "image/gif", "image/webp"])?;
    let format = media.strip_prefix("image/").unwrap_or(media);
    Exhibit::image(format, &exhibit::decode(source.need("data")?.text()?)?)
}

fn document(members: &Members, limits: &Limits) -> Result<Exhibit, Refusal> {
    if !limits.can.documents {
        return Err(refused("'claude' does not support document input."));
    }
    let source = strict(&members.need("source")?, &["type", "media_type", "data"])?;
    let data = source.need("data")?.text()?;
    match source.need("type")?.one_of(&["base64", "text"])? {
        "text" => Exhibit::document("txt", data.as_bytes()),
        _ => {
            source.need("media_type")?.one_of(&["application/pdf"])?;
            Exhibit::document("pdf", &exhibit::decode(data)?)
        }
    }
}

fn tools(members: &Members, limits: &Limits, conversation: &mut Conversation) -> Result<Form, Refusal> {
    let mut specs = Vec::new();
    let items = members.get("tools").map_or(Ok(Vec::new()), |node| node.items())?;
    for tool in &items {
        let spec = strict(tool, &["type", "name", "description", "input_schema", "cache_control", "strict"])?;
        let (name, schema) = (spec.need("name")?.text()?, spec.need("input_schema")?);
        schema.object()?;
        if spec.get("strict").is_some_and(|strict| strict.value() == true) {
            schema::check(schema.value(), &format!("{}.input_schema", tool.dotted()))?;
        }
        specs.push((name.to_owned(), schema.value().clone()));
        conversation.tools.push(Part::Data(tool.value().to_string()));
        conversation.tools.extend(kept(&spec, limits, true)?);
    }
    let choice =
        members.get("tool_choice").map(|node| strict(&node, &["type", "name", "disable_parallel_tool_use"]));
    let chosen = match choice.transpose()? {
        None => None,
        Some(choice) => match choice.need("type")?.one_of(&["auto", "any", "tool"])? {
            "any" => Some(specs.first().cloned()),
            "tool" => {
                let name = choice.need("name")?.text()?.to_owned();
                Some(specs.iter().find(|(other, _)| *other == name).cloned())
            }
            _ => None,
        },
    };
    let question = conversation.question();
    let chosen = match chosen {
        Some(None) => return Err(refused("tool_choice: Tool not found in provided tools")),
        Some(chosen) if members.get("thinking").is_some_and(|node| node.value()["type"] != "disabled") => {
            drop(chosen);
            return Err(refused("Thinking may not be enabled when tool_choice forces tool use."));
        }
        Some(chosen) => chosen,
        // A model that may choose calls a tool that the question names.
        None => specs.into_iter().find(|(name, _)| question.contains(name.as_str())),
    };
    Ok(chosen.map_or(Form::Prose, |(name, schema)| Form::Tool { name, schema }))
}

fn output(members: &Members, limits: &Limits) -> Result<Form, Refusal> {
    let Some(node) = members.get("output_config") else { return Ok(Form::Prose) };
    let config = strict(&node, &["effort", "format"])?;
    if let Some(effort) = config.get("effort") {
        effort.one_of(&["low", "medium", "high", "xhigh", "max"])?;
    }
    let Some(node) = config.get("format") else { return Ok(Form::Prose) };
    if !limits.can.schema {
        return Err(refused("output_config.format: Extra inputs are not permitted"));
    }
    let format = strict(&node, &["type", "schema"])?;
    format.need("type")?.one_of(&["json_schema"])?;
    let schema = format.need("schema")?.value();
    schema::check(schema, "output_config.format.schema")?;
    Ok(Form::Json(schema.clone()))
}

/// What Anthropic calls the model.
fn name(base_id: &str) -> &str {
    let name = base_id.strip_prefix("anthropic.").unwrap_or(base_id);
    name.split("-v1:").next().unwrap_or(name).trim_end_matches("-v1")
}

/// A guardrail's words end as any others do: what tells them apart stands beside them.
fn stop(answer: &Answer) -> &'static str {
    match &answer.stop {
        Stop::GuardrailIntervened => "end_turn",
        Stop::ContentFiltered => "refusal",
        stop => stop.name(),
    }
}

pub fn body(model: &str, answer: &Answer) -> Value {
    let mut content = Vec::new();
    if !answer.reasoning.is_empty() {
        content.push(json!({ "type": "thinking", "thinking": answer.reasoning, "signature": SIGNATURE }));
    }
    if let Some(tool) = &answer.tool {
        let input: Value = serde_json::from_str(&answer.text).unwrap_or_else(|_| json!({}));
        content
            .push(json!({ "type": "tool_use", "id": tool_id(&tool.id), "name": tool.name, "input": input }));
    } else if !answer.text.is_empty() {
        content.push(json!({ "type": "text", "text": answer.text }));
    }
    json!({
        "id": id("msg_bdrk_", answer), "type": "message", "role": "assistant", "model": name(model), "content": content,
        "stop_reason": stop(answer), "stop_sequence": answer.stop.sequence(),
        "usage": usage(answer, answer.usage.output),
    })
}

fn tool_id(id: &str) -> String {
    id.replacen("tooluse_", "toolu_bdrk_", 1)
}

fn usage(answer: &Answer, output_tokens: u64) -> Value {
    let usage = answer.usage;
    json!({
        "input_tokens": usage.input, "output_tokens": output_tokens,
        "cache_creation_input_tokens": usage.cached.written(), "cache_read_input_tokens": usage.cached.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cached.written_5m, "ephemeral_1h_input_tokens": usage.cached.written_1h,
        },
    })
}

pub fn speech(model: &str, answer: &Answer) -> Speech {
    let message = json!({
        "id": id("msg_bdrk_", answer), "type": "message", "role": "assistant", "model": name(model), "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage(answer, 1),
    });
    let mut speech = Speech {
        before: vec![line(json!({ "type": "message_start", "message": message }))],
        ..Speech::default()
    };
    let start = |index: usize, block: Value| {
        line(json!({ "type": "content_block_start", "index": index, "content_block": block }))
    };
    let delta =
        |index: usize, delta: Value| json!({ "type": "content_block_delta", "index": index, "delta": delta });
    let end = |index: usize| line(json!({ "type": "content_block_stop", "index": index }));
    let mut index = 0;
    if !answer.reasoning.is_empty() {
        speech.before.push(start(0, json!({ "type": "thinking", "thinking": "", "signature": "" })));
        let thought = |piece: &str| delta(0, json!({ "type": "thinking_delta", "thinking": piece }));
        speech.before.extend(said(&answer.reasoning, thought));
        speech.before.push(line(delta(0, json!({ "type": "signature_delta", "signature": SIGNATURE }))));
        speech.before.push(end(0));
        index = 1;
    }
    if let Some(tool) = &answer.tool {
        let block = json!({ "type": "tool_use", "id": tool_id(&tool.id), "name": tool.name, "input": {} });
        speech.before.push(start(index, block));
        let piece = |piece: &str| delta(index, json!({ "type": "input_json_delta", "partial_json": piece }));
        speech.said = said(&answer.text, piece);
        speech.after.push(end(index));
    } else if !answer.text.is_empty() {
        speech.before.push(start(index, json!({ "type": "text", "text": "" })));
        speech.said =
            said(&answer.text, |piece| delta(index, json!({ "type": "text_delta", "text": piece })));
        speech.after.push(end(index));
    }
    let delta = json!({ "stop_reason": stop(answer), "stop_sequence": answer.stop.sequence() });
    let usage = json!({ "output_tokens": answer.usage.output });
    speech.stop.push(line(json!({ "type": "message_delta", "delta": delta, "usage": usage })));
    speech.stop.push(line(json!({ "type": "message_stop" })));
    speech
}
