//! Reads a text line by line and keeps the places where its layout invites a cut: headings, pages, paragraphs, list items,
//! records, lines of code.

use std::collections::VecDeque;
use std::ops::Range;

use super::anchor::Anchors;
use super::effort::spend;
use super::place::mix;
use super::tally::{Finger, Tally, View};
use crate::domain::{Boundary, Layout};

/// A line that is longer is looked at in parts, so that what has to be known in advance is bounded.
pub(super) const LONGEST_LINE: usize = 256 << 10;
/// A quoted field that is longer was not meant as one: the quote stands for itself.
const LONGEST_FIELD: usize = 64 << 10;
/// Lines from this length on are paragraphs that nobody wrapped.
const UNWRAPPED: usize = 200;

/// Bytes of a line that tell it from others.
const HASHED: usize = 512;

/// The start of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub at: usize,
    pub level: Boundary,
    /// Of this line and the one before.
    pub hash: u64,
    /// Whether the line should stay in one: a row, a record, a line of code.
    pub is_solid: bool,
}

pub(super) struct Outline {
    layout: Layout,
    spots: VecDeque<Spot>,
    anchors: Option<Anchors>,
    finger: Finger,
    /// Start of the line that is looked at next.
    at: usize,
    /// The first record of a table, once it has been read.
    header: Option<Range<usize>>,
    before: Before,
    /// The open fence of a Markdown text: its character and length.
    fence: Option<(u8, usize)>,
}

/// What came before a line.
#[derive(Clone, Copy, Default)]
struct Before {
    is_blank: bool,
    has_page_break: bool,
    is_long: bool,
    /// Whether the line is the rest of one that was too long.
    is_same_line: bool,
    hash: u64,
}

impl Outline {
    pub fn new(layout: Layout, anchor_reach: u64) -> Outline {
        Outline {
            layout,
            spots: VecDeque::new(),
            anchors: (anchor_reach > 0).then(|| Anchors::new(anchor_reach)),
            finger: Finger::default(),
            at: 0,
            header: None,
            before: Before::default(),
            fence: None,
        }
    }

    /// A table's first record.
    pub fn header(&self) -> Option<&Range<usize>> {
        self.header.as_ref()
    }

    /// Looks at every line that starts at or before `place`.
    pub fn extend(&mut self, view: View, tally: &Tally, place: usize) {
        while self.at <= place && self.at < view.end() {
            let rest = view.slice(self.at, view.end());
            let (len, is_ended) = match self.layout {
                Layout::Table { delimiter } => record_len(rest.as_bytes(), delimiter),
                _ => line_len(rest),
            };
            let len = rest.floor_char_boundary(len);
            let (line, next) = rest.split_at(len);
            spend(len);
            let is_blank = line.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'\x0c'));
            let hash = if is_blank { self.before.hash } else { hash_line(line) };
            if !self.before.is_same_line {
                self.look_at(tally, line, next, hash);
            }
            if self.at == 0 && is_ended && matches!(self.layout, Layout::Table { .. }) {
                self.header = Some(0..len);
            }
            self.before = Before {
                is_blank,
                has_page_break: is_blank && (self.before.has_page_break || line.contains('\x0c')),
                is_long: len >= UNWRAPPED,
                is_same_line: !is_ended,
                hash,
            };
            self.at += len;
        }
        if let Some(anchors) = &mut self.anchors {
            anchors.close_before(tally.before(self.at));
        }
    }

    /// The first anchor after `start`, if no more than `last` tokens lie before it.
    pub fn anchor_after(&self, start: usize, last: u64) -> Option<Spot> {
        let at = self.anchors.as_ref()?.next(start, last)?;
        self.within(at..at + 1).next()
    }

    /// All anchors that have been found.
    pub fn anchors(&self) -> impl Iterator<Item = usize> {
        self.anchors.iter().flat_map(Anchors::all)
    }

    /// The spots in a range of places.
    pub fn within(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = Spot> {
        let first = self.spots.partition_point(|spot| spot.at < range.start);
        let last = self.spots.partition_point(|spot| spot.at < range.end).max(first);
        self.spots.range(first..last).copied()
    }

    /// Whether a place inside a line lies in one that should stay in one.
    pub fn is_solid(&self, place: usize) -> bool {
        let after = self.spots.partition_point(|spot| spot.at <= place);
        after.checked_sub(1).is_some_and(|at| self.spots[at].is_solid)
    }

    /// Forgets spots before `place`, but for the last.
    pub fn forget_before(&mut self, place: usize) {
        let keep = self.spots.partition_point(|spot| spot.at <= place).saturating_sub(1);
        self.spots.drain(..keep);
        if let Some(anchors) = &mut self.anchors {
            anchors.forget_before(place);
        }
    }

    fn look_at(&mut self, tally: &Tally, line: &str, next: &str, hash: u64) {
        let blank = line.chars().all(char::is_whitespace);
        let (level, is_solid) = match self.layout {
            _ if blank && self.fence.is_none() => return,
            Layout::Prose => match self.prose(line) {
                Some(level) => (level, false),
                None => return,
            },
            Layout::Markdown => self.markdown(line, next),
            Layout::Table { .. } => (Boundary::Line, true),
            Layout::Lines if line.starts_with([' ', '\t']) => (Boundary::Clause, true),
            Layout::Lines => (Boundary::Line, true),
            Layout::Code => (self.code(line), true),
            Layout::Transcript if self.before.is_blank => (Boundary::Paragraph, true),
            Layout::Transcript => (Boundary::Word, true),
        };
        let hash = mix(self.before.hash, hash);
        if level >= Boundary::Line
            && let Some(anchors) = &mut self.anchors
        {
            anchors.add(self.at, tally.before_next(self.at, &mut self.finger), (level, hash));
        }
        self.spots.push_back(Spot { at: self.at, level, hash, is_solid });
    }

    fn prose(&self, line: &str) -> Option<Boundary> {
        if line.starts_with('\x0c') || self.before.has_page_break {
            return Some(Boundary::Page);
        }
        let is_paragraph = self.before.is_blank || self.before.is_long || line.starts_with('\u{3000}');
        is_paragraph.then_some(Boundary::Paragraph)
    }

    /// Blocks as CommonMark has them, as far as their first line tells.
    fn markdown(&mut self, line: &str, next: &str) -> (Boundary, bool) {
        let text = line.trim_start_matches([' ', '\t']);
        let mark = text.bytes().next().unwrap_or(b'\n');
        let run = text.bytes().take_while(|&byte| byte == mark).count();
        let is_fence = matches!(mark, b'`' | b'~') && run >= 3;
        if let Some((open, length)) = self.fence {
            if is_fence && mark == open && run >= length && text[run..].trim().is_empty() {
                self.fence = None;
            }
            return (Boundary::Line, true);
        }
        let block = if self.before.is_blank { Boundary::Paragraph } else { Boundary::Line };
        if is_fence {
            self.fence = Some((mark, run));
            return (block, true);
        }
        let is_heading = mark == b'#' && run <= 6 && text[run..].starts_with([' ', '\t', '\r', '\n']);
        if is_heading || self.before.is_blank && is_underline(next) {
            return (Boundary::Heading, true);
        }
        if mark == b'|' {
            return (block, true);
        }
        match self.prose(line) {
            Some(level) => (level, false),
            None if is_list_item(text) => (Boundary::Line, false),
            None => (Boundary::Word, false),
        }
    }

    fn code(&self, line: &str) -> Boundary {
        match line.trim_start().as_bytes().first() {
            // The end of something belongs to it.
            Some(b'}' | b']' | b')') => Boundary::Clause,
            _ if self.before.is_blank && !line.starts_with([' ', '\t']) => Boundary::Paragraph,
            _ => Boundary::Line,
        }
    }
}

/// The line under a heading.
fn is_underline(rest: &str) -> bool {
    let line =
        rest.get(..rest.len().min(80)).unwrap_or_default().lines().next().unwrap_or_default().trim_end();
    line.len() >= 2 && (line.bytes().all(|byte| byte == b'=') || line.bytes().all(|byte| byte == b'-'))
}

fn is_list_item(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = match digits {
        0 => text.strip_prefix(['-', '*', '+']),
        1..=9 => text[digits..].strip_prefix(['.', ')']),
        _ => None,
    };
    rest.is_some_and(|rest| rest.starts_with([' ', '\t']))
}

fn hash_line(line: &str) -> u64 {
    let line = line.trim_end().as_bytes();
    let (eights, rest) = line[..line.len().min(HASHED)].as_chunks::<8>();
    let hash = eights.iter().fold(line.len() as u64, |hash, eight| mix(hash, u64::from_le_bytes(*eight)));
    rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

/// Bytes up to and with the line feed, and whether there is one (or the text ends) before it gets too long.
fn line_len(text: &str) -> (usize, bool) {
    let some = &text[..text.floor_char_boundary(LONGEST_LINE)];
    // `find` looks at whole words, which a loop over bytes does not.
    match some.find('\n') {
        Some(at) => (at + 1, true),
        None => (some.len(), some.len() == text.len()),
    }
}

/// The same for a record of delimited values, whose quoted fields may hold line ends.
fn record_len(bytes: &[u8], delimiter: u8) -> (usize, bool) {
    let some = &bytes[..bytes.len().min(LONGEST_LINE)];
    let mut at = 0;
    loop {
        if some.get(at) == Some(&b'"') {
            at = after_quoted(some, at + 1).unwrap_or(at + 1);
        }
        let Some(len) =
            some[at..].iter().position(|&byte| byte == delimiter || byte == b'\n' || byte == b'\r')
        else {
            return (some.len(), some.len() == bytes.len());
        };
        at += len + 1;
        match some[at - 1] {
            b'\r' if some.get(at) == Some(&b'\n') => return (at + 1, true),
            b'\r' | b'\n' => return (at, true),
            _ => {}
        }
    }
}

/// The place after the quote that closes a field; two in a row stand for one.
fn after_quoted(bytes: &[u8], mut at: usize) -> Option<usize> {
    let some = &bytes[..bytes.len().min(at + LONGEST_FIELD)];
    loop {
        at += some.get(at..)?.iter().position(|&byte| byte == b'"')? + 1;
        if some.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}
