//! The world between the dispatcher and the model of the service: sends what the one says, waits as long as the other
//! takes, in virtual time.

use std::collections::{BTreeMap, BinaryHeap};

use docmill::catalog::{Catalog, Date};
use docmill::dispatch::{
    Dispatcher, Failure, FailureClass, Finished, Lane, LaneId, Need, Next, PoolId, PoolSettings, Quota,
    Sending, Settings, Source, Ticket,
};
use docmill::domain::{CallId, Reply, StopReason, Usage, Usd};
use docmill::plan::Route;
use docmill::sandbox::scenario::{
    Admission, Arrival, PoolStatistics, Refusal, Scenario, Service, StreamFault, Verdict, chance_ppm,
};

use super::rehearsal::{Know, Rehearsal};

/// A call as the world knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    Answered { output_tokens: u64, is_refusal: bool },
    Split,
    GaveUp,
}

pub(super) struct Client {
    pub(super) dispatcher: Dispatcher,
    pub(super) begins_ms: u64,
    pub(super) jobs: BTreeMap<Ticket, Job>,
    pub(super) outcomes: BTreeMap<Ticket, Outcome>,
    pub(super) maps_open: BTreeMap<u64, u64>,
    pub(super) wake_ms: Option<u64>,
    pub(super) is_stopped: bool,
    pub(super) is_exhausted: bool,
    pub(super) is_fatal: bool,
    pub(super) attempts: u64,
    pub(super) throttled: u64,
    pub(super) in_flight_seen: usize,
    pub(super) billed: Usd,
    pub(super) reasons: BTreeMap<String, u64>,
    pub(super) sent: BTreeMap<(Ticket, LaneId, u32), u64>,
}

pub(super) enum Event {
    Wake {
        client: usize,
    },
    Deliver {
        client: usize,
        ticket: Ticket,
        result: Box<Result<Reply, Failure>>,
        leaves: Option<Box<(Admission, u64)>>,
    },
    Measure,
}

pub(super) struct Entry {
    pub(super) at_ms: u64,
    pub(super) number: u64,
    pub(super) event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    /// The earliest is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at_ms, other.number).cmp(&(self.at_ms, self.number))
    }
}

pub(super) struct World<'a> {
    pub(super) rehearsal: &'a Rehearsal,
    pub(super) service: Service,
    pub(super) lanes: Vec<Lane>,
    pub(super) clients: Vec<Client>,
    pub(super) events: BinaryHeap<Entry>,
    pub(super) events_seen: u64,
    pub(super) now_ms: u64,
    pub(super) measured: Vec<Vec<PoolStatistics>>,
    pub(super) client_tokens: Vec<u64>,
}

/// A run on which nothing new has come for so many events does not end.
const EVENTS_MAX: u64 = 20_000_000;

impl<'a> World<'a> {
    pub(super) fn new(scenario: &Scenario, rehearsal: &'a Rehearsal) -> Self {
        let lanes = lanes(scenario, rehearsal);
        let clients = (0..rehearsal.clients).map(|client| new_client(scenario, rehearsal, &lanes, client));
        let clients: Vec<Client> = clients.collect();
        World {
            rehearsal,
            service: Service::new(scenario, rehearsal.seed),
            client_tokens: vec![0; clients.len()],
            lanes,
            clients,
            events: BinaryHeap::new(),
            events_seen: 0,
            now_ms: 0,
            measured: Vec::new(),
        }
    }

    fn at(&mut self, at_ms: u64, event: Event) {
        self.events_seen += 1;
        self.events.push(Entry { at_ms, number: self.events_seen, event });
    }

    pub(super) fn run(&mut self) {
        for at_s in self.rehearsal.measure_s.into_iter().flatten() {
            self.at(at_s * 1_000, Event::Measure);
        }
        for client in 0..self.clients.len() {
            let begins_ms = self.clients[client].begins_ms;
            self.clients[client].wake_ms = Some(begins_ms);
            self.at(begins_ms, Event::Wake { client });
        }
        while let Some(Entry { at_ms, event, .. }) = self.events.pop() {
            assert!(self.events_seen < EVENTS_MAX, "the run does not end: {}", self.diagnosis());
            self.now_ms = self.now_ms.max(at_ms);
            match event {
                // One that was overtaken by an earlier one is no news.
                Event::Wake { client } if self.clients[client].wake_ms != Some(at_ms) => {}
                Event::Wake { client } => {
                    self.clients[client].wake_ms = None;
                    self.fill(client);
                }
                Event::Deliver { client, ticket, result, leaves } => {
                    if let Some((admission, output_tokens)) = leaves.map(|leaves| *leaves) {
                        self.service.depart(self.now_ms, admission, output_tokens);
                    }
                    self.take(client, ticket, *result);
                    self.fill(client);
                }
                Event::Measure => self.measure(),
            }
        }
        for client in &self.clients {
            let waits = client.dispatcher.queued() > 0 && !client.is_stopped;
            assert!(!waits, "calls wait and nothing will ever happen: {}", self.diagnosis());
        }
    }

    fn measure(&mut self) {
        self.measured.push(self.service.statistics().map(|(_, statistics)| statistics).collect());
        if self.measured.len() == 1 {
            self.client_tokens.fill(0);
        } else {
            self.clients.iter_mut().for_each(|client| client.is_stopped = true);
        }
    }

    /// The client's own clock, which may jump.
    fn client_ms(&self, client: usize) -> u64 {
        let own_ms = self.now_ms - self.clients[client].begins_ms;
        let jumps = self.rehearsal.clock_jump.iter().filter(|jump| jump.at_s * 1_000 <= self.now_ms);
        own_ms.saturating_add_signed(jumps.map(|jump| jump.by_s * 1_000).sum())
    }

    fn fill(&mut self, client: usize) {
        while !self.clients[client].is_stopped {
            let client_ms = self.client_ms(client);
            match self.clients[client].dispatcher.next(client_ms) {
                Next::Send(sending) => self.send(client, sending),
                Next::GaveUp(ticket, finished) => self.finished(client, ticket, finished),
                Next::Idle => return,
                Next::WaitUntil(at_ms) => {
                    assert!(at_ms > client_ms, "waiting for the past would spin");
                    let wake_ms = self.now_ms + (at_ms - client_ms);
                    // A clock that jumps makes a wait shorter than it was: look again after a minute at the latest.
                    let wake_ms = wake_ms.min(self.now_ms + 60_000);
                    if self.clients[client].wake_ms.is_none_or(|earlier| wake_ms < earlier) {
                        self.clients[client].wake_ms = Some(wake_ms);
                        self.at(wake_ms, Event::Wake { client });
                    }
                    return;
                }
                Next::BudgetExhausted { needed, left } => {
                    assert!(needed > left);
                    self.clients[client].is_exhausted = true;
                    self.clients[client].is_stopped = true;
                }
            }
        }
    }

    fn send(&mut self, client: usize, sending: Sending) {
        let Sending { ticket, lane, max_tokens, attempt } = sending;
        let route = self.lanes[lane.0].route.clone();
        let state = &mut self.clients[client];
        state.attempts += 1;
        state.in_flight_seen = state.in_flight_seen.max(state.dispatcher.in_flight());
        *state.sent.entry((ticket, lane, max_tokens)).or_default() += 1;
        assert!(!state.is_stopped, "nothing is sent after the end");
        let job = state.jobs[&ticket];
        let key = chance_ppm(client as u64, u64::from(attempt), hash(ticket));
        let arrival = Arrival {
            model: &route.id,
            input_tokens: job.input_tokens,
            max_tokens: u64::from(max_tokens),
            key: Some(key * 1_000_003 + hash(ticket)),
        };
        let timeout_ms = self.rehearsal.call_timeout_s * 1_000;
        let (after_ms, result, leaves) = match self.service.receive(self.now_ms, arrival) {
            Verdict::Refuse(refusal) => (refusal.latency_ms, Err(classify(&refusal)), None),
            Verdict::Hang => (timeout_ms, Err(failure(FailureClass::Timeout, "no answer in time")), None),
            Verdict::Reset => (1, Err(failure(FailureClass::Broken, "connection reset")), None),
            Verdict::Serve(admission) => answer(admission, job, max_tokens, timeout_ms),
        };
        if let Some((_, output_tokens)) = &leaves {
            let usage = usage(job.input_tokens, *output_tokens);
            self.clients[client].billed += route.model.cost(usage);
        }
        let (result, leaves) = (Box::new(result), leaves.map(Box::new));
        self.at(self.now_ms + after_ms, Event::Deliver { client, ticket, result, leaves });
    }

    fn take(&mut self, client: usize, ticket: Ticket, result: Result<Reply, Failure>) {
        if let Err(Failure { class: FailureClass::Throttled, .. }) = &result {
            self.clients[client].throttled += 1;
        }
        if let Ok(reply) = &result {
            self.client_tokens[client] += reply.usage.input_tokens + reply.usage.output_tokens;
        }
        let client_ms = self.client_ms(client);
        let finished = self.clients[client].dispatcher.finish(ticket, result, client_ms);
        self.finished(client, ticket, finished);
    }

    fn finished(&mut self, client: usize, ticket: Ticket, finished: Finished) {
        let state = &mut self.clients[client];
        let outcome = match finished {
            Finished::Retrying { reason, .. } => {
                *state.reasons.entry(reason).or_default() += 1;
                return;
            }
            Finished::Reply { reply, .. } => {
                let is_refusal = !reply.stop.is_normal() && reply.stop != StopReason::MaxTokens;
                Outcome::Answered { output_tokens: reply.usage.output_tokens, is_refusal }
            }
            // Answers to be merged can not be cut, nor can the smallest pieces: their document fails.
            Finished::TooLong { .. } => match ticket.call().halves().filter(|_| ticket.call().level == 0) {
                Some(halves) => {
                    self.split(client, ticket, halves);
                    Outcome::Split
                }
                None => Outcome::GaveUp,
            },
            Finished::GaveUp { reason, fatal, .. } => {
                *state.reasons.entry(reason).or_default() += 1;
                state.is_fatal |= fatal;
                state.is_stopped |= fatal;
                Outcome::GaveUp
            }
        };
        let state = &mut self.clients[client];
        let before = state.outcomes.insert(ticket, outcome);
        assert_eq!(before, None, "a call ends once: {ticket:?}");
        if outcome != Outcome::Split {
            self.merge_if_complete(client, ticket);
        }
    }

    fn split(&mut self, client: usize, ticket: Ticket, halves: [CallId; 2]) {
        let state = &mut self.clients[client];
        let whole = state.jobs[&ticket];
        *state.maps_open.entry(ticket.document).or_default() += 1;
        for half in halves {
            let job = Job { input_tokens: whole.input_tokens / 2, ..whole };
            push(self.rehearsal, state, Ticket::new(ticket.document, half), job);
        }
    }

    fn merge_if_complete(&mut self, client: usize, ticket: Ticket) {
        let state = &mut self.clients[client];
        let Some(open) = state.maps_open.get_mut(&ticket.document).filter(|_| ticket.call().level == 0)
        else {
            state.dispatcher.remove_document(ticket.document);
            return;
        };
        *open -= 1;
        if *open == 0 && self.rehearsal.merges {
            let ticket = Ticket::new(ticket.document, CallId::new(1, 0));
            let job = job(self.rehearsal, ticket);
            push(self.rehearsal, state, ticket, job);
        }
    }

    pub(super) fn diagnosis(&self) -> String {
        let lines = self.clients.iter().map(|client| client.dispatcher.diagnosis(self.now_ms));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// What the client gets for a request that was let in, when, and how many tokens the service made.
pub(super) type Delivery = (u64, Result<Reply, Failure>, Option<(Admission, u64)>);

fn answer(admission: Admission, job: Job, max_tokens: u32, timeout_ms: u64) -> Delivery {
    let max_tokens = u64::from(max_tokens);
    let fault = admission.fault.clone();
    let made = job.output_tokens.min(max_tokens);
    let made = match &fault {
        Some(StreamFault::MaxTokens) => max_tokens,
        Some(StreamFault::Empty | StreamFault::Whitespace) => 1,
        Some(fault) if fault.is_broken() => made / 2,
        _ => made,
    };
    let latency_ms = admission.latency_ms(made);
    if latency_ms > timeout_ms {
        // The client goes; the service notices soon.
        let result = Err(failure(FailureClass::Timeout, "no answer in time"));
        return (timeout_ms, result, Some((admission, made)));
    }
    let (text, stop) = match &fault {
        None if job.output_tokens > max_tokens => ("words", StopReason::MaxTokens),
        None => ("words", StopReason::EndTurn),
        Some(StreamFault::Empty) => ("", StopReason::EndTurn),
        Some(StreamFault::Whitespace) => (" \n", StopReason::EndTurn),
        Some(StreamFault::MaxTokens) => ("words", StopReason::MaxTokens),
        Some(StreamFault::ContentFiltered) => ("", StopReason::ContentFiltered),
        Some(StreamFault::GuardrailIntervened) => ("blocked", StopReason::GuardrailIntervened),
        Some(StreamFault::Refusal) => ("no", StopReason::Other("refusal".to_owned())),
        Some(StreamFault::Stall) => {
            let result = Err(failure(FailureClass::Timeout, "the stream stalled"));
            return (latency_ms + 60_000, result, Some((admission, made)));
        }
        Some(fault) => {
            let result = Err(failure(FailureClass::Broken, &format!("{fault:?}")));
            return (latency_ms, result, Some((admission, made)));
        }
    };
    let reply = Reply { text: text.to_owned(), stop, usage: usage(job.input_tokens, made) };
    (latency_ms, Ok(reply), Some((admission, made)))
}

fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, output_tokens, ..Usage::default() }
}

fn failure(class: FailureClass, message: &str) -> Failure {
    Failure { class, message: message.to_owned(), retry_after_ms: None }
}

/// As the edge does it: status and type first, text second.
fn classify(refusal: &Refusal) -> Failure {
    let text = refusal.message.as_str();
    let class = match (refusal.status, refusal.error_type.as_str()) {
        (_, "ModelNotReadyException") => FailureClass::NotReady,
        (429, _) if text.contains("per day") => FailureClass::DayQuota,
        (429, _) => FailureClass::Throttled,
        (408, _) => FailureClass::Timeout,
        (424 | 500..=599, _) => FailureClass::Transient,
        (_, "ExpiredTokenException") => FailureClass::ExpiredCredentials,
        (404, _) if text.contains("end of its life") => FailureClass::EndOfLife,
        (401 | 403 | 404, _) => FailureClass::Denied,
        _ if text.contains("too long") => FailureClass::TooLong,
        _ => FailureClass::Malformed,
    };
    let retry_after_ms = refusal.retry_after_s.map(|s| s.saturating_mul(1_000));
    Failure { class, message: format!("{}: {text}", refusal.status), retry_after_ms }
}

fn hash(ticket: Ticket) -> u64 {
    let CallId { level, index, piece } = ticket.call();
    chance_ppm(ticket.document, u64::from(level) << 8 | u64::from(piece), u64::from(index))
        + 1_000_000 * (ticket.document * 65_536 + u64::from(index))
}

fn job(rehearsal: &Rehearsal, ticket: Ticket) -> Job {
    let between = |[from, to]: [u64; 2], stream| {
        from + (to - from) * chance_ppm(rehearsal.seed, stream, hash(ticket)) / 1_000_000
    };
    let mut output_tokens = between(rehearsal.output_tokens, 3_001);
    if rehearsal.long_every.is_some_and(|every| hash(ticket).is_multiple_of(every)) {
        output_tokens *= 3;
    }
    Job { input_tokens: between(rehearsal.input_tokens, 3_000), output_tokens }
}

fn push(rehearsal: &Rehearsal, client: &mut Client, ticket: Ticket, job: Job) {
    client.jobs.insert(ticket, job);
    let need = Need {
        // A token is at least a byte; English has about four.
        prompt_bytes: job.input_tokens * 4,
        cached_bytes: 0,
        first: None,
        is_alone: false,
        counted_tokens: job.input_tokens * rehearsal.counted_percent / 100,
        max_tokens: rehearsal.max_tokens,
        is_escalated: false,
    };
    client.dispatcher.push(ticket, need);
}

fn lanes(scenario: &Scenario, rehearsal: &Rehearsal) -> Vec<Lane> {
    let today: Date = "2026-11-20".parse().unwrap();
    let models = rehearsal.models.iter().chain(rehearsal.merge_models.iter().flatten());
    let lane = |id: &String| {
        let model = Catalog::builtin().find(id, today).unwrap().clone();
        let mut pools = scenario.pools.iter();
        let pool = pools.position(|pool| pool.models.is_empty() || pool.models.contains(id));
        Lane { route: Route { id: id.clone(), model }, pool: PoolId(pool.unwrap_or(scenario.pools.len())) }
    };
    models.map(lane).collect()
}

fn new_client(scenario: &Scenario, rehearsal: &Rehearsal, lanes: &[Lane], client: u64) -> Client {
    let (map, merge) = (rehearsal.models.len(), rehearsal.merge_models.as_ref().map_or(0, Vec::len));
    let map: Vec<LaneId> = (0..map).map(LaneId).collect();
    let merge: Vec<LaneId> = (map.len()..map.len() + merge).map(LaneId).collect();
    let mut lanes = lanes.to_vec();
    for lane in &mut lanes {
        // The scenario says what an output token weighs.
        if let Some(pool) = scenario.pools.get(lane.pool.0) {
            lane.route.model.burndown = pool.burndown as u32;
        }
    }
    let settings = Settings {
        pools: pool_settings(scenario, rehearsal),
        lanes,
        merge: if merge.is_empty() { map.clone() } else { merge },
        chains: Vec::new(),
        map,
        in_flight_max: rehearsal.in_flight_max,
        attempts_max: rehearsal.attempts_max,
        retries_max: rehearsal.retries_max,
        cost_max: rehearsal.cost_max,
        document_cost_max: rehearsal.document_cost_max,
        headroom_percent: 2,
        escalate: rehearsal.escalate,
        backoff_ms: docmill::dispatch::BACKOFF_MS,
        seed: rehearsal.seed + client,
    };
    let mut state = Client {
        dispatcher: Dispatcher::new(settings),
        begins_ms: if client == 0 { 0 } else { rehearsal.second_from_s * 1_000 },
        jobs: BTreeMap::new(),
        outcomes: BTreeMap::new(),
        maps_open: BTreeMap::new(),
        wake_ms: None,
        is_stopped: false,
        is_exhausted: false,
        is_fatal: false,
        attempts: 0,
        throttled: 0,
        in_flight_seen: 0,
        billed: Usd::ZERO,
        reasons: BTreeMap::new(),
        sent: BTreeMap::new(),
    };
    for at in 0..rehearsal.calls {
        let document = at % rehearsal.documents;
        let ticket = Ticket::new(document, CallId::new(0, (at / rehearsal.documents) as u32));
        *state.maps_open.entry(document).or_default() += 1;
        push(rehearsal, &mut state, ticket, job(rehearsal, ticket));
    }
    state
}

fn pool_settings(scenario: &Scenario, rehearsal: &Rehearsal) -> Vec<PoolSettings> {
    let pools = scenario.pools.iter().map(|pool| {
        let quota = Quota {
            requests_per_minute: pool.requests_per_minute,
            tokens_per_minute: rehearsal.believes_tokens_per_minute.or(pool.tokens_per_minute),
            // Nobody knows what was used before the run, so a day's quota is found out by being refused.
            tokens_per_day: pool.tokens_per_day.filter(|day| *day == 0),
        };
        let (quota, source) = match rehearsal.know {
            Know::Stated => (quota, Source::Stated),
            Know::Assumed => (quota, Source::Assumed),
            Know::Unknown => (Quota::default(), Source::Unknown),
        };
        PoolSettings { name: pool.name.clone(), quota, source }
    });
    let unlimited =
        PoolSettings { name: "unlimited".into(), quota: Quota::default(), source: Source::Unknown };
    pools.chain([unlimited]).collect()
}
