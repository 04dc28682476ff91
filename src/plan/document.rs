//! The plan of one document: its chunks, the shape of its merge, the route of each call, what they will cost.

use super::answer::likely_answer;
use super::estimate::{Estimate, PlannedCall};
use super::route::Route;
use super::routes::{DocumentRoutes, RouteId, Routes, answer_tokens};
use super::traits::TextTraits;
use crate::chunk::{self, Size};
use crate::domain::{CallId, Chunk, Format, Stage, Text, Usage, Usd};
use crate::merge::{Shape, ShapeError};
use crate::pipeline::{CutAnswers, MergeStrategy, Pipeline};
use crate::tokens::{self, Encoding};

/// Everything that will be done with a document.
#[derive(Clone, Debug)]
pub struct DocumentPlan {
    pub chunks: Vec<Chunk>,
    pub shape: Shape,
    /// Of each chunk, in their order.
    pub routes: Vec<RouteId>,
    /// Of each group of each level above the map stage.
    pub merge_routes: Vec<Vec<RouteId>>,
    /// Likely tokens of the answers, level by level, the map stage first.
    answers: Vec<Vec<u64>>,
    /// Tokens of the document in `encoding`: the chunks' own, overlap not counted twice.
    pub tokens: u64,
    pub encoding: Encoding,
    pub estimate: Estimate,
}

/// A document that was cut: what plans look at beside the chunks themselves.
#[derive(Clone, Debug)]
pub struct Cut<'a> {
    pub chunks: Vec<Chunk>,
    /// One a chunk.
    pub facts: Vec<ChunkFacts>,
    /// Tokens of the whole text in the chunker's encoding.
    pub tokens: u64,
    /// The document's key.
    pub path: &'a str,
    pub format: Format,
    /// Of the whole text; only looked at where [`Routes::reads_text`].
    pub text: TextTraits,
    /// Whether calls of this document show pictures.
    pub has_images: bool,
}

/// What is noted of a chunk while its text passes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkFacts {
    /// [`hash`] of the text of its core.
    pub hash: u64,
    /// Only looked at where [`Routes::reads_text`].
    pub text: TextTraits,
    /// Header, context and core in [`Routes::second_encoding`]. `None`: not counted; the chunker's count stands in.
    pub second_tokens: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("there is no text in it, only white space")]
    NoText,
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl DocumentPlan {
    /// Cuts `text` and lays out its calls, for rules that do not look at key, language, script or kind: [`Self::of`] is for
    /// those. The same text, pipeline and routes give the same plan.
    pub fn new(pipeline: &Pipeline, routes: &Routes, size: &Size, text: &Text) -> Result<Self, PlanError> {
        DocumentPlan::of_text(pipeline, routes, size, text, "", false, &|_| TextTraits::default())
    }

    /// Cuts `text` and lays out its calls. `tell` says what can be told of a text; it is asked where a rule looks at that.
    pub fn of_text(
        pipeline: &Pipeline,
        routes: &Routes,
        size: &Size,
        text: &Text,
        path: &str,
        has_images: bool,
        tell: &dyn Fn(&str) -> TextTraits,
    ) -> Result<Self, PlanError> {
        let chunks = chunk::chunks(&text.body, text.layout, size);
        let tell = |text: &str| if routes.reads_text() { tell(text) } else { TextTraits::default() };
        let facts = chunks.iter().map(|chunk| ChunkFacts {
            hash: hash(&text.body[chunk.core.clone()]),
            text: tell(&text.body[chunk.core.clone()]),
            second_tokens: routes.second_encoding().map(|encoding| {
                let header = chunk.header.clone().map_or("", |header| &text.body[header]);
                let seen = &text.body[chunk.context.start.min(chunk.core.start)..chunk.core.end];
                let seen = if chunk.context.is_empty() { &text.body[chunk.core.clone()] } else { seen };
                tokens::count(header, encoding) + tokens::count(seen, encoding)
            }),
        });
        let facts = facts.collect();
        let tokens = tokens::count(&text.body, size.encoding());
        let (format, text) = (text.format, tell(&text.body));
        DocumentPlan::of(
            pipeline,
            routes,
            size,
            Cut { chunks, facts, tokens, path, format, text, has_images },
        )
    }

    /// Lays out the calls of a document that was cut. The same cut, pipeline and routes give the same plan.
    pub fn of(pipeline: &Pipeline, routes: &Routes, size: &Size, cut: Cut<'_>) -> Result<Self, PlanError> {
        if cut.chunks.is_empty() {
            return Err(PlanError::NoText);
        }
        let shape = match pipeline.merge().strategy {
            MergeStrategy::Tree => {
                let hashes: Vec<u64> = cut.facts.iter().map(|facts| facts.hash).collect();
                Shape::tree(&hashes, routes.fan_in)?
            }
            MergeStrategy::Concat | MergeStrategy::None => Shape::flat(cut.chunks.len() as u32),
        };
        let mut layout =
            Layout { pipeline, routes, cut: &cut, answers: Vec::new(), estimate: Estimate::default() };
        let rules = routes.for_document(cut.path, cut.format, cut.has_images);
        let map_routes = layout.map(&rules, size.encoding());
        let merge_routes = layout.merge(&rules, &shape);
        let Layout { answers, estimate, .. } = layout;
        let (tokens, encoding) = (cut.tokens, size.encoding());
        Ok(DocumentPlan {
            chunks: cut.chunks,
            shape,
            routes: map_routes,
            merge_routes,
            answers,
            tokens,
            encoding,
            estimate,
        })
    }

    /// Likely tokens of the answer to a call, as the plan has it: what a [`super::Seen`] compares with the real ones.
    pub fn likely_answer(&self, call: CallId) -> u64 {
        self.answers[call.level as usize][call.index as usize]
    }

    /// Where a call goes first. A piece of a chunk goes where the chunk does.
    pub fn route(&self, call: CallId) -> RouteId {
        let level = match call.level.checked_sub(1) {
            None => &self.routes,
            Some(level) => &self.merge_routes[level as usize],
        };
        level[call.index as usize]
    }
}

/// FNV-1a: any hash does that is the same on every machine and in every version.
pub fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// A plan in the making.
struct Layout<'a> {
    pipeline: &'a Pipeline,
    routes: &'a Routes,
    cut: &'a Cut<'a>,
    /// Likely tokens of the answers, level by level.
    answers: Vec<Vec<u64>>,
    estimate: Estimate,
}

impl Layout<'_> {
    fn map(&mut self, rules: &DocumentRoutes<'_>, encoding: Encoding) -> Vec<RouteId> {
        let max_tokens = self.pipeline.map().max_tokens;
        let (mut chosen, mut answers) = (Vec::with_capacity(self.cut.chunks.len()), Vec::new());
        for (chunk, facts) in self.cut.chunks.iter().zip(&self.cut.facts) {
            let passage = |route: &Route| match facts.second_tokens {
                Some(tokens) if route.encoding() != encoding => tokens,
                _ => chunk.tokens,
            };
            let counted = |route: &Route| passage(route) + self.routes.overheads.map(chunk, route.encoding());
            let call = rules.traits(Stage::Map, chunk.tokens, facts.text);
            let id = rules.route_if(&call, |route| route.fits(counted(route), max_tokens));
            let route = self.routes.get(id);
            let core = passage(route) * chunk.core.len() as u64
                / (chunk.core.len() + chunk.context.len()).max(1) as u64;
            let (passage_tokens, _) = route.prompt_tokens(core);
            let answer = self.answer(route, passage_tokens, max_tokens);
            let at_most =
                self.at_most(Stage::Map, id, max_tokens, &|route| route.prompt_tokens(counted(route)).1);
            let (counted_tokens, output_tokens) = (counted(route), answer);
            let merged_tokens = [0, 0];
            let call = PlannedCall {
                stage: Stage::Map,
                route: id,
                counted_tokens,
                merged_tokens,
                output_tokens,
                max_tokens,
                at_most,
            };
            self.estimate.add_call(self.routes, &call);
            answers.push(answer);
            chosen.push(id);
        }
        self.answers.push(answers);
        chosen
    }

    fn merge(&mut self, rules: &DocumentRoutes<'_>, shape: &Shape) -> Vec<Vec<RouteId>> {
        shape.nodes().zip(1..).map(|(level, number)| self.level(rules, shape, number, level)).collect()
    }

    fn level(
        &mut self,
        rules: &DocumentRoutes<'_>,
        shape: &Shape,
        number: u32,
        calls: impl Iterator<Item = CallId>,
    ) -> Vec<RouteId> {
        let max_tokens = self.pipeline.merge().max_tokens;
        let below = if number == 1 { self.pipeline.map().max_tokens } else { max_tokens };
        let (mut chosen, mut answers) = (Vec::new(), Vec::new());
        for call in calls {
            let inputs: Vec<usize> = shape.inputs(call).map(|input| input.index as usize).collect();
            let likely: u64 = inputs.iter().map(|input| self.answers[number as usize - 1][*input]).sum();
            let fan_in = inputs.len() as u64;
            let traits = rules.traits(Stage::Merge, fan_in * u64::from(below), self.cut.text);
            let id = rules.route(&traits);
            chosen.push(id);
            // A group of one is taken over as it is.
            if fan_in == 1 {
                answers.push(likely);
                continue;
            }
            let route = self.routes.get(id);
            let answer = self.answer(route, likely, max_tokens);
            let worst = |route: &Route| self.worst_merge(route, fan_in, below);
            let at_most = self.at_most(Stage::Merge, id, max_tokens, &worst);
            let counted_tokens = self.routes.overheads.merge(fan_in, route.encoding());
            let merged_tokens = if number == 1 { [likely, 0] } else { [0, likely] };
            let (stage, output_tokens) = (Stage::Merge, answer);
            let call = PlannedCall {
                stage,
                route: id,
                counted_tokens,
                merged_tokens,
                output_tokens,
                max_tokens,
                at_most,
            };
            self.estimate.add_call(self.routes, &call);
            answers.push(answer);
        }
        self.answers.push(answers);
        chosen
    }

    fn answer(&self, route: &Route, passage_tokens: u64, max_tokens: u32) -> u64 {
        likely_answer(route, self.pipeline.route().thinking, passage_tokens, max_tokens)
    }

    fn asks_again(&self) -> bool {
        self.pipeline.limits().cut_answers == CutAnswers::AskAgain
    }

    /// The prompt of a merge of `fan_in` answers at their longest, in tokens of `route`.
    fn worst_merge(&self, route: &Route, fan_in: u64, below: u32) -> u64 {
        let all = || self.routes.all().iter();
        let longest = |writer: &Route| if self.asks_again() { writer.escalated(below) } else { below };
        let longest = all().map(longest).max().unwrap_or(below);
        let fences = answer_tokens(0, 0);
        let answers = fan_in * u64::from(longest);
        let (_, overhead) =
            route.prompt_tokens(self.routes.overheads.most(Stage::Merge, route.encoding()) + fan_in * fences);
        // Answers are counted by the model that wrote them; another one may need more tokens for them.
        let same = all().all(|writer| writer.model.base_id == route.model.base_id);
        overhead + if same { answers } else { route.prompt_tokens(answers).1 }
    }

    /// A call that is refused by everyone it may go to, at full price, then cut and asked for once more, and escalated.
    fn at_most(&self, stage: Stage, first: RouteId, max_tokens: u32, worst: &dyn Fn(&Route) -> u64) -> Usd {
        let routes = self.routes;
        let cost = |id: RouteId, max_tokens: u32| {
            let route = routes.get(id);
            let (input_tokens, output_tokens) = (worst(route), u64::from(max_tokens));
            let call = Usage { input_tokens, output_tokens, ..Usage::default() };
            route.model.cost(call) + routes.write_premium(id, stage)
        };
        let again = |id: RouteId| cost(id, routes.get(id).escalated(max_tokens));
        let (mut sum, mut cut) = (Usd::ZERO, Usd::ZERO);
        for id in routes.chain(first, stage) {
            sum += cost(*id, max_tokens);
            cut = cut.max(again(*id));
        }
        if let Some((id, _)) = routes.escalation() {
            sum += cost(id, max_tokens);
            // It may be cut in its turn.
            cut += again(id);
        }
        if self.asks_again() { sum + cut } else { sum }
    }
}
