//! The scenario as the two services meet it over HTTP: real time turned into the scenario's, chance out of the request.
//!
//! Which requests a fault hits depends on a hash of the request and on how often that request was seen before, never on
//! the order in which requests arrive: a run with faults can be repeated although its calls race each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::scenario::{
    Admission, Arrival, PoolStatistics, Refusal, Scenario, Service, StorageFaultKind, StreamFault, Verdict,
};
use super::{Latency, Options};

/// Spreads the keys of repeated requests over all numbers (the golden ratio in 64 bits).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Quotas, latency and faults, or fair weather.
#[derive(Debug)]
pub struct Weather {
    latency: Latency,
    /// Scenario seconds in a second.
    speed: u32,
    seed: u64,
    scenario: Option<Scenario>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    started: Instant,
    service: Option<Service>,
    /// How often a request was seen.
    seen: HashMap<u64, u64>,
}

/// What a model call meets.
#[derive(Debug)]
pub enum Fate {
    Serve(Visit),
    /// An error, after a while.
    Refuse(Refusal, Duration),
    Hang,
    Reset,
}

/// A call that is being worked on. Its tokens are given back when this is dropped: all of its answer when
/// [`Visit::end`] was called, what was said until then otherwise.
#[derive(Debug)]
pub struct Visit {
    weather: Arc<Weather>,
    admission: Option<Admission>,
    started: Instant,
    output_tokens: u64,
    is_over: bool,
    pub first_token: Duration,
    pub per_output_token: Duration,
}

impl Weather {
    pub fn new(options: &Options) -> Weather {
        let scenario = options.scenario.clone();
        let state = Mutex::new(State::new(scenario.as_ref(), options.seed));
        let (latency, speed, seed) = (options.latency, options.speed.max(1), options.seed);
        Weather { latency, speed, seed, scenario, state }
    }

    /// As if the sandbox had just been started.
    pub fn reset(&self) {
        self.with(|state| *state = State::new(self.scenario.as_ref(), self.seed));
    }

    pub fn scenario(&self) -> Option<&Scenario> {
        self.scenario.as_ref()
    }

    /// A model call arrives; `request` is a hash of it.
    pub fn receive(self: &Arc<Self>, model: &str, input_tokens: u64, max_tokens: u64, request: u64) -> Fate {
        let fair = self.scenario.is_none();
        let verdict = if fair {
            None
        } else {
            self.with(|state| {
                let now_ms = self.now_ms(state.started);
                state.receive(now_ms, Arrival { model, input_tokens, max_tokens, key: Some(request) })
            })
        };
        match verdict {
            None => Fate::Serve(self.visit(None)),
            Some(Verdict::Serve(admission)) => Fate::Serve(self.visit(Some(admission))),
            Some(Verdict::Refuse(refusal)) => {
                let wait = self.real(Duration::from_millis(refusal.latency_ms));
                Fate::Refuse(refusal, wait)
            }
            Some(Verdict::Hang) => Fate::Hang,
            Some(Verdict::Reset) => Fate::Reset,
        }
    }

    /// What goes wrong with a request to the object store; `request` is a hash of it.
    pub fn storage_fault(&self, method: &str, request: u64) -> Option<StorageFaultKind> {
        if self.scenario.as_ref().is_none_or(|scenario| scenario.storage_faults.is_empty()) {
            return None;
        }
        self.with(|state| {
            let key = state.key(request);
            state.service.as_ref()?.storage_fault(method, key)
        })
    }

    /// The scenario's time: what goes by at the scenario's speed.
    pub fn time_ms(&self) -> u64 {
        self.with(|state| self.now_ms(state.started))
    }

    /// What became of the pools, in the scenario's order, and the scenario's time.
    pub fn pools(&self) -> (u64, Vec<(String, PoolStatistics)>) {
        self.with(|state| {
            let pools = state.service.iter().flat_map(Service::statistics);
            (self.now_ms(state.started), pools.map(|(name, pool)| (name.to_owned(), pool)).collect())
        })
    }

    fn visit(self: &Arc<Self>, admission: Option<Admission>) -> Visit {
        let (first_token, per_output_token) = match &admission {
            None => (self.latency.fixed, self.latency.per_output_token),
            Some(admission) => (
                self.real(Duration::from_millis(admission.first_token_ms)),
                self.real(Duration::from_micros(admission.per_output_token_us)),
            ),
        };
        Visit {
            weather: Arc::clone(self),
            admission,
            started: Instant::now(),
            output_tokens: 0,
            is_over: false,
            first_token,
            per_output_token,
        }
    }

    fn depart(&self, admission: Admission, output_tokens: u64) {
        self.with(|state| {
            let now_ms = self.now_ms(state.started);
            if let Some(service) = &mut state.service {
                service.depart(now_ms, admission, output_tokens);
            }
        });
    }

    fn now_ms(&self, started: Instant) -> u64 {
        let elapsed = started.elapsed().saturating_mul(self.speed);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    fn real(&self, scenario: Duration) -> Duration {
        scenario / self.speed
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // Whoever panicked in here left numbers, not broken structure.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn new(scenario: Option<&Scenario>, seed: u64) -> State {
        let service = scenario.map(|scenario| Service::new(scenario, seed));
        State { started: Instant::now(), service, seen: HashMap::new() }
    }

    /// Lets a request arrive whose key is its hash. One that is refused for a quota's sake has not been seen: how often
    /// a client runs into a quota is a matter of time, and must not decide what the faults hit.
    fn receive(&mut self, now_ms: u64, arrival: Arrival<'_>) -> Option<Verdict> {
        let request = arrival.key.unwrap_or_default();
        let key = self.key(request);
        let service = self.service.as_mut()?;
        let throttled = |service: &Service| service.statistics().map(|(_, pool)| pool.throttled).sum::<u64>();
        let before = throttled(service);
        let verdict = service.receive(now_ms, Arrival { key: Some(key), ..arrival });
        if throttled(service) > before {
            self.seen.entry(request).and_modify(|seen| *seen -= 1);
        }
        Some(verdict)
    }

    /// What chance depends on.
    fn key(&mut self, request: u64) -> u64 {
        let seen = self.seen.entry(request).or_default();
        *seen += 1;
        request.wrapping_add(seen.wrapping_mul(SPREAD))
    }
}

impl Visit {
    /// What goes wrong with the answer.
    pub fn fault(&self) -> Option<&StreamFault> {
        self.admission.as_ref().and_then(|admission| admission.fault.as_ref())
    }

    /// How long the answer will be. To be told as soon as it is known.
    pub fn set_output_tokens(&mut self, tokens: u64) {
        self.output_tokens = tokens;
    }

    /// When so many tokens have been said.
    pub fn due(&self, tokens: u64) -> Instant {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.started + self.first_token + self.per_output_token.saturating_mul(tokens)
    }

    /// Whether a token takes time.
    pub fn is_paced(&self) -> bool {
        !(self.first_token.is_zero() && self.per_output_token.is_zero())
    }

    /// From the arrival to the last token.
    pub fn latency(&self) -> Duration {
        self.due(self.output_tokens).max(Instant::now()) - self.started
    }

    /// The whole answer is out.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    fn said(&self) -> u64 {
        let speaking = self.started.elapsed().saturating_sub(self.first_token);
        let per_token = self.per_output_token.as_nanos();
        if self.is_over || per_token == 0 {
            return self.output_tokens;
        }
        u64::try_from(speaking.as_nanos() / per_token).unwrap_or(u64::MAX).min(self.output_tokens)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let said = self.said();
        if let Some(admission) = self.admission.take() {
            self.weather.depart(admission, said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weather(text: &str) -> Arc<Weather> {
        let scenario = Scenario::parse(&format!("about = 'a test'\n{text}")).expect("a scenario");
        Arc::new(Weather::new(&Options { scenario: Some(scenario), ..Options::default() }))
    }

    #[test]
    fn a_quota_does_not_decide_what_the_faults_hit() {
        let text = "[[pool]]\nname = 'shut'\nmodels = ['shut']\nrequests_per_minute = 0\n\
                    [[fault]]\nkind = 'empty'\nprobability = 0.5";
        let is_spoilt = |weather: &Arc<Weather>, request| match weather.receive("open", 1, 1, request) {
            Fate::Serve(visit) => visit.fault().is_some(),
            other => panic!("{other:?}"),
        };
        let (calm, busy) = (weather(text), weather(text));
        let mut spoilt = 0;
        for request in 0..100 {
            for _ in 0..3 {
                let refused = busy.receive("shut", 1, 1, request);
                assert!(matches!(refused, Fate::Refuse(..)), "{refused:?}");
            }
            let hit = is_spoilt(&calm, request);
            assert_eq!(hit, is_spoilt(&busy, request), "{request}");
            spoilt += u32::from(hit);
        }
        assert!((30..70).contains(&spoilt), "{spoilt}");
    }

    #[test]
    fn what_is_set_aside_is_given_back_when_the_client_goes() {
        let weather = weather("[[pool]]\nname = 'p'\ntokens_per_minute = 1000\nwindow = 'fixed-minute'");
        let Fate::Serve(mut visit) = weather.receive("m", 100, 800, 1) else { panic!("there is room") };
        assert!(matches!(weather.receive("m", 100, 800, 2), Fate::Refuse(..)));
        visit.set_output_tokens(50);
        drop(visit);
        assert!(matches!(weather.receive("m", 50, 800, 2), Fate::Serve(_)));
        let (_, pools) = weather.pools();
        assert_eq!((pools[0].1.admitted, pools[0].1.throttled), (2, 1));
        assert_eq!(pools[0].1.settled_tokens, 150 + 50);
    }
}
