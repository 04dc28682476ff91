//! The plan of one document: its chunks, the shape of its merge, what its calls will cost.

use super::Routes;
use crate::chunk::{self, Size};
use crate::domain::{Chunk, Text, Usage, Usd};
use crate::merge::{Shape, ShapeError};
use crate::pipeline::{MergeStrategy, Pipeline};
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
    /// Every prompt at the upper end of its estimate and every answer as long as allowed.
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
        if chunks.is_empty() {
            return Err(PlanError::NoText);
        }
        let leaves = chunks.len() as u32;
        let shape = match pipeline.merge().strategy {
            MergeStrategy::Tree => Shape::tree(leaves, routes.fan_in)?,
            MergeStrategy::Concat | MergeStrategy::None => Shape::flat(leaves),
        };
        let tokens = crate::tokens::count(&text.body, size.encoding());
        let estimate = estimate(pipeline, routes, &chunks, &shape);
        Ok(DocumentPlan { chunks, shape, tokens, encoding: size.encoding(), estimate })
    }
}

fn estimate(pipeline: &Pipeline, routes: &Routes, chunks: &[Chunk], shape: &Shape) -> Estimate {
    let mut sum = Estimate::default();
    let map_tokens = u64::from(pipeline.map().max_tokens);
    let merge_tokens = u64::from(pipeline.merge().max_tokens);
    for chunk in chunks {
        let (likely, at_most) = routes.map.prompt_tokens(chunk.tokens + routes.map_overhead);
        sum.add(&routes.map.model, likely, at_most, map_tokens);
    }
    for (call, fan_in) in shape.merge_calls_with_fan_in() {
        let below = if call.level == 1 { map_tokens } else { merge_tokens };
        let overhead = routes.merge.prompt_tokens(routes.merge_overhead);
        let likely = overhead.0 + fan_in * below.div_ceil(2);
        // Answers are counted by the model that wrote them; another one may need more tokens for them.
        let (_, at_most) = routes.merge.prompt_tokens(fan_in * below);
        let same = routes.merge.model.base_id == routes.map.model.base_id;
        let at_most = overhead.1 + if same { fan_in * below } else { at_most };
        sum.add(&routes.merge.model, likely, at_most, merge_tokens);
    }
    sum
}

impl Estimate {
    fn add(&mut self, model: &crate::catalog::Model, likely: u64, at_most: u64, max_tokens: u64) {
        let usage = |input_tokens, output_tokens| Usage { input_tokens, output_tokens, ..Usage::default() };
        let expected = usage(likely, max_tokens.div_ceil(2));
        self.calls += 1;
        self.input_tokens += expected.input_tokens;
        self.output_tokens += expected.output_tokens;
        self.expected += model.cost(expected);
        self.at_most += model.cost(usage(at_most, max_tokens));
    }
}
