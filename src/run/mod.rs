//! Where the rooms meet: one loop that starts documents, sends calls, takes in what came of them, and writes results.
//!
//! All state is in the loop; tasks beside it list, prepare, call and write, and hand back what came of it. A new
//! document is started only when the queue of calls runs dry, so what is started gets finished first and memory holds a
//! few documents, however many there are.

mod archive;
mod calls;
mod conductor;
mod document;
mod intake;
mod job;
mod journal;
mod lanes;
mod open;
mod pictures;
mod prepare;
mod receipt;
mod scroll;
mod traits;
mod write;

pub use conductor::{Books, Observer, Summary, run};
pub use intake::IntakeError;
pub use job::{Ended, Job, PassedOver, PlanFault, Redo, plan};
pub use open::{OpenError, Opened, open, open_sink, uses_s3};
pub use pictures::Picture;
pub use prepare::{Explained, PrepareError, Prepared, STREAM_ABOVE_BYTES};
pub use scroll::{Scroll, ScrollError};

/// An error with its causes, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let line = error.to_string();
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        source = error.source();
    }
    text
}
