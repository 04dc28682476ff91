//! The table of answers: from a reply's key to its place in the log. The bodies stay there.
//!
//! Data: entries of 32 bytes (key 16, segment 8, offset 4, length 4; integers little-endian), sorted by key, in blocks of
//! 1,024 that are read by range. Index: `DMREPLY1`, the number of blocks (4), for each block its first key (16) and the
//! CRC-32 of its bytes (4), then a Bloom filter up to the end. A part's index is read at the first look-up in it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::bloom::Bloom;
use super::lru::Lru;
use super::manifest::{Part, Table};
use super::reader::{Place, Shared};
use super::{BINARY, LedgerError, ReplyKey, line, names};
use crate::store::{Store, StoreError};

const MAGIC: &[u8; 8] = b"DMREPLY1";
const ENTRY_BYTES: usize = 32;
const BLOCK_ENTRIES: usize = 1_024;
const BLOCK_BYTES: usize = BLOCK_ENTRIES * ENTRY_BYTES;
const BLOCK_INDEX_BYTES: usize = ReplyKey::BYTES + 4;
/// 8 MiB of data: what is held in memory when tables are merged.
pub(super) const PART_ENTRIES_MAX: usize = 256 << 10;
/// Blocks that are read at once when a table is read from end to end.
const BLOCKS_AHEAD: usize = 32;
const CACHE_BYTES: usize = 8 << 20;

/// A table as the manifest names it. Its indexes are read when they are needed.
#[derive(Debug)]
pub(super) struct ReplyTable {
    parts: Vec<ReplyPart>,
}

#[derive(Debug)]
struct ReplyPart {
    part: Part,
    keys: Option<(ReplyKey, ReplyKey)>,
    /// Names the part in the block cache.
    id: u64,
    /// `None` inside: damaged or missing.
    index: OnceCell<Option<Index>>,
}

#[derive(Debug)]
struct Index {
    blocks: Vec<(ReplyKey, u32)>,
    filter: Bloom,
}

/// Blocks that were read last, of all tables.
pub(super) struct BlockCache(Mutex<Lru<(u64, usize), Bytes>>);

impl Default for BlockCache {
    fn default() -> Self {
        BlockCache(Mutex::new(Lru::new(CACHE_BYTES)))
    }
}

impl ReplyTable {
    pub fn new(table: &Table) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let part = |part: &Part| ReplyPart {
            keys: key(&part.first).zip(key(&part.last)),
            part: part.clone(),
            id: IDS.fetch_add(1, Ordering::Relaxed),
            index: OnceCell::new(),
        };
        ReplyTable { parts: table.parts.iter().map(part).collect() }
    }

    fn part(&self, key: ReplyKey) -> Option<&ReplyPart> {
        self.parts.iter().find(|part| part.keys.is_some_and(|(first, last)| first <= key && key <= last))
    }

    /// `false` is sure.
    pub fn may_hold(&self, key: ReplyKey) -> bool {
        let index = self.part(key).map(|part| part.index.get());
        match index {
            None => false,
            Some(None) => true,
            Some(Some(index)) => index.as_ref().is_some_and(|index| index.filter.may_hold(key)),
        }
    }

    pub async fn find(
        &self,
        shared: &Shared,
        cache: &BlockCache,
        key: ReplyKey,
    ) -> Result<Option<Place>, LedgerError> {
        let Some(part) = self.part(key) else { return Ok(None) };
        let Some(index) = part.index(shared).await?.filter(|index| index.filter.may_hold(key)) else {
            return Ok(None);
        };
        let Some(number) = index.blocks.partition_point(|(first, _)| *first <= key).checked_sub(1) else {
            return Ok(None);
        };
        let cached = {
            let mut blocks = cache.0.lock().unwrap_or_else(PoisonError::into_inner);
            blocks.get(&(part.id, number)).cloned()
        };
        let block = match cached {
            Some(block) => block,
            None => {
                let Some(block) = part.blocks(shared, index, number..number + 1).await?.pop().flatten()
                else {
                    return Ok(None);
                };
                let mut blocks = cache.0.lock().unwrap_or_else(PoisonError::into_inner);
                blocks.insert((part.id, number), block.clone(), block.len());
                block
            }
        };
        let entries = block.as_chunks::<ENTRY_BYTES>().0;
        let found = entries.binary_search_by(|entry| entry[..ReplyKey::BYTES].cmp(&key.0));
        Ok(found.ok().map(|at| decode(&entries[at]).1))
    }
}

impl ReplyPart {
    async fn index(&self, shared: &Shared) -> Result<Option<&Index>, LedgerError> {
        let load = || async {
            let body = match shared.store.get(&self.part.index, None, self.part.index_bytes).await {
                Ok(object) => object.body,
                Err(StoreError::NotFound { .. } | StoreError::TooLarge { .. }) => Vec::new(),
                Err(source) => return Err(failed(source)),
            };
            let is_whole =
                line::crc(&body) == self.part.index_crc && body.len() as u64 == self.part.index_bytes;
            let index = Some(body).filter(|_| is_whole).and_then(|body| parse_index(&body));
            if index.is_none() {
                shared.lost(format!("{} is missing or damaged; {REBUILD}", self.part.index));
            }
            Ok(index)
        };
        Ok(self.index.get_or_try_init(load).await?.as_ref())
    }

    /// Blocks in one request; `None` for those that are damaged.
    async fn blocks(
        &self,
        shared: &Shared,
        index: &Index,
        numbers: Range<usize>,
    ) -> Result<Vec<Option<Bytes>>, LedgerError> {
        let bytes = (numbers.start * BLOCK_BYTES) as u64..(numbers.end * BLOCK_BYTES) as u64;
        let read = match shared.store.get_range(&self.part.key, bytes, None).await {
            Ok(bytes) => Bytes::from(bytes),
            Err(StoreError::NotFound { .. }) => Bytes::new(),
            Err(source) => return Err(failed(source)),
        };
        let block = |number: usize| {
            let start = ((number - numbers.start) * BLOCK_BYTES).min(read.len());
            let block = read.slice(start..(start + BLOCK_BYTES).min(read.len()));
            let is_good = index.blocks.get(number).is_some_and(|(_, crc)| *crc == line::crc(&block));
            if !is_good {
                shared.lost(format!("{}: block {number} is missing or damaged; {REBUILD}", self.part.key));
            }
            is_good.then_some(block)
        };
        Ok(numbers.clone().map(block).collect())
    }
}

/// What people can do about a damaged table.
pub(super) const REBUILD: &str = "`docmill ledger compact --rebuild` makes it anew";

fn failed(source: StoreError) -> LedgerError {
    LedgerError::Store { action: "read a table of", source }
}

fn key(text: &str) -> Option<ReplyKey> {
    let mut key = [0; ReplyKey::BYTES];
    hex::decode_to_slice(text, &mut key).ok()?;
    Some(ReplyKey(key))
}

fn encode(key: ReplyKey, place: Place) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[..16].copy_from_slice(&key.0);
    entry[16..24].copy_from_slice(&place.segment.to_le_bytes());
    entry[24..28].copy_from_slice(&place.offset.to_le_bytes());
    entry[28..].copy_from_slice(&place.bytes.to_le_bytes());
    entry
}

fn decode(entry: &[u8; ENTRY_BYTES]) -> (ReplyKey, Place) {
    let (mut key, mut segment, mut offset, mut bytes) = ([0; 16], [0; 8], [0; 4], [0; 4]);
    key.copy_from_slice(&entry[..16]);
    segment.copy_from_slice(&entry[16..24]);
    offset.copy_from_slice(&entry[24..28]);
    bytes.copy_from_slice(&entry[28..]);
    let place = Place {
        segment: u64::from_le_bytes(segment),
        offset: u32::from_le_bytes(offset),
        bytes: u32::from_le_bytes(bytes),
    };
    (ReplyKey(key), place)
}

fn parse_index(body: &[u8]) -> Option<Index> {
    let rest = body.strip_prefix(MAGIC)?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (blocks, filter) = rest.split_at_checked(u32::from_le_bytes(*count) as usize * BLOCK_INDEX_BYTES)?;
    let block = |bytes: &[u8; BLOCK_INDEX_BYTES]| {
        let (mut key, mut crc) = ([0; 16], [0; 4]);
        key.copy_from_slice(&bytes[..16]);
        crc.copy_from_slice(&bytes[16..]);
        (ReplyKey(key), u32::from_le_bytes(crc))
    };
    let blocks = blocks.as_chunks::<BLOCK_INDEX_BYTES>().0.iter().map(block).collect();
    Some(Index { blocks, filter: Bloom::from_bytes(filter)? })
}

/// Writes a table from entries that come sorted, a part at a time.
pub(super) struct ReplyTableWriter<'a> {
    store: &'a dyn Store,
    covered: Range<u64>,
    maker: String,
    part_entries_max: usize,
    data: Vec<u8>,
    parts: Vec<Part>,
}

impl<'a> ReplyTableWriter<'a> {
    pub fn new(store: &'a dyn Store, covered: Range<u64>, maker: &str, part_entries_max: usize) -> Self {
        let maker = maker.to_owned();
        ReplyTableWriter { store, covered, maker, part_entries_max, data: Vec::new(), parts: Vec::new() }
    }

    pub async fn push(&mut self, key: ReplyKey, place: Place) -> Result<(), LedgerError> {
        self.data.extend_from_slice(&encode(key, place));
        if self.data.len() >= self.part_entries_max * ENTRY_BYTES {
            self.end_part().await?;
        }
        Ok(())
    }

    /// The table, unless nothing was written to it.
    pub async fn finish(mut self) -> Result<Option<Table>, LedgerError> {
        self.end_part().await?;
        let entries = self.parts.iter().map(|part| part.entries).sum();
        Ok((entries > 0).then_some(Table { covered: self.covered, entries, parts: self.parts }))
    }

    async fn end_part(&mut self) -> Result<(), LedgerError> {
        let error = |source| LedgerError::Store { action: "write a table of", source };
        let data = Bytes::from(std::mem::take(&mut self.data));
        let entries = data.as_chunks::<ENTRY_BYTES>().0;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        let (first, last) = (decode(first).0.to_string(), decode(last).0.to_string());
        let mut index = MAGIC.to_vec();
        index.extend_from_slice(&(data.len().div_ceil(BLOCK_BYTES) as u32).to_le_bytes());
        for block in data.chunks(BLOCK_BYTES) {
            index.extend_from_slice(&block[..ReplyKey::BYTES]);
            index.extend_from_slice(&line::crc(block).to_le_bytes());
        }
        let mut filter = Bloom::for_keys(entries.len());
        entries.iter().for_each(|entry| filter.insert(decode(entry).0));
        index.extend_from_slice(filter.bytes());
        let name = |ending| names::table("replies", &self.covered, &self.maker, self.parts.len(), ending);
        let part = Part {
            key: name(".bin"),
            bytes: data.len() as u64,
            entries: entries.len() as u64,
            first,
            last,
            index: name(".index"),
            index_bytes: index.len() as u64,
            index_crc: line::crc(&index),
        };
        self.store.put(&part.key, data, BINARY).await.map_err(error)?;
        self.store.put(&part.index, index.into(), BINARY).await.map_err(error)?;
        self.parts.push(part);
        Ok(())
    }
}

/// Reads a table from end to end, in order. Damaged blocks are left out and told.
pub(super) struct ReplyCursor {
    shared: Arc<Shared>,
    table: ReplyTable,
    part: usize,
    block: usize,
    ready: std::vec::IntoIter<(ReplyKey, Place)>,
}

impl ReplyCursor {
    pub fn new(shared: Arc<Shared>, table: &Table) -> Self {
        let table = ReplyTable::new(table);
        ReplyCursor { shared, table, part: 0, block: 0, ready: Vec::new().into_iter() }
    }

    pub async fn next(&mut self) -> Result<Option<(ReplyKey, Place)>, LedgerError> {
        loop {
            if let Some(entry) = self.ready.next() {
                return Ok(Some(entry));
            }
            let Some(part) = self.table.parts.get(self.part) else { return Ok(None) };
            let index = part.index(&self.shared).await?;
            let Some(index) = index.filter(|index| self.block < index.blocks.len()) else {
                (self.part, self.block) = (self.part + 1, 0);
                continue;
            };
            let numbers = self.block..index.blocks.len().min(self.block + BLOCKS_AHEAD);
            let blocks = part.blocks(&self.shared, index, numbers.clone()).await?;
            let blocks = blocks.iter().flatten();
            let ready = blocks.flat_map(|block| block.as_chunks::<ENTRY_BYTES>().0.iter().map(decode));
            self.ready = ready.collect::<Vec<_>>().into_iter();
            self.block = numbers.end;
        }
    }
}
