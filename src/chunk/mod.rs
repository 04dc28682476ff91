//! Cuts a text into chunks at the best boundaries within a token budget, with the overlap before each marked as context.

mod anchor;
mod cut;
mod cutter;
mod effort;
mod exact;
mod halve;
mod outline;
mod place;
mod plan;
mod sentence;
mod stream;
mod tally;

use serde::Serialize;

pub use self::halve::halve;
pub use self::stream::{Stream, StreamedChunk};

use self::cutter::{Cutter, Step};
use self::tally::View;
use crate::domain::{Chunk, Layout};
use crate::tokens::Encoding;

/// How large chunks are. One that exists is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    tokens: u64,
    overlap: u64,
    limit: u64,
    encoding: Encoding,
}

/// Why a size can not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    #[error("chunk tokens must be at least {}: raise chunk.tokens", Size::MIN_TOKENS)]
    TooSmall,
    #[error("chunk tokens must be at most {}: lower chunk.tokens", Size::MAX_TOKENS)]
    TooLarge,
    #[error("overlap must be smaller than chunk tokens: lower chunk.overlap or raise chunk.tokens")]
    OverlapNotSmaller,
    #[error("the hard limit must not be below chunk tokens: raise the limit or lower chunk.tokens")]
    LimitBelowTokens,
}

impl Size {
    /// Fewer would not hold one emoji sequence and its neighbours.
    pub const MIN_TOKENS: u64 = 16;
    /// Far above every context window; bounds what is held in memory at once.
    pub const MAX_TOKENS: u64 = 16_000_000;

    /// Chunks of `tokens` tokens, the first `overlap` of which repeat the end of the chunk before.
    pub fn new(tokens: u64, overlap: u64, encoding: Encoding) -> Result<Size, SizeError> {
        if tokens < Size::MIN_TOKENS {
            return Err(SizeError::TooSmall);
        }
        if tokens > Size::MAX_TOKENS {
            return Err(SizeError::TooLarge);
        }
        if overlap >= tokens {
            return Err(SizeError::OverlapNotSmaller);
        }
        Ok(Size { tokens, overlap, limit: tokens, encoding })
    }

    /// Lets a chunk grow to `limit` tokens where that gives a better boundary; without it the target is the limit.
    pub fn with_limit(self, limit: u64) -> Result<Size, SizeError> {
        if limit < self.tokens {
            return Err(SizeError::LimitBelowTokens);
        }
        if limit > Size::MAX_TOKENS {
            return Err(SizeError::TooLarge);
        }
        Ok(Size { limit, ..self })
    }

    /// Tokens a chunk aims at, context and header included.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Tokens of context asked for.
    pub fn overlap(&self) -> u64 {
        self.overlap
    }

    /// Tokens no chunk exceeds.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The vocabulary that is counted in.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }
}

/// Cuts `text`. White space alone gives no chunk; otherwise the cores tile the text.
///
/// The result depends on the text, layout and size alone; a text of several megabytes is counted and cut by all threads of the
/// rayon pool.
pub fn chunks(text: &str, layout: Layout, size: &Size) -> Vec<Chunk> {
    let Chunks { view, cutter, .. } = Chunks::new(text, layout, size);
    cutter.all(view)
}

/// The same one by one, each worked out when it is asked for.
pub fn iter<'t>(text: &'t str, layout: Layout, size: &Size) -> Chunks<'t> {
    Chunks::new(text, layout, size)
}

/// The same of a text that comes in blocks, cut anywhere between characters. Keeps a few chunks and megabytes in memory. A text
/// of nothing but white space gives chunks if it is longer than that.
pub fn stream<I, S>(blocks: I, layout: Layout, size: &Size) -> Stream<I::IntoIter>
where
    I: IntoIterator<Item = S>,
    S: AsRef<str>,
{
    Stream::new(blocks.into_iter(), layout, size)
}

/// Iterator over the chunks of a text; made by [`iter`].
pub struct Chunks<'t> {
    view: View<'t>,
    cutter: Cutter,
    /// What lies before has been forgotten.
    known_from: usize,
}

/// Bytes that are forgotten at once.
const FORGET: usize = 64 << 10;

impl<'t> Chunks<'t> {
    fn new(text: &'t str, layout: Layout, size: &Size) -> Chunks<'t> {
        let text = if text.trim().is_empty() { "" } else { text };
        Chunks {
            view: View { text, base: 0, is_all: true },
            cutter: Cutter::new(layout, size),
            known_from: 0,
        }
    }
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        match self.cutter.next(self.view) {
            Step::Chunk(chunk) => {
                let needed = self.cutter.needs_from();
                if needed > self.known_from + FORGET {
                    self.cutter.forget_before(needed);
                    self.known_from = needed;
                }
                Some(chunk)
            }
            Step::More | Step::Done => None,
        }
    }
}
