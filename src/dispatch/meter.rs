//! One quota of a pool: what was taken from it in the last minute, and the pace at which more may be taken.
//!
//! The ledger assumes the strictest of the ways in which the service may count a minute. Where it alone holds calls back
//! and nothing is throttled, the service must be more generous, and the limit is relaxed in small steps; a throttle
//! takes the last steps back, and the next trial waits twice as long.

use super::ledger::Ledger;

/// What was not used is kept for so long: enough to make good a short hold, too little to send a heap at once.
const BURST_MS: f64 = 2_000.0;
const SLACK_STEP: f64 = 0.05;
const SLACK_STEP_MS: u64 = 2_000;
const SLACK_MAX: f64 = 4.0;
const SLACK_CALM_MS: u64 = 30_000;
const SLACK_CALM_MS_MAX: u64 = 600_000;

/// One quota: its ledger and its pace.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) ledger: Ledger,
    /// What may be taken at once; below zero it is a debt.
    pub(super) level: f64,
    pub(super) at_ms: u64,
}

/// How far beyond a known quota a minute's sum may go.
#[derive(Clone, Debug)]
pub(super) struct Slack {
    factor: f64,
    /// When the next step may be tried; not known before the limit was reached once.
    next_ms: Option<u64>,
    calm_ms: u64,
}

impl Meter {
    pub(super) fn new() -> Self {
        Meter { ledger: Ledger::new(), level: 0.0, at_ms: 0 }
    }

    pub(super) fn advance(&mut self, now_ms: u64, per_minute: Option<f64>, is_held: bool) {
        self.ledger.advance(now_ms);
        let passed_ms = now_ms.saturating_sub(self.at_ms) as f64;
        self.at_ms = self.at_ms.max(now_ms);
        let Some(per_minute) = per_minute else {
            self.level = 0.0;
            return;
        };
        let per_ms = per_minute / 60_000.0;
        let most = if is_held { 0.0 } else { per_ms * BURST_MS };
        self.level = (self.level + per_ms * passed_ms).min(most);
    }

    /// `None`: now. A call may be sent as soon as the debt of those before it is paid, however large it is.
    pub(super) fn ready_ms(&self, now_ms: u64, per_minute: Option<f64>) -> Option<u64> {
        let per_ms = per_minute? / 60_000.0;
        (self.level < 0.0)
            .then(|| now_ms + ((-self.level / per_ms.max(1e-9)).ceil() as u64).clamp(1, 3_600_000))
    }

    pub(super) fn take(&mut self, now_ms: u64, reserve: u64, expect: u64) -> u64 {
        self.level -= expect as f64;
        self.ledger.take(now_ms, reserve)
    }
}

impl Slack {
    pub(super) fn new() -> Self {
        Slack { factor: 1.0, next_ms: None, calm_ms: SLACK_CALM_MS }
    }

    /// When `amount` fits; called when all else would let the call go. `in_vain` is set aside but will be given back: if
    /// that is little, nothing can be gained.
    pub(super) fn fits_at_ms(
        &mut self,
        now_ms: u64,
        ledger: &Ledger,
        amount: u64,
        limit: u64,
        in_vain: u64,
    ) -> u64 {
        let at_ms = ledger.fits_at_ms(now_ms, amount, (limit as f64 * self.factor) as u64);
        if at_ms <= now_ms || amount > limit || in_vain < limit / 20 || self.factor >= SLACK_MAX {
            return at_ms;
        }
        let next_ms = *self.next_ms.get_or_insert(now_ms + self.calm_ms);
        if now_ms < next_ms {
            return at_ms.min(next_ms);
        }
        self.factor += SLACK_STEP;
        self.next_ms = Some(now_ms + SLACK_STEP_MS);
        ledger.fits_at_ms(now_ms, amount, (limit as f64 * self.factor) as u64)
    }

    /// Takes the last steps back after a throttle; false if there were none.
    pub(super) fn tighten(&mut self, now_ms: u64) -> bool {
        let was_relaxed = self.factor > 1.0;
        if was_relaxed {
            self.factor = (self.factor - 2.0 * SLACK_STEP).max(1.0);
            self.calm_ms = (2 * self.calm_ms).min(SLACK_CALM_MS_MAX);
        }
        self.next_ms = Some(now_ms + self.calm_ms);
        was_relaxed
    }
}
