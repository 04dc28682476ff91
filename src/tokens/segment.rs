//! Cuts a large text into segments that are counted on their own, at once or one after the other as it is read.

use super::Encoding;
use super::ascii::WINDOW;
use super::cache::{PieceCounter, with_counter};
use super::split::{Window, is_seam, with_split};

/// Bytes of a segment, and how much further a good end for it is looked for.
const SEGMENT: usize = 256 << 10;
const SEARCH: usize = 16 << 10;

/// A text must be this far known after a segment's start for its end to be found.
pub(crate) const SEGMENT_REACH: usize = SEGMENT + SEARCH + 16;

/// Bytes from one mark to the next, unless a piece is longer.
const MARK_EVERY: usize = 48;
/// Bytes from one start of a line with a mark to the next.
const LINE_MARKS: usize = 24;

/// Bytes from which on a piece gets marks inside it.
pub(crate) const LONG_PIECE: usize = 512;

/// A place where a piece ends, or a token of a long piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub at: usize,
    /// Tokens of everything before.
    pub tokens: u64,
    /// How many times a segment had to end inside a piece before here: counts add up only between marks of one number.
    pub breaks: u32,
    /// Odd for marks inside a long piece, each of which has a number of its own.
    pub section: u32,
}

impl Mark {
    /// Whether a piece ends here.
    pub fn ends_piece(&self) -> bool {
        self.section.is_multiple_of(2)
    }
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

/// Counts a segment and leaves a mark every few pieces and at starts of lines, the last at its end; `from` is the mark at its
/// start, of which the segment's place in the text is taken.
pub(crate) fn measure(segment: &str, from: Mark, encoding: Encoding, marks: &mut Vec<Mark>) {
    with_counter(encoding, |counter| {
        with_split!(encoding, segment, |split| {
            let (mut at, mut now) = (0, from);
            let mut trail = Trail { marks, last: from.at, last_line: from.at };
            while at < segment.len() {
                match split.window(at) {
                    Some(window) => {
                        now = measure_window(counter, window, now, &mut trail);
                        at += window.len();
                    }
                    None => {
                        let end = split.piece(at);
                        let piece = &segment.as_bytes()[at..end];
                        if piece.len() < LONG_PIECE {
                            now.tokens += counter.count(piece);
                            now.at += piece.len();
                            if piece.ends_with(b"\n") { trail.line(now) } else { trail.piece(now) }
                        } else {
                            trail.push(now);
                            now = measure_long(counter, piece, now, trail.marks);
                            trail.push(now);
                        }
                        at = end;
                    }
                }
            }
            trail.push(now);
        });
    });
}

/// The marks of a segment as they are left.
struct Trail<'m> {
    marks: &'m mut Vec<Mark>,
    last: usize,
    last_line: usize,
}

impl Trail<'_> {
    fn push(&mut self, mark: Mark) {
        if mark.at > self.last {
            self.marks.push(mark);
            self.last = mark.at;
        }
    }

    /// A piece ends here.
    #[inline(always)]
    fn piece(&mut self, mark: Mark) {
        if mark.at - self.last >= MARK_EVERY {
            self.push(mark);
        }
    }

    /// A line starts here. Other marks depend on what came before, those of lines do not: where only lines are cut, an edit
    /// changes nothing further down.
    #[inline(always)]
    fn line(&mut self, mark: Mark) {
        if mark.at - self.last_line >= LINE_MARKS {
            if self.last != self.last_line
                && mark.at - self.last < LINE_MARKS
                && self.marks.last().is_some_and(Mark::ends_piece)
            {
                self.marks.pop();
            }
            self.push(mark);
            self.last_line = mark.at;
        }
    }
}

/// Counts the pieces of a window line by line. Gives the mark at its end.
#[inline(always)]
fn measure_window(counter: &mut PieceCounter, window: Window, from: Mark, trail: &mut Trail) -> Mark {
    let (mut now, mut counted, mut lines) = (from, 0, window.lines);
    // Piece ends after the first `counted` bytes and up to `last`.
    let ends =
        |counted: usize, last: usize| window.starts & u64::MAX << counted << 1 & u64::MAX >> (63 - last);
    while lines != 0 {
        let line = lines.trailing_zeros() as usize;
        lines &= lines - 1;
        now.tokens += counter.count_starts(window, counted, ends(counted, line));
        now.at = from.at + line;
        counted = line;
        trail.line(now);
    }
    now.tokens += counter.count_starts(window, counted, ends(counted, WINDOW - 1));
    now.at = from.at + window.len();
    trail.piece(now);
    now
}

/// Leaves marks inside a long piece, so that parts of it need not be counted anew. Gives the mark at its end.
fn measure_long(counter: &mut PieceCounter, piece: &[u8], from: Mark, marks: &mut Vec<Mark>) -> Mark {
    let section = from.section + 1;
    let tokens = counter.count_with_places(piece, MARK_EVERY, |at, tokens| {
        if at < piece.len() {
            marks.push(Mark { at: from.at + at, tokens: from.tokens + tokens, section, ..from });
        }
    });
    Mark { at: from.at + piece.len(), tokens: from.tokens + tokens, section: section + 1, ..from }
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
