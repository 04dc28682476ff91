//! Knows how many tokens lie between any two places of a text: roughly at once, exactly after a look at both ends.
//!
//! The text is split into pieces once. Merging never crosses a piece, and which pieces there are depends only on what follows
//! their start, so the pieces of a part of the text are those of the whole but for a few at its ends.

use std::collections::VecDeque;

use rayon::prelude::*;

use super::effort::spend;
use crate::tokens::Encoding;
use crate::tokens::segment::{Mark, measure, segment_end, segments};
use crate::tokens::split::settled;

/// Tokens that counts of parts may add up wrongly by, mostly.
pub(super) const SLACK: u64 = 3;

/// Part of a text, at its place.
#[derive(Clone, Copy)]
pub(super) struct View<'t> {
    pub text: &'t str,
    /// Bytes of the text before this part.
    pub base: usize,
    /// Whether the text ends here.
    pub is_all: bool,
}

impl<'t> View<'t> {
    pub fn end(&self) -> usize {
        self.base + self.text.len()
    }

    pub fn slice(&self, start: usize, end: usize) -> &'t str {
        &self.text[start - self.base..end - self.base]
    }

    /// The same as bytes: `start` and `end` may lie inside a character.
    pub fn bytes(&self, start: usize, end: usize) -> &'t [u8] {
        &self.text.as_bytes()[start - self.base..end - self.base]
    }

    /// The character boundary at or before `at`.
    pub fn floor(&self, at: usize) -> usize {
        self.base + self.text.floor_char_boundary(at.saturating_sub(self.base))
    }

    /// The character boundary at or after `at`.
    pub fn ceil(&self, at: usize) -> usize {
        self.base + self.text.ceil_char_boundary(at.saturating_sub(self.base))
    }
}

/// Counts of a text from some place on.
pub(super) struct Tally {
    pub encoding: Encoding,
    /// In order of place; the first is where counting started.
    pub marks: VecDeque<Mark>,
    /// Marks that have been forgotten.
    forgotten: usize,
}

/// Remembers a place among the marks, for questions about one place after another.
#[derive(Clone, Copy, Default)]
pub(super) struct Finger(usize);

/// Marks a finger walks over before it is better to search.
const STEPS: usize = 16;

impl Tally {
    pub fn new(encoding: Encoding) -> Tally {
        Tally { encoding, marks: VecDeque::from([Mark::default()]), forgotten: 0 }
    }

    fn last(&self) -> Mark {
        *self.marks.back().expect("the mark at the start is kept until there is another")
    }

    /// Where counting has got to.
    pub fn end(&self) -> usize {
        self.last().at
    }

    /// Tokens counted so far.
    pub fn tokens(&self) -> u64 {
        self.last().tokens
    }

    /// Counts one more segment. False: more of the text must be known, or it is all counted.
    pub fn extend(&mut self, view: View) -> bool {
        let from = self.last();
        let start = from.at - view.base;
        if start == view.text.len() {
            return false;
        }
        let Some((end, is_seam)) = segment_end(view.text, start, view.is_all) else { return false };
        let mut marks = Vec::with_capacity((end - start) / 40);
        spend(end - start);
        measure(&view.text[start..end], from, self.encoding, &mut marks);
        self.append(view, from.at, marks, is_seam);
        true
    }

    /// Counts a whole large text, its segments side by side.
    pub fn extend_to_end(&mut self, view: View) {
        let encoding = self.encoding;
        let counted: Vec<(Vec<Mark>, bool)> = segments(view.text)
            .into_par_iter()
            .map(|(start, end, is_seam)| {
                let mut marks = Vec::with_capacity((end - start) / 40);
                measure(&view.text[start..end], Mark { at: start, ..Mark::default() }, encoding, &mut marks);
                (marks, is_seam)
            })
            .collect();
        self.marks.reserve(counted.iter().map(|(marks, _)| marks.len()).sum());
        for (mut marks, is_seam) in counted {
            let from = self.last();
            for mark in &mut marks {
                mark.tokens += from.tokens;
                mark.breaks = from.breaks;
                mark.section += from.section;
            }
            self.append(view, from.at, marks, is_seam);
        }
    }

    /// Takes in the marks of a segment that starts at `start`.
    fn append(&mut self, view: View, start: usize, mut marks: Vec<Mark>, is_seam: bool) {
        if let Some(mut last) = marks.pop_if(|_| !is_seam) {
            // Pieces near the end may be others in the text than in the segment.
            let settled = start + settled(view.slice(start, last.at));
            marks.retain(|mark| mark.at <= settled || !mark.ends_piece());
            last.breaks += 1;
            marks.push(last);
        }
        self.marks.extend(marks);
    }

    /// Forgets what lies before `at`, but for the last mark there.
    pub fn forget_before(&mut self, at: usize) {
        let keep = self.marks.partition_point(|mark| mark.at <= at).saturating_sub(1);
        self.marks.drain(..keep);
        self.forgotten += keep;
    }

    /// About how many tokens lie before `at`; exactly where a line starts, mostly.
    pub fn before(&self, at: usize) -> u64 {
        self.between(self.marks.partition_point(|mark| mark.at < at), at)
    }

    /// The same for a place not far after the one that was asked about last.
    pub fn before_next(&self, at: usize, finger: &mut Finger) -> u64 {
        let mut next = finger.0.saturating_sub(self.forgotten);
        let is_past = |next: usize| self.marks.get(next).is_none_or(|mark| mark.at >= at);
        if next == 0 || self.marks.get(next - 1).is_none_or(|mark| mark.at < at) {
            for _ in 0..STEPS {
                if is_past(next) {
                    finger.0 = next + self.forgotten;
                    return self.between(next, at);
                }
                next += 1;
            }
        }
        let next = self.marks.partition_point(|mark| mark.at < at);
        finger.0 = next + self.forgotten;
        self.between(next, at)
    }

    /// Tokens before `at`, which lies before the mark `next` and not before the one before.
    fn between(&self, next: usize, at: usize) -> u64 {
        let Some(&above) = self.marks.get(next) else { return self.tokens() };
        let below = match next.checked_sub(1) {
            Some(below) if above.at != at => self.marks[below],
            _ => return above.tokens,
        };
        below.tokens
            + scale(above.tokens - below.tokens, (at - below.at) as u64, (above.at - below.at) as u64)
    }

    /// The place that has about `tokens` tokens before it.
    pub fn place(&self, tokens: u64) -> usize {
        let next = self.marks.partition_point(|mark| mark.tokens < tokens);
        let Some(&above) = self.marks.get(next) else { return self.end() };
        let Some(&below) = next.checked_sub(1).and_then(|before| self.marks.get(before)) else {
            return above.at;
        };
        below.at
            + scale((above.at - below.at) as u64, tokens - below.tokens, above.tokens - below.tokens) as usize
    }
}

/// `whole * part / of`, for `part` up to `of`.
fn scale(whole: u64, part: u64, of: u64) -> u64 {
    match of {
        0 => 0,
        _ => match whole.checked_mul(part) {
            Some(product) => product / of,
            None => (u128::from(whole) * u128::from(part) / u128::from(of)) as u64,
        },
    }
}
