//! The one table of failures: what each class means, whether it is tried again, after how long, and what comes then.
//!
//! Classes come from the HTTP status and the error's type, never from its text alone: "too many tokens, please wait"
//! is a throttle (429), "too many input tokens" a prompt that will never fit (400). A budget of retries bounds the whole
//! run, whatever the table says: retries that pile up make an outage worse (AWS Builders' Library, "Timeouts, retries
//! and backoff with jitter").

/// What a failed attempt was, whatever words the service used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// 429: a quota of the pool is used up for now.
    Throttled,
    /// 429 for the day: waiting a minute does not help, and asking again does not either.
    DayQuota,
    /// 429 that is no quota: the model is being loaded.
    NotReady,
    /// 408, or no answer in time: the model may have worked, and been billed, to no avail.
    Timeout,
    /// 5xx, 424: worth another try, nothing was billed.
    Transient,
    /// The connection broke after the request was sent, or the answer was no answer at all.
    Broken,
    /// No connection to the endpoint.
    Unreachable,
    /// 400: the prompt does not fit the model's window.
    TooLong,
    /// 400: this model will never take this request.
    Malformed,
    /// The model, or a filter before it, will not answer this prompt.
    Refused,
    /// A guardrail of the account stopped the prompt.
    Guardrail,
    /// 401, 403, 404: model access, permissions, an id that is none here. True for every call of the lane.
    Denied,
    /// 404: the model is gone.
    EndOfLife,
    /// 403: the credentials have run out; the edge asks for new ones before the next attempt.
    ExpiredCredentials,
}

impl FailureClass {
    /// The service may have produced, and billed, an answer that never arrived.
    pub fn may_be_billed(self) -> bool {
        matches!(self, FailureClass::Timeout | FailureClass::Broken)
    }

    /// When a call is given up for this, every other call of the run would fail alike: the run is stopped.
    pub fn is_fatal(self) -> bool {
        matches!(
            self,
            FailureClass::Denied
                | FailureClass::EndOfLife
                | FailureClass::DayQuota
                | FailureClass::Unreachable
                | FailureClass::ExpiredCredentials
        )
    }

    /// Not the call's fault but the service's: many in a row mean that it is down.
    pub(super) fn is_outage(self) -> bool {
        matches!(
            self,
            FailureClass::NotReady
                | FailureClass::Timeout
                | FailureClass::Transient
                | FailureClass::Broken
                | FailureClass::Unreachable
        )
    }
}

/// A failed attempt.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub class: FailureClass,
    /// For people: the error's type, the service's own words, the request id. No document text.
    pub message: String,
    /// The server's own wish, which beats our formula.
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// A request that can not be made or will never be taken.
    pub fn malformed(message: String) -> Self {
        Failure { class: FailureClass::Malformed, message, retry_after_ms: None }
    }
}

/// What the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The same call on the same lane, after a wait of its own.
    After(u64),
    /// The same call, when its pool lets it.
    WithPool,
    /// This call on the next lane of its stage.
    NextLane,
    /// Every call on the next lane: this one is no good for the rest of the run.
    CloseLane,
    /// Every call of the pool on the next lane, for some time.
    ParkPool,
    /// The chunk in pieces.
    Split,
    /// No call of the run can succeed.
    Stop,
}

/// The base of the back-off, doubled with each attempt.
pub const BACKOFF_MS: u64 = 500;
const WAIT_MS_MAX: u64 = 30_000;
/// Servers have been seen to ask for a day; a wish is granted up to five minutes.
pub(super) const RETRY_AFTER_MS_MAX: u64 = 300_000;
/// A throttle says nothing against the call, so it gets many attempts; not endless ones (a request can be larger than
/// all of a quota). With the pool's own waits these are some eight minutes.
const THROTTLES_MAX: u32 = 20;
/// An endpoint that was there before and is gone now comes back, mostly: some five minutes of attempts.
const OUTAGE_ATTEMPTS: u32 = 24;
/// A model is loaded within a minute or two.
const NOT_READY_ATTEMPTS: u32 = 8;

/// What was tried so far with a call, on its present lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried {
    /// Attempts that count against the limit.
    pub faults: u32,
    pub throttles: u32,
    /// Attempts with credentials that had run out.
    pub expired: u32,
}

impl Tried {
    pub(super) fn count(&mut self, class: FailureClass) {
        match class {
            FailureClass::Throttled => self.throttles += 1,
            FailureClass::ExpiredCredentials => self.expired += 1,
            _ => self.faults += 1,
        }
    }
}

/// The table, with its source of jitter and the budget of the run.
#[derive(Debug)]
pub(super) struct Retries {
    attempts_max: u32,
    backoff_ms: u64,
    /// The endpoint has answered before, so it is worth waiting for.
    is_known: bool,
    pub(super) rng: SplitMix,
    budget: RetryBudget,
}

/// Retries of the whole run.
#[derive(Clone, Copy, Debug)]
struct RetryBudget {
    stated: Option<u64>,
    calls: u64,
    used: u64,
}

impl RetryBudget {
    /// A small run may retry freely, a large one as often as every other call.
    fn max(self) -> u64 {
        self.stated.unwrap_or(100 + self.calls / 2)
    }
}

impl Retries {
    pub(super) fn new(attempts_max: u32, retries_max: Option<u64>, backoff_ms: u64, seed: u64) -> Self {
        let budget = RetryBudget { stated: retries_max, calls: 0, used: 0 };
        Retries {
            attempts_max: attempts_max.max(1),
            backoff_ms,
            is_known: false,
            rng: SplitMix(seed),
            budget,
        }
    }

    /// A call was queued.
    pub(super) fn pushed(&mut self) {
        self.budget.calls += 1;
    }

    /// The endpoint answered.
    pub(super) fn answered(&mut self) {
        self.is_known = true;
    }

    /// Takes a retry from the run's budget; if it is used up, says how large it was.
    pub(super) fn take(&mut self) -> Result<(), u64> {
        if self.budget.used >= self.budget.max() {
            return Err(self.budget.max());
        }
        self.budget.used += 1;
        Ok(())
    }

    /// What to do after the attempts in `tried`, this one counted. While the service `is_down` its pool sends one call
    /// at a time to see whether it is back, and that call is not to pay for it.
    pub(super) fn decide(&mut self, failure: &Failure, tried: Tried, is_down: bool) -> Step {
        let (max, base_ms) = match failure.class {
            FailureClass::Throttled if tried.throttles < THROTTLES_MAX => return Step::WithPool,
            FailureClass::Throttled => return Step::NextLane,
            FailureClass::NotReady => (self.attempts_max.max(NOT_READY_ATTEMPTS), 2 * self.backoff_ms),
            _ if is_down && self.is_known && failure.class.is_outage() => {
                (self.attempts_max.max(OUTAGE_ATTEMPTS), self.backoff_ms)
            }
            FailureClass::Unreachable if self.is_known => {
                (self.attempts_max.max(OUTAGE_ATTEMPTS), self.backoff_ms)
            }
            FailureClass::Timeout
            | FailureClass::Transient
            | FailureClass::Broken
            | FailureClass::Unreachable => (self.attempts_max, self.backoff_ms),
            FailureClass::ExpiredCredentials if tried.expired <= 1 => return Step::After(0),
            FailureClass::TooLong => return Step::Split,
            FailureClass::Malformed | FailureClass::Refused | FailureClass::Guardrail => {
                return Step::NextLane;
            }
            FailureClass::Denied | FailureClass::EndOfLife => return Step::CloseLane,
            FailureClass::ExpiredCredentials => return Step::Stop,
            FailureClass::DayQuota => return Step::ParkPool,
        };
        if tried.faults >= max {
            return Step::NextLane;
        }
        // Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        let ceiling_ms = (base_ms << tried.faults.min(16)).min(WAIT_MS_MAX);
        let jitter_ms = self.rng.below(ceiling_ms) + 1;
        // A wish for zero is no reason to hammer.
        let wish_ms = failure.retry_after_ms.unwrap_or_default().min(RETRY_AFTER_MS_MAX);
        Step::After(jitter_ms.max(wish_ms))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): jitter needs no more.
#[derive(Debug)]
pub(super) struct SplitMix(u64);

impl SplitMix {
    #[cfg(test)]
    pub(super) fn new(seed: u64) -> Self {
        SplitMix(seed)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}
