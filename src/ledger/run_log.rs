//! What the log says of one run: for its report, while it goes on and after it died. Reads only, and holds nothing.

use std::collections::BTreeMap;

use super::holder;
use super::tail::scan;
use super::{DocumentRecord, Holder, Intent, LedgerError, Record, ReplyKey};
use crate::store::Store;

/// A run as its log tells it.
#[derive(Debug, Default)]
pub struct RunLog {
    /// Who ran it. `None` if its claim is damaged or was removed.
    pub holder: Option<Holder>,
    /// The sums it wrote last.
    pub progress: Option<serde_json::Value>,
    /// Replies it bought.
    pub replies: u64,
    /// Its calls that were about to be sent and have no answer. While it runs, these are in flight.
    pub unanswered: Vec<Intent>,
    /// How it ended, if it ended by itself.
    pub closed: Option<String>,
    /// What is damaged or missing, for people.
    pub losses: Vec<String>,
}

/// Folds the log of `run`, reading from the segment `from` on (that of its claim, or any before). `each` gets the states
/// of documents as they were written: of two with one key the later counts.
pub async fn read_run(
    store: &dyn Store,
    run: &str,
    from: u64,
    mut each: impl FnMut(DocumentRecord),
) -> Result<RunLog, LedgerError> {
    let mut log = RunLog::default();
    let mut unanswered: BTreeMap<ReplyKey, Intent> = BTreeMap::new();
    let pick = |record, _, _| match record {
        // The text is not needed, and there may be much of it.
        Record::Reply(mut reply) => {
            reply.text = String::new();
            Some(Record::Reply(reply))
        }
        record => Some(record),
    };
    scan(store, from..u64::MAX, &pick, |number, found| {
        let losses = found.losses(number, 0);
        let header = found.reading.header;
        let is_ours = header.as_ref().map(|header| header.run == run);
        // A segment without a header may be this run's, so its loss is told.
        if is_ours != Some(false) {
            log.losses.extend(losses);
        }
        if is_ours != Some(true) {
            return;
        }
        for record in found.picked {
            match record {
                Record::Claim { holder } => log.holder = Some(holder),
                Record::Intent(intent) => {
                    unanswered.insert(intent.key, intent);
                }
                Record::Reply(reply) => {
                    log.replies += 1;
                    unanswered.remove(&reply.key);
                }
                Record::Document(document) => each(document),
                Record::Progress { totals, .. } => log.progress = Some(totals),
                // All calls are accounted for; what was announced ahead was never sent.
                Record::Closed { ended } => {
                    log.closed = Some(ended);
                    unanswered.clear();
                }
                Record::Forget { .. } => {}
            }
        }
    })
    .await?;
    // The claim says when the run began, the file of the holder when it was seen last.
    let seen = holder::read(store).await?.holder.filter(|holder| holder.run == run);
    log.holder = seen.or(log.holder);
    log.unanswered = unanswered.into_values().collect();
    Ok(log)
}
