//! What a run will do, decided before it does it: the model of each stage, the chunks and merge tree of each document,
//! what that costs. `plan` prints these values and `run` executes the same ones.

mod document;
mod route;

pub use document::{DocumentPlan, Estimate, PlanError, hash};
pub use route::{Route, RouteError, Routes};
