//! When a whole pool waits: after a throttle, during an outage, because the service asked for it.
//!
//! One refusal holds every call of the pool back, as all of them would be refused; so no call uses its attempts up for
//! a reason that is not its own. After a wait a single call goes first, and the others follow when no refusal has come
//! in the time that refusals take: answers take far too long to wait for one.

use super::retry::{RETRY_AFTER_MS_MAX, SplitMix};

/// How long a refusal takes, before one was seen.
const REFUSAL_MS: u64 = 100;
const HOLD_MS: u64 = 1_000;
const HOLD_MS_MAX: u64 = 30_000;
/// So many attempts in a row that were refused, a hold before each: some twenty minutes without any quota at all.
const STRIKES_MAX: u32 = 40;
/// So many failures in a row that are not the calls' fault: the service is down.
const OUTAGE_FAILURES: u32 = 5;
/// Down for so long and so many failures that the run had better go on elsewhere, or end and be resumed.
const OVER_FAILURES: u32 = 16;
const OVER_MS: u64 = 900_000;
/// The same for a service that has not answered once: it is a wrong address sooner than an outage.
const OVER_UNKNOWN_MS: u64 = 60_000;
const HOLD_UNKNOWN_MS_MAX: u64 = 5_000;

/// What a throttle leads to, or trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Throttle {
    Held {
        wait_ms: u64,
    },
    /// Nothing was let in for a long time: there is no point in waiting.
    Over,
}

impl Throttle {
    pub(super) fn wait_ms(self) -> u64 {
        match self {
            Throttle::Held { wait_ms } => wait_ms,
            Throttle::Over => 0,
        }
    }
}

/// Waits of the whole pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold {
    pub(super) until_ms: u64,
    /// When it was put on. What was sent before is old news.
    pub(super) since_ms: Option<u64>,
    /// Holds in a row after which the first call was refused again.
    pub(super) strikes: u32,
    /// The next call is a trial: the others wait until a refusal would have come.
    pub(super) is_on_trial: bool,
    pub(super) trial_sent_ms: Option<u64>,
    /// How long a refusal takes to come.
    pub(super) refusal_ms: u64,
    /// Which of the last 64 calls failed for the service's own reasons, as bits, the newest the lowest.
    pub(super) failures: u64,
    pub(super) newest_failure: u64,
    /// When the first of them did.
    pub(super) trouble_ms: u64,
    /// The service has answered before.
    pub(super) is_known: bool,
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Of a call that was sent before the pool was held back: old news.
    Old,
    New,
    /// Of the first call after a wait.
    OfTrial,
    /// The last of so many in a row.
    Over,
}

impl Hold {
    pub(super) fn new() -> Self {
        Hold { refusal_ms: REFUSAL_MS, ..Hold::default() }
    }

    /// As after a wait.
    pub(super) fn on_trial() -> Self {
        Hold { is_on_trial: true, ..Hold::new() }
    }

    /// A call that was sent at `sent_ms` was refused.
    pub(super) fn refused(&mut self, now_ms: u64, sent_ms: u64) -> Refusal {
        self.refusal_ms = (3 * self.refusal_ms + (now_ms - sent_ms)) / 4;
        if self.since_ms.is_some_and(|since_ms| sent_ms <= since_ms) {
            return Refusal::Old;
        }
        let is_trial = self.trial_sent_ms == Some(sent_ms);
        self.strikes = if is_trial { self.strikes + 1 } else { 0 };
        match is_trial {
            _ if self.strikes >= STRIKES_MAX => Refusal::Over,
            true => Refusal::OfTrial,
            false => Refusal::New,
        }
    }

    pub(super) fn sent(&mut self, now_ms: u64) {
        self.failures <<= 1;
        if self.is_outage() {
            self.until_ms = self.until_ms.max(now_ms + self.outage_wait_ms());
        } else if self.is_on_trial {
            self.is_on_trial = false;
            self.trial_sent_ms = Some(now_ms);
            // No news by then is good news: an answer takes many seconds, a refusal few milliseconds.
            self.until_ms = now_ms + (2 * self.refusal_ms + 20).clamp(50, 2_000);
        }
    }

    /// Answers to calls from before a trouble began do not say that it is over.
    pub(super) fn answered(&mut self, number: u64, sent_ms: u64) {
        self.is_known = true;
        if number > self.newest_failure {
            if self.is_outage() {
                self.until_ms = 0;
            }
            self.failures = 0;
        }
        if self.since_ms.is_none_or(|since_ms| sent_ms > since_ms) {
            self.strikes = 0;
        }
    }

    pub(super) fn failed(&mut self, now_ms: u64, number: u64, newest: u64) {
        if self.failures == 0 {
            self.trouble_ms = now_ms;
        }
        let place = newest - number;
        if place < 64 {
            self.failures |= 1 << place;
        }
        self.newest_failure = self.newest_failure.max(number);
    }

    /// Holds the pool back, the longer the more often it was refused; half of it at random, so that clients that were
    /// throttled together do not come back together.
    pub(super) fn put(&mut self, now_ms: u64, least_ms: u64, rng: &mut SplitMix) -> u64 {
        let hold_ms = (HOLD_MS.max(least_ms) << self.strikes.min(10)).min(HOLD_MS_MAX);
        let hold_ms = hold_ms * 3 / 4 + rng.below(hold_ms / 2) + 1;
        self.until_ms = self.until_ms.max(now_ms + hold_ms);
        self.since_ms = Some(now_ms);
        self.is_on_trial = true;
        self.trial_sent_ms = None;
        self.until_ms - now_ms
    }

    pub(super) fn wish(&mut self, now_ms: u64, retry_after_ms: Option<u64>) {
        if let Some(wish_ms) = retry_after_ms {
            self.until_ms = self.until_ms.max(now_ms + wish_ms.min(RETRY_AFTER_MS_MAX));
        }
    }

    /// How many calls in a row failed, those left out of which nothing was heard yet since the newest failure.
    pub(super) fn failures_in_row(&self) -> u32 {
        self.failures.checked_shr(self.failures.trailing_zeros()).unwrap_or_default().trailing_ones()
    }

    /// Down for so long that there is no point in waiting.
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        self.failures_in_row() >= OVER_FAILURES
            && now_ms >= self.trouble_ms + if self.is_known { OVER_MS } else { OVER_UNKNOWN_MS }
    }

    pub(super) fn is_outage(&self) -> bool {
        self.failures_in_row() >= OUTAGE_FAILURES
    }

    pub(super) fn outage_wait_ms(&self) -> u64 {
        let max_ms = if self.is_known { HOLD_MS_MAX } else { HOLD_UNKNOWN_MS_MAX };
        (HOLD_MS << (self.failures_in_row().saturating_sub(OUTAGE_FAILURES)).min(10)).min(max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_call_after_a_wait_goes_alone_and_waits_double_while_it_is_refused() {
        let (mut hold, mut rng) = (Hold::new(), SplitMix::new(1));
        assert_eq!(hold.refused(100, 0), Refusal::New);
        let mut now_ms = 100 + hold.put(100, 0, &mut rng);
        assert_eq!(hold.refused(150, 90), Refusal::Old, "sent before the wait");
        let mut waits = Vec::new();
        for _ in 0..4 {
            hold.sent(now_ms);
            assert!(hold.until_ms > now_ms, "the others wait for news of the first");
            assert_eq!(hold.refused(now_ms + 50, now_ms), Refusal::OfTrial);
            let wait_ms = hold.put(now_ms + 50, 0, &mut rng);
            waits.push(wait_ms);
            now_ms += 50 + wait_ms;
        }
        for (at, wait_ms) in waits.iter().enumerate() {
            let middle_ms = HOLD_MS << (at + 1);
            assert!((middle_ms * 3 / 4..=middle_ms * 5 / 4).contains(wait_ms), "{waits:?}");
        }
        hold.sent(now_ms);
        assert_eq!(hold.refused(now_ms + 900, now_ms + 800), Refusal::New, "the first one got through");
    }

    #[test]
    fn an_outage_is_many_failures_in_a_row_whatever_comes_in_late() {
        let mut hold = Hold::new();
        for number in 1..=10 {
            hold.sent(number);
        }
        for number in [6, 8, 7, 9] {
            hold.failed(20, number, 10);
        }
        // An answer to a call from before the trouble.
        hold.answered(5, 5);
        assert!(!hold.is_outage());
        hold.failed(30, 10, 10);
        assert!(hold.is_outage() && !hold.is_over(30 + OVER_MS), "five are an outage, not the end");
        hold.sent(40);
        hold.answered(11, 40);
        assert!(!hold.is_outage());
        for number in 12..=40 {
            hold.sent(number);
            if number % 3 > 0 {
                hold.failed(number, number, number);
            }
        }
        assert!(!hold.is_outage(), "two of three fail, but never five in a row");
    }
}
