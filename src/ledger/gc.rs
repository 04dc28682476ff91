//! Deletes what nobody can want any more: objects of tables that no manifest names, manifests but the newest few, and
//! segments that say nothing that still counts.
//!
//! A segment goes only if no answer in it can be recalled, no state in it is the newest of its document, nothing was forgotten
//! in it (an older segment might know the document), no manifest that is kept needs it as its tail, and it is older than
//! a week: a process that was stopped must find its next number taken whenever it wakes up.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::documents::DocumentCursor;
use super::manifest::{self, FIRST_SEGMENT, Manifest};
use super::replies::ReplyCursor;
use super::segment::{self, SEGMENT_BYTES_MAX};
use super::{Ledger, LedgerError, Record, names};
use crate::domain::ObjectMeta;
use crate::store::{Store, StoreError};

const SEGMENT_AGE_MIN: Duration = Duration::from_hours(7 * 24);
/// For the case that the newest is damaged.
const MANIFESTS_KEPT: usize = 3;
const AT_ONCE: usize = 16;

/// What can be deleted, or was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Numbers, in order.
    pub segments: Vec<u64>,
    /// Objects of tables.
    pub tables: u64,
    pub manifests: u64,
    pub bytes: u64,
}

impl Ledger {
    /// Deletes what can be deleted at `now` (Unix seconds); with `dry_run` only tells.
    pub async fn gc(&mut self, now: u64, dry_run: bool) -> Result<Garbage, LedgerError> {
        let store = self.shared.store.clone();
        let numbers = manifest::numbers(&*store).await?;
        let (old, kept) = numbers.split_at(numbers.len().saturating_sub(MANIFESTS_KEPT));
        let mut manifests = vec![self.manifest.clone()];
        for number in kept {
            manifests.extend(manifest::read(&*store, *number).await?);
        }
        let segments = self.useless_segments(&manifests, now).await?;
        let tables = unnamed_tables(&*store, &manifests).await?;
        let old: Vec<String> = old.iter().map(|number| names::manifest(*number)).collect();
        let bytes = segments.iter().chain(&tables).map(|object| object.size).sum();
        let garbage = Garbage {
            segments: segments.iter().filter_map(|o| names::number(names::LOG, &o.key)).collect(),
            tables: tables.len() as u64,
            manifests: old.len() as u64,
            bytes,
        };
        if dry_run || garbage == Garbage::default() {
            return Ok(garbage);
        }
        // First it is written down what will be missing on purpose. The manifest also stops a holder that was taken for
        // dead in its compaction, before it names tables that are about to go.
        let mut next = self.next_manifest(self.manifest.clone(), &self.tail);
        next.unanswered.clone_from(&self.manifest.unanswered);
        next.removed = with_removed(&next.removed, &garbage.segments);
        manifest::write(&*store, &mut next).await?;
        self.replace_manifest(next);
        let keys = segments.into_iter().chain(tables).map(|object| object.key).chain(old);
        let deleted = stream::iter(keys).map(Ok).try_for_each_concurrent(AT_ONCE, |key| {
            let store = &store;
            async move { store.delete(&key).await }
        });
        deleted.await.map_err(|source| LedgerError::Store { action: "delete from", source })?;
        Ok(garbage)
    }

    async fn useless_segments(
        &self,
        manifests: &[Manifest],
        now: u64,
    ) -> Result<Vec<ObjectMeta>, LedgerError> {
        let covered = manifests.iter().map(|manifest| manifest.first_segment).min().unwrap_or(FIRST_SEGMENT);
        let useful = self.useful_segments(manifests).await?;
        let objects = list(&*self.shared.store, names::LOG).await?;
        let candidates = objects.into_iter().filter(|object| {
            let number = names::number(names::LOG, &object.key);
            number.is_some_and(|number| number < covered && !useful.contains(&number))
        });
        let useless = stream::iter(candidates)
            .map(|object| async move { Ok(self.is_old_and_silent(&object, now).await?.then_some(object)) })
            .buffered(AT_ONCE);
        let useless: Vec<Option<ObjectMeta>> = useless.try_collect().await?;
        Ok(useless.into_iter().flatten().collect())
    }

    /// Segments that a table leads to.
    async fn useful_segments(&self, manifests: &[Manifest]) -> Result<BTreeSet<u64>, LedgerError> {
        let (mut useful, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut is_new =
            |table: &manifest::Table| table.parts.first().is_some_and(|p| seen.insert(p.key.clone()));
        for table in manifests.iter().flat_map(|m| &m.replies).filter(|table| is_new(table)) {
            let mut cursor = ReplyCursor::new(self.shared.clone(), table);
            while let Some((_, place)) = cursor.next().await? {
                useful.insert(place.segment);
            }
        }
        for table in manifests.iter().flat_map(|m| &m.documents).filter(|table| is_new(table)) {
            let mut cursor = DocumentCursor::new(self.shared.clone(), table);
            while let Some(entry) = cursor.take().await? {
                useful.insert(entry.segment);
            }
        }
        Ok(useful)
    }

    async fn is_old_and_silent(&self, object: &ObjectMeta, now: u64) -> Result<bool, LedgerError> {
        let error = |source| LedgerError::Store { action: "read the log of", source };
        let body = match self.shared.store.get(&object.key, None, SEGMENT_BYTES_MAX).await {
            Ok(object) => object.body,
            Err(StoreError::NotFound { .. } | StoreError::TooLarge { .. }) => return Ok(false),
            Err(source) => return Err(error(source)),
        };
        let Some(number) = names::number(names::LOG, &object.key) else { return Ok(false) };
        let mut forgets = false;
        let reading = segment::read(number, &body, |record, _, _| {
            forgets |= matches!(record, Record::Forget { .. });
        })?;
        // What is damaged stays, for whoever wants to look into it.
        let written = reading.header.filter(|_| reading.loss.is_none()).map(|header| header.written);
        let is_old = written.is_some_and(|written| now.saturating_sub(written) > SEGMENT_AGE_MIN.as_secs());
        Ok(is_old && !forgets)
    }
}

async fn unnamed_tables(store: &dyn Store, manifests: &[Manifest]) -> Result<Vec<ObjectMeta>, LedgerError> {
    let parts = manifests.iter().flat_map(Manifest::tables).flat_map(|table| &table.parts);
    let named: BTreeSet<&str> = parts.flat_map(|part| [part.key.as_str(), part.index.as_str()]).collect();
    let mut objects = list(store, names::TABLES).await?;
    objects.retain(|object| !named.contains(object.key.as_str()));
    Ok(objects)
}

async fn list(store: &dyn Store, prefix: &str) -> Result<Vec<ObjectMeta>, LedgerError> {
    let (mut objects, mut after) = (Vec::new(), None);
    loop {
        let page = store.list_after(prefix, after.as_deref()).await;
        let page = page.map_err(|source| LedgerError::Store { action: "list", source })?;
        objects.extend(page.objects);
        if page.next.is_none() {
            return Ok(objects);
        }
        after = page.next;
    }
}

/// Ranges in order, as few as possible.
fn with_removed(ranges: &[std::ops::Range<u64>], numbers: &[u64]) -> Vec<std::ops::Range<u64>> {
    let mut all: Vec<_> = ranges.iter().cloned().chain(numbers.iter().map(|n| *n..*n + 1)).collect();
    all.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<std::ops::Range<u64>> = Vec::new();
    for range in all {
        match merged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_numbers_are_kept_as_few_ranges() {
        assert_eq!(with_removed(&[1..4, 8..9], &[4, 5, 7, 20]), [1..6, 7..9, 20..21]);
        assert_eq!(with_removed(&[1..4, 9..10], &[2, 3]), [1..4, 9..10]);
    }
}
