//! What a run came to: folds events into totals, shows progress, prints the closing table, makes the run report.
//! Everything here only reads events; nothing here decides or writes to a store.

mod fold;
mod progress;
mod record;
mod table;

pub use fold::fold;
pub use progress::{Progress, Style};
pub use record::{DocumentLines, RunRecord};
pub use table::{closing_table, count, plan_table};
