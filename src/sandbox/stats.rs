//! What the sandbox did: requests, answers, faults, and which answers were paid for.
//!
//! The bookkeeping of the other side. A client that was killed can not say what it bought; the server can. An answer
//! is *paid* when the model began to work on it, whatever became of it on the way, and *delivered* when its last byte
//! was handed to the connection.
//!
//! ```text
//! { "operations": [{ "operation": "ConverseStream", "model": "us.amazon.nova-lite-v1:0", "requests": 9, "answered": 5,
//!                    "throttled": 2, "refused": 0, "abandoned": 1, "faults": { "cut-off": 1 },
//!                    "input_tokens": 812, "output_tokens": 264,
//!                    "cache_read_tokens": 0, "cache_write_5m_tokens": 0, "cache_write_1h_tokens": 0 }],
//!   "storage": { "requests": 40, "faults": { "slow-down": 3 } },
//!   "answers_paid": 7, "answers_delivered": 5, "answers_bought_twice": 1, "answers_delivered_twice": 0,
//!   "bodies": { "0f3c5a7e9b1d2468": 2, ... },                       paid answers by request
//!   "pools": [{ "name": "nova", "admitted": 7, "throttled": 2, "settled_tokens": 1340, "rival_tokens": 0 }],
//!   "scenario_ms": 61200 }
//! ```
//!
//! Of the requests of an operation, `answered`, `throttled`, `refused`, `abandoned` and `faults` add up to those that have
//! ended. A fault that spoils an answer without breaking it (`max-tokens`, `empty`) is delivered all the same.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::bedrock::Usage;
use super::weather::Weather;

/// A request by what it asks: the model and the body, hashed. Converse and ConverseStream of the same are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    /// The first 16 hexadecimal digits of SHA-256 over the model's id, a line feed and the body.
    pub fn of(model: &str, body: &[u8]) -> Fingerprint {
        let digest = Sha256::new().chain_update(model).chain_update(b"\n").chain_update(body).finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Fingerprint(first)
    }

    pub fn number(self) -> u64 {
        u64::from_be_bytes(self.0)
    }
}

/// Counts since the start or the last reset.
#[derive(Debug, Default)]
pub struct Stats {
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    operations: BTreeMap<(&'static str, String), Counts>,
    storage_requests: u64,
    storage_faults: BTreeMap<&'static str, u64>,
    answers: BTreeMap<Fingerprint, Bought>,
}

/// Of one operation on one model.
#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    answered: u64,
    throttled: u64,
    refused: u64,
    /// Clients that went away before the end of their answer.
    abandoned: u64,
    faults: BTreeMap<String, u64>,
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_5m_tokens: u64,
    cache_write_1h_tokens: u64,
}

#[derive(Debug, Default)]
struct Bought {
    paid: u64,
    delivered: u64,
}

/// How a request to a model ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended<'a> {
    /// The answer was handed over, whole.
    Answered,
    Throttled,
    /// Refused for what it asked.
    Refused,
    /// The client went away.
    Abandoned,
    /// Hit by a fault of this name.
    Fault(&'a str),
}

impl Stats {
    pub fn request(&self, operation: &'static str, model: &str) {
        self.count(operation, model, |counts| counts.requests += 1);
    }

    pub fn ended(&self, operation: &'static str, model: &str, ended: Ended<'_>) {
        self.count(operation, model, |counts| match ended {
            Ended::Answered => counts.answered += 1,
            Ended::Throttled => counts.throttled += 1,
            Ended::Refused => counts.refused += 1,
            Ended::Abandoned => counts.abandoned += 1,
            Ended::Fault(name) => *counts.faults.entry(name.to_owned()).or_default() += 1,
        });
    }

    /// The model works on an answer that costs this.
    pub fn paid(&self, operation: &'static str, model: &str, request: Fingerprint, usage: Usage) {
        self.with(|tally| {
            tally.answers.entry(request).or_default().paid += 1;
            let counts = tally.operations.entry((operation, model.to_owned())).or_default();
            counts.input_tokens += usage.input;
            counts.output_tokens += usage.output;
            counts.cache_read_tokens += usage.cached.read;
            counts.cache_write_5m_tokens += usage.cached.written_5m;
            counts.cache_write_1h_tokens += usage.cached.written_1h;
        });
    }

    pub fn delivered(&self, request: Fingerprint) {
        self.with(|tally| tally.answers.entry(request).or_default().delivered += 1);
    }

    pub fn storage(&self, fault: Option<&'static str>) {
        self.with(|tally| {
            tally.storage_requests += 1;
            if let Some(name) = fault {
                *tally.storage_faults.entry(name).or_default() += 1;
            }
        });
    }

    pub fn reset(&self) {
        self.with(|tally| *tally = Tally::default());
    }

    /// Everything, for `GET /_sandbox/stats`.
    pub fn to_json(&self, weather: &Weather) -> Value {
        let (scenario_ms, pools) = weather.pools();
        let pools: Vec<Value> = pools
            .iter()
            .map(|(name, pool)| {
                json!({
                    "name": name, "admitted": pool.admitted, "throttled": pool.throttled,
                    "settled_tokens": pool.settled_tokens, "rival_tokens": pool.rival_tokens,
                })
            })
            .collect();
        let mut body = self.with(|tally| tally.to_json());
        body["pools"] = Value::Array(pools);
        body["scenario_ms"] = json!(scenario_ms);
        body
    }

    fn count(&self, operation: &'static str, model: &str, change: impl FnOnce(&mut Counts)) {
        self.with(|tally| change(tally.operations.entry((operation, model.to_owned())).or_default()));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Tally) -> T) -> T {
        work(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tally {
    fn to_json(&self) -> Value {
        let operations: Vec<Value> = self
            .operations
            .iter()
            .map(|((operation, model), counts)| {
                json!({
                    "operation": operation, "model": model, "requests": counts.requests,
                    "answered": counts.answered, "throttled": counts.throttled, "refused": counts.refused,
                    "abandoned": counts.abandoned, "faults": counts.faults,
                    "input_tokens": counts.input_tokens, "output_tokens": counts.output_tokens,
                    "cache_read_tokens": counts.cache_read_tokens,
                    "cache_write_5m_tokens": counts.cache_write_5m_tokens,
                    "cache_write_1h_tokens": counts.cache_write_1h_tokens,
                })
            })
            .collect();
        let again = |count: fn(&Bought) -> u64| -> u64 {
            self.answers.values().map(|bought| count(bought).saturating_sub(1)).sum()
        };
        let bodies: BTreeMap<String, u64> =
            self.answers.iter().map(|(request, bought)| (hex::encode(request.0), bought.paid)).collect();
        json!({
            "operations": operations,
            "storage": { "requests": self.storage_requests, "faults": self.storage_faults },
            "answers_paid": self.answers.values().map(|bought| bought.paid).sum::<u64>(),
            "answers_delivered": self.answers.values().map(|bought| bought.delivered).sum::<u64>(),
            "answers_bought_twice": again(|bought| bought.paid),
            "answers_delivered_twice": again(|bought| bought.delivered),
            "bodies": bodies,
        })
    }
}
