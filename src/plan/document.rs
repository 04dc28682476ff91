//! The plan of one document: its chunks, the shape of its merge, what its calls will cost.

use super::{Route, Routes};
use crate::chunk::{self, Size};
use crate::domain::{Chunk, Stage, Text, Usage, Usd};
use crate::merge::{Shape, ShapeError};
use crate::pipeline::{CutAnswers, MergeStrategy, Pipeline};
use crate::tokens::Encoding;

/// Everything that will be done with a document.
#[derive(Clone, Debug)]
pub struct DocumentPlan {
    pub chunks: Vec<Chunk>,
    pub shape: Shape,
    /// Tokens of the document in `encoding`: the chunks' own, overlap not counted twice.
    pub tokens: u64,
    pub encoding: Encoding,
    pub estimate: Estimate,
}

/// What the calls of a document will come to, without retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    pub calls: u64,
    /// Likely prompt tokens, as the models count them.
    pub input_tokens: u64,
    /// Likely answer tokens: half of `max_tokens` a call, which is what the default prompts ask for.
    pub output_tokens: u64,
    pub expected: Usd,
    /// Every prompt at the upper end of its estimate, every answer as long as allowed and, where the pipeline says so,
    /// asked for once more because it was cut, and every fallback paid for.
    pub at_most: Usd,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("there is no text in it, only white space")]
    NoText,
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl DocumentPlan {
    /// Cuts `text` and lays out its calls. The same text, pipeline and routes give the same plan.
    pub fn new(pipeline: &Pipeline, routes: &Routes, size: &Size, text: &Text) -> Result<Self, PlanError> {
        let chunks = chunk::chunks(&text.body, text.layout, size);
        let hashes: Vec<u64> = chunks.iter().map(|c| hash(&text.body[c.core.clone()])).collect();
        let tokens = crate::tokens::count(&text.body, size.encoding());
        DocumentPlan::of_chunks(pipeline, routes, size, chunks, &hashes, tokens)
    }

    /// Lays out the calls for chunks that were cut elsewhere: `hashes` are those of the texts of their cores, `tokens`
    /// those of the whole text.
    pub fn of_chunks(
        pipeline: &Pipeline,
        routes: &Routes,
        size: &Size,
        chunks: Vec<Chunk>,
        hashes: &[u64],
        tokens: u64,
    ) -> Result<Self, PlanError> {
        if chunks.is_empty() {
            return Err(PlanError::NoText);
        }
        let shape = match pipeline.merge().strategy {
            MergeStrategy::Tree => Shape::tree(hashes, routes.fan_in)?,
            MergeStrategy::Concat | MergeStrategy::None => Shape::flat(chunks.len() as u32),
        };
        let estimate = estimate(pipeline, routes, &chunks, &shape);
        Ok(DocumentPlan { chunks, shape, tokens, encoding: size.encoding(), estimate })
    }
}

/// FNV-1a: any hash does that is the same on every machine and in every version.
pub fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn estimate(pipeline: &Pipeline, routes: &Routes, chunks: &[Chunk], shape: &Shape) -> Estimate {
    let mut sum = Estimate::default();
    let again = pipeline.limits().cut_answers == CutAnswers::AskAgain;
    let [map_tokens, merge_tokens] = [pipeline.map().max_tokens, pipeline.merge().max_tokens];
    for chunk in chunks {
        let counted = chunk.tokens + routes.map_overhead;
        let (likely, _) = routes.map.prompt_tokens(counted);
        let worst = |route: &Route| route.prompt_tokens(counted).1;
        sum.add(routes, Stage::Map, likely, worst, map_tokens, again);
    }
    for (call, fan_in) in shape.merge_calls_with_fan_in() {
        let (below, below_by) =
            if call.level == 1 { (map_tokens, Stage::Map) } else { (merge_tokens, Stage::Merge) };
        let (likely, _) = routes.merge.prompt_tokens(routes.merge_overhead);
        let likely = likely + fan_in * u64::from(below).div_ceil(2);
        let longest = |route: &Route| if again { route.escalated(below) } else { below };
        let longest = routes.of(below_by).map(longest).max().unwrap_or(below);
        let answers = fan_in * u64::from(longest);
        let worst = |route: &Route| {
            // Answers are counted by the model that wrote them; another one may need more tokens for them.
            let same = routes.of(below_by).all(|other| other.model.base_id == route.model.base_id);
            let (_, overhead) = route.prompt_tokens(routes.merge_overhead);
            overhead + if same { answers } else { route.prompt_tokens(answers).1 }
        };
        sum.add(routes, Stage::Merge, likely, worst, merge_tokens, again);
    }
    sum
}

impl Estimate {
    /// Adds a call that is likely answered by the first model of its stage at the first attempt, and at most refused by
    /// each of them at full price and then cut and asked for once more.
    fn add(
        &mut self,
        routes: &Routes,
        stage: Stage,
        likely: u64,
        worst: impl Fn(&Route) -> u64,
        max_tokens: u32,
        again: bool,
    ) {
        let usage = |input_tokens, output_tokens| Usage { input_tokens, output_tokens, ..Usage::default() };
        let expected = usage(likely, u64::from(max_tokens).div_ceil(2));
        self.calls += 1;
        self.input_tokens += expected.input_tokens;
        self.output_tokens += expected.output_tokens;
        let mut cut = Usd::ZERO;
        for (i, route) in routes.of(stage).enumerate() {
            if i == 0 {
                self.expected += route.model.cost(expected);
            }
            self.at_most += route.model.cost(usage(worst(route), u64::from(max_tokens)));
            let escalated = usage(worst(route), u64::from(route.escalated(max_tokens)));
            cut = cut.max(if again { route.model.cost(escalated) } else { Usd::ZERO });
        }
        self.at_most += cut;
    }
}
