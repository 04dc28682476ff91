//! The ledger: what was paid for and what became of each document, kept in the sink itself, so that a run on any machine
//! goes on where the last one stopped and buys nothing twice.
//!
//! # Format, below `_docmill/ledger/`
//!
//! * `log/0000000042.jsonl`: the log, in numbered segments that never change; one sequence for all runs. A line is the
//!   CRC-32 of some JSON in eight hex digits, a space, and the JSON. The first line is a header, the last one a trailer with
//!   the number of records between. `zless` and `cut -c10- | jq` read it.
//! * `holder.jsonl`: who holds the ledger, written every ten seconds.
//! * `tables/`: sorted tables made from the log: document states (gzip members of JSON lines, `zcat` reads them) and
//!   an index of replies to their places in the log, each with an index of its own.
//! * `manifest/0000000007.jsonl`: which tables cover which segments. The newest that can be read counts.
//!
//! Only the log is the truth; the rest is derived, or (the holder) advice.
//!
//! # Protocol
//!
//! * **Order.** An intent is durable before its call is sent; a reply before anybody sees it; a document's state after its
//!   outputs. So a crash may leave a call that was bought and not recorded, and its intent says so; never a result
//!   that counts as written and is not, nor an answer that was used and has to be bought again.
//! * **The log is the fence.** A segment is created only if its number is free, and a new holder's first segment, its
//!   claim, takes the number that the old one would use next. A holder that was taken for dead (stopped, cut off) finds
//!   the number taken and stops: `Fenced`. It needs no clock and nothing of the store but that of two writers who create
//!   one object one wins (S3: `If-None-Match: *`; a folder: a hard link).
//! * **Lost acknowledgements.** When the number is taken, the object is read back. If it is ours to the byte, the write
//!   was done and its reply was lost: the SDK's second attempt then sees 412.
//! * **Compaction** by the holder only: tables under new names, then a manifest under the next free number. It can stop
//!   anywhere. Start-up reads a manifest and the segments after it, so its time does not grow with the log's length.
//! * **Damage** is skipped and told: a line whose checksum fails, a segment whose trailer is gone or whose number is
//!   not the one it is stored under, a number that is missing. The worst it does is to buy again. A later format is refused.
//! * **Deletion** only by `gc`, and only of segments older than a week: a number must stay taken as long as a stopped
//!   process may wake up and want it.
//!
//! # Why like this
//!
//! State must be complete in the bucket when a spot instance is gone: a database file has to be copied as a whole,
//! at every commit; a log-structured engine over S3 (SlateDB, 170 crates) brings a second S3 client with credentials of
//! its own. The log needs one PUT for up to 64 answers and one GET for each to read it back. Replies stay where they were
//! first written (WiscKey, FAST 2016): compaction moves 32 bytes for an answer of kilobytes. Table merging is tiered, so an
//! entry is rewritten a logarithmic number of times.

mod bloom;
mod compact;
mod documents;
mod gc;
mod holder;
mod line;
mod lru;
mod manifest;
mod names;
mod reader;
mod record;
mod replies;
mod run_log;
mod segment;
mod states;
mod tail;
mod verify;
mod writer;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod damage {
    mod tests;
}
#[cfg(test)]
mod model {
    mod tests;
}

pub use compact::{Compacted, Compaction};
pub use gc::Garbage;
pub use holder::{BEAT, Holder, Me, Options};
pub use reader::Reader;
pub use record::{DocumentRecord, Intent, Output, PaidReply, Record, ReplyKey};
pub use run_log::{RunLog, read_run};
pub use segment::{Buffered, Segment};
pub use states::States;
pub use verify::{Report, verify};
pub use writer::{Ledger, Opened, view};

use crate::store::StoreError;

/// The version of everything below `_docmill/ledger/`.
const FORMAT: u32 = 1;

const TEXT: &str = "application/x-ndjson";
const GZIP: &str = "application/gzip";
const BINARY: &str = "application/octet-stream";

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("another run holds this sink: {by}; stop it, wait until it ends, or choose another sink")]
    Held { by: Box<Holder> },
    #[error("this run has lost the sink to another one: {by}; what it had recorded until then is kept")]
    Fenced { by: Box<Holder> },
    #[error(
        "`{what}` has format {version}, and this docmill knows formats up to {FORMAT}; update docmill, or choose another sink"
    )]
    TooNew { what: String, version: u32 },
    #[error("can not {action} the ledger in the sink")]
    Store { action: &'static str, source: StoreError },
}
