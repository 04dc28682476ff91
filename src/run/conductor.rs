//! The loop: starts listing and preparing, takes in what the tasks beside it hand back, and ends the run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::archive::{Archive, Unpacked};
use super::calls::Written;
use super::document::{Document, Origin};
use super::journal::Journal;
use super::prepare::{Ready, prepare};
use super::{Ended, Job, PrepareError, Prepared, ScrollError, intake, lanes, with_causes};
use crate::chunk::StreamedChunk;
use crate::dispatch::{Dispatcher, Failure, LaneId, Model, Next, Ticket};
use crate::domain::{DocumentState, Event, Reply, Stage, Totals, Usd};
use crate::extract::{ExtractError, Member};
use crate::ledger::{
    BEAT, Compacted, DocumentRecord, Ledger, LedgerError, Output, PaidReply, ReplyKey, Segment,
};
use crate::plan::Seen;
use crate::report::{DocumentLines, RunRecord, SeenRecord, fold};
use crate::source::Source;
use crate::store::StoreError;

/// Documents that are fetched, read and cut at once; more would only fill memory.
const PREPARING_MAX: usize = 4;
/// Bytes of documents in memory beyond which no new one is started (a single larger one still is).
const BYTES_MAX: u64 = 64 << 20;
/// Chunks of one streamed document that are held at once: as many as calls can use, as far as memory goes.
const PASSAGES_MIN: usize = 16;
const PASSAGES_BYTES: usize = 32 << 20;
const PASSAGES_LEAST: usize = 8;
/// After so long without anything finishing, whoever watches is told.
const SILENCE: Duration = Duration::from_secs(60);
/// Calls in flight at the deadline are paid for; they may take so long to end.
const DEADLINE_GRACE: Duration = Duration::from_mins(10);
/// So many results in a row could not be written: going on would buy answers to lose them.
const WRITE_FAILURES_MAX: u32 = 3;

/// Sees every event, with the totals so far and the time since the run began.
pub type Observer<'a> = &'a mut (dyn FnMut(&Event, &Totals, Duration) + Send);

/// How a run ended, and what it came to.
#[derive(Debug)]
pub struct Summary {
    pub ended: Ended,
    pub totals: Totals,
    pub report_key: String,
}

/// What a task beside the loop hands back.
pub(super) enum Done {
    Page(Box<intake::Intake>, Result<intake::Sorted, intake::IntakeError>),
    Prepared(u64, Origin, Result<Ready, PrepareError>),
    /// An archive was opened; `Member` is the next of its documents.
    Archive(u64, Origin, Unpacked, Result<BTreeMap<String, DocumentRecord>, LedgerError>),
    Member(u64, Unpacked, Option<Result<Member, ExtractError>>),
    /// The next chunk of a document that is read as a stream, from the other end of `Passages`.
    Passage(u64, Passages, Option<Result<StreamedChunk, ScrollError>>),
    /// A stream was read to its end, or given up.
    Scrolled,
    Recalled(Ticket, Result<Option<PaidReply>, LedgerError>),
    Attempt {
        ticket: Ticket,
        lane: LaneId,
        max_tokens: u32,
        result: Result<Reply, Failure>,
        started: Instant,
    },
    Committed(Segment, Result<(), LedgerError>),
    Compacted(Result<Compacted, LedgerError>),
    Beat(Result<(), LedgerError>),
    Written(Written),
    Report(Result<Option<String>, StoreError>),
}

/// Where the chunks of a streamed document come from.
pub(super) type Passages = Receiver<Result<StreamedChunk, ScrollError>>;

pub(super) struct Loop<'a> {
    pub(super) job: Arc<Job>,
    pub(super) model: Arc<dyn Model>,
    pub(super) observer: Observer<'a>,
    pub(super) began: Instant,
    pub(super) totals: Totals,
    pub(super) lines: DocumentLines,
    pub(super) record: RunRecord,
    /// What calls came to, by stage and model.
    pub(super) seen: BTreeMap<(Stage, String), Seen>,
    pub(super) dispatcher: Dispatcher,
    pub(super) journal: Journal,
    /// Writes and reads of our own state: whatever happens, these are waited for.
    pub(super) tasks: JoinSet<Done>,
    /// Calls in flight: given up when the time of grace is over.
    pub(super) attempts: JoinSet<Done>,
    /// What each of them was sent to, and what it may cost.
    pub(super) sent: BTreeMap<Ticket, (String, Usd)>,
    /// Listing and preparing: dropped when the run is stopped, for a hostile document may take its time.
    pub(super) intake: JoinSet<Done>,
    source: Option<Box<intake::Intake>>,
    pending: VecDeque<Origin>,
    pub(super) preparing: BTreeMap<u64, u64>,
    pub(super) documents: BTreeMap<u64, Document>,
    /// Of streamed documents that have as many chunks under way as they may.
    resting: BTreeMap<u64, Passages>,
    pub(super) archives: BTreeMap<u64, Archive>,
    next_document: u64,
    /// Calls that were sent and given up.
    pub(super) hopeless: u64,
    /// In a row.
    pub(super) write_failures: u32,
    ended: Option<Ended>,
    pub(super) fingerprint: String,
}

/// A ledger that was opened for a run, and what was found in it.
pub struct Books {
    pub ledger: Ledger,
    /// Calls of earlier runs that were killed before their answers came.
    pub unanswered: Vec<ReplyKey>,
    /// Our claim's place in the log.
    pub first_segment: u64,
}

/// Runs `job` over `source` to its end, or until `stop` turns true. The sink has been probed: the record of the run
/// lies in it, and its ledger is ours.
pub async fn run(
    job: Arc<Job>,
    source: Source,
    model: Arc<dyn Model>,
    books: Books,
    record: RunRecord,
    observer: Observer<'_>,
    mut stop: watch::Receiver<bool>,
) -> Summary {
    let limits = job.pipeline.limits();
    let deadline = limits.deadline.map(|d| Instant::now() + d);
    let grace = limits.grace;
    let intake = intake::Intake::new(source, job.clone(), books.ledger.states(None));
    let mut this = Loop {
        model,
        observer,
        began: Instant::now(),
        totals: Totals::default(),
        lines: DocumentLines::new(&record.run),
        record,
        seen: BTreeMap::new(),
        dispatcher: Dispatcher::new(lanes::settings(&job)),
        journal: Journal::new(books.ledger, books.unanswered),
        tasks: JoinSet::new(),
        attempts: JoinSet::new(),
        sent: BTreeMap::new(),
        intake: JoinSet::new(),
        source: Some(Box::new(intake)),
        pending: VecDeque::new(),
        preparing: BTreeMap::new(),
        documents: BTreeMap::new(),
        resting: BTreeMap::new(),
        archives: BTreeMap::new(),
        next_document: 0,
        hopeless: 0,
        write_failures: 0,
        ended: None,
        fingerprint: job.state_fingerprint(),
        job,
    };
    this.emit(Event::RunStarted {
        run: this.record.run.clone(),
        pipeline: this.record.pipeline.clone(),
        source: this.record.source.clone(),
        sink: this.record.sink.clone(),
        map_model: this.job.routes.map.id.clone(),
        merge_model: this.job.routes.merge.id.clone(),
    });
    for key in this.job.redo.forget.clone() {
        this.forget(key);
    }
    let mut silent_until = Instant::now() + SILENCE;
    let mut beat_at = Instant::now() + BEAT;
    let mut grace_until = None;
    loop {
        let wake = this.fill();
        let due = this.commit_if_due();
        let is_idle = (this.intake.is_empty() || this.ended.is_some()) && this.journal.is_idle();
        if this.tasks.is_empty() && this.attempts.is_empty() && is_idle && wake.is_none() {
            break;
        }
        tokio::select! {
            Some(done) = this.tasks.join_next() => {
                // That the run says it is alive is no progress.
                if !matches!(done, Ok(Done::Beat(_))) {
                    silent_until = Instant::now() + SILENCE;
                }
                this.joined(done);
            }
            Some(done) = this.attempts.join_next() => {
                silent_until = Instant::now() + SILENCE;
                this.joined(done);
            }
            Some(done) = this.intake.join_next(), if this.ended.is_none() => {
                silent_until = Instant::now() + SILENCE;
                this.joined(done);
            }
            () = sleep_until(wake) => {}
            () = sleep_until(due) => {}
            () = tokio::time::sleep_until(beat_at) => {
                beat_at = Instant::now() + BEAT;
                this.beat();
            }
            () = sleep_until(deadline), if this.ended.is_none() => {
                this.stop(Ended::Deadline);
                grace_until = Some(Instant::now() + DEADLINE_GRACE.max(grace));
            }
            // Whatever the run is ending for, a signal ends the waiting.
            Ok(()) = stop.changed() => {
                this.stop(Ended::Interrupted);
                grace_until = Some(Instant::now() + grace);
            }
            () = sleep_until(grace_until) => {
                grace_until = None;
                this.abandon();
            }
            () = tokio::time::sleep_until(silent_until) => {
                silent_until = Instant::now() + SILENCE;
                let (reading, diagnosis) = (this.preparing.len(), this.dispatcher.diagnosis(this.now_ms()));
                let message = format!(
                    "nothing finished in the last minute: {reading} documents being read; {diagnosis}"
                );
                this.emit(Event::Notice { message });
            }
        }
    }
    this.finish().await
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Loop<'_> {
    pub(super) fn emit(&mut self, event: Event) {
        fold(&mut self.totals, &event);
        let segment = self.lines.add(&event);
        (self.observer)(&event, &self.totals, self.began.elapsed());
        self.spawn_segment(segment);
    }

    fn spawn_segment(&mut self, segment: Option<(String, bytes::Bytes)>) {
        let Some((key, body)) = segment else { return };
        self.record.documents.push(key.clone());
        let sink = self.job.sink.clone();
        self.tasks.spawn(async move { Done::Report(sink.put(&key, body, "application/x-ndjson").await) });
    }

    pub(super) fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// Ends the run: nothing new is started, what is in flight is finished and kept. The first reason stands.
    pub(super) fn stop(&mut self, ended: Ended) {
        if self.ended.is_none() {
            self.emit(Event::Notice { message: format!("stopping: {ended}; waiting for calls in flight") });
            self.ended = Some(ended);
        }
    }

    /// Starts whatever can be started; says when to look again although nothing finished.
    fn fill(&mut self) -> Option<Instant> {
        while self.ended.is_none() {
            match self.dispatcher.next(self.now_ms()) {
                Next::Send(sending) => self.announce_and_send(sending),
                Next::GaveUp(ticket, finished) => self.finished(ticket, finished),
                Next::BudgetExhausted { needed, left } => {
                    self.stop(Ended::Budget { needed, left });
                }
                Next::Idle => {
                    if self.start_next() {
                        continue;
                    }
                    return None;
                }
                Next::WaitUntil(at_ms) => {
                    if self.start_next() {
                        continue;
                    }
                    return Some(self.began + Duration::from_millis(at_ms));
                }
            }
        }
        None
    }

    /// Starts listing or preparing, if there is room; says whether it did.
    fn start_next(&mut self) -> bool {
        // What is opened is finished before another is: an archive is held whole until its last member is out.
        if self.archives.values().any(|archive| archive.resting.is_some()) {
            return self.has_room(0) && self.unpack_next();
        }
        if self.pending.is_empty() {
            let Some(mut intake) = self.source.take() else { return false };
            self.intake.spawn(async move {
                let page = intake.next_page().await;
                Done::Page(intake, page)
            });
            return true;
        }
        // What is larger than that is read as a stream, or not at all.
        let next_bytes = self.pending.front().map_or(0, |origin| origin.meta.size.min(BYTES_MAX));
        let room = self.has_room(next_bytes);
        let Some(origin) = self.pending.pop_front_if(|_| room) else { return false };
        let number = self.next_number();
        let meta = origin.meta.clone();
        self.preparing.insert(number, meta.size);
        self.emit(Event::DocumentStarted { key: meta.key.clone(), size_bytes: meta.size });
        let job = self.job.clone();
        self.intake.spawn(async move {
            let prepared = prepare(job, meta).await;
            Done::Prepared(number, origin, prepared)
        });
        true
    }

    fn has_room(&self, next_bytes: u64) -> bool {
        let limits = self.job.pipeline.limits();
        let bytes: u64 = self.preparing.values().sum::<u64>()
            + self.documents.values().map(Document::bytes_held).sum::<u64>();
        let started = self.preparing.len() + self.documents.len();
        self.preparing.len() < PREPARING_MAX
            && started < limits.max_documents_in_flight as usize
            && self.dispatcher.queued() < limits.max_in_flight as usize
            && (started == 0 || bytes + next_bytes <= BYTES_MAX)
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.next_document += 1;
        self.next_document
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn joined(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(done) => self.take(done),
            // Given up by ourselves.
            Err(error) if error.is_cancelled() => {}
            Err(error) => self.stop(Ended::Refused(format!("a task of the run died: {error}"))),
        }
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Page(intake, Ok(page)) => {
                let intake::Sorted { documents, unchanged, given_up, excluded, last } = page;
                let listed = documents.len() as u64 + unchanged + given_up.len() as u64;
                self.emit(Event::Listed { documents: listed, excluded, unchanged, last });
                for (key, state, reason) in given_up {
                    let cost = Usd::ZERO;
                    let (reason, outputs) = (Some(reason), Vec::new());
                    self.emit(Event::DocumentFinished { key, state, reason, outputs, cost });
                }
                self.pending.extend(documents);
                if !last {
                    self.source = Some(intake);
                }
            }
            Done::Page(_, Err(error)) => {
                let error = with_causes(&error);
                self.stop(Ended::Refused(format!("can not go on listing the source: {error}")));
            }
            Done::Prepared(number, origin, result) => self.prepared(number, origin, result),
            Done::Archive(number, origin, unpacked, states) => {
                self.archive_opened(number, origin, unpacked, states);
            }
            Done::Member(number, unpacked, member) => self.member(number, unpacked, member),
            Done::Passage(number, passages, passage) => self.passage(number, passages, passage),
            Done::Scrolled => {}
            Done::Recalled(ticket, found) => self.recalled(ticket, found),
            Done::Attempt { ticket, lane, max_tokens, result, started } => {
                self.attempted(ticket, lane, max_tokens, result, started);
            }
            Done::Committed(segment, result) => self.committed(segment, result),
            Done::Compacted(result) => self.compacted(result),
            Done::Beat(Ok(())) => {}
            Done::Beat(Err(error @ LedgerError::Fenced { .. })) => self.lost(error),
            Done::Beat(Err(error)) => {
                let message = format!("can not say that this run is alive: {}", with_causes(&error));
                self.emit(Event::Notice { message });
            }
            Done::Written(written) => self.written(written),
            Done::Report(Ok(_)) => {}
            Done::Report(Err(error)) => {
                let message = format!("the run report could not be written: {}", with_causes(&error));
                self.emit(Event::Notice { message });
            }
        }
    }

    fn prepared(&mut self, number: u64, origin: Origin, result: Result<Ready, PrepareError>) {
        self.preparing.remove(&number);
        match result {
            Ok(Ready::Document(prepared)) => self.planned(number, origin, *prepared),
            Ok(Ready::Archive(archive)) => self.open_archive(number, origin, archive),
            // Not the document's fault: it is left unfinished.
            Err(error) if error.is_fatal() => self.stop(Ended::Refused(with_causes(&error))),
            Err(error) => self.document_failed(origin, with_causes(&error), Usd::ZERO),
        }
    }

    fn planned(&mut self, number: u64, mut origin: Origin, prepared: Prepared) {
        self.emit(prepared.planned(&origin.meta.key));
        // What was read may be newer than the listing.
        origin.meta = prepared.meta.clone();
        let document = Document::new(origin, prepared);
        let (calls, scroll) = (document.first_calls(), document.scroll());
        self.documents.insert(number, document);
        if let Some(scroll) = scroll {
            let (passages, work) = scroll.hand_out(self.job.source.clone());
            self.intake.spawn(async move {
                work.await;
                Done::Scrolled
            });
            self.resting.insert(number, passages);
            self.read_on(number);
        }
        for call in calls {
            self.push(number, call);
        }
        self.finish_if_complete(number);
    }

    /// Takes the next chunk of a streamed document, if there is room for it.
    pub(super) fn read_on(&mut self, number: u64) {
        // As many again as can be in flight, so that calls are there when others end.
        let wanted = (self.job.pipeline.limits().max_in_flight as usize * 2).max(PASSAGES_MIN);
        // A token has about four bytes.
        let room = PASSAGES_BYTES / (self.job.size.tokens() as usize * 4).max(1);
        let most = wanted.min(room.max(PASSAGES_LEAST));
        if self.documents.get(&number).is_none_or(|document| document.passages() >= most) {
            return;
        }
        let Some(mut passages) = self.resting.remove(&number) else { return };
        self.intake.spawn(async move {
            let passage = passages.recv().await;
            Done::Passage(number, passages, passage)
        });
    }

    fn passage(
        &mut self,
        number: u64,
        passages: Passages,
        passage: Option<Result<StreamedChunk, ScrollError>>,
    ) {
        let Some(document) = self.documents.get_mut(&number) else { return };
        let call = match passage {
            Some(Ok(passage)) => document.read_on(passage).ok_or(ScrollError::Changed),
            Some(Err(error)) => Err(error),
            None if document.is_reading() => Err(ScrollError::Changed),
            None => return,
        };
        match call {
            Ok(call) => {
                self.resting.insert(number, passages);
                self.push(number, call);
                self.read_on(number);
            }
            Err(error) if error.is_fatal() => return self.stop(Ended::Refused(with_causes(&error))),
            Err(error) => {
                for call in document.unreadable(&with_causes(&error)) {
                    self.push(number, call);
                }
            }
        }
        self.finish_if_complete(number);
    }

    pub(super) fn document_failed(&mut self, origin: Origin, reason: String, cost: Usd) {
        self.document_ended(origin, DocumentState::Failed, Some(reason), Vec::new(), cost);
    }

    pub(super) fn document_ended(
        &mut self,
        origin: Origin,
        state: DocumentState,
        reason: Option<String>,
        outputs: Vec<Output>,
        cost: Usd,
    ) {
        let (key, shown) = (origin.meta.key.clone(), outputs.iter().map(|o| o.key.clone()).collect());
        let event = Event::DocumentFinished { key, state, reason: reason.clone(), outputs: shown, cost };
        let archive = origin.archive;
        self.keep_state(origin, state, reason, outputs, event);
        self.member_ended(archive, state);
    }

    /// Keeps the state that an object has ended in.
    pub(super) fn keep_state(
        &mut self,
        origin: Origin,
        state: DocumentState,
        reason: Option<String>,
        outputs: Vec<Output>,
        event: Event,
    ) {
        let Origin { meta, failures, outputs: before, archive: _ } = origin;
        let record = DocumentRecord {
            key: meta.key,
            etag: meta.etag,
            size: meta.size,
            fingerprint: self.fingerprint.clone(),
            state,
            reason,
            attempts: if state == DocumentState::Done { 0 } else { failures + 1 },
            // A failed document keeps what an earlier version of it has left.
            outputs: if outputs.is_empty() { before } else { outputs },
            run: self.record.run.clone(),
        };
        self.keep_document(record, event);
    }

    pub(super) fn failed_to_write(&mut self, origin: Origin, cost: Usd, error: &StoreError) {
        let reason = format!("its result could not be written: {}", with_causes(error));
        self.document_failed(origin, reason.clone(), cost);
        self.write_failures += 1;
        if error.is_fatal() || self.write_failures >= WRITE_FAILURES_MAX {
            self.stop(Ended::Refused(reason));
        }
    }

    /// Writes what is left of the report.
    async fn finish(mut self) -> Summary {
        self.totals.unfinished = self.totals.selected.saturating_sub(self.totals.ended());
        self.close_ledger().await;
        let ended = self.ended.take().unwrap_or(Ended::Complete);
        let segment = self.lines.flush();
        self.spawn_segment(segment);
        while let Some(done) = self.tasks.join_next().await {
            if let Ok(done) = done {
                self.take(done);
            }
        }
        self.record.ended = ended.name().to_owned();
        self.record.seconds = Some(self.began.elapsed().as_secs());
        self.record.totals = self.totals.clone();
        let seen = std::mem::take(&mut self.seen).into_iter();
        self.record.seen = seen.map(|((stage, model), seen)| SeenRecord { stage, model, seen }).collect();
        self.record.pools = self.dispatcher.statistics();
        let (report_key, run) = (self.record.key(), self.record.run.clone());
        let written = self.job.sink.put(&report_key, self.record.bytes(), "application/json").await;
        self.take(Done::Report(written));
        let totals = Box::new(self.totals.clone());
        self.emit(Event::RunFinished { run, ended: ended.name().to_owned(), totals });
        Summary { ended, totals: self.totals, report_key }
    }
}
