//! The newest state of each document in key order, merged from the tail and the tables. Made for a walk beside a listing
//! that is sorted the same way: an unchanged document is known from the listing alone, and memory holds a block of each
//! table however many documents there are.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::documents::{DocumentCursor, Entry};
use super::manifest::Table;
use super::reader::Shared;
use super::tail::{Documents, Latest};
use super::{DocumentRecord, LedgerError};

/// A walk over the states as they were when it was made.
pub struct States {
    tail: Arc<Documents>,
    /// Newest first.
    tables: Vec<DocumentCursor>,
    /// The walk goes on after this key.
    after: Option<String>,
}

impl States {
    pub(super) fn new(
        shared: &Arc<Shared>,
        tail: Arc<Documents>,
        tables: &[Table],
        after: Option<&str>,
    ) -> States {
        let tables = tables.iter().map(|table| DocumentCursor::new(shared.clone(), table)).collect();
        States { tail, tables, after: after.map(str::to_owned) }
    }

    /// The state of the document `key`. From call to call keys may only grow; what lies between is passed over.
    pub async fn seek_to(&mut self, key: &str) -> Result<Option<DocumentRecord>, LedgerError> {
        self.after = Some(key.to_owned());
        if let Some(Latest { document, .. }) = self.tail.get(key) {
            return Ok(document.as_deref().cloned());
        }
        for table in &mut self.tables {
            if let Some(entry) = table.seek(key).await?.filter(|entry| entry.key() == key) {
                return Ok(entry.document.clone());
            }
        }
        Ok(None)
    }

    /// The state of the next document there is one of. Not to be mixed with `seek_to` on the same key.
    pub async fn next(&mut self) -> Result<Option<DocumentRecord>, LedgerError> {
        loop {
            match self.next_entry().await? {
                None => return Ok(None),
                Some(Entry { document: Some(document), .. }) => return Ok(Some(document)),
                Some(_) => {}
            }
        }
    }

    /// The states of all documents whose keys start with `prefix`.
    pub async fn all_below(mut self, prefix: &str) -> Result<BTreeMap<String, DocumentRecord>, LedgerError> {
        let mut found = BTreeMap::new();
        while let Some(document) = self.next().await?.filter(|document| document.key.starts_with(prefix)) {
            found.insert(document.key.clone(), document);
        }
        Ok(found)
    }

    /// The newest entry of the next key, which may be that it was forgotten.
    pub(super) async fn next_entry(&mut self) -> Result<Option<Entry>, LedgerError> {
        let after = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut smallest =
            self.tail.range::<str, _>((after, Bound::Unbounded)).next().map(|(key, _)| key.clone());
        for table in &mut self.tables {
            while let Some(entry) = table.peek().await? {
                match &self.after {
                    Some(after) if entry.key() < after.as_str() => {
                        table.seek(after).await?;
                    }
                    Some(after) if entry.key() == after => {
                        table.take().await?;
                    }
                    _ => {
                        if smallest.as_deref().is_none_or(|smallest| entry.key() < smallest) {
                            smallest = Some(entry.key().to_owned());
                        }
                        break;
                    }
                }
            }
        }
        let Some(key) = smallest else { return Ok(None) };
        let mut newest = self.tail.get(&key).map(|latest| entry(&key, latest));
        for table in &mut self.tables {
            if newest.is_none() && table.peek().await?.is_some_and(|entry| entry.key() == key) {
                newest = table.take().await?;
            }
        }
        self.after = Some(key);
        Ok(newest)
    }
}

fn entry(key: &str, latest: &Latest) -> Entry {
    let document = latest.document.as_deref().cloned();
    let forget = document.is_none().then(|| key.to_owned());
    Entry { segment: latest.segment, document, forget }
}
