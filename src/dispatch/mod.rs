//! Which call goes out when, on which model, and what becomes of it: quota pools, priority, retries, fallbacks, money.
//!
//! Everything here is pure: time comes in as milliseconds since the run began, chance as a seed, and nothing sleeps or
//! sends. `run` asks [`Dispatcher::next`] what to do, does it, and reports what came of it to [`Dispatcher::finish`].
//!
//! * A **lane** is a model that draws on a quota **pool**. Each call has a list of lanes, its own or that of its stage: the
//!   first is used, the others take over what it can not or will not answer, and all its calls while its pool is parked.
//! * Merge calls outrank map calls and earlier documents outrank later ones: started documents are finished first. Each
//!   lane has its own queue, so a slow, held or parked pool never blocks another one; within a pool a large call is
//!   not overtaken by small ones for ever.
//! * Pools keep Bedrock's own accounts of a quota, learn what nobody told them, and share with other clients (`pool`).
//! * Before a call is sent its worst case is reserved from the budget; after, the true cost is booked. An attempt that
//!   broke off after it was sent may have been billed, so its reservation is kept for good.
//! * One table says what each failure leads to (`retry`). The SDK's own retries are off: hidden attempts would be
//!   neither counted nor paid from the budget. A call that failed for a reason of its own is never sent again alike.
//! * Nothing is sent twice at a time to be sooner done (hedging): it would be paid twice.

mod budget;
mod dispatcher;
mod hold;
mod learn;
mod ledger;
mod meter;
mod outcome;
mod pool;
mod queue;
mod rate;
mod retry;
mod window;

use std::cmp::Reverse;

pub use budget::Budget;
pub use dispatcher::Dispatcher;
pub use pool::PoolStatistics;
pub use retry::{BACKOFF_MS, Failure, FailureClass};

pub use crate::catalog::Quota;
use crate::domain::{Call, CallId, Reply, Usage, Usd};
use crate::plan::Route;

/// A model behind an endpoint. One attempt, no retries: those are decided here.
#[async_trait::async_trait]
pub trait Model: Send + Sync {
    async fn converse(&self, call: &Call) -> Result<Reply, Failure>;
}

/// What orders the queue: deeper merges first, then earlier documents, then earlier calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    level: Reverse<u32>,
    /// The document's number in this run.
    pub document: u64,
    call: CallId,
}

impl Ticket {
    pub fn new(document: u64, call: CallId) -> Self {
        Ticket { level: Reverse(call.level), document, call }
    }

    pub fn call(self) -> CallId {
        self.call
    }

    /// No call of the document at this level comes before it.
    fn first_of(level: u32, document: u64) -> Self {
        Ticket { level: Reverse(level), document, call: CallId { level: 0, index: 0, piece: 0 } }
    }
}

/// A place in [`Settings::pools`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub usize);

/// A place in [`Settings::lanes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub usize);

/// Where a quota comes from, which decides how far it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The user: a pipeline file or the command line. Never exceeded.
    Stated,
    /// The service itself (Service Quotas). Never exceeded.
    Asked,
    /// The default of the service for accounts in general: where to start; may turn out higher or lower.
    Assumed,
    /// Nobody: learned.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// For messages and reports.
    pub name: String,
    pub quota: Quota,
    pub source: Source,
}

/// A model under a pool.
#[derive(Clone, Debug)]
pub struct Lane {
    pub route: Route,
    pub pool: PoolId,
}

/// Limits, from the pipeline file.
#[derive(Clone, Debug)]
pub struct Settings {
    pub pools: Vec<PoolSettings>,
    pub lanes: Vec<Lane>,
    /// The lanes of the map stage: the first is used, the others are fallbacks in this order.
    pub map: Vec<LaneId>,
    pub merge: Vec<LaneId>,
    /// For calls that name a lane to go to first: who is asked, that lane included, by lane and for the map and the merge
    /// stage. There is one for each lane that is named so.
    pub chains: Vec<[Vec<LaneId>; 2]>,
    /// Over all pools.
    pub in_flight_max: usize,
    /// Of a call on one lane.
    pub attempts_max: u32,
    /// Retries of the whole run; `None`: 100 and one for every other call.
    pub retries_max: Option<u64>,
    pub cost_max: Option<Usd>,
    pub document_cost_max: Option<Usd>,
    /// Of a known quota left unused, for jitter on the way and for small clients beside us.
    pub headroom_percent: u32,
    /// An answer that was cut at `max_tokens` is asked for once more with twice the cap.
    pub escalate: bool,
    /// The base of the waits between attempts; [`BACKOFF_MS`] but in tests.
    pub backoff_ms: u64,
    pub seed: u64,
}

/// What a call needs, whichever lane it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub prompt_bytes: u64,
    /// Of these, what the service is asked to keep, which may cost more than reading it.
    pub cached_bytes: u64,
    /// In the public encoding of the lane that it goes to first.
    pub counted_tokens: u64,
    /// `None`: the first lane of its stage.
    pub first: Option<LaneId>,
    /// Nobody takes over from the first: the others have been asked before.
    pub is_alone: bool,
    /// The pipeline's ceiling.
    pub max_tokens: u32,
    /// An earlier run has bought the cut answer already.
    pub is_escalated: bool,
}

/// A call to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    pub ticket: Ticket,
    pub lane: LaneId,
    pub max_tokens: u32,
    /// From 1, over all lanes.
    pub attempt: u32,
}

/// What to do now.
#[derive(Debug)]
pub enum Next {
    Send(Sending),
    /// The call can not be sent at all (a quota of zero, no lane left, the cap of its document reached): this is what
    /// became of it, always [`Finished::GaveUp`].
    GaveUp(Ticket, Finished),
    /// Nothing can be sent before this time (ms) or before something finishes.
    WaitUntil(u64),
    /// Nothing can be sent before something finishes or is pushed.
    Idle,
    /// The next call does not fit what is left of the budget, and nothing in flight can free any.
    BudgetExhausted {
        needed: Usd,
        left: Usd,
    },
}

/// What came of an attempt, for the one who waits for the call.
#[derive(Debug)]
pub enum Finished {
    /// The answer, whatever its stop reason: nothing better can be had.
    Reply { reply: Reply, lane: LaneId, cost: Usd, attempts: u32 },
    /// The call is queued again, perhaps on another lane. `usage` and `cost` are those of a reply that was paid for and
    /// is of no use, `maybe_billed` the worst case of an attempt that broke off.
    Retrying {
        wait_ms: u64,
        attempt: u32,
        reason: String,
        /// Of the attempt that is over.
        lane: LaneId,
        usage: Usage,
        cost: Usd,
        maybe_billed: Usd,
    },
    /// The prompt does not fit the model's window; pieces of it are new calls.
    TooLong { reason: String, lane: LaneId, attempts: u32 },
    /// `usage` and `cost` as in `Retrying`. Fatal: every other call of the stage would fail alike.
    GaveUp {
        reason: String,
        attempts: u32,
        fatal: bool,
        lane: LaneId,
        usage: Usage,
        cost: Usd,
        maybe_billed: Usd,
    },
}

#[cfg(test)]
mod tests;
