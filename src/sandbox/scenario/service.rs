//! The service that a scenario describes: asked about each request as it arrives, told when its answer is out.

use super::fault::{Effect, THROTTLING};
use super::meter::Meter;
use super::{Admission, Pool, Refusal, Scenario, Selection, StorageFaultKind, Verdict, chance_ppm};

const DAY_MS: u64 = 86_400_000;

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    pub model: &'a str,
    pub input_tokens: u64,
    pub max_tokens: u64,
    /// What chance depends on: a hash of the body and of how often it was seen makes faults independent of the order
    /// in which requests arrive. `None`: the number of the call.
    pub key: Option<u64>,
}

/// Quotas, latency and faults of a scenario, with what has become of them so far. The same arrivals at the same times
/// get the same verdicts.
#[derive(Debug)]
pub struct Service {
    scenario: Scenario,
    seed: u64,
    now_ms: u64,
    calls: u64,
    in_flight: u64,
    pools: Vec<PoolState>,
}

/// What a pool has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatistics {
    /// Requests that were let in.
    pub admitted: u64,
    /// Requests that were refused for the quota's sake.
    pub throttled: u64,
    /// Tokens charged for answers that are out, by the quota's own accounting.
    pub settled_tokens: u64,
    /// Tokens taken by rivals.
    pub rival_tokens: u64,
}

#[derive(Debug)]
struct PoolState {
    requests: Option<Meter>,
    tokens: Option<Meter>,
    day_tokens: u64,
    day: u64,
    changes_done: usize,
    /// Requests each rival has sent so far.
    rivals_sent: Vec<u64>,
    statistics: PoolStatistics,
}

impl Service {
    pub fn new(scenario: &Scenario, seed: u64) -> Service {
        let pools = scenario.pools.iter().map(PoolState::new).collect();
        Service { scenario: scenario.clone(), seed, now_ms: 0, calls: 0, in_flight: 0, pools }
    }

    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Calls that are being worked on.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// In the order of the file.
    pub fn statistics(&self) -> impl Iterator<Item = (&str, PoolStatistics)> {
        self.scenario
            .pools
            .iter()
            .zip(&self.pools)
            .map(|(pool, state)| (pool.name.as_str(), state.statistics))
    }

    /// A request arrives; chance depends on its number.
    pub fn arrive(&mut self, now_ms: u64, model: &str, input_tokens: u64, max_tokens: u64) -> Verdict {
        self.receive(now_ms, Arrival { model, input_tokens, max_tokens, key: None })
    }

    /// A request arrives.
    pub fn receive(&mut self, now_ms: u64, arrival: Arrival<'_>) -> Verdict {
        self.now_ms = self.now_ms.max(now_ms);
        self.calls += 1;
        let key = arrival.key.unwrap_or(self.calls);
        let refusal_ms = self.scenario.latency.refusal_ms;
        let spoilt = match self.fault(&arrival, key) {
            Some(Effect::Refuse(refusal)) => return Verdict::Refuse(refusal),
            Some(Effect::Hang) => return Verdict::Hang,
            Some(Effect::Reset) => return Verdict::Reset,
            Some(Effect::Spoil(fault)) => Some(fault),
            None => None,
        };
        let pool = self.pool_of(arrival.model);
        let mut reserved_tokens = 0;
        if let Some(at) = pool {
            let (pool, state) = (&self.scenario.pools[at], &mut self.pools[at]);
            if pool.window_tokens.is_some_and(|window| arrival.input_tokens > window) {
                let message = "Input is too long for requested model.";
                return refuse(400, "ValidationException", message, refusal_ms);
            }
            let weight = if pool.reserves_burndown { pool.burndown } else { 1 };
            reserved_tokens = arrival.input_tokens + arrival.max_tokens * weight;
            if let Err(message) = state.admit(pool, self.now_ms, reserved_tokens) {
                return refuse(429, THROTTLING, message, refusal_ms);
            }
        }
        self.in_flight += 1;
        let (first_token_ms, per_output_token_us) = self.times(key);
        Verdict::Serve(Admission {
            pool,
            input_tokens: arrival.input_tokens,
            reserved_tokens,
            arrived_ms: self.now_ms,
            first_token_ms,
            per_output_token_us,
            fault: spoilt,
        })
    }

    /// An answer of so many tokens is out, or its client has gone after so many.
    pub fn depart(&mut self, now_ms: u64, admission: Admission, output_tokens: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(at) = admission.pool else { return };
        let (pool, state) = (&self.scenario.pools[at], &mut self.pools[at]);
        let actual = admission.input_tokens + output_tokens * pool.burndown;
        state.settle(self.now_ms, &admission, actual);
    }

    /// What goes wrong with a request to the object store. `key` as in [`Arrival`].
    pub fn storage_fault(&self, method: &str, key: u64) -> Option<StorageFaultKind> {
        let faults = self.scenario.storage_faults.iter().enumerate();
        let mut hits = faults.filter(|(at, fault)| {
            let stream = 2_000 + *at as u64;
            fault.hits(method, chance_ppm(self.seed, stream, key))
        });
        hits.next().map(|(_, fault)| fault.kind)
    }

    fn fault(&self, arrival: &Arrival<'_>, key: u64) -> Option<Effect> {
        let (now_ms, model, number) = (self.now_ms, arrival.model, self.calls);
        let fault = self.scenario.faults.iter().enumerate().find(|(at, fault)| {
            let chance_ppm = chance_ppm(self.seed, *at as u64, key);
            fault.hits(&Selection { now_ms, model, number, chance_ppm })
        });
        fault.map(|(_, fault)| fault.effect(self.scenario.latency.refusal_ms))
    }

    fn pool_of(&self, model: &str) -> Option<usize> {
        let mut pools = self.scenario.pools.iter();
        pools.position(|pool| pool.models.is_empty() || pool.models.iter().any(|id| id == model))
    }

    /// First token (ms) and each later one (us), for the call that has just been counted in.
    fn times(&self, key: u64) -> (u64, u64) {
        let latency = &self.scenario.latency;
        let second = self.now_ms / 1_000;
        let changed = latency.changes.iter().rev().find(|change| change.at_s <= second);
        let mut percent = changed.map_or(100, |change| change.percent);
        if let Some(comfortable) = latency.comfortable_in_flight.filter(|n| *n > 0) {
            percent = percent * self.in_flight.max(comfortable) / comfortable;
        }
        let jitter = latency.jitter_percent * chance_ppm(self.seed, 1_000, key) / 1_000_000;
        percent += percent * jitter / 100;
        (latency.first_token_ms * percent / 100, latency.per_output_token_us * percent / 100)
    }
}

fn refuse(status: u16, error_type: &str, message: &str, latency_ms: u64) -> Verdict {
    let (error_type, message) = (error_type.to_owned(), message.to_owned());
    Verdict::Refuse(Refusal { status, error_type, message, retry_after_s: None, latency_ms })
}

impl PoolState {
    fn new(pool: &Pool) -> PoolState {
        PoolState {
            requests: pool.requests_per_minute.map(|quota| Meter::new(pool.window, quota)),
            tokens: pool.tokens_per_minute.map(|quota| Meter::new(pool.window, quota)),
            day_tokens: 0,
            day: 0,
            changes_done: 0,
            rivals_sent: vec![0; pool.rivals.len()],
            statistics: PoolStatistics::default(),
        }
    }

    /// Books the start of a call, or says which quota is used up. The words are the service's.
    fn admit(&mut self, pool: &Pool, now_ms: u64, tokens: u64) -> Result<(), &'static str> {
        self.catch_up(pool, now_ms);
        let result = self.check(pool, now_ms, tokens);
        match result {
            Ok(()) => {
                self.statistics.admitted += 1;
                self.day_tokens += tokens;
                for (meter, amount) in [(&mut self.requests, 1), (&mut self.tokens, tokens)] {
                    if let Some(meter) = meter {
                        meter.charge(now_ms, amount);
                    }
                }
            }
            Err(_) => self.statistics.throttled += 1,
        }
        result
    }

    fn check(&mut self, pool: &Pool, now_ms: u64, tokens: u64) -> Result<(), &'static str> {
        if pool.tokens_per_day.is_some_and(|quota| self.day_tokens + tokens > quota) {
            return Err("Too many tokens per day, please wait before trying again.");
        }
        if self.requests.as_mut().is_some_and(|meter| !meter.fits(now_ms, 1, false)) {
            return Err("Too many requests, please wait before trying again.");
        }
        let oversize = !pool.refuses_oversize;
        if self.tokens.as_mut().is_some_and(|meter| !meter.fits(now_ms, tokens, oversize)) {
            return Err("Too many tokens, please wait before trying again.");
        }
        Ok(())
    }

    fn settle(&mut self, now_ms: u64, admission: &Admission, actual: u64) {
        self.statistics.settled_tokens += actual;
        self.day_tokens = (self.day_tokens + actual).saturating_sub(admission.reserved_tokens);
        if let Some(meter) = &mut self.tokens {
            meter.settle(now_ms, admission.arrived_ms, admission.reserved_tokens, actual);
        }
    }

    /// Lets happen what happened since the last time: changes of quota, what rivals took, a new day.
    fn catch_up(&mut self, pool: &Pool, now_ms: u64) {
        if now_ms / DAY_MS > self.day {
            self.day = now_ms / DAY_MS;
            self.day_tokens = 0;
        }
        loop {
            let change = pool.changes.get(self.changes_done).filter(|change| change.at_s * 1_000 <= now_ms);
            let until_ms = change.map_or(now_ms, |change| change.at_s * 1_000);
            self.rivals(pool, until_ms);
            let Some(change) = change else { return };
            self.changes_done += 1;
            for (meter, quota) in [
                (&mut self.requests, change.requests_per_minute),
                (&mut self.tokens, change.tokens_per_minute),
            ] {
                if let Some(quota) = quota {
                    meter.get_or_insert_with(|| Meter::new(pool.window, quota)).set(until_ms, quota);
                }
            }
        }
    }

    fn rivals(&mut self, pool: &Pool, now_ms: u64) {
        for (rival, sent) in pool.rivals.iter().zip(&mut self.rivals_sent) {
            let from_ms = rival.from_s * 1_000;
            let until_ms = rival.until_s.map_or(now_ms, |s| (s * 1_000).min(now_ms));
            let due = until_ms.saturating_sub(from_ms) * rival.requests_per_minute / 60_000;
            while *sent < due {
                *sent += 1;
                let at_ms = from_ms + *sent * 60_000 / rival.requests_per_minute.max(1);
                let has_request = self.requests.as_mut().is_none_or(|meter| meter.fits(at_ms, 1, false));
                let taken = has_request
                    && self.tokens.as_mut().is_none_or(|meter| meter.take(at_ms, rival.tokens, true));
                if taken {
                    self.statistics.rival_tokens += rival.tokens;
                    if let Some(meter) = &mut self.requests {
                        meter.charge(at_ms, 1);
                    }
                }
            }
        }
    }
}
