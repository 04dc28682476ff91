//! A document: the object as a listing shows it, the text that was read from it, and the state it ends in.

use serde::{Deserialize, Serialize};

/// An object of the source as its listing shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectMeta {
    /// The key, relative to the store's root. Any UTF-8: it is a name, never a path to be followed.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The entity tag without its quotes; a version of the content, not necessarily its MD5.
    pub etag: Option<String>,
}

/// What a document is, found by content first and by name second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    Text,
    Markdown,
    Html,
    Csv,
    Tsv,
    Json,
    JsonLines,
    Xml,
    Log,
    Code,
    Subtitles,
}

/// How the extracted text is laid out, which is what decides where it may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Paragraphs and sentences. A form feed starts a page.
    Prose,
    /// Headings, lists, tables and fenced code as in CommonMark; otherwise prose.
    Markdown,
    /// Records of delimited values, quoted as in RFC 4180, the first one the header.
    Table { delimiter: u8 },
    /// One record a line: logs, JSON lines.
    Lines,
    /// Source code and pretty-printed JSON or XML: blank lines and indentation.
    Code,
    /// Subtitle cues: a time line, then text, then a blank line.
    Transcript,
}

/// The text of a document, ready to be counted and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub body: String,
    pub format: Format,
    pub layout: Layout,
    /// Name of the character set it was read with (WHATWG label, upper case as in the standard: `UTF-8`, `Shift_JIS`).
    pub charset: &'static str,
    /// `Some(n)`: byte `i` of `body` is byte `i + n` of the object. `None`: the text was decoded, unpacked or
    /// converted, and offsets count bytes of `body`.
    pub source_offset: Option<u64>,
    /// What a careful reader should know: replaced bytes, a guessed character set. No document text.
    pub warnings: Vec<String>,
}

/// The one state a document ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentState {
    Done,
    Partial,
    Failed,
    Skipped,
}
