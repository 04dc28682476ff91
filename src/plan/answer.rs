//! How long answers get and how many tokens prompts are billed: a guess beforehand, and what past calls of the same
//! pipeline say instead.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::route::Route;
use crate::catalog::Thinking;
use crate::domain::{Stage, ThinkingRequest, Usage};

/// From so many answers on, they are believed instead of the guess.
const ANSWERS_MIN: u64 = 8;

/// The guess for the answer to a passage of `passage_tokens` under a limit of `max_tokens`, both in the model's tokens.
///
/// Prompts ask for at most half of the limit in words, and models neither fill that for a short passage nor pass it much
/// for a long one: a curve that starts at two fifths of the passage and closes in on half of the limit. Reasoning comes on
/// top, for models that do it unasked: a quarter of the limit.
pub fn likely_answer(route: &Route, thinking: ThinkingRequest, passage_tokens: u64, max_tokens: u32) -> u64 {
    let limit = u64::from(max_tokens);
    let asked = limit.div_ceil(2);
    let text = (asked * passage_tokens / (passage_tokens + limit * 3 / 5).max(1)).min(passage_tokens * 2 / 5);
    let reasons = match (thinking, route.model.thinking) {
        (ThinkingRequest::Off, Thinking::Default) | (ThinkingRequest::AsIs, Thinking::OnRequest) => 0,
        (ThinkingRequest::Off, Thinking::OnRequest) => 0,
        (ThinkingRequest::Budget(tokens), _) if route.model.features.reasoning.is_some() => {
            u64::from(tokens) / 2
        }
        (ThinkingRequest::Budget(_), Thinking::OnRequest) => 0,
        _ => limit / 4,
    };
    (text + reasons).clamp(1, limit)
}

/// What calls of one stage to one model came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub answers: u64,
    /// Of their whole prompts, in the model's nearest public encoding.
    pub counted_tokens: u64,
    /// Of their prompts as they were billed, cached ones included.
    pub input_tokens: u64,
    /// What their plans said of the answers (`DocumentPlan::likely_answer`).
    pub foreseen_tokens: u64,
    pub output_tokens: u64,
}

impl Seen {
    /// Takes in an answer to a prompt of `counted_tokens`, of which `foreseen_tokens` were expected.
    pub fn add(&mut self, counted_tokens: u64, foreseen_tokens: u64, usage: Usage) {
        self.answers += 1;
        self.counted_tokens += counted_tokens;
        self.input_tokens += usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
        self.foreseen_tokens += foreseen_tokens;
        self.output_tokens += usage.output_tokens;
    }
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Seen) {
        self.answers += other.answers;
        self.counted_tokens += other.counted_tokens;
        self.input_tokens += other.input_tokens;
        self.foreseen_tokens += other.foreseen_tokens;
        self.output_tokens += other.output_tokens;
    }
}

/// What past calls of a pipeline came to, by stage and by the id that was called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    seen: BTreeMap<(Stage, String), Seen>,
}

impl History {
    pub fn add(&mut self, stage: Stage, model: &str, seen: Seen) {
        *self.seen.entry((stage, model.to_owned())).or_default() += seen;
    }

    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// In the order of stages and ids.
    pub fn entries(&self) -> impl Iterator<Item = (Stage, &str, &Seen)> {
        self.seen.iter().map(|((stage, model), seen)| (*stage, model.as_str(), seen))
    }

    /// Billed tokens for a counted one.
    pub(super) fn input_ratio(&self, stage: Stage, model: &str) -> Option<Ratio> {
        self.ratio(stage, model, |seen| (seen.input_tokens, seen.counted_tokens))
    }

    /// Tokens of an answer for a foreseen one.
    pub(super) fn output_ratio(&self, stage: Stage, model: &str) -> Option<Ratio> {
        self.ratio(stage, model, |seen| (seen.output_tokens, seen.foreseen_tokens))
    }

    fn ratio(&self, stage: Stage, model: &str, of: impl Fn(&Seen) -> (u64, u64)) -> Option<Ratio> {
        let seen = self.seen.get(&(stage, model.to_owned()))?;
        let (real, thought) = of(seen);
        (seen.answers >= ANSWERS_MIN && thought > 0).then_some(Ratio { real, thought })
    }
}

/// An exact fraction, to scale whole numbers by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ratio {
    pub real: u64,
    pub thought: u64,
}

impl Ratio {
    pub const ONE: Ratio = Ratio { real: 1, thought: 1 };

    /// Rounded up.
    pub fn of(self, amount: u64) -> u64 {
        let scaled = u128::from(amount) * u128::from(self.real);
        u64::try_from(scaled.div_ceil(u128::from(self.thought.max(1)))).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    fn route(id: &str) -> Route {
        let model = Catalog::builtin().find(id, "2026-11-20".parse().unwrap()).unwrap().clone();
        Route { id: id.to_owned(), model }
    }

    #[test]
    fn answers_grow_with_the_passage_and_stay_under_what_is_asked_for() {
        let nova = route("us.amazon.nova-micro-v1:0");
        let likely = |passage| likely_answer(&nova, ThinkingRequest::AsIs, passage, 1000);
        let answers: Vec<u64> = [1, 50, 300, 2_000, 8_000, 1_000_000].map(likely).to_vec();
        assert!(answers.is_sorted() && answers[0] == 1, "{answers:?}");
        assert!(answers[1] <= 20 && answers[4] > 400 && answers[5] <= 500, "{answers:?}");
        let claude = route("us.anthropic.claude-haiku-5-5");
        let reasoned = likely_answer(&claude, ThinkingRequest::AsIs, 8_000, 1000);
        assert_eq!(reasoned, answers[4] + 250);
        assert_eq!(likely_answer(&claude, ThinkingRequest::Off, 8_000, 1000), answers[4]);
    }

    #[test]
    fn a_few_answers_are_not_believed() {
        let mut history = History::default();
        let usage = Usage { input_tokens: 120, output_tokens: 50, ..Usage::default() };
        for answers in 1..=ANSWERS_MIN {
            assert_eq!(history.input_ratio(Stage::Map, "m"), None);
            let mut seen = Seen::default();
            seen.add(100, 200, usage);
            history.add(Stage::Map, "m", seen);
            assert_eq!(history.entries().next().unwrap().2.answers, answers);
        }
        assert_eq!(history.input_ratio(Stage::Map, "m").unwrap().of(1_000), 1_200);
        assert_eq!(history.output_ratio(Stage::Map, "m").unwrap().of(1_000), 250);
        assert_eq!(history.input_ratio(Stage::Merge, "m"), None);
    }
}
