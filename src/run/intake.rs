//! Which of the listed documents are to be done: the sorted listing is merged with the sorted states of the ledger, a page
//! at a time, so that a million unchanged objects cost their listing and nothing else.

use std::sync::Arc;

use super::document::Origin;
use super::{Job, Redo};
use crate::domain::{DocumentState, ObjectMeta};
use crate::ledger::{DocumentRecord, LedgerError, States};
use crate::source::Source;
use crate::store::StoreError;

/// The listing and the states, both on their way through the keys.
pub(super) struct Intake {
    source: Source,
    states: States,
    job: Arc<Job>,
    fingerprint: String,
}

/// A page of the listing, sorted by what is to be done.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub documents: Vec<Origin>,
    /// As they were when their result was written.
    pub unchanged: u64,
    /// Unchanged too, and failed too often: key, state and reason.
    pub given_up: Vec<(String, DocumentState, String)>,
    pub excluded: u64,
    pub last: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Intake {
    pub fn new(source: Source, job: Arc<Job>, states: States) -> Self {
        let fingerprint = job.state_fingerprint();
        Intake { source, states, job, fingerprint }
    }

    pub async fn next_page(&mut self) -> Result<Sorted, IntakeError> {
        let page = self.source.next_page().await?;
        let mut sorted = Sorted { excluded: page.excluded, last: page.last, ..Sorted::default() };
        for meta in page.documents {
            let state = self.states.seek_to(&meta.key).await?;
            match todo(&meta, state.as_ref(), &self.fingerprint, &self.job) {
                Todo::Do { failures } => {
                    let outputs = state.map(|state| state.outputs).unwrap_or_default();
                    sorted.documents.push(Origin { meta, failures, outputs, archive: None });
                }
                Todo::Unchanged => sorted.unchanged += 1,
                Todo::GivenUp { state, reason } => sorted.given_up.push((meta.key, state, reason)),
            }
        }
        Ok(sorted)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Todo {
    Do { failures: u32 },
    Unchanged,
    GivenUp { state: DocumentState, reason: String },
}

/// What is to be done with a document that has this state.
pub(super) fn todo(meta: &ObjectMeta, state: Option<&DocumentRecord>, fingerprint: &str, job: &Job) -> Todo {
    let Redo { retry_failed, .. } = job.redo;
    let Some(state) = state.filter(|_| !job.redo.buys_anew(&meta.key) && !job.redo.reopens(&meta.key)) else {
        return Todo::Do { failures: 0 };
    };
    // Without an entity tag nobody knows whether it is the same.
    let same_version = meta.etag.is_some() && meta.etag == state.etag && meta.size == state.size;
    // What was done is only looked at for what makes results; what failed may succeed under other limits as well.
    let results = |fingerprint: &str| fingerprint.split('-').next().map(str::to_owned);
    let is_same = match state.state {
        DocumentState::Done | DocumentState::Skipped => results(&state.fingerprint) == results(fingerprint),
        DocumentState::Failed | DocumentState::Partial => state.fingerprint == fingerprint,
    };
    if !same_version || !is_same {
        return Todo::Do { failures: 0 };
    }
    let runs = job.pipeline.limits().max_runs_per_document;
    match state.state {
        DocumentState::Done | DocumentState::Skipped => Todo::Unchanged,
        DocumentState::Failed | DocumentState::Partial if state.attempts < runs || retry_failed => {
            Todo::Do { failures: state.attempts }
        }
        DocumentState::Failed | DocumentState::Partial => {
            let name = if state.state == DocumentState::Failed { "failed" } else { "partial" };
            let why = state.reason.as_deref().unwrap_or("for no stated reason");
            let reason = format!(
                "{name} in {} runs and unchanged since (--retry-failed tries again): {why}",
                state.attempts
            );
            Todo::GivenUp { state: state.state, reason }
        }
    }
}
