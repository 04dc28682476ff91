//! Cuts a text into chunks at the best boundaries within a token budget, with the overlap before each marked as context.

use serde::Serialize;

use crate::domain::{Boundary, Chunk, Layout};
use crate::tokens::{self, Encoding};

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
pub fn chunks(text: &str, _layout: Layout, size: &Size) -> Vec<Chunk> {
    let mut found: Vec<Chunk> = Vec::new();
    if text.trim().is_empty() {
        return found;
    }
    let mut start = 0;
    while start < text.len() {
        let context = context_start(text, start, size);
        let fits = |end: usize| tokens::count(&text[context..end], size.encoding) <= size.tokens;
        let (end, boundary) = if text[start..].trim().is_empty() || fits(text.len()) {
            (text.len(), Boundary::End)
        } else {
            best_end(text, start, furthest(text, start, size, &fits))
        };
        let tokens = tokens::count(&text[context..end], size.encoding);
        let index = found.len() as u32;
        found.push(Chunk {
            index,
            context: context..start,
            core: start..end,
            header: None,
            tokens,
            end: boundary,
        });
        start = end;
    }
    found
}

fn furthest(text: &str, start: usize, size: &Size, fits: &dyn Fn(usize) -> bool) -> usize {
    let mut step = (size.tokens as usize).max(1);
    let mut end = start;
    loop {
        let next = text.floor_char_boundary((end + step).min(text.len()));
        if next > end && fits(next) {
            end = next;
            step *= 2;
        } else if step > 1 {
            step /= 4;
            step = step.max(1);
        } else if end > start {
            return end;
        } else {
            return text.ceil_char_boundary(start + 1);
        }
        if step == 1 && end > start {
            return end;
        }
    }
}

fn best_end(text: &str, start: usize, furthest: usize) -> (usize, Boundary) {
    let from = text.ceil_char_boundary(start + (furthest - start) * 4 / 5);
    let window = &text[from..furthest];
    let after = |at: usize, len: usize| from + at + len;
    if let Some(at) = window.rfind("\n\n") {
        return (after(at, 2), Boundary::Paragraph);
    }
    if let Some(at) = window.rfind(". ") {
        return (after(at, 2), Boundary::Sentence);
    }
    if let Some(at) = window.rfind(char::is_whitespace) {
        let len = window[at..].chars().next().map_or(1, char::len_utf8);
        return (after(at, len), Boundary::Word);
    }
    (furthest, Boundary::Grapheme)
}

fn context_start(text: &str, start: usize, size: &Size) -> usize {
    if size.overlap == 0 || start == 0 {
        return start;
    }
    let mut bytes = (size.overlap as usize) * 4;
    loop {
        let from = text.ceil_char_boundary(start.saturating_sub(bytes));
        if tokens::count(&text[from..start], size.encoding) <= size.overlap {
            return from;
        }
        bytes = bytes * 3 / 4;
    }
}
