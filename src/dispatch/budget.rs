//! The hard cap on money: the worst case is reserved before a call is sent, the true cost is booked after.

use std::collections::BTreeMap;

use crate::domain::Usd;

/// Spent plus reserved never exceeds the cap, neither the run's nor a document's.
#[derive(Clone, Debug)]
pub struct Budget {
    run: Account,
    document_cap: Option<Usd>,
    /// Kept only where documents have a cap, until they are forgotten.
    documents: BTreeMap<u64, Account>,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    cap: Usd,
    spent: Usd,
    reserved: Usd,
}

/// Whose cap a call does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    Run,
    /// `is_final`: nothing of the document is in flight that could give money back.
    Document {
        left: Usd,
        is_final: bool,
    },
}

impl Budget {
    /// No cap means all the money there is; the books are kept all the same.
    pub(super) fn new(cap: Option<Usd>, document_cap: Option<Usd>) -> Self {
        Budget { run: Account::new(cap.unwrap_or(Usd::MAX)), document_cap, documents: BTreeMap::new() }
    }

    /// Costs of replies, and the worst case of attempts that broke off and may have been billed.
    pub fn spent(&self) -> Usd {
        self.run.spent
    }

    /// Set aside for calls in flight.
    pub fn reserved(&self) -> Usd {
        self.run.reserved
    }

    /// What a new call may cost at most.
    pub fn left(&self) -> Usd {
        self.run.left()
    }

    /// Sets `amount` aside if the caps allow it.
    pub(super) fn reserve(&mut self, document: u64, amount: Usd) -> Result<(), Shortage> {
        let cap = self.document_cap;
        let account = cap.map(|cap| self.documents.entry(document).or_insert(Account::new(cap)));
        if let Some(account) = &account
            && amount > account.left()
        {
            let (left, is_final) = (account.left(), account.reserved == Usd::ZERO);
            return Err(Shortage::Document { left, is_final });
        }
        if amount > self.run.left() {
            return Err(Shortage::Run);
        }
        self.run.reserved += amount;
        if let Some(account) = account {
            account.reserved += amount;
        }
        Ok(())
    }

    /// Gives a reservation back and books what the call came to.
    pub(super) fn settle(&mut self, document: u64, reserved: Usd, cost: Usd) {
        self.run.settle(reserved, cost);
        if let Some(account) = self.documents.get_mut(&document) {
            account.settle(reserved, cost);
        }
    }

    /// Drops the books of a document of which nothing is in flight.
    pub(super) fn forget(&mut self, document: u64) {
        self.documents.remove(&document);
    }
}

impl Account {
    fn new(cap: Usd) -> Self {
        Account { cap, spent: Usd::ZERO, reserved: Usd::ZERO }
    }

    fn left(&self) -> Usd {
        self.cap.saturating_sub(self.spent + self.reserved)
    }

    fn settle(&mut self, reserved: Usd, cost: Usd) {
        self.reserved = self.reserved.saturating_sub(reserved);
        self.spent += cost;
    }
}
