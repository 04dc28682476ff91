//! Puts the files of a result into the sink, and not over what another run has put there.
//!
//! A run that was taken for dead may wake up with a result in its hands. So a file is created where there was none and
//! replaced only if it is still the version that the ledger knows; when it is another one, the run first makes sure that
//! the ledger is still its own. What a person has changed or removed is then written over.

use bytes::Bytes;

use crate::ledger::{self, LedgerError};
use crate::sink;
use crate::store::{Conditional, Store, StoreError};

/// Why the files of a result were not written.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// Another version of a file is there than the ledger knows of. These are all files of the result.
    Changed(Vec<sink::Output>),
    Store(StoreError),
    Ledger(LedgerError),
}

/// Writes `outputs` in their order, over nothing but `known`.
pub(super) async fn write(
    store: &dyn Store,
    outputs: Vec<sink::Output>,
    known: &[ledger::Output],
) -> Result<Vec<ledger::Output>, Unwritten> {
    let mut written = Vec::new();
    for output in &outputs {
        let known = known.iter().find(|known| known.key == output.key);
        let done = match known {
            None => create(store, output).await,
            Some(ledger::Output { etag: None, .. }) => replace(store, output).await.map(Some),
            Some(ledger::Output { etag: Some(etag), .. }) => {
                let (key, body) = (&output.key, output.body.clone());
                match store.put_if_match(key, body, output.content_type, etag).await {
                    Ok(Conditional::Replaced(etag) | Conditional::Unconditional(etag)) => Ok(Some(etag)),
                    Ok(Conditional::Refused) => Ok(None),
                    Err(error) => Err(error),
                }
            }
        };
        match done.map_err(Unwritten::Store)? {
            Some(etag) => written.push(ledger::Output { key: output.key.clone(), etag }),
            None => return Err(Unwritten::Changed(outputs)),
        }
    }
    Ok(written)
}

/// Writes `outputs` whatever is there.
pub(super) async fn overwrite(
    store: &dyn Store,
    outputs: Vec<sink::Output>,
) -> Result<Vec<ledger::Output>, Unwritten> {
    let mut written = Vec::new();
    for output in outputs {
        let etag = replace(store, &output).await.map_err(Unwritten::Store)?;
        written.push(ledger::Output { key: output.key, etag });
    }
    Ok(written)
}

/// `None`: there is one already.
async fn create(store: &dyn Store, output: &sink::Output) -> Result<Option<Option<String>>, StoreError> {
    let body: Bytes = output.body.clone();
    let created = store.put_if_absent(&output.key, body, output.content_type).await?;
    if !created {
        return Ok(None);
    }
    // The tag costs a request; without it the next run replaces the file as it finds it.
    Ok(Some(None))
}

async fn replace(store: &dyn Store, output: &sink::Output) -> Result<Option<String>, StoreError> {
    store.put(&output.key, output.body.clone(), output.content_type).await
}
