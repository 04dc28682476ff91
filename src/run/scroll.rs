//! Documents that are too large to hold: read by ranges, unpacked, decoded and cut while they pass by.
//!
//! Such a document is read twice. The first pass plans it: the depth of a merge must be known before the first call. The
//! second hands out the text of its chunks, as fast as calls are made and no faster. Both passes name the version they
//! read, so a document that changes in between is noticed; and a broken connection costs a range, not a pass.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::chunk::{self, Size, StreamedChunk};
use crate::cpu;
use crate::domain::ObjectMeta;
use crate::extract::{Blocks, Findings, Interrupted, Options, Outlook, StreamError};
use crate::store::{Store, StoreError};

/// Large enough that the time of a request is little against that of its bytes, small enough to be held thrice.
const RANGE_BYTES: u64 = 8 << 20;
/// Beyond what the store itself tries: a pass over a large object is too dear to be lost to one bad minute.
const RETRIES_MAX: u32 = 5;
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// An object that is read as a stream.
#[derive(Clone, Debug)]
pub struct Scroll {
    pub meta: ObjectMeta,
    pub outlook: Outlook,
    pub options: Options,
    pub size: Size,
}

/// Why an object could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ScrollError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Panicked(#[from] cpu::Panicked),
    #[error("it is not what it was when it was planned; the next run reads it anew")]
    Changed,
}

impl ScrollError {
    pub fn is_fatal(&self) -> bool {
        match self {
            ScrollError::Store(StoreError::Denied { .. }) => false,
            ScrollError::Store(error) => error.is_fatal(),
            _ => false,
        }
    }
}

impl Scroll {
    /// Reads the object once and shows every chunk of it to `each`, in order, until that says false.
    pub async fn read(
        self,
        store: Arc<dyn Store>,
        each: impl FnMut(StreamedChunk) -> bool + Send + 'static,
    ) -> Result<Findings, ScrollError> {
        let (sender, receiver) = mpsc::channel(1);
        let meta = self.meta.clone();
        // Whoever stops waiting for the text stops the fetching, and with it the thread.
        let (fetched, cut) = tokio::join!(
            fetch(store, meta, sender),
            cpu::run_beside(move || cut(&self, Ranges::new(receiver), each))
        );
        fetched?;
        Ok(cut??)
    }

    /// Reads the object and hands the chunks to whoever takes them from the other end, then why it ended, if too early.
    pub fn hand_out(
        self,
        store: Arc<dyn Store>,
    ) -> (Receiver<Result<StreamedChunk, ScrollError>>, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(2);
        let work = async move {
            let chunks = sender.clone();
            let read = self.read(store, move |chunk| chunks.blocking_send(Ok(chunk)).is_ok()).await;
            if let Err(error) = read {
                // Nobody listens any more when the document is given up.
                let _ = sender.send(Err(error)).await;
            }
        };
        (receiver, work)
    }
}

/// Fetches the object range by range.
async fn fetch(store: Arc<dyn Store>, meta: ObjectMeta, ranges: Sender<Vec<u8>>) -> Result<(), ScrollError> {
    let mut at = 0;
    while at < meta.size {
        let end = (at + RANGE_BYTES).min(meta.size);
        let mut failures = 0;
        let range = loop {
            match store.get_range(&meta.key, at..end, meta.etag.as_deref()).await {
                Err(StoreError::Other { .. } | StoreError::Unreachable { .. }) if failures < RETRIES_MAX => {
                    failures += 1;
                    tokio::time::sleep(RETRY_WAIT * failures * failures).await;
                }
                result => break result?,
            }
        };
        if range.is_empty() {
            return Err(ScrollError::Changed);
        }
        at += range.len() as u64;
        if ranges.send(range).await.is_err() {
            // The reader has stopped, and says why.
            return Ok(());
        }
    }
    // What was read to the end is the whole of it.
    ranges.send(Vec::new()).await.ok();
    Ok(())
}

/// The ranges as they come in, as one row of bytes. An empty one is the end.
struct Ranges {
    receiver: Receiver<Vec<u8>>,
    range: Vec<u8>,
    read: usize,
    is_over: bool,
}

impl Ranges {
    fn new(receiver: Receiver<Vec<u8>>) -> Self {
        Ranges { receiver, range: Vec::new(), read: 0, is_over: false }
    }
}

impl Read for Ranges {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.range.len() && !self.is_over {
            let Some(range) = self.receiver.blocking_recv() else {
                return Err(io::Error::other(Interrupted));
            };
            self.is_over = range.is_empty();
            (self.range, self.read) = (range, 0);
        }
        let read = (&self.range[self.read..]).read(buffer)?;
        self.read += read;
        Ok(read)
    }
}

fn cut(
    scroll: &Scroll,
    bytes: Ranges,
    mut each: impl FnMut(StreamedChunk) -> bool,
) -> Result<Findings, StreamError> {
    let mut blocks = Blocks::new(&scroll.outlook, bytes, &scroll.options)?;
    let mut failed = None;
    let texts = std::iter::from_fn(|| match blocks.next_block() {
        Ok(block) => block,
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    for chunk in chunk::stream(texts, scroll.outlook.layout, &scroll.size) {
        if !each(chunk) {
            break;
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(blocks.findings()),
    }
}
