//! Converse and ConverseStream: reads a request as the service does, and gives an answer its shape (API reference:
//! Converse, ConverseStreamOutput). How it goes over the wire is `reply`'s and `stream`'s.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::scenario::Scenario;
use super::answer::{Answer, SIGNATURE};
use super::input::{self, Members, Node};
use super::models::Limits;
use super::question::{Asked, Form};
use super::refusal::Refusal;
use super::speech::{Line, Speech, pieces};
use super::{blocks, extras};

/// Members of a request.
const REQUEST: &[&str] = &[
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "guardrailConfig",
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "requestMetadata",
    "performanceConfig",
    "serviceTier",
    "outputConfig",
    "promptVariables",
];
const STOP_SEQUENCES_MAX: usize = 2500;

/// Reads a request body.
pub fn read(
    body: &Bytes,
    limits: &Limits,
    is_stream: bool,
    scenario: Option<&Scenario>,
) -> Result<Asked, Refusal> {
    let body = input::parse(body)?;
    let members = Node::root(&body).members(REQUEST)?;
    let conversation = blocks::read(&members, limits)?;
    let mut asked = Asked { conversation, max_tokens: limits.max_output_tokens, ..Asked::default() };
    inference(&mut asked, &members, limits)?;
    asked.thinking = extras::thinking(&members, limits, asked.max_tokens)?;
    asked.echo = extras::echo(&members, limits)?;
    asked.guard = extras::guard(&members, is_stream, scenario)?;
    let (tools, form) = extras::tools(&members, limits, &asked.conversation.question())?;
    asked.conversation.tools = tools;
    asked.form = match (form, extras::output(&members, limits)?) {
        (Form::Prose, ordered) => ordered,
        (called, _) => called,
    };
    let is_forced = members.get("toolConfig").is_some_and(|config| {
        config.object().is_ok_and(|config| {
            config.get("toolChoice").is_some_and(|choice| choice.value().get("auto").is_none())
        })
    });
    if is_forced && asked.thinking == Some(true) {
        return Err(Refusal::validation(
            "The model returned the following errors: Thinking may not be enabled when tool_choice forces tool use.",
        ));
    }
    Ok(asked)
}

fn inference(asked: &mut Asked, members: &Members, limits: &Limits) -> Result<(), Refusal> {
    let Some(node) = members.get("inferenceConfig") else { return Ok(()) };
    let members = node.members(&["maxTokens", "temperature", "topP", "stopSequences"])?;
    if let Some(node) = members.get("maxTokens") {
        let limit = limits.max_output_tokens;
        let wanted = u32::try_from(node.integer(1)?).ok().filter(|wanted| *wanted <= limit);
        asked.max_tokens = wanted.ok_or_else(|| {
            Refusal::validation(format!(
                "The maximum tokens you requested exceeds the model limit of {limit}. Try again with a maximum tokens value that is lower than {limit}."
            ))
        })?;
    }
    for (name, native) in [("temperature", "temperature"), ("topP", "top_p")] {
        if let Some(node) = members.get(name) {
            node.share()?;
            if !limits.sampling {
                return Err(extras::deprecated(native));
            }
        }
    }
    if members.get("temperature").is_some() && members.get("topP").is_some() && !limits.can.both_samplings {
        return Err(both_samplings());
    }
    if let Some(node) = members.get("stopSequences") {
        let items = node.items()?;
        if items.len() > STOP_SEQUENCES_MAX {
            return Err(
                node.invalid(&format!("Member must have length less than or equal to {STOP_SEQUENCES_MAX}"))
            );
        }
        for item in items {
            let sequence = item.text()?;
            if sequence.is_empty() {
                return Err(item.invalid("Member must have length greater than or equal to 1"));
            }
            asked.stop_sequences.push(sequence.to_owned());
        }
    }
    Ok(())
}

pub fn both_samplings() -> Refusal {
    Refusal::validation(
        "The model returned the following errors: `temperature` and `top_p` cannot both be specified for this model. Please use only one.",
    )
}

/// The response body of a call that took `elapsed`.
pub fn body(answer: &Answer, elapsed: Duration) -> Value {
    let mut content = Vec::new();
    if !answer.reasoning.is_empty() {
        let reasoning = json!({ "text": answer.reasoning, "signature": SIGNATURE });
        content.push(json!({ "reasoningContent": { "reasoningText": reasoning } }));
    }
    if let Some(tool) = &answer.tool {
        // An input that was cut off is no JSON, and none is what arrives of it.
        let input: Value = serde_json::from_str(&answer.text).unwrap_or_else(|_| json!({}));
        content.push(json!({ "toolUse": { "toolUseId": tool.id, "name": tool.name, "input": input } }));
    } else if !answer.text.is_empty() {
        content.push(json!({ "text": answer.text }));
    }
    let mut body = accounts(answer, elapsed);
    body["output"] = json!({ "message": { "role": "assistant", "content": content } });
    body["stopReason"] = json!(answer.stop.name());
    if let Some(fields) = fields(answer) {
        body["additionalModelResponseFields"] = fields;
    }
    body
}

/// What a stream says.
pub fn speech(answer: &Answer, elapsed: Duration) -> Speech {
    let mut speech = Speech::default();
    speech.before.push(Line::new("messageStart", json!({ "role": "assistant" })));
    let mut block = 0;
    let delta = |block: usize, delta: Value, said: &str| {
        Line::saying("contentBlockDelta", json!({ "contentBlockIndex": block, "delta": delta }), said)
    };
    let stop = |block: usize| Line::new("contentBlockStop", json!({ "contentBlockIndex": block }));
    if !answer.reasoning.is_empty() {
        let thoughts = pieces(&answer.reasoning).into_iter();
        speech
            .before
            .extend(thoughts.map(|piece| delta(0, json!({ "reasoningContent": { "text": piece } }), piece)));
        speech.before.push(delta(0, json!({ "reasoningContent": { "signature": SIGNATURE } }), ""));
        speech.before.push(stop(0));
        block = 1;
    }
    if let Some(tool) = &answer.tool {
        let start = json!({ "toolUse": { "toolUseId": tool.id, "name": tool.name } });
        let start = json!({ "contentBlockIndex": block, "start": start });
        speech.before.push(Line::new("contentBlockStart", start));
    }
    let is_tool = answer.tool.is_some();
    speech.said.extend(pieces(&answer.text).into_iter().map(|piece| {
        let said = if is_tool { json!({ "toolUse": { "input": piece } }) } else { json!({ "text": piece }) };
        delta(block, said, piece)
    }));
    if !speech.said.is_empty() {
        speech.after.push(stop(block));
    }
    let mut end = json!({ "stopReason": answer.stop.name() });
    if let Some(fields) = fields(answer) {
        end["additionalModelResponseFields"] = fields;
    }
    speech.stop.push(Line::new("messageStop", end));
    speech.accounts.push(Line::new("metadata", accounts(answer, elapsed)));
    speech
}

/// The members that a response body and the last event of a stream have in common.
fn accounts(answer: &Answer, elapsed: Duration) -> Value {
    let (usage, echo) = (answer.usage, &answer.echo);
    let mut body = json!({
        "usage": {
            "inputTokens": usage.input,
            "outputTokens": usage.output,
            "totalTokens": usage.prompt() + usage.output,
            "cacheReadInputTokens": usage.cached.read,
            "cacheWriteInputTokens": usage.cached.written(),
        },
        "metrics": { "latencyMs": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX) },
    });
    let written = [("1h", usage.cached.written_1h), ("5m", usage.cached.written_5m)];
    let written: Vec<Value> = written
        .into_iter()
        .filter(|(_, tokens)| *tokens > 0)
        .map(|(ttl, tokens)| json!({ "ttl": ttl, "inputTokens": tokens }))
        .collect();
    if !written.is_empty() {
        body["usage"]["cacheDetails"] = Value::Array(written);
    }
    if let Some(tier) = &echo.tier {
        body["serviceTier"] = json!({ "type": tier });
    }
    if let Some(latency) = &echo.latency {
        body["performanceConfig"] = json!({ "latency": latency });
    }
    if let Some(model) = &echo.routed {
        body["trace"] = json!({ "promptRouter": { "invokedModelId": model } });
    }
    body
}

/// What the native answer says at the paths that were asked for; paths that it has not are passed over.
fn fields(answer: &Answer) -> Option<Value> {
    let mut fields = serde_json::Map::new();
    for path in &answer.echo.fields {
        if path == "/stop_sequence" {
            fields.insert("stop_sequence".to_owned(), json!(answer.stop.sequence()));
        }
    }
    (!fields.is_empty()).then_some(Value::Object(fields))
}
