//! Cuts a large text into segments that are counted on their own, at once or one after the other as it is read.

use super::Encoding;
use super::cache::with_counter;
use super::split::{is_seam, with_split};

/// Bytes of a segment, and how much further a good end for it is looked for.
const SEGMENT: usize = 256 << 10;
const SEARCH: usize = 16 << 10;

/// A text must be this far known after a segment's start for its end to be found.
pub(crate) const SEGMENT_REACH: usize = SEGMENT + SEARCH + 16;

/// Bytes from one mark to the next, unless a piece is longer.
const MARK_EVERY: usize = 48;

/// A place where a piece ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub at: usize,
    /// Tokens of everything before.
    pub tokens: u64,
    /// How many times a segment had to end inside a piece before here: counts add up only between marks of one number.
    pub breaks: u32,
}

/// Where the segment that starts at `start` ends, and whether that is a seam. `None`: more of the text must be known.
pub(crate) fn segment_end(text: &str, start: usize, is_all: bool) -> Option<(usize, bool)> {
    if text.len() - start < SEGMENT_REACH {
        return is_all.then_some((text.len(), true));
    }
    let mut places = start + SEGMENT..start + SEGMENT + SEARCH;
    let is_good = |at: usize| text.is_char_boundary(at) && is_seam(text, at);
    let seam = places
        .clone()
        .find(|&at| is_chosen(text, at) && is_good(at))
        .or_else(|| places.find(|&at| is_good(at)));
    Some(seam.map_or_else(|| (text.floor_char_boundary(start + SEGMENT + SEARCH), false), |at| (at, true)))
}

/// One place in 512, by the bytes before it: so segments mostly end where they did before an edit further up, and what is known
/// roughly from then on (where marks are) is the same as before.
fn is_chosen(text: &str, at: usize) -> bool {
    let before = text.as_bytes()[..at].last_chunk::<8>();
    before.is_some_and(|eight| u64::from_le_bytes(*eight).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55 == 0)
}

/// Counts a segment and leaves a mark every few pieces, the last at its end; `from` is the mark at its start, of which the
/// segment's place in the text is taken.
pub(crate) fn measure(segment: &str, from: Mark, encoding: Encoding, marks: &mut Vec<Mark>) {
    with_counter(encoding, |counter| {
        with_split!(encoding, segment, |split| {
            let (mut at, mut tokens, mut marked) = (0, from.tokens, 0);
            while at < segment.len() {
                match split.window(at) {
                    Some(window) => {
                        tokens += counter.count_window(window);
                        at += window.len();
                    }
                    None => {
                        let end = split.piece(at);
                        tokens += counter.count(&segment.as_bytes()[at..end]);
                        at = end;
                    }
                }
                if at - marked >= MARK_EVERY || at == segment.len() {
                    marks.push(Mark { at: from.at + at, tokens, ..from });
                    marked = at;
                }
            }
        });
    });
}

/// Segments of a whole text.
pub(crate) fn segments(text: &str) -> Vec<(usize, usize, bool)> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let (end, is_seam) = segment_end(text, start, true).unwrap_or((text.len(), true));
        found.push((start, end, is_seam));
        start = end;
    }
    found
}
