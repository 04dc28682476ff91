//! Which call goes out when: priority, the in-flight window, the hard budget, and the one table of retries.
//!
//! Everything here is pure: time comes in as milliseconds since the run began, chance as a seed, and nothing sleeps or
//! sends. `run` asks [`Dispatcher::next`] what to do, does it, and reports what came of it to [`Dispatcher::finish`].
//!
//! * Merge calls outrank map calls and earlier documents outrank later ones: started documents are finished first.
//! * Before a call is sent its worst case is reserved from the budget; after, the true cost is booked. An attempt that
//!   broke off after it was sent may have been billed, so its reservation is kept for good.
//! * A throttle holds the whole pool back, not the one call, and halves the window; it grows again, one call per
//!   windowful of successes, only while it is really used (AIMD).
//! * The SDK's own retries are off: hidden attempts would be neither counted nor paid from the budget.

mod budget;
mod retry;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

pub use budget::Budget;
pub use retry::{BACKOFF_MS, Failure, FailureClass, Retries, Retry};

use crate::domain::{Call, CallId, Reply, Usage, Usd};

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
    index: u32,
}

impl Ticket {
    pub fn new(document: u64, call: CallId) -> Self {
        Ticket { level: Reverse(call.level), document, index: call.index }
    }

    pub fn call(self) -> CallId {
        CallId { level: self.level.0, index: self.index }
    }
}

/// A call that waits, without its text: prompts are rendered when they are sent, so a queue costs little memory.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    at_most: Usd,
    attempts: Attempts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    /// Attempts that count against the limit.
    faults: u32,
    /// Throttled attempts: nobody's fault, with a limit of their own.
    throttles: u32,
    /// Replies without text.
    empties: u32,
}

impl Attempts {
    fn total(self) -> u32 {
        self.faults + self.throttles + self.empties
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Send(Ticket),
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
    Reply {
        reply: Reply,
        cost: Usd,
        attempts: u32,
    },
    /// `usage` and `cost` are those of a reply that was paid for and is of no use.
    Retrying {
        wait_ms: u64,
        attempt: u32,
        reason: String,
        usage: Usage,
        cost: Usd,
        maybe_billed: Usd,
    },
    GaveUp {
        reason: String,
        attempts: u32,
        fatal: bool,
        maybe_billed: Usd,
    },
}

/// Limits, from the pipeline file.
#[derive(Clone, Debug)]
pub struct Settings {
    pub in_flight_max: usize,
    pub attempts_max: u32,
    pub cost_max: Option<Usd>,
    /// The base of the waits between attempts; [`BACKOFF_MS`] but in tests.
    pub backoff_ms: u64,
    pub seed: u64,
}

/// The queue, the window and the budget of one run.
#[derive(Debug)]
pub struct Dispatcher {
    queue: BTreeMap<Ticket, Waiting>,
    /// Calls that wait for their time to come again.
    delayed: BinaryHeap<Reverse<(u64, Ticket)>>,
    delayed_calls: BTreeMap<Ticket, Waiting>,
    in_flight: BTreeMap<Ticket, Waiting>,
    window: Window,
    held_until_ms: u64,
    budget: Budget,
    retries: Retries,
}

impl Dispatcher {
    pub fn new(settings: Settings) -> Self {
        Dispatcher {
            queue: BTreeMap::new(),
            delayed: BinaryHeap::new(),
            delayed_calls: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            window: Window::new(settings.in_flight_max.max(1)),
            held_until_ms: 0,
            budget: Budget::new(settings.cost_max),
            retries: Retries::new(settings.attempts_max, settings.backoff_ms, settings.seed),
        }
    }

    /// Queues a call that costs `at_most` in the worst case.
    pub fn push(&mut self, ticket: Ticket, at_most: Usd) {
        self.queue.insert(ticket, Waiting { at_most, attempts: Attempts::default() });
    }

    /// Calls that could be sent at once if the window were wide enough.
    pub fn queued(&self) -> usize {
        self.queue.len() + self.delayed_calls.len()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub fn window(&self) -> usize {
        self.window.size
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The next thing to do. `Send` reserves the call's worst case and counts it as in flight.
    pub fn next(&mut self, now_ms: u64) -> Next {
        self.wake(now_ms);
        if self.in_flight.len() >= self.window.size {
            return Next::Idle;
        }
        let Some((&ticket, &waiting)) = self.queue.first_key_value() else {
            return self.delayed.peek().map_or(Next::Idle, |Reverse((at, _))| Next::WaitUntil(*at));
        };
        if now_ms < self.held_until_ms {
            return Next::WaitUntil(self.held_until_ms);
        }
        if !self.budget.reserve(waiting.at_most) {
            if self.in_flight.is_empty() {
                return Next::BudgetExhausted { needed: waiting.at_most, left: self.budget.left() };
            }
            return Next::Idle;
        }
        self.queue.remove(&ticket);
        self.in_flight.insert(ticket, waiting);
        Next::Send(ticket)
    }

    fn wake(&mut self, now_ms: u64) {
        while let Some(&Reverse((at, ticket))) = self.delayed.peek()
            && at <= now_ms
        {
            self.delayed.pop();
            if let Some(waiting) = self.delayed_calls.remove(&ticket) {
                self.queue.insert(ticket, waiting);
            }
        }
    }

    /// Books what came of an attempt. `cost` is what the reply's usage comes to.
    pub fn finish(
        &mut self,
        ticket: Ticket,
        outcome: Result<(Reply, Usd), Failure>,
        now_ms: u64,
    ) -> Finished {
        let full = self.in_flight.len() >= self.window.size;
        let mut waiting =
            self.in_flight.remove(&ticket).expect("a call is in flight from `next` until `finish`");
        match outcome {
            Ok((reply, cost)) => {
                self.retries.answered();
                self.window.grow(full);
                self.budget.settle(waiting.at_most, cost);
                // Empty answers happen at random; the same call is worth one more try (LOTUS issue 255), never ten.
                if reply.text.trim().is_empty() && reply.stop.is_normal() && waiting.attempts.empties == 0 {
                    waiting.attempts.empties += 1;
                    self.delay(ticket, waiting, now_ms);
                    return Finished::Retrying {
                        wait_ms: 0,
                        attempt: waiting.attempts.total(),
                        reason: "the model answered without text".to_owned(),
                        usage: reply.usage,
                        cost,
                        maybe_billed: Usd::ZERO,
                    };
                }
                Finished::Reply { reply, cost, attempts: waiting.attempts.total() + 1 }
            }
            Err(failure) => self.failed(ticket, waiting, failure, now_ms),
        }
    }

    fn failed(&mut self, ticket: Ticket, mut waiting: Waiting, failure: Failure, now_ms: u64) -> Finished {
        let maybe_billed = if failure.class.may_be_billed() { waiting.at_most } else { Usd::ZERO };
        self.budget.settle(waiting.at_most, maybe_billed);
        let throttled = failure.class == FailureClass::Throttled;
        if throttled {
            waiting.attempts.throttles += 1;
            self.window.shrink(now_ms);
        } else {
            waiting.attempts.faults += 1;
        }
        let (faults, throttles) = (waiting.attempts.faults, waiting.attempts.throttles);
        match self.retries.decide(&failure, faults, throttles) {
            Retry::After(wait_ms) => {
                if throttled {
                    let wish_ms = failure.retry_after_ms.unwrap_or_default();
                    let hold_ms = wait_ms.min(wish_ms.max(HOLD_MS_MAX));
                    self.held_until_ms = self.held_until_ms.max(now_ms + hold_ms);
                }
                self.delay(ticket, waiting, now_ms + wait_ms);
                Finished::Retrying {
                    wait_ms,
                    attempt: waiting.attempts.total(),
                    reason: failure.to_string(),
                    usage: Usage::default(),
                    cost: Usd::ZERO,
                    maybe_billed,
                }
            }
            Retry::Never => Finished::GaveUp {
                reason: failure.to_string(),
                attempts: waiting.attempts.total(),
                fatal: failure.class.is_fatal(),
                maybe_billed,
            },
        }
    }

    fn delay(&mut self, ticket: Ticket, waiting: Waiting, until_ms: u64) {
        self.delayed.push(Reverse((until_ms, ticket)));
        self.delayed_calls.insert(ticket, waiting);
    }
}

/// A throttled call may wait long for its own sake; the others try again sooner, at half the window, unless the
/// server named a time.
const HOLD_MS_MAX: u64 = 5_000;

/// How many calls may be in flight: additive increase, multiplicative decrease.
#[derive(Debug)]
struct Window {
    size: usize,
    max: usize,
    successes: usize,
    shrunk_at_ms: Option<u64>,
}

/// Throttles that come in together are one signal: the window is halved once for all of them.
const SHRINK_PAUSE_MS: u64 = 1_000;

impl Window {
    fn new(max: usize) -> Self {
        Window { size: max, max, successes: 0, shrunk_at_ms: None }
    }

    /// Counts a success; only one that came while the window was full is evidence that a wider one would be used.
    fn grow(&mut self, full: bool) {
        self.successes += usize::from(full);
        if self.successes >= self.size && self.size < self.max {
            self.size += 1;
            self.successes = 0;
        }
    }

    fn shrink(&mut self, now_ms: u64) {
        if self.shrunk_at_ms.is_none_or(|at| now_ms >= at + SHRINK_PAUSE_MS) {
            self.size = (self.size / 2).max(1);
            self.successes = 0;
            self.shrunk_at_ms = Some(now_ms);
        }
    }
}

#[cfg(test)]
mod tests;
