//! A call to a model and the reply to it, free of any provider's wire shape.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which step of a document a call belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// One chunk of the text.
    Map,
    /// Answers of the level below, merged.
    Merge,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Map => "map",
            Stage::Merge => "merge",
        })
    }
}

/// A call's name within its document: level 0 is the map stage, level 1 merges its answers, and so on.
/// Written `0.17` in results: the eighteenth chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    pub level: u32,
    pub index: u32,
}

impl CallId {
    pub fn stage(self) -> Stage {
        if self.level == 0 { Stage::Map } else { Stage::Merge }
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.level, self.index)
    }
}

impl Serialize for CallId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Everything a model needs to answer. Same document, same pipeline: the same call to the byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// A model id, inference profile id or ARN, as the service wants it.
    pub model: String,
    pub system: Option<String>,
    pub user: String,
    /// Always sent: the service reserves the model's maximum otherwise (Bedrock user guide, "token burndown").
    pub max_tokens: u32,
    /// Thousandths, so that a call can be compared and hashed; `None` for models that refuse it.
    pub temperature_milli: Option<u32>,
}

/// Why a model stopped, as the Converse API names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    EndTurn,
    StopSequence,
    MaxTokens,
    ContextWindowExceeded,
    GuardrailIntervened,
    ContentFiltered,
    /// A reason this version does not know, kept as the service wrote it.
    Other(String),
}

impl StopReason {
    /// The model said all it wanted to say.
    pub fn is_normal(&self) -> bool {
        matches!(self, StopReason::EndTurn | StopReason::StopSequence)
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopReason::EndTurn => "end_turn",
            StopReason::StopSequence => "stop_sequence",
            StopReason::MaxTokens => "max_tokens",
            StopReason::ContextWindowExceeded => "model_context_window_exceeded",
            StopReason::GuardrailIntervened => "guardrail_intervened",
            StopReason::ContentFiltered => "content_filtered",
            StopReason::Other(reason) => reason,
        })
    }
}

/// Tokens as the service billed them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Without cached tokens.
    pub input_tokens: u64,
    pub output_tokens: u64,
    #[serde(default)]
    pub cache_read_tokens: u64,
    #[serde(default)]
    pub cache_write_tokens: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
    }
}

/// A model's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// All text blocks joined; reasoning left out.
    pub text: String,
    pub stop: StopReason,
    pub usage: Usage,
}
