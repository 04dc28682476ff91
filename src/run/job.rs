//! What a run is to do, complete and checked: the value that `plan` prints and `run` executes.

use std::fmt;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::prepare::{PrepareError, Prepared, prepare};
use super::with_causes;
use crate::chunk::Size;
use crate::domain::{ObjectMeta, Usd};
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
    /// The base of the waits between attempts, in milliseconds.
    pub backoff_ms: u64,
    /// For the jitter of retries.
    pub seed: u64,
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
            Ended::Refused(reason) => f.write_str(reason),
        }
    }
}

/// Prepares every document of `source` as a run would, and hands each plan, or why there is none, to `each`.
pub async fn plan(
    job: &Arc<Job>,
    mut source: Source,
    mut each: impl FnMut(ObjectMeta, Result<Prepared, String>),
) -> Result<u64, PrepareError> {
    /// Enough to keep the processors busy while objects travel.
    const AT_ONCE: usize = 8;
    let mut excluded = 0;
    loop {
        let page = source.next_page().await?;
        excluded += page.excluded;
        let documents = stream::iter(page.documents).map(|meta| {
            let job = job.clone();
            async move { (meta.clone(), prepare(job, meta).await) }
        });
        let mut plans = documents.buffered(AT_ONCE);
        while let Some((meta, result)) = plans.next().await {
            match result {
                Err(error) if error.is_fatal() => return Err(error),
                result => each(meta, result.map_err(|error| with_causes(&error))),
            }
        }
        if page.last {
            return Ok(excluded);
        }
    }
}
