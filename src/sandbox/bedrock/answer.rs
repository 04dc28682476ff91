//! An answer, whatever form it will be sent in, and what it cost.

use super::cache::Cached;
use crate::tokens::{self, Encoding};

/// How a model that reasons signs what it said to itself.
pub const SIGNATURE: &str = "c2FuZGJveC1yZWFzb25pbmc=";

/// What a model said.
#[derive(Debug)]
pub struct Answer {
    /// What it said to itself first; empty if it did not reason.
    pub reasoning: String,
    /// The text, or the JSON of the tool's input.
    pub text: String,
    /// The tool that is called with the text.
    pub tool: Option<ToolCall>,
    pub stop: Stop,
    pub usage: Usage,
    pub echo: Echo,
    /// Whether a guardrail was asked, and stepped in.
    pub guarded: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
}

/// Why it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    EndTurn,
    MaxTokens,
    WindowExceeded,
    Sequence(String),
    ToolUse,
    ContentFiltered,
    GuardrailIntervened,
    Refusal,
}

impl Stop {
    /// As Converse names it.
    pub fn name(&self) -> &'static str {
        match self {
            Stop::EndTurn => "end_turn",
            Stop::MaxTokens => "max_tokens",
            Stop::WindowExceeded => "model_context_window_exceeded",
            Stop::Sequence(_) => "stop_sequence",
            Stop::ToolUse => "tool_use",
            Stop::ContentFiltered => "content_filtered",
            Stop::GuardrailIntervened => "guardrail_intervened",
            Stop::Refusal => "refusal",
        }
    }

    pub fn is_truncation(&self) -> bool {
        matches!(self, Stop::MaxTokens | Stop::WindowExceeded)
    }

    /// The sequence at which it stopped.
    pub fn sequence(&self) -> Option<&str> {
        match self {
            Stop::Sequence(sequence) => Some(sequence),
            _ => None,
        }
    }
}

/// What is billed, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Without what was read from the cache or written to it.
    pub input: u64,
    pub output: u64,
    pub cached: Cached,
}

impl Usage {
    /// All of the prompt.
    pub fn prompt(self) -> u64 {
        self.input + self.cached.all()
    }
}

/// What an answer repeats of its request.
#[derive(Clone, Debug, Default)]
pub struct Echo {
    pub tier: Option<String>,
    pub latency: Option<String>,
    /// The model that a prompt router chose.
    pub routed: Option<String>,
    /// Paths of the native answer that Converse passes on.
    pub fields: Vec<String>,
}

impl Answer {
    /// Bills what is said by now.
    pub fn count(&mut self) {
        self.usage.output = count(&self.reasoning) + count(&self.text);
    }
}

pub fn count(text: &str) -> u64 {
    tokens::count(text, Encoding::O200kBase)
}

/// Where a text must end to have at most `max_tokens`, if it has more: between two characters.
pub fn cut(text: &str, max_tokens: u64) -> Option<usize> {
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
