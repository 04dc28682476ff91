//! Checks the whole ledger without holding it: every line of the log, every block of every table, that tables are in
//! order, and by samples that the tables say what the log says. And makes the tables anew from the log.

use std::sync::Arc;

use super::compact::{Compaction, PartSizes, sorted};
use super::manifest::{self, FIRST_SEGMENT, Manifest};
use super::reader::{Index, Reader, Shared};
use super::replies::{REBUILD, ReplyCursor};
use super::segment::Note;
use super::states::States;
use super::tail::{Tail, scan};
use super::writer::index;
use super::{Ledger, LedgerError, ReplyKey, names};
use crate::store::Store;

/// Of the entries of a reply table, every so-manieth is followed into the log.
const SAMPLE: u64 = 1_000;
/// Segments that are held in memory at once when tables are made anew.
const BATCH_SEGMENTS: u64 = 256;

/// What the ledger holds, and what is wrong with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub segments: u64,
    pub replies: u64,
    /// Documents with a state.
    pub documents: u64,
    pub manifests: u64,
    pub tables: u64,
    /// The first segment that no table covers.
    pub first_uncovered: u64,
    /// What is damaged, missing or wrong, for people. Nothing, if all is well.
    pub faults: Vec<String>,
}

/// Reads everything. The state may go on changing meanwhile.
pub async fn verify(store: Arc<dyn Store>) -> Result<Report, LedgerError> {
    let mut report = Report::default();
    let numbers = manifest::numbers(&*store).await?;
    report.manifests = numbers.len() as u64;
    let (manifest, _) = manifest::newest(&*store, &mut report.faults).await?;
    report.first_uncovered = manifest.first_segment;
    report.tables = manifest.tables().count() as u64;
    let shared = Arc::new(Shared::new(store));
    let mut fresh = index(&manifest);
    let (samples, tail) = check_log(&shared, &manifest, &mut fresh, &mut report).await?;
    *shared.index.write().unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
    check_replies(&shared, &manifest, samples, &mut report).await?;
    check_documents(&shared, &manifest, tail, &mut report).await?;
    report.faults.extend(shared.losses());
    Ok(report)
}

/// Reads the log, and gives an answer of each segment, and the tail.
async fn check_log(
    shared: &Shared,
    manifest: &Manifest,
    index: &mut Index,
    report: &mut Report,
) -> Result<(Vec<(u64, ReplyKey)>, Tail), LedgerError> {
    let mut samples = Vec::new();
    let mut tail = Tail::after(manifest);
    let pick = |record, offset, bytes| Some(Note::of(record, offset, bytes));
    scan(&*shared.store, FIRST_SEGMENT..u64::MAX, &pick, |number, found| {
        report.segments += 1;
        report.faults.extend(found.losses(number, manifest.removed_before(number, found.missing_before)));
        let mut sample = None;
        for note in found.picked {
            if let Note::Reply { key, .. } = &note {
                report.replies += 1;
                sample = Some((number, *key));
            }
            if number >= manifest.first_segment {
                tail.apply(index, number, note);
            }
        }
        samples.extend(sample);
    })
    .await?;
    Ok((samples, tail))
}

async fn check_replies(
    shared: &Arc<Shared>,
    manifest: &Manifest,
    mut samples: Vec<(u64, ReplyKey)>,
    report: &mut Report,
) -> Result<(), LedgerError> {
    for table in &manifest.replies {
        let mut cursor = ReplyCursor::new(shared.clone(), table);
        let (mut last, mut count) = (None, 0);
        while let Some((key, place)) = cursor.next().await? {
            if last.is_some_and(|last| last >= key) {
                report.faults.push(format!("a table of replies is out of order at {key}; {REBUILD}"));
            }
            if count % SAMPLE == 0 {
                samples.push((place.segment, key));
            }
            (last, count) = (Some(key), count + 1);
        }
    }
    // Samples that lie together are read together.
    samples.sort_unstable();
    let reader = Reader(shared.clone());
    for (segment, key) in samples {
        if reader.recall(key).await?.is_none() {
            report
                .faults
                .push(format!("reply {key} of {} can not be recalled; {REBUILD}", names::segment(segment)));
        }
    }
    Ok(())
}

/// Walks over all states, which reads every block of every table.
async fn check_documents(
    shared: &Arc<Shared>,
    manifest: &Manifest,
    tail: Tail,
    report: &mut Report,
) -> Result<(), LedgerError> {
    let mut states = States::new(shared, tail.documents, &manifest.documents, None);
    let mut last: Option<String> = None;
    while let Some(document) = states.next().await? {
        if last.as_deref().is_some_and(|last| last >= document.key.as_str()) {
            report.faults.push(format!("a table of documents is out of order; {REBUILD}"));
        }
        report.documents += 1;
        last = Some(document.key);
    }
    Ok(())
}

impl Ledger {
    /// Makes all tables anew from the log, a stretch of it at a time, and gives what of the log is missing or damaged.
    /// Cut off, it leaves tables of the first stretches, and the log after them.
    pub async fn rebuild(&mut self) -> Result<Vec<String>, LedgerError> {
        let mut losses = Vec::new();
        let end = self.tail.next;
        let mut manifest = Manifest { removed: self.manifest.removed.clone(), ..Manifest::default() };
        while manifest.first_segment < end {
            let to = (manifest.first_segment + BATCH_SEGMENTS).min(end);
            let (tail, index) = self.read_stretch(&manifest, to, &mut losses).await?;
            let compaction = Compaction {
                shared: self.shared.clone(),
                manifest: self.next_manifest(manifest, &tail),
                covered: tail.first..to,
                documents: tail.documents,
                replies: sorted(index.tail.into_iter()),
                sizes: PartSizes { ..self.sizes },
            };
            let compacted = compaction.run().await?;
            manifest = compacted.manifest.clone();
            self.compacted(compacted);
        }
        Ok(losses)
    }

    async fn read_stretch(
        &self,
        manifest: &Manifest,
        to: u64,
        losses: &mut Vec<String>,
    ) -> Result<(Tail, Index), LedgerError> {
        let (mut tail, mut index) = (Tail::after(manifest), Index::default());
        let pick = |record, offset, bytes| Some(Note::of(record, offset, bytes));
        scan(&*self.shared.store, tail.first..to, &pick, |number, found| {
            losses.extend(found.losses(number, manifest.removed_before(number, found.missing_before)));
            found.picked.into_iter().for_each(|note| tail.apply(&mut index, number, note));
        })
        .await?;
        Ok((tail, index))
    }
}
