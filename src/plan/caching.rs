//! The part of the prompt that all calls of a stage share, and whether it pays to have the service keep it.
//!
//! A kept prefix is billed at a fraction when it is read and, for some models, dearer than plain input when it is
//! written, once, before the others read it (user guide, "Prompt caching for faster model inference"). Below a length
//! that each model has of its own nothing is kept, silently. The first words of two prompts that are rendered around
//! different texts are the shared ones: nothing about a template need be known for that.

use serde::Serialize;

use super::estimate::{Estimate, Load};
use super::route::Route;
use super::routes::{RouteId, Routes, at};
use crate::domain::{Encoding, Format, Stage, Usd};
use crate::pipeline::{MapVars, MergeVars, Pipeline, Rendered};
use crate::tokens;

/// What the prompts of a stage begin with, whatever the document.
#[derive(Clone, Debug, Default)]
pub struct SharedPrefix {
    /// Beginnings of the user prompt, the longest first: with and without context and header they differ.
    beginnings: Vec<String>,
    /// The system prompt and the longest beginning, in each public encoding.
    tokens: [u64; Encoding::ALL.len()],
}

impl SharedPrefix {
    pub(super) fn of(pipeline: &Pipeline, stage: Stage) -> SharedPrefix {
        let pairs = match stage {
            Stage::Map => map_pairs(pipeline),
            Stage::Merge => merge_pairs(pipeline),
        };
        let Some((first, _)) = pairs.first() else { return SharedPrefix::default() };
        let system = first.system.clone();
        // The system prompt comes first: where it differs, nothing after it is shared.
        if pairs.iter().any(|(a, b)| a.system != system || b.system != system) {
            return SharedPrefix::default();
        }
        let mut beginnings: Vec<String> =
            pairs.iter().map(|(a, b)| common(&a.user, &b.user).to_owned()).collect();
        beginnings.retain(|beginning| !beginning.is_empty());
        beginnings.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        beginnings.dedup();
        let Some(longest) = beginnings.first() else { return SharedPrefix::default() };
        let system = system.unwrap_or_default();
        let tokens =
            Encoding::ALL.map(|encoding| tokens::count(&system, encoding) + tokens::count(longest, encoding));
        SharedPrefix { beginnings, tokens }
    }

    /// Bytes at the beginning of this user prompt that others begin with too.
    pub fn bytes_in(&self, user: &str) -> usize {
        self.beginnings.iter().find(|beginning| user.starts_with(beginning.as_str())).map_or(0, String::len)
    }

    fn counted(&self, encoding: Encoding) -> u64 {
        let place = Encoding::ALL.iter().position(|known| *known == encoding);
        place.map_or(0, |place| self.tokens[place])
    }
}

/// Prompts that have nothing in common but the template, pair by pair.
fn map_pairs(pipeline: &Pipeline) -> Vec<(Rendered, Rendered)> {
    let render = |odd: bool, context: bool, header: bool| {
        let word = |is_there: bool| match (is_there, odd) {
            (false, _) => "",
            (true, false) => "aaa",
            (true, true) => "zzz",
        };
        pipeline.render_map(&MapVars {
            text: word(true),
            context: word(context),
            header: word(header),
            key: if odd { "z" } else { "a" },
            format: if odd { Format::Html } else { Format::Text },
            part: if odd { 9 } else { 1 },
            parts: if odd { 90 } else { 10 },
        })
    };
    let variants = [(false, false), (true, false), (false, true), (true, true)];
    let pairs = variants.map(|(context, header)| {
        Some((render(false, context, header).ok()?, render(true, context, header).ok()?))
    });
    pairs.into_iter().flatten().collect()
}

fn merge_pairs(pipeline: &Pipeline) -> Vec<(Rendered, Rendered)> {
    let render = |odd: bool, is_final: bool| {
        let answers: &[&str] = if odd { &["zzz", "yyy", "xxx"] } else { &["aaa", "bbb"] };
        let (level, levels) = if odd { (5, 50) } else { (1, 10) };
        pipeline.render_merge(&MergeVars {
            answers,
            level,
            levels,
            is_final,
            key: if odd { "z" } else { "a" },
        })
    };
    let pairs =
        [false, true].map(|is_final| Some((render(false, is_final).ok()?, render(true, is_final).ok()?)));
    pairs.into_iter().flatten().collect()
}

fn common<'a>(a: &'a str, b: &str) -> &'a str {
    let bytes = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    &a[..a.floor_char_boundary(bytes)]
}

/// Whether keeping the prefix of a stage pays on a route, and what it saves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caching {
    pub stage: Stage,
    pub model: String,
    /// Likely, as the model counts them.
    pub prefix_tokens: u64,
    /// The model keeps no shorter prefix; `None`: it keeps none at all, or nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tokens: Option<u32>,
    pub calls: u64,
    /// Zero where it does not pay.
    pub saves_usd: Usd,
}

impl Caching {
    pub fn pays(&self) -> bool {
        self.saves_usd > Usd::ZERO
    }

    /// In words, for a plan and a report.
    pub fn verdict(&self) -> String {
        let Caching { stage, model, prefix_tokens, calls, saves_usd, .. } = self;
        let what = format!("{stage} calls to {model} share {prefix_tokens} tokens");
        match self.min_tokens {
            _ if self.pays() => format!("{what}: kept, saves about ${saves_usd:.4} over {calls} calls"),
            None => format!("{what}: the model is not known to keep any"),
            Some(min) if *prefix_tokens < u64::from(min) => {
                format!("{what}: the model keeps none below {min}")
            }
            Some(_) => format!("{what}: keeping them costs more than {calls} calls save"),
        }
    }
}

/// The verdict for each load of an estimate.
pub fn caching(routes: &Routes, estimate: &Estimate) -> Vec<Caching> {
    estimate.loads.iter().map(|load| verdict(routes, load)).collect()
}

fn verdict(routes: &Routes, load: &Load) -> Caching {
    let route = routes.get(load.route);
    let prefix_tokens = prefix_tokens(routes, route, load.stage);
    let rule = route.model.cache;
    let saves = if routes.keeps(load.route, load.stage) {
        saved(route, prefix_tokens, load.calls)
    } else {
        Usd::ZERO
    };
    Caching {
        stage: load.stage,
        model: route.id.clone(),
        prefix_tokens,
        min_tokens: rule.map(|rule| rule.min_tokens),
        calls: load.calls,
        saves_usd: saves.min(load.input_cost),
    }
}

fn prefix_tokens(routes: &Routes, route: &Route, stage: Stage) -> u64 {
    let counted = routes.prefix(stage).counted(route.encoding());
    let most = route.model.cache.and_then(|rule| rule.max_tokens).map_or(u64::MAX, u64::from);
    route.prompt_tokens(counted).0.min(most)
}

/// One call writes, the others read.
fn saved(route: &Route, prefix_tokens: u64, calls: u64) -> Usd {
    let price = &route.model.price;
    let Some(read) = price.cache_read else { return Usd::ZERO };
    let write = price.cache_write.unwrap_or(price.input);
    let kept = write.times(prefix_tokens) + read.times(prefix_tokens).times(calls.saturating_sub(1));
    price.input.times(prefix_tokens).times(calls).saturating_sub(kept)
}

impl Routes {
    /// What the prompts of a stage begin with.
    pub fn prefix(&self, stage: Stage) -> &SharedPrefix {
        &self.prefixes[at(stage)]
    }

    /// Bytes of this user prompt that the service is asked to keep for other calls; 0 where that can not pay.
    pub fn cached_bytes(&self, route: RouteId, stage: Stage, user: &str) -> usize {
        if self.keeps(route, stage) { self.prefix(stage).bytes_in(user) } else { 0 }
    }

    /// Whether the prefix is as long as the route's model wants it, and reading it is cheaper than sending it.
    pub(super) fn keeps(&self, route: RouteId, stage: Stage) -> bool {
        let route = self.get(route);
        let is_long = |min: u32| {
            let tokens = prefix_tokens(self, route, stage);
            tokens > 0 && tokens >= u64::from(min)
        };
        let is_cheaper = route.model.price.cache_read.is_some_and(|read| read < route.model.price.input);
        self.caches && is_cheaper && route.model.cache.is_some_and(|rule| is_long(rule.min_tokens))
    }

    /// What a call can cost beside its prompt and answer because its prefix is written and not read, at most.
    pub(super) fn write_premium(&self, route: RouteId, stage: Stage) -> Usd {
        if !self.keeps(route, stage) {
            return Usd::ZERO;
        }
        let route = self.get(route);
        let (_, most) = route.prompt_tokens(self.prefix(stage).counted(route.encoding()));
        let long = route.model.long_prompt.as_ref().map(|long| long.price);
        let premium = |price: crate::catalog::Price| {
            price.cache_write.unwrap_or(price.input).saturating_sub(price.input).times(most)
        };
        [Some(route.model.price), long].into_iter().flatten().map(premium).max().unwrap_or(Usd::ZERO)
    }
}

impl Estimate {
    /// With what the service keeps of the prompts.
    pub fn with_caching(&self, routes: &Routes) -> Estimate {
        let mut estimate = self.clone();
        for load in &mut estimate.loads {
            load.input_cost = load.input_cost.saturating_sub(verdict(routes, load).saves_usd);
        }
        estimate.settle();
        estimate
    }
}
