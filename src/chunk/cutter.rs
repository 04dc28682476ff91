//! Makes the chunks of a text one after the other, or of a text that is known whole from many places at once.

use std::collections::VecDeque;
use std::ops::Range;

use rayon::prelude::*;

use super::Size;
use super::cut::Cut;
use super::outline::{LONGEST_LINE, Outline};
use super::place::{KEPT, Place, Places};
use super::plan::{Span, divide};
use super::tally::{SLACK, Tally, View};
use crate::domain::{Chunk, Layout};

/// Bytes that must be known after the furthest place a chunk may end at.
const MARGIN: usize = LONGEST_LINE + (16 << 10);
/// A table's header is repeated if it takes up to this part of the target.
const HEADER_PART: u64 = 4;
/// Chunks with more tokens are not anchored: too much of the text would have to be known at once.
const MOST_ANCHORED: u64 = 32_768;
/// Reaches of an anchor that are looked ahead for one.
const LOOKAHEAD: u64 = 5;
/// Bytes from which on a text is cut by all threads, and about how many of them each takes at once.
const PARALLEL: usize = 1 << 20;
const STRETCH: usize = 256 << 10;

/// What is known of a text, and how far it has been cut.
pub(super) struct Cutter {
    known: Known,
    progress: Progress,
}

/// What is known of a text.
pub(super) struct Known {
    pub size: Size,
    pub layout: Layout,
    pub tally: Tally,
    pub outline: Outline,
    pub header: Option<Header>,
}

/// A table's first record, kept when its place in the text has been forgotten.
pub(super) struct Header {
    pub range: Range<usize>,
    pub text: String,
    pub tokens: u64,
}

#[derive(Default)]
struct Progress {
    start: usize,
    index: u32,
    /// Ends that have been decided but for what exact counts say.
    planned: VecDeque<Place>,
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
        let known = Known { size: *size, layout, tally, outline, header: None };
        Cutter { known, progress: Progress::default() }
    }

    /// The next chunk of the text.
    pub fn next(&mut self, view: View) -> Step {
        let Cutter { known, progress } = self;
        if view.is_all && progress.start == view.end() {
            return Step::Done;
        }
        let ahead = known.ahead_of(progress.start);
        while known.tally.tokens() < ahead && known.tally.extend(view) {}
        let place = known.tally.place(ahead);
        if !view.is_all && (known.tally.tokens() < ahead || place + MARGIN > view.end()) {
            return Step::More;
        }
        known.read(view, place);
        Step::Chunk(known.next(view, progress))
    }

    /// All chunks of a whole text.
    pub fn all(mut self, view: View) -> Vec<Chunk> {
        if view.text.len() < PARALLEL {
            return self.rest(view);
        }
        self.known.tally.extend_to_end(view);
        self.known.read(view, view.end());
        let known = &self.known;
        // At an anchor the chain of cuts starts anew, so it can be taken up there before the rest has been cut.
        let stretches: Vec<(usize, Vec<Chunk>, Progress)> = known
            .stretches(view.end())
            .into_par_iter()
            .map(|Range { start, end }| {
                let mut progress = Progress { start, ..Progress::default() };
                let mut chunks = Vec::new();
                while progress.start < end {
                    chunks.push(known.next(view, &mut progress));
                }
                (start, chunks, progress)
            })
            .collect();
        let mut all: Vec<Chunk> = Vec::new();
        let mut progress = Progress::default();
        for (start, chunks, after) in stretches {
            // Should a chunk ever have gone past an anchor, this goes on from its end until it comes to another.
            while progress.start < start {
                all.push(known.next(view, &mut progress));
            }
            if progress.start == start {
                progress = after;
                all.extend(chunks);
            }
        }
        while progress.start < view.end() {
            all.push(known.next(view, &mut progress));
        }
        for (index, chunk) in (0..).zip(&mut all) {
            chunk.index = index;
        }
        all
    }

    fn rest(&mut self, view: View) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        while let Step::Chunk(chunk) = self.next(view) {
            chunks.push(chunk);
        }
        chunks
    }

    /// The header record that is repeated, empty if there is none.
    pub fn header_text(&self) -> &str {
        self.known.header.as_ref().map_or("", |header| &header.text)
    }

    /// The first byte that the next chunk and its context may need.
    pub fn needs_from(&self) -> usize {
        let Cutter { known, progress } = self;
        let back = known.tally.before(progress.start).saturating_sub(known.size.overlap + SLACK);
        known.tally.place(back).min(progress.start).saturating_sub(KEPT)
    }

    /// Forgets what lies before `place`.
    pub fn forget_before(&mut self, place: usize) {
        self.known.tally.forget_before(place);
        self.known.outline.forget_before(place);
    }
}

impl Known {
    /// How many tokens must have been counted for the chunk that starts at `start` to be cut.
    fn ahead_of(&self, start: usize) -> u64 {
        // A chunk and a half: enough to see whether what is left after this one would be a scrap.
        let chunk = self.size.limit + self.size.tokens / 2 + SLACK;
        self.tally.before(start) + chunk.max(anchor_reach(&self.size) * LOOKAHEAD)
    }

    /// Looks at the lines of a counted part of the text.
    fn read(&mut self, view: View, place: usize) {
        let is_new = self.outline.header().is_none();
        self.outline.extend(view, &self.tally, place);
        if is_new && let Some(range) = self.outline.header().cloned() {
            let text = view.slice(range.start, range.end).to_owned();
            let tokens = crate::tokens::count(&text, self.size.encoding);
            let is_short = tokens <= self.size.tokens / HEADER_PART;
            self.header = is_short.then_some(Header { range, text, tokens });
        }
    }

    pub fn places<'a>(&'a self, view: View<'a>) -> Places<'a> {
        Places { view, tally: &self.tally, outline: &self.outline }
    }

    /// The next chunk of a text that is known far enough.
    fn next(&self, view: View, progress: &mut Progress) -> Chunk {
        let Progress { start, index, planned } = progress;
        if planned.is_empty() {
            *planned = self.plan(view, *start);
        }
        let is_counted = view.is_all && self.tally.end() == view.end();
        let first = planned.pop_front();
        let cut = Cut { known: self, view, start: *start, index: *index, planned: first, is_counted };
        let chunk = cut.make();
        if first.is_none_or(|first| first.at != chunk.core.end) {
            planned.clear();
        }
        *start = chunk.core.end;
        *index += 1;
        chunk
    }

    /// Plans the chunks up to the next anchor, if there is one.
    fn plan(&self, view: View, start: usize) -> VecDeque<Place> {
        let last = self.tally.before(start) + anchor_reach(&self.size) * (LOOKAHEAD - 1);
        let Some(spot) = self.outline.anchor_after(start, last) else { return VecDeque::new() };
        let header_tokens = self.header.as_ref().map_or(0, |header| header.tokens);
        let anchor = Place { at: spot.at, level: spot.level };
        let span = Span::new(&self.size, self.layout, header_tokens, true);
        divide(self.places(view), start, anchor, span).into()
    }

    /// Parts of the text from one anchor to another.
    fn stretches(&self, end: usize) -> Vec<Range<usize>> {
        let mut stretches: Vec<Range<usize>> = Vec::new();
        let mut start = 0;
        for anchor in self.outline.anchors() {
            if anchor >= start + STRETCH {
                stretches.push(start..anchor);
                start = anchor;
            }
        }
        stretches.push(start..end);
        stretches
    }
}

/// Tokens on each side within which an anchor stands out: about six small chunks to twelve large ones, whose cuts are more
/// often in step. Each anchor costs half a chunk. 0 for no anchors.
fn anchor_reach(size: &Size) -> u64 {
    let chunks_in_4 = (21 + size.tokens * 3 / 1_000).min(45);
    if size.tokens <= MOST_ANCHORED { size.tokens * chunks_in_4 / 4 } else { 0 }
}
