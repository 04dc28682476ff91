//! The loop's dealings with the ledger: nothing is sent that is not announced, nothing is seen that is not kept.
//!
//! Records gather in the open segment; what must wait for them gathers beside it, and is done when the segment is
//! durable. A segment is committed after a second, after 64 answers, or at once when nothing else can go on without it.
//! The next calls of the queue are announced ahead with every commit, so that a free slot is filled without waiting
//! for one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::conductor::{Done, Loop};
use super::{Ended, with_causes};
use crate::dispatch::{Sending, Ticket};
use crate::domain::{Event, Reply, Usd};
use crate::ledger::{
    Compacted, DocumentRecord, Intent, Ledger, LedgerError, Reader, Record, ReplyKey, Segment, States,
};

/// Longest time that an answer waits for others to be committed with: a PUT costs as much as a small call's tokens.
const LINGER: Duration = Duration::from_secs(1);
/// Answers that are reason enough for a commit.
const GROUP: usize = 64;
/// Calls that are announced ahead of their turn.
const AHEAD: usize = 64;
/// How often the sums of the run are written along.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// An answer on its way into the ledger.
#[derive(Debug)]
pub(super) struct Answered {
    pub ticket: Ticket,
    pub key: ReplyKey,
    pub reply: Reply,
    pub model: String,
    pub max_tokens: u32,
    pub cost: Usd,
    pub attempts: u32,
    pub latency_ms: u64,
}

/// What is done once the records before it are durable.
#[derive(Debug)]
pub(super) enum After {
    Send(Sending),
    Announced(Ticket),
    Answered(Box<Answered>),
    Finished(Box<Event>),
}

pub(super) struct Journal {
    ledger: Ledger,
    pub reader: Reader,
    /// What waits for the open segment, and for the one that is being committed.
    open: Vec<After>,
    sealed: Vec<After>,
    is_committing: bool,
    oldest: Option<Instant>,
    /// Calls that wait in `open` to be sent.
    parked: usize,
    announced: BTreeSet<Ticket>,
    progress_at: Option<Instant>,
    /// The ledger is no longer ours, or can not be written: nothing may be kept, so nothing may be done.
    is_lost: bool,
    /// Calls of an earlier run that was killed: their answers may have been paid for.
    unanswered: BTreeSet<ReplyKey>,
    /// Requests that are being asked, and the calls that wait for the same answer.
    asked: BTreeMap<ReplyKey, Vec<Ticket>>,
    keys: BTreeMap<Ticket, ReplyKey>,
    /// Answers of this run, where those of earlier ones are not to be used.
    own: BTreeSet<ReplyKey>,
}

impl Journal {
    pub fn new(ledger: Ledger, unanswered: impl IntoIterator<Item = ReplyKey>) -> Self {
        let reader = ledger.reader();
        Journal {
            ledger,
            reader,
            open: Vec::new(),
            sealed: Vec::new(),
            is_committing: false,
            oldest: None,
            parked: 0,
            announced: BTreeSet::new(),
            progress_at: None,
            is_lost: false,
            unanswered: unanswered.into_iter().collect(),
            asked: BTreeMap::new(),
            keys: BTreeMap::new(),
            own: BTreeSet::new(),
        }
    }

    fn append(&mut self, record: Record) {
        self.oldest.get_or_insert_with(Instant::now);
        self.ledger.append(record);
    }

    fn append_then(&mut self, record: Record, after: After) {
        self.append(record);
        self.open.push(after);
    }

    /// Whether the answer was bought in this run.
    pub fn is_own(&self, key: ReplyKey) -> bool {
        self.own.contains(&key)
    }

    pub fn remember(&mut self, key: ReplyKey) {
        self.own.insert(key);
    }

    pub fn key_of(&self, ticket: Ticket) -> Option<ReplyKey> {
        self.keys.get(&ticket).copied()
    }

    /// Whether somebody asks the same already: then `ticket` waits for that answer.
    pub fn joins(&mut self, ticket: Ticket, key: ReplyKey) -> bool {
        match self.asked.get_mut(&key) {
            Some(waiting) => {
                waiting.push(ticket);
                true
            }
            None => {
                self.asked.insert(key, Vec::new());
                self.keys.insert(ticket, key);
                false
            }
        }
    }

    /// Ends the asking of `ticket` and hands over who waited for the same answer.
    pub fn settle(&mut self, ticket: Ticket) -> Vec<Ticket> {
        self.announced.remove(&ticket);
        self.keys.remove(&ticket).and_then(|key| self.asked.remove(&key)).unwrap_or_default()
    }

    /// Whether an earlier run may have paid for this answer; says so once.
    pub fn is_repeated(&mut self, key: ReplyKey) -> bool {
        self.unanswered.remove(&key)
    }

    /// The intent of a call that will be tried again stands.
    pub fn stays_announced(&mut self, ticket: Ticket) {
        self.announced.insert(ticket);
    }

    /// Says that the run is alive, and finds out whether the ledger is still its own.
    pub fn beat(&mut self, now: u64) -> impl Future<Output = Result<(), LedgerError>> + Send + use<> {
        self.ledger.beat(now)
    }

    /// The states of documents whose keys start with `prefix`, and what comes after them.
    pub fn states(&self, prefix: &str) -> States {
        // A state's own key is left out where a walk starts; no key is equal to the prefix of some.
        self.ledger.states(Some(prefix))
    }

    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    pub fn is_idle(&self) -> bool {
        self.is_lost || (!self.is_committing && self.ledger.buffered().records == 0)
    }
}

impl Loop<'_> {
    /// Sends a call, now if it is announced, otherwise once it is.
    pub(super) fn announce_and_send(&mut self, sending: Sending) {
        if self.journal.announced.remove(&sending.ticket) {
            return self.send(sending);
        }
        let Some(intent) = self.intent(sending.ticket) else { return };
        self.journal.parked += 1;
        self.journal.append_then(Record::Intent(intent), After::Send(sending));
    }

    fn intent(&self, ticket: Ticket) -> Option<Intent> {
        let document = self.documents.get(&ticket.document)?;
        let key = self.journal.key_of(ticket)?;
        Some(Intent { document: document.key.clone(), call: ticket.call(), key })
    }

    pub(super) fn keep_answer(&mut self, answered: Answered) {
        let record = paid_reply(&answered);
        self.journal.append_then(record, After::Answered(Box::new(answered)));
    }

    /// Keeps an answer that was paid for and will be asked for again.
    pub(super) fn keep_useless(&mut self, record: Record) {
        self.journal.append(record);
    }

    /// Keeps the state of a document, and shows it then.
    pub(super) fn keep_document(&mut self, record: DocumentRecord, event: Event) {
        self.journal.append_then(Record::Document(record), After::Finished(Box::new(event)));
    }

    pub(super) fn forget(&mut self, key: String) {
        self.journal.append(Record::Forget { key });
    }

    /// Commits what is due; says when to look again.
    pub(super) fn commit_if_due(&mut self) -> Option<Instant> {
        let journal = &self.journal;
        let buffered = journal.ledger.buffered();
        if journal.is_lost || journal.is_committing || buffered.records == 0 {
            return None;
        }
        let due = journal.oldest.map(|oldest| oldest + LINGER)?;
        let is_starved = journal.parked > 0 || self.attempts.is_empty();
        if !is_starved && buffered.replies < GROUP && Instant::now() < due {
            return Some(due);
        }
        self.announce_ahead();
        let journal = &mut self.journal;
        if journal.progress_at.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY) {
            journal.progress_at = Some(Instant::now());
            journal.append(progress(&self.record.run, &self.totals));
        }
        self.seal();
        None
    }

    fn announce_ahead(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let next: Vec<Ticket> = self.dispatcher.upcoming(AHEAD).collect();
        for ticket in next {
            if !self.journal.announced.contains(&ticket)
                && let Some(intent) = self.intent(ticket)
            {
                self.journal.append_then(Record::Intent(intent), After::Announced(ticket));
            }
        }
    }

    fn seal(&mut self) {
        let journal = &mut self.journal;
        let Some(segment) = journal.ledger.seal() else { return };
        journal.sealed = std::mem::take(&mut journal.open);
        journal.is_committing = true;
        journal.oldest = None;
        journal.parked = 0;
        let sink = self.job.sink.clone();
        self.tasks.spawn(async move {
            let result = segment.commit(&*sink).await;
            Done::Committed(segment, result)
        });
    }

    pub(super) fn committed(&mut self, segment: Segment, result: Result<(), LedgerError>) {
        self.journal.is_committing = false;
        if let Err(error) = result {
            return self.lost(error);
        }
        self.journal.ledger.committed(segment);
        self.compact_if_due();
        for after in std::mem::take(&mut self.journal.sealed) {
            match after {
                // The run was stopped meanwhile: announced, and never sent.
                After::Send(_) | After::Announced(_) if self.ended().is_some() => {}
                After::Send(sending) => self.send(sending),
                After::Announced(ticket) => {
                    self.journal.announced.insert(ticket);
                }
                After::Answered(answered) => self.answered(*answered),
                After::Finished(event) => self.emit(*event),
            }
        }
    }

    /// Without its ledger the run may neither keep nor buy anything more.
    pub(super) fn lost(&mut self, error: LedgerError) {
        if self.journal.is_lost {
            return;
        }
        self.journal.is_lost = true;
        let open = std::mem::take(&mut self.journal.open);
        let unkept: Vec<After> = std::mem::take(&mut self.journal.sealed).into_iter().chain(open).collect();
        // Paid for, and not to be used: the books say so.
        for after in unkept {
            let After::Answered(answered) = after else { continue };
            let Some(document) = self.documents.get(&answered.ticket.document) else { continue };
            let (key, call) = (document.key.clone(), answered.ticket.call());
            let (model, maybe_billed) = (answered.model, answered.cost);
            self.emit(Event::CallAbandoned { key, call, model, maybe_billed });
        }
        let ended = match error {
            LedgerError::Fenced { by } => Ended::Fenced(by.to_string()),
            error => Ended::Refused(format!("the ledger can not be written: {}", with_causes(&error))),
        };
        self.stop(ended);
        self.abandon();
    }

    /// Says in the store that the run is alive.
    pub(super) fn beat(&mut self) {
        if !self.journal.is_lost {
            let beat = self.journal.beat((self.job.now)());
            self.tasks.spawn(async move { Done::Beat(beat.await) });
        }
    }

    /// The last records of the run.
    pub(super) async fn close_ledger(&mut self) {
        if self.journal.is_lost {
            return;
        }
        let ended = self.ended().map_or("complete", Ended::name);
        self.journal.append(progress(&self.record.run, &self.totals));
        let (ledger, now) = (&mut self.journal.ledger, (self.job.now)());
        // A run that gave calls up has not accounted for them: the next one says which may have been paid for.
        let closed = match self.totals.abandoned {
            0 => ledger.close(ended, now).await,
            _ => ledger.release(now).await,
        };
        if let Err(error) = closed {
            let message = format!("the ledger could not be closed: {}", with_causes(&error));
            self.emit(Event::Notice { message });
        }
    }

    /// Sums the log up beside the loop, when it has grown long.
    fn compact_if_due(&mut self) {
        if let Some(compaction) = self.journal.ledger.start_compaction(false) {
            self.tasks.spawn(async move { Done::Compacted(compaction.run().await) });
        }
    }

    pub(super) fn compacted(&mut self, result: Result<Compacted, LedgerError>) {
        match result {
            Ok(compacted) => self.journal.ledger.compacted(compacted),
            Err(error @ LedgerError::Fenced { .. }) => self.lost(error),
            Err(error) => {
                self.journal.ledger.compaction_failed();
                let message = format!("the ledger could not be compacted: {}", with_causes(&error));
                self.emit(Event::Notice { message });
            }
        }
    }
}

fn progress(run: &str, totals: &crate::domain::Totals) -> Record {
    let totals = serde_json::to_value(totals).expect("sums are always JSON");
    Record::Progress { run: run.to_owned(), totals }
}

pub(super) fn paid_reply(answered: &Answered) -> Record {
    Record::Reply(crate::ledger::PaidReply {
        key: answered.key,
        model: answered.model.clone(),
        max_tokens: answered.max_tokens,
        text: answered.reply.text.clone(),
        stop: answered.reply.stop.clone(),
        usage: answered.reply.usage,
    })
}
