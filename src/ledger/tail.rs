//! The tail: what the segments say that no table covers yet. Held in memory, as long as it is between two compactions.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::manifest::Manifest;
use super::reader::{Index, Place};
use super::segment::{self, Note, Reading, SEGMENT_BYTES_MAX};
use super::{DocumentRecord, Holder, Intent, LedgerError, Record, ReplyKey, names};
use crate::store::{Store, StoreError};

/// Segments that are fetched at once.
const FETCHED_AT_ONCE: usize = 16;

/// The newest states of documents, by key; `None` for those that were forgotten.
pub(super) type Documents = BTreeMap<String, Latest>;

#[derive(Clone, Debug)]
pub(super) struct Latest {
    pub segment: u64,
    pub document: Option<Arc<DocumentRecord>>,
}

/// All but the replies, which readers share.
#[derive(Debug)]
pub(super) struct Tail {
    /// Shared with the cursors that were made from it.
    pub documents: Arc<Documents>,
    /// Intents without an answer, of runs that did not close.
    pub unanswered: BTreeMap<ReplyKey, Intent>,
    /// Who claimed the log last, if the claim lies in the tail.
    pub holder: Option<Box<Holder>>,
    /// The first segment in it.
    pub first: u64,
    /// The number after the last one.
    pub next: u64,
}

impl Tail {
    pub fn after(manifest: &Manifest) -> Tail {
        Tail {
            documents: Arc::default(),
            unanswered: manifest.unanswered.iter().map(|intent| (intent.key, intent.clone())).collect(),
            holder: None,
            first: manifest.first_segment,
            next: manifest.first_segment,
        }
    }

    pub fn apply(&mut self, index: &mut Index, segment: u64, note: Note) {
        match note {
            Note::Reply { key, offset, bytes } => {
                index.tail.insert(key, Place { segment, offset, bytes });
                self.unanswered.remove(&key);
            }
            Note::Document(document) => {
                let latest = Latest { segment, document: Some(document.clone()) };
                Arc::make_mut(&mut self.documents).insert(document.key.clone(), latest);
            }
            Note::Forget(key) => {
                Arc::make_mut(&mut self.documents).insert(key, Latest { segment, document: None });
            }
            Note::Intent(intent) => {
                self.unanswered.insert(intent.key, intent);
            }
            Note::Claim(holder) => self.holder = Some(holder),
            Note::Closed => {
                // A run that closed has accounted for its calls, and for those it found unanswered.
                self.unanswered.clear();
                if let Some(holder) = &mut self.holder {
                    holder.ended = Some(holder.seen);
                }
            }
            Note::Progress => {}
        }
    }

    /// Takes in what was appended to the log since; `losses` gets what could not be read.
    pub async fn catch_up(
        &mut self,
        store: &dyn Store,
        index: &mut Index,
        losses: &mut Vec<String>,
    ) -> Result<(), LedgerError> {
        let pick = |record, offset, bytes| Some(Note::of(record, offset, bytes));
        scan(store, self.next..u64::MAX, &pick, |number, found| {
            losses.extend(found.losses(number, 0));
            if found.reading.is_believed {
                self.next = number + 1;
            }
            found.picked.into_iter().for_each(|note| self.apply(index, number, note));
        })
        .await
    }
}

/// A segment as `scan` found it.
pub(super) struct Found<T> {
    pub picked: Vec<T>,
    pub reading: Reading,
    /// How many numbers between the segment before and this one have no object.
    pub missing_before: u64,
}

impl<T> Found<T> {
    /// What is wrong with it and before it, for people, but for `removed` segments that are missing on purpose.
    pub fn losses(&self, number: u64, removed: u64) -> impl Iterator<Item = String> + use<T> {
        let name = names::segment(number);
        let missing = self.missing_before.saturating_sub(removed);
        let missing = (missing > 0).then(|| format!("{missing} segments are missing before {name}"));
        let loss = self.reading.loss.as_ref().map(|loss| format!("{name} {loss}"));
        missing.into_iter().chain(loss)
    }
}

/// What to keep of a record, whose line lies at an offset and has a length.
pub(super) type Pick<'a, T> = &'a (dyn Fn(Record, usize, usize) -> Option<T> + Sync);

/// Reads what `pick` takes of the records of the segments with these numbers, in order.
pub(super) async fn scan<T>(
    store: &dyn Store,
    numbers: Range<u64>,
    pick: Pick<'_, T>,
    mut each: impl FnMut(u64, Found<T>),
) -> Result<(), LedgerError> {
    let first = names::segment(numbers.start);
    let (mut after, mut next) = (names::before(&first).to_owned(), numbers.start);
    loop {
        let page = store.list_after(names::LOG, Some(&after)).await.map_err(failed)?;
        let listed = page.objects.iter().filter_map(|object| names::number(names::LOG, &object.key));
        let listed: Vec<u64> = listed.collect();
        let is_last = listed.last().is_some_and(|last| *last >= numbers.end - 1);
        let fetched = stream::iter(listed.into_iter().filter(|number| numbers.contains(number)))
            .map(|number| async move { Ok((number, fetch(store, number).await?)) })
            .buffered(FETCHED_AT_ONCE);
        fetched
            .try_for_each(|(number, body)| {
                let result = parse(number, body, pick).map(|(picked, reading)| {
                    // An object that is no segment neither opens a gap nor fills one, except under its own number.
                    let is_believed = reading.is_believed;
                    let missing_before = if is_believed { number - next } else { 0 };
                    next = if is_believed || number == next { number + 1 } else { next };
                    each(number, Found { picked, reading, missing_before });
                });
                std::future::ready(result)
            })
            .await?;
        match page.next {
            Some(key) if !is_last => after = key,
            _ => return Ok(()),
        }
    }
}

fn parse<T>(number: u64, body: Option<Vec<u8>>, pick: Pick<'_, T>) -> Result<(Vec<T>, Reading), LedgerError> {
    let mut picked = Vec::new();
    let reading = match body {
        Some(body) => segment::read(number, &body, |record, offset, bytes| {
            picked.extend(pick(record, offset, bytes));
        })?,
        None => {
            Reading { loss: Some("is gone or too large to be a segment".to_owned()), ..Reading::default() }
        }
    };
    Ok((picked, reading))
}

async fn fetch(store: &dyn Store, number: u64) -> Result<Option<Vec<u8>>, LedgerError> {
    match store.get(&names::segment(number), None, SEGMENT_BYTES_MAX).await {
        Ok(object) => Ok(Some(object.body)),
        Err(StoreError::NotFound { .. } | StoreError::TooLarge { .. }) => Ok(None),
        Err(source) => Err(failed(source)),
    }
}

fn failed(source: StoreError) -> LedgerError {
    LedgerError::Store { action: "read the log of", source }
}
