//! Converse and ConverseStream: checks a request as the service does, and answers with the summariser's words (API
//! reference: Converse). How the answer goes over the wire is `reply`'s and `stream`'s.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::tokens::{self, Encoding};

use super::super::scenario::StreamFault;
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

/// What a model that reasons says to itself, and how it signs that.
const REASONING: &str = "The text is fenced, so it is data. I look for the sentences that share most words with the others and keep them in their order.";
const SIGNATURE: &str = "c2FuZGJveC1yZWFzb25pbmc=";
/// What a guardrail says instead of an answer, and a model that will not answer.
const BLOCKED: &str = "Sorry, the model cannot answer this question.";
const DECLINED: &str = "I can't help with that.";

/// What differs between Converse and ConverseStream, and between sandboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    pub is_stream: bool,
    /// Models that reason by default do so.
    pub reasoning: bool,
}

/// A valid request.
#[derive(Debug)]
pub struct Question {
    text: String,
    inference: Inference,
    tier: Option<String>,
    reasons: bool,
    /// What the window leaves for the answer.
    room_tokens: u64,
    pub input_tokens: u64,
}

/// An answer and what it cost.
#[derive(Debug)]
pub struct Answer {
    reasoning: String,
    text: String,
    stop: &'static str,
    pub input_tokens: u64,
    pub output_tokens: u64,
    max_tokens: u64,
    tier: Option<String>,
}

impl Question {
    /// Reads a request body. CPU work.
    pub fn read(limits: &Limits, manner: Manner, body: &Bytes) -> Result<Question, Refusal> {
        let body = input::parse(body)?;
        let members = Node::root(&body).members(REQUEST)?;
        let conversation = Conversation::read(&members, limits)?;
        let inference = Inference::read(&members, limits)?;
        let extras = extras(&members, limits, manner)?;
        let input_tokens = conversation.input_tokens(limits)?;
        Ok(Question {
            text: conversation.question(),
            inference,
            tier: extras.tier,
            reasons: extras.thinking.unwrap_or(limits.thinking && manner.reasoning),
            room_tokens: limits.window_tokens - input_tokens,
            input_tokens,
        })
    }

    /// The most tokens its answer may have.
    pub fn max_tokens(&self) -> u64 {
        u64::from(self.inference.max_tokens)
    }

    /// Answers. CPU work.
    pub fn answer(self) -> Answer {
        let asked = self.max_tokens();
        let max_tokens = asked.min(self.room_tokens);
        let out_of = if max_tokens < asked { "model_context_window_exceeded" } else { "max_tokens" };
        let mut answer = Answer {
            reasoning: if self.reasons { REASONING.to_owned() } else { String::new() },
            text: String::new(),
            stop: "end_turn",
            input_tokens: self.input_tokens,
            output_tokens: 0,
            max_tokens,
            tier: self.tier,
        };
        if let Some(at) = cut(&answer.reasoning, max_tokens) {
            // All was spent on reasoning: a stop at the limit without a word of text.
            answer.reasoning.truncate(at);
            answer.stop = out_of;
        } else {
            let left = max_tokens - count(&answer.reasoning);
            let document = prompt::document(&self.text);
            // A model does not see max_tokens: it writes what it is asked for, and is cut when it has written too much.
            let text = summariser::summarise(&document, prompt::wanted_tokens(&self.text));
            answer.text = if text.is_empty() { NOTHING.to_owned() } else { text };
            let stops = &self.inference.stop_sequences;
            if let Some(at) = stops.iter().filter_map(|sequence| answer.text.find(sequence)).min() {
                answer.text.truncate(at);
                answer.stop = "stop_sequence";
            }
            if let Some(at) = cut(&answer.text, left) {
                answer.text.truncate(at);
                answer.stop = out_of;
            }
        }
        answer.count();
        answer
    }
}

impl Answer {
    /// The answer after a fault of the model's, not of the wire.
    pub fn spoil(&mut self, fault: &StreamFault) {
        let half = self.text.floor_char_boundary(self.text.len() / 2);
        match fault {
            StreamFault::Empty => (self.text, self.stop) = (String::new(), "end_turn"),
            StreamFault::Whitespace => (self.text, self.stop) = ("\n\n \n".to_owned(), "end_turn"),
            StreamFault::MaxTokens => {
                self.text.truncate(half);
                self.stop = "max_tokens";
            }
            StreamFault::ContentFiltered => {
                self.text.truncate(half);
                self.stop = "content_filtered";
            }
            StreamFault::GuardrailIntervened => {
                self.text = BLOCKED.to_owned();
                self.stop = "guardrail_intervened";
            }
            StreamFault::Refusal => {
                self.text = DECLINED.to_owned();
                self.stop = "refusal";
            }
            StreamFault::CutOff
            | StreamFault::NoMessageStop
            | StreamFault::NoUsage
            | StreamFault::Garbage
            | StreamFault::Html
            | StreamFault::Exception { .. }
            | StreamFault::WrongCrc
            | StreamFault::Stall => return,
        }
        self.count();
        if self.stop == "max_tokens" {
            // Whatever was said of it, the cap is what is billed.
            self.output_tokens = self.max_tokens;
        }
    }

    /// The response body of a call that took `elapsed`.
    pub fn to_json(&self, elapsed: Duration) -> Value {
        let mut content = Vec::new();
        if !self.reasoning.is_empty() {
            let reasoning = json!({ "text": self.reasoning, "signature": SIGNATURE });
            content.push(json!({ "reasoningContent": { "reasoningText": reasoning } }));
        }
        if !self.text.is_empty() {
            content.push(json!({ "text": self.text }));
        }
        let mut body = self.accounts(elapsed);
        body["output"] = json!({ "message": { "role": "assistant", "content": content } });
        body["stopReason"] = json!(self.stop);
        body
    }

    /// The members that a response body and the last event of a stream have in common.
    pub fn accounts(&self, elapsed: Duration) -> Value {
        let mut body = json!({
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

    /// What the model said to itself and how it signed that; empty if it did not reason.
    pub fn reasoning(&self) -> (&str, &'static str) {
        (&self.reasoning, SIGNATURE)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn stop(&self) -> &'static str {
        self.stop
    }

    fn count(&mut self) {
        self.output_tokens = count(&self.reasoning) + count(&self.text);
    }
}

fn count(text: &str) -> u64 {
    tokens::count(text, Encoding::O200kBase)
}

/// Where a text must end to have at most `max_tokens`, if it has more: between two characters.
fn cut(text: &str, max_tokens: u64) -> Option<usize> {
    let fits = |end: usize| count(&text[..end]) <= max_tokens;
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

/// What else a request says.
#[derive(Debug, Default)]
struct Extras {
    tier: Option<String>,
    /// Whether the model is told to reason, or not to.
    thinking: Option<bool>,
}

/// Reads the members that need no model, most of them only to check them.
fn extras(members: &Members, limits: &Limits, manner: Manner) -> Result<Extras, Refusal> {
    let mut extras = Extras::default();
    if let Some(node) = members.get("additionalModelRequestFields") {
        let fields = node.object()?;
        if let Some(name) = SAMPLING.iter().find(|name| !limits.sampling && fields.get(name).is_some()) {
            return Err(deprecated(name));
        }
        if let Some(thinking) = fields.get("thinking") {
            let kind = thinking.object()?.need("type")?;
            extras.thinking = Some(kind.one_of(&["adaptive", "disabled", "enabled"])? != "disabled");
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
        let known = ["guardrailIdentifier", "guardrailVersion", "trace", "streamProcessingMode"];
        node.members(if manner.is_stream { &known } else { &known[..3] })?;
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
    if let Some(node) = members.get("serviceTier") {
        let tier = node.members(&["type"])?.need("type")?;
        extras.tier = Some(tier.one_of(&["default", "flex", "priority", "reserved"])?.to_owned());
    }
    Ok(extras)
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
