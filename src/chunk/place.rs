//! Finds the places of a text where a chunk may end or its context start, and says which of them is best.

use unicode_segmentation::{GraphemeCursor, GraphemeIncomplete};

use super::effort::spend;
use super::outline::Outline;
use super::sentence::breaks;
use super::tally::{Finger, Tally, View};
use crate::domain::Boundary;

/// One step of the natural logarithm, in the unit of scores.
const NAT: i64 = 94_548;
/// The most that a place's surroundings can count for.
const MAX_WEIGHT: i64 = 5 * NAT;
/// How many reaches away from the best distance a place is still looked at.
pub(super) const WINDOW_REACHES: u64 = 5;
/// Bytes on each side of a place that its weight depends on: enough to tell one line of a log or one test from the next.
const WEIGHT_REACH: usize = 48;
/// Bytes that are kept before and looked at around a place.
pub(super) const KEPT: usize = 512;

/// A place where a chunk may end or its context start.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub at: usize,
    pub level: Boundary,
}

/// The places that are equally good as far as their distance goes, as tokens before them, and how many tokens further away
/// count as much as `NAT`.
#[derive(Clone, Copy)]
pub(super) struct Aim {
    pub from: u64,
    pub to: u64,
    pub reach: u64,
}

impl Aim {
    fn distance(&self, tokens: u64) -> u64 {
        self.from.saturating_sub(tokens).max(tokens.saturating_sub(self.to))
    }
}

/// What is known of a text.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub view: View<'a>,
    pub tally: &'a Tally,
    pub outline: &'a Outline,
}

/// The best of some places: of those that end a sentence or more, and of the others.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub good: Option<Place>,
    pub other: Option<Place>,
}

impl<'a> Places<'a> {
    /// The best places in `lo..=hi`.
    pub fn best(&self, lo: usize, hi: usize, aim: Aim) -> Found {
        let (mut lines, mut words) = (Finger::default(), Finger::default());
        let better = |best: Option<(i64, Place)>, (place, hash): (Place, u64), finger: &mut Finger| {
            let score = self.score(place, hash, aim, finger);
            if best.is_some_and(|(best, _)| best >= score) { best } else { Some((score, place)) }
        };
        let mut good = self.spots(lo, hi).fold(None, |best, spot| better(best, spot, &mut lines));
        // A sentence can not make up for more than this.
        let gain = good
            .map_or(i64::MAX, |(score, _)| (MAX_WEIGHT + bonus(Boundary::Sentence)).saturating_sub(score));
        let reaches = (gain / NAT + 1).clamp(0, WINDOW_REACHES as i64) as u64;
        let mut other = None;
        if reaches > 0 && gain > 0 {
            let from = self.tally.place(aim.from.saturating_sub(reaches * aim.reach)).max(lo);
            let to = self.tally.place(aim.to + reaches * aim.reach).min(hi);
            self.each_break(self.view.floor(from).max(lo), to, |place, is_solid| {
                let found = (place, surroundings(self.view, place.at));
                if place.level == Boundary::Sentence && !is_solid {
                    good = better(good, found, &mut words);
                } else {
                    other = better(other, found, &mut words);
                }
                true
            });
        }
        Found { good: good.map(|(_, place)| place), other: other.map(|(_, place)| place) }
    }

    /// The first line start or sentence in `lo..=hi`.
    pub fn first(&self, lo: usize, hi: usize) -> Option<Place> {
        let line = self.lines(lo, hi).next();
        let mut first = None;
        self.each_break(lo, line.map_or(hi, |line| line.at), |place, is_solid| {
            if place.level == Boundary::Sentence && !is_solid {
                first = Some(place);
            }
            first.is_none()
        });
        first.filter(|first| line.is_none_or(|line| first.at < line.at)).or(line)
    }

    /// The last line start in `lo..=hi`, else the last sentence, else the last word.
    pub fn last(&self, lo: usize, hi: usize) -> Option<Place> {
        let line = self.lines(lo, hi).next_back();
        if line.is_some() {
            return line;
        }
        let mut last: Option<Place> = None;
        self.each_break(lo, hi, |place, is_solid| {
            let level = if is_solid { place.level.min(Boundary::Clause) } else { place.level };
            let place = Place { level, ..place };
            if last.is_none_or(|last| place.level >= last.level || last.level < Boundary::Sentence) {
                last = Some(place);
            }
            true
        });
        last
    }

    /// The first place of the best level in `lo..=hi`.
    pub fn first_of_best(&self, lo: usize, hi: usize) -> Option<Place> {
        let first_of_best = |best: Option<Place>, place: Place| match best {
            Some(best) if best.level >= place.level => Some(best),
            _ => Some(place),
        };
        let mut best = self.lines(lo, hi).fold(None, first_of_best);
        if best.is_none() {
            self.each_break(lo, hi, |place, is_solid| {
                let level = if is_solid { place.level.min(Boundary::Clause) } else { place.level };
                best = first_of_best(best, Place { level, ..place });
                true
            });
        }
        best
    }

    /// The last end of a grapheme at or before `hi`, if there is one after `start`.
    pub fn grapheme_before(&self, start: usize, hi: usize) -> Option<Place> {
        let view = self.view;
        let from = if hi > start { start } else { view.floor(hi.saturating_sub(KEPT)) };
        let text = view.slice(from, view.floor((hi + KEPT).min(view.end())));
        let place = |at: usize| Place { at, level: Boundary::Grapheme };
        if GraphemeCursor::new(hi - from, text.len(), true).is_boundary(text, 0) == Ok(true) {
            return Some(place(hi));
        }
        let before = GraphemeCursor::new(hi - from, text.len(), true).prev_boundary(text, 0).ok().flatten();
        spend(hi - from - before.unwrap_or(0));
        before.filter(|&at| at > 0).map(|at| place(from + at))
    }

    /// Line starts that are places to cut at.
    fn lines(&self, lo: usize, hi: usize) -> impl DoubleEndedIterator<Item = Place> {
        self.spots(lo, hi).map(|(place, _)| place)
    }

    /// The same with their hashes.
    fn spots(&self, lo: usize, hi: usize) -> impl DoubleEndedIterator<Item = (Place, u64)> {
        let spots = self.outline.within(lo..hi + 1).filter(|spot| spot.level >= Boundary::Line);
        let places = spots.map(|spot| (Place { at: spot.at, level: spot.level }, spot.hash));
        places.filter(|(place, _)| self.is_grapheme_boundary(place.at))
    }

    /// Starts of sentences, clauses and words, and whether they lie in a line that should stay in one, as long as `found`
    /// asks for more.
    fn each_break(&self, lo: usize, hi: usize, mut found: impl FnMut(Place, bool) -> bool) {
        breaks(self.view, lo, hi, |at, level| {
            !self.is_grapheme_boundary(at) || found(Place { at, level }, self.outline.is_solid(at))
        });
    }

    fn is_grapheme_boundary(&self, at: usize) -> bool {
        let view = self.view;
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

    /// How good a place is: by its level, by what stands around it, and by how far it is from where it should be.
    ///
    /// The weight of the surroundings is the logarithm of a random number, and so whatever is chosen between two places does not
    /// depend on the aim: two cuttings of nearly the same text that have got out of step choose
    /// the same place as soon as both can reach it.
    fn score(&self, place: Place, hash: u64, aim: Aim, finger: &mut Finger) -> i64 {
        let hash = hash | 1;
        // -log2(hash / 2^64) in 65,536ths, straight between powers of two.
        let zeros = hash.leading_zeros();
        let fraction = (hash << zeros) << 1 >> 48;
        let weight = (i64::from(zeros) * 65_536 + 65_535 - fraction as i64).min(MAX_WEIGHT);
        let distance = aim.distance(self.tally.before_next(place.at, finger)) as i64;
        bonus(place.level) + weight - distance.saturating_mul(NAT) / aim.reach as i64
    }
}

/// A hash of the text on both sides of a place.
fn surroundings(view: View, at: usize) -> u64 {
    let at = at - view.base;
    let bytes = view.text.as_bytes();
    let around = &bytes[at.saturating_sub(WEIGHT_REACH)..(at + WEIGHT_REACH).min(bytes.len())];
    let (eights, rest) = around.as_chunks::<8>();
    let hash =
        eights.iter().fold(at.min(WEIGHT_REACH) as u64, |hash, eight| mix(hash, u64::from_le_bytes(*eight)));
    rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

pub(super) fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word ^ 0x2545_f491_4f6c_dd1d) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
    product as u64 ^ (product >> 64) as u64
}

/// What a level counts for. The steps are as wide as the window, so that a better level is chosen wherever it is to be had
/// within it: that costs less than it seems, as it also lets cuts get into step again.
fn bonus(level: Boundary) -> i64 {
    match level {
        Boundary::Grapheme | Boundary::Word => 0,
        Boundary::Clause => 3 * NAT,
        Boundary::Sentence => 6 * NAT,
        Boundary::Line => 10 * NAT,
        Boundary::Paragraph => 21 * NAT / 2,
        Boundary::Page => 12 * NAT,
        Boundary::Heading | Boundary::End => 13 * NAT,
    }
}
