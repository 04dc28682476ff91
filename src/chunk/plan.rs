//! Decides where the chunks between two anchors end.
//!
//! An edit should change few chunks, as every changed one is a call to be paid again. A cut depends on the one before it, on
//! the anchors around it, and on nothing else but the text near by. Among equally good places one is chosen by what stands
//! around it, not by how far it is, so cuts that an edit has put out of step mostly fall on the old places again after a
//! few. The rest is bounded: the first half of what lies between two anchors is cut forward from the first and the second
//! half backward from the second, so an edit moves cuts from its place to the middle at most, where the remainder takes up
//! what was added or lost.

use super::Size;
use super::place::{Aim, Place, Places, WINDOW_REACHES};
use super::tally::SLACK;
use crate::domain::{Boundary, Layout};

/// Tokens that a core of running text may be short of and cost as much as one step of a place's weight, as a part of the
/// core. Fewer chunks change with more, and chunks are less full.
const TEXT_REACH_PART: u64 = 64;
/// The same for rows, records and lines of code, of which one is as good a place as any other.
const ROWS_REACH_PART: u64 = 48;
/// Thousandths of a core of rows that it may be short of at no cost at all: there must be a few rows to choose from.
const ROWS_FREE: u64 = 60;
/// Remainders of more than so many chunks are not met with.
const MOST_PIECES: u64 = 3;

/// How many tokens the cores of chunks should have.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// There is no room for more after a context of two thirds of the overlap, which leaves a choice of where it starts.
    pub most: u64,
    /// From here on a longer context makes up for what a core is short of.
    pub full: u64,
    /// See [`Aim`].
    pub reach: u64,
}

impl Span {
    pub fn new(size: &Size, layout: Layout, header_tokens: u64, has_context: bool) -> Span {
        let overlap = if has_context { size.overlap } else { 0 };
        let most = size.tokens.saturating_sub(header_tokens + overlap * 2 / 3 + SLACK).max(1);
        let (free, reach_part) = match layout {
            Layout::Prose | Layout::Markdown => (0, TEXT_REACH_PART),
            Layout::Table { .. } | Layout::Lines | Layout::Code | Layout::Transcript => {
                (most * ROWS_FREE / 1_000, ROWS_REACH_PART)
            }
        };
        let full = most.saturating_sub(overlap / 4 + free).max(1);
        Span { most, full, reach: (most / reach_part).max(1) }
    }

    fn least(&self) -> u64 {
        self.full.saturating_sub(self.reach * WINDOW_REACHES)
    }
}

/// The end of the chunk whose core starts at `start`. If no sentence ends within the span, one may end up to `furthest`.
pub(super) fn forward(places: Places, start: usize, span: Span, furthest: usize) -> Option<Place> {
    let Places { view, tally, .. } = places;
    let before = tally.before(start);
    let hi = view.floor(tally.place(before + span.most));
    if hi <= start {
        return None;
    }
    let lo = view.floor(tally.place(before + span.least())).clamp(start + 1, hi);
    let aim = Aim { from: before + span.full, to: before + span.most, reach: span.reach };
    let found = places.best(lo, hi, aim);
    let further = || if furthest > hi { places.first(hi + 1, furthest) } else { None };
    if let Some(good) = found.good.or_else(further) {
        return Some(good);
    }
    let half = view.floor(start + (hi - start) / 2).max(start + 1);
    let nearer = places.last(half, lo);
    let good = nearer.filter(|place| place.level >= Boundary::Sentence);
    good.or(found.other).or(nearer).or_else(|| places.grapheme_before(start, hi))
}

/// The start of the chunk whose core ends at `end`, if there is a word's start to be had: the text before is not known well
/// enough to tell graphemes.
fn backward(places: Places, end: usize, span: Span) -> Option<Place> {
    let Places { view, tally, .. } = places;
    let before = tally.before(end);
    let (from, to) = (before.saturating_sub(span.most), before.saturating_sub(span.full));
    let lo = view.ceil(tally.place(from));
    let hi = view.floor(tally.place(before.saturating_sub(span.least())).min(end - 1));
    if hi < lo {
        return None;
    }
    let found = places.best(lo, hi, Aim { from, to, reach: span.reach });
    let half = view.floor(end - (end - lo) / 2);
    let good = found.good.or_else(|| places.first(hi, half));
    good.or(found.other)
}

/// The end of the first of `pieces` chunks of about the same size between two places, none of which gets too long.
fn between(places: Places, from: usize, to: usize, pieces: u64, span: Span) -> Option<Place> {
    let Places { view, tally, .. } = places;
    let (start, end) = (tally.before(from), tally.before(to));
    let middle = start + (end - start) / pieces;
    let window = WINDOW_REACHES * span.reach;
    let least = end.saturating_sub((pieces - 1) * span.most).max(middle.saturating_sub(window));
    let most = (start + span.most).min(middle + window);
    let lo = view.ceil(tally.place(least)).max(from + 1);
    let hi = view.floor(tally.place(most)).min(to - 1);
    if hi < lo {
        return None;
    }
    let aim = Aim { from: middle.saturating_sub(span.reach), to: middle + span.reach, reach: span.reach };
    let found = places.best(lo, hi, aim);
    let place = found.good.or(found.other).or_else(|| places.grapheme_before(from, hi));
    place.filter(|place| (from + 1..to).contains(&place.at))
}

/// Ends of the chunks from `start` up to `anchor`, itself included. Their exact counts are still to be looked at.
pub(super) fn divide(places: Places, start: usize, anchor: Place, span: Span) -> Vec<Place> {
    let tokens = |at: usize| places.tally.before(at);
    let middle = tokens(start).midpoint(tokens(anchor.at));
    let mut ahead = vec![Place { at: start, level: Boundary::End }];
    while let Some(place) = forward(places, ahead[ahead.len() - 1].at, span, 0)
        && tokens(place.at) <= middle
    {
        ahead.push(place);
    }
    let mut behind = vec![anchor];
    while let Some(place) = backward(places, behind[behind.len() - 1].at, span)
        && tokens(place.at) >= middle
        && place.at > start
    {
        behind.push(place);
    }
    let (i, j, mut pieces) = meeting(places, &ahead, &behind, span);
    let (mut from, to) = (ahead[i].at, behind[j].at);
    let mut ends = ahead[1..=i].to_vec();
    while pieces > 1
        && let Some(place) = between(places, from, to, pieces, span)
    {
        ends.push(place);
        from = place.at;
        pieces -= 1;
    }
    ends.extend(behind[..=j].iter().rev());
    ends
}

/// Up to which of the places on both sides chunks are taken, and how many there are in between: as few chunks as can be,
/// and no scrap among them.
fn meeting(places: Places, ahead: &[Place], behind: &[Place], span: Span) -> (usize, usize, u64) {
    let tokens = |places_of: &[Place]| -> Vec<u64> {
        places_of.iter().map(|place| places.tally.before(place.at)).collect()
    };
    let (from, to) = (tokens(ahead), tokens(behind));
    let mut best: Option<(u64, bool, usize, u64)> = None;
    let mut met = (ahead.len() - 1, behind.len() - 1, 1);
    for i in (0..ahead.len()).rev() {
        for j in (0..behind.len()).rev() {
            if ahead[i].at >= behind[j].at {
                continue;
            }
            let gap = to[j] - from[i];
            let pieces = if gap <= span.most { 1 } else { (gap + 2 * span.reach).div_ceil(span.most) };
            if pieces > MOST_PIECES {
                break;
            }
            let dropped = (ahead.len() - i) + (behind.len() - j);
            let key = ((i + j) as u64 + pieces, gap < span.most / 2, dropped, pieces);
            if best.is_none_or(|best| key < best) {
                best = Some(key);
                met = (i, j, pieces);
            }
        }
    }
    met
}
