//! A document under way: which calls it has, what they said, and the result that comes of it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Job, Prepared, Scroll};
use crate::chunk::{self, StreamedChunk};
use crate::domain::{Call, CallId, DocumentState, ObjectMeta, Reply, Stage, StopReason, Usage, Usd};
use crate::ledger;
use crate::merge::{Outcome, Tree};
use crate::pipeline::{MapVars, MergeStrategy, MergeVars, RenderError, Rendered};
use crate::plan::Route;
use crate::sink::{
    CallRecord, ChunkRecord, Coverage, DocumentResult, Gap, MergeNode, MergeRecord, PieceRecord,
    PipelineRecord, SourceRecord,
};

/// Which version of which object a document is, for the ledger.
#[derive(Clone, Debug)]
pub struct Origin {
    pub meta: ObjectMeta,
    /// Runs in a row that failed on this version before.
    pub failures: u32,
    /// The files of its last result, as the ledger knows them.
    pub outputs: Vec<ledger::Output>,
}

/// A document between its plan and its result.
#[derive(Debug)]
pub struct Document {
    pub key: String,
    /// As it was listed: that is what the next run compares with.
    origin: Origin,
    prepared: Prepared,
    tree: Tree,
    calls: BTreeMap<CallId, CallRecord>,
    /// Bytes and tokens of the prompts of calls under way.
    sizes: BTreeMap<CallId, (u64, u64)>,
    /// Chunks that were too long for their model, by their index.
    pieces: BTreeMap<u32, BTreeMap<CallId, Piece>>,
    /// Of a text that is read as a stream.
    reading: Option<Reading>,
    pub open_calls: u64,
    /// Of the answers that the result rests on, whoever paid for them and when.
    pub usage: Usage,
    pub cost: Usd,
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
struct Piece {
    bytes: Range<usize>,
    outcome: Option<Outcome>,
}

/// Why a call can not be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the prompt could not be made: {0}")]
    Prompt(#[from] RenderError),
    #[error("the prompt may have {tokens} tokens and does not fit the window of {model}")]
    TooLong { tokens: u64, model: String },
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

    /// The request for `id` as it is planned: to the first model of its stage, with all the room for an answer that the
    /// pipeline gives. Merge calls can be built once all of their inputs are in.
    pub fn call(&mut self, job: &Job, id: CallId) -> Result<Call, CallError> {
        let (route, max_tokens) = match id.stage() {
            Stage::Map => (&job.routes.map, job.pipeline.map().max_tokens),
            Stage::Merge => (&job.routes.merge, job.pipeline.merge().max_tokens),
        };
        let rendered = self.prompt(job, id)?;
        let bytes = (rendered.user.len() + rendered.system.as_deref().map_or(0, str::len)) as u64;
        let counted = match id {
            CallId { level: 0, index, piece: 0 } => {
                self.prepared.plan.chunks[index as usize].tokens + job.routes.map_overhead
            }
            _ => count(route, &rendered),
        };
        if id.stage() == Stage::Merge && !route.fits(counted, max_tokens) {
            let (_, tokens) = route.prompt_tokens(counted);
            return Err(CallError::TooLong { tokens, model: route.id.clone() });
        }
        self.sizes.insert(id, (bytes, counted));
        Ok(request(job, id, rendered, route, max_tokens))
    }

    /// The request for `id` to the model of `route`.
    pub fn call_to(&self, job: &Job, id: CallId, route: &Route, max_tokens: u32) -> Result<Call, CallError> {
        Ok(request(job, id, self.prompt(job, id)?, route, max_tokens))
    }

    /// Bytes of the prompt of a call under way, and its tokens in the first map model's public encoding.
    pub fn size(&self, id: CallId) -> (u64, u64) {
        self.sizes.get(&id).copied().unwrap_or_default()
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
        let record =
            CallRecord { model: model.to_owned(), stop_reason: Some(reply.stop.clone()), usage: reply.usage };
        self.calls.insert(id, record);
        self.usage += reply.usage;
        let route = job.routes.of(id.stage()).find(|route| route.id == model);
        self.cost += route.map_or(Usd::ZERO, |route| route.model.cost(reply.usage));
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
        let record = CallRecord { model: model.to_owned(), stop_reason: None, usage: Usage::default() };
        self.calls.insert(id, record);
        self.finish(id, missing(id, reason))
    }

    /// The result, or why there is none: not one call was answered.
    pub fn result(&self, job: &Job) -> Result<DocumentResult, String> {
        let answers: Vec<String> = self.tree.result().into_iter().map(|answer| answer.text.clone()).collect();
        if answers.is_empty() {
            let reason = self.tree.faults().values().next().cloned();
            return Err(reason.unwrap_or_else(|| "no call was answered".to_owned()));
        }
        let (output, answers) = match job.pipeline.merge().strategy {
            MergeStrategy::Tree | MergeStrategy::Concat => (Some(answers.join("\n\n")), Vec::new()),
            MergeStrategy::None => (None, answers),
        };
        let coverage = self.coverage();
        let state = if coverage.complete { DocumentState::Done } else { DocumentState::Partial };
        Ok(DocumentResult {
            key: self.key.clone(),
            state,
            task: job.pipeline.map().task.name().to_owned(),
            output,
            answers,
            coverage,
            source: self.source_record(job),
            chunks: self.chunk_records(),
            merge: self.merge_record(job),
            usage: self.usage,
            cost_usd: self.cost,
            pipeline: PipelineRecord {
                name: job.pipeline.name().to_owned(),
                fingerprint: job.pipeline.fingerprint(),
            },
        })
    }

    fn coverage(&self) -> Coverage {
        let mut gaps: Vec<Gap> = Vec::new();
        let mut last = None;
        for (&call, reason) in self.tree.faults() {
            let bytes = self.bytes_below(call);
            // A text that could not be read on lacks thousands of chunks for one reason.
            let follows = last == Some((call.level, call.index.wrapping_sub(1)));
            last = Some((call.level, call.index));
            match gaps.last_mut() {
                Some(Gap { bytes: Some(before), reason: same, .. }) if follows && same == reason => {
                    before[1] = bytes[1];
                }
                _ => gaps.push(Gap {
                    call: Some(call),
                    bytes: Some(bytes),
                    place: None,
                    reason: reason.clone(),
                }),
            }
        }
        for gap in &mut gaps {
            gap.place = gap.bytes.and_then(|[from, to]| self.prepared.text.place_of(from..to));
        }
        let unread = self.prepared.text.gaps.iter();
        gaps.extend(unread.map(|gap| Gap {
            call: None,
            bytes: None,
            place: Some(gap.place.clone()),
            reason: gap.reason.clone(),
        }));
        Coverage { complete: gaps.is_empty(), gaps }
    }

    fn bytes_below(&self, call: CallId) -> [usize; 2] {
        let leaves = self.tree.shape().leaves_below(call);
        let chunks = &self.prepared.plan.chunks[leaves.start as usize..leaves.end as usize];
        [chunks.first().map_or(0, |c| c.core.start), chunks.last().map_or(0, |c| c.core.end)]
    }

    fn source_record(&self, job: &Job) -> SourceRecord {
        let (meta, text, plan) = (&self.prepared.meta, &self.prepared.text, &self.prepared.plan);
        SourceRecord {
            uri: join_uri(&job.source.describe(), &self.key),
            size_bytes: meta.size,
            etag: meta.etag.clone(),
            format: text.format,
            charset: text.charset.to_owned(),
            text_bytes: self.prepared.text_bytes,
            text_tokens: plan.tokens,
            encoding: plan.encoding.to_string(),
            offset: text.source_offset,
            warnings: text.warnings.clone(),
        }
    }

    fn chunk_records(&self) -> Vec<ChunkRecord> {
        let record = |chunk: &crate::domain::Chunk| {
            let id = CallId::new(0, chunk.index);
            let context = (!chunk.context.is_empty()).then_some([chunk.context.start, chunk.context.end]);
            ChunkRecord {
                id,
                bytes: [chunk.core.start, chunk.core.end],
                place: self.prepared.text.place_of(chunk.core.clone()),
                context_bytes: context,
                tokens: chunk.tokens,
                ends_at: chunk.end,
                call: self.calls.get(&id).cloned(),
                pieces: self.piece_records(chunk.index),
            }
        };
        self.prepared.plan.chunks.iter().map(record).collect()
    }

    fn piece_records(&self, index: u32) -> Vec<PieceRecord> {
        let pieces = self.pieces.get(&index).into_iter().flatten();
        let record = |(&id, piece): (&CallId, &Piece)| PieceRecord {
            id,
            bytes: [piece.bytes.start, piece.bytes.end],
            call: self.calls.get(&id).cloned(),
        };
        let mut records: Vec<PieceRecord> = pieces.map(record).collect();
        records.sort_by_key(|record| record.bytes);
        records
    }

    fn merge_record(&self, job: &Job) -> MergeRecord {
        let shape = self.tree.shape();
        let node = |id| MergeNode {
            id,
            inputs: shape.inputs(id).collect(),
            bytes: self.bytes_below(id),
            call: self.calls.get(&id).cloned(),
        };
        let levels = shape.nodes().map(|level| level.map(node).collect()).collect();
        MergeRecord { strategy: job.pipeline.merge().strategy.name().to_owned(), levels }
    }
}

fn join_uri(root: &str, key: &str) -> String {
    let slash = if root.is_empty() || root.ends_with('/') { "" } else { "/" };
    format!("{root}{slash}{key}")
}

fn request(job: &Job, id: CallId, rendered: Rendered, route: &Route, max_tokens: u32) -> Call {
    let temperature_milli = match id.stage() {
        Stage::Map => job.pipeline.map().temperature_milli,
        Stage::Merge => job.pipeline.merge().temperature_milli,
    };
    let rendered = if route.model.system_prompt { rendered } else { rendered.without_system() };
    Call {
        model: route.id.clone(),
        system: rendered.system,
        user: rendered.user,
        max_tokens,
        temperature_milli: temperature_milli.filter(|_| route.model.sampling),
        ..Call::default()
    }
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
