//! The models of a job as the dispatcher sees them: lanes under quota pools.
//!
//! A quota counts per account, region, model and kind of inference, so two candidates that lead to one model by the same
//! kind of profile share a pool, and a bare id and its profile do not.

use super::Job;
use crate::catalog::Scope;
use crate::dispatch::{Lane, LaneId, PoolId, PoolSettings, Settings, Source};
use crate::domain::Stage;
use crate::pipeline::CutAnswers;
use crate::plan::{Route, RouteId};

/// Everything the dispatcher has to know of `job`.
pub(super) fn settings(job: &Job) -> Settings {
    let mut lanes = Lanes::default();
    for route in job.routes.all() {
        lanes.lane(job, route);
    }
    let lane = |route: &RouteId| LaneId(usize::from(route.0));
    let chain = |route, stage| job.routes.chain(route, stage).iter().map(lane).collect::<Vec<LaneId>>();
    let chains = job.routes.ids().map(|route| [Stage::Map, Stage::Merge].map(|stage| chain(route, stage)));
    let [map, merge] =
        [(&job.routes.map, Stage::Map), (&job.routes.merge, Stage::Merge)].map(|(first, stage)| {
            job.routes.find(&first.id).map(|route| chain(route, stage)).unwrap_or_default()
        });
    let limits = job.pipeline.limits();
    Settings {
        pools: lanes.pools.into_iter().map(|(_, settings)| settings).collect(),
        lanes: lanes.lanes,
        map,
        merge,
        chains: chains.collect(),
        in_flight_max: limits.max_in_flight as usize,
        attempts_max: limits.max_attempts,
        retries_max: limits.max_retries,
        cost_max: limits.max_cost,
        document_cost_max: limits.max_cost_per_document,
        headroom_percent: limits.quota_headroom_percent,
        escalate: limits.cut_answers == CutAnswers::AskAgain,
        backoff_ms: job.backoff_ms,
        seed: job.seed,
    }
}

#[derive(Default)]
struct Lanes {
    pools: Vec<((String, Scope), PoolSettings)>,
    lanes: Vec<Lane>,
}

impl Lanes {
    /// One for each route, in their order: a route's place is its lane's.
    fn lane(&mut self, job: &Job, route: &Route) {
        let pool = self.pool(job, route);
        self.lanes.push(Lane { route: route.clone(), pool });
    }

    fn pool(&mut self, job: &Job, route: &Route) -> PoolId {
        let scope = Scope::of(&route.model.id, &route.model.base_id);
        let name = (route.model.base_id.clone(), scope);
        if let Some(known) = self.pools.iter().position(|(pool, _)| *pool == name) {
            return PoolId(known);
        }
        let (quota, source) =
            job.quotas.get(&route.id).copied().unwrap_or((Default::default(), Source::Unknown));
        let settings = PoolSettings { name: format!("{} {}", name.0, scope.name()), quota, source };
        self.pools.push((name, settings));
        PoolId(self.pools.len() - 1)
    }
}
