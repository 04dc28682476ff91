//! The one table of failures: what each class means, whether it is tried again, and after how long.
//!
//! Classes come from the HTTP status and the error's type, never from its text alone: "too many tokens, please wait"
//! is a throttle (429), "too many input tokens" a prompt that will never fit (400).

/// What a failed attempt was, whatever words the service used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// 429: a quota of the pool is used up for now.
    Throttled,
    /// 408, or no answer in time: the model may have worked, and been billed, to no avail.
    Timeout,
    /// 5xx, 424: worth another try, nothing was billed.
    Transient,
    /// The connection broke after the request was sent, or the answer was no answer at all.
    Broken,
    /// 400: the prompt does not fit the model's window.
    TooLong,
    /// 400: the service will never take this request.
    Malformed,
    /// 401, 403, 404: credentials, model access, a dead model. True for every call of the run.
    Denied,
    /// 429 for the day: waiting a minute does not help, and asking again does not either.
    DayQuota,
    /// No connection to the endpoint.
    Unreachable,
}

impl FailureClass {
    /// The service may have produced, and billed, an answer that never arrived.
    pub fn may_be_billed(self) -> bool {
        matches!(self, FailureClass::Timeout | FailureClass::Broken)
    }

    /// When a call is given up for this, every other call of the run would fail alike: the run is stopped.
    pub fn is_fatal(self) -> bool {
        matches!(self, FailureClass::Denied | FailureClass::DayQuota | FailureClass::Unreachable)
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
pub enum Retry {
    After(u64),
    Never,
}

/// The base of the back-off, doubled with each attempt: half a second for faults, a second for throttles.
pub const BACKOFF_MS: u64 = 500;
const WAIT_MS_MAX: u64 = 30_000;
const RETRY_AFTER_MS_MAX: u64 = 300_000;
/// A throttle says nothing against the call, so it gets many attempts; not endless ones (a quota of zero exists).
const THROTTLES_MAX: u32 = 40;

/// An endpoint that was there before and is gone now comes back, mostly: some five minutes of attempts.
const OUTAGE_ATTEMPTS: u32 = 24;

/// The table, with its source of jitter.
#[derive(Debug)]
pub struct Retries {
    attempts_max: u32,
    backoff_ms: u64,
    /// The endpoint has answered before, so it is worth waiting for.
    is_known: bool,
    rng: SplitMix,
}

impl Retries {
    pub fn new(attempts_max: u32, backoff_ms: u64, seed: u64) -> Self {
        Retries { attempts_max: attempts_max.max(1), backoff_ms, is_known: false, rng: SplitMix(seed) }
    }

    /// The endpoint answered.
    pub fn answered(&mut self) {
        self.is_known = true;
    }

    /// What to do after `faults` failed attempts and `throttles` throttled ones, this one counted.
    pub fn decide(&mut self, failure: &Failure, faults: u32, throttles: u32) -> Retry {
        let (base_ms, attempt, max) = match failure.class {
            FailureClass::Throttled => (2 * self.backoff_ms, throttles, THROTTLES_MAX),
            FailureClass::Unreachable if self.is_known => {
                (self.backoff_ms, faults, self.attempts_max.max(OUTAGE_ATTEMPTS))
            }
            FailureClass::Transient
            | FailureClass::Timeout
            | FailureClass::Broken
            | FailureClass::Unreachable => (self.backoff_ms, faults, self.attempts_max),
            FailureClass::TooLong
            | FailureClass::Malformed
            | FailureClass::Denied
            | FailureClass::DayQuota => return Retry::Never,
        };
        if attempt >= max {
            return Retry::Never;
        }
        // Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        let ceiling_ms = (base_ms << attempt.min(16)).min(WAIT_MS_MAX);
        let jitter_ms = self.rng.below(ceiling_ms) + 1;
        // A wish for zero is no reason to hammer.
        let wish_ms = failure.retry_after_ms.unwrap_or_default().min(RETRY_AFTER_MS_MAX);
        Retry::After(jitter_ms.max(wish_ms))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): jitter needs no more.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}
