//! The choice of models: for each stage the cheapest candidate that fits.

use crate::catalog::Model;
use crate::domain::{Format, Stage, Usage, Usd};
use crate::pipeline::{
    Candidate, EncodingRule, MapVars, MergeStrategy, MergeVars, Pipeline, RenderError, Rendered,
};
use crate::tokens::{self, Encoding};

/// A chat template wraps every prompt in some tokens of its own (roles, separators); no published one needs as many.
const TEMPLATE_TOKENS: u64 = 64;

/// A model, and the id by which the user wants it called (an ARN stays an ARN).
#[derive(Clone, Debug)]
pub struct Route {
    pub id: String,
    pub model: Model,
}

impl From<&Candidate> for Route {
    fn from(candidate: &Candidate) -> Self {
        Route { id: candidate.id.clone(), model: candidate.model.clone() }
    }
}

impl Route {
    /// What a call with a prompt of `prompt_bytes` can cost at most. A token is at least one byte in every vocabulary in
    /// use, so bytes bound tokens whatever the tokenizer: this is what the budget reserves.
    pub fn worst_case(&self, prompt_bytes: usize, max_tokens: u32) -> Usd {
        let input_tokens = prompt_bytes as u64 + TEMPLATE_TOKENS;
        let usage = Usage { input_tokens, output_tokens: u64::from(max_tokens), ..Usage::default() };
        let long = self.model.long_prompt.as_ref().map_or(Usd::ZERO, |long| long.price.cost(usage));
        self.model.price.cost(usage).max(long)
    }

    /// The model's tokens for a prompt of `counted` tokens in its nearest public encoding: likely, and at most.
    pub fn prompt_tokens(&self, counted: u64) -> (u64, u64) {
        let estimate = &self.model.estimate;
        let at_most = estimate.at_most(counted) + TEMPLATE_TOKENS;
        (estimate.likely(counted), at_most)
    }

    /// Whether a prompt of `counted` tokens and an answer of `max_tokens` are sure to fit the model.
    pub fn fits(&self, counted: u64, max_tokens: u32) -> bool {
        let (_, at_most) = self.prompt_tokens(counted);
        max_tokens <= self.model.max_output_tokens
            && at_most + u64::from(max_tokens) <= self.model.window_tokens
    }

    /// The limit of an answer that was cut at `max_tokens` and is asked for once more.
    pub fn escalated(&self, max_tokens: u32) -> u32 {
        max_tokens.saturating_mul(2).min(self.model.max_output_tokens).max(max_tokens)
    }

    /// Tokens of `text` in the model's nearest public encoding.
    pub fn count(&self, text: &str) -> u64 {
        tokens::count(text, self.model.estimate.encoding)
    }
}

/// The models of a run and what follows from them.
#[derive(Clone, Debug)]
pub struct Routes {
    pub map: Route,
    pub merge: Route,
    /// Who takes over, in this order, where the first can not go on.
    pub map_fallback: Vec<Route>,
    pub merge_fallback: Vec<Route>,
    /// Tokens of the map prompt without any document text, in the map model's nearest encoding.
    pub map_overhead: u64,
    pub merge_overhead: u64,
    /// What the chunker counts in: the pipeline's choice, or the map model's nearest.
    pub encoding: Encoding,
    /// Answers a merge call takes at most: what the pipeline allows, and what fits window and output cap.
    pub fan_in: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error(
        "no candidate of route.candidates fits the {stage} stage: {reason}; allow a larger model or smaller chunks"
    )]
    NoneFits { stage: &'static str, reason: String },
    #[error("can not render the {stage} prompt")]
    Prompt { stage: &'static str, source: RenderError },
}

impl Routes {
    /// The models of a stage, in the order in which they are tried.
    pub fn of(&self, stage: Stage) -> impl Iterator<Item = &Route> {
        let (first, others) = match stage {
            Stage::Map => (&self.map, &self.map_fallback),
            Stage::Merge => (&self.merge, &self.merge_fallback),
        };
        std::iter::once(first).chain(others)
    }

    /// Chooses for `pipeline` what is cheapest for a full chunk and a full merge.
    pub fn choose(pipeline: &Pipeline) -> Result<Routes, RouteError> {
        let candidates: Vec<Route> = pipeline.route().candidates.iter().map(Route::from).collect();
        let (map_prompt, merge_prompt) = empty_prompts(pipeline)?;
        let (map_max, merge_max) = (pipeline.map().max_tokens, pipeline.merge().max_tokens);

        let chunk_tokens = u64::from(pipeline.chunk().tokens);
        let map = cheapest(&candidates, "map", map_max, |route| chunk_tokens + count(route, &map_prompt))?;
        let answer_tokens = u64::from(map_max.max(merge_max)) + ANSWER_FENCE_TOKENS;
        let merge = match pipeline.merge().strategy {
            MergeStrategy::Tree => cheapest(&candidates, "merge", merge_max, |route| {
                2 * answer_tokens + count(route, &merge_prompt)
            })?,
            MergeStrategy::Concat | MergeStrategy::None => map.clone(),
        };
        let fallback: Vec<Route> = pipeline.route().fallback.iter().map(Route::from).collect();
        let others = |first: &Route, prompt: &Rendered, input: u64, max_tokens: u32| -> Vec<Route> {
            let fits =
                |route: &&Route| route.id != first.id && route.fits(input + count(route, prompt), max_tokens);
            fallback.iter().filter(fits).cloned().collect()
        };
        let map_fallback = others(&map, &map_prompt, chunk_tokens, map_max);
        let merge_fallback = others(&merge, &merge_prompt, 2 * answer_tokens, merge_max);
        let (map_overhead, merge_overhead) = (count(&map, &map_prompt), count(&merge, &merge_prompt));
        let mut fan_in = pipeline.merge().max_fan_in;
        while fan_in > 2 && !merge.fits(u64::from(fan_in) * answer_tokens + merge_overhead, merge_max) {
            fan_in -= 1;
        }
        let encoding = match pipeline.chunk().encoding {
            EncodingRule::Auto => map.model.estimate.encoding,
            EncodingRule::Fixed(encoding) => encoding,
        };
        Ok(Routes {
            map,
            merge,
            map_fallback,
            merge_fallback,
            map_overhead,
            merge_overhead,
            encoding,
            fan_in,
        })
    }
}

/// The tags and number around an answer in a merge prompt.
const ANSWER_FENCE_TOKENS: u64 = 32;

fn count(route: &Route, prompt: &Rendered) -> u64 {
    route.count(&prompt.user) + prompt.system.as_deref().map_or(0, |system| route.count(system))
}

/// The prompts of both stages around nothing. What a template adds for a context or a header counts as overhead too,
/// so these are given one word each.
fn empty_prompts(pipeline: &Pipeline) -> Result<(Rendered, Rendered), RouteError> {
    let map = pipeline.render_map(&MapVars {
        text: "-",
        context: "-",
        header: "-",
        key: "-",
        format: Format::Text,
        part: 1,
        parts: 1,
    });
    let merge =
        pipeline.render_merge(&MergeVars { answers: &["-"], level: 1, levels: 1, is_final: true, key: "-" });
    Ok((
        map.map_err(|source| RouteError::Prompt { stage: "map", source })?,
        merge.map_err(|source| RouteError::Prompt { stage: "merge", source })?,
    ))
}

fn cheapest(
    candidates: &[Route],
    stage: &'static str,
    max_tokens: u32,
    prompt_tokens: impl Fn(&Route) -> u64,
) -> Result<Route, RouteError> {
    let fitting = candidates.iter().filter(|route| route.fits(prompt_tokens(route), max_tokens));
    // The first of equally cheap ones: the user's order counts.
    let best = fitting.min_by_key(|route| {
        let (likely, _) = route.prompt_tokens(prompt_tokens(route));
        let usage = Usage { input_tokens: likely, output_tokens: u64::from(max_tokens), ..Usage::default() };
        route.model.cost(usage)
    });
    best.cloned().ok_or_else(|| {
        let worst = candidates.iter().map(|route| route.prompt_tokens(prompt_tokens(route)).1).max();
        let reason =
            format!("a prompt may have {} tokens and its answer {max_tokens}", worst.unwrap_or_default());
        RouteError::NoneFits { stage, reason }
    })
}
