//! The `[rehearsal]` of a scenario: who calls, how often, what they know, and what must come of it.

use std::collections::BTreeMap;

use docmill::domain::Usd;
use serde::Deserialize;

/// What a scenario's `[rehearsal]` says: who calls, how often, and what must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rehearsal {
    #[serde(default = "one")]
    pub(super) seed: u64,
    /// The run is repeated with so many seeds and the bands hold the means: shares are a matter of luck in one run.
    #[serde(default = "one")]
    pub(super) seeds: u64,
    /// Map calls of each client; each document has the same number of them and one merge call.
    pub(super) calls: u64,
    #[serde(default = "one")]
    pub(super) documents: u64,
    #[serde(default)]
    pub(super) merges: bool,
    /// As billed; evenly spread from the first to the second.
    pub(super) input_tokens: [u64; 2],
    pub(super) output_tokens: [u64; 2],
    pub(super) max_tokens: u32,
    /// One answer in so many is three times as long.
    pub(super) long_every: Option<u64>,
    /// The local count, of what is billed.
    #[serde(default = "counted_percent")]
    pub(super) counted_percent: u64,
    /// The first is used, the others are fallbacks.
    pub(super) models: Vec<String>,
    pub(super) merge_models: Option<Vec<String>>,
    #[serde(default)]
    pub(super) know: Know,
    /// What the client believes, if it is not what the service has.
    pub(super) believes_tokens_per_minute: Option<u64>,
    #[serde(default = "in_flight_max")]
    pub(super) in_flight_max: usize,
    #[serde(default = "attempts_max")]
    pub(super) attempts_max: u32,
    pub(super) retries_max: Option<u64>,
    pub(super) cost_max: Option<Usd>,
    pub(super) document_cost_max: Option<Usd>,
    #[serde(default = "yes")]
    pub(super) escalate: bool,
    #[serde(default = "call_timeout_s")]
    pub(super) call_timeout_s: u64,
    #[serde(default = "one")]
    pub(super) clients: u64,
    /// When the second client begins.
    #[serde(default)]
    pub(super) second_from_s: u64,
    /// The clients' clock runs ahead by this from then on; negative: behind.
    #[serde(default)]
    pub(super) clock_jump: Vec<ClockJump>,
    /// Utilisation is measured between these; at the second the run is stopped.
    pub(super) measure_s: Option<[u64; 2]>,
    #[serde(default)]
    pub(super) expect: BTreeMap<String, [f64; 2]>,
    /// What the reason of a call that was given up must contain.
    pub(super) reason: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClockJump {
    pub(super) at_s: u64,
    pub(super) by_s: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Know {
    #[default]
    Stated,
    Assumed,
    Unknown,
}

fn one() -> u64 {
    1
}
fn counted_percent() -> u64 {
    85
}
fn in_flight_max() -> usize {
    1_000
}
fn attempts_max() -> u32 {
    5
}
fn yes() -> bool {
    true
}
fn call_timeout_s() -> u64 {
    300
}
