//! Recalls answers that were paid for: the key leads to a place in the log, directly for what came in since the last
//! compaction, through the tables' filters for the rest. Bodies are read from the log's segments, which never change.
//!
//! Damage costs an answer, never gives a wrong one: a line is believed if its checksum holds and it names the key.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::lru::Lru;
use super::replies::{BlockCache, ReplyTable};
use super::{LedgerError, PaidReply, Record, ReplyKey, line, names};
use crate::store::{Store, StoreError};

/// Bytes of segments that are kept for the next answer in them: those of one document lie together.
const SEGMENTS_CACHED_BYTES: usize = 32 << 20;
/// Segments above this are not read whole for one answer.
const WHOLE_SEGMENT_BYTES_MAX: u64 = 4 << 20;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub segment: u64,
    pub offset: u32,
    pub bytes: u32,
}

/// What the writer and all readers share.
pub(super) struct Shared {
    pub store: Arc<dyn Store>,
    pub index: RwLock<Index>,
    blocks: BlockCache,
    segments: Mutex<Lru<u64, Arc<OnceCell<Cached>>>>,
    losses: Mutex<BTreeSet<String>>,
}

#[derive(Default)]
pub(super) struct Index {
    /// Since the last compaction.
    pub tail: HashMap<ReplyKey, Place>,
    /// Newest first.
    pub tables: Vec<Arc<ReplyTable>>,
}

/// A segment's bytes, or that it is too large to keep.
enum Cached {
    Whole(Bytes),
    Large,
    Missing,
}

impl Shared {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Shared {
            store,
            index: RwLock::default(),
            blocks: BlockCache::default(),
            segments: Mutex::new(Lru::new(SEGMENTS_CACHED_BYTES)),
            losses: Mutex::default(),
        }
    }

    /// Notes damage that was found, for people; the same is told once.
    pub fn lost(&self, loss: String) {
        let mut losses = lock(&self.losses);
        if !losses.contains(&loss) {
            tracing::warn!("ledger: {loss}");
            losses.insert(loss);
        }
    }

    pub fn losses(&self) -> Vec<String> {
        lock(&self.losses).iter().cloned().collect()
    }

    /// Keeps a segment that was just written: what is in it may be asked for soon.
    pub fn keep_segment(&self, number: u64, body: &Bytes) {
        if body.len() as u64 <= WHOLE_SEGMENT_BYTES_MAX {
            let cell = Arc::new(OnceCell::new_with(Some(Cached::Whole(body.clone()))));
            lock(&self.segments).insert(number, cell, body.len());
        }
    }

    /// The line at a place, if the segment is there and reaches so far.
    async fn line(&self, place: Place) -> Result<Option<Bytes>, LedgerError> {
        let error = |source| LedgerError::Store { action: "read an answer from", source };
        // Two tasks that want the same segment wait for one request.
        let cell = {
            let mut segments = lock(&self.segments);
            match segments.get(&place.segment) {
                Some(cell) => cell.clone(),
                None => {
                    let cell = Arc::new(OnceCell::new());
                    segments.insert(place.segment, cell.clone(), WHOLE_SEGMENT_BYTES_MAX as usize / 8);
                    cell
                }
            }
        };
        let key = names::segment(place.segment);
        let load = || async {
            match self.store.get(&key, None, WHOLE_SEGMENT_BYTES_MAX).await {
                Ok(object) => Ok(Cached::Whole(object.body.into())),
                Err(StoreError::TooLarge { .. }) => Ok(Cached::Large),
                Err(StoreError::NotFound { .. }) => Ok(Cached::Missing),
                Err(source) => Err(error(source)),
            }
        };
        let start = u64::from(place.offset);
        let end = start + u64::from(place.bytes);
        match cell.get_or_try_init(load).await? {
            Cached::Missing => Ok(None),
            Cached::Whole(body) => {
                lock(&self.segments).weigh(&place.segment, body.len());
                let range =
                    place.offset as usize..(place.offset as usize).saturating_add(place.bytes as usize);
                Ok((range.end <= body.len()).then(|| body.slice(range)))
            }
            Cached::Large => match self.store.get_range(&key, start..end, None).await {
                Ok(body) => Ok(Some(body.into())),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(source) => Err(error(source)),
            },
        }
    }

    /// The answer that lies at a place, if it is still there and the one that is wanted.
    async fn reply(&self, place: Place, key: ReplyKey) -> Result<Option<PaidReply>, LedgerError> {
        let line = self.line(place).await?;
        let json = line.as_deref().and_then(line::json);
        match json.and_then(|json| serde_json::from_slice(json).ok()) {
            Some(Record::Reply(reply)) if reply.key == key => Ok(Some(reply)),
            _ => {
                self.lost(format!("{}: an answer is missing or damaged", names::segment(place.segment)));
                Ok(None)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between two changes can panic: a holder leaves nothing half-done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks answers up. Clones share what they have read.
#[derive(Clone)]
pub struct Reader(pub(super) Arc<Shared>);

impl Reader {
    /// Whether the answer may be there, without waiting: `false` is sure. May be wrong the other way as long as the
    /// filters it needs were not read, which the first `recall` sees to.
    pub fn may_hold(&self, key: ReplyKey) -> bool {
        let index = self.0.index.read().unwrap_or_else(PoisonError::into_inner);
        index.tail.contains_key(&key) || index.tables.iter().any(|table| table.may_hold(key))
    }

    /// The answer, if it was bought before and is still whole. Of one that was bought twice, either will do.
    pub async fn recall(&self, key: ReplyKey) -> Result<Option<PaidReply>, LedgerError> {
        let (tail, tables) = {
            let index = self.0.index.read().unwrap_or_else(PoisonError::into_inner);
            (index.tail.get(&key).copied(), index.tables.clone())
        };
        if let Some(place) = tail
            && let Some(reply) = self.0.reply(place, key).await?
        {
            return Ok(Some(reply));
        }
        for table in tables {
            if let Some(place) = table.find(&self.0, &self.0.blocks, key).await?
                && let Some(reply) = self.0.reply(place, key).await?
            {
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }
}
