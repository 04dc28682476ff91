//! What is left of a quota that is counted by the minute, under each of the ways in which it may come back.

use std::collections::VecDeque;

use super::Window;

const MINUTE_MS: u64 = 60_000;

/// One quota of one pool: tokens or requests. Amounts are counted in sixty-thousandths, so that what comes back in a
/// millisecond is a whole number.
#[derive(Debug)]
pub(super) struct Meter {
    window: Window,
    per_minute: u64,
    now_ms: u64,
    /// Continuous: what is left, in sixty-thousandths; may be negative. Fixed: of the minute that runs.
    left: i128,
    /// Rolling: what was taken when, oldest first.
    taken: VecDeque<(u64, u64)>,
    taken_sum: u64,
}

impl Meter {
    pub(super) fn new(window: Window, per_minute: u64) -> Meter {
        let left = i128::from(per_minute) * i128::from(MINUTE_MS);
        Meter { window, per_minute, now_ms: 0, left, taken: VecDeque::new(), taken_sum: 0 }
    }

    /// Another quota from now on.
    pub(super) fn set(&mut self, now_ms: u64, per_minute: u64) {
        self.advance(now_ms);
        let change = i128::from(per_minute) - i128::from(self.per_minute);
        if self.window == Window::FixedMinute {
            self.left += change * i128::from(MINUTE_MS);
        }
        self.per_minute = per_minute;
        self.left = self.left.min(self.full());
    }

    /// Takes `amount` if it is there. What is larger than a whole minute is taken when all of a minute is there, if
    /// `oversize` says so.
    pub(super) fn take(&mut self, now_ms: u64, amount: u64, oversize: bool) -> bool {
        let fits = self.fits(now_ms, amount, oversize);
        if fits {
            self.charge(now_ms, amount);
        }
        fits
    }

    pub(super) fn fits(&mut self, now_ms: u64, amount: u64, oversize: bool) -> bool {
        self.advance(now_ms);
        let needed = if oversize { amount.min(self.per_minute) } else { amount };
        if needed > self.per_minute || self.per_minute == 0 {
            return false;
        }
        match self.window {
            Window::Continuous | Window::FixedMinute => {
                self.left >= i128::from(needed) * i128::from(MINUTE_MS)
            }
            Window::RollingMinute => self.taken_sum + needed <= self.per_minute,
        }
    }

    /// Takes `amount`, there or not.
    pub(super) fn charge(&mut self, now_ms: u64, amount: u64) {
        self.advance(now_ms);
        self.left -= i128::from(amount) * i128::from(MINUTE_MS);
        if self.window == Window::RollingMinute {
            self.taken.push_back((self.now_ms, amount));
            self.taken_sum += amount;
        }
    }

    /// Corrects what was taken at `taken_ms` from `reserved` to `actual`. What was taken in a minute that is over can
    /// not come back; what is missing is charged now.
    pub(super) fn settle(&mut self, now_ms: u64, taken_ms: u64, reserved: u64, actual: u64) {
        self.advance(now_ms);
        match self.window {
            Window::Continuous => {
                self.left += (i128::from(reserved) - i128::from(actual)) * i128::from(MINUTE_MS);
                self.left = self.left.min(self.full());
            }
            Window::FixedMinute => {
                if taken_ms / MINUTE_MS == self.now_ms / MINUTE_MS || actual > reserved {
                    self.left += (i128::from(reserved) - i128::from(actual)) * i128::from(MINUTE_MS);
                }
            }
            Window::RollingMinute => {
                let entry = self.taken.iter_mut().find(|(at, amount)| *at == taken_ms && *amount == reserved);
                match entry {
                    Some((_, amount)) => {
                        *amount = actual;
                        self.taken_sum = self.taken_sum - reserved + actual;
                    }
                    None if actual > reserved => self.charge(now_ms, actual - reserved),
                    None => {}
                }
            }
        }
    }

    fn full(&self) -> i128 {
        i128::from(self.per_minute) * i128::from(MINUTE_MS)
    }

    fn advance(&mut self, now_ms: u64) {
        let before_ms = self.now_ms;
        self.now_ms = self.now_ms.max(now_ms);
        match self.window {
            Window::Continuous => {
                let come_back = i128::from(self.now_ms - before_ms) * i128::from(self.per_minute);
                self.left = (self.left + come_back).min(self.full());
            }
            Window::FixedMinute => {
                let minutes = self.now_ms / MINUTE_MS - before_ms / MINUTE_MS;
                // A debt is carried over.
                self.left = (self.left + i128::from(minutes) * self.full()).min(if minutes > 0 {
                    self.full()
                } else {
                    self.left
                });
            }
            Window::RollingMinute => {
                while let Some(&(at, amount)) = self.taken.front()
                    && at + MINUTE_MS <= self.now_ms
                {
                    self.taken.pop_front();
                    self.taken_sum -= amount;
                }
            }
        }
    }
}
