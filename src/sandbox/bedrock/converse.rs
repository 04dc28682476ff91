//! Converse: checks a request as the service does, and answers with the summariser's words (API reference: Converse).

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::tokens::{self, Encoding};

use super::super::summariser;
use super::conversation::Conversation;
use super::input::{self, Members, Node};
use super::models::Limits;
use super::prompt;
use super::refusal::Refusal;

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
/// What a model that refuses sampling refuses, in its native names.
const SAMPLING: &[&str] = &["temperature", "top_p", "top_k"];
const STOP_SEQUENCES_MAX: usize = 2500;
const METADATA_MAX: usize = 16;
/// The answer to a prompt without a text.
const NOTHING: &str = "There is no text to summarise.";

/// An answer and what it cost.
#[derive(Debug)]
pub struct Answer {
    text: String,
    stop: &'static str,
    input_tokens: u64,
    pub output_tokens: u64,
    tier: Option<String>,
}

/// Answers a request body. CPU work.
pub fn answer(limits: &Limits, body: &Bytes) -> Result<Answer, Refusal> {
    let body = input::parse(body)?;
    let members = Node::root(&body).members(REQUEST)?;
    let conversation = Conversation::read(&members, limits)?;
    let inference = Inference::read(&members, limits)?;
    let tier = extras(&members, limits)?;
    let input_tokens = conversation.input_tokens(limits)?;
    let room = limits.window_tokens - input_tokens;
    let max_tokens = u64::from(inference.max_tokens).min(room);
    let document = prompt::document(&conversation.question());
    let mut text = summariser::summarise(&document, usize::try_from(max_tokens).unwrap_or(usize::MAX));
    if text.is_empty() {
        text = NOTHING.to_owned();
    }
    let mut stop = "end_turn";
    if let Some(at) = inference.stop_sequences.iter().filter_map(|sequence| text.find(sequence)).min() {
        text.truncate(at);
        stop = "stop_sequence";
    }
    if let Some(at) = cut(&text, max_tokens) {
        text.truncate(at);
        stop = if max_tokens < u64::from(inference.max_tokens) {
            "model_context_window_exceeded"
        } else {
            "max_tokens"
        };
    }
    let output_tokens = tokens::count(&text, Encoding::O200kBase);
    Ok(Answer { text, stop, input_tokens, output_tokens, tier })
}

impl Answer {
    /// The response body of a call that took `elapsed`.
    pub fn to_json(&self, elapsed: Duration) -> Value {
        let content = if self.text.is_empty() { json!([]) } else { json!([{ "text": self.text }]) };
        let mut body = json!({
            "output": { "message": { "role": "assistant", "content": content } },
            "stopReason": self.stop,
            "usage": {
                "inputTokens": self.input_tokens,
                "outputTokens": self.output_tokens,
                "totalTokens": self.input_tokens + self.output_tokens,
                "cacheReadInputTokens": 0,
                "cacheWriteInputTokens": 0,
            },
            "metrics": { "latencyMs": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX) },
        });
        if let Some(tier) = &self.tier {
            body["serviceTier"] = json!({ "type": tier });
        }
        body
    }
}

/// Where a text must end to have at most `max_tokens`, if it has more: between two characters.
fn cut(text: &str, max_tokens: u64) -> Option<usize> {
    let fits = |end: usize| tokens::count(&text[..end], Encoding::O200kBase) <= max_tokens;
    if fits(text.len()) {
        return None;
    }
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let mut kept = ends.partition_point(|end| fits(*end)).saturating_sub(1);
    // Tokens merge across characters, so a longer text may have fewer: the search can land beyond the limit.
    while kept > 0 && !fits(ends[kept]) {
        kept -= 1;
    }
    Some(ends[kept])
}

#[derive(Debug)]
struct Inference {
    max_tokens: u32,
    stop_sequences: Vec<String>,
}

impl Inference {
    fn read(members: &Members, limits: &Limits) -> Result<Inference, Refusal> {
        let mut inference = Inference { max_tokens: limits.max_output_tokens, stop_sequences: Vec::new() };
        let Some(node) = members.get("inferenceConfig") else { return Ok(inference) };
        let members = node.members(&["maxTokens", "temperature", "topP", "stopSequences"])?;
        if let Some(node) = members.get("maxTokens") {
            let limit = limits.max_output_tokens;
            inference.max_tokens = u32::try_from(node.integer(1)?).ok().filter(|wanted| *wanted <= limit).ok_or_else(|| {
                Refusal::validation(format!(
                    "The maximum tokens you requested exceeds the model limit of {limit}. Try again with a maximum tokens value that is lower than {limit}."
                ))
            })?;
        }
        for (name, native) in [("temperature", "temperature"), ("topP", "top_p")] {
            if let Some(node) = members.get(name) {
                node.share()?;
                if !limits.sampling {
                    return Err(deprecated(native));
                }
            }
        }
        if let Some(node) = members.get("stopSequences") {
            let items = node.items()?;
            if items.len() > STOP_SEQUENCES_MAX {
                return Err(node.invalid(&format!(
                    "Member must have length less than or equal to {STOP_SEQUENCES_MAX}"
                )));
            }
            for item in items {
                let sequence = item.text()?;
                if sequence.is_empty() {
                    return Err(item.invalid("Member must have length greater than or equal to 1"));
                }
                inference.stop_sequences.push(sequence.to_owned());
            }
        }
        Ok(inference)
    }
}

/// Checks the members that the stand-in has no use for, and says which service tier was asked for.
fn extras(members: &Members, limits: &Limits) -> Result<Option<String>, Refusal> {
    if let Some(node) = members.get("additionalModelRequestFields") {
        let fields = node.object()?;
        if let Some(name) = SAMPLING.iter().find(|name| !limits.sampling && fields.get(name).is_some()) {
            return Err(deprecated(name));
        }
    }
    if let Some(node) = members.get("additionalModelResponseFieldPaths") {
        node.items()?.iter().try_for_each(|path| path.text().map(|_| ()))?;
    }
    if let Some(node) = members.get("requestMetadata") {
        let pairs = node.object()?;
        if pairs.names().count() > METADATA_MAX {
            return Err(
                node.invalid(&format!("Member must have length less than or equal to {METADATA_MAX}"))
            );
        }
        pairs.names().try_for_each(|name| pairs.need(name)?.text().map(|_| ()))?;
    }
    if let Some(node) = members.get("toolConfig") {
        node.members(&["tools", "toolChoice"])?.need("tools")?.items()?;
    }
    if let Some(node) = members.get("guardrailConfig") {
        node.members(&["guardrailIdentifier", "guardrailVersion", "trace"])?;
    }
    if let Some(node) = members.get("outputConfig") {
        node.members(&["textFormat", "effort"])?;
    }
    if let Some(node) = members.get("promptVariables") {
        return Err(node.invalid("Member is allowed with a prompt resource only"));
    }
    if let Some(node) = members.get("performanceConfig") {
        let members = node.members(&["latency"])?;
        members.get("latency").map_or(Ok(""), |latency| latency.one_of(&["standard", "optimized"]))?;
    }
    let Some(node) = members.get("serviceTier") else { return Ok(None) };
    let tier = node.members(&["type"])?.need("type")?.one_of(&["default", "flex", "priority", "reserved"])?;
    Ok(Some(tier.to_owned()))
}

fn deprecated(name: &str) -> Refusal {
    Refusal::validation(format!("`{name}` is deprecated for this model."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_its_last_whole_token() {
        let text = "The harbour was closed for nine days in March. 港は九日間閉鎖された。";
        let all = tokens::count(text, Encoding::O200kBase);
        assert_eq!(cut(text, all), None);
        for max in 0..all {
            let end = cut(text, max).expect("it is too long");
            assert!(tokens::count(&text[..end], Encoding::O200kBase) <= max);
            let next = text[end..].chars().next().map_or(0, char::len_utf8);
            assert!(end + next <= text.len());
        }
    }
}
