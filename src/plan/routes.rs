//! The choice of models: every route that can come up in a run, found once, so that a call's own route is a look-up.
//!
//! A list of candidates (that of the pipeline, or of a rule) gives the cheapest one for the longest chunk it can meet, not
//! for each chunk anew: a short tail of a document that went to another model than the rest would read like it, and would
//! draw on another quota for a saving of nothing. What can not hold its calls for sure is left out of a rule, with a
//! warning; where that leaves none, the rule is passed over for that stage.

use std::sync::Arc;

use super::caching::SharedPrefix;
use super::explain::Explanation;
use super::overhead::{ANSWER_FENCE_TOKENS, Overheads};
use super::route::Route;
use super::traits::{Traits, path_matches, reads_text, unmet};
use crate::catalog::Tier;
use crate::domain::{CallOptions, Encoding, Format, ServiceTier, Stage, Usage, Usd};
use crate::family;
use crate::pipeline::{
    AnswerFault, Caching, Candidate, Conditions, EncodingRule, MergeStrategy, Pipeline, RenderError, Rule,
};

/// A place in [`Routes::all`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u16);

/// The models of a run and what follows from them.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Where calls go that no rule speaks of.
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
    /// Answers a merge call takes at most: what the pipeline allows, and what fits window and output cap of every model
    /// that may merge.
    pub fan_in: u32,
    /// What the rules ask for and can not have.
    pub warnings: Vec<String>,
    pub overheads: Overheads,
    all: Vec<Route>,
    /// Of each route, for the map and the merge stage.
    options: Vec<[Arc<CallOptions>; 2]>,
    chains: Vec<[Vec<RouteId>; 2]>,
    /// The pipeline lets the service keep what prompts share.
    pub(super) caches: bool,
    /// Of the map and the merge stage.
    pub(super) prefixes: [SharedPrefix; 2],
    rules: Vec<RuleRoutes>,
    default: Picks,
    fallback: Vec<RouteId>,
    escalation: Option<(RouteId, Vec<AnswerFault>)>,
    /// What a call of each stage needs at most: tokens around it in each encoding are in `overheads`.
    needs: [Need; 2],
}

/// A rule and what came of its candidates.
#[derive(Clone, Debug)]
pub(super) struct RuleRoutes {
    pub when: Conditions,
    pub line: Option<u32>,
    pub picks: Picks,
}

/// For the map and the merge stage: what fits, the cheapest first. Empty: nothing does, or no call of the stage is meant.
#[derive(Clone, Debug, Default)]
pub(super) struct Picks {
    pub stages: [Vec<Picked>; 2],
    /// What does not fit, and why.
    pub dropped: Vec<(Stage, String, String)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Picked {
    pub route: RouteId,
    /// Of the longest call it can meet.
    pub cost: Usd,
}

/// What the calls of a stage need.
#[derive(Clone, Copy, Debug)]
struct Need {
    stage: Stage,
    /// Text in the longest call, in tokens of the chunker's encoding or of the models that wrote it.
    tokens: u64,
    max_tokens: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error(
        "no candidate of route.candidates fits the {stage} stage: {reason}; allow a larger model or smaller chunks"
    )]
    NoneFits { stage: Stage, reason: String },
    #[error("can not render the {stage} prompt")]
    Prompt { stage: Stage, source: RenderError },
}

pub(super) fn at(stage: Stage) -> usize {
    match stage {
        Stage::Map => 0,
        Stage::Merge => 1,
    }
}

impl Routes {
    /// Chooses for `pipeline` what is cheapest for a full chunk and a full merge.
    pub fn choose(pipeline: &Pipeline) -> Result<Routes, RouteError> {
        Chooser::new(pipeline)?.choose()
    }

    /// The models of calls that no rule speaks of, in the order in which they are tried.
    pub fn of(&self, stage: Stage) -> impl Iterator<Item = &Route> {
        let (first, others) = match stage {
            Stage::Map => (&self.map, &self.map_fallback),
            Stage::Merge => (&self.merge, &self.merge_fallback),
        };
        std::iter::once(first).chain(others)
    }

    /// Every route that can come up, each once; a [`RouteId`] is a place in it.
    pub fn all(&self) -> &[Route] {
        &self.all
    }

    pub fn ids(&self) -> impl Iterator<Item = RouteId> + use<> {
        (0..self.all.len() as u16).map(RouteId)
    }

    pub fn get(&self, route: RouteId) -> &Route {
        &self.all[usize::from(route.0)]
    }

    /// The route that is called by this id.
    pub fn find(&self, id: &str) -> Option<RouteId> {
        self.all.iter().position(|route| route.id == id).map(|at| RouteId(at as u16))
    }

    /// A call's own route.
    pub fn route(&self, call: &Traits<'_>) -> RouteId {
        self.for_document(call.path, call.format, call.has_images).route(call)
    }

    /// Routes for the calls of one document: what is the same for all of them is looked at once.
    pub fn for_document<'a>(&'a self, path: &'a str, format: Format, has_images: bool) -> DocumentRoutes<'a> {
        let rules = self.rules.iter().filter(|rule| path_matches(&rule.when, path)).collect();
        DocumentRoutes { routes: self, rules, path, format, has_images }
    }

    /// Why a call takes the route it takes.
    pub fn explain(&self, call: &Traits<'_>) -> Explanation {
        Explanation::new(self, &self.rules, &self.default, call)
    }

    /// Who is asked, in this order: the route, then the fallbacks that can hold a call of the stage.
    pub fn chain(&self, first: RouteId, stage: Stage) -> &[RouteId] {
        &self.chains[usize::from(first.0)][at(stage)]
    }

    fn chain_of(&self, first: RouteId, stage: Stage) -> Vec<RouteId> {
        let others = self.fallback.iter().copied().filter(|other| *other != first);
        let others = others.filter(|other| self.holds(*other, &self.needs[at(stage)]));
        std::iter::once(first).chain(others).collect()
    }

    /// Who is asked once more when an answer has one of these faults.
    pub fn escalation(&self) -> Option<(RouteId, &[AnswerFault])> {
        self.escalation.as_ref().map(|(route, on)| (*route, on.as_slice()))
    }

    /// How the route is called in a stage: what the pipeline asks for and the model takes.
    pub fn options(&self, route: RouteId, stage: Stage) -> Arc<CallOptions> {
        self.options[usize::from(route.0)][at(stage)].clone()
    }

    /// Whether a rule looks at language, script or kind of a text: otherwise nobody need tell them.
    pub fn reads_text(&self) -> bool {
        self.rules.iter().any(|rule| reads_text(&rule.when))
    }

    /// The encoding beside the chunker's that some route's tokens are estimated from: chunks are counted in it too.
    pub fn second_encoding(&self) -> Option<Encoding> {
        self.all.iter().map(Route::encoding).find(|encoding| *encoding != self.encoding)
    }

    fn holds(&self, route: RouteId, need: &Need) -> bool {
        let route = self.get(route);
        route.fits(need.tokens + self.overheads.most(need.stage, route.encoding()), need.max_tokens)
    }
}

/// The routes of one document's calls.
#[derive(Clone, Debug)]
pub struct DocumentRoutes<'a> {
    routes: &'a Routes,
    /// Those whose path matches.
    rules: Vec<&'a RuleRoutes>,
    path: &'a str,
    format: Format,
    has_images: bool,
}

impl<'a> DocumentRoutes<'a> {
    /// Path and format are the document's, whatever `call` says.
    pub fn route(&self, call: &Traits<'_>) -> RouteId {
        self.route_if(call, |_| true)
    }

    /// The first route in the order of rules and prices that can also hold what the call turns out to need; the call's own
    /// route where none can.
    pub fn route_if(&self, call: &Traits<'_>, holds: impl Fn(&Route) -> bool) -> RouteId {
        let routes = self.routes;
        let sees = |picked: &&Picked| !call.has_images || routes.get(picked.route).model.features.vision;
        let matching = self.rules.iter().filter(|rule| unmet(&rule.when, call).is_none());
        let lists = matching.map(|rule| &rule.picks.stages[at(call.stage)]);
        let lists = lists.chain([&routes.default.stages[at(call.stage)]]);
        let mut in_order = lists.flatten().filter(sees).map(|picked| picked.route);
        let own = in_order.next();
        let held = own.into_iter().chain(in_order).find(|route| holds(routes.get(*route)));
        let default =
            || routes.default.stages[at(call.stage)].first().map_or(RouteId(0), |picked| picked.route);
        held.or(own).unwrap_or_else(default)
    }

    pub fn traits(&self, stage: Stage, tokens: u64, text: super::TextTraits) -> Traits<'a> {
        let (format, path, has_images) = (self.format, self.path, self.has_images);
        Traits { stage, tokens, text, format, path, has_images }
    }
}

/// Finds the routes of a pipeline.
struct Chooser<'a> {
    pipeline: &'a Pipeline,
    overheads: Overheads,
    all: Vec<Route>,
    warnings: Vec<String>,
}

impl<'a> Chooser<'a> {
    fn new(pipeline: &'a Pipeline) -> Result<Self, RouteError> {
        let overheads =
            Overheads::of(pipeline).map_err(|(stage, source)| RouteError::Prompt { stage, source })?;
        Ok(Chooser { pipeline, overheads, all: Vec::new(), warnings: Vec::new() })
    }

    fn choose(mut self) -> Result<Routes, RouteError> {
        let pipeline = self.pipeline;
        let merges = pipeline.merge().strategy == MergeStrategy::Tree;
        let needs = self.needs();
        let mut default = self.picks(&pipeline.route().candidates, &needs);
        if !merges {
            // Nothing is merged: the map model stands in, so that there is a name to show.
            default.stages[1] = default.stages[0].clone();
        }
        for need in needs {
            if default.stages[at(need.stage)].is_empty() {
                return Err(self.none_fits(&need));
            }
        }
        let rules =
            pipeline.route().rules.iter().map(|rule| self.rule(rule, &needs, merges)).collect::<Vec<_>>();
        let fallback: Vec<RouteId> =
            pipeline.route().fallback.iter().map(|candidate| self.id(candidate)).collect();
        let escalation = pipeline.route().escalate.as_ref();
        let escalation = escalation.map(|escalation| (self.id(&escalation.to), escalation.on.clone()));
        if pipeline.route().guardrail.is_some() {
            self.warnings.push(
                "a guardrail is billed by itself, by units of text; plans, budgets and reports do not count that"
                    .to_owned(),
            );
        }
        let options =
            self.all.iter().map(|route| [Stage::Map, Stage::Merge].map(|s| options(pipeline, route, s)));
        let options = options.collect();
        let [map, merge] = [0, 1].map(|stage| self.get(default.stages[stage][0].route).clone());
        let encoding = match pipeline.chunk().encoding {
            EncodingRule::Auto => map.encoding(),
            EncodingRule::Fixed(encoding) => encoding,
        };
        let mut routes = Routes {
            map_overhead: self.overheads.most(Stage::Map, map.encoding()),
            merge_overhead: self.overheads.most(Stage::Merge, merge.encoding()),
            map_fallback: Vec::new(),
            merge_fallback: Vec::new(),
            map,
            merge,
            encoding,
            fan_in: pipeline.merge().max_fan_in,
            warnings: self.warnings,
            overheads: self.overheads,
            all: self.all,
            options,
            chains: Vec::new(),
            caches: pipeline.route().caching == Caching::Auto,
            prefixes: [Stage::Map, Stage::Merge].map(|stage| SharedPrefix::of(pipeline, stage)),
            rules,
            default,
            fallback,
            escalation,
            needs,
        };
        let chains =
            routes.ids().map(|id| [Stage::Map, Stage::Merge].map(|stage| routes.chain_of(id, stage)));
        routes.chains = chains.collect();
        [routes.map_fallback, routes.merge_fallback] = [Stage::Map, Stage::Merge].map(|stage| {
            let first = routes.default.stages[at(stage)][0].route;
            routes.chain(first, stage)[1..].iter().map(|route| routes.get(*route).clone()).collect()
        });
        if merges {
            routes.fan_in = routes.widest_merge(pipeline);
        }
        Ok(routes)
    }

    /// The longest calls: a full chunk, and the smallest merge that there can be.
    fn needs(&self) -> [Need; 2] {
        let [map, merge] = [self.pipeline.map().max_tokens, self.pipeline.merge().max_tokens];
        let chunk = u64::from(self.pipeline.chunk().tokens);
        [
            Need { stage: Stage::Map, tokens: chunk, max_tokens: map },
            Need { stage: Stage::Merge, tokens: 2 * answer_tokens(map, merge), max_tokens: merge },
        ]
    }

    fn get(&self, route: RouteId) -> &Route {
        &self.all[usize::from(route.0)]
    }

    fn id(&mut self, candidate: &Candidate) -> RouteId {
        let known = self.all.iter().position(|route| route.id == candidate.id);
        let place = known.unwrap_or_else(|| {
            let mut route = Route::from(candidate);
            // Native bodies may take less than Converse does.
            route.model.max_output_tokens =
                family::max_output_tokens(&route.model, self.pipeline.route().api);
            self.all.push(route);
            self.all.len() - 1
        });
        RouteId(place as u16)
    }

    fn rule(&mut self, rule: &Rule, needs: &[Need; 2], merges: bool) -> RuleRoutes {
        let longest = rule.when.tokens.map_or(u64::MAX, |tokens| tokens.max);
        let [map, merge] = *needs;
        let needs = [Need { tokens: map.tokens.min(longest), ..map }, merge];
        let mut picks = self.picks(&rule.candidates, &needs);
        for stage in [Stage::Map, Stage::Merge] {
            let is_meant =
                rule.when.stage.is_none_or(|only| only == stage) && (stage == Stage::Map || merges);
            if !is_meant {
                picks.stages[at(stage)].clear();
                picks.dropped.retain(|(of, ..)| *of != stage);
                continue;
            }
            let name =
                rule.line.map_or_else(|| "a rule".to_owned(), |line| format!("the rule in line {line}"));
            for (_, id, reason) in picks.dropped.iter().filter(|(of, ..)| *of == stage) {
                self.warnings.push(format!("{name}: `{id}` is not used for {stage} calls: {reason}"));
            }
            if picks.stages[at(stage)].is_empty() {
                self.warnings.push(format!(
                    "{name} is passed over for {stage} calls: none of its models can hold them"
                ));
            }
        }
        RuleRoutes { when: rule.when.clone(), line: rule.line, picks }
    }

    fn picks(&mut self, candidates: &[Candidate], needs: &[Need; 2]) -> Picks {
        let ids: Vec<RouteId> = candidates.iter().map(|candidate| self.id(candidate)).collect();
        let mut picks = Picks::default();
        for need in needs {
            let list = &mut picks.stages[at(need.stage)];
            for id in &ids {
                let route = self.get(*id);
                let counted = need.tokens + self.overheads.most(need.stage, route.encoding());
                if route.fits(counted, need.max_tokens) {
                    list.push(Picked { route: *id, cost: full_cost(route, counted, need.max_tokens) });
                } else {
                    let reason = misfit(route, counted, need.max_tokens);
                    picks.dropped.push((need.stage, route.id.clone(), reason));
                }
            }
            // Stable: of equally cheap ones the user's order counts.
            list.sort_by_key(|picked| picked.cost);
        }
        picks
    }

    fn none_fits(&self, need: &Need) -> RouteError {
        let prompt = |route: &Route| {
            route.prompt_tokens(need.tokens + self.overheads.most(need.stage, route.encoding())).1
        };
        let candidates = self.pipeline.route().candidates.iter().map(Route::from);
        let worst = candidates.map(|route| prompt(&route)).max().unwrap_or_default();
        let reason = format!("a prompt may have {worst} tokens and its answer {}", need.max_tokens);
        RouteError::NoneFits { stage: need.stage, reason }
    }
}

impl Routes {
    /// The most answers that every model that may be asked to merge can take at once.
    fn widest_merge(&self, pipeline: &Pipeline) -> u32 {
        let answer = answer_tokens(pipeline.map().max_tokens, pipeline.merge().max_tokens);
        let need = &self.needs[1];
        let picked = self.rules.iter().map(|rule| &rule.picks).chain([&self.default]);
        let picked = picked.flat_map(|picks| &picks.stages[1]).map(|picked| picked.route);
        // Who can not take two is never asked.
        let others = self.fallback.iter().copied().chain(self.escalation.iter().map(|(route, _)| *route));
        let others = others.filter(|route| self.holds(*route, need));
        let mergers: Vec<RouteId> = picked.chain(others).collect();
        let holds = |fan_in: u32| {
            let need = Need { tokens: u64::from(fan_in) * answer, ..*need };
            mergers.iter().all(|route| self.holds(*route, &need))
        };
        (2..=pipeline.merge().max_fan_in).rev().find(|fan_in| holds(*fan_in)).unwrap_or(2)
    }
}

/// An answer in a merge prompt, at its longest.
pub(super) fn answer_tokens(map_max: u32, merge_max: u32) -> u64 {
    u64::from(map_max.max(merge_max)) + ANSWER_FENCE_TOKENS
}

fn full_cost(route: &Route, counted: u64, max_tokens: u32) -> Usd {
    let (input_tokens, _) = route.prompt_tokens(counted);
    route.model.cost(Usage { input_tokens, output_tokens: u64::from(max_tokens), ..Usage::default() })
}

/// Why a call does not fit a model.
fn misfit(route: &Route, counted: u64, max_tokens: u32) -> String {
    let model = &route.model;
    if max_tokens > model.max_output_tokens {
        return format!("an answer may have {max_tokens} tokens, it gives {}", model.max_output_tokens);
    }
    let (_, at_most) = route.prompt_tokens(counted);
    let total = at_most + u64::from(max_tokens);
    format!("prompt and answer may have {total} tokens, its window {}", model.window_tokens)
}

fn options(pipeline: &Pipeline, route: &Route, stage: Stage) -> Arc<CallOptions> {
    let asked = pipeline.route();
    let (top_p_milli, stop) = match stage {
        Stage::Map => (pipeline.map().top_p_milli, &pipeline.map().stop),
        Stage::Merge => (pipeline.merge().top_p_milli, &pipeline.merge().stop),
    };
    let offered = |tier: &ServiceTier| route.model.price_at(Tier::from(Some(*tier)), 0).is_some();
    Arc::new(CallOptions {
        api: asked.api,
        thinking: asked.thinking,
        top_p_milli: top_p_milli.filter(|_| route.model.sampling),
        stop_sequences: stop.clone(),
        schema: None,
        guardrail: asked.guardrail.clone(),
        tier: asked.tier.filter(offered),
        metadata: asked.metadata.clone(),
    })
}
