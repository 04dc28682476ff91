//! One document from the store to its plan: fetch, extract, count, cut.

use std::sync::Arc;

use super::Job;
use crate::cpu;
use crate::domain::{ObjectMeta, Text};
use crate::extract;
use crate::plan::{DocumentPlan, PlanError};
use crate::store::{Object, Store, StoreError};

/// How often an object that changes between listing and reading is looked up anew.
const CHANGES_MAX: u32 = 3;

/// A document that is ready for its calls.
#[derive(Debug)]
pub struct Prepared {
    /// As it was read, which may be newer than the listing.
    pub meta: ObjectMeta,
    pub text: Arc<Text>,
    pub plan: Arc<DocumentPlan>,
}

/// Why a document could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Extract(#[from] extract::ExtractError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Panicked(#[from] cpu::Panicked),
}

/// Fetches `listed` and plans it.
pub async fn prepare(job: Arc<Job>, listed: ObjectMeta) -> Result<Prepared, PrepareError> {
    let object = fetch(&*job.source, &listed, job.pipeline.source().max_object_bytes).await?;
    let Object { meta, body } = object;
    let key = listed.key;
    let work = move || -> Result<(Text, DocumentPlan), PrepareError> {
        let declared = job.pipeline.source().format_of(&key);
        let text = extract::extract(body, &key, declared, &extract::Limits::default())?;
        let plan = DocumentPlan::new(&job.pipeline, &job.routes, &job.size, &text)?;
        Ok((text, plan))
    };
    let (text, plan) = cpu::run(work).await??;
    Ok(Prepared { meta, text: Arc::new(text), plan: Arc::new(plan) })
}

/// Reads one version of the object, whole. If it changed since it was listed, the newer version is read.
async fn fetch(store: &dyn Store, listed: &ObjectMeta, max_bytes: u64) -> Result<Object, StoreError> {
    let mut etag = listed.etag.clone();
    let mut changes = 0;
    loop {
        match store.get(&listed.key, etag.as_deref(), max_bytes).await {
            Err(StoreError::Changed { .. }) if changes < CHANGES_MAX => {
                changes += 1;
                etag = store.head(&listed.key).await?.etag;
            }
            result => return result,
        }
    }
}
