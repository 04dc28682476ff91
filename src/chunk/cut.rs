//! Decides where a chunk ends and where its context starts.
//!
//! Both depend on nothing but the text near by: the end on the start of the context, the context on the end of the chunk
//! before. Among equally good places one is chosen by what stands around it, not by how far it is, so after an
//! edit the cuts soon fall on the old places again.

use std::ops::Range;

use unicode_segmentation::{GraphemeCursor, GraphemeIncomplete};

use super::Size;
use super::outline::{LONGEST_LINE, Outline};
use super::sentence::breaks;
use super::tally::{Tally, View};
use crate::domain::{Boundary, Chunk, Layout};

/// Bytes that must be known after the furthest place a chunk may end at.
pub(super) const MARGIN: usize = LONGEST_LINE + (16 << 10);
/// Tokens before the furthest possible end that cost as much as `NAT`, in parts of the target: about what chunks are short of
/// it on average.
const REACH_PART: u64 = 24;
/// How many of those the window is wide that an end is chosen in.
const WINDOW_REACHES: u64 = 5;
/// One step of the natural logarithm, in the unit of scores.
const NAT: i64 = 94_548;
/// The most that a place's surroundings can count for.
const MAX_WEIGHT: i64 = 5 * NAT;
/// Tokens that counts of parts may add up wrongly by, mostly.
const SLACK: u64 = 3;
/// A table's header is repeated if it takes up to this part of the target.
const HEADER_PART: u64 = 4;
/// Bytes that are kept before and looked at around a place.
const KEPT: usize = 512;
/// Times an end is moved back because it turned out to lie past the limit.
const MAX_TRIES: u32 = 24;
/// Bytes on each side of a place that its weight depends on.
const WEIGHT_REACH: usize = 24;

/// What is known of a text, and how far it has been cut.
pub(super) struct Cutter {
    size: Size,
    tally: Tally,
    outline: Outline,
    header: Option<Header>,
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

/// A place where a chunk may end or its context start.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    level: Boundary,
}

impl Cutter {
    pub fn new(layout: Layout, size: &Size) -> Cutter {
        let (tally, outline) = (Tally::new(size.encoding), Outline::new(layout));
        Cutter { size: *size, tally, outline, header: None, start: 0, index: 0 }
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
        while self.tally.tokens() < ahead && self.tally.extend(view) {}
        if !view.is_all && (self.tally.tokens() < ahead || self.tally.place(ahead) + MARGIN > view.end()) {
            return Step::More;
        }
        let is_counted = view.is_all && self.tally.end() == view.end();
        self.outline.extend(view, self.start);
        self.keep_header(view);
        let context = self.context(view);
        // A context that leaves no room for a single character is left out.
        let chunk =
            self.chunk(view, context, is_counted).or_else(|| self.chunk(view, self.start, is_counted));
        let chunk = chunk.unwrap_or_else(|| self.smallest(view));
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

    /// The chunk that starts at the cutter's place with this context; `None` if nothing fits.
    fn chunk(&mut self, view: View, context: usize, is_counted: bool) -> Option<Chunk> {
        let header = self.header.as_ref().filter(|header| header.range.end <= context && context > 0);
        let header_tokens = header.map_or(0, |header| header.tokens);
        let made = |end: Place, tokens: u64| Chunk {
            index: self.index,
            context: context..self.start,
            core: self.start..end.at,
            header: header.map(|header| header.range.clone()),
            tokens,
            end: if view.is_all && end.at == view.end() { Boundary::End } else { end.level },
        };
        let header_text = header.map_or("", |header| &header.text);
        let count = |end: usize| self.tally.count(view, header_text, context, end);
        let from = self.tally.before(context);
        if is_counted && self.tally.tokens() - from + header_tokens <= self.size.limit {
            let tokens = count(view.end());
            if tokens <= self.size.limit {
                return Some(made(Place { at: view.end(), level: Boundary::End }, tokens));
            }
        }
        let (lo, mut hi) = self.window(from, header_tokens, is_counted);
        let furthest =
            view.floor(self.tally.place((from + self.size.limit).saturating_sub(header_tokens + SLACK)));
        hi = view.floor(hi);
        self.outline.extend(view, furthest);
        for tries in 0..MAX_TRIES {
            if hi <= self.start {
                return None;
            }
            let lo = view.floor(lo.min(hi)).max(self.start + 1);
            let end = self.best_end(view, lo, hi, if tries == 0 { furthest } else { hi })?;
            let tokens = count(end.at);
            if tokens <= self.size.limit {
                return Some(made(end, tokens));
            }
            // Counts of parts add up to a little more than was thought, or to much more in a text of one endless piece.
            let over = (tokens - self.size.limit + 1) << tries.saturating_sub(2);
            let lower = self.tally.place(self.tally.before(end.at).saturating_sub(over));
            hi = view.floor(lower.min(end.at - 1).max(self.start));
        }
        None
    }

    /// The places between which a chunk should end whose context has `from` tokens before it.
    fn window(&self, from: u64, header_tokens: u64, is_counted: bool) -> (usize, usize) {
        let target = self.size.tokens - header_tokens;
        let width = self.reach() * WINDOW_REACHES;
        let start = self.tally.before(self.start);
        let mut hi = (from + target).saturating_sub(SLACK);
        let rest = self.tally.tokens() - start;
        let left = (start + rest).saturating_sub(hi) + 2 * self.reach();
        if is_counted && left + self.size.overlap < target / 2 {
            // What is left for the last chunk would be a scrap: these two share evenly.
            let middle = (rest + self.size.overlap).saturating_sub(start - from) / 2 + start;
            hi = hi.min(middle + self.reach());
        }
        (self.tally.place(hi.saturating_sub(width)), self.tally.place(hi))
    }

    /// Tokens that a place may lie further back if it is better by `NAT`.
    fn reach(&self) -> u64 {
        (self.size.tokens / REACH_PART).max(1)
    }

    /// The best end in `lo..=hi`; if there is none better than a clause's, one up to `furthest`, then one before.
    fn best_end(&self, view: View, lo: usize, hi: usize, furthest: usize) -> Option<Place> {
        let end = self.tally.before(hi);
        let better = |best: Option<(i64, Place)>, place: Place| {
            let score = self.score(view, place, end);
            if best.is_some_and(|(best, _)| best >= score) { best } else { Some((score, place)) }
        };
        let mut best = self.lines(view, lo, hi).fold(None, better);
        // A sentence can not make up for more than this.
        let gain = best
            .map_or(i64::MAX, |(score, _)| (MAX_WEIGHT + bonus(Boundary::Sentence)).saturating_sub(score));
        let reaches = (gain / NAT + 1).clamp(0, WINDOW_REACHES as i64) as u64;
        let near = self.tally.place(end.saturating_sub(reaches * self.reach()));
        let mut other = None;
        if reaches > 0 {
            self.each_break(view, view.floor(near.min(hi)).max(lo), hi, |place, is_solid| {
                if place.level == Boundary::Sentence && !is_solid {
                    best = better(best, place);
                } else {
                    other = better(other, place);
                }
            });
        }
        if let Some((_, place)) = best {
            return Some(place);
        }
        if furthest > hi {
            let mut first = self.lines(view, hi + 1, furthest).next();
            self.each_break(view, hi + 1, furthest, |place, is_solid| {
                let is_nearer = first.is_none_or(|first| place.at < first.at);
                if place.level == Boundary::Sentence && !is_solid && is_nearer {
                    first = Some(place);
                }
            });
            if first.is_some() {
                return first;
            }
        }
        let half = view.floor(self.start + (hi - self.start) / 2).max(self.start + 1);
        if let Some(last) = self.lines(view, half, lo).next_back() {
            return Some(last);
        }
        let mut last: Option<Place> = None;
        self.each_break(view, half, lo, |place, is_solid| {
            let level = if is_solid { place.level.min(Boundary::Clause) } else { place.level };
            let place = Place { level, ..place };
            if last.is_none_or(|last| place.level >= last.level || last.level < Boundary::Sentence) {
                last = Some(place);
            }
        });
        let last_sentence = last.filter(|last| last.level == Boundary::Sentence);
        last_sentence.or(other.map(|(_, place)| place)).or(last).or_else(|| self.grapheme_before(view, hi))
    }

    /// Line starts that are places to cut at.
    fn lines(&self, view: View, lo: usize, hi: usize) -> impl DoubleEndedIterator<Item = Place> {
        let spots = self.outline.within(lo..hi + 1);
        let places = spots.map(|spot| Place { at: spot.at, level: spot.level });
        places.filter(move |place| place.level >= Boundary::Line && self.is_grapheme_boundary(view, place.at))
    }

    /// Starts of sentences, clauses and words, and whether they lie in a line that should stay in one.
    fn each_break(&self, view: View, lo: usize, hi: usize, mut found: impl FnMut(Place, bool)) {
        breaks(view, lo, hi, |at, level| {
            if self.is_grapheme_boundary(view, at) {
                found(Place { at, level }, self.outline.is_solid(at));
            }
        });
    }

    /// Where the context of the next chunk starts: at the best boundary that leaves it half to all of the tokens asked for.
    fn context(&mut self, view: View) -> usize {
        let (asked, start) = (self.size.overlap, self.tally.before(self.start));
        if asked == 0 || self.start == 0 {
            return self.start;
        }
        let after_header = self.header.as_ref().map_or(0, |header| header.range.end);
        let first = if after_header < self.start { after_header } else { 0 }.max(view.base);
        let at_least = (asked.div_ceil(2) + 2 * SLACK).min(asked);
        let hi = view.floor(self.tally.place(start.saturating_sub(at_least))).max(first);
        let mut lo = view.floor(self.tally.place(start.saturating_sub(asked))).max(first);
        for tries in 0..MAX_TRIES {
            let at = if lo == 0 { 0 } else { self.best_context(view, lo, hi.max(lo)) };
            let tokens = self.tally.count(view, "", at, self.start);
            if tokens <= asked {
                return at;
            }
            let over = (tokens - asked) << tries.saturating_sub(2);
            lo = view.floor(self.tally.place(self.tally.before(at) + over).max(at + 4)).min(self.start);
            if lo == self.start {
                break;
            }
        }
        self.start
    }

    fn best_context(&self, view: View, lo: usize, hi: usize) -> usize {
        let first_of_best = |best: Option<Place>, place: Place| match best {
            Some(best) if best.level >= place.level => Some(best),
            _ => Some(place),
        };
        let mut best = self.lines(view, lo, hi).fold(None, first_of_best);
        if best.is_none() {
            self.each_break(view, lo, hi, |place, is_solid| {
                let level = if is_solid { place.level.min(Boundary::Clause) } else { place.level };
                best = first_of_best(best, Place { level, ..place });
            });
        }
        match best {
            Some(place) => place.at,
            None => {
                let near = view.floor(lo + (hi - lo) / 8);
                self.grapheme_before(view, near).map_or(near, |place| place.at)
            }
        }
    }

    /// The last end of a grapheme at or before `hi`, if there is one after the cutter's place.
    fn grapheme_before(&self, view: View, hi: usize) -> Option<Place> {
        let from = if hi > self.start { self.start } else { view.floor(hi.saturating_sub(KEPT)) };
        let text = view.slice(from, view.floor((hi + KEPT).min(view.end())));
        let place = |at: usize| Place { at, level: Boundary::Grapheme };
        if GraphemeCursor::new(hi - from, text.len(), true).is_boundary(text, 0) == Ok(true) {
            return Some(place(hi));
        }
        let before = GraphemeCursor::new(hi - from, text.len(), true).prev_boundary(text, 0);
        match before {
            Ok(Some(at)) if at > 0 => Some(place(from + at)),
            _ => None,
        }
    }

    fn is_grapheme_boundary(&self, view: View, at: usize) -> bool {
        let around = &view.text.as_bytes()[(at - view.base).saturating_sub(1)..];
        if let [before, after, ..] = around
            && (b' '..0x7f).contains(after)
            && *before < 0x80
        {
            return true;
        }
        let from = view.floor(at.saturating_sub(KEPT).max(view.base));
        let text = view.slice(from, view.floor((at + KEPT).min(view.end())));
        let boundary: Result<bool, GraphemeIncomplete> =
            GraphemeCursor::new(at - from, text.len(), true).is_boundary(text, 0);
        boundary.unwrap_or(true)
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

    /// How good a place is to end at: by its level, by what stands around it, and by how few tokens it lies before `end`.
    ///
    /// The weight of the surroundings is the logarithm of a random number, and so whatever is chosen between two places does not
    /// depend on where `end` is: two cuttings of nearly the same text that have got out of step choose
    /// the same place as soon as both can reach it.
    fn score(&self, view: View, place: Place, end: u64) -> i64 {
        let at = place.at - view.base;
        let bytes = view.text.as_bytes();
        let around = &bytes[at.saturating_sub(WEIGHT_REACH)..(at + WEIGHT_REACH).min(bytes.len())];
        let hash = around.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let hash = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        // -log2(hash / 2^64) in 65,536ths, straight between powers of two.
        let zeros = hash.leading_zeros();
        let fraction = (hash << zeros) << 1 >> 48;
        let weight = (i64::from(zeros) * 65_536 + 65_535 - fraction as i64).min(MAX_WEIGHT);
        let short = end.saturating_sub(self.tally.before(place.at)) as i64;
        bonus(place.level) + weight - short.saturating_mul(NAT) / self.reach() as i64
    }
}

/// What a level counts for.
fn bonus(level: Boundary) -> i64 {
    match level {
        Boundary::Grapheme | Boundary::Word => 0,
        Boundary::Clause => 3 * NAT,
        Boundary::Sentence => 6 * NAT,
        Boundary::Line => 17 * NAT / 2,
        Boundary::Paragraph => 9 * NAT,
        Boundary::Page => 10 * NAT,
        Boundary::Heading | Boundary::End => 11 * NAT,
    }
}
