//! Chat completions: messages with roles in, choices out. What the families that speak it differ in is a [`Dialect`].

use serde_json::{Value, json};

use super::super::abilities::Tools;
use super::super::answer::{Answer, Stop};
use super::super::conversation::{Conversation, Message, Part, Role};
use super::super::exhibit::{self, Exhibit};
use super::super::input::{Members, Node};
use super::super::models::Limits;
use super::super::question::{Asked, Form};
use super::super::refusal::Refusal;
use super::super::schema;
use super::super::speech::Speech;
use super::{id, line, parameters, said};

/// What a family's chat completion has and how it names it.
pub struct Dialect {
    pub known: &'static [&'static str],
    /// Names of the limit; one of them may be given.
    pub max_tokens: &'static [&'static str],
    pub temperature_max: f64,
    /// The member that says why a choice ends.
    pub reason: &'static str,
    pub id: &'static str,
    /// Whether the body says what it cost.
    pub usage: bool,
}

pub fn read(body: &Value, limits: &Limits, dialect: &Dialect, most: u32) -> Result<Asked, Refusal> {
    let members = Node::root(body).members(dialect.known)?;
    let given: Vec<&&str> = dialect.max_tokens.iter().filter(|name| members.get(name).is_some()).collect();
    let name = match given[..] {
        [] => dialect.max_tokens[0],
        [name] => name,
        _ => return Err(members.need(given[0])?.malformed("only one limit of tokens may be given")),
    };
    let max_tokens = parameters::max_tokens(&members, name, most, most)?;
    parameters::sampling(&members, limits, &[("temperature", dialect.temperature_max), ("top_p", 1.0)])?;
    if let Some(node) = members.get("n") {
        node.integer_within(1, 1)?;
    }
    let mut conversation = conversation(&members, limits)?;
    let form = tools(&members, limits, &mut conversation)?;
    let form = match (form, format(&members, limits)?) {
        (Form::Prose, ordered) => ordered,
        (called, _) => called,
    };
    let thinking = match members.get("reasoning_effort") {
        None => None,
        Some(effort) => Some(effort.one_of(&["none", "minimal", "low", "medium", "high"])? != "none"),
    };
    let stop_sequences = parameters::stops(&members, "stop")?;
    Ok(Asked { conversation, max_tokens, stop_sequences, thinking, form, ..Asked::default() })
}

fn conversation(members: &Members, limits: &Limits) -> Result<Conversation, Refusal> {
    let mut conversation = Conversation::default();
    for node in members.need("messages")?.items()? {
        let known = ["role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content"];
        let message = node.members(&known)?;
        let role = message.need("role")?.one_of(&["system", "developer", "user", "assistant", "tool"])?;
        let mut parts = message.get("content").map_or(Ok(Vec::new()), |content| parts(&content, limits))?;
        parts.extend(message.get("tool_calls").map(|calls| Part::Data(calls.value().to_string())));
        match role {
            "system" | "developer" => conversation.system.extend(parts),
            "assistant" => conversation.messages.push(Message { role: Role::Assistant, parts }),
            _ => conversation.messages.push(Message { role: Role::User, parts }),
        }
    }
    if !conversation.messages.iter().any(|message| message.role == Role::User) {
        return Err(members.need("messages")?.malformed("a message of the user is needed"));
    }
    Ok(conversation)
}

/// A text, or parts of texts and pictures.
fn parts(node: &Node, limits: &Limits) -> Result<Vec<Part>, Refusal> {
    if let Ok(text) = node.text() {
        return Ok(vec![Part::Text(text.to_owned())]);
    }
    let mut parts = Vec::new();
    for item in node.items()? {
        let part = item.members(&["type", "text", "image_url"])?;
        parts.push(match part.need("type")?.one_of(&["text", "image_url"])? {
            "text" => Part::Text(part.need("text")?.text()?.to_owned()),
            _ => Part::Shown(image(&part, limits)?),
        });
    }
    Ok(parts)
}

/// A picture in a data URL.
fn image(part: &Members, limits: &Limits) -> Result<Exhibit, Refusal> {
    let url = part.need("image_url")?.members(&["url", "detail"])?.need("url")?;
    if !limits.can.images {
        return Err(url.malformed("this model does not take images"));
    }
    let data = url.text()?.strip_prefix("data:image/").and_then(|data| data.split_once(";base64,"));
    let (format, data) = data.ok_or_else(|| url.malformed("only data URLs in base64 are taken"))?;
    Exhibit::image(format, &exhibit::decode(data)?)
}

fn tools(members: &Members, limits: &Limits, conversation: &mut Conversation) -> Result<Form, Refusal> {
    let mut specs = Vec::new();
    for item in members.get("tools").map_or(Ok(Vec::new()), |node| node.items())? {
        if limits.can.tools == Tools::None {
            return Err(item.malformed("this model does not take tools"));
        }
        let tool = item.members(&["type", "function"])?;
        tool.need("type")?.one_of(&["function"])?;
        let function = tool.need("function")?.members(&["name", "description", "parameters", "strict"])?;
        let schema = function
            .get("parameters")
            .map_or_else(|| json!({ "type": "object" }), |node| node.value().clone());
        specs.push((function.need("name")?.text()?.to_owned(), schema));
        conversation.tools.push(Part::Data(item.value().to_string()));
    }
    let question = conversation.question();
    let choice = members.get("tool_choice");
    let word = choice.as_ref().and_then(|choice| choice.text().ok());
    let chosen = match (choice, word) {
        // A model that may choose calls a tool that the question names.
        (None, _) | (_, Some("auto")) => specs.into_iter().find(|(name, _)| question.contains(name.as_str())),
        (_, Some("none")) => None,
        (_, Some("any" | "required")) => specs.into_iter().next(),
        (Some(choice), _) => {
            let choice = choice.members(&["type", "function"])?;
            let name = choice.need("function")?.members(&["name"])?.need("name")?;
            let wanted = name.text()?;
            let found = specs.into_iter().find(|(other, _)| other == wanted);
            Some(found.ok_or_else(|| name.malformed("there is no tool of this name"))?)
        }
    };
    Ok(chosen.map_or(Form::Prose, |(name, schema)| Form::Tool { name, schema }))
}

fn format(members: &Members, limits: &Limits) -> Result<Form, Refusal> {
    let Some(node) = members.get("response_format") else { return Ok(Form::Prose) };
    let format = node.members(&["type", "json_schema"])?;
    match format.need("type")?.one_of(&["text", "json_object", "json_schema"])? {
        "text" => Ok(Form::Prose),
        _ if !limits.can.schema => Err(node.malformed("this model does not take a format")),
        "json_object" => {
            Ok(Form::Json(json!({ "type": "object", "properties": { "answer": { "type": "string" } } })))
        }
        _ => {
            let given = format.need("json_schema")?.members(&["name", "schema", "strict", "description"])?;
            let schema = given.need("schema")?.value();
            if given.get("strict").is_none_or(|strict| strict.value() == true) {
                schema::check(schema, "response_format.json_schema.schema")?;
            }
            Ok(Form::Json(schema.clone()))
        }
    }
}

fn stop(answer: &Answer) -> &'static str {
    match &answer.stop {
        stop if stop.is_truncation() => "length",
        Stop::ToolUse => "tool_calls",
        Stop::ContentFiltered | Stop::Refusal => "content_filter",
        _ => "stop",
    }
}

/// gpt-oss puts its thoughts before the text, within it; others put them beside it.
fn thinks_aloud(model: &str) -> bool {
    model.contains("gpt-oss")
}

fn usage(answer: &Answer) -> Value {
    let usage = answer.usage;
    json!({
        "prompt_tokens": usage.prompt(), "completion_tokens": usage.output,
        "total_tokens": usage.prompt() + usage.output,
    })
}

pub fn body(model: &str, answer: &Answer, dialect: &Dialect) -> Value {
    let mut message = json!({ "role": "assistant" });
    if let Some(tool) = &answer.tool {
        message["content"] = Value::Null;
        let function = json!({ "name": tool.name, "arguments": answer.text });
        message["tool_calls"] = json!([{ "id": tool.id, "type": "function", "function": function }]);
    } else {
        message["content"] = json!(answer.text);
    }
    if !answer.reasoning.is_empty() {
        if thinks_aloud(model) {
            message["content"] = json!(format!("<reasoning>{}</reasoning>{}", answer.reasoning, answer.text));
        } else {
            message["reasoning_content"] = json!(answer.reasoning);
        }
    }
    let choice = json!({ "index": 0, "message": message, dialect.reason: stop(answer) });
    let mut body = json!({ "id": id(dialect.id, answer), "choices": [choice] });
    if dialect.usage {
        body["object"] = json!("chat.completion");
        body["model"] = json!(model);
        body["usage"] = usage(answer);
    }
    body
}

pub fn speech(model: &str, answer: &Answer, dialect: &Dialect) -> Speech {
    let id = id(dialect.id, answer);
    let chunk = |delta: Value, reason: Option<&str>| {
        // Mistral's chunks have whole messages for deltas, only shorter.
        let name = if dialect.usage { "delta" } else { "message" };
        let mut chunk = json!({ "id": id, "choices": [{ "index": 0, name: delta, dialect.reason: reason }] });
        if dialect.usage {
            chunk["object"] = json!("chat.completion.chunk");
            chunk["model"] = json!(model);
        }
        chunk
    };
    let content = |text: &str| chunk(json!({ "role": "assistant", "content": text }), None);
    let mut speech = Speech::default();
    if !answer.reasoning.is_empty() && thinks_aloud(model) {
        speech.before.push(line(content("<reasoning>")));
        speech.before.extend(said(&answer.reasoning, content));
        speech.before.push(line(content("</reasoning>")));
    } else if !answer.reasoning.is_empty() {
        let thought = |text: &str| chunk(json!({ "role": "assistant", "reasoning_content": text }), None);
        speech.before.extend(said(&answer.reasoning, thought));
    }
    match &answer.tool {
        Some(tool) => {
            let function = json!({ "name": tool.name, "arguments": "" });
            let start = json!({ "role": "assistant", "tool_calls": [{ "index": 0, "id": tool.id, "type": "function", "function": function }] });
            speech.before.push(line(chunk(start, None)));
            speech.said = said(&answer.text, |piece| {
                chunk(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": piece } }] }), None)
            });
        }
        None => speech.said = said(&answer.text, content),
    }
    let mut end = chunk(json!({ "role": "assistant", "content": "" }), Some(stop(answer)));
    if dialect.usage {
        end["usage"] = usage(answer);
    }
    speech.stop.push(line(end));
    speech
}
