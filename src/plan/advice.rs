//! What would make a plan cheaper or faster, each with a figure. Nothing here is done by itself: it changes answers, or
//! when they arrive, and only who reads them knows whether that matters.

use serde::Serialize;

use super::caching::caching;
use super::duration::DurationRange;
use super::estimate::{Estimate, Load};
use super::route::Route;
use super::routes::Routes;
use crate::catalog::{Kind, Model, Tier};
use crate::domain::{Stage, Usage, Usd};
use crate::pipeline::{Caching as CachingRule, Pipeline};

/// Below this share of the plan's cost nobody cares.
const WORTH_PERCENT: u64 = 2;
/// A batch job takes no fewer records (user guide, "Quotas for batch inference").
const BATCH_RECORDS_MIN: u64 = 100;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    pub kind: AdviceKind,
    /// One sentence, with its figures.
    pub text: String,
    /// Off the expected cost; zero for what only makes it faster.
    pub saves_usd: Usd,
    pub saves_percent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdviceKind {
    CheaperModel,
    Batch,
    Flex,
    LargerChunks,
    Caching,
    Quota,
}

/// What would help, the most first. `documents` is how many the estimate is for; `models` are others to think of,
/// callable ones of the catalogue.
pub fn advice<'m>(
    pipeline: &Pipeline,
    routes: &Routes,
    estimate: &Estimate,
    documents: u64,
    models: impl Iterator<Item = &'m Model>,
    duration: Option<&DurationRange>,
) -> Vec<Advice> {
    let adviser = Adviser { pipeline, routes, estimate };
    let mut all: Vec<Advice> = [
        adviser.cheaper_model(models),
        adviser.tier(Tier::Batch),
        adviser.tier(Tier::Flex),
        adviser.larger_chunks(documents),
        adviser.caching(),
    ]
    .into_iter()
    .flatten()
    .filter(|advice| advice.saves_percent >= WORTH_PERCENT)
    .collect();
    all.sort_by_key(|advice| std::cmp::Reverse(advice.saves_usd));
    all.extend(duration.and_then(|range| adviser.quota(range)));
    all
}

struct Adviser<'a> {
    pipeline: &'a Pipeline,
    routes: &'a Routes,
    estimate: &'a Estimate,
}

impl Adviser<'_> {
    fn saving(
        &self,
        kind: AdviceKind,
        saves_usd: Usd,
        text: impl FnOnce(Usd, u64) -> String,
    ) -> Option<Advice> {
        let expected = self.estimate.expected.pico().max(1);
        let saves_percent =
            u64::try_from(u128::from(saves_usd.pico()) * 100 / u128::from(expected)).unwrap_or(0);
        let text = text(saves_usd, saves_percent);
        (saves_usd > Usd::ZERO).then_some(Advice { kind, text, saves_usd, saves_percent })
    }

    fn load_cost(load: &Load) -> Usd {
        load.input_cost + load.output_cost
    }

    /// The same calls at another price.
    fn at_price(model: &Model, tier: Tier, load: &Load, input_tokens: u64) -> Option<Usd> {
        let prompt = input_tokens / load.calls.max(1);
        let price = model.price_at(tier, prompt)?;
        Some(price.cost(Usage { input_tokens, output_tokens: load.output_tokens, ..Usage::default() }))
    }

    fn tier(&self, tier: Tier) -> Option<Advice> {
        let asked = Tier::from(self.pipeline.route().tier);
        if asked == tier {
            return None;
        }
        let mut saved = Usd::ZERO;
        let mut names = Vec::new();
        for load in &self.estimate.loads {
            let model = &self.routes.get(load.route).model;
            let is_open = tier != Tier::Batch || (model.features.batch && load.calls >= BATCH_RECORDS_MIN);
            let Some(cost) = Self::at_price(model, tier, load, load.input_tokens).filter(|_| is_open) else {
                continue;
            };
            let gain = Self::load_cost(load).saturating_sub(cost);
            if gain > Usd::ZERO && !names.contains(&model.id) {
                names.push(model.id.clone());
            }
            saved += gain;
        }
        let (kind, how) = match tier {
            Tier::Batch => (AdviceKind::Batch, "a batch job, with answers within a day,"),
            _ => (AdviceKind::Flex, "`route.tier = \"flex\"`, slower,"),
        };
        self.saving(kind, saved, |usd, percent| {
            format!("{how} would save about ${usd:.4} ({percent} %) on {}", names.join(", "))
        })
    }

    /// The model of the catalogue that does the largest load for least.
    fn cheaper_model<'m>(&self, models: impl Iterator<Item = &'m Model>) -> Option<Advice> {
        let load = self.estimate.loads.iter().max_by_key(|load| Self::load_cost(load))?;
        let route = self.routes.get(load.route);
        let geography = |model: &Model| {
            let is_profile = model.id != model.base_id;
            is_profile.then(|| model.id.split('.').next().unwrap_or_default().to_owned())
        };
        let max_tokens = match load.stage {
            Stage::Map => self.pipeline.map().max_tokens,
            Stage::Merge => self.pipeline.merge().max_tokens,
        };
        let longest = u64::from(self.pipeline.chunk().tokens);
        let can_do = |other: &Route| {
            let model = &other.model;
            let overhead = self.routes.overheads.most(load.stage, other.encoding());
            model.kind == Kind::Chat
                && model.on_demand
                && geography(model) == geography(&route.model)
                && other.fits(longest + overhead, max_tokens)
                && self.routes.find(&model.id).is_none()
        };
        let own = load.input_tokens - load.merged_tokens.iter().sum::<u64>();
        let best = models.filter_map(|model| {
            let other = Route { id: model.id.clone(), model: model.clone() };
            let (likely, _) = other.prompt_tokens(load.counted_tokens);
            let input_tokens = likely + (load.input_tokens - own);
            let cost =
                Self::at_price(model, Tier::Standard, load, input_tokens).filter(|_| can_do(&other))?;
            Some((cost, other.id))
        });
        let (cost, id) = best.min()?;
        let saved = Self::load_cost(load).saturating_sub(cost);
        self.saving(AdviceKind::CheaperModel, saved, |usd, percent| {
            format!(
                "`{id}` for {} calls would save about ${usd:.4} ({percent} %): `docmill compare` shows whether it is good enough",
                load.stage
            )
        })
    }

    /// Twice the chunk: half of the calls beyond a document's first one lose their prompt and overlap.
    fn larger_chunks(&self, documents: u64) -> Option<Advice> {
        let chunk = self.pipeline.chunk();
        let doubled = u64::from(chunk.tokens) * 2;
        let mut saved = Usd::ZERO;
        for load in self.estimate.loads.iter().filter(|load| load.stage == Stage::Map) {
            let route = self.routes.get(load.route);
            let overhead = self.routes.overheads.most(Stage::Map, route.encoding());
            if !route.fits(doubled + overhead, self.pipeline.map().max_tokens) {
                return None;
            }
            let (per_call, _) = route.prompt_tokens(overhead + u64::from(chunk.overlap));
            let calls = load.calls.saturating_sub(documents) / 2;
            saved += route.model.price.input.times(per_call).times(calls);
        }
        self.saving(AdviceKind::LargerChunks, saved, |usd, percent| {
            format!("`chunk.tokens = {doubled}` would save about ${usd:.4} ({percent} %) of prompts and overlap, for coarser answers")
        })
    }

    fn caching(&self) -> Option<Advice> {
        if self.pipeline.route().caching == CachingRule::Auto {
            return None;
        }
        let mut routes = self.routes.clone();
        routes.caches = true;
        let saved = caching(&routes, self.estimate).iter().map(|verdict| verdict.saves_usd).sum();
        self.saving(AdviceKind::Caching, saved, |usd, percent| {
            format!("`route.caching = \"auto\"` would save about ${usd:.4} ({percent} %) of the prompts that calls share")
        })
    }

    fn quota(&self, range: &DurationRange) -> Option<Advice> {
        let pool = range.bottleneck.as_ref()?;
        let minutes = range.most.as_secs().div_ceil(60);
        let text = format!(
            "the quota of {pool} decides how long it takes (up to {minutes} minutes): ask for more of it, or spread the calls by rules"
        );
        Some(Advice { kind: AdviceKind::Quota, text, saves_usd: Usd::ZERO, saves_percent: 0 })
    }
}
