//! A document under way: which calls it has, what they said, and the result that comes of it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Job, Picture, Prepared, Scroll};
use crate::chunk::{self, StreamedChunk};
use crate::domain::{Call, CallId, ObjectMeta, Reply, Stage, StopReason, Usage, Usd};
use crate::ledger;
use crate::merge::{self, Outcome, Tree, Ungrounded};
use crate::pipeline::{AnswerFault, MapVars, MergeVars, RenderError, Rendered};
use crate::plan::{Route, RouteId};
use crate::sink::{CallRecord, EscalatedRecord};

/// Which version of which object a document is, for the ledger.
#[derive(Clone, Debug)]
pub struct Origin {
    pub meta: ObjectMeta,
    /// Runs in a row that failed on this version before.
    pub failures: u32,
    /// The files of its last result, as the ledger knows them.
    pub outputs: Vec<ledger::Output>,
    /// The archive that it is a member of.
    pub archive: Option<u64>,
}

/// A document between its plan and its result.
#[derive(Debug)]
pub struct Document {
    pub key: String,
    /// As it was listed: that is what the next run compares with.
    origin: Origin,
    pub(super) prepared: Prepared,
    pub(super) tree: Tree,
    pub(super) calls: BTreeMap<CallId, CallRecord>,
    /// Of the prompts of calls under way.
    sizes: BTreeMap<CallId, PromptSize>,
    /// The answers that were not good enough.
    escalated: BTreeMap<CallId, EscalatedRecord>,
    /// Chunks that were too long for their model, by their index.
    pub(super) pieces: BTreeMap<u32, BTreeMap<CallId, Piece>>,
    /// Of a text that is read as a stream.
    reading: Option<Reading>,
    pub open_calls: u64,
    /// Of the answers that the result rests on, whoever paid for them and when.
    pub usage: Usage,
    pub cost: Usd,
}

/// How long a prompt is.
#[derive(Clone, Copy, Debug, Default)]
pub struct PromptSize {
    pub bytes: u64,
    pub cached_bytes: u64,
    /// In the public encoding of the route's model.
    pub tokens: u64,
}

/// How far a streamed text was read, and what is still needed of it.
#[derive(Debug, Default)]
struct Reading {
    /// The chunk that comes next.
    next: u32,
    /// Chunks without an outcome.
    passages: BTreeMap<u32, StreamedChunk>,
}

/// Of a streamed document so much is in memory, about: the chunks under way and what is read ahead.
const STREAMED_BYTES: u64 = 32 << 20;

/// A part of a chunk with a call of its own.
#[derive(Debug)]
pub(super) struct Piece {
    pub bytes: Range<usize>,
    outcome: Option<Outcome>,
}

/// Why a call can not be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the prompt could not be made: {0}")]
    Prompt(#[from] RenderError),
    #[error("the prompt may have {tokens} tokens and does not fit the window of {model}")]
    TooLong { tokens: u64, model: String },
    #[error("{model} can not see, and the call shows pictures: name a model that can in its place")]
    Blind { model: String },
}

impl Document {
    pub fn new(origin: Origin, prepared: Prepared) -> Self {
        Document {
            key: origin.meta.key.clone(),
            origin,
            tree: Tree::new(prepared.plan.shape.clone()),
            reading: prepared.scroll.as_ref().map(|_| Reading::default()),
            prepared,
            calls: BTreeMap::new(),
            sizes: BTreeMap::new(),
            escalated: BTreeMap::new(),
            pieces: BTreeMap::new(),
            open_calls: 0,
            usage: Usage::default(),
            cost: Usd::ZERO,
        }
    }

    pub fn origin(&self) -> Origin {
        self.origin.clone()
    }

    /// What it takes of the memory, about.
    pub fn bytes_held(&self) -> u64 {
        match self.reading {
            Some(_) => self.prepared.text_bytes.min(STREAMED_BYTES),
            None => self.prepared.text_bytes,
        }
    }

    /// How to read the text, chunk by chunk, of a document that does not hold it.
    pub fn scroll(&self) -> Option<Scroll> {
        self.prepared.scroll.clone()
    }

    /// Takes in the next chunk of a text that is read as a stream. `None`: it is not the chunk that was planned.
    pub fn read_on(&mut self, passage: StreamedChunk) -> Option<CallId> {
        let reading = self.reading.as_mut()?;
        let index = reading.next;
        if self.prepared.plan.chunks.get(index as usize) != Some(&passage.chunk) {
            return None;
        }
        reading.next += 1;
        reading.passages.insert(index, passage);
        Some(CallId::new(0, index))
    }

    /// Whether chunks of the text are still to be read.
    pub fn is_reading(&self) -> bool {
        let leaves = self.prepared.plan.shape.leaves();
        self.reading.as_ref().is_some_and(|reading| reading.next < leaves)
    }

    /// Books that the rest of the text can not be read, and returns the calls that this made ready.
    pub fn unreadable(&mut self, reason: &str) -> Vec<CallId> {
        let Some(reading) = self.reading.as_mut() else { return Vec::new() };
        let leaves = self.prepared.plan.shape.leaves();
        let unread = std::mem::replace(&mut reading.next, leaves)..leaves;
        unread
            .filter_map(|index| {
                let outcome = Outcome::Missing { reason: reason.to_owned() };
                self.tree.finish(CallId::new(0, index), outcome)
            })
            .collect()
    }

    /// The calls that need no other call's answer and whose text is there.
    pub fn first_calls(&self) -> impl Iterator<Item = CallId> + use<> {
        let leaves = if self.reading.is_some() { 0 } else { self.prepared.plan.shape.leaves() };
        (0..leaves).map(|index| CallId::new(0, index))
    }

    /// Header, context and core of a chunk under way.
    fn passage(&self, index: u32) -> [&str; 3] {
        match &self.reading {
            Some(reading) => {
                let passage = reading.passages.get(&index).expect("a chunk is held until its outcome is in");
                [passage.header(), passage.context(), passage.core()]
            }
            None => {
                let (chunk, body) = (&self.prepared.plan.chunks[index as usize], &self.prepared.text.body);
                let header = chunk.header.clone().map_or("", |header| &body[header]);
                [header, &body[chunk.context.clone()], &body[chunk.core.clone()]]
            }
        }
    }

    /// The route that the call takes first: as it is planned, or the one it was escalated to.
    pub fn route(&self, job: &Job, id: CallId) -> RouteId {
        let escalated = job.routes.escalation().filter(|_| self.escalated.contains_key(&id));
        escalated.map_or_else(|| self.prepared.plan.route(id), |(route, _)| route)
    }

    /// Whether the call was made before and its answer not good enough.
    pub fn is_escalated(&self, id: CallId) -> bool {
        self.escalated.contains_key(&id)
    }

    /// The request for `id` as it is planned: to the first model of its route, with all the room for an answer that the
    /// pipeline gives. Merge calls can be built once all of their inputs are in.
    pub fn call(&mut self, job: &Job, id: CallId) -> Result<Call, CallError> {
        let max_tokens = max_tokens(job, id.stage());
        let route_id = self.route(job, id);
        let route = job.routes.get(route_id);
        let rendered = self.prompt(job, id)?;
        let shown: u64 = self.pictures(id).map(|picture| picture.tokens).sum();
        // A picture may count for more than is known, but hardly for twice as much.
        let bytes = (rendered.user.len() + rendered.system.as_deref().map_or(0, str::len)) as u64 + 2 * shown;
        let counted = match id {
            CallId { level: 0, index, piece: 0 } if route.encoding() == job.size.encoding() => {
                let chunk = &self.prepared.plan.chunks[index as usize];
                chunk.tokens + job.routes.overheads.map(chunk, route.encoding())
            }
            _ => count(route, &rendered) + shown,
        };
        if id.stage() == Stage::Merge && !route.fits(counted, max_tokens) {
            let (_, tokens) = route.prompt_tokens(counted);
            return Err(CallError::TooLong { tokens, model: route.id.clone() });
        }
        let call = self.request(job, id, rendered, route_id, max_tokens)?;
        self.sizes.insert(id, PromptSize { bytes, cached_bytes: call.cached_bytes as u64, tokens: counted });
        Ok(call)
    }

    /// The request for `id` to a model of its route's chain.
    pub fn call_to(&self, job: &Job, id: CallId, route: RouteId, max_tokens: u32) -> Result<Call, CallError> {
        self.request(job, id, self.prompt(job, id)?, route, max_tokens)
    }

    fn request(
        &self,
        job: &Job,
        id: CallId,
        rendered: Rendered,
        route_id: RouteId,
        max_tokens: u32,
    ) -> Result<Call, CallError> {
        let attachments: Vec<_> = self.pictures(id).map(|picture| picture.attachment.clone()).collect();
        let route = job.routes.get(route_id);
        if !attachments.is_empty() && !route.model.features.vision {
            return Err(CallError::Blind { model: route.id.clone() });
        }
        Ok(Call { attachments, ..request(job, id, rendered, route_id, max_tokens) })
    }

    /// What a map call shows.
    fn pictures(&self, id: CallId) -> impl Iterator<Item = &Picture> {
        let core = if id.stage() == Stage::Map { self.core(id) } else { 0..0 };
        self.prepared.pictures.iter().filter(move |picture| core.contains(&picture.at))
    }

    /// Of the prompt of a call under way.
    pub fn size(&self, id: CallId) -> PromptSize {
        self.sizes.get(&id).copied().unwrap_or_default()
    }

    /// What the plan expected of the answer to a call, in tokens. `None` for calls that no plan foresaw.
    pub fn likely_answer(&self, id: CallId) -> Option<u64> {
        (id.piece == 0 && !self.escalated.contains_key(&id)).then(|| self.prepared.plan.likely_answer(id))
    }

    /// What is wrong with an answer that another model shall be asked for. Each call is escalated once.
    pub fn fault(&self, job: &Job, id: CallId, reply: &Reply) -> Option<AnswerFault> {
        let (to, on) = job.routes.escalation()?;
        if self.escalated.contains_key(&id) || self.prepared.plan.route(id) == to {
            return None;
        }
        on.iter().copied().find(|fault| self.has_fault(job, id, reply, *fault))
    }

    /// The same of a call that came to nothing but an answer without text.
    pub fn empty_fault(&self, job: &Job, id: CallId) -> Option<AnswerFault> {
        let (to, on) = job.routes.escalation()?;
        let is_first = !self.escalated.contains_key(&id) && self.prepared.plan.route(id) != to;
        on.iter().copied().find(|fault| is_first && *fault == AnswerFault::Empty)
    }

    fn has_fault(&self, job: &Job, id: CallId, reply: &Reply, fault: AnswerFault) -> bool {
        match fault {
            AnswerFault::Truncated => {
                matches!(reply.stop, StopReason::MaxTokens | StopReason::ContextWindowExceeded)
            }
            AnswerFault::Refused => match &reply.stop {
                StopReason::GuardrailIntervened | StopReason::ContentFiltered => true,
                StopReason::Other(reason) => reason == "refusal",
                _ => false,
            },
            AnswerFault::Empty => reply.text.trim().is_empty(),
            AnswerFault::Schema => {
                let options = job.routes.options(self.route(job, id), id.stage());
                let schema =
                    options.schema.as_ref().and_then(|schema| serde_json::from_str(&schema.json).ok());
                let schema = schema.and_then(|schema| merge::Schema::new(&schema).ok());
                schema.is_some_and(|schema| schema.read(&reply.text).is_err())
            }
            AnswerFault::Ungrounded => !self.ungrounded(id, &reply.text).is_empty(),
        }
    }

    /// Figures and names of an answer that stand nowhere in what it was asked about.
    fn ungrounded(&self, id: CallId, answer: &str) -> Vec<Ungrounded> {
        match id.stage() {
            // What a picture shows is in no text.
            Stage::Map if self.pictures(id).next().is_some() => Vec::new(),
            Stage::Map => {
                let [header, context, _] = self.passage(id.index);
                merge::ungrounded(answer, &[header, context, self.core_text(id), &self.key])
            }
            Stage::Merge => {
                let inputs: Vec<&str> = self.tree.inputs(id).map(|answer| answer.text.as_str()).collect();
                merge::ungrounded(answer, &inputs)
            }
        }
    }

    /// Books an answer that is not good enough; the call is to be made again, to the model for such cases.
    pub fn escalate(&mut self, job: &Job, id: CallId, model: &str, reply: &Reply, fault: AnswerFault) {
        self.usage += reply.usage;
        self.cost += cost(job, model, reply.usage);
        self.sizes.remove(&id);
        self.open_calls -= 1;
        let record = EscalatedRecord {
            model: model.to_owned(),
            stop_reason: reply.stop.clone(),
            usage: reply.usage,
            fault: fault.name(),
        };
        self.escalated.insert(id, record);
    }

    fn prompt(&self, job: &Job, id: CallId) -> Result<Rendered, RenderError> {
        match id.stage() {
            Stage::Map => self.map_prompt(job, id),
            Stage::Merge => self.merge_prompt(job, id),
        }
    }

    fn map_prompt(&self, job: &Job, id: CallId) -> Result<Rendered, RenderError> {
        let chunk = &self.prepared.plan.chunks[id.index as usize];
        let [header, context, _] = self.passage(id.index);
        let core = self.core(id);
        job.pipeline.render_map(&MapVars {
            text: self.core_text(id),
            // It leads to the beginning of the chunk, not to that of its later pieces.
            context: if core.start == chunk.core.start { context } else { "" },
            header,
            key: &self.key,
            format: self.prepared.text.format,
            part: id.index + 1,
            parts: self.prepared.plan.chunks.len() as u32,
        })
    }

    fn merge_prompt(&self, job: &Job, id: CallId) -> Result<Rendered, RenderError> {
        let answers: Vec<&str> = self.tree.inputs(id).map(|answer| answer.text.as_str()).collect();
        let levels = self.tree.shape().depth();
        job.pipeline.render_merge(&MergeVars {
            answers: &answers,
            key: &self.key,
            level: id.level,
            levels,
            is_final: id.level == levels,
        })
    }

    /// What a map call is asked about.
    fn core(&self, id: CallId) -> Range<usize> {
        let piece = self.pieces.get(&id.index).and_then(|pieces| pieces.get(&id));
        piece.map_or_else(|| self.prepared.plan.chunks[id.index as usize].core.clone(), |p| p.bytes.clone())
    }

    fn core_text(&self, id: CallId) -> &str {
        let start = self.prepared.plan.chunks[id.index as usize].core.start;
        let core = self.core(id);
        let [_, _, text] = self.passage(id.index);
        &text[core.start - start..core.end - start]
    }

    /// Cuts the chunk, or the piece of one, in two; `None` where that is not possible.
    pub fn split(&mut self, id: CallId) -> Option<[CallId; 2]> {
        let halves = id.halves().filter(|_| id.stage() == Stage::Map)?;
        let bytes = self.core(id);
        let middle = bytes.start + chunk::halve(self.core_text(id))?;
        let pieces = self.pieces.entry(id.index).or_default();
        pieces.remove(&id);
        for (half, bytes) in halves.into_iter().zip([bytes.start..middle, middle..bytes.end]) {
            pieces.insert(half, Piece { bytes, outcome: None });
        }
        self.sizes.remove(&id);
        Some(halves)
    }

    /// Books the answer to `id` and returns the call that it made ready.
    pub fn answered(
        &mut self,
        job: &Job,
        id: CallId,
        model: &str,
        reply: Reply,
        max_tokens: u32,
    ) -> Option<CallId> {
        let record = CallRecord {
            model: model.to_owned(),
            stop_reason: Some(reply.stop.clone()),
            usage: reply.usage,
            escalated_from: self.escalated.get(&id).cloned(),
        };
        self.calls.insert(id, record);
        self.usage += reply.usage;
        self.cost += cost(job, model, reply.usage);
        let outcome = match outcome(reply, max_tokens) {
            Outcome::Missing { reason } => missing(id, reason),
            outcome => outcome,
        };
        self.finish(id, outcome)
    }

    /// Takes in how a call ended; a chunk in pieces is done with the last of them.
    fn finish(&mut self, id: CallId, outcome: Outcome) -> Option<CallId> {
        self.sizes.remove(&id);
        if id.piece == 0 {
            self.let_go(id);
            return self.tree.finish(id, outcome);
        }
        let pieces = self.pieces.get_mut(&id.index)?;
        pieces.get_mut(&id)?.outcome = Some(outcome);
        if pieces.values().any(|piece| piece.outcome.is_none()) {
            return None;
        }
        let outcome = joined(pieces);
        self.let_go(id.whole());
        self.tree.finish(id.whole(), outcome)
    }

    /// Forgets the text of a chunk that has its outcome.
    fn let_go(&mut self, id: CallId) {
        if let Some(reading) = self.reading.as_mut().filter(|_| id.stage() == Stage::Map) {
            reading.passages.remove(&id.index);
        }
    }

    /// Chunks of a streamed text that are held.
    pub fn passages(&self) -> usize {
        self.reading.as_ref().map_or(0, |reading| reading.passages.len())
    }

    /// Books that there will be no answer to `id`.
    pub fn gave_up(&mut self, id: CallId, model: &str, reason: String) -> Option<CallId> {
        let record = CallRecord {
            model: model.to_owned(),
            stop_reason: None,
            usage: Usage::default(),
            escalated_from: self.escalated.get(&id).cloned(),
        };
        self.calls.insert(id, record);
        self.finish(id, missing(id, reason))
    }
}

fn request(job: &Job, id: CallId, rendered: Rendered, route_id: RouteId, max_tokens: u32) -> Call {
    let (stage, route) = (id.stage(), job.routes.get(route_id));
    let temperature_milli = match stage {
        Stage::Map => job.pipeline.map().temperature_milli,
        Stage::Merge => job.pipeline.merge().temperature_milli,
    };
    let rendered = if route.model.system_prompt { rendered } else { rendered.without_system() };
    Call {
        model: route.id.clone(),
        cached_bytes: job.routes.cached_bytes(route_id, stage, &rendered.user),
        system: rendered.system,
        user: rendered.user,
        max_tokens,
        temperature_milli: temperature_milli.filter(|_| route.model.sampling),
        attachments: Vec::new(),
        options: job.routes.options(route_id, stage),
    }
}

/// The pipeline's ceiling for an answer of the stage.
pub(super) fn max_tokens(job: &Job, stage: Stage) -> u32 {
    match stage {
        Stage::Map => job.pipeline.map().max_tokens,
        Stage::Merge => job.pipeline.merge().max_tokens,
    }
}

fn cost(job: &Job, model: &str, usage: Usage) -> Usd {
    job.routes.find(model).map_or(Usd::ZERO, |route| job.routes.get(route).model.cost(usage))
}

fn count(route: &Route, rendered: &Rendered) -> u64 {
    route.count(&rendered.user) + rendered.system.as_deref().map_or(0, |text| route.count(text))
}

/// The answers to the pieces of a chunk, in the order of the text.
fn joined(pieces: &BTreeMap<CallId, Piece>) -> Outcome {
    let mut pieces: Vec<(&CallId, &Piece)> = pieces.iter().collect();
    pieces.sort_by_key(|(_, piece)| piece.bytes.start);
    let (mut texts, mut reasons) = (Vec::new(), Vec::new());
    for (id, piece) in pieces {
        match &piece.outcome {
            Some(Outcome::Whole(text)) => texts.push(text.as_str()),
            Some(Outcome::Cut { text, reason }) => {
                texts.push(text.as_str());
                reasons.push(format!("{id}: {reason}"));
            }
            Some(Outcome::Missing { reason }) => reasons.push(format!("{id}: {reason}")),
            None => {}
        }
    }
    let (text, reason) = (texts.join("\n\n"), reasons.join("; "));
    match (texts.is_empty(), reasons.is_empty()) {
        (_, true) => Outcome::Whole(text),
        (true, false) => Outcome::Missing { reason },
        (false, false) => Outcome::Cut { text, reason },
    }
}

/// A chunk without an answer is missing; answers that could not be merged stand side by side.
fn missing(id: CallId, reason: String) -> Outcome {
    match id.stage() {
        Stage::Map => Outcome::Missing { reason },
        Stage::Merge => {
            Outcome::Missing { reason: format!("its answers stand side by side, unmerged: {reason}") }
        }
    }
}

/// What a reply is worth. Text that a filter put in the place of an answer is no answer.
fn outcome(reply: Reply, max_tokens: u32) -> Outcome {
    let text = reply.text.trim().to_owned();
    let reason = match &reply.stop {
        StopReason::EndTurn | StopReason::StopSequence if !text.is_empty() => return Outcome::Whole(text),
        StopReason::EndTurn | StopReason::StopSequence => "the model answered without text, twice".to_owned(),
        StopReason::MaxTokens => format!("the answer was cut off at max_tokens = {max_tokens}"),
        StopReason::ContextWindowExceeded => {
            "the answer was cut off at the end of the model's window".to_owned()
        }
        StopReason::GuardrailIntervened => "a guardrail withheld the answer".to_owned(),
        StopReason::ContentFiltered => "the service's content filter withheld the answer".to_owned(),
        StopReason::Other(reason) => format!("the model stopped with `{reason}`"),
    };
    match reply.stop {
        StopReason::MaxTokens | StopReason::ContextWindowExceeded if !text.is_empty() => {
            Outcome::Cut { text, reason }
        }
        _ => Outcome::Missing { reason },
    }
}
