//! The loop: starts listing and preparing, takes in what the tasks beside it hand back, and ends the run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::document::Document;
use super::{Ended, Job, PrepareError, Prepared, prepare, with_causes};
use crate::dispatch::{Dispatcher, Failure, Model, Next, Settings, Ticket};
use crate::domain::{DocumentState, Event, ObjectMeta, Reply, Totals, Usd};
use crate::report::{DocumentLines, RunRecord, fold};
use crate::source::{Selected, Source};
use crate::store::StoreError;

/// Documents that are fetched, read and cut at once; more would only fill memory.
const PREPARING_MAX: usize = 4;
/// Bytes of documents in memory beyond which no new one is started (a single larger one still is).
const BYTES_MAX: u64 = 64 << 20;
/// After so long without anything finishing, whoever watches is told.
const SILENCE: Duration = Duration::from_secs(60);
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
    Page(Source, Result<Selected, StoreError>),
    Prepared(u64, ObjectMeta, Result<Prepared, PrepareError>),
    Attempt {
        ticket: Ticket,
        result: Result<Reply, Failure>,
        started: Instant,
    },
    Written {
        key: String,
        state: DocumentState,
        reason: Option<String>,
        outputs: Vec<String>,
        cost: Usd,
        result: Result<(), StoreError>,
    },
    Report(Result<(), StoreError>),
}

pub(super) struct Loop<'a> {
    pub(super) job: Arc<Job>,
    pub(super) model: Arc<dyn Model>,
    pub(super) observer: Observer<'a>,
    pub(super) began: Instant,
    pub(super) totals: Totals,
    pub(super) lines: DocumentLines,
    pub(super) record: RunRecord,
    pub(super) dispatcher: Dispatcher,
    /// Calls and writes: whatever happens, these are waited for.
    pub(super) tasks: JoinSet<Done>,
    /// Listing and preparing: dropped when the run is stopped, for a hostile document may take its time.
    intake: JoinSet<Done>,
    source: Option<Source>,
    pending: VecDeque<ObjectMeta>,
    preparing: BTreeMap<u64, u64>,
    pub(super) documents: BTreeMap<u64, Document>,
    next_document: u64,
    /// In a row.
    write_failures: u32,
    ended: Option<Ended>,
}

/// Runs `job` over `source` to its end, or until `stop` turns true. The sink has been probed: the record of the run
/// lies in it.
pub async fn run(
    job: Arc<Job>,
    source: Source,
    model: Arc<dyn Model>,
    record: RunRecord,
    observer: Observer<'_>,
    mut stop: watch::Receiver<bool>,
) -> Summary {
    let limits = job.pipeline.limits();
    let deadline = limits.deadline.map(|d| Instant::now() + d);
    let dispatcher = Dispatcher::new(Settings {
        in_flight_max: limits.max_in_flight as usize,
        attempts_max: limits.max_attempts,
        cost_max: limits.max_cost,
        backoff_ms: job.backoff_ms,
        seed: job.seed,
    });
    let mut this = Loop {
        model,
        observer,
        began: Instant::now(),
        totals: Totals::default(),
        lines: DocumentLines::new(&record.run),
        record,
        dispatcher,
        tasks: JoinSet::new(),
        intake: JoinSet::new(),
        source: Some(source),
        pending: VecDeque::new(),
        preparing: BTreeMap::new(),
        documents: BTreeMap::new(),
        next_document: 0,
        write_failures: 0,
        ended: None,
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
    let mut silent_until = Instant::now() + SILENCE;
    loop {
        let wake = this.fill();
        let is_idle = this.intake.is_empty() || this.ended.is_some();
        if this.tasks.is_empty() && is_idle && wake.is_none() {
            break;
        }
        tokio::select! {
            Some(done) = this.tasks.join_next() => {
                silent_until = Instant::now() + SILENCE;
                this.joined(done);
            }
            Some(done) = this.intake.join_next(), if this.ended.is_none() => {
                silent_until = Instant::now() + SILENCE;
                this.joined(done);
            }
            () = sleep_until(wake) => {}
            () = sleep_until(deadline), if this.ended.is_none() => this.stop(Ended::Deadline),
            Ok(()) = stop.changed(), if this.ended.is_none() => this.stop(Ended::Interrupted),
            () = tokio::time::sleep_until(silent_until) => {
                silent_until = Instant::now() + SILENCE;
                let (calls, reading) = (this.dispatcher.in_flight(), this.preparing.len());
                let message = format!(
                    "nothing finished in the last minute: {calls} calls in flight, {reading} documents being read"
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
                Next::Send(ticket) => self.send(ticket),
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
        if self.pending.is_empty() {
            let Some(mut source) = self.source.take() else { return false };
            self.intake.spawn(async move {
                let page = source.next_page().await;
                Done::Page(source, page)
            });
            return true;
        }
        let limits = self.job.pipeline.limits();
        let bytes: u64 = self.preparing.values().sum::<u64>()
            + self.documents.values().map(Document::text_bytes).sum::<u64>();
        let started = self.preparing.len() + self.documents.len();
        let next_bytes = self.pending.front().map_or(0, |meta| meta.size);
        let room = self.preparing.len() < PREPARING_MAX
            && started < limits.max_documents_in_flight as usize
            && self.dispatcher.queued() < limits.max_in_flight as usize
            && (started == 0 || bytes + next_bytes <= BYTES_MAX);
        let Some(meta) = self.pending.pop_front_if(|_| room) else { return false };
        let number = self.next_document;
        self.next_document += 1;
        self.preparing.insert(number, meta.size);
        self.emit(Event::DocumentStarted { key: meta.key.clone(), size_bytes: meta.size });
        let job = self.job.clone();
        self.intake.spawn(async move {
            let prepared = prepare(job, meta.clone()).await;
            Done::Prepared(number, meta, prepared)
        });
        true
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn joined(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(done) => self.take(done),
            Err(error) => self.stop(Ended::Refused(format!("a task of the run died: {error}"))),
        }
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Page(source, Ok(page)) => {
                let documents = page.documents.len() as u64;
                self.emit(Event::Listed { documents, excluded: page.excluded, last: page.last });
                self.pending.extend(page.documents);
                if !page.last {
                    self.source = Some(source);
                }
            }
            Done::Page(_, Err(error)) => {
                let error = with_causes(&error);
                self.stop(Ended::Refused(format!("can not go on listing the source: {error}")));
            }
            Done::Prepared(number, meta, result) => self.prepared(number, meta, result),
            Done::Attempt { ticket, result, started } => self.attempted(ticket, result, started),
            Done::Written { key, state, reason, outputs, cost, result } => match result {
                Ok(()) => {
                    self.write_failures = 0;
                    self.emit(Event::DocumentFinished { key, state, reason, outputs, cost });
                }
                Err(error) => self.failed_to_write(key, cost, &error),
            },
            Done::Report(Ok(())) => {}
            Done::Report(Err(error)) => {
                let message = format!("the run report could not be written: {}", with_causes(&error));
                self.emit(Event::Notice { message });
            }
        }
    }

    fn prepared(&mut self, number: u64, meta: ObjectMeta, result: Result<Prepared, PrepareError>) {
        self.preparing.remove(&number);
        match result {
            Ok(prepared) => self.planned(number, meta.key, prepared),
            // Not the document's fault: it is left unfinished.
            Err(error) if error.is_fatal() => self.stop(Ended::Refused(with_causes(&error))),
            Err(error) => self.document_failed(meta.key, with_causes(&error), Usd::ZERO),
        }
    }

    fn planned(&mut self, number: u64, key: String, prepared: Prepared) {
        self.emit(prepared.planned(&key));
        let document = Document::new(key, prepared);
        let calls = document.first_calls();
        self.documents.insert(number, document);
        for call in calls {
            self.push(number, call);
        }
        self.finish_if_complete(number);
    }

    pub(super) fn document_failed(&mut self, key: String, reason: String, cost: Usd) {
        let state = DocumentState::Failed;
        self.emit(Event::DocumentFinished { key, state, reason: Some(reason), outputs: Vec::new(), cost });
    }

    fn failed_to_write(&mut self, key: String, cost: Usd, error: &StoreError) {
        let reason = format!("its result could not be written: {}", with_causes(error));
        self.document_failed(key, reason.clone(), cost);
        self.write_failures += 1;
        if error.is_fatal() || self.write_failures >= WRITE_FAILURES_MAX {
            self.stop(Ended::Refused(reason));
        }
    }

    /// Writes what is left of the report.
    async fn finish(mut self) -> Summary {
        let ended = self.ended.take().unwrap_or(Ended::Complete);
        self.totals.unfinished = self.totals.selected.saturating_sub(self.totals.ended());
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
        let (report_key, run) = (self.record.key(), self.record.run.clone());
        let written = self.job.sink.put(&report_key, self.record.bytes(), "application/json").await;
        self.take(Done::Report(written));
        let totals = Box::new(self.totals.clone());
        self.emit(Event::RunFinished { run, ended: ended.name().to_owned(), totals });
        Summary { ended, totals: self.totals, report_key }
    }
}
