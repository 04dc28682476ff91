//! A call to a model and the reply to it, free of any provider's wire shape.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

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
///
/// A chunk that turns out too long for its model is asked for in pieces, halves of halves: `0.17/2` and `0.17/3` are
/// the halves of `0.17`, `0.17/4` and `0.17/5` those of the first half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    pub level: u32,
    pub index: u32,
    /// 0 for the whole; otherwise the number of a node in a binary tree whose root, the whole, is 1.
    pub piece: u32,
}

impl CallId {
    pub fn new(level: u32, index: u32) -> Self {
        CallId { level, index, piece: 0 }
    }

    /// The whole of which this is a piece.
    pub fn whole(self) -> CallId {
        CallId { piece: 0, ..self }
    }

    /// The halves of it. `None` where halving has gone on for too long: 64 pieces of a chunk are no luck but a fault.
    pub fn halves(self) -> Option<[CallId; 2]> {
        let first = self.piece.max(1) * 2;
        (first < 128).then(|| [CallId { piece: first, ..self }, CallId { piece: first + 1, ..self }])
    }

    pub fn stage(self) -> Stage {
        if self.level == 0 { Stage::Map } else { Stage::Merge }
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.level, self.index)?;
        match self.piece {
            0 => Ok(()),
            piece => write!(f, "/{piece}"),
        }
    }
}

impl Serialize for CallId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for CallId {
    type Err = ParseCallIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse::<u32>().map_err(|_| ParseCallIdError(text.to_owned()));
        let (call, piece) = text.split_once('/').unwrap_or((text, "0"));
        let (level, index) = call.split_once('.').ok_or_else(|| ParseCallIdError(text.to_owned()))?;
        Ok(CallId { level: number(level)?, index: number(index)?, piece: number(piece)? })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a call, such as `0.17`")]
pub struct ParseCallIdError(String);

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Everything a model needs to answer. Same document, same pipeline: the same call to the byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// A model id, inference profile id or ARN, as the service wants it.
    pub model: String,
    pub system: Option<String>,
    pub user: String,
    /// Always sent: the service reserves the model's maximum otherwise (Bedrock user guide, "token burndown").
    pub max_tokens: u32,
    /// Thousandths, so that a call can be compared and hashed; `None` for models that refuse it.
    pub temperature_milli: Option<u32>,
    /// Shown to the model before the text, in this order.
    pub attachments: Vec<Attachment>,
    /// Bytes at the beginning of `user` (and all of `system`) that many calls share, where it pays to have the service
    /// keep them; 0 for no prompt caching. It changes the bill, not the answer.
    pub cached_bytes: usize,
    pub options: Arc<CallOptions>,
}

/// What the calls of a stage have in common beside their prompts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallOptions {
    pub api: Api,
    pub thinking: ThinkingRequest,
    /// Thousandths.
    pub top_p_milli: Option<u32>,
    pub stop_sequences: Vec<String>,
    /// The answer must be JSON after this schema.
    pub schema: Option<AnswerSchema>,
    pub guardrail: Option<Guardrail>,
    /// `None`: the service's default tier.
    pub tier: Option<ServiceTier>,
    /// Key and value, for the service's invocation logs.
    pub metadata: BTreeMap<String, String>,
}

/// The operation by which a model is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// Converse and ConverseStream: one shape for all models.
    #[default]
    Converse,
    /// InvokeModel and InvokeModelWithResponseStream, with the body of the model's family.
    Invoke,
}

/// Whether a model may reason before it answers. Reasoning is billed as output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ThinkingRequest {
    /// As the model does by itself.
    #[default]
    AsIs,
    Off,
    /// With at most so many tokens.
    Budget(u32),
}

/// A JSON Schema under a name that every service takes (`[a-zA-Z0-9_-]{1,64}`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnswerSchema {
    pub name: String,
    pub json: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Guardrail {
    /// Id or ARN.
    pub id: String,
    pub version: String,
}

/// <https://docs.aws.amazon.com/bedrock/latest/userguide/service-tiers-inference.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceTier {
    Priority,
    Flex,
}

/// What a model looks at rather than reads.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Attachment {
    pub kind: AttachmentKind,
    pub bytes: Arc<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachmentKind {
    Png,
    Jpeg,
    Gif,
    Webp,
    /// A document block.
    Pdf,
}

/// Without the bytes: they are somebody's document.
impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bytes", self.kind, self.bytes.len())
    }
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
