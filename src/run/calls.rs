//! The loop's dealings with calls: recall or queue, send, take in what came of it, and write the result after the last
//! one.

use tokio::time::Instant;

use super::conductor::{Done, Loop};
use super::document::{Origin, PromptSize, max_tokens};
use super::journal::{Answered, paid_reply};
use super::write::Unwritten;
use super::{Ended, Redo, with_causes, write};
use crate::dispatch::{Failure, Finished, LaneId, Need, Sending, Ticket};
use crate::domain::{Call, CallId, DocumentState, Event, Reply, StopReason, Usage, Usd};
use crate::ledger::{self, LedgerError, PaidReply, ReplyKey};
use crate::pipeline::CutAnswers;
use crate::plan::RouteId;
use crate::sink;

/// When so many calls were given up and not one succeeded, the pipeline or the account is wrong, not the documents.
const HOPELESS_CALLS: u64 = 20;

/// How the writing of a document's result went.
pub(super) struct Written {
    origin: Origin,
    state: DocumentState,
    reason: Option<String>,
    cost: Usd,
    result: Result<Vec<ledger::Output>, Unwritten>,
}

/// What a call that was given up has cost.
#[derive(Clone, Copy, Debug, Default)]
struct Bill {
    usage: Usage,
    cost: Usd,
    maybe_billed: Usd,
}

impl Loop<'_> {
    /// Answers a call of a document from the ledger or queues it, and does the same with the one that follows if it can
    /// not be sent at all.
    pub(super) fn push(&mut self, number: u64, call: CallId) {
        let mut next = Some(call);
        while let Some(id) = next.take() {
            let Some(document) = self.documents.get_mut(&number) else { return };
            document.open_calls += 1;
            match document.call(&self.job, id) {
                Ok(call) => self.recall(Ticket::new(number, id), &call),
                Err(error) => {
                    document.open_calls -= 1;
                    let model = self.job.routes.get(document.route(&self.job, id)).id.clone();
                    next = document.gave_up(id, &model, error.to_string());
                }
            }
        }
    }

    /// Looks whether the answer is there already.
    fn recall(&mut self, ticket: Ticket, call: &Call) {
        let key = ReplyKey::of(call);
        if self.journal.joins(ticket, key) {
            return;
        }
        let document = &self.documents[&ticket.document];
        let is_anew = self.job.redo.buys_anew(&document.key) && !self.journal.is_own(key);
        if is_anew || !self.journal.reader.may_hold(key) {
            return self.queue(ticket, false);
        }
        let reader = self.journal.reader.clone();
        self.tasks.spawn(async move { Done::Recalled(ticket, reader.recall(key).await) });
    }

    pub(super) fn recalled(&mut self, ticket: Ticket, found: Result<Option<PaidReply>, LedgerError>) {
        let found = found.unwrap_or_else(|error| {
            let message = format!("an answer in the ledger can not be read: {}", with_causes(&error));
            self.emit(Event::Notice { message });
            None
        });
        match found {
            None => self.queue(ticket, false),
            Some(reply) if self.is_worth_more_room(ticket, &reply) => self.queue(ticket, true),
            Some(reply) => {
                let others = self.journal.settle(ticket);
                self.deliver_recalled(ticket, reply.clone());
                for other in others {
                    self.deliver_recalled(other, reply.clone());
                }
            }
        }
    }

    /// An earlier run bought an answer that was cut, and did not live to ask for the whole one.
    fn is_worth_more_room(&self, ticket: Ticket, reply: &PaidReply) -> bool {
        let Some(document) = self.documents.get(&ticket.document) else { return false };
        let ceiling = max_tokens(&self.job, ticket.call().stage());
        let asks_again = self.job.pipeline.limits().cut_answers == CutAnswers::AskAgain;
        let most = self.job.routes.get(document.route(&self.job, ticket.call())).escalated(ceiling);
        asks_again && reply.stop == StopReason::MaxTokens && reply.max_tokens < most
    }

    fn deliver_recalled(&mut self, ticket: Ticket, reply: PaidReply) {
        let id = ticket.call();
        let Some(document) = self.documents.get(&ticket.document) else { return };
        let (key, model, max_tokens) = (document.key.clone(), reply.model.clone(), reply.max_tokens);
        let reply = reply.into_reply();
        self.emit(Event::CallRecalled { key, call: id, model: model.clone() });
        if self.escalate(ticket, &model, &reply) {
            return;
        }
        let Some(document) = self.documents.get_mut(&ticket.document) else { return };
        document.open_calls -= 1;
        let ready = document.answered(&self.job, id, &model, reply, max_tokens);
        self.go_on(ticket, ready);
    }

    fn queue(&mut self, ticket: Ticket, is_escalated: bool) {
        let Some(document) = self.documents.get(&ticket.document) else { return };
        let PromptSize { bytes, cached_bytes, tokens } = document.size(ticket.call());
        let first = document.route(&self.job, ticket.call());
        let need = Need {
            prompt_bytes: bytes,
            cached_bytes,
            counted_tokens: tokens,
            first: Some(LaneId(usize::from(first.0))),
            is_alone: document.is_escalated(ticket.call()),
            max_tokens: max_tokens(&self.job, ticket.call().stage()),
            is_escalated,
        };
        self.dispatcher.push(ticket, need);
    }

    /// Asks another model for what this answer is not good enough for; says whether it did.
    fn escalate(&mut self, ticket: Ticket, model: &str, reply: &Reply) -> bool {
        let Some(document) = self.documents.get_mut(&ticket.document) else { return false };
        let id = ticket.call();
        let Some(fault) = document.fault(&self.job, id, reply) else { return false };
        document.escalate(&self.job, id, model, reply, fault);
        self.push(ticket.document, id);
        true
    }

    pub(super) fn send(&mut self, sending: Sending) {
        let Sending { ticket, lane, max_tokens, .. } = sending;
        let document = self.documents.get(&ticket.document);
        let document = document.expect("a document stays until its last call is finished");
        let route = &self.dispatcher.lane(lane).route;
        // Lanes are routes, in their order.
        let call = document.call_to(&self.job, ticket.call(), RouteId(lane.0 as u16), max_tokens);
        let PromptSize { bytes, cached_bytes, .. } = document.size(ticket.call());
        let worst = route.worst_case_cached(bytes as usize, cached_bytes as usize, max_tokens);
        self.sent.insert(ticket, (route.id.clone(), worst));
        let (model, started) = (self.model.clone(), Instant::now());
        self.attempts.spawn(async move {
            let result = match call {
                Ok(call) => model.converse(&call).await,
                // It could be made when it was queued, and nothing has changed since.
                Err(error) => Err(Failure::malformed(error.to_string())),
            };
            Done::Attempt { ticket, lane, max_tokens, result, started }
        });
    }

    pub(super) fn attempted(
        &mut self,
        ticket: Ticket,
        lane: LaneId,
        max_tokens: u32,
        result: Result<Reply, Failure>,
        started: Instant,
    ) {
        self.sent.remove(&ticket);
        let key = self.journal.key_of(ticket).expect("a call has its key until it is settled");
        let lane_cost = |reply: &Reply| self.dispatcher.lane(lane).route.model.cost(reply.usage);
        let paid = result.as_ref().ok().map(|reply| Answered {
            ticket,
            key,
            cost: lane_cost(reply),
            reply: reply.clone(),
            model: self.dispatcher.lane(lane).route.id.clone(),
            max_tokens,
            attempts: 0,
            latency_ms: started.elapsed().as_millis() as u64,
        });
        let finished = self.dispatcher.finish(ticket, result, self.now_ms());
        match (finished, paid) {
            (Finished::Reply { attempts, .. }, Some(paid)) => self.keep_answer(Answered { attempts, ..paid }),
            (finished, paid) => {
                // A run that dies here need not buy the cut answer again. A refusal is not kept: another model may answer.
                if let Some(paid) = paid.filter(|paid| paid.reply.stop == StopReason::MaxTokens) {
                    self.keep_useless(paid_reply(&paid));
                }
                self.finished(ticket, finished);
            }
        }
    }

    /// Takes in what came of an attempt other than an answer.
    pub(super) fn finished(&mut self, ticket: Ticket, finished: Finished) {
        let model = |this: &Self, lane: LaneId| this.dispatcher.lane(lane).route.id.clone();
        match finished {
            Finished::Reply { .. } => unreachable!("an answer comes of an attempt that was answered"),
            Finished::Retrying { wait_ms, attempt, reason, lane, usage, cost, maybe_billed } => {
                self.journal.stays_announced(ticket);
                let (key, call) = (self.documents[&ticket.document].key.clone(), ticket.call());
                let model = model(self, lane);
                let event = Event::CallRetried {
                    key,
                    call,
                    attempt,
                    model,
                    wait_ms,
                    reason,
                    usage,
                    cost,
                    maybe_billed,
                };
                self.emit(event);
            }
            Finished::TooLong { reason, attempts, lane } => {
                self.too_long(ticket, &model(self, lane), reason, attempts);
            }
            Finished::GaveUp { reason, attempts, fatal, lane, usage, cost, maybe_billed } => {
                let bill = Bill { usage, cost, maybe_billed };
                self.gave_up(ticket, &model(self, lane), reason, attempts, bill, fatal);
            }
        }
    }

    /// Takes in an answer that is in the ledger.
    pub(super) fn answered(&mut self, answered: Answered) {
        let Answered { ticket, key, reply, model, max_tokens, cost, attempts, latency_ms } = answered;
        let id = ticket.call();
        let repeated = self.journal.is_repeated(key);
        if self.job.redo != Redo::default() {
            self.journal.remember(key);
        }
        let others = self.journal.settle(ticket);
        let document = self.documents.get_mut(&ticket.document);
        let document = document.expect("a document stays until its last call is finished");
        let (document_key, stop_reason, usage) = (document.key.clone(), reply.stop.clone(), reply.usage);
        let copy = PaidReply {
            key,
            model: model.clone(),
            max_tokens,
            text: if others.is_empty() { String::new() } else { reply.text.clone() },
            stop: reply.stop.clone(),
            usage,
        };
        if let Some(foreseen) = document.likely_answer(id) {
            let counted = document.size(id).tokens;
            self.seen.entry((id.stage(), model.clone())).or_default().add(counted, foreseen, usage);
        }
        let is_escalated = match document.fault(&self.job, id, &reply) {
            Some(fault) => {
                document.escalate(&self.job, id, &model, &reply, fault);
                true
            }
            None => {
                document.open_calls -= 1;
                false
            }
        };
        let ready = match is_escalated {
            true => Some(id),
            false => document.answered(&self.job, id, &model, reply, max_tokens),
        };
        self.emit(Event::CallFinished {
            key: document_key,
            call: id,
            model,
            stop_reason,
            usage,
            cost,
            latency_ms,
            attempts,
            repeated,
        });
        self.go_on(ticket, ready);
        for other in others {
            self.deliver_recalled(other, copy.clone());
        }
    }

    /// The chunk is asked for in halves; what is no chunk, or in too many pieces already, is given up.
    fn too_long(&mut self, ticket: Ticket, model: &str, reason: String, attempts: u32) {
        let document = self.documents.get_mut(&ticket.document);
        let document = document.expect("a document stays until its last call is finished");
        let Some(halves) = document.split(ticket.call()) else {
            return self.gave_up(ticket, model, reason, attempts, Bill::default(), false);
        };
        document.open_calls -= 1;
        let (key, call) = (document.key.clone(), ticket.call());
        let message = format!("{key}: call {call} is too long for {model} and is made in two: {reason}");
        self.emit(Event::Notice { message });
        // Who waits for the same answer will find the same out, and ask for the same halves.
        let others = self.journal.settle(ticket);
        for half in halves {
            self.push(ticket.document, half);
        }
        for other in others {
            self.too_long(other, model, reason.clone(), attempts);
        }
    }

    fn gave_up(
        &mut self,
        ticket: Ticket,
        model: &str,
        reason: String,
        attempts: u32,
        bill: Bill,
        fatal: bool,
    ) {
        let id = ticket.call();
        let others = self.journal.settle(ticket);
        let Some(document) = self.documents.get_mut(&ticket.document) else { return };
        let key = document.key.clone();
        // What would have succeeded with better credentials is not missing but unfinished: the call stays open, and the
        // document without a result.
        // An attempt that was billed has brought an answer, and one without text.
        let empty = document.empty_fault(&self.job, id).filter(|_| !fatal && bill.usage != Usage::default());
        let ready = match (fatal, empty) {
            (true, _) => None,
            (false, Some(fault)) => {
                let reply = Reply { text: String::new(), stop: StopReason::EndTurn, usage: bill.usage };
                document.escalate(&self.job, id, model, &reply, fault);
                Some(id)
            }
            (false, None) => {
                document.open_calls -= 1;
                document.gave_up(id, model, reason.clone())
            }
        };
        let event = Event::CallFailed {
            key,
            call: id,
            model: model.to_owned(),
            attempts,
            reason: reason.clone(),
            usage: bill.usage,
            cost: bill.cost,
            maybe_billed: bill.maybe_billed,
        };
        self.emit(event);
        if fatal {
            return self.stop(Ended::Refused(reason));
        }
        // What was never sent says nothing about the models.
        self.hopeless += u64::from(attempts > 0 && empty.is_none());
        if self.totals.calls() == 0 && self.hopeless >= HOPELESS_CALLS {
            let failed = self.hopeless;
            self.stop(Ended::Refused(format!("all {failed} calls so far failed; see the reasons above")));
        }
        self.go_on(ticket, ready);
        // They asked the same and may be luckier: each on its own.
        for other in others {
            if let Some(document) = self.documents.get_mut(&other.document) {
                document.open_calls -= 1;
                self.push(other.document, other.call());
            }
        }
    }

    fn go_on(&mut self, ticket: Ticket, ready: Option<CallId>) {
        if let Some(call) = ready {
            self.push(ticket.document, call);
        }
        self.read_on(ticket.document);
        self.finish_if_complete(ticket.document);
    }

    /// Gives up what is in flight: the run was interrupted, or has lost its ledger.
    pub(super) fn abandon(&mut self) {
        self.attempts.abort_all();
        for (ticket, (model, maybe_billed)) in std::mem::take(&mut self.sent) {
            let Some(document) = self.documents.get(&ticket.document) else { continue };
            let (key, call) = (document.key.clone(), ticket.call());
            self.emit(Event::CallAbandoned { key, call, model, maybe_billed });
        }
    }

    /// Writes the result of a document whose last call is done.
    pub(super) fn finish_if_complete(&mut self, number: u64) {
        if self.journal.is_lost()
            || self
                .documents
                .get(&number)
                .is_none_or(|document| document.open_calls > 0 || document.is_reading())
        {
            return;
        }
        let Some(document) = self.documents.remove(&number) else { return };
        self.dispatcher.remove_document(number);
        let (origin, cost) = (document.origin(), document.cost);
        let result = match document.result(&self.job) {
            Ok(result) => result,
            Err(reason) => return self.document_failed(origin, reason, cost),
        };
        let outputs = sink::render(&result, &self.job.pipeline.sink().formats);
        let (state, store, reason) = (result.state, self.job.sink.clone(), result.coverage.summary());
        self.tasks.spawn(async move {
            let result = write::write(&*store, outputs, &origin.outputs).await;
            Done::Written(Written { origin, state, reason, cost, result })
        });
    }

    /// Takes in how the writing of a result went.
    pub(super) fn written(&mut self, written: Written) {
        let Written { origin, state, reason, cost, result } = written;
        match result {
            Ok(outputs) => {
                self.write_failures = 0;
                self.document_ended(origin, state, reason, outputs, cost);
            }
            // If the ledger is still ours, it was no other run.
            Err(Unwritten::Changed(outputs)) if !self.journal.is_lost() => {
                let (store, beat) = (self.job.sink.clone(), self.journal.beat((self.job.now)()));
                self.tasks.spawn(async move {
                    let result = match beat.await {
                        Ok(()) => write::overwrite(&*store, outputs).await,
                        Err(error) => Err(Unwritten::Ledger(error)),
                    };
                    Done::Written(Written { origin, state, reason, cost, result })
                });
            }
            Err(Unwritten::Changed(_)) => {}
            Err(Unwritten::Ledger(error @ LedgerError::Fenced { .. })) => self.lost(error),
            Err(Unwritten::Ledger(error)) => self.stop(Ended::Refused(with_causes(&error))),
            Err(Unwritten::Store(error)) => self.failed_to_write(origin, cost, &error),
        }
    }
}
