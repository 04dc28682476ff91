//! What a plan says, as a table for people and as one JSON value for programs.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::table::count;
use crate::domain::{Planned, Usd};
use crate::plan::{Advice, Caching, DurationRange, Estimate, Extrapolation, LoadRow};

/// Everything that there is to say about what a run would do.
#[derive(Clone, Debug)]
pub struct PlanView {
    /// Of the documents that were read.
    pub planned: Planned,
    /// Of all documents: the same, or worked out from a sample.
    pub estimate: Estimate,
    pub sample: Option<Extrapolation>,
    pub loads: Vec<LoadRow>,
    /// With no quota known, what the calls alone take.
    pub duration: DurationRange,
    pub caching: Vec<Caching>,
    pub advice: Vec<Advice>,
    /// Earlier runs of the pipeline have said how long its answers are.
    pub from_history: bool,
    /// `limits.max_cost_usd`.
    pub max_cost: Option<Usd>,
    pub map_model: String,
    pub merge_model: String,
    pub passed: Passed,
}

/// What a plan leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Passed {
    pub unreadable: u64,
    pub excluded: u64,
    pub unchanged: u64,
    pub given_up: u64,
}

impl PlanView {
    pub fn json(&self) -> Value {
        let Passed { unreadable, excluded, unchanged, given_up } = self.passed;
        let sample = self.sample.as_ref().map(|sample| {
            json!({
                "documents": sample.sampled, "listed_documents": sample.listed.documents,
                "listed_bytes": sample.listed.bytes,
                // One document says nothing about the others.
                "error_percent": (sample.sampled > 1).then(|| (sample.error_percent() * 10.0).round() / 10.0),
                "expected_low": sample.expected_low, "expected_high": sample.expected_high,
            })
        });
        let seconds = |duration: Duration| duration.as_secs();
        json!({
            "plan": self.planned, "map_model": self.map_model, "merge_model": self.merge_model,
            "cost_usd": {
                "low": self.estimate.at_least, "likely": self.estimate.expected, "ceiling": self.estimate.at_most,
            },
            "from_history": self.from_history, "calls": self.estimate.calls, "models": self.loads, "sample": sample,
            "time": {
                "least_s": seconds(self.duration.least), "most_s": seconds(self.duration.most),
                "bottleneck": self.duration.bottleneck, "over_a_day": self.duration.over_a_day,
            },
            "caching": self.caching, "advice": self.advice,
            "unreadable": unreadable, "excluded": excluded, "unchanged": unchanged, "given_up": given_up,
        })
    }
}

/// The table of a plan.
pub fn plan_table(view: &PlanView) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<11} {value}");
    };
    let PlanView { planned, estimate, sample, .. } = view;
    match sample {
        Some(sample) => {
            let listed = sample.listed;
            row(
                "documents",
                format!(
                    "{} listed ({:.1} MiB), {} of them read; the rest is taken to be alike",
                    count(listed.documents),
                    listed.bytes as f64 / f64::from(1 << 20),
                    count(sample.sampled)
                ),
            );
        }
        None => {
            row("documents", count(planned.documents));
            row("tokens", count(planned.tokens));
            row("chunks", count(planned.chunks));
        }
    }
    let about = if sample.is_some() { "about " } else { "" };
    row("calls", format!("{about}{}", count(estimate.calls)));
    row("tokens in", format!("about {}", count(estimate.input_tokens)));
    row("tokens out", format!("about {}", count(estimate.output_tokens)));
    row(
        "cost",
        format!(
            "about ${:.6}, at least ${:.6}, at most ${:.6}",
            estimate.expected, estimate.at_least, estimate.at_most
        ),
    );
    if let Some(sample) = sample {
        let (low, high, error) = (sample.expected_low, sample.expected_high, sample.error_percent());
        match sample.sampled {
            0 | 1 => row("", "how far that is off can not be told from one document".to_owned()),
            _ => row("", format!("${low:.6} to ${high:.6} in 19 of 20 samples: +-{error:.1} %")),
        }
        row("", "the sum at most is worked out as well, and no bound".to_owned());
    }
    if let Some(cap) = view.max_cost.filter(|cap| *cap < estimate.expected) {
        row(
            "",
            format!(
                "likely more than limits.max_cost_usd, ${cap:.6}: the run would stop there and could go on later"
            ),
        );
    }
    if view.from_history {
        row("", "from the tokens of the last runs with this pipeline".to_owned());
    }
    let DurationRange { least, most, bottleneck, over_a_day } = &view.duration;
    let waits = bottleneck.as_ref().map_or_else(String::new, |pool| format!(", by the quota of {pool}"));
    row("time", format!("{} to {}{waits}", spoken(*least), spoken(*most)));
    for pool in over_a_day {
        row("", format!("more than a day's quota of {pool}"));
    }
    row("map", view.map_model.clone());
    row("merge", view.merge_model.clone());
    let Passed { unreadable, unchanged, given_up, .. } = view.passed;
    if unchanged + given_up > 0 {
        row("passed over", format!("{unchanged} unchanged, {given_up} failed too often"));
    }
    if unreadable > 0 {
        row("unreadable", format!("{unreadable} documents can not be read and would fail"));
    }
    for caching in view.caching.iter().filter(|caching| caching.pays()) {
        row("caching", caching.verdict());
    }
    for advice in &view.advice {
        row("advice", advice.text.clone());
    }
    if view.loads.len() > 1 {
        text.push_str(&models(&view.loads));
    }
    text
}

/// What goes to which model.
fn models(loads: &[LoadRow]) -> String {
    let mut text = "\n".to_owned();
    let width = loads.iter().map(|load| load.model.len()).max().unwrap_or_default().max("model".len());
    let _ = writeln!(
        text,
        "{:<width$}  stage {:>9} {:>14} {:>12} {:>12}",
        "model", "calls", "tokens in", "tokens out", "cost"
    );
    for load in loads {
        let _ = writeln!(
            text,
            "{:<width$}  {:<5} {:>9} {:>14} {:>12} {:>12}",
            load.model,
            load.stage.to_string(),
            count(load.calls),
            count(load.input_tokens),
            count(load.output_tokens),
            format!("${:.6}", load.cost_usd),
        );
    }
    text
}

/// A length of time as people say it, rounded up.
fn spoken(duration: Duration) -> String {
    match duration.as_secs() {
        0 => "a second".to_owned(),
        seconds @ 1..120 => format!("{} s", seconds + 1),
        seconds @ 120..7_200 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3_600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up() {
        let spoken = |seconds| spoken(Duration::from_secs(seconds));
        assert_eq!(
            [0, 1, 119, 120, 7_199, 7_200].map(spoken),
            ["a second", "2 s", "120 s", "2 min", "120 min", "2 h"]
        );
    }
}
