//! The table of document states, sorted by key in byte order, which is the order of listings.
//!
//! Data: gzip members of up to 1,000 lines of JSON each, so that `zcat` reads the whole; a member is read by range. Index:
//! gzip of JSON lines, one for each member with its first key, place and checksum.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::manifest::{Part, Table};
use super::reader::Shared;
use super::replies::REBUILD;
use super::{DocumentRecord, GZIP, LedgerError, line, names};
use crate::store::{Store, StoreError};

const BLOCK_LINES: usize = 1_000;
/// Keys and reasons may be long.
const BLOCK_BYTES: usize = 512 << 10;
/// A damaged member must not unpack without end. The last line of a block may be long.
const BLOCK_BYTES_MAX: u64 = 64 << 20;
/// Of compressed data: what is held in memory when tables are merged.
pub(super) const PART_BYTES_MAX: usize = 4 << 20;
/// Compressed bytes that are read at once where a table is read in order.
const AHEAD_BYTES_MAX: u64 = 1 << 20;
const AHEAD_BLOCKS_MAX: usize = 32;

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Where the log says so.
    pub segment: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentRecord>,
    /// The key of a document that was forgotten, as long as an older table may know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forget: Option<String>,
}

impl Entry {
    pub fn key(&self) -> &str {
        let document = self.document.as_ref().map(|document| document.key.as_str());
        document.or(self.forget.as_deref()).unwrap_or_default()
    }
}

/// A line of the index.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Block {
    first: String,
    offset: u64,
    bytes: u64,
    crc: u32,
}

/// Writes a table from entries that come sorted, a part at a time.
pub(super) struct DocumentTableWriter<'a> {
    store: &'a dyn Store,
    covered: Range<u64>,
    maker: String,
    part_bytes_max: usize,
    lines: Vec<u8>,
    count: usize,
    first: String,
    last: String,
    data: Vec<u8>,
    blocks: Vec<Block>,
    entries: u64,
    parts: Vec<Part>,
}

impl<'a> DocumentTableWriter<'a> {
    pub fn new(store: &'a dyn Store, covered: Range<u64>, maker: &str, part_bytes_max: usize) -> Self {
        DocumentTableWriter {
            store,
            covered,
            maker: maker.to_owned(),
            part_bytes_max,
            lines: Vec::new(),
            count: 0,
            first: String::new(),
            last: String::new(),
            data: Vec::new(),
            blocks: Vec::new(),
            entries: 0,
            parts: Vec::new(),
        }
    }

    pub async fn push(&mut self, entry: &Entry) -> Result<(), LedgerError> {
        if self.count == 0 {
            self.first = entry.key().to_owned();
        }
        self.last.clear();
        self.last.push_str(entry.key());
        serde_json::to_writer(&mut self.lines, entry)
            .expect("strings and numbers are always JSON, and memory can be written");
        self.lines.push(b'\n');
        self.count += 1;
        if self.count < BLOCK_LINES && self.lines.len() < BLOCK_BYTES {
            return Ok(());
        }
        self.end_block();
        if self.data.len() >= self.part_bytes_max {
            self.end_part().await?;
        }
        // Packing takes milliseconds; others want the thread too.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// The table, unless nothing was written to it.
    pub async fn finish(mut self) -> Result<Option<Table>, LedgerError> {
        self.end_block();
        self.end_part().await?;
        let entries = self.parts.iter().map(|part| part.entries).sum();
        Ok((entries > 0).then_some(Table { covered: self.covered, entries, parts: self.parts }))
    }

    fn end_block(&mut self) {
        if self.count == 0 {
            return;
        }
        let packed = pack(&self.lines);
        self.blocks.push(Block {
            first: std::mem::take(&mut self.first),
            offset: self.data.len() as u64,
            bytes: packed.len() as u64,
            crc: line::crc(&packed),
        });
        self.data.extend_from_slice(&packed);
        self.entries += self.count as u64;
        self.lines.clear();
        self.count = 0;
    }

    async fn end_part(&mut self) -> Result<(), LedgerError> {
        let error = |source| LedgerError::Store { action: "write a table of", source };
        let blocks = std::mem::take(&mut self.blocks);
        let Some(first) = blocks.first() else { return Ok(()) };
        let mut index = Vec::new();
        for block in &blocks {
            serde_json::to_writer(&mut index, block)
                .expect("strings and numbers are always JSON, and memory can be written");
            index.push(b'\n');
        }
        let index = pack(&index);
        let data = Bytes::from(std::mem::take(&mut self.data));
        let name = |ending| names::table("documents", &self.covered, &self.maker, self.parts.len(), ending);
        let part = Part {
            key: name(".jsonl.gz"),
            bytes: data.len() as u64,
            entries: std::mem::take(&mut self.entries),
            first: first.first.clone(),
            last: self.last.clone(),
            index: name(".index.jsonl.gz"),
            index_bytes: index.len() as u64,
            index_crc: line::crc(&index),
        };
        self.store.put(&part.key, data, GZIP).await.map_err(error)?;
        self.store.put(&part.index, index.into(), GZIP).await.map_err(error)?;
        self.parts.push(part);
        Ok(())
    }
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    // Without a time and a name in the header, equal lines make equal bytes. Level 3: states are much alike.
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(3));
    let packed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    packed.expect("memory can be written")
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    GzDecoder::new(packed).take(BLOCK_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Reads a table in order, leaving out what is not asked for.
pub(super) struct DocumentCursor {
    shared: Arc<Shared>,
    parts: Vec<Part>,
    /// The part being read, and its index once it was read.
    part: usize,
    blocks: Option<Vec<Block>>,
    /// The block that is next.
    block: usize,
    /// Packed blocks that were read ahead, from `block` on; `None` for damaged ones.
    ahead: VecDeque<Option<Bytes>>,
    ahead_blocks: usize,
    /// The unpacked block and where its next line starts.
    lines: Vec<u8>,
    at: usize,
    current: Option<Entry>,
}

impl DocumentCursor {
    pub fn new(shared: Arc<Shared>, table: &Table) -> Self {
        DocumentCursor {
            shared,
            parts: table.parts.clone(),
            part: 0,
            blocks: None,
            block: 0,
            ahead: VecDeque::new(),
            ahead_blocks: 1,
            lines: Vec::new(),
            at: 0,
            current: None,
        }
    }

    /// The entry the cursor stands on: the first one at the start.
    pub async fn peek(&mut self) -> Result<Option<&Entry>, LedgerError> {
        while self.current.is_none() {
            self.current = self.next_line();
            if self.current.is_none() && !self.next_block().await? {
                return Ok(None);
            }
        }
        Ok(self.current.as_ref())
    }

    pub async fn take(&mut self) -> Result<Option<Entry>, LedgerError> {
        self.peek().await?;
        Ok(self.current.take())
    }

    /// Moves on to the first entry that is not before `key`. Keys only grow.
    pub async fn seek(&mut self, key: &str) -> Result<Option<&Entry>, LedgerError> {
        if self.current.as_ref().is_none_or(|entry| entry.key() < key) {
            self.current = None;
            self.skip_blocks(key).await?;
            while self.peek().await?.is_some_and(|entry| entry.key() < key) {
                self.current = None;
            }
        }
        Ok(self.current.as_ref())
    }

    /// Passes over parts and blocks that end before `key`.
    async fn skip_blocks(&mut self, key: &str) -> Result<(), LedgerError> {
        let skipped =
            self.parts[self.part.min(self.parts.len())..].iter().take_while(|p| p.last.as_str() < key);
        let skipped = skipped.count();
        if skipped > 0 {
            self.enter_part(self.part + skipped);
        }
        self.load_index().await?;
        let Some(blocks) = &self.blocks else { return Ok(()) };
        // The last block that starts at or before the key; `block - 1` is the one being read.
        let wanted = blocks.partition_point(|block| block.first.as_str() <= key).saturating_sub(1);
        if wanted >= self.block {
            let distance = wanted - self.block;
            self.lines.clear();
            self.at = 0;
            self.ahead.drain(..distance.min(self.ahead.len()));
            if distance > 0 && self.ahead.is_empty() {
                self.ahead_blocks = 1;
            }
            self.block = wanted;
        }
        Ok(())
    }

    fn enter_part(&mut self, part: usize) {
        self.part = part;
        self.blocks = None;
        self.block = 0;
        self.ahead.clear();
        self.lines.clear();
        self.at = 0;
    }

    fn next_line(&mut self) -> Option<Entry> {
        while self.at < self.lines.len() {
            let rest = &self.lines[self.at..];
            let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
            self.at += end + 1;
            if let Ok(entry) = serde_json::from_slice(&rest[..end]) {
                return Some(entry);
            }
            // Checksums hold and yet it is no entry: another program wrote it.
            self.shared.lost(format!("{}: a line can not be read; {REBUILD}", self.parts[self.part].key));
        }
        None
    }

    /// Unpacks the next block that is good; `false` after the last one.
    async fn next_block(&mut self) -> Result<bool, LedgerError> {
        loop {
            self.load_index().await?;
            let Some(blocks) = &self.blocks else { return Ok(false) };
            if self.block >= blocks.len() {
                self.enter_part(self.part + 1);
                continue;
            }
            if self.ahead.is_empty() {
                self.read_ahead().await?;
            }
            let packed = self.ahead.pop_front().flatten();
            self.block += 1;
            match packed.as_deref().and_then(unpack) {
                Some(lines) => {
                    (self.lines, self.at) = (lines, 0);
                    tokio::task::yield_now().await;
                    return Ok(true);
                }
                None => {
                    let (key, block) = (&self.parts[self.part].key, self.block - 1);
                    self.shared.lost(format!("{key}: block {block} is missing or damaged; {REBUILD}"));
                }
            }
        }
    }

    /// Reads the index of the current part, or of the next one that has a good one. None are left: `blocks` is `None`.
    async fn load_index(&mut self) -> Result<(), LedgerError> {
        while self.blocks.is_none() {
            let Some(part) = self.parts.get(self.part) else { return Ok(()) };
            let body = match self.shared.store.get(&part.index, None, part.index_bytes).await {
                Ok(object) => object.body,
                Err(StoreError::NotFound { .. } | StoreError::TooLarge { .. }) => Vec::new(),
                Err(source) => return Err(failed(source)),
            };
            let is_whole = line::crc(&body) == part.index_crc;
            let lines = Some(body).filter(|_| is_whole).and_then(|body| unpack(&body)).unwrap_or_default();
            let lines = lines.split(|b| *b == b'\n').filter(|line| !line.is_empty());
            let blocks: Vec<Block> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
            if blocks.is_empty() {
                self.shared.lost(format!("{} is missing or damaged; {REBUILD}", part.index));
                self.enter_part(self.part + 1);
            } else {
                self.blocks = Some(blocks);
            }
        }
        Ok(())
    }

    /// Reads the next blocks in one request: more at each time, as long as they are wanted in order.
    async fn read_ahead(&mut self) -> Result<(), LedgerError> {
        let Some(blocks) = &self.blocks else { return Ok(()) };
        let start = blocks[self.block].offset;
        let wanted = blocks[self.block..].iter().take(self.ahead_blocks);
        let wanted: Vec<&Block> = wanted
            .enumerate()
            .take_while(|(i, block)| *i == 0 || block.offset + block.bytes - start <= AHEAD_BYTES_MAX)
            .map(|(_, block)| block)
            .collect();
        let end = wanted.last().map_or(start, |block| block.offset + block.bytes);
        let read = match self.shared.store.get_range(&self.parts[self.part].key, start..end, None).await {
            Ok(bytes) => Bytes::from(bytes),
            Err(StoreError::NotFound { .. }) => Bytes::new(),
            Err(source) => return Err(failed(source)),
        };
        let block = |block: &Block| {
            let at = usize::try_from(block.offset - start).ok()?;
            let end = at.checked_add(usize::try_from(block.bytes).ok()?)?;
            let bytes = (end <= read.len()).then(|| read.slice(at..end))?;
            (line::crc(&bytes) == block.crc).then_some(bytes)
        };
        self.ahead = wanted.into_iter().map(block).collect();
        self.ahead_blocks = (self.ahead_blocks * 2).min(AHEAD_BLOCKS_MAX);
        Ok(())
    }
}

fn failed(source: StoreError) -> LedgerError {
    LedgerError::Store { action: "read a table of", source }
}
