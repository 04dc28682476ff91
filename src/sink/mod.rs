//! What a document's result looks like: results to bytes, one file a format. Never writes; `run` puts the bytes.
//!
//! The bytes depend on the document, the pipeline and the model's answers only (no run id, no time), so a re-run
//! overwrites the same keys with the same bytes. A new format is one file here and one arm in [`render`].

mod json;
mod markdown;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::{Boundary, CallId, DocumentState, Format, StopReason, Usage, Usd};

/// A format of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    Json,
    Markdown,
}

/// Everything there is to say about a processed document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DocumentResult {
    pub key: String,
    pub state: DocumentState,
    pub task: String,
    /// The merged answer; `None` where the strategy keeps the answers apart.
    pub output: Option<String>,
    /// Answers that were not merged, in the order of the document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
    pub coverage: Coverage,
    pub source: SourceRecord,
    pub chunks: Vec<ChunkRecord>,
    pub merge: MergeRecord,
    /// Of the answers that the result rests on, whenever they were bought.
    pub usage: Usage,
    pub cost_usd: Usd,
    pub pipeline: PipelineRecord,
}

/// The coverage receipt: whether every byte of the text stands behind the result, and if not, which do not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    pub complete: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
}

impl Coverage {
    /// What is not whole, in a line; `None` if everything is.
    pub fn summary(&self) -> Option<String> {
        let first = self.gaps.first()?;
        let more = match self.gaps.len() - 1 {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        Some(format!("{}: {}{more}", first.location(), first.reason))
    }
}

/// A part of the document that does not stand behind the result as it should: its answer is missing or was cut off, or it
/// could not be read at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// `None`: it could not be read, so nothing was asked about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// From, to (exclusive), in bytes of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<[usize; 2]>,
    /// As one would cite it: `pages 3-5`, `sheet Costs, rows 12-40`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    pub reason: String,
}

impl Gap {
    /// Where it is, in words.
    pub fn location(&self) -> String {
        match (&self.place, self.bytes) {
            (Some(place), Some([from, to])) => format!("{place} (bytes {from} to {to})"),
            (Some(place), None) => place.clone(),
            (None, Some([from, to])) => format!("bytes {from} to {to}"),
            (None, None) => "the document".to_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceRecord {
    pub uri: String,
    pub size_bytes: u64,
    pub etag: Option<String>,
    pub format: Format,
    pub charset: String,
    pub text_bytes: u64,
    /// Tokens of the whole text in `encoding`.
    pub text_tokens: u64,
    pub encoding: String,
    /// Byte `i` of the text is byte `i + offset` of the object; absent where the text was decoded or converted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChunkRecord {
    pub id: CallId,
    /// What this chunk alone is responsible for: from, to (exclusive), in bytes of the text.
    pub bytes: [usize; 2],
    /// Where that stands in the document, if it has pages, sheets or parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The overlap that went along as context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_bytes: Option<[usize; 2]>,
    pub tokens: u64,
    pub ends_at: Boundary,
    pub call: Option<CallRecord>,
    /// Where the chunk was too long for its model: what it was asked for in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<PieceRecord>,
}

/// A part of a chunk with a call of its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PieceRecord {
    pub id: CallId,
    pub bytes: [usize; 2],
    pub call: Option<CallRecord>,
}

/// How a call ended. A call that was given up has no stop reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallRecord {
    pub model: String,
    pub stop_reason: Option<StopReason>,
    pub usage: Usage,
    /// An answer before this one, of the model that the call went to first, was not good enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalated_from: Option<EscalatedRecord>,
}

/// An answer that was paid for and not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EscalatedRecord {
    pub model: String,
    pub stop_reason: StopReason,
    pub usage: Usage,
    /// What was wrong with it, as `route.escalate.on` has it.
    pub fault: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MergeRecord {
    pub strategy: String,
    /// From the level above the chunks to the top.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<Vec<MergeNode>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MergeNode {
    pub id: CallId,
    pub inputs: Vec<CallId>,
    /// The chunks that lie below, as bytes of the text.
    pub bytes: [usize; 2],
    /// `None`: there was only one answer to pass on.
    pub call: Option<CallRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PipelineRecord {
    pub name: String,
    pub fingerprint: String,
}

/// An object to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub key: String,
    pub body: Bytes,
    pub content_type: &'static str,
}

/// The objects for a result. The JSON comes last: whoever sees it may rely on the others.
pub fn render(result: &DocumentResult, formats: &[OutputFormat]) -> Vec<Output> {
    let mut formats = formats.to_vec();
    formats.sort_by_key(|format| *format == OutputFormat::Json);
    formats.dedup();
    let output = |format| {
        let (extension, content_type, body) = match format {
            OutputFormat::Json => ("json", "application/json", json::bytes(result)),
            OutputFormat::Markdown => ("md", "text/markdown; charset=utf-8", markdown::bytes(result)),
        };
        Output { key: format!("{}.{extension}", result.key), body, content_type }
    };
    formats.into_iter().map(output).collect()
}

#[cfg(test)]
mod tests;
