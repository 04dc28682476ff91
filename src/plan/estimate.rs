//! What the calls of a plan will come to: tokens, money from the least to the most, and the load on each route.
//!
//! The most is a bound that holds whatever the models do: every prompt at the upper end of its count, every answer as long
//! as allowed, every fallback and escalation paid for. The likely figure is a guess for the prompts' tokens and the answers'
//! lengths, until past calls of the same pipeline say better. Loads add up, so what history says is applied to the
//! sum of all documents at once.

use serde::Serialize;

use super::answer::{History, Ratio};
use super::routes::{RouteId, Routes};
use crate::domain::{Stage, Usage, Usd};

/// What the calls of a document, or of many, will come to, without retries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    pub calls: u64,
    /// Likely prompt tokens, as the models count them.
    pub input_tokens: u64,
    /// Likely answer tokens.
    pub output_tokens: u64,
    /// Prompts at the low end of their count, and short answers. No bound.
    pub at_least: Usd,
    pub expected: Usd,
    /// Every prompt at the upper end of its estimate, every answer as long as allowed and, where the pipeline says so,
    /// asked for once more because it was cut, every fallback and the escalation paid for.
    pub at_most: Usd,
    /// In the order of their keys: stage and route.
    pub loads: Vec<Load>,
}

/// The calls of one stage that go to one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub stage: Stage,
    pub route: RouteId,
    pub calls: u64,
    /// Of their prompts without answers that are merged, in the route's public encoding.
    pub counted_tokens: u64,
    /// Of answers from the map and from the merge stage that are merged, in tokens of the models that wrote them.
    pub merged_tokens: [u64; 2],
    /// Likely, with what is merged.
    pub input_tokens: u64,
    /// Likely.
    pub output_tokens: u64,
    /// As long as allowed.
    pub max_output_tokens: u64,
    pub input_cost: Usd,
    pub output_cost: Usd,
}

/// A low guess of a prompt's tokens, and of an answer's, in parts of the likely one.
const LOW_INPUT: Ratio = Ratio { real: 3, thought: 4 };
const LOW_OUTPUT: Ratio = Ratio { real: 1, thought: 3 };

/// One call on its way into an estimate.
pub(super) struct PlannedCall {
    pub stage: Stage,
    pub route: RouteId,
    pub counted_tokens: u64,
    pub merged_tokens: [u64; 2],
    pub output_tokens: u64,
    pub max_tokens: u32,
    /// The most that it can cost, whoever answers.
    pub at_most: Usd,
}

impl Estimate {
    pub(super) fn add_call(&mut self, routes: &Routes, call: &PlannedCall) {
        let route = routes.get(call.route);
        let (likely, _) = route.prompt_tokens(call.counted_tokens);
        let input_tokens = likely + call.merged_tokens.iter().sum::<u64>();
        let usage = Usage { input_tokens, output_tokens: call.output_tokens, ..Usage::default() };
        let whole = route.model.cost(usage);
        let output_cost = route.model.price_for(input_tokens).output.times(call.output_tokens);
        self.add_load(&Load {
            stage: call.stage,
            route: call.route,
            calls: 1,
            counted_tokens: call.counted_tokens,
            merged_tokens: call.merged_tokens,
            input_tokens,
            output_tokens: call.output_tokens,
            max_output_tokens: u64::from(call.max_tokens),
            input_cost: whole.saturating_sub(output_cost),
            output_cost,
        });
        self.at_most += call.at_most;
        self.settle();
    }

    fn add_load(&mut self, load: &Load) {
        let key = |load: &Load| (load.stage, load.route);
        match self.loads.binary_search_by_key(&key(load), key) {
            Ok(at) => self.loads[at].add(load),
            Err(at) => self.loads.insert(at, *load),
        }
    }

    /// The sums follow from the loads.
    pub(super) fn settle(&mut self) {
        let sum = |of: fn(&Load) -> u64| self.loads.iter().map(of).sum();
        (self.calls, self.input_tokens, self.output_tokens) =
            (sum(|load| load.calls), sum(|load| load.input_tokens), sum(|load| load.output_tokens));
        let costs = |input: Ratio, output: Ratio| -> Usd {
            let cost = |load: &Load| scaled(load.input_cost, input) + scaled(load.output_cost, output);
            self.loads.iter().map(cost).sum()
        };
        self.expected = costs(Ratio::ONE, Ratio::ONE).min(self.at_most);
        self.at_least = costs(LOW_INPUT, LOW_OUTPUT).min(self.expected);
    }

    /// What past calls of the same pipeline say of these. The bound stays.
    pub fn with_history(&self, routes: &Routes, history: &History) -> Estimate {
        let ratio =
            |load: &Load| history.output_ratio(load.stage, &routes.get(load.route).id).unwrap_or(Ratio::ONE);
        let output = |load: &Load| ratio(load).of(load.output_tokens).min(load.max_output_tokens);
        // Longer or shorter answers make longer or shorter prompts where they are merged.
        let grown = [Stage::Map, Stage::Merge].map(|stage| {
            let of_stage = || self.loads.iter().filter(|load| load.stage == stage);
            let thought: u64 = of_stage().map(|load| load.output_tokens).sum();
            if thought == 0 { Ratio::ONE } else { Ratio { real: of_stage().map(output).sum(), thought } }
        });
        let loads = self.loads.iter().map(|load| {
            let id = &routes.get(load.route).id;
            let merged: [u64; 2] = std::array::from_fn(|stage| grown[stage].of(load.merged_tokens[stage]));
            let billed = match history.input_ratio(load.stage, id) {
                Some(ratio) => ratio.of(load.counted_tokens),
                None => load.input_tokens - load.merged_tokens.iter().sum::<u64>(),
            };
            let input_tokens = billed + merged.iter().sum::<u64>();
            let output_tokens = output(load);
            let by = |real, thought| if thought == 0 { Ratio::ONE } else { Ratio { real, thought } };
            Load {
                merged_tokens: merged,
                input_tokens,
                output_tokens,
                input_cost: scaled(load.input_cost, by(input_tokens, load.input_tokens)),
                output_cost: scaled(load.output_cost, by(output_tokens, load.output_tokens)),
                ..*load
            }
        });
        let mut estimate = Estimate { loads: loads.collect(), at_most: self.at_most, ..Estimate::default() };
        estimate.settle();
        estimate
    }

    /// Of documents like these, `ratio` times as much.
    pub(super) fn scaled(&self, ratio: Ratio) -> Estimate {
        let loads = self.loads.iter().map(|load| Load {
            calls: ratio.of(load.calls),
            counted_tokens: ratio.of(load.counted_tokens),
            merged_tokens: load.merged_tokens.map(|tokens| ratio.of(tokens)),
            input_tokens: ratio.of(load.input_tokens),
            output_tokens: ratio.of(load.output_tokens),
            max_output_tokens: ratio.of(load.max_output_tokens),
            input_cost: scaled(load.input_cost, ratio),
            output_cost: scaled(load.output_cost, ratio),
            ..*load
        });
        let at_most = scaled(self.at_most, ratio);
        let mut estimate = Estimate { loads: loads.collect(), at_most, ..Estimate::default() };
        estimate.settle();
        estimate
    }
}

impl std::ops::AddAssign<&Estimate> for Estimate {
    fn add_assign(&mut self, other: &Estimate) {
        other.loads.iter().for_each(|load| self.add_load(load));
        self.at_most += other.at_most;
        self.settle();
    }
}

impl Load {
    fn add(&mut self, other: &Load) {
        self.calls += other.calls;
        self.counted_tokens += other.counted_tokens;
        for (sum, tokens) in self.merged_tokens.iter_mut().zip(other.merged_tokens) {
            *sum += tokens;
        }
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.max_output_tokens += other.max_output_tokens;
        self.input_cost += other.input_cost;
        self.output_cost += other.output_cost;
    }

    /// For a table of a plan.
    pub fn row(&self, routes: &Routes) -> LoadRow {
        let cost = self.input_cost + self.output_cost;
        LoadRow {
            stage: self.stage,
            model: routes.get(self.route).id.clone(),
            calls: self.calls,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cost_usd: cost,
        }
    }
}

/// What goes to one model in one stage, likely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadRow {
    pub stage: Stage,
    pub model: String,
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_usd: Usd,
}

pub(super) fn scaled(cost: Usd, ratio: Ratio) -> Usd {
    Usd::from_pico(ratio.of(cost.pico()))
}
