//! Manifests: which tables stand for which part of the log. Each is complete by itself and never changed; the newest one
//! that can be read counts. Tables are derived from the log: a manifest that is lost costs time, not answers.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{FORMAT, Holder, Intent, LedgerError, TEXT, holder, line, names};
use crate::store::{Store, StoreError};

const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// The first segment of a log.
pub const FIRST_SEGMENT: u64 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub docmill_ledger: u32,
    pub number: u64,
    /// Of the holder that wrote it.
    pub claim: u64,
    pub nonce: String,
    /// The first segment that the tables do not cover.
    pub first_segment: u64,
    /// Covered segments that were removed on purpose, as ranges without their ends, in order.
    pub removed: Vec<Range<u64>>,
    /// Newest first, as the replies.
    pub documents: Vec<Table>,
    pub replies: Vec<Table>,
    /// Intents without an answer in the covered part, of runs that did not close.
    pub unanswered: Vec<Intent>,
}

/// A sorted table of what a range of segments says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub covered: Range<u64>,
    pub entries: u64,
    /// In the order of their keys, which do not overlap.
    pub parts: Vec<Part>,
}

/// A data object of a table and the object with its index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub key: String,
    pub bytes: u64,
    pub entries: u64,
    /// The first and the last key in it.
    pub first: String,
    pub last: String,
    pub index: String,
    pub index_bytes: u64,
    /// CRC-32 of the whole index, which holds those of the data's blocks.
    pub index_crc: u32,
}

impl Default for Manifest {
    fn default() -> Self {
        Manifest {
            docmill_ledger: FORMAT,
            number: 0,
            claim: 0,
            nonce: String::new(),
            first_segment: FIRST_SEGMENT,
            removed: Vec::new(),
            documents: Vec::new(),
            replies: Vec::new(),
            unanswered: Vec::new(),
        }
    }
}

impl Manifest {
    /// The tables, of either kind.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.documents.iter().chain(&self.replies)
    }

    /// How many of the `count` segments before `number` were removed on purpose.
    pub fn removed_before(&self, number: u64, count: u64) -> u64 {
        let overlap = |range: &Range<u64>| {
            range.end.min(number).saturating_sub(range.start.max(number.saturating_sub(count)))
        };
        self.removed.iter().map(overlap).sum()
    }
}

/// The numbers of all manifests, in order.
pub async fn numbers(store: &dyn Store) -> Result<Vec<u64>, LedgerError> {
    let (mut numbers, mut after) = (Vec::new(), None);
    loop {
        let page = store.list_after(names::MANIFESTS, after.as_deref()).await.map_err(failed)?;
        numbers.extend(page.objects.iter().filter_map(|o| names::number(names::MANIFESTS, &o.key)));
        if page.next.is_none() {
            return Ok(numbers);
        }
        after = page.next;
    }
}

/// The newest manifest that can be read, or an empty one; what was passed over is added to `losses`. Also the highest
/// number in use.
pub async fn newest(store: &dyn Store, losses: &mut Vec<String>) -> Result<(Manifest, u64), LedgerError> {
    let numbers = numbers(store).await?;
    let highest = numbers.last().copied().unwrap_or(0);
    for number in numbers.into_iter().rev() {
        match read(store, number).await? {
            Some(manifest) => return Ok((manifest, highest)),
            None => losses.push(format!("{} is damaged; an older one was used", names::manifest(number))),
        }
    }
    Ok((Manifest::default(), highest))
}

/// A manifest, unless it is missing or damaged.
pub async fn read(store: &dyn Store, number: u64) -> Result<Option<Manifest>, LedgerError> {
    let key = names::manifest(number);
    let body = match store.get(&key, None, MANIFEST_BYTES_MAX).await {
        Ok(object) => object.body,
        Err(StoreError::NotFound { .. } | StoreError::TooLarge { .. }) => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    #[derive(Deserialize)]
    struct Version {
        docmill_ledger: u32,
    }
    let Some(json) = body.strip_suffix(b"\n").and_then(line::json) else { return Ok(None) };
    if let Ok(Version { docmill_ledger: version }) = serde_json::from_slice(json)
        && version > FORMAT
    {
        return Err(LedgerError::TooNew { what: key, version });
    }
    Ok(serde_json::from_slice(json).ok().filter(|manifest: &Manifest| manifest.number == number))
}

fn failed(source: StoreError) -> LedgerError {
    LedgerError::Store { action: "read the manifest of", source }
}

/// Writes `manifest` under the next number that is free, which it gets. A zombie may have taken one for a manifest that
/// is as true as ours; only one of a later holder stops us.
pub async fn write(store: &dyn Store, manifest: &mut Manifest) -> Result<(), LedgerError> {
    let error = |source| LedgerError::Store { action: "write the manifest of", source };
    loop {
        let mut body = Vec::new();
        line::push(&mut body, manifest);
        let key = names::manifest(manifest.number);
        if store.put_if_absent(&key, body.into(), TEXT).await.map_err(error)? {
            return Ok(());
        }
        match read(store, manifest.number).await? {
            // Our own, whose acknowledgement was lost.
            Some(there) if there == *manifest => return Ok(()),
            Some(there) if there.claim > manifest.claim => {
                let holder = holder::read(store).await?.holder.filter(|holder| holder.claim == there.claim);
                let by = holder.unwrap_or_else(|| Holder::unknown(there.claim));
                return Err(LedgerError::Fenced { by: Box::new(by) });
            }
            _ => manifest.number += 1,
        }
    }
}
