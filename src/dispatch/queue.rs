//! Calls that wait: one queue a lane in the order of priority, and the places for those that can not be sent yet.

use std::collections::BTreeMap;

use super::retry::Tried;
use super::{LaneId, Need, Ticket};

/// A call that waits, without its text: prompts are rendered when they are sent, so a queue costs little memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub need: Need,
    /// On its present lane.
    pub tried: Tried,
    /// Over all lanes.
    pub attempts: u32,
    /// Replies without text.
    pub empties: u32,
    pub cap: Cap,
    /// Places in its stage's list of lanes that are no use for it, as bits.
    pub excluded: u64,
}

/// Which cap the call is sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cap {
    /// The learned one, if that is of use; otherwise the pipeline's.
    Learned,
    /// The pipeline's: the learned one has cut an answer.
    Full,
    /// Twice the pipeline's: that one, or a learned one, has cut an answer.
    Escalated,
}

impl Waiting {
    pub(super) fn new(need: Need) -> Self {
        let cap = if need.is_escalated { Cap::Escalated } else { Cap::Learned };
        Waiting { need, tried: Tried::default(), attempts: 0, empties: 0, cap, excluded: 0 }
    }

    /// The lane at this place is no use for it; on the next it starts afresh.
    pub(super) fn exclude(&mut self, place: usize) {
        self.excluded |= 1 << place.min(63);
        self.start_afresh();
    }

    /// On another lane what was tried on this one does not count.
    pub(super) fn start_afresh(&mut self) {
        self.tried = Tried { expired: self.tried.expired, ..Tried::default() };
    }

    pub(super) fn is_excluded(&self, place: usize) -> bool {
        place > 63 || self.excluded & (1 << place) != 0
    }
}

/// Every call is in exactly one of the places.
#[derive(Debug)]
pub(super) struct Queues {
    lanes: Vec<BTreeMap<Ticket, Waiting>>,
    /// Until their time comes again.
    delayed: BTreeMap<(u64, Ticket), Waiting>,
    /// Until something of their document is finished and gives money back.
    short: BTreeMap<(u64, Ticket), Waiting>,
    /// No lane is left for them.
    stranded: BTreeMap<Ticket, Waiting>,
}

impl Queues {
    pub(super) fn new(lanes: usize) -> Self {
        Queues {
            lanes: vec![BTreeMap::new(); lanes],
            delayed: BTreeMap::new(),
            short: BTreeMap::new(),
            stranded: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        let ready: usize = self.lanes.iter().map(BTreeMap::len).sum();
        ready + self.delayed.len() + self.short.len() + self.stranded.len()
    }

    pub(super) fn lane_len(&self, lane: LaneId) -> usize {
        self.lanes[lane.0].len()
    }

    pub(super) fn delayed_len(&self) -> usize {
        self.delayed.len()
    }

    /// On the queue of `lane`, or of no lane at all.
    pub(super) fn push(&mut self, ticket: Ticket, waiting: Waiting, lane: Option<LaneId>) {
        match lane {
            Some(lane) => self.lanes[lane.0].insert(ticket, waiting),
            None => self.stranded.insert(ticket, waiting),
        };
    }

    pub(super) fn delay(&mut self, ticket: Ticket, waiting: Waiting, until_ms: u64) {
        self.delayed.insert((until_ms, ticket), waiting);
    }

    pub(super) fn shorten(&mut self, ticket: Ticket, waiting: Waiting) {
        self.short.insert((ticket.document, ticket), waiting);
    }

    pub(super) fn first(&self, lane: LaneId) -> Option<(Ticket, Waiting)> {
        self.lanes[lane.0].first_key_value().map(|(ticket, waiting)| (*ticket, *waiting))
    }

    pub(super) fn remove(&mut self, lane: LaneId, ticket: Ticket) {
        self.lanes[lane.0].remove(&ticket);
    }

    /// All calls of a lane, which is left empty.
    pub(super) fn take_lane(&mut self, lane: LaneId) -> BTreeMap<Ticket, Waiting> {
        std::mem::take(&mut self.lanes[lane.0])
    }

    pub(super) fn has_stranded(&self) -> bool {
        !self.stranded.is_empty()
    }

    pub(super) fn pop_stranded(&mut self) -> Option<(Ticket, Waiting)> {
        self.stranded.pop_first()
    }

    pub(super) fn next_delayed_ms(&self) -> Option<u64> {
        self.delayed.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    /// A call whose time has come.
    pub(super) fn pop_delayed(&mut self, now_ms: u64) -> Option<(Ticket, Waiting)> {
        let entry = self.delayed.first_entry().filter(|entry| entry.key().0 <= now_ms)?;
        let ((_, ticket), waiting) = entry.remove_entry();
        Some((ticket, waiting))
    }

    /// A call of the document that waits for money.
    pub(super) fn pop_short(&mut self, document: u64) -> Option<(Ticket, Waiting)> {
        let first = (document, Ticket::first_of(u32::MAX, document));
        let key = *self.short.range(first..).next().filter(|((of, _), _)| *of == document)?.0;
        self.short.remove(&key).map(|waiting| (key.1, waiting))
    }

    pub(super) fn remove_document(&mut self, document: u64) {
        for lane in &mut self.lanes {
            let Some((deepest, _)) = lane.first_key_value() else { continue };
            for level in 0..=deepest.level.0 {
                let first = Ticket::first_of(level, document);
                while let Some(ticket) = lane.range(first..).next().map(|(ticket, _)| *ticket)
                    && (ticket.level, ticket.document) == (first.level, document)
                {
                    lane.remove(&ticket);
                }
            }
        }
        self.stranded.retain(|ticket, _| ticket.document != document);
        self.delayed.retain(|(_, ticket), _| ticket.document != document);
        while self.pop_short(document).is_some() {}
    }

    /// The first `n` over all lanes.
    pub(super) fn upcoming(&self, n: usize) -> impl Iterator<Item = Ticket> + use<> {
        let mut tickets: Vec<Ticket> =
            self.lanes.iter().flat_map(|lane| lane.keys().take(n).copied()).collect();
        tickets.sort_unstable();
        tickets.truncate(n);
        tickets.into_iter()
    }
}
