//! Counts any part of a text exactly from the marks of the whole, in time that hardly depends on how long the part is.
//!
//! Which pieces a text has depends only on what follows their start, and merging never crosses a piece: so a part has the pieces
//! of the whole but for a few at its ends. Inside a long piece the same is done with tokens: a sequence of tokens is the one
//! that merging gives exactly when all neighbours get along, so known sequences can be joined wherever they do.

use super::effort::spend;
use super::tally::{Tally, View};
use crate::tokens::segment::LONG_PIECE;
use crate::tokens::split::with_split;
use crate::tokens::{self, PieceCounter, with_counter};

/// Bytes of a part that are looked at first, together with the header before it.
const WITH_HEADER: usize = 256;
/// Bytes after the end of a piece that can move it.
const LOOK_AHEAD: usize = 16;
/// Pieces looked at one by one before windows of them are.
const ONE_BY_ONE: usize = 64;
/// Marks further on that are tried if tokens do not get along at the first.
const TRIED: [usize; 4] = [0, 1, 3, 7];

impl Tally {
    /// Exactly the tokens of `header` and `start..end` of the text together.
    pub fn count(&self, view: View, header: &str, start: usize, end: usize) -> u64 {
        if header.is_empty() {
            return self.count_part(view, start, end);
        }
        let (from, tokens) = self.count_header(view, header, start, end);
        tokens + self.count_part(view, from, end)
    }

    /// Counts the pieces that start in the header. Gives the place in the text where the last of them ends.
    fn count_header(&self, view: View, header: &str, start: usize, end: usize) -> (usize, u64) {
        let mut some = WITH_HEADER;
        loop {
            let until = view.floor((start + some).min(end));
            let joined = [header, view.slice(start, until)].concat();
            let (mut at, mut tokens) = (0, 0);
            with_split!(self.encoding, &joined, |split| {
                while at < header.len() {
                    let piece_end = split.piece(at);
                    tokens += tokens::count_piece(&joined.as_bytes()[at..piece_end], self.encoding);
                    at = piece_end;
                }
            });
            if until == end || at + LOOK_AHEAD < joined.len() {
                return (start + at - header.len(), tokens);
            }
            some *= 4;
        }
    }

    fn count_part(&self, view: View, start: usize, end: usize) -> u64 {
        let part = view.slice(start, end);
        // The end of a part can move the pieces of the white space before it.
        let settled = part.trim_end().len();
        spend(part.len() - settled);
        let known = self.marks_before(start + settled);
        let mut mark = self.marks_before(start);
        let (mut at, mut tokens, mut walked) = (start, 0, 0);
        with_split!(self.encoding, part, |split| {
            with_counter(self.encoding, |counter| {
                while at < end {
                    while mark < known && self.marks[mark].at < at {
                        mark += 1;
                    }
                    if mark < known && self.marks[mark].at == at && self.marks[mark].ends_piece() {
                        let last = self.last_that_adds_up(mark, known);
                        tokens += self.marks[last].tokens - self.marks[mark].tokens;
                        (at, mark, walked) = (self.marks[last].at, last + 1, 0);
                    }
                    walked += 1;
                    if walked > ONE_BY_ONE
                        && let Some(window) = split.window(at - start)
                    {
                        spend(window.len());
                        tokens += counter.count_window(window);
                        at += window.len();
                        continue;
                    }
                    let piece_end = start + split.piece(at - start);
                    spend(piece_end - at);
                    if piece_end - at < 2 * LONG_PIECE {
                        tokens += counter.count(view.bytes(at, piece_end));
                        at = piece_end;
                    } else {
                        let joined = self.count_joined(view, at, piece_end, counter);
                        tokens += joined.unwrap_or_else(|| {
                            spend(piece_end - at);
                            counter.count(view.bytes(at, piece_end))
                        });
                        at = piece_end;
                        mark = self.marks_before(at).max(mark);
                    }
                }
            });
        });
        tokens
    }

    /// The number of marks before a place.
    fn marks_before(&self, at: usize) -> usize {
        self.marks.partition_point(|mark| mark.at < at)
    }

    /// The last of the marks from `mark` up to `known` where a piece ends and up to which counts add up.
    fn last_that_adds_up(&self, mark: usize, known: usize) -> usize {
        let breaks = self.marks[mark].breaks;
        let mut last = known - 1;
        if self.marks[last].breaks != breaks {
            last = self.marks.partition_point(|mark| mark.breaks <= breaks) - 1;
        }
        let section = self.marks[last].section;
        if self.marks[last].ends_piece() {
            return last;
        }
        self.marks.partition_point(|mark| mark.section < section).saturating_sub(1).max(mark)
    }

    /// Tokens of the long piece `start..end` of a part, from the tokens of the whole text's piece around it. `None` if
    /// they can not be joined, as where a few characters repeat all the time.
    fn count_joined(&self, view: View, start: usize, end: usize, counter: &mut PieceCounter) -> Option<u64> {
        let (mut mark, mut tokens) = self.join(view, start, None, start + 1, end, counter)?;
        loop {
            let section = self.marks[mark].section;
            let after = self.marks.partition_point(|mark| mark.section <= section);
            let usable = self.marks_before(end).min(after);
            let (next, more) = TRIED.iter().find_map(|back| {
                let last = usable.checked_sub(back + 1).filter(|last| *last > mark)?;
                let before = counter.ends(view.bytes(self.marks[last - 1].at, self.marks[last].at))?.1;
                let run = self.marks[last].tokens - self.marks[mark].tokens;
                let at = self.marks[last].at;
                let further = self.marks.get(after).map_or(end, |mark| mark.at + 1);
                if let Some((next, fresh)) = self.join(view, at, Some(before), further, end, counter) {
                    return Some((Some(next), run + fresh));
                }
                spend(end - at);
                let (first, _, fresh) = counter.ends(view.bytes(at, end))?;
                counter.stand_together(before, first).then_some((None, run + fresh))
            })?;
            tokens += more;
            mark = match next {
                Some(next) => next,
                None => return Some(tokens),
            };
        }
    }

    /// A mark after `from` whose tokens go on where those of the bytes from `at` up to it end, and how many these are.
    /// `before` is the token before `at`, if there is one.
    fn join(
        &self,
        view: View,
        at: usize,
        before: Option<u32>,
        from: usize,
        end: usize,
        counter: &mut PieceCounter,
    ) -> Option<(usize, u64)> {
        let first_mark = self.marks_before(from);
        TRIED.iter().find_map(|ahead| {
            let mark = first_mark + ahead;
            let (here, next) = (self.marks.get(mark)?, self.marks.get(mark + 1)?);
            if here.ends_piece() || next.section != here.section || next.at >= end {
                return None;
            }
            spend(next.at - at);
            let (first, last, tokens) = counter.ends(view.bytes(at, here.at))?;
            let after = counter.ends(view.bytes(here.at, next.at))?.0;
            let is_joined = counter.stand_together(last, after)
                && before.is_none_or(|before| counter.stand_together(before, first));
            is_joined.then_some((mark, tokens))
        })
    }
}
