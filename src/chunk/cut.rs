//! Makes one chunk of a text: takes the end that was planned, gives the chunk its context and its exact count, and keeps it
//! within its limit.

use unicode_segmentation::GraphemeCursor;

use super::Size;
use super::cutter::Known;
use super::effort::spend;
use super::place::{Place, Places};
use super::plan::{Span, forward};
use super::tally::{SLACK, View};
use crate::domain::{Boundary, Chunk};

/// Times an end is moved back because it turned out to lie past the limit.
const MAX_TRIES: u32 = 24;
/// Bytes that a text within the limit can be longer than what marks say.
const LONGEST_OVER: usize = 4 << 10;

/// Where a chunk is made.
pub(super) struct Cut<'a> {
    pub known: &'a Known,
    pub view: View<'a>,
    pub start: usize,
    pub index: u32,
    /// An end that has been decided but for what exact counts say.
    pub planned: Option<Place>,
    /// Whether the rest of the text has been counted.
    pub is_counted: bool,
}

impl Cut<'_> {
    pub fn make(&self) -> Chunk {
        let chunk = self.chunk(self.known.size.overlap);
        // A context that leaves no room for a single character is left out.
        chunk.or_else(|| self.chunk(0)).unwrap_or_else(|| self.smallest())
    }

    fn places(&self) -> Places<'_> {
        self.known.places(self.view)
    }

    /// The chunk with up to `overlap` tokens of context; `None` if nothing fits.
    fn chunk(&self, overlap: u64) -> Option<Chunk> {
        let has_context = overlap > 0 && self.start > 0;
        let header = self.known.header.as_ref().filter(|header| header.range.end < self.start);
        let header_tokens = header.map_or(0, |header| header.tokens);
        let span =
            Span::new(&Size { overlap, ..self.known.size }, self.known.layout, header_tokens, has_context);
        let before = self.known.tally.before(self.start);
        let planned = self.planned;
        let (mut most, mut room_lost) = (span.most, 0);
        for tries in 0..MAX_TRIES {
            let end = match planned {
                // A planned end is only given up if there is no room for half of the context.
                Some(end) if room_lost <= overlap / 6 => end,
                _ => {
                    // Not for ever: a text without sentences would be read again and again.
                    let more = (self.known.size.limit - self.known.size.tokens).min(self.known.size.tokens);
                    let more = if tries == 0 { more } else { 0 };
                    self.end(Span { most, full: span.full.min(most), ..span }, more)?
                }
            };
            let core = self.known.tally.before(end.at) - before;
            let room = self.known.size.limit.saturating_sub(header_tokens + core + SLACK + room_lost);
            let context = self.context(room.clamp(overlap.div_ceil(2), overlap), overlap);
            let header = header.filter(|header| header.range.end <= context);
            let header_text = header.map_or("", |header| &header.text);
            let tokens = self.known.tally.count(self.view, header_text, context, end.at);
            if tokens <= self.known.size.limit {
                return Some(Chunk {
                    index: self.index,
                    context: context..self.start,
                    core: self.start..end.at,
                    header: header.map(|header| header.range.clone()),
                    tokens,
                    end: if self.view.is_all && end.at == self.view.end() {
                        Boundary::End
                    } else {
                        end.level
                    },
                });
            }
            // Counts of parts add up to a little more than was thought, or to much more in a text of one endless piece.
            let over = (tokens - self.known.size.limit + 1) << tries.saturating_sub(2);
            most = core.min(most).saturating_sub(over);
            room_lost += over;
        }
        None
    }

    /// Where a chunk ends that was not planned; `more` tokens past its span if there is no sentence's end within.
    fn end(&self, span: Span, more: u64) -> Option<Place> {
        let before = self.known.tally.before(self.start);
        let rest = self.known.tally.tokens() - before;
        if self.is_counted && rest <= span.most {
            return Some(Place { at: self.view.end(), level: Boundary::End });
        }
        if self.is_counted && rest < span.most + span.most / 2 {
            // What is left for the last chunk would be a scrap: these two share evenly.
            let most = (rest / 2 + span.reach).min(span.most);
            let full = (rest / 2).saturating_sub(span.reach).max(1);
            return forward(self.places(), self.start, Span { most, full, ..span }, 0);
        }
        let furthest =
            if more > 0 { self.view.floor(self.known.tally.place(before + span.most + more)) } else { 0 };
        let end = forward(self.places(), self.start, span, furthest)?;
        (end.at > self.start).then_some(end)
    }

    /// Where the context of the next chunk starts: at the best boundary that leaves it half of `asked` to all of `room` tokens.
    fn context(&self, room: u64, asked: u64) -> usize {
        let start = self.known.tally.before(self.start);
        if asked == 0 || self.start == 0 {
            return self.start;
        }
        let places = self.places();
        let after_header = self.known.header.as_ref().map_or(0, |header| header.range.end);
        let first = if after_header < self.start { after_header } else { 0 }.max(self.view.base);
        let at_least = (asked.div_ceil(2) + 2 * SLACK).min(room);
        let hi = self.view.floor(self.known.tally.place(start.saturating_sub(at_least))).max(first);
        let mut lo = self.view.floor(self.known.tally.place(start.saturating_sub(room))).max(first);
        for tries in 0..MAX_TRIES {
            let at = if lo == 0 { 0 } else { self.best_context(places, lo, hi.max(lo)) };
            let tokens = self.known.tally.count(self.view, "", at, self.start);
            if tokens <= room {
                return at;
            }
            let over = (tokens - room) << tries.saturating_sub(2);
            lo = self
                .view
                .floor(self.known.tally.place(self.known.tally.before(at) + over).max(at + 4))
                .min(self.start);
            if lo == self.start {
                break;
            }
        }
        self.start
    }

    fn best_context(&self, places: Places, lo: usize, hi: usize) -> usize {
        let near = places.view.floor(lo + (hi - lo) / 4).max(lo);
        let good = places.first_of_best(lo, near).filter(|place| place.level >= Boundary::Sentence);
        match good.or_else(|| places.first(lo, hi)).or_else(|| places.first_of_best(lo, hi)) {
            Some(place) => place.at,
            None => {
                let near = places.view.floor(lo + (hi - lo) / 8);
                places.grapheme_before(self.start, near).map_or(near, |place| place.at)
            }
        }
    }

    /// A chunk without context where none of the boundaries would do: as many graphemes as fit, or of one that is over the limit
    /// as many characters.
    fn smallest(&self) -> Chunk {
        let limit = self.known.size.limit;
        let count = |end: usize| self.known.tally.count(self.view, "", self.start, end);
        let before = self.known.tally.before(self.start);
        let mut end = self.view.floor(self.known.tally.place(before + limit));
        for tries in 0..MAX_TRIES {
            let tokens = count(end);
            if tokens <= limit {
                break;
            }
            let over = (tokens - limit) << tries.saturating_sub(2);
            let fewer = (self.known.tally.before(end).saturating_sub(over)).max(before);
            end = self.view.floor(self.known.tally.place(fewer).min(end - 1)).max(self.start);
        }
        // A token is at least a byte.
        let sure = self.view.floor((self.start + limit as usize).min(self.view.end()));
        let end = if end > self.start && count(end) <= limit { end.max(sure) } else { sure };
        let whole = self.places().grapheme_before(self.start, end).map(|place| place.at);
        let whole = whole.or_else(|| {
            let after =
                self.view.slice(self.start, self.view.floor((end + LONGEST_OVER).min(self.view.end())));
            let next = GraphemeCursor::new(0, after.len(), true).next_boundary(after, 0).ok().flatten();
            spend(next.unwrap_or(after.len()));
            next.map(|len| self.start + len).filter(|&end| count(end) <= limit)
        });
        let end = whole.unwrap_or(end);
        let level =
            if self.view.is_all && end == self.view.end() { Boundary::End } else { Boundary::Grapheme };
        Chunk {
            index: self.index,
            context: self.start..self.start,
            core: self.start..end,
            header: None,
            tokens: count(end),
            end: level,
        }
    }
}
