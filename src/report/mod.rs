//! What a run came to: folds events into totals, shows progress, prints the closing table, makes the run report.
//! Everything here only reads events; nothing here decides or writes to a store.

mod compare;
mod fold;
mod plan;
mod progress;
mod record;
mod table;

pub use compare::{Comparison, ModelDocument, ModelRun, side_by_side, table as comparison_table};
pub use fold::fold;
pub use plan::{Passed, PlanView, plan_table};
pub use progress::{Progress, Style};
pub use record::{DocumentLines, RunRecord, SeenRecord, history};
pub use table::{closing_table, count};
