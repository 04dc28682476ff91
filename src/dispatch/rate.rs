//! How much of a quota is used: all that is allowed where the quota is known, what turns out to be there where not.
//!
//! Additive increase, multiplicative decrease (Chiu and Jain 1989: the one such rule under which clients that share a
//! limit end up with equal shares), with what later years added to it: growth only on evidence that the limit was
//! reached (Vector's adaptive concurrency), a quick return near the rate that was last good (CUBIC, RFC 9438), and a
//! slow start where nothing is known. One thing is particular to quotas by the minute: when one is used up, what was
//! accepted during the last minute tells how large it is, which ends a slow start in a single step.

/// A factor on the pool's quota (1 is all of it), or tokens a minute where there is no quota to be a part of.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    value: f64,
    /// Not to be outgrown; infinite where the quota was only guessed.
    ceiling: f64,
    /// A usual quota, in the same unit.
    usual: f64,
    /// Where growth gets cautious: between the rate at the last cut and the one after it.
    plateau: f64,
    is_slow_start: bool,
    cut_at_ms: Option<u64>,
    grown_at_ms: u64,
}

/// The least that a cut leaves of a rate that doubled every few seconds.
const CUT_TO_MIN_SLOW_START: f64 = 0.02;
/// Of what was accepted in the last minute.
const ACCEPTED_SHARE: f64 = 0.9;
/// A slow start grows by a factor of e in this time.
const SLOW_START_MS: f64 = 4_000.0;
/// Tokens a minute.
const USUAL_QUOTA: f64 = 1e6;
/// Most of the way back to the plateau takes this time.
const RETURN_MS: f64 = 30_000.0;
/// Beyond the plateau: the part of the quota that a cut takes comes back in this time, and in no fewer calls than that.
const PROBE_MS: f64 = 40_000.0;
const PROBE_CALLS: f64 = 50.0;
const PROBE_SHARE: f64 = 0.15;
/// Without a throttle for so long although the limit is reached all the time, the quota must have grown.
const CALM_MS: u64 = 240_000;
const CALM_GROWTH_MS: f64 = 120_000.0;

impl Rate {
    /// Of a quota that is known: all of it, never more.
    pub(super) fn known() -> Self {
        Rate::starting(1.0, 1.0, 1.0, false)
    }

    /// Of a quota that is a default of the service: all of it, perhaps more.
    pub(super) fn assumed() -> Self {
        Rate::starting(1.0, f64::INFINITY, 1.0, false)
    }

    /// Without any quota to go by.
    pub(super) fn unknown(tokens_per_minute: f64) -> Self {
        Rate::starting(tokens_per_minute, f64::INFINITY, USUAL_QUOTA, true)
    }

    fn starting(value: f64, ceiling: f64, usual: f64, is_slow_start: bool) -> Self {
        Rate { value, ceiling, usual, plateau: value, is_slow_start, cut_at_ms: None, grown_at_ms: 0 }
    }

    pub(super) fn value(&self) -> f64 {
        self.value
    }

    pub(super) fn is_slow_start(&self) -> bool {
        self.is_slow_start
    }

    /// The limit was hit; `accepted` of it was granted during the last minute, if the pool was in use for as long.
    pub(super) fn cut(&mut self, now_ms: u64, accepted: Option<f64>) {
        let before = self.value;
        let step = before * (1.0 - self.cut_share());
        self.value = match accepted {
            Some(accepted) if self.is_slow_start => {
                (ACCEPTED_SHARE * accepted).clamp(CUT_TO_MIN_SLOW_START * before, step)
            }
            Some(accepted) if accepted < before / 2.0 => (before / 2.0).min(step),
            _ => step,
        };
        let returns = !self.is_slow_start && self.ceiling.is_infinite();
        self.plateau = if returns { f64::midpoint(before, self.value) } else { self.value };
        self.is_slow_start = false;
        self.cut_at_ms = Some(now_ms);
        self.grown_at_ms = now_ms;
    }

    /// The steps of a search for more, by the millisecond. Of a known quota all clients take equal ones, which makes
    /// their shares equal; without one, the smaller client's are at least larger for its size.
    fn probe(&self, calls_per_minute: u64) -> f64 {
        let calls_ms = PROBE_CALLS / (calls_per_minute.max(1) as f64) * 60_000.0;
        if self.ceiling.is_finite() {
            return PROBE_SHARE * self.ceiling / PROBE_MS.max(calls_ms);
        }
        let scale = (self.value * self.usual).sqrt();
        PROBE_SHARE * (scale / PROBE_MS).min(self.value / calls_ms) / 2.0
    }

    /// Of a known quota, who uses more of it gives up more: shares get equal the sooner.
    fn cut_share(&self) -> f64 {
        if self.ceiling.is_finite() { (0.3 * self.value * self.value).clamp(0.02, 0.15) } else { 0.1 }
    }

    /// Time passes; `is_reached` if the rate was what held calls back.
    pub(super) fn grow(&mut self, now_ms: u64, is_reached: bool, calls_per_minute: u64) {
        // After a pause of the whole machine no more than after a short one.
        let passed_ms = now_ms.saturating_sub(self.grown_at_ms).min(5_000) as f64;
        self.grown_at_ms = self.grown_at_ms.max(now_ms);
        if !is_reached || self.value >= self.ceiling {
            return;
        }
        let calm_ms = now_ms - self.cut_at_ms.unwrap_or_default();
        let step = if self.is_slow_start {
            self.value / SLOW_START_MS
        } else if self.ceiling.is_infinite() && calm_ms > CALM_MS {
            self.value / CALM_GROWTH_MS
        } else {
            self.probe(calls_per_minute) + (self.plateau - self.value).max(0.0) / RETURN_MS
        };
        self.value = (self.value + step * passed_ms).min(self.ceiling);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_start_ends_in_one_step_at_what_a_minute_granted() {
        let mut rate = Rate::unknown(100_000.0);
        (1..=20).for_each(|at| rate.grow(at * 1_000, true, 100));
        assert!(rate.value() > 5_000_000.0, "{}", rate.value());
        rate.cut(40_000, Some(1_000_000.0));
        assert_eq!(rate.value(), 900_000.0);
        rate.cut(60_000, Some(1_000_000.0));
        assert_eq!(rate.value(), 810_000.0, "from then on in steps");
    }

    #[test]
    fn growth_needs_a_limit_that_was_reached_and_stops_at_a_known_quota() {
        let mut rate = Rate::known();
        rate.cut(0, None);
        assert_eq!(rate.value(), 0.85);
        (1..=60).for_each(|at| rate.grow(at * 1_000, false, 250));
        assert_eq!(rate.value(), 0.85);
        (61..=200).for_each(|at| rate.grow(at * 1_000, true, 250));
        assert_eq!(rate.value(), 1.0);
        let mut rate = Rate::assumed();
        (1..=600).for_each(|at| rate.grow(at * 1_000, true, 250));
        assert!(rate.value() > 4.0, "a default is outgrown: {}", rate.value());
    }

    #[test]
    fn of_a_known_quota_the_larger_share_shrinks_and_the_smaller_grows() {
        let (mut large, mut small) = (Rate::known(), Rate::known());
        (0..12).for_each(|_| small.cut(0, None));
        let gap = large.value() - small.value();
        for at in 1..=100 {
            for rate in [&mut large, &mut small] {
                (0..30).for_each(|s| rate.grow(at * 30_000 + s * 1_000, true, 100));
                rate.cut(at * 30_000 + 29_000, None);
            }
        }
        assert!(large.value() - small.value() < gap / 10.0, "{} {}", large.value(), small.value());
    }
}
