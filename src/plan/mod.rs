//! What a run will do, decided before it does it: the model of each call, the chunks and merge tree of each document,
//! what that costs. `plan` prints these values and `run` executes the same ones.

mod advice;
mod answer;
mod caching;
mod document;
mod duration;
mod estimate;
mod explain;
mod overhead;
mod route;
mod routes;
mod sample;
mod traits;

pub use advice::{Advice, AdviceKind, advice};
pub use answer::{History, Seen, likely_answer};
pub use caching::{Caching, SharedPrefix, caching};
pub use document::{ChunkFacts, Cut, DocumentPlan, PlanError, hash};
pub use duration::{DurationRange, RouteLoad, duration, route_loads};
pub use estimate::{Estimate, Load, LoadRow};
pub use explain::{Explanation, PassedOver, RuleName, Weighed};
pub use overhead::Overheads;
pub use route::Route;
pub use routes::{DocumentRoutes, RouteError, RouteId, Routes};
pub use sample::{Extrapolation, Listed, Sampled, Sampler, extrapolate};
pub use traits::{Condition, TextTraits, Traits};

#[cfg(test)]
mod tests;
