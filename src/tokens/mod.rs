//! Counts the tokens of a text: exactly for the two published vocabularies, with a bound for models whose vendors publish
//! none.
//!
//! Every byte of a document store is counted at least once before a cent is spent, so this has to be exact and fast.

mod ascii;
mod bpe;
mod cache;
pub(crate) mod segment;
pub(crate) mod split;
mod trie;
mod vocabulary;

pub(crate) use self::cache::{PieceCounter, with_counter};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use crate::domain::{Encoding, UnknownEncoding};

/// Bytes from which on a text is counted by all threads of the rayon pool.
const PARALLEL: usize = 1 << 20;

/// Tokens of one piece of a text.
pub(crate) fn count_piece(piece: &[u8], encoding: Encoding) -> u64 {
    with_counter(encoding, |counter| counter.count(piece))
}

/// Tokens of `text`: the length of tiktoken's `encode_ordinary`, so names of special tokens count as plain text.
pub fn count(text: &str, encoding: Encoding) -> u64 {
    if text.len() < PARALLEL {
        return cache::count(text, encoding);
    }
    let tokens = |(start, end, is_seam): (usize, usize, bool)| {
        is_seam.then(|| cache::count(&text[start..end], encoding))
    };
    // Parts that do not add up are rare and hostile: such a text is counted in one.
    let parts: Option<Vec<u64>> = segment::segments(text).into_par_iter().map(tokens).collect();
    parts.map_or_else(|| cache::count(text, encoding), |parts| parts.into_iter().sum())
}

/// A number of tokens that says how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// The tokenizer itself was run.
    Exact(u64),
    /// The model's tokenizer is not published: a count of another vocabulary times a learned factor.
    Estimate { likely: u64, at_most: u64 },
}

impl Count {
    /// The number to plan time and price with.
    pub fn likely(self) -> u64 {
        match self {
            Count::Exact(tokens) => tokens,
            Count::Estimate { likely, .. } => likely,
        }
    }

    /// The number to reserve money and window with.
    pub fn at_most(self) -> u64 {
        match self {
            Count::Exact(tokens) => tokens,
            Count::Estimate { at_most, .. } => at_most,
        }
    }

    /// Whether the tokenizer itself was run.
    pub fn is_exact(self) -> bool {
        matches!(self, Count::Exact(_))
    }
}

const PARTS_PER_MILLION: u128 = 1_000_000;

/// Counts for a model: an exact count in a published vocabulary, times the model's factor where that is all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    encoding: Encoding,
    factor: Option<Factor>,
}

/// Tokens of a model for a million tokens of the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Factor {
    likely_ppm: u64,
    at_most_ppm: u64,
}

impl Counter {
    /// For a model that uses this vocabulary.
    pub fn exact(encoding: Encoding) -> Counter {
        Counter { encoding, factor: None }
    }

    /// For a model with a tokenizer of its own that answers with `likely_ppm` tokens for a million of `encoding`'s, and
    /// never with more than `at_most_ppm` (raised to `likely_ppm` if lower).
    pub fn estimate(encoding: Encoding, likely_ppm: u64, at_most_ppm: u64) -> Counter {
        Counter { encoding, factor: Some(Factor { likely_ppm, at_most_ppm: at_most_ppm.max(likely_ppm) }) }
    }

    /// The vocabulary that is counted in.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Tokens of `text` for the model.
    pub fn count(&self, text: &str) -> Count {
        self.scale(count(text, self.encoding), text.len() as u64)
    }

    /// The same for a text of `bytes` bytes that has been counted already.
    pub fn scale(&self, tokens: u64, bytes: u64) -> Count {
        match self.factor {
            None => Count::Exact(tokens),
            // Every token is at least one byte of the text, whatever the vocabulary.
            Some(Factor { likely_ppm, at_most_ppm }) => Count::Estimate {
                likely: scaled_up(tokens, likely_ppm).min(bytes),
                at_most: scaled_up(tokens, at_most_ppm).min(bytes),
            },
        }
    }
}

fn scaled_up(tokens: u64, ppm: u64) -> u64 {
    let product = u128::from(tokens) * u128::from(ppm);
    u64::try_from(product.div_ceil(PARTS_PER_MILLION)).unwrap_or(u64::MAX)
}
