//! Finds the anchors of a text: line starts that stand out so far that chunks end there whatever came before.
//!
//! A cut depends on the cut before it, so an edit could move all cuts after it. At an anchor the chain starts anew. An anchor
//! outranks every other line start within a fixed number of bytes on both sides, by its level and then by what stands
//! around it: no edit further away can move it.

use std::collections::VecDeque;

use crate::domain::Boundary;

/// How much a line start stands out.
pub(super) type Rank = (Boundary, u64);

pub(super) struct Anchors {
    /// Bytes on each side within which an anchor outranks all others.
    reach: usize,
    /// Line starts that nothing after them has outranked yet, and whether nothing before them did.
    open: VecDeque<(usize, Rank, bool)>,
    found: VecDeque<usize>,
}

impl Anchors {
    pub fn new(reach: usize) -> Anchors {
        // Nothing outranks the start of the text.
        let start = (0, (Boundary::End, u64::MAX), true);
        Anchors { reach, open: VecDeque::from([start]), found: VecDeque::new() }
    }

    /// Takes in the next line start.
    pub fn add(&mut self, at: usize, rank: Rank) {
        self.close_before(at);
        while self.open.back().is_some_and(|open| open.1 < rank) {
            self.open.pop_back();
        }
        self.open.push_back((at, rank, self.open.is_empty()));
    }

    /// All line starts before `at` have been taken in.
    pub fn close_before(&mut self, at: usize) {
        while let Some(&(start, _, is_first)) = self.open.front()
            && start + self.reach < at
        {
            self.open.pop_front();
            if is_first {
                self.found.push_back(start);
            }
        }
    }

    /// The first anchor after `start`, if it lies at or before `last`.
    pub fn next(&self, start: usize, last: usize) -> Option<usize> {
        self.found.iter().copied().find(|&at| at > start).filter(|&at| at <= last)
    }

    pub fn forget_before(&mut self, at: usize) {
        while self.found.front().is_some_and(|&found| found < at) {
            self.found.pop_front();
        }
    }
}
