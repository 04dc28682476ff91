//! Cuts a text that is read in blocks, in constant memory: the same chunks as of the text in one piece.

use super::Size;
use super::cutter::{Cutter, Step};
use super::tally::View;
use crate::domain::{Chunk, Layout};

/// A chunk of a streamed text, with its own copy of the text: the rest is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamedChunk {
    pub chunk: Chunk,
    /// Header, context and core, joined.
    pub text: String,
}

impl StreamedChunk {
    pub fn header(&self) -> &str {
        &self.text[..self.chunk.header.clone().map_or(0, |header| header.len())]
    }

    pub fn context(&self) -> &str {
        let start = self.header().len();
        &self.text[start..start + self.chunk.context.len()]
    }

    pub fn core(&self) -> &str {
        &self.text[self.text.len() - self.chunk.core.len()..]
    }
}

/// Iterator over the chunks of a text that comes in blocks; made by [`stream`](super::stream).
pub struct Stream<I> {
    blocks: I,
    cutter: Cutter,
    /// What is known and still needed.
    text: String,
    base: usize,
    is_all: bool,
    header: String,
    has_text: bool,
}

impl<I, S> Stream<I>
where
    I: Iterator<Item = S>,
    S: AsRef<str>,
{
    pub(super) fn new(blocks: I, layout: Layout, size: &Size) -> Stream<I> {
        let cutter = Cutter::new(layout, size);
        Stream {
            blocks,
            cutter,
            text: String::new(),
            base: 0,
            is_all: false,
            header: String::new(),
            has_text: false,
        }
    }

    fn read(&mut self) {
        // Blocks may be small; what is copied to the front each time is not.
        let enough = self.text.len() + READ;
        while self.text.len() < enough {
            let Some(block) = self.blocks.next() else {
                self.is_all = true;
                return;
            };
            self.text.push_str(block.as_ref());
            self.has_text = self.has_text || !block.as_ref().trim().is_empty();
        }
    }

    fn forget(&mut self) {
        let needed = self.cutter.needs_from();
        let unused = self.text.floor_char_boundary(needed.saturating_sub(self.base));
        if unused > READ {
            self.cutter.forget_before(self.base + unused);
            self.text.drain(..unused);
            self.base += unused;
        }
    }
}

/// Bytes that are read at once.
const READ: usize = 1 << 20;

impl<I, S> Iterator for Stream<I>
where
    I: Iterator<Item = S>,
    S: AsRef<str>,
{
    type Item = StreamedChunk;

    fn next(&mut self) -> Option<StreamedChunk> {
        loop {
            let view = View { text: &self.text, base: self.base, is_all: self.is_all };
            if self.is_all && !self.has_text {
                return None;
            }
            match self.cutter.next(view) {
                Step::Done => return None,
                Step::More => self.read(),
                Step::Chunk(chunk) => {
                    if chunk.index == 0 {
                        self.header = self.cutter.header_text().to_owned();
                    }
                    let header = if chunk.header.is_some() { self.header.as_str() } else { "" };
                    let text = [header, view.slice(chunk.context.start, chunk.core.end)].concat();
                    self.forget();
                    return Some(StreamedChunk { chunk, text });
                }
            }
        }
    }
}
