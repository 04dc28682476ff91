//! The dispatcher: takes calls in, hands them out when their pool and the budget allow, and decides what an attempt
//! leads to.

use std::collections::{BTreeMap, BTreeSet};

use super::budget::Shortage;
use super::learn::{InputEstimate, OutputSizes};
use super::pool::{Charge, Demand, Gate, Pool, PoolStatistics};
use super::queue::{Cap, Queues, Waiting};
use super::retry::Retries;
use super::{Budget, Failure, Finished, Lane, LaneId, Need, Next, PoolId, Sending, Settings, Ticket};
use crate::domain::{Reply, Stage, Usage, Usd};

/// The queues, the pools and the budget of one run.
#[derive(Debug)]
pub struct Dispatcher {
    pub(super) settings: Settings,
    pub(super) lanes: Vec<LaneState>,
    pub(super) pools: Vec<Pool>,
    pub(super) queues: Queues,
    pub(super) in_flight: BTreeMap<Ticket, Flight>,
    /// Documents that were removed while calls of theirs were in flight.
    pub(super) ended: BTreeSet<u64>,
    pub(super) budget: Budget,
    pub(super) retries: Retries,
    pub(super) now_ms: u64,
    /// The caller's clock as last told, and how far it was set back in all: time here never runs backwards.
    pub(super) told_ms: u64,
    pub(super) behind_ms: u64,
}

#[derive(Debug)]
pub(super) struct LaneState {
    /// Why it is not used any more.
    pub(super) closed: Option<String>,
    pub(super) input: InputEstimate,
    /// Of the map and the merge stage.
    pub(super) outputs: [OutputSizes; 2],
}

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) waiting: Waiting,
    pub(super) lane: LaneId,
    pub(super) max_tokens: u32,
    pub(super) reserved: Usd,
    pub(super) charge: Charge,
}

/// How a call would be sent on a lane.
struct Attempt {
    max_tokens: u32,
    at_most: Usd,
    demand: Demand,
}

impl Dispatcher {
    /// Every lane must name a pool that is there, and every stage a lane.
    pub fn new(settings: Settings) -> Self {
        let pool = |pool: &super::PoolSettings| {
            Pool::new(pool.clone(), settings.headroom_percent, settings.in_flight_max)
        };
        let lane =
            |_| LaneState { closed: None, input: InputEstimate::default(), outputs: Default::default() };
        Dispatcher {
            lanes: settings.lanes.iter().map(lane).collect(),
            pools: settings.pools.iter().map(pool).collect(),
            queues: Queues::new(settings.lanes.len()),
            in_flight: BTreeMap::new(),
            ended: BTreeSet::new(),
            budget: Budget::new(settings.cost_max, settings.document_cost_max),
            retries: Retries::new(
                settings.attempts_max,
                settings.retries_max,
                settings.backoff_ms,
                settings.seed,
            ),
            now_ms: 0,
            told_ms: 0,
            behind_ms: 0,
            settings,
        }
    }

    /// Queues a call.
    pub fn push(&mut self, ticket: Ticket, need: Need) {
        self.retries.pushed();
        self.enqueue(ticket, Waiting::new(need));
    }

    /// The next thing to do. `Send` reserves the call's worst case and counts it as in flight.
    pub fn next(&mut self, now_ms: u64) -> Next {
        let now_ms = self.advance(now_ms);
        loop {
            if let Some((ticket, waiting)) = self.queues.pop_stranded() {
                self.try_short(ticket.document);
                return Next::GaveUp(ticket, self.stranded(ticket, &waiting));
            }
            if self.in_flight.len() >= self.settings.in_flight_max.max(1) {
                self.pools.iter_mut().for_each(Pool::rest);
                return Next::Idle;
            }
            let (lane, ticket, waiting, attempt) = match self.choose(now_ms) {
                Ok(chosen) => chosen,
                Err(_) if self.queues.has_stranded() => continue,
                Err(Some(at_ms)) => return Next::WaitUntil(at_ms.max(now_ms + 1) - self.behind_ms),
                Err(None) => return Next::Idle,
            };
            match self.budget.reserve(ticket.document, attempt.at_most) {
                Ok(()) => return Next::Send(self.send(ticket, waiting, lane, &attempt)),
                Err(Shortage::Run) if self.in_flight.is_empty() => {
                    return Next::BudgetExhausted { needed: attempt.at_most, left: self.budget.left() };
                }
                Err(Shortage::Run) => return Next::Idle,
                Err(Shortage::Document { left, is_final }) => {
                    self.queues.remove(lane, ticket);
                    if is_final {
                        let needed = attempt.at_most;
                        self.try_short(ticket.document);
                        return Next::GaveUp(ticket, too_dear(&waiting, lane, needed, left));
                    }
                    self.queues.shorten(ticket, waiting);
                }
            }
        }
    }

    /// Books what came of an attempt.
    pub fn finish(&mut self, ticket: Ticket, result: Result<Reply, Failure>, now_ms: u64) -> Finished {
        let now_ms = self.advance(now_ms);
        let flight = self.in_flight.remove(&ticket);
        let flight = flight.expect("a call is in flight from `next` until `finish`");
        let mut finished = match result {
            Ok(reply) => self.replied(ticket, flight, reply, now_ms),
            Err(failure) => self.failed(ticket, flight, failure, now_ms),
        };
        if self.ended.contains(&ticket.document) {
            finished = self.not_again(ticket.document, finished);
        }
        self.try_short(ticket.document);
        finished
    }

    /// Drops the queued calls of a document, and its books; to be called for each document that has ended. Calls in flight
    /// are finished as ever, but not tried again.
    pub fn remove_document(&mut self, document: u64) {
        self.queues.remove_document(document);
        self.ended.insert(document);
        self.forget(document);
    }

    /// The next `n` calls in the order of priority, over all lanes; those that wait for a time of their own are left
    /// out.
    pub fn upcoming(&self, n: usize) -> impl Iterator<Item = Ticket> + use<> {
        self.queues.upcoming(n)
    }

    /// Calls that wait, for whatever.
    pub fn queued(&self) -> usize {
        self.queues.len()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    pub fn lane(&self, lane: LaneId) -> &Lane {
        &self.settings.lanes[lane.0]
    }

    /// The pool is out of use for an hour or so: its day's quota is used up, or it has given nothing for long.
    pub fn is_parked(&self, pool: PoolId) -> bool {
        self.pools[pool.0].parked().is_some()
    }

    /// In the order of [`Settings::pools`].
    pub fn statistics(&self) -> Vec<PoolStatistics> {
        self.pools.iter().map(Pool::statistics).collect()
    }

    /// Which pool waits for what, one line each, for whoever wonders why nothing happens.
    pub fn diagnosis(&self, now_ms: u64) -> String {
        let now_ms = self.now_ms.max(now_ms.saturating_add(self.behind_ms));
        let mut lines = Vec::new();
        for (at, pool) in self.pools.iter().enumerate() {
            let lanes = self.settings.lanes.iter().enumerate().filter(|(_, lane)| lane.pool.0 == at);
            let queued: usize = lanes.map(|(lane, _)| self.queues.lane_len(LaneId(lane))).sum();
            let (name, flying) = (pool.name(), pool.in_flight());
            lines.push(format!("{name}: {queued} queued, {flying} in flight, {}", pool.diagnosis(now_ms)));
        }
        if let Some(at_ms) = self.queues.next_delayed_ms() {
            let (delayed, wait_s) = (self.queues.delayed_len(), at_ms.saturating_sub(now_ms).div_ceil(1_000));
            lines.push(format!("{delayed} calls wait to be tried again, the first for {wait_s} s"));
        }
        lines.join("\n")
    }

    /// Queues one of the document's calls that wait for money: something of it was sent, finished or given up, so either
    /// there is some left for another, or nothing more will come back.
    fn try_short(&mut self, document: u64) {
        if let Some((ticket, waiting)) = self.queues.pop_short(document) {
            self.enqueue(ticket, waiting);
        }
    }

    /// A call of a document that has ended is not tried again.
    fn not_again(&mut self, document: u64, finished: Finished) -> Finished {
        self.queues.remove_document(document);
        self.forget(document);
        match finished {
            Finished::Retrying { attempt, reason, lane, usage, cost, maybe_billed, .. } => {
                let (attempts, fatal) = (attempt, false);
                Finished::GaveUp { reason, attempts, fatal, lane, usage, cost, maybe_billed }
            }
            finished => finished,
        }
    }

    /// Drops the books of a document that has ended, with its last call.
    fn forget(&mut self, document: u64) {
        if !self.in_flight.keys().any(|ticket| ticket.document == document) {
            self.ended.remove(&document);
            self.budget.forget(document);
        }
    }

    /// Lets time pass: pools refill, calls whose time has come are queued.
    fn advance(&mut self, now_ms: u64) -> u64 {
        self.behind_ms += self.told_ms.saturating_sub(now_ms);
        self.told_ms = now_ms;
        self.now_ms = now_ms.saturating_add(self.behind_ms);
        for pool in &mut self.pools {
            pool.advance(self.now_ms);
        }
        while let Some((ticket, waiting)) = self.queues.pop_delayed(self.now_ms) {
            self.enqueue(ticket, waiting);
        }
        self.now_ms
    }

    pub(super) fn enqueue(&mut self, ticket: Ticket, waiting: Waiting) {
        let lane = self.choose_lane(ticket, &waiting);
        self.queues.push(ticket, waiting, lane);
    }

    fn lanes_of(&self, ticket: Ticket, need: &Need) -> &[LaneId] {
        match (need.first, ticket.call().stage()) {
            (Some(first), _) => {
                let chain = self.settings.chains.get(first.0).map(|chains| &chains[stage_index(ticket)]);
                let chain = chain.map_or(&[][..], Vec::as_slice);
                if need.is_alone { &chain[..chain.len().min(1)] } else { chain }
            }
            (None, Stage::Map) => &self.settings.map,
            (None, Stage::Merge) => &self.settings.merge,
        }
    }

    pub(super) fn pool_of(&self, lane: LaneId) -> usize {
        self.settings.lanes[lane.0].pool.0
    }

    /// Why a lane takes no calls.
    fn obstacle(&self, lane: LaneId) -> Option<String> {
        let pool = &self.pools[self.pool_of(lane)];
        let closed = self.lanes[lane.0].closed.clone();
        closed.or_else(|| pool.closed()).or_else(|| pool.parked().map(str::to_owned))
    }

    pub(super) fn is_usable(&self, lane: LaneId) -> bool {
        let pool = &self.pools[self.pool_of(lane)];
        self.lanes[lane.0].closed.is_none() && pool.parked().is_none() && !pool.is_closed()
    }

    /// The first lane of its stage that takes the call.
    pub(super) fn choose_lane(&self, ticket: Ticket, waiting: &Waiting) -> Option<LaneId> {
        let lanes = self.lanes_of(ticket, &waiting.need).iter().enumerate();
        let mut usable = lanes.filter(|(place, lane)| {
            // The plan has seen to it that the first one fits.
            let fits = *place == 0 || self.may_fit(**lane, &waiting.need);
            fits && !waiting.is_excluded(*place) && self.is_usable(**lane)
        });
        usable.next().map(|(_, lane)| *lane)
    }

    fn may_fit(&self, lane: LaneId, need: &Need) -> bool {
        let model = &self.settings.lanes[lane.0].route.model;
        let (likely, _) =
            self.lanes[lane.0].input.tokens(&self.settings.lanes[lane.0].route, need.counted_tokens);
        likely + u64::from(need.max_tokens.min(model.max_output_tokens)) <= model.window_tokens
    }

    /// The call of the highest priority that its pool lets go, or when to look again.
    fn choose(&mut self, now_ms: u64) -> Result<(LaneId, Ticket, Waiting, Attempt), Option<u64>> {
        let mut wait_ms = self.queues.next_delayed_ms();
        let mut after = None;
        let mut blocked: u64 = 0;
        loop {
            // Few lanes: the next in order is found by looking at the head of each.
            let heads = (0..self.lanes.len()).map(LaneId).filter_map(|lane| {
                let (ticket, waiting) = self.queues.first(lane)?;
                Some((ticket, lane, waiting))
            });
            let fresh = heads.filter(|(ticket, lane, _)| after.is_none_or(|after| (*ticket, *lane) > after));
            let Some((ticket, lane, waiting)) = fresh.min_by_key(|(ticket, lane, _)| (*ticket, *lane)) else {
                return Err(wait_ms);
            };
            after = Some((ticket, lane));
            let pool = self.pool_of(lane);
            // What waits at another lane of the same pool must not overtake what was refused there.
            if blocked & (1 << pool.min(63)) != 0 {
                continue;
            }
            let attempt = self.attempt(ticket, &waiting, lane);
            let in_flight_max = self.in_flight_max(pool);
            match self.pools[pool].gate(now_ms, attempt.demand, in_flight_max) {
                Gate::Open => return Ok((lane, ticket, waiting, attempt)),
                Gate::At(at_ms) => wait_ms = Some(wait_ms.map_or(at_ms, |wait_ms| wait_ms.min(at_ms))),
                Gate::Full => {}
                Gate::DayOver => {
                    let reason = format!("the tokens of a day of {} are used up", self.pools[pool].name());
                    self.park(pool, reason);
                    after = None;
                    continue;
                }
            }
            blocked |= 1 << pool.min(63);
        }
    }

    /// How many calls of a pool may be in flight, so that a slow one leaves room for the first choice of each stage.
    fn in_flight_max(&self, pool: usize) -> usize {
        let all = self.settings.in_flight_max.max(1);
        let firsts = [self.settings.map.first(), self.settings.merge.first()];
        let mut others: Vec<usize> = firsts.into_iter().flatten().map(|lane| self.pool_of(*lane)).collect();
        others.dedup();
        others.retain(|other| *other != pool);
        let kept: usize =
            others.iter().map(|other| (all / 4).saturating_sub(self.pools[*other].in_flight())).sum();
        all.saturating_sub(kept)
    }

    /// How the call is sent on `lane`.
    fn attempt(&self, ticket: Ticket, waiting: &Waiting, lane: LaneId) -> Attempt {
        let (route, state) = (&self.settings.lanes[lane.0].route, &self.lanes[lane.0]);
        let (likely, at_most) = state.input.tokens(route, waiting.need.counted_tokens);
        let outputs = &state.outputs[stage_index(ticket)];
        let full = self.cap(waiting, lane);
        let pool = &self.pools[self.pool_of(lane)];
        let learned = outputs.cap().filter(|_| waiting.cap == Cap::Learned && pool.tokens_bind(self.now_ms));
        let max_tokens = learned.map_or(full, |cap| cap.min(full));
        let burndown = u64::from(route.model.burndown);
        let expect = likely + outputs.likely(u64::from(max_tokens)) * burndown;
        let reserve = (at_most + u64::from(max_tokens)).max(expect);
        let prompt_bytes = usize::try_from(waiting.need.prompt_bytes).unwrap_or(usize::MAX);
        let cached_bytes = usize::try_from(waiting.need.cached_bytes).unwrap_or(usize::MAX);
        let at_most = route.worst_case_cached(prompt_bytes, cached_bytes, max_tokens);
        Attempt { max_tokens, at_most, demand: Demand { reserve, expect } }
    }

    /// The cap without what was learned.
    pub(super) fn cap(&self, waiting: &Waiting, lane: LaneId) -> u32 {
        let plain = self.plain_cap(waiting, lane);
        if waiting.cap == Cap::Escalated { plain.max(self.escalated_cap(waiting, lane)) } else { plain }
    }

    pub(super) fn plain_cap(&self, waiting: &Waiting, lane: LaneId) -> u32 {
        waiting.need.max_tokens.min(self.settings.lanes[lane.0].route.model.max_output_tokens)
    }

    /// Twice the pipeline's cap, within the model's cap and window.
    pub(super) fn escalated_cap(&self, waiting: &Waiting, lane: LaneId) -> u32 {
        let route = &self.settings.lanes[lane.0].route;
        let (_, at_most) = self.lanes[lane.0].input.tokens(route, waiting.need.counted_tokens);
        let room = u32::try_from(route.model.window_tokens.saturating_sub(at_most)).unwrap_or(u32::MAX);
        route.escalated(waiting.need.max_tokens).min(room)
    }

    fn send(&mut self, ticket: Ticket, mut waiting: Waiting, lane: LaneId, attempt: &Attempt) -> Sending {
        self.queues.remove(lane, ticket);
        self.try_short(ticket.document);
        waiting.attempts += 1;
        let pool = self.pool_of(lane);
        let charge = self.pools[pool].send(self.now_ms, attempt.demand);
        let (max_tokens, reserved) = (attempt.max_tokens, attempt.at_most);
        self.in_flight.insert(ticket, Flight { waiting, lane, max_tokens, reserved, charge });
        Sending { ticket, lane, max_tokens, attempt: waiting.attempts }
    }

    /// The lane after `lane`, which is no use for the call.
    pub(super) fn next_lane(&self, ticket: Ticket, waiting: &mut Waiting, lane: LaneId) -> Option<LaneId> {
        let place = self.lanes_of(ticket, &waiting.need).iter().position(|other| *other == lane)?;
        waiting.exclude(place);
        self.choose_lane(ticket, waiting)
    }

    pub(super) fn park(&mut self, pool: usize, reason: String) {
        self.pools[pool].park(self.now_ms, reason);
        for lane in (0..self.lanes.len()).map(LaneId) {
            if self.pool_of(lane) == pool {
                self.reroute(lane);
            }
        }
    }

    /// Moves the calls of a lane that is no use any more.
    pub(super) fn reroute(&mut self, lane: LaneId) {
        for (ticket, mut waiting) in self.queues.take_lane(lane) {
            waiting.start_afresh();
            self.enqueue(ticket, waiting);
        }
    }

    pub(super) fn has_usable_lane(&self, ticket: Ticket, need: &Need) -> bool {
        self.lanes_of(ticket, need).iter().any(|lane| self.is_usable(*lane))
    }

    /// No lane takes the call.
    fn stranded(&self, ticket: Ticket, waiting: &Waiting) -> Finished {
        let lanes = self.lanes_of(ticket, &waiting.need);
        let mut reasons: Vec<String> = lanes.iter().filter_map(|lane| self.obstacle(*lane)).collect();
        reasons.dedup();
        let fatal = !self.has_usable_lane(ticket, &waiting.need);
        if !fatal {
            reasons.push("no other model of the stage can take the call".to_owned());
        }
        let lane = lanes.first().copied().unwrap_or(LaneId(0));
        gave_up(reasons.join("; "), waiting, lane, fatal)
    }
}

fn gave_up(reason: String, waiting: &Waiting, lane: LaneId, fatal: bool) -> Finished {
    let (attempts, usage, cost, maybe_billed) = (waiting.attempts, Usage::default(), Usd::ZERO, Usd::ZERO);
    Finished::GaveUp { reason, attempts, fatal, lane, usage, cost, maybe_billed }
}

fn too_dear(waiting: &Waiting, lane: LaneId, needed: Usd, left: Usd) -> Finished {
    let reason = format!(
        "the call may cost ${needed:.4} and ${left:.4} is left of what a document may cost: raise the document's cap"
    );
    gave_up(reason, waiting, lane, false)
}

pub(super) fn stage_index(ticket: Ticket) -> usize {
    match ticket.call().stage() {
        Stage::Map => 0,
        Stage::Merge => 1,
    }
}
