//! The loop's dealings with calls: queue, send, take in what came of it, and write the result after the last one.

use tokio::time::Instant;

use super::conductor::{Done, Loop};
use super::{Ended, Job};
use crate::dispatch::{Failure, Finished, Ticket};
use crate::domain::{CallId, Event, Reply, Stage};
use crate::plan::Route;
use crate::sink;

/// When so many calls were given up and not one succeeded, the pipeline or the account is wrong, not the documents.
const HOPELESS_CALLS: u64 = 20;

impl Loop<'_> {
    /// Queues a call of a document, and the one that follows if it can not be sent at all.
    pub(super) fn push(&mut self, number: u64, call: CallId) {
        let mut next = Some(call);
        while let Some(id) = next.take() {
            let Some(document) = self.documents.get_mut(&number) else { return };
            document.open_calls += 1;
            let route = route(&self.job, id);
            match document.call(&self.job, id) {
                Ok(call) => {
                    let prompt_bytes = call.user.len() + call.system.as_deref().map_or(0, str::len);
                    let at_most = route.worst_case(prompt_bytes, call.max_tokens);
                    self.dispatcher.push(Ticket::new(number, id), at_most);
                }
                Err(error) => {
                    document.open_calls -= 1;
                    next = document.gave_up(id, &route.id, error.to_string());
                }
            }
        }
    }

    pub(super) fn send(&mut self, ticket: Ticket) {
        let document = self.documents.get(&ticket.document);
        let document = document.expect("a document stays until its last call is finished");
        let call = document.call(&self.job, ticket.call());
        let (model, started) = (self.model.clone(), Instant::now());
        self.tasks.spawn(async move {
            let result = match call {
                Ok(call) => model.converse(&call).await,
                // It could be made when it was queued, and nothing has changed since.
                Err(error) => Err(Failure::malformed(error.to_string())),
            };
            Done::Attempt { ticket, result, started }
        });
    }

    pub(super) fn attempted(&mut self, ticket: Ticket, result: Result<Reply, Failure>, started: Instant) {
        let id = ticket.call();
        let route = route(&self.job, id).clone();
        let settings = &self.job.pipeline;
        let max_tokens = match id.stage() {
            Stage::Map => settings.map().max_tokens,
            Stage::Merge => settings.merge().max_tokens,
        };
        let outcome = result.map(|reply| {
            let cost = route.model.cost(reply.usage);
            (reply, cost)
        });
        let finished = self.dispatcher.finish(ticket, outcome, self.now_ms());
        let document = self.documents.get_mut(&ticket.document);
        let document = document.expect("a document stays until its last call is finished");
        let (key, model) = (document.key.clone(), route.id.clone());
        let event = match finished {
            Finished::Retrying { wait_ms, attempt, reason, usage, cost, maybe_billed } => {
                document.usage += usage;
                document.cost += cost;
                let event = Event::CallRetried {
                    key,
                    call: id,
                    attempt,
                    model,
                    wait_ms,
                    reason,
                    usage,
                    cost,
                    maybe_billed,
                };
                return self.emit(event);
            }
            Finished::Reply { reply, cost, attempts } => {
                document.open_calls -= 1;
                document.usage += reply.usage;
                document.cost += cost;
                let (stop_reason, usage) = (reply.stop.clone(), reply.usage);
                let latency_ms = started.elapsed().as_millis() as u64;
                let ready = document.answered(id, &model, reply, max_tokens);
                let event = Event::CallFinished {
                    key,
                    call: id,
                    model,
                    stop_reason,
                    usage,
                    cost,
                    latency_ms,
                    attempts,
                };
                (event, ready)
            }
            Finished::GaveUp { reason, attempts, fatal, maybe_billed } => {
                // What would have succeeded with better credentials is not missing but unfinished: the call stays
                // open, and the document without a result.
                let ready = match fatal {
                    true => None,
                    false => {
                        document.open_calls -= 1;
                        document.gave_up(id, &model, reason.clone())
                    }
                };
                let event = Event::CallFailed {
                    key,
                    call: id,
                    model,
                    attempts,
                    reason: reason.clone(),
                    maybe_billed,
                };
                if fatal {
                    self.emit(event);
                    return self.stop(Ended::Refused(reason));
                }
                (event, ready)
            }
        };
        let (event, ready) = event;
        self.emit(event);
        if self.totals.calls() == 0 && self.totals.failed_calls() >= HOPELESS_CALLS {
            let failed = self.totals.failed_calls();
            self.stop(Ended::Refused(format!("all {failed} calls so far failed; see the reasons above")));
        }
        if let Some(call) = ready {
            self.push(ticket.document, call);
        }
        self.finish_if_complete(ticket.document);
    }

    /// Writes the result of a document whose last call is done.
    pub(super) fn finish_if_complete(&mut self, number: u64) {
        if self.documents.get(&number).is_none_or(|document| document.open_calls > 0) {
            return;
        }
        let Some(document) = self.documents.remove(&number) else { return };
        let (key, cost) = (document.key.clone(), document.cost);
        let result = match document.result(&self.job) {
            Ok(result) => result,
            Err(reason) => return self.document_failed(key, reason, cost),
        };
        let outputs = sink::render(&result, &self.job.pipeline.sink().formats);
        let (state, store, reason) = (result.state, self.job.sink.clone(), result.coverage.summary());
        self.tasks.spawn(async move {
            let mut written = Vec::new();
            for output in outputs {
                if let Err(error) = store.put(&output.key, output.body, output.content_type).await {
                    return Done::Written { key, state, reason, outputs: written, cost, result: Err(error) };
                }
                written.push(output.key);
            }
            Done::Written { key, state, reason, outputs: written, cost, result: Ok(()) }
        });
    }
}

fn route(job: &Job, call: CallId) -> &Route {
    match call.stage() {
        Stage::Map => &job.routes.map,
        Stage::Merge => &job.routes.merge,
    }
}
