//! From the answers so far to the calls that come next, and at last to the result. Never calls a model.
//!
//! A strategy fixes its whole shape before the first call: which answers are merged with which, on how many levels.
//! Every level has fewer calls than the one below, so merging ends; a call that fails is replaced by the answers it
//! would have merged, side by side, so that nothing that was paid for is lost, and the result says so.
//!
//! A new strategy is one file here and one arm in `plan`, where the strategies are chosen.

mod grounding;
mod schema;
mod tree;

pub use grounding::{ClaimKind, Ungrounded, ungrounded};
pub use schema::{AnswerError, Schema, SchemaError};
pub use tree::{Answer, Outcome, Shape, ShapeError, Tree};
