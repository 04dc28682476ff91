//! Makes the chunks of a text one after the other: takes the ends that were planned, gives each chunk its context and its
//! exact count, and keeps it within its limit.

use std::collections::VecDeque;
use std::ops::Range;

use unicode_segmentation::GraphemeCursor;

use super::Size;
use super::outline::{LONGEST_LINE, Outline};
use super::place::{KEPT, Place, Places};
use super::plan::{Span, divide, forward};
use super::tally::{SLACK, Tally, View};
use crate::domain::{Boundary, Chunk, Layout};

/// Bytes that must be known after the furthest place a chunk may end at.
pub(super) const MARGIN: usize = LONGEST_LINE + (16 << 10);
/// A table's header is repeated if it takes up to this part of the target.
const HEADER_PART: u64 = 4;
/// Times an end is moved back because it turned out to lie past the limit.
const MAX_TRIES: u32 = 24;
/// Chunks with more tokens are not anchored: too much of the text would have to be known at once.
const MOST_ANCHORED: u64 = 32_768;
/// Reaches of an anchor that are looked ahead for one.
const LOOKAHEAD: usize = 5;

/// What is known of a text, and how far it has been cut.
pub(super) struct Cutter {
    size: Size,
    tally: Tally,
    outline: Outline,
    header: Option<Header>,
    /// Ends that have been decided but for what exact counts say.
    planned: VecDeque<Place>,
    start: usize,
    index: u32,
}

/// A table's first record, kept when its place in the text has been forgotten.
struct Header {
    range: Range<usize>,
    text: String,
    tokens: u64,
}

pub(super) enum Step {
    Chunk(Chunk),
    /// More of the text must be known first.
    More,
    Done,
}

impl Cutter {
    pub fn new(layout: Layout, size: &Size) -> Cutter {
        let (tally, outline) = (Tally::new(size.encoding), Outline::new(layout, anchor_reach(size)));
        Cutter { size: *size, tally, outline, header: None, planned: VecDeque::new(), start: 0, index: 0 }
    }

    /// Counts a whole large text at once, with all threads.
    pub fn count_all(&mut self, view: View) {
        self.tally.extend_to_end(view);
    }

    /// The next chunk of the text.
    pub fn next(&mut self, view: View) -> Step {
        if view.is_all && self.start == view.end() {
            return Step::Done;
        }
        // A chunk and a half: enough to see whether what is left after this one would be a scrap.
        let ahead = self.tally.before(self.start) + self.size.limit + self.size.tokens / 2 + SLACK;
        let anchors_to = self.start + anchor_reach(&self.size) * LOOKAHEAD;
        while (self.tally.tokens() < ahead || self.tally.end() < anchors_to) && self.tally.extend(view) {}
        if !view.is_all {
            let known = self.tally.place(ahead).max(anchors_to);
            if self.tally.tokens() < ahead || self.tally.end() < anchors_to || known + MARGIN > view.end() {
                return Step::More;
            }
        }
        let is_counted = view.is_all && self.tally.end() == view.end();
        self.outline.extend(view, anchors_to.max(self.tally.place(ahead)));
        self.keep_header(view);
        if self.planned.is_empty() {
            self.plan(view, anchors_to);
        }
        let chunk = self.chunk(view, self.size.overlap, is_counted);
        // A context that leaves no room for a single character is left out.
        let chunk = chunk.or_else(|| self.chunk(view, 0, is_counted)).unwrap_or_else(|| self.smallest(view));
        match self.planned.pop_front() {
            Some(planned) if planned.at == chunk.core.end => {}
            _ => self.planned.clear(),
        }
        self.start = chunk.core.end;
        self.index += 1;
        Step::Chunk(chunk)
    }

    /// The header record that is repeated, empty if there is none.
    pub fn header_text(&self) -> &str {
        self.header.as_ref().map_or("", |header| &header.text)
    }

    /// The first byte that the next chunk and its context may need.
    pub fn needs_from(&self) -> usize {
        let back = self.tally.before(self.start).saturating_sub(self.size.overlap + SLACK);
        self.tally.place(back).min(self.start).saturating_sub(KEPT)
    }

    /// Forgets what lies before `place`.
    pub fn forget_before(&mut self, place: usize) {
        self.tally.forget_before(place);
        self.outline.forget_before(place);
    }

    fn keep_header(&mut self, view: View) {
        if self.header.is_none()
            && self.index == 0
            && let Some(range) = self.outline.header().cloned()
        {
            let text = view.slice(range.start, range.end).to_owned();
            let tokens = crate::tokens::count(&text, self.size.encoding);
            if tokens <= self.size.tokens / HEADER_PART {
                self.header = Some(Header { range, text, tokens });
            }
        }
    }

    fn places<'a>(&'a self, view: View<'a>) -> Places<'a> {
        Places { view, tally: &self.tally, outline: &self.outline }
    }

    /// Plans up to the next anchor, if there is one.
    fn plan(&mut self, view: View, known: usize) {
        let reach = anchor_reach(&self.size);
        let Some(spot) = self.outline.anchor_after(self.start, known.saturating_sub(reach)) else { return };
        let header_tokens = self.header.as_ref().map_or(0, |header| header.tokens);
        let anchor = Place { at: spot.at, level: spot.level };
        let span = Span::new(&self.size, header_tokens, true);
        self.planned = divide(self.places(view), self.start, anchor, span).into();
    }

    /// The chunk that starts at the cutter's place with up to `overlap` tokens of context; `None` if nothing fits.
    fn chunk(&self, view: View, overlap: u64, is_counted: bool) -> Option<Chunk> {
        let has_context = overlap > 0 && self.start > 0;
        let header = self.header.as_ref().filter(|header| header.range.end < self.start);
        let header_tokens = header.map_or(0, |header| header.tokens);
        let span = Span::new(&Size { overlap, ..self.size }, header_tokens, has_context);
        let before = self.tally.before(self.start);
        let planned = self.planned.front().copied();
        let (mut most, mut room_lost) = (span.most, 0);
        for tries in 0..MAX_TRIES {
            let end = match planned {
                // A planned end is only given up if there is no room for half of the context.
                Some(end) if room_lost <= overlap / 6 => end,
                _ => {
                    let more = if tries == 0 { self.size.limit - self.size.tokens } else { 0 };
                    self.end(view, Span { most, full: span.full.min(most), ..span }, more, is_counted)?
                }
            };
            let core = self.tally.before(end.at) - before;
            let room = self.size.limit.saturating_sub(header_tokens + core + SLACK + room_lost);
            let context = self.context(view, room.clamp(overlap.div_ceil(2), overlap), overlap);
            let header = header.filter(|header| header.range.end <= context);
            let header_text = header.map_or("", |header| &header.text);
            let tokens = self.tally.count(view, header_text, context, end.at);
            if tokens <= self.size.limit {
                return Some(Chunk {
                    index: self.index,
                    context: context..self.start,
                    core: self.start..end.at,
                    header: header.map(|header| header.range.clone()),
                    tokens,
                    end: if view.is_all && end.at == view.end() { Boundary::End } else { end.level },
                });
            }
            // Counts of parts add up to a little more than was thought, or to much more in a text of one endless piece.
            let over = (tokens - self.size.limit + 1) << tries.saturating_sub(2);
            most = core.min(most).saturating_sub(over);
            room_lost += over;
        }
        None
    }

    /// Where a chunk ends that was not planned; `more` tokens past its span if there is no sentence's end within.
    fn end(&self, view: View, span: Span, more: u64, is_counted: bool) -> Option<Place> {
        let before = self.tally.before(self.start);
        let rest = self.tally.tokens() - before;
        if is_counted && rest <= span.most {
            return Some(Place { at: view.end(), level: Boundary::End });
        }
        if is_counted && rest < span.most + span.most / 2 {
            // What is left for the last chunk would be a scrap: these two share evenly.
            let most = (rest / 2 + span.reach).min(span.most);
            let full = (rest / 2).saturating_sub(span.reach).max(1);
            return forward(self.places(view), self.start, Span { most, full, ..span }, 0);
        }
        let furthest = if more > 0 { view.floor(self.tally.place(before + span.most + more)) } else { 0 };
        let end = forward(self.places(view), self.start, span, furthest)?;
        (end.at > self.start).then_some(end)
    }

    /// Where the context of the next chunk starts: at the best boundary that leaves it half of `asked` to all of `room` tokens.
    fn context(&self, view: View, room: u64, asked: u64) -> usize {
        let start = self.tally.before(self.start);
        if asked == 0 || self.start == 0 {
            return self.start;
        }
        let places = self.places(view);
        let after_header = self.header.as_ref().map_or(0, |header| header.range.end);
        let first = if after_header < self.start { after_header } else { 0 }.max(view.base);
        let at_least = (asked.div_ceil(2) + 2 * SLACK).min(room);
        let hi = view.floor(self.tally.place(start.saturating_sub(at_least))).max(first);
        let mut lo = view.floor(self.tally.place(start.saturating_sub(room))).max(first);
        for tries in 0..MAX_TRIES {
            let at = if lo == 0 { 0 } else { self.best_context(places, lo, hi.max(lo)) };
            let tokens = self.tally.count(view, "", at, self.start);
            if tokens <= room {
                return at;
            }
            let over = (tokens - room) << tries.saturating_sub(2);
            lo = view.floor(self.tally.place(self.tally.before(at) + over).max(at + 4)).min(self.start);
            if lo == self.start {
                break;
            }
        }
        self.start
    }

    fn best_context(&self, places: Places, lo: usize, hi: usize) -> usize {
        let near = places.view.floor(lo.midpoint(hi)).max(lo);
        let good = places.first_of_best(lo, near).filter(|place| place.level >= Boundary::Sentence);
        match good.or_else(|| places.first_of_best(lo, hi)) {
            Some(place) => place.at,
            None => {
                let near = places.view.floor(lo + (hi - lo) / 8);
                places.grapheme_before(self.start, near).map_or(near, |place| place.at)
            }
        }
    }

    /// The smallest chunk: one grapheme, or of one that is over the limit what certainly fits.
    fn smallest(&self, view: View) -> Chunk {
        // A token is at least a byte and at most 128.
        let furthest = view.floor((self.start + self.size.limit as usize * 128).min(view.end()));
        let text = view.slice(self.start, furthest);
        let grapheme = GraphemeCursor::new(0, text.len(), true).next_boundary(text, 0);
        let grapheme = grapheme.ok().flatten().map(|len| self.start + len);
        let grapheme = grapheme.filter(|&end| self.tally.count(view, "", self.start, end) <= self.size.limit);
        let end =
            grapheme.unwrap_or_else(|| view.floor((self.start + self.size.limit as usize).min(view.end())));
        let tokens = self.tally.count(view, "", self.start, end);
        let level = if view.is_all && end == view.end() { Boundary::End } else { Boundary::Grapheme };
        Chunk {
            index: self.index,
            context: self.start..self.start,
            core: self.start..end,
            header: None,
            tokens,
            end: level,
        }
    }
}

/// Bytes on each side within which an anchor stands out: about six small chunks to twelve large ones, whose cuts are more
/// often in step. Each anchor costs half a chunk. 0 for no anchors.
fn anchor_reach(size: &Size) -> usize {
    let tokens = size.tokens as usize;
    if size.tokens <= MOST_ANCHORED { tokens * (21 + tokens * 3 / 1_000).min(45) } else { 0 }
}
