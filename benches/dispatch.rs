//! What the dispatcher itself costs: processor time per call, with 10,000 calls queued and 1,000 in flight.
//!
//! ```text
//! cargo bench --bench dispatch                   some seconds
//! cargo bench --bench dispatch -- --once         a small run, to see that it still works
//! ```
//!
//! Each round answers the oldest call in flight, queues a new one in its place and asks what to send, as a run does;
//! the time is this thread's own. Most of a call's cost in a run is the SDK's (signing, TLS, JSON), which is not here.

use std::collections::VecDeque;
use std::time::Duration;
use std::{env, fs, hint, thread};

use docmill::catalog::Catalog;
use docmill::dispatch::{
    BACKOFF_MS, Dispatcher, Failure, FailureClass, Lane, LaneId, Need, Next, PoolId, PoolSettings, Quota,
    Sending, Settings, Source, Ticket,
};
use docmill::domain::{CallId, Reply, StopReason, Usage};
use docmill::plan::Route;

const QUEUED: usize = 10_000;
const IN_FLIGHT: usize = 1_000;
const ROUNDS: usize = 5;
/// How long an answer takes.
const LATENCY_MS: u64 = 10_000;

struct Load {
    name: &'static str,
    /// Models, each in a pool of its own; the map stage uses all in turn.
    pools: usize,
    quota: Quota,
    source: Source,
    /// Of a thousand calls so many fail and are tried again.
    faults_permille: u64,
}

fn main() {
    let is_short = env::args().any(|argument| argument == "--once" || argument == "--test");
    let plenty = Quota {
        requests_per_minute: Some(100_000_000),
        tokens_per_minute: Some(400_000_000_000),
        tokens_per_day: Some(u64::MAX / 2),
    };
    let loads = [
        Load {
            name: "no quota",
            pools: 1,
            quota: Quota::default(),
            source: Source::Unknown,
            faults_permille: 0,
        },
        Load { name: "known quotas", pools: 1, quota: plenty, source: Source::Stated, faults_permille: 0 },
        Load {
            name: "5 % of calls fail",
            pools: 1,
            quota: plenty,
            source: Source::Stated,
            faults_permille: 50,
        },
        Load { name: "eight pools", pools: 8, quota: plenty, source: Source::Stated, faults_permille: 0 },
    ];
    println!("{:<22} {:>10} {:>10} {:>14}", "dispatch", "queued", "in flight", "us per call");
    for load in &loads {
        let calls = if is_short { 2_000 } else { 100_000 };
        let rounds = if is_short { 1 } else { ROUNDS };
        let mut micros: Vec<f64> = Vec::new();
        let mut in_flight = 0;
        for _ in 0..rounds {
            let mut run = Run::new(load);
            run.warm_up();
            let spent = run.calls(calls);
            in_flight = run.flying.len();
            micros.push(spent.as_secs_f64() * 1e6 / calls as f64);
        }
        micros.sort_by(f64::total_cmp);
        println!("{:<22} {QUEUED:>10} {in_flight:>10} {:>14.2}", load.name, micros[micros.len() / 2]);
    }
}

struct Run {
    dispatcher: Dispatcher,
    /// With the time of its answer.
    flying: VecDeque<(u64, Sending)>,
    pushed: u64,
    answered: u64,
    now_ms: u64,
    faults_permille: u64,
}

impl Run {
    fn new(load: &Load) -> Run {
        let today = "2026-11-20".parse().expect("a date");
        let id = "us.amazon.nova-lite-v1:0";
        let model = Catalog::builtin().find(id, today).expect("the model is alive on that day");
        let pool =
            |at: usize| PoolSettings { name: format!("pool {at}"), quota: load.quota, source: load.source };
        let lane =
            |at: usize| Lane { route: Route { id: id.to_owned(), model: model.clone() }, pool: PoolId(at) };
        let lanes: Vec<LaneId> = (0..load.pools).map(LaneId).collect();
        let dispatcher = Dispatcher::new(Settings {
            pools: (0..load.pools).map(pool).collect(),
            lanes: (0..load.pools).map(lane).collect(),
            map: lanes.clone(),
            merge: lanes,
            chains: Vec::new(),
            in_flight_max: IN_FLIGHT,
            attempts_max: 5,
            retries_max: Some(u64::MAX),
            cost_max: "1000000".parse().ok(),
            document_cost_max: "1000".parse().ok(),
            headroom_percent: 2,
            escalate: true,
            backoff_ms: BACKOFF_MS,
            seed: 1,
        });
        let faults_permille = load.faults_permille;
        Run { dispatcher, flying: VecDeque::new(), pushed: 0, answered: 0, now_ms: 0, faults_permille }
    }

    /// Until the window is as wide as it may be.
    fn warm_up(&mut self) {
        (0..QUEUED).for_each(|_| self.push());
        for _ in 0..50_000 {
            self.step();
        }
    }

    fn calls(&mut self, calls: usize) -> Duration {
        let start = cpu_time();
        for _ in 0..calls {
            self.step();
        }
        cpu_time().saturating_sub(start)
    }

    fn push(&mut self) {
        let call = CallId::new(u32::from(self.pushed % 16 == 15), (self.pushed % 16) as u32);
        let need = Need {
            prompt_bytes: 32_000,
            cached_bytes: 0,
            first: None,
            is_alone: false,
            counted_tokens: 8_000,
            max_tokens: 1_500,
            is_escalated: false,
        };
        self.dispatcher.push(Ticket::new(self.pushed / 16, call), need);
        self.pushed += 1;
    }

    /// Whatever may be sent.
    fn fill(&mut self) {
        loop {
            match self.dispatcher.next(self.now_ms) {
                Next::Send(sending) => self.flying.push_back((self.now_ms + LATENCY_MS, sending)),
                Next::WaitUntil(at_ms) if self.flying.is_empty() => self.now_ms = at_ms,
                _ => break,
            }
        }
    }

    /// Whatever may be sent, one answer, one new call.
    fn step(&mut self) {
        self.fill();
        let Some((due_ms, sending)) = self.flying.pop_front() else { return };
        self.now_ms = self.now_ms.max(due_ms);
        self.answered += 1;
        let result = match self.answered * 7_919 % 1_000 {
            n if n < self.faults_permille => Err(failure(FailureClass::Transient)),
            n => Ok(reply(300 + n)),
        };
        let is_answered = result.is_ok();
        hint::black_box(self.dispatcher.finish(sending.ticket, result, self.now_ms));
        if is_answered {
            self.push();
        }
    }
}

fn failure(class: FailureClass) -> Failure {
    Failure { class, message: "HTTP 500".to_owned(), retry_after_ms: None }
}

fn reply(output_tokens: u64) -> Reply {
    let usage = Usage { input_tokens: 9_000, output_tokens, ..Usage::default() };
    Reply { text: "an answer".to_owned(), stop: StopReason::EndTurn, usage }
}

/// Time this thread has had a processor, where the system tells; else the clock.
fn cpu_time() -> Duration {
    // Leaving the processor brings the account up to date.
    thread::yield_now();
    let spent = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let spent = spent.and_then(|line| line.split(' ').next()?.parse().ok());
    spent.map_or_else(clock, Duration::from_nanos)
}

fn clock() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}
