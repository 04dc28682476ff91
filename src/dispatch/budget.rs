//! The hard cap on money: the worst case is reserved before a call is sent, the true cost is booked after.

use crate::domain::Usd;

/// Spent plus reserved never exceeds the cap.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    cap: Usd,
    spent: Usd,
    reserved: Usd,
}

impl Budget {
    /// No cap means all the money there is; the books are kept all the same.
    pub fn new(cap: Option<Usd>) -> Self {
        Budget { cap: cap.unwrap_or(Usd::MAX), spent: Usd::ZERO, reserved: Usd::ZERO }
    }

    pub fn spent(&self) -> Usd {
        self.spent
    }

    /// What a new call may cost at most.
    pub fn left(&self) -> Usd {
        self.cap.saturating_sub(self.spent + self.reserved)
    }

    /// Sets `amount` aside if the cap allows it.
    pub(super) fn reserve(&mut self, amount: Usd) -> bool {
        let fits = amount <= self.left();
        if fits {
            self.reserved += amount;
        }
        fits
    }

    /// Gives a reservation back and books what the call came to.
    pub(super) fn settle(&mut self, reserved: Usd, cost: Usd) {
        self.reserved = self.reserved.saturating_sub(reserved);
        self.spent += cost;
    }
}
