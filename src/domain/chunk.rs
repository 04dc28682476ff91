//! A chunk: a piece of a document's text that goes into one call, with the overlap before it marked as context.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A place where a text was cut, from worst to best. Better cuts compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boundary {
    Grapheme,
    Word,
    Clause,
    Sentence,
    /// A list item, a table row, a log record, a line of code.
    Line,
    Paragraph,
    Page,
    Heading,
    /// The end of the text.
    End,
}

/// A piece of a text. The cores of a text's chunks tile it: each starts where the one before ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// 0-based place among the chunks of its text.
    pub index: u32,
    /// The overlap, in bytes of the text: ends where `core` starts; empty for the first chunk.
    pub context: Range<usize>,
    /// What this chunk alone is responsible for, in bytes of the text.
    pub core: Range<usize>,
    /// A table's header record, repeated for a chunk that starts further down the table; lies before `context`.
    pub header: Option<Range<usize>>,
    /// Tokens of header, context and core together, counted exactly in the chunker's encoding.
    pub tokens: u64,
    /// Where `core` ends.
    pub end: Boundary,
}
