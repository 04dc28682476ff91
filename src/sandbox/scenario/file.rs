//! A scenario as its TOML file holds it, read and checked.

use serde::Deserialize;

use crate::catalog::Date;

use super::{Fault, StorageFault};

/// Everything a scenario file says about the service. What a test makes of it (who calls, how often, what must come
/// of it) stands in `[rehearsal]` and is the test's own affair.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What this weather is and whose complaint it answers.
    pub about: String,
    /// Quota pools; a model that is in none is not limited.
    #[serde(default, rename = "pool")]
    pub pools: Vec<Pool>,
    #[serde(default)]
    pub latency: Latency,
    /// The first that hits counts.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
    #[serde(default, rename = "storage_fault")]
    pub storage_faults: Vec<StorageFault>,
    #[serde(default, rename = "guardrail")]
    pub guardrails: Vec<Guardrail>,
    /// What ARNs of the account's own lead to: application inference profiles, prompt routers, provisioned throughput.
    #[serde(default, rename = "alias")]
    pub aliases: Vec<Alias>,
    /// Where the lives of models go otherwise than the catalogue says.
    #[serde(default, rename = "lifecycle")]
    pub lifecycles: Vec<Lifecycle>,
    #[serde(default)]
    pub rehearsal: toml::Table,
}

/// A guardrail of the account: it blocks what has a phrase in it, in prompts and in answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    /// As requests name it; an ARN that ends in it names it as well.
    pub id: String,
    /// Looked for without regard to case.
    pub phrase: String,
    /// What is said instead.
    #[serde(default = "blocked")]
    pub message: String,
}

fn blocked() -> String {
    "Sorry, the model cannot answer this question.".to_owned()
}

/// The days of a model, written `2026-11-20`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lifecycle {
    /// The id of the model itself, not of a profile.
    pub model: String,
    pub legacy: Option<Date>,
    pub end_of_life: Option<Date>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    pub arn: String,
    /// The id of a model or of an inference profile.
    pub model: String,
}

/// One quota: models that draw on it, how much there is, how it comes back.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    pub name: String,
    /// Ids that are served from this pool; empty: all that no pool above has.
    #[serde(default)]
    pub models: Vec<String>,
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
    pub tokens_per_day: Option<u64>,
    #[serde(default)]
    pub window: Window,
    /// What an output token weighs when a call is settled.
    #[serde(default = "one")]
    pub burndown: u64,
    /// The weight counts in what is set aside at the start as well: documents and users disagree.
    #[serde(default)]
    pub reserves_burndown: bool,
    /// A request that is larger than a whole minute is refused for ever, not served from a full bucket.
    #[serde(default)]
    pub refuses_oversize: bool,
    /// Tokens a prompt may have; longer ones are refused as too long.
    pub window_tokens: Option<u64>,
    /// From a time on the quota is another.
    #[serde(default, rename = "change")]
    pub changes: Vec<Change>,
    /// Other clients of the same account.
    #[serde(default, rename = "rival")]
    pub rivals: Vec<Rival>,
}

fn one() -> u64 {
    1
}

/// How a minute's quota comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// A bucket of one minute's size that fills evenly.
    #[default]
    Continuous,
    /// All of it at each full minute.
    FixedMinute,
    /// Never more than the quota in any sixty seconds.
    RollingMinute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    pub at_s: u64,
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
}

/// A client that sends evenly and does not care about throttles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rival {
    #[serde(default)]
    pub from_s: u64,
    pub until_s: Option<u64>,
    pub requests_per_minute: u64,
    /// What each of its requests is charged.
    pub tokens: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Until the first token.
    #[serde(default)]
    pub first_token_ms: u64,
    /// For each token of the answer, microseconds.
    #[serde(default)]
    pub per_output_token_us: u64,
    /// How far a call's times may lie above the stated ones.
    #[serde(default)]
    pub jitter_percent: u64,
    /// How soon a refusal is sent.
    #[serde(default)]
    pub refusal_ms: u64,
    /// With more calls than this at a time, all get slower in proportion.
    pub comfortable_in_flight: Option<u64>,
    #[serde(default, rename = "change")]
    pub changes: Vec<LatencyChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyChange {
    pub at_s: u64,
    /// Of the stated times; 300 is three times as slow.
    pub percent: u64,
}

/// Why a file is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("the scenario is not valid TOML or has a key or value that scenarios do not have")]
    Syntax(#[from] toml::de::Error),
    #[error("fault {number}: the probability {value} is not between 0 and 1")]
    Probability { number: usize, value: f64 },
    #[error("fault {number}: `calls` is [first, last], counted from 1, and the last is not before the first")]
    Calls { number: usize },
    #[error("pool `{pool}`: changes must be in the order of their time")]
    Order { pool: String },
    #[error("two pools are named `{0}`: give each a name of its own")]
    SameName(String),
    #[error("pool `{0}`: an output token weighs at least 1 (burndown)")]
    Weightless(String),
    #[error("guardrail `{0}`: an empty phrase is in everything")]
    Phraseless(String),
}

impl Scenario {
    /// Reads the text of a scenario file.
    pub fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let faults = self.faults.iter().map(|fault| fault.probability);
        let probabilities = faults.chain(self.storage_faults.iter().map(|fault| fault.probability));
        for (at, value) in probabilities.enumerate() {
            if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
                return Err(ScenarioError::Probability { number: at + 1, value });
            }
        }
        for (at, fault) in self.faults.iter().enumerate() {
            if fault.calls.is_some_and(|[first, last]| first == 0 || last < first) {
                return Err(ScenarioError::Calls { number: at + 1 });
            }
        }
        if let Some(guardrail) = self.guardrails.iter().find(|guardrail| guardrail.phrase.is_empty()) {
            return Err(ScenarioError::Phraseless(guardrail.id.clone()));
        }
        for (at, pool) in self.pools.iter().enumerate() {
            if !pool.changes.is_sorted_by_key(|change| change.at_s) {
                return Err(ScenarioError::Order { pool: pool.name.clone() });
            }
            if self.pools[..at].iter().any(|other| other.name == pool.name) {
                return Err(ScenarioError::SameName(pool.name.clone()));
            }
            if pool.burndown == 0 {
                return Err(ScenarioError::Weightless(pool.name.clone()));
            }
        }
        Ok(())
    }
}
