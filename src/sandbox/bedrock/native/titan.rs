//! Amazon Titan Text (the user guide's page is gone with it).

use serde_json::{Value, json};

use super::super::answer::{Answer, Stop};
use super::super::conversation::{Conversation, Message};
use super::super::input::Node;
use super::super::models::Limits;
use super::super::question::Asked;
use super::super::refusal::Refusal;
use super::super::speech::Speech;
use super::{parameters, plain};

/// Of the input, in characters and not in tokens.
const INPUT_MAX_CHARS: usize = 42_000;
const TOKENS_DEFAULT: u32 = 512;

pub fn read(body: &Value, limits: &Limits) -> Result<Asked, Refusal> {
    let members = Node::root(body).members(&["inputText", "textGenerationConfig"])?;
    let input = members.need("inputText")?;
    let chars = input.text()?.chars().count();
    if chars > INPUT_MAX_CHARS {
        return Err(input.malformed(&format!("expected maxLength: {INPUT_MAX_CHARS}, actual: {chars}")));
    }
    let mut asked =
        Asked { conversation: conversation(input.text()?), max_tokens: TOKENS_DEFAULT, ..Asked::default() };
    if let Some(node) = members.get("textGenerationConfig") {
        let config = node.members(&["maxTokenCount", "temperature", "topP", "stopSequences"])?;
        asked.max_tokens = parameters::max_tokens(&config, "maxTokenCount", TOKENS_DEFAULT, most(limits))?;
        parameters::sampling(&config, limits, &[("temperature", 1.0), ("topP", 1.0)])?;
        asked.stop_sequences = parameters::stops(&config, "stopSequences")?;
        let is_allowed = |stop: &String| stop == "User:" || stop.bytes().all(|b| b == b'|');
        if let Some(stop) = asked.stop_sequences.iter().find(|stop| !is_allowed(stop)) {
            let pattern = r"^(\|+|User:)$";
            let stop: String = stop.chars().take(64).collect();
            return Err(config
                .need("stopSequences")?
                .malformed(&format!("string [{stop}] does not match pattern {pattern}")));
        }
    }
    Ok(asked)
}

fn most(limits: &Limits) -> u32 {
    match limits.base_id.as_str() {
        id if id.contains("lite") => 4_096,
        id if id.contains("premier") => 3_072,
        _ => 8_192,
    }
}

/// The chat form is `User: ...` and `Bot:`; anything else is a text to go on with.
fn conversation(input: &str) -> Conversation {
    let turn =
        input.strip_prefix("User:").map(|turn| turn.trim_end().strip_suffix("Bot:").unwrap_or(turn).trim());
    Conversation::of("", vec![Message::user(turn.unwrap_or(input))])
}

fn stop(answer: &Answer) -> &'static str {
    match &answer.stop {
        stop if stop.is_truncation() => "LENGTH",
        Stop::Sequence(_) => "STOP_CRITERIA_MET",
        Stop::ContentFiltered | Stop::Refusal => "CONTENT_FILTERED",
        _ => "FINISH",
    }
}

pub fn body(answer: &Answer) -> Value {
    let result = json!({ "tokenCount": answer.usage.output, "outputText": answer.text, "completionReason": stop(answer) });
    json!({ "inputTextTokenCount": answer.usage.input, "results": [result] })
}

pub fn speech(answer: &Answer) -> Speech {
    let usage = answer.usage;
    let chunk = |text: &str| {
        json!({
            "outputText": text, "index": 0, "inputTextTokenCount": null, "totalOutputTextTokenCount": null,
            "completionReason": null,
        })
    };
    let end = json!({
        "outputText": "", "index": 0, "inputTextTokenCount": usage.input, "totalOutputTextTokenCount": usage.output,
        "completionReason": stop(answer),
    });
    plain(answer, chunk, end)
}
