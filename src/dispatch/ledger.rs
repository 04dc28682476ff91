//! What was taken from a quota in the last minute, second by second.
//!
//! The service does not say how a minute's quota comes back: evenly, at each full minute, or after sixty seconds. Who
//! never takes more than the quota in any sixty seconds keeps to all three, so that is what is counted. Slots of whole
//! seconds make the window between sixty and sixty-one seconds long, which also forgives a little jitter on the way.

const SLOTS: usize = 61;

/// Amounts by the second in which they were taken.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    slots: [u64; SLOTS],
    sum: u64,
    /// The newest second that has a slot.
    second: u64,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Ledger { slots: [0; SLOTS], sum: 0, second: 0 }
    }

    /// Forgets what is older than a minute. Time never runs backwards here: the dispatcher sees to it.
    pub(super) fn advance(&mut self, now_ms: u64) {
        let second = now_ms / 1_000;
        let steps = second.saturating_sub(self.second).min(SLOTS as u64);
        for step in 0..steps {
            let slot = &mut self.slots[((second - step) % SLOTS as u64) as usize];
            self.sum -= *slot;
            *slot = 0;
        }
        self.second = self.second.max(second);
    }

    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    /// Takes `amount` and says in which second.
    pub(super) fn take(&mut self, now_ms: u64, amount: u64) -> u64 {
        self.advance(now_ms);
        self.slots[(self.second % SLOTS as u64) as usize] += amount;
        self.sum += amount;
        self.second
    }

    /// Corrects what was taken in `second`. Of what is older than a minute only the excess matters, and it counts now.
    pub(super) fn correct(&mut self, now_ms: u64, second: u64, before: u64, after: u64) {
        self.advance(now_ms);
        if self.second - second < SLOTS as u64 {
            let slot = &mut self.slots[(second % SLOTS as u64) as usize];
            *slot = *slot - before + after;
            self.sum = self.sum - before + after;
        } else if after > before {
            self.take(now_ms, after - before);
        }
    }

    /// When `amount` fits under `limit`, if nothing more is taken meanwhile. What is larger than the limit fits when
    /// nothing else was taken: nothing is refused for ever.
    pub(super) fn fits_at_ms(&self, now_ms: u64, amount: u64, limit: u64) -> u64 {
        let room = limit - amount.min(limit);
        let mut sum = self.sum;
        let oldest = (self.second + 1).saturating_sub(SLOTS as u64);
        for second in oldest..=self.second {
            if sum <= room {
                // The slot of `second - 1` is the last that had to go.
                return if second == oldest { now_ms } else { (second - 1 + SLOTS as u64) * 1_000 };
            }
            sum -= self.slots[(second % SLOTS as u64) as usize];
        }
        (self.second + SLOTS as u64) * 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sixty_seconds_hold_more_than_the_limit() {
        let mut ledger = Ledger::new();
        let mut taken: Vec<(u64, u64)> = Vec::new();
        let mut now_ms = 300;
        for at in 0..2_000u64 {
            let amount = 1 + at * 7919 % 400;
            ledger.advance(now_ms);
            let ready_ms = ledger.fits_at_ms(now_ms, amount, 1_000);
            if ready_ms > now_ms {
                ledger.advance(ready_ms - 1);
                assert!(ledger.sum() + amount > 1_000, "it had to wait no longer than needed");
            }
            now_ms = ready_ms;
            ledger.take(now_ms, amount);
            taken.push((now_ms, amount));
            let sum: u64 =
                taken.iter().rev().take_while(|(at, _)| at + 60_000 > now_ms).map(|(_, amount)| amount).sum();
            assert!(sum <= 1_000, "{sum} at {now_ms}");
        }
    }

    #[test]
    fn corrections_reach_the_second_they_belong_to() {
        let mut ledger = Ledger::new();
        let second = ledger.take(1_500, 900);
        ledger.correct(30_000, second, 900, 100);
        assert_eq!(ledger.sum(), 100);
        ledger.correct(70_000, second, 100, 50);
        assert_eq!(ledger.sum(), 0, "too old to matter");
        ledger.correct(70_000, second, 50, 80);
        assert_eq!(ledger.sum(), 30, "an excess counts when it is known");
        ledger.advance(10_000_000);
        assert_eq!(ledger.sum(), 0);
        assert_eq!(
            ledger.fits_at_ms(10_000_000, 5_000, 1_000),
            10_000_000,
            "larger than the limit, but alone"
        );
    }
}
