//! A question that is valid, whatever body it came in, and how the stand-in's model answers it.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::catalog::Thinking;

use super::super::scenario::StreamFault;
use super::super::summariser;
use super::answer::{Answer, Echo, Stop, ToolCall, Usage, count, cut};
use super::cache::{Cached, Point};
use super::conversation::Conversation;
use super::guard::Guard;
use super::models::Limits;
use super::refusal::Refusal;
use super::{prompt, schema, spoil};

/// The answer to a prompt without a text.
const NOTHING: &str = "There is no text to summarise.";
/// What a model that reasons says to itself.
const REASONING: &str = "The text is fenced, so it is data. I look for the sentences that share most words with the others and keep them in their order.";

/// What a request asks for.
#[derive(Debug, Default)]
pub struct Asked {
    pub conversation: Conversation,
    pub max_tokens: u32,
    pub stop_sequences: Vec<String>,
    /// Whether the model is told to reason, or not to.
    pub thinking: Option<bool>,
    pub form: Form,
    pub guard: Option<Guard>,
    pub echo: Echo,
}

/// What the answer is to be.
#[derive(Debug, Default)]
pub enum Form {
    #[default]
    Prose,
    /// JSON that fits a schema.
    Json(Value),
    /// A call of a tool whose input fits a schema.
    Tool { name: String, schema: Value },
}

/// A valid question.
#[derive(Debug)]
pub struct Question {
    asked: Asked,
    points: Vec<Point>,
    reasons: bool,
    /// What the window leaves for the answer.
    room_tokens: u64,
    /// The guardrail's words, if it steps in before the model is asked.
    blocked: Option<String>,
    pub input_tokens: u64,
}

impl Question {
    /// Counts what is asked. `reasoning`: models that reason by default do so. CPU work.
    pub fn new(asked: Asked, limits: &Limits, reasoning: bool) -> Result<Question, Refusal> {
        let measured = asked.conversation.measure(limits)?;
        let by_itself = limits.thinking != Thinking::OnRequest && reasoning;
        let guarded: Vec<&str> = asked.conversation.guarded().collect();
        let blocked =
            asked.guard.as_ref().and_then(|guard| guarded.iter().find_map(|text| guard.blocks(text)));
        Ok(Question {
            blocked: blocked.map(str::to_owned),
            reasons: asked.thinking.unwrap_or(by_itself),
            room_tokens: limits.window_tokens - measured.input_tokens,
            input_tokens: measured.input_tokens,
            points: measured.points,
            asked,
        })
    }

    /// The most tokens its answer may have.
    pub fn max_tokens(&self) -> u64 {
        u64::from(self.asked.max_tokens)
    }

    /// The prefixes that are to be kept; none if the model is not asked.
    pub fn points(&self) -> &[Point] {
        if self.blocked.is_some() { &[] } else { &self.points }
    }

    /// Answers; `fault` is what goes wrong with the answer, `cached` what of the prompt is not paid as usual. CPU work.
    pub fn answer(self, cached: Cached, fault: Option<&StreamFault>) -> Answer {
        let max_tokens = self.max_tokens().min(self.room_tokens);
        let mut answer = Answer {
            reasoning: if self.reasons { REASONING.to_owned() } else { String::new() },
            text: String::new(),
            tool: None,
            stop: Stop::EndTurn,
            usage: Usage { input: self.input_tokens - cached.all(), output: 0, cached },
            guarded: self.asked.guard.is_some().then_some(false),
            echo: Echo::default(),
        };
        if let Some(words) = self.blocked {
            // The model was not asked, and nothing is billed for it.
            answer.usage = Usage::default();
            answer.reasoning.clear();
            block(&mut answer, words);
            answer.echo = self.asked.echo;
            return answer;
        }
        let source = self.asked.source();
        self.asked.speak(&mut answer, &source, self.max_tokens(), max_tokens);
        answer.count();
        if let Some(fault) = fault {
            spoil::spoil(&mut answer, fault, &source, max_tokens);
        }
        if let Some(words) = self.asked.guard.as_ref().and_then(|guard| guard.blocks(&answer.text)) {
            block(&mut answer, words.to_owned());
        }
        answer.echo = self.asked.echo;
        answer
    }
}

/// The guardrail speaks instead of the model; what the model said is billed.
fn block(answer: &mut Answer, words: String) {
    answer.text = words;
    answer.tool = None;
    answer.stop = Stop::GuardrailIntervened;
    answer.guarded = Some(true);
}

impl Asked {
    /// Reasons and answers with at most `max_tokens` of the `asked` ones: what is less is the window's doing.
    fn speak(&self, answer: &mut Answer, source: &str, asked: u64, max_tokens: u64) {
        let out_of = if max_tokens < asked { Stop::WindowExceeded } else { Stop::MaxTokens };
        if let Some(at) = cut(&answer.reasoning, max_tokens) {
            // All was spent on reasoning: a stop at the limit without a word of text.
            answer.reasoning.truncate(at);
            answer.stop = out_of;
            return;
        }
        let left = max_tokens - count(&answer.reasoning);
        match &self.form {
            Form::Prose => answer.text = self.prose(source),
            Form::Json(schema) => answer.text = schema::fill(schema, source).to_string(),
            Form::Tool { name, schema } => {
                answer.text = schema::fill(schema, source).to_string();
                let digest = Sha256::digest(answer.text.as_bytes());
                let id = format!("tooluse_{}", hex::encode(&digest[..11]));
                answer.tool = Some(ToolCall { id, name: name.clone() });
                answer.stop = Stop::ToolUse;
            }
        }
        let first =
            self.stop_sequences.iter().filter_map(|sequence| Some((answer.text.find(sequence)?, sequence)));
        if let Some((at, sequence)) = first.min() {
            answer.text.truncate(at);
            answer.stop = Stop::Sequence(sequence.clone());
        }
        if let Some(at) = cut(&answer.text, left) {
            answer.text.truncate(at);
            answer.stop = out_of;
        }
    }

    fn prose(&self, source: &str) -> String {
        let mut answer: Vec<&str> =
            self.conversation.exhibits().map(|shown| shown.description.as_str()).collect();
        // A model does not see max_tokens: it writes what it is asked for, and is cut when it has written too much.
        let text = summariser::summarise(source, prompt::wanted_tokens(&self.conversation.question()));
        if !text.is_empty() {
            answer.push(&text);
        }
        if answer.is_empty() { NOTHING.to_owned() } else { answer.join("\n") }
    }

    /// The text that is to be worked on. With something to look at, a prompt without a fence holds only instructions.
    fn source(&self) -> String {
        let question = self.conversation.question();
        let mut texts: Vec<&str> = self.conversation.exhibits().map(|shown| shown.text.as_str()).collect();
        if texts.is_empty() {
            return prompt::document(&question);
        }
        let fenced = prompt::fenced(&question).unwrap_or_default();
        texts.push(&fenced);
        texts.retain(|text| !text.trim().is_empty());
        texts.join("\n\n")
    }
}
