//! Compaction: the tail becomes tables, and tables that have grown alike become one.
//!
//! It reads only what never changes and writes objects under new names; the manifest that names them comes last. Cut off
//! at any point it leaves the state as it was, and objects that `gc` finds. The writer goes on appending meanwhile.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::documents::{DocumentTableWriter, PART_BYTES_MAX};
use super::manifest::{self, Manifest, Table};
use super::reader::{Place, Shared};
use super::replies::{PART_ENTRIES_MAX, ReplyCursor, ReplyTableWriter};
use super::states::States;
use super::tail::Documents;
use super::{LedgerError, ReplyKey};

/// More tables of a kind than these are not kept: each one is looked into for what is nowhere.
const TABLES_MAX: usize = 8;

/// How large the objects of tables become.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartSizes {
    pub document_bytes: usize,
    pub reply_entries: usize,
}

impl Default for PartSizes {
    fn default() -> Self {
        PartSizes { document_bytes: PART_BYTES_MAX, reply_entries: PART_ENTRIES_MAX }
    }
}

/// A compaction that is ready to run beside the writer.
pub struct Compaction {
    pub(super) shared: Arc<Shared>,
    /// The newest one, with the number that the new one is to get, and its writer's claim.
    pub(super) manifest: Manifest,
    pub(super) covered: Range<u64>,
    pub(super) documents: Arc<Documents>,
    /// Sorted.
    pub(super) replies: Vec<(ReplyKey, Place)>,
    pub(super) sizes: PartSizes,
}

/// Tables that are durable and named by a manifest; `Ledger::compacted` makes use of them.
pub struct Compacted {
    pub(super) manifest: Manifest,
    /// Segments that were in the tail.
    pub segments: u64,
}

impl Compaction {
    pub async fn run(mut self) -> Result<Compacted, LedgerError> {
        let segments = self.covered.end - self.covered.start;
        let replies = self.compact_replies().await?;
        let documents = self.compact_documents().await?;
        self.manifest.replies = replies;
        self.manifest.documents = documents;
        self.manifest.first_segment = self.covered.end;
        manifest::write(&*self.shared.store, &mut self.manifest).await?;
        Ok(Compacted { manifest: self.manifest, segments })
    }

    async fn compact_replies(&mut self) -> Result<Vec<Table>, LedgerError> {
        let tail = std::mem::take(&mut self.replies);
        let tables = &self.manifest.replies;
        if tail.is_empty() {
            return Ok(tables.clone());
        }
        let (merged, kept) = tables.split_at(merge_count(tables, tail.len() as u64));
        let covered = covered(merged, &self.covered);
        let store = &*self.shared.store;
        let mut writer =
            ReplyTableWriter::new(store, covered, &self.manifest.nonce, self.sizes.reply_entries);
        let mut cursors: Vec<_> = merged.iter().map(|t| ReplyCursor::new(self.shared.clone(), t)).collect();
        // The heads of all inputs; the first is the tail, and of equal keys the first one counts.
        let mut tail = tail.into_iter();
        let mut heads = vec![tail.next()];
        for cursor in &mut cursors {
            heads.push(cursor.next().await?);
        }
        while let Some((key, place)) = heads.iter().flatten().min_by_key(|(key, _)| *key).copied() {
            writer.push(key, place).await?;
            for (input, head) in heads.iter_mut().enumerate() {
                if head.is_some_and(|(other, _)| other == key) {
                    *head = match input.checked_sub(1) {
                        None => tail.next(),
                        Some(table) => cursors[table].next().await?,
                    };
                }
            }
        }
        let table = writer.finish().await?;
        Ok(table.into_iter().chain(kept.iter().cloned()).collect())
    }

    async fn compact_documents(&mut self) -> Result<Vec<Table>, LedgerError> {
        let tables = &self.manifest.documents;
        if self.documents.is_empty() {
            return Ok(tables.clone());
        }
        let (merged, kept) = tables.split_at(merge_count(tables, self.documents.len() as u64));
        let covered = covered(merged, &self.covered);
        let store = &*self.shared.store;
        let mut writer =
            DocumentTableWriter::new(store, covered, &self.manifest.nonce, self.sizes.document_bytes);
        let mut states = States::new(&self.shared, self.documents.clone(), merged, None);
        while let Some(entry) = states.next_entry().await? {
            // What was forgotten has to be remembered only as long as an older table knows it.
            if entry.document.is_some() || !kept.is_empty() {
                writer.push(&entry).await?;
            }
        }
        let table = writer.finish().await?;
        Ok(table.into_iter().chain(kept.iter().cloned()).collect())
    }
}

/// How many of the newest tables are merged with `new` entries: those that are not much larger than what is merged already
/// (each entry is then rewritten a logarithmic number of times), and those beyond `TABLES_MAX`.
fn merge_count(tables: &[Table], new: u64) -> usize {
    let (mut count, mut merged) = (0, new);
    for table in tables {
        if table.entries > 2 * merged && tables.len() - count < TABLES_MAX {
            break;
        }
        merged += table.entries;
        count += 1;
    }
    count
}

fn covered(merged: &[Table], tail: &Range<u64>) -> Range<u64> {
    merged.last().map_or(tail.start, |oldest| oldest.covered.start)..tail.end
}

/// The tail's places in the order of their keys.
pub(super) fn sorted(replies: impl Iterator<Item = (ReplyKey, Place)>) -> Vec<(ReplyKey, Place)> {
    replies.collect::<BTreeMap<_, _>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_stay_few_and_entries_are_rewritten_rarely() {
        let (mut tables, mut written) = (Vec::<Table>::new(), 0);
        for round in 0..1_000 {
            let count = merge_count(&tables, 100);
            let entries = 100 + tables.drain(..count).map(|table| table.entries).sum::<u64>();
            written += entries;
            tables.insert(0, Table { covered: 0..round, entries, parts: Vec::new() });
            assert!(tables.len() <= TABLES_MAX, "{}", tables.len());
        }
        assert!(written < 100 * 1_000 * 12, "{written}");
    }
}
