//! Finds the anchors of a text: line starts that stand out so far that chunks end there whatever came before.
//!
//! A cut depends on the cut before it, so an edit could move all cuts after it. At an anchor the chain starts anew. An anchor
//! outranks every other line start within a fixed number of tokens on both sides, by its level and then by what stands
//! around it: no edit further away can move it.

use std::collections::VecDeque;

use crate::domain::Boundary;

/// How much a line start stands out.
pub(super) type Rank = (Boundary, u64);

pub(super) struct Anchors {
    /// Tokens on each side within which an anchor outranks all others.
    reach: u64,
    open: VecDeque<Open>,
    found: VecDeque<(usize, u64)>,
}

/// A line start that nothing after it has outranked yet.
struct Open {
    at: usize,
    /// Before it.
    tokens: u64,
    rank: Rank,
    /// Whether nothing before it outranks it either.
    is_first: bool,
}

impl Anchors {
    pub fn new(reach: u64) -> Anchors {
        // Nothing outranks the start of the text.
        let start = Open { at: 0, tokens: 0, rank: (Boundary::End, u64::MAX), is_first: true };
        Anchors { reach, open: VecDeque::from([start]), found: VecDeque::new() }
    }

    /// Takes in the next line start, with the tokens before it.
    pub fn add(&mut self, at: usize, tokens: u64, rank: Rank) {
        self.close_before(tokens);
        while self.open.back().is_some_and(|open| open.rank < rank) {
            self.open.pop_back();
        }
        self.open.push_back(Open { at, tokens, rank, is_first: self.open.is_empty() });
    }

    /// All line starts with fewer than `tokens` tokens before them have been taken in.
    pub fn close_before(&mut self, tokens: u64) {
        while let Some(open) = self.open.pop_front_if(|open| open.tokens + self.reach < tokens) {
            if open.is_first {
                self.found.push_back((open.at, open.tokens));
            }
        }
    }

    /// The first anchor after `start`, if no more than `last` tokens lie before it.
    pub fn next(&self, start: usize, last: u64) -> Option<usize> {
        let after = self.found.partition_point(|(at, _)| *at <= start);
        self.found.get(after).filter(|(_, tokens)| *tokens <= last).map(|(at, _)| *at)
    }

    /// All that have been found.
    pub fn all(&self) -> impl Iterator<Item = usize> {
        self.found.iter().map(|(at, _)| *at)
    }

    pub fn forget_before(&mut self, at: usize) {
        while self.found.front().is_some_and(|(found, _)| *found < at) {
            self.found.pop_front();
        }
    }
}
