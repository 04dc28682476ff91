//! One document from the store to its plan: fetch, extract, count, cut.

use std::sync::Arc;

use super::Job;
use crate::cpu;
use crate::domain::{Event, ObjectMeta, Text};
use crate::extract::Options;
use crate::isolate::ReadError;
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
    #[error("its result would lie among docmill's own state; rename it or exclude `_docmill/**`")]
    Reserved,
    #[error("its result would be written into the source; choose another sink")]
    ResultInSource,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Panicked(#[from] cpu::Panicked),
}

impl PrepareError {
    /// True for every document: the run, or the plan, can not go on. One object may be closed to us while the others
    /// are open.
    pub fn is_fatal(&self) -> bool {
        match self {
            PrepareError::Store(StoreError::Denied { .. }) => false,
            PrepareError::Store(error) => error.is_fatal(),
            PrepareError::Read(error) => error.is_fatal(),
            _ => false,
        }
    }
}

impl Prepared {
    /// The plan as an event: what a run shows and what `plan` adds up.
    pub fn planned(&self, key: &str) -> Event {
        let (plan, estimate) = (&self.plan, &self.plan.estimate);
        Event::DocumentPlanned {
            key: key.to_owned(),
            tokens: plan.tokens,
            chunks: plan.chunks.len() as u64,
            calls: estimate.calls,
            levels: u64::from(plan.shape.depth()),
            expected: estimate.expected,
            at_most: estimate.at_most,
            expected_input_tokens: estimate.input_tokens,
            expected_output_tokens: estimate.output_tokens,
            warnings: self.text.warnings.clone(),
        }
    }
}

/// Fetches `listed` and plans it, unless its result could not be written anyway.
pub async fn prepare(job: Arc<Job>, listed: ObjectMeta) -> Result<Prepared, PrepareError> {
    if listed.key.starts_with("_docmill/") {
        return Err(PrepareError::Reserved);
    }
    if job.source_in_sink.as_deref().is_some_and(|inside| listed.key.starts_with(inside)) {
        return Err(PrepareError::ResultInSource);
    }
    let object = fetch(&*job.source, &listed, job.pipeline.source().max_object_bytes).await?;
    let Object { meta, body } = object;
    let key = listed.key;
    let declared = job.pipeline.source().format_of(&key);
    let options = Options { declared, ..Options::default() };
    let text = Arc::new(job.workers.extract(body, &key, &options).await?);
    let read = text.clone();
    let work = move || DocumentPlan::new(&job.pipeline, &job.routes, &job.size, &read);
    let plan = cpu::run(work).await??;
    Ok(Prepared { meta, text, plan: Arc::new(plan) })
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
