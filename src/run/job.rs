//! What a run is to do, complete and checked: the value that `plan` prints and `run` executes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::archive::{hand_out, member_meta};
use super::intake::{Intake, IntakeError};
use super::prepare::{ArchiveObject, PrepareError, Prepared, Ready, prepare, prepare_member};
use super::with_causes;
use crate::catalog::{Model, Quota};
use crate::chunk::Size;
use crate::dispatch::Source as QuotaSource;
use crate::domain::{ObjectMeta, Usd};
use crate::isolate::Workers;
use crate::ledger::States;
use crate::pipeline::Pipeline;
use crate::plan::Routes;
use crate::source::Source;
use crate::store::Store;

/// A pipeline with its models chosen and its stores opened.
pub struct Job {
    pub pipeline: Pipeline,
    pub routes: Routes,
    pub size: Size,
    pub source: Arc<dyn Store>,
    pub sink: Arc<dyn Store>,
    /// The source's place below the sink, if it lies there: no result may be written into it.
    pub source_in_sink: Option<String>,
    /// Plain text of more bytes is read as a stream, chunk by chunk.
    pub stream_above_bytes: u64,
    /// The base of the waits between attempts, in milliseconds.
    pub backoff_ms: u64,
    /// For the jitter of retries.
    pub seed: u64,
    /// What is known of the quotas of the models, by the id they are called with; the rest is learned.
    pub quotas: BTreeMap<String, (Quota, QuotaSource)>,
    pub redo: Redo,
    /// Who reads documents.
    pub workers: Workers,
    /// Tried on documents that are encrypted.
    pub passwords: Vec<String>,
    /// What time it is, in seconds since 1970: for the ledger's holder, which other machines look at.
    pub now: fn() -> u64,
}

/// What is done although the ledger says that it need not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redo {
    /// Everything is done and bought anew.
    pub fresh: bool,
    /// Documents that failed too often are tried once more.
    pub retry_failed: bool,
    /// These documents are done and their answers bought anew.
    pub forget: BTreeSet<String>,
}

impl Redo {
    /// Whether the answers for this document are bought whatever the ledger holds.
    pub fn buys_anew(&self, key: &str) -> bool {
        self.fresh || self.forget.contains(key)
    }

    /// Whether a member of this archive, or what is in it, is done anew.
    pub fn reopens(&self, key: &str) -> bool {
        let below = format!("{key}!/");
        self.forget.range(below.clone()..).next().is_some_and(|forgotten| forgotten.starts_with(&below))
    }
}

impl Job {
    /// What the ledger remembers a document's state under: what makes its result, and after a dash what else may make a
    /// failed one succeed.
    pub fn state_fingerprint(&self) -> String {
        let limits = self.pipeline.limits();
        let fallback: Vec<&str> =
            self.pipeline.route().fallback.iter().map(|model| model.id.as_str()).collect();
        let results = json!([self.pipeline.fingerprint(), self.pipeline.sink().formats]);
        let chances = json!([fallback, limits.cut_answers, limits.max_cost_per_document]);
        let hash = |value: Value| hex::encode(&Sha256::digest(value.to_string())[..16]);
        format!("{}-{}", hash(results), hash(chances))
    }

    /// Every model that may be called, by the id it is called with.
    pub fn models(&self) -> BTreeMap<String, Model> {
        self.routes.all().iter().map(|route| (route.id.clone(), route.model.clone())).collect()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("pipeline", &self.pipeline.name()).finish_non_exhaustive()
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every document is in a final state.
    Complete,
    Budget {
        needed: Usd,
        left: Usd,
    },
    Deadline,
    Interrupted,
    /// Another run has taken the sink over.
    Fenced(String),
    /// The outside world refused: credentials, access, a bucket or an endpoint that is gone.
    Refused(String),
}

impl Ended {
    pub fn name(&self) -> &'static str {
        match self {
            Ended::Complete => "complete",
            Ended::Budget { .. } => "budget",
            Ended::Deadline => "deadline",
            Ended::Interrupted => "interrupted",
            Ended::Fenced(_) => "fenced",
            Ended::Refused(_) => "refused",
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Complete => f.write_str("every document is in a final state"),
            Ended::Budget { needed, left } => {
                write!(f, "the next call may cost ${needed:.6} and ${left:.6} is left of limits.max_cost_usd")
            }
            Ended::Deadline => f.write_str("limits.deadline has passed"),
            Ended::Interrupted => f.write_str("interrupted"),
            Ended::Fenced(by) => write!(f, "another run has taken the sink over: {by}"),
            Ended::Refused(reason) => f.write_str(reason),
        }
    }
}

/// What a plan passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    pub excluded: u64,
    /// As they were when their result was written.
    pub unchanged: u64,
    /// Unchanged too, and failed too often.
    pub given_up: u64,
}

/// Prepares every document of `source` that a run would do, and hands each plan, or why there is none, to `each`.
pub async fn plan(
    job: &Arc<Job>,
    source: Source,
    states: States,
    mut each: impl FnMut(ObjectMeta, Result<Prepared, String>),
) -> Result<PassedOver, PlanFault> {
    /// Enough to keep the processors busy while objects travel.
    const AT_ONCE: usize = 8;
    let mut intake = Intake::new(source, job.clone(), states);
    let mut passed = PassedOver::default();
    loop {
        let page = intake.next_page().await?;
        passed.excluded += page.excluded;
        passed.unchanged += page.unchanged;
        passed.given_up += page.given_up.len() as u64;
        let documents = stream::iter(page.documents).map(|origin| {
            let (job, meta) = (job.clone(), origin.meta);
            async move { (meta.clone(), prepare(job, meta).await) }
        });
        let mut plans = documents.buffered(AT_ONCE);
        while let Some((meta, result)) = plans.next().await {
            match result {
                Err(error) if error.is_fatal() => return Err(error.into()),
                Ok(Ready::Document(prepared)) => each(meta, Ok(*prepared)),
                Ok(Ready::Archive(archive)) => plan_archive(job, archive, &mut each).await?,
                Err(error) => each(meta, Err(with_causes(&error))),
            }
        }
        if page.last {
            return Ok(passed);
        }
    }
}

async fn plan_archive(
    job: &Arc<Job>,
    archive: ArchiveObject,
    each: &mut impl FnMut(ObjectMeta, Result<Prepared, String>),
) -> Result<(), PlanFault> {
    let listed = archive.meta.clone();
    let (mut unpacked, work) = hand_out(archive);
    let members = async {
        while let Some(member) = unpacked.recv().await {
            let member = match member {
                Ok(member) => member,
                Err(error) => {
                    each(listed.clone(), Err(error.to_string()));
                    continue;
                }
            };
            let meta = member_meta(&listed.key, &member);
            if job.pipeline.source().excludes(&meta.key) {
                continue;
            }
            let prepared = match member.bytes {
                Ok(bytes) => prepare_member(job.clone(), meta.clone(), bytes).await,
                Err(error) => Err(PrepareError::Read(error.into())),
            };
            match prepared {
                Err(error) if error.is_fatal() => return Err(error.into()),
                Ok(Ready::Document(prepared)) => each(meta, Ok(*prepared)),
                // Archives within archives were opened on the way here.
                Ok(Ready::Archive(_)) => {}
                Err(error) => each(meta, Err(with_causes(&error))),
            }
        }
        Ok(())
    };
    let (planned, ()) = tokio::join!(members, work);
    planned
}

/// Why the source could not be planned to its end.
#[derive(Debug, thiserror::Error)]
pub enum PlanFault {
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
}
