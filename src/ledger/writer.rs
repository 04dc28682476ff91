//! The writer: the one place where the log grows. It is owned by the run's loop; what waits for a store is handed out
//! (a segment to commit, a beat, a compaction), so that the loop never waits for the ledger unless it wants to.

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLockWriteGuard};

use tokio::sync::Mutex;

use super::compact::{Compacted, Compaction, PartSizes, sorted};
use super::holder::{self, Announcer, Found};
use super::manifest::{self, Manifest};
use super::reader::{Index, Shared};
use super::replies::ReplyTable;
use super::segment::{self, Buffer, Header, SEGMENT_BYTES_MAX};
use super::tail::Tail;
use super::{
    Buffered, FORMAT, Holder, Intent, LedgerError, Me, Options, Reader, Record, Segment, States, names,
};
use crate::store::Store;

/// A tail of so many segments is worth a compaction in the middle of a run: starting over it reads each.
const TAIL_SEGMENTS_MAX: u64 = 256;
/// So are so many documents, and so many replies, for memory's sake.
const TAIL_DOCUMENTS_MAX: usize = 50_000;
const TAIL_REPLIES_MAX: usize = 250_000;

/// The ledger of a sink, held by this process.
pub struct Ledger {
    pub(super) shared: Arc<Shared>,
    pub(super) holder: Holder,
    announcer: Arc<Mutex<Announcer>>,
    buffer: Buffer,
    in_flight: Option<Segment>,
    pub(super) tail: Tail,
    pub(super) manifest: Manifest,
    manifest_number: u64,
    is_compacting: bool,
    pub(super) sizes: PartSizes,
}

/// What was found when the ledger was opened.
#[derive(Debug)]
pub struct Opened {
    /// What is damaged or missing, for people.
    pub losses: Vec<String>,
    /// Who held it before. Without `ended`, that one died or was cut off.
    pub previous: Option<Holder>,
    /// Calls of runs that did not close, sent or about to be and never answered: they may have been billed.
    pub unanswered: Vec<Intent>,
    /// The segment with this run's claim, its first one.
    pub next_segment: u64,
    /// The store does not know conditional writes: a second run on this sink would not be noticed.
    pub is_unfenced: bool,
}

impl Ledger {
    /// Takes the ledger of the sink `store`, unless another process holds it. May wait for half a minute for a sign of
    /// life from a holder on another machine.
    pub async fn open(
        store: Arc<dyn Store>,
        me: Me,
        options: Options,
    ) -> Result<(Ledger, Opened), LedgerError> {
        let mut found = holder::wait_for_turn(&*store, &me, &options, None).await?;
        let mut losses = Vec::new();
        if found.is_damaged() {
            losses.push(format!(
                "{} is damaged; nobody changed it for a while, so it was taken over",
                names::HOLDER
            ));
        }
        let (manifest, manifest_number) = manifest::newest(&*store, &mut losses).await?;
        let mut index = index(&manifest);
        let mut tail = Tail::after(&manifest);
        tail.catch_up(&*store, &mut index, &mut losses).await?;
        // Somebody may have claimed the log since the file was read, or died before writing it.
        while let Some(claimant) = tail.holder.as_deref().filter(|claimant| found.is_older_than(claimant)) {
            found = holder::wait_for_turn(&*store, &me, &options, Some(claimant)).await?;
            tail.catch_up(&*store, &mut index, &mut losses).await?;
        }
        let written = found.holder.as_ref().map_or(0, |holder| holder.next_segment);
        if written > tail.next {
            // Claiming one of the numbers that are gone would not fence whoever comes after them.
            losses.push(format!("segments {} to {} of the log are missing", tail.next, written - 1));
            tail.next = written;
        }
        let mut ledger = Ledger {
            announcer: Arc::new(Mutex::new(Announcer::new(store.clone(), &found))),
            shared: Arc::new(Shared::new(store)),
            holder: Holder::new(&me),
            buffer: Buffer::default(),
            in_flight: None,
            tail,
            manifest,
            manifest_number,
            is_compacting: false,
            sizes: PartSizes::default(),
        };
        *ledger.index_mut() = index;
        let is_unfenced = ledger.claim(&mut losses).await?;
        let Found { holder: previous, .. } = found;
        let unanswered = ledger.tail.unanswered.values().cloned().collect();
        let opened = Opened { losses, previous, unanswered, next_segment: ledger.holder.claim, is_unfenced };
        ledger.announcer.lock().await.announce(&ledger.holder).await?;
        Ok((ledger, opened))
    }

    /// Puts our claim at the end of the log, and tells whether the store would let another one take its number all the
    /// same. Who else appends until then is read first; who else claims has won.
    async fn claim(&mut self, losses: &mut Vec<String>) -> Result<bool, LedgerError> {
        loop {
            self.holder.claim = self.tail.next;
            self.holder.next_segment = self.tail.next + 1;
            self.buffer.append(Record::Claim { holder: self.holder.clone() });
            let segment = self.buffer.seal(&self.header());
            let store = self.shared.store.clone();
            match segment.commit(&*store).await {
                Ok(()) => {
                    let is_unfenced = segment.can_be_replaced(&*store).await?;
                    self.committed(segment);
                    return Ok(is_unfenced);
                }
                Err(LedgerError::Fenced { by }) => {
                    if self.is_claimed(segment.number()).await? {
                        return Err(LedgerError::Held { by });
                    }
                    let mut index = std::mem::take(&mut *self.index_mut());
                    let result = self.tail.catch_up(&*store, &mut index, losses).await;
                    *self.index_mut() = index;
                    result?;
                    // A number can be taken by an object that is no segment, and that a listing does not show as one.
                    self.tail.next = self.tail.next.max(segment.number() + 1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn is_claimed(&self, number: u64) -> Result<bool, LedgerError> {
        let error = |source| LedgerError::Store { action: "read the log of", source };
        let object = self.shared.store.get(&names::segment(number), None, SEGMENT_BYTES_MAX).await;
        let mut is_claimed = false;
        segment::read(number, &object.map_err(error)?.body, |record, _, _| {
            is_claimed |= matches!(record, Record::Claim { .. });
        })?;
        Ok(is_claimed)
    }

    /// Looks answers up; cheap to clone and to send.
    pub fn reader(&self) -> Reader {
        Reader(self.shared.clone())
    }

    /// The newest state of each document, in key order after `after`.
    pub fn states(&self, after: Option<&str>) -> States {
        States::new(&self.shared, self.tail.documents.clone(), &self.manifest.documents, after)
    }

    /// Appends to the open buffer. Nothing is durable, and no reply can be recalled, before its segment is committed.
    pub fn append(&mut self, record: Record) {
        self.buffer.append(record);
    }

    pub fn buffered(&self) -> Buffered {
        self.buffer.buffered()
    }

    /// Makes the buffer the next segment, to be committed. `None` if it is empty, or the segment before is not committed.
    pub fn seal(&mut self) -> Option<Segment> {
        if self.in_flight.is_some() || self.buffer.buffered().records == 0 {
            return None;
        }
        let segment = self.buffer.seal(&self.header());
        self.in_flight = Some(segment.clone());
        Some(segment)
    }

    /// Takes note that the segment is durable: its replies can be recalled.
    pub fn committed(&mut self, segment: Segment) {
        let sealed = segment.sealed();
        self.shared.keep_segment(sealed.number, &sealed.body);
        let shared = self.shared.clone();
        let mut index = shared.index.write().unwrap_or_else(PoisonError::into_inner);
        sealed.notes.iter().for_each(|note| self.tail.apply(&mut index, sealed.number, note.clone()));
        self.tail.next = sealed.number + 1;
        self.holder.next_segment = self.tail.next;
        self.in_flight = None;
    }

    /// Says that this holder lives; due every `BEAT`. Only `Fenced` is final, after anything else the next beat may do.
    pub fn beat(&mut self, now: u64) -> impl Future<Output = Result<(), LedgerError>> + Send + use<> {
        self.holder.seen = now;
        let (announcer, holder) = (self.announcer.clone(), self.holder.clone());
        async move { announcer.lock().await.announce(&holder).await }
    }

    /// What turned out to be damaged since the ledger was opened, for people.
    pub fn losses(&self) -> Vec<String> {
        self.shared.losses()
    }

    /// A compaction of what is committed by now, to be run beside the loop, or `None` if it is not worth it (`force`: if
    /// there is nothing to do) or one is under way.
    pub fn start_compaction(&mut self, force: bool) -> Option<Compaction> {
        let covered = self.tail.first..self.tail.next;
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        let is_due = covered.end - covered.start > TAIL_SEGMENTS_MAX
            || self.tail.documents.len() > TAIL_DOCUMENTS_MAX
            || index.tail.len() > TAIL_REPLIES_MAX;
        if self.is_compacting || covered.is_empty() || !(is_due || force) {
            return None;
        }
        self.is_compacting = true;
        Some(Compaction {
            shared: self.shared.clone(),
            manifest: self.next_manifest(self.manifest.clone(), &self.tail),
            covered,
            documents: self.tail.documents.clone(),
            replies: sorted(index.tail.iter().map(|(key, place)| (*key, *place))),
            sizes: self.sizes,
        })
    }

    /// `base` as this holder's next manifest, once `tail` is covered.
    pub(super) fn next_manifest(&self, base: Manifest, tail: &Tail) -> Manifest {
        Manifest {
            number: self.manifest_number + 1,
            claim: self.holder.claim,
            nonce: self.holder.nonce.clone(),
            unanswered: tail.unanswered.values().cloned().collect(),
            ..base
        }
    }

    pub(super) fn replace_manifest(&mut self, manifest: Manifest) {
        self.manifest_number = manifest.number;
        self.manifest = manifest;
    }

    /// Makes use of new tables: what they cover leaves the tail.
    pub fn compacted(&mut self, compacted: Compacted) {
        self.is_compacting = false;
        self.replace_manifest(compacted.manifest);
        let first = self.manifest.first_segment;
        self.tail.first = first;
        Arc::make_mut(&mut self.tail.documents).retain(|_, latest| latest.segment >= first);
        let tables = index(&self.manifest).tables;
        let mut index = self.index_mut();
        index.tail.retain(|_, place| place.segment >= first);
        index.tables = tables;
    }

    /// Takes note that a compaction failed; the next one starts from where this one did.
    pub fn compaction_failed(&mut self) {
        self.is_compacting = false;
    }

    /// `start_compaction`, run and made use of. Gives the number of segments it took in.
    pub async fn compact(&mut self, force: bool) -> Result<u64, LedgerError> {
        let Some(compaction) = self.start_compaction(force) else { return Ok(0) };
        match compaction.run().await {
            Ok(compacted) => {
                let segments = compacted.segments;
                self.compacted(compacted);
                Ok(segments)
            }
            Err(error) => {
                self.compaction_failed();
                Err(error)
            }
        }
    }

    /// Ends a run by itself: all its calls are accounted for, and so are those that it found unanswered. `ended` is how.
    pub async fn close(&mut self, ended: &str, now: u64) -> Result<(), LedgerError> {
        self.commit_all().await?;
        self.append(Record::Closed { ended: ended.to_owned() });
        self.release(now).await
    }

    /// Gives the ledger back without a run having ended, as after maintenance.
    pub async fn release(&mut self, now: u64) -> Result<(), LedgerError> {
        self.commit_all().await?;
        self.holder.ended = Some(now);
        self.beat(now).await
    }

    async fn commit_all(&mut self) -> Result<(), LedgerError> {
        let store = self.shared.store.clone();
        while let Some(segment) = self.in_flight.clone().or_else(|| self.seal()) {
            segment.commit(&*store).await?;
            self.committed(segment);
        }
        Ok(())
    }

    fn header(&self) -> Header {
        Header {
            docmill_ledger: FORMAT,
            segment: self.tail.next,
            run: self.holder.run.clone(),
            nonce: self.holder.nonce.clone(),
            written: self.holder.seen,
        }
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.shared.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The states of a ledger that somebody else may be writing, for whoever only looks; and what is damaged, for people.
pub async fn view(store: Arc<dyn Store>) -> Result<(States, Vec<String>), LedgerError> {
    let mut losses = Vec::new();
    let (manifest, _) = manifest::newest(&*store, &mut losses).await?;
    let (mut index, mut tail) = (index(&manifest), Tail::after(&manifest));
    tail.catch_up(&*store, &mut index, &mut losses).await?;
    let shared = Arc::new(Shared::new(store));
    Ok((States::new(&shared, tail.documents.clone(), &manifest.documents, None), losses))
}

/// The index with the tables that a manifest names.
pub(super) fn index(manifest: &Manifest) -> Index {
    let tables = manifest.replies.iter().map(|table| Arc::new(ReplyTable::new(table))).collect();
    Index { tables, ..Index::default() }
}
