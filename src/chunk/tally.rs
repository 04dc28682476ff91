//! Knows how many tokens lie between any two places of a text: roughly at once, exactly after a look at both ends.
//!
//! The text is split into pieces once. Merging never crosses a piece, and which pieces there are depends only on what follows
//! their start, so the pieces of a part of the text are those of the whole but for a few at its ends.

use std::collections::VecDeque;

use rayon::prelude::*;

use crate::tokens::segment::{Mark, measure, segment_end, segments};
use crate::tokens::split::with_split;
use crate::tokens::{self, Encoding};

/// Bytes from which on segments are counted side by side.
const PARALLEL: usize = 2 << 20;
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
    encoding: Encoding,
    /// In order of place; the first is where counting started.
    marks: VecDeque<Mark>,
}

impl Tally {
    pub fn new(encoding: Encoding) -> Tally {
        Tally { encoding, marks: VecDeque::from([Mark { at: 0, tokens: 0, breaks: 0 }]) }
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
        measure(&view.text[start..end], from, self.encoding, &mut marks);
        self.append(marks, is_seam);
        true
    }

    /// Counts a whole large text, its segments side by side.
    pub fn extend_to_end(&mut self, view: View) {
        if view.text.len() < PARALLEL {
            return;
        }
        let encoding = self.encoding;
        let counted: Vec<(Vec<Mark>, bool)> = segments(view.text)
            .into_par_iter()
            .map(|(start, end, is_seam)| {
                let mut marks = Vec::with_capacity((end - start) / 40);
                measure(
                    &view.text[start..end],
                    Mark { at: start, tokens: 0, breaks: 0 },
                    encoding,
                    &mut marks,
                );
                (marks, is_seam)
            })
            .collect();
        for (mut marks, is_seam) in counted {
            let from = self.last();
            for mark in &mut marks {
                mark.tokens += from.tokens;
                mark.breaks = from.breaks;
            }
            self.append(marks, is_seam);
        }
    }

    fn append(&mut self, marks: Vec<Mark>, is_seam: bool) {
        self.marks.extend(marks);
        if !is_seam && let Some(last) = self.marks.back_mut() {
            last.breaks += 1;
        }
    }

    /// Forgets what lies before `at`, but for the last mark there.
    pub fn forget_before(&mut self, at: usize) {
        let keep = self.marks.partition_point(|mark| mark.at <= at).saturating_sub(1);
        self.marks.drain(..keep);
    }

    /// About how many tokens lie before `at`.
    pub fn before(&self, at: usize) -> u64 {
        let next = self.marks.partition_point(|mark| mark.at < at);
        let Some(&above) = self.marks.get(next) else { return self.tokens() };
        let Some(&below) = next.checked_sub(1).and_then(|before| self.marks.get(before)) else {
            return above.tokens;
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

    /// Exactly the tokens of `header` and `start..end` of the text together.
    pub fn count(&self, view: View, header: &str, start: usize, end: usize) -> u64 {
        let range = view.slice(start, end);
        let first = self.marks.partition_point(|mark| mark.at < start);
        let last = self.last_before(view, end);
        let Some(last) = last.filter(|&last| last >= first) else {
            return count_joined(header, range, self.encoding);
        };
        let met = if header.is_empty() {
            self.meet(range, 0, start, first, last)
        } else {
            // Enough of the range to get past what the header's end can change.
            let some = self.marks[last.min(first + 8)].at;
            let joined = [header, view.slice(start, some)].concat();
            let sure = self.last_before(view, some).filter(|&sure| sure >= first);
            sure.and_then(|sure| self.meet(&joined, header.len(), start, first, sure))
        };
        let Some((met, tokens)) = met else { return count_joined(header, range, self.encoding) };
        let (met, last) = (self.marks[met], self.marks[last]);
        if met.breaks != last.breaks {
            return count_joined(header, range, self.encoding);
        }
        tokens + (last.tokens - met.tokens) + tokens::count(view.slice(last.at, end), self.encoding)
    }

    /// Splits `text`, whose byte `offset` lies at `start`, until a piece ends at one of the marks `first..=last`. Gives
    /// the mark and the tokens up to it.
    fn meet(
        &self,
        text: &str,
        offset: usize,
        start: usize,
        first: usize,
        last: usize,
    ) -> Option<(usize, u64)> {
        let (mut at, mut tokens, mut mark) = (0, 0, first);
        loop {
            while start + at > self.marks[mark].at + offset {
                mark += 1;
                if mark > last {
                    return None;
                }
            }
            if start + at == self.marks[mark].at + offset {
                return Some((mark, tokens));
            }
            if at >= text.len() {
                return None;
            }
            let end = with_split!(self.encoding, text, |split| split.piece(at));
            tokens += tokens::count_piece(&text[at..end], self.encoding);
            at = end;
        }
    }

    /// The last mark that the end of a part at `end` can not move: something other than white space lies between.
    fn last_before(&self, view: View, end: usize) -> Option<usize> {
        let mut at = self.marks.partition_point(|mark| mark.at < end).checked_sub(1)?;
        while view.slice(self.marks[at].at.max(view.base), end).trim_start().is_empty() {
            at = at.checked_sub(1)?;
        }
        (self.marks[at].at >= view.base).then_some(at)
    }
}

fn count_joined(header: &str, range: &str, encoding: Encoding) -> u64 {
    match header {
        "" => tokens::count(range, encoding),
        _ => tokens::count(&[header, range].concat(), encoding),
    }
}

/// `whole * part / of`, for `part` up to `of`.
fn scale(whole: u64, part: u64, of: u64) -> u64 {
    match of {
        0 => 0,
        _ => (u128::from(whole) * u128::from(part) / u128::from(of)) as u64,
    }
}
