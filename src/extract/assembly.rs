//! Assembly: a text put together from parts (pages, slides, sheets, messages, members), each with its place.
//!
//! Every reader of a document with parts writes through this, so that places nest and are sorted, a gap names the place
//! that is open, and the limit on text holds while the text grows, not after.

use super::ExtractError;
use super::door::Door;
use crate::domain::{Format, Gap, Layout, Locator, Place, Text};

/// The place of a gap that is in no part.
const WHOLE: &str = "the document";

pub(super) struct Assembly {
    body: String,
    places: Vec<Place>,
    /// Those that are open, from the outermost in, as indices of `places`.
    open: Vec<usize>,
    gaps: Vec<Gap>,
    warnings: Vec<String>,
    limit_bytes: u64,
}

impl Assembly {
    pub fn new(door: &Door<'_>) -> Assembly {
        let limit_bytes = door.limits().max_text_bytes;
        Assembly {
            body: String::new(),
            places: Vec::new(),
            open: Vec::new(),
            gaps: Vec::new(),
            warnings: Vec::new(),
            limit_bytes,
        }
    }

    /// What is pushed from here on comes from `at`.
    pub fn open(&mut self, at: Locator) {
        let start = self.body.len();
        self.open.push(self.places.len());
        self.places.push(Place { range: start..start, at });
    }

    /// Ends the place that was opened last.
    pub fn close(&mut self) {
        if let Some(index) = self.open.pop() {
            self.places[index].range.end = self.body.len();
        }
    }

    pub fn push(&mut self, text: &str) -> Result<(), ExtractError> {
        if (self.body.len() + text.len()) as u64 > self.limit_bytes {
            return Err(ExtractError::TooLarge { limit_bytes: self.limit_bytes });
        }
        self.body.push_str(text);
        Ok(())
    }

    /// Ends what stands already, if anything does, with `separator` or as much of it as is missing.
    pub fn separate(&mut self, separator: &str) -> Result<(), ExtractError> {
        let there = (0..=separator.len())
            .rev()
            .find(|&length| separator.get(..length).is_some_and(|start| self.body.ends_with(start)));
        if self.body.is_empty() { Ok(()) } else { self.push(&separator[there.unwrap_or(0)..]) }
    }

    /// A paragraph, a heading, a row of its own; nothing if it is blank.
    pub fn block(&mut self, text: &str) -> Result<(), ExtractError> {
        let text = text.trim_matches(['\n', '\r', ' ', '\t']);
        if text.is_empty() {
            return Ok(());
        }
        if !self.body.is_empty() && !self.body.ends_with(['\n', '\x0c']) {
            self.push("\n")?;
        }
        if !self.body.is_empty() && !self.body.ends_with("\n\n") && !self.body.ends_with('\x0c') {
            self.push("\n")?;
        }
        self.push(text)
    }

    /// Something at the open place could not be read.
    pub fn gap(&mut self, reason: impl Into<String>) {
        let place: Vec<String> = self.open.iter().map(|&index| self.places[index].at.to_string()).collect();
        let place = if place.is_empty() { WHOLE.to_owned() } else { place.join(", ") };
        self.gaps.push(Gap { place, reason: reason.into() });
    }

    /// The same of a part within what is at the open place.
    pub fn gap_within(&mut self, place: &str, reason: impl Into<String>) {
        self.gap(reason);
        if let Some(gap) = self.gaps.last_mut() {
            gap.place = format!("{}, {place}", gap.place);
        }
    }

    pub fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Puts a whole text at the open place.
    pub fn nest(&mut self, text: Text) -> Result<(), ExtractError> {
        let start = self.body.len();
        self.push(&text.body)?;
        let moved =
            |place: Place| Place { range: place.range.start + start..place.range.end + start, at: place.at };
        self.places.extend(text.places.into_iter().map(moved));
        for gap in text.gaps {
            match gap.place.as_str() {
                WHOLE => self.gap(gap.reason),
                place => self.gap_within(place, gap.reason),
            }
        }
        let here = self.open.last().map(|&index| self.places[index].at.to_string()).unwrap_or_default();
        self.warnings.extend(text.warnings.into_iter().map(|warning| format!("{here}: {warning}")));
        Ok(())
    }

    pub fn has_gaps(&self) -> bool {
        !self.gaps.is_empty()
    }

    pub fn body(&self) -> &str {
        &self.body
    }

    pub fn is_blank(&self) -> bool {
        self.body.trim().is_empty()
    }

    /// The reason that a document with nothing but gaps has no text: that of its first one.
    pub fn fail(self, format: Format) -> Result<Text, ExtractError> {
        match self.gaps.into_iter().next() {
            Some(Gap { place, reason }) => Err(ExtractError::NothingRead { format, place, reason }),
            None => Err(ExtractError::NoText { format }),
        }
    }

    /// The text, or the reason that there is none.
    pub fn finish(mut self, format: Format, layout: Layout) -> Result<Text, ExtractError> {
        if self.is_blank() {
            return Err(ExtractError::NoText { format });
        }
        while !self.open.is_empty() {
            self.close();
        }
        self.body.truncate(self.body.trim_end().len());
        if !matches!(layout, Layout::Markdown) {
            self.body.push('\n');
        }
        let end = self.body.len();
        for place in &mut self.places {
            place.range.end = place.range.end.min(end);
        }
        self.places.retain(|place| place.range.start < place.range.end);
        Ok(Text {
            body: self.body,
            format,
            layout,
            charset: "UTF-8",
            source_offset: None,
            places: self.places,
            gaps: self.gaps,
            warnings: self.warnings,
        })
    }
}
