//! A document under way: which calls it has, what they said, and the result that comes of it.

use std::collections::BTreeMap;

use super::{Job, Prepared};
use crate::domain::{Call, CallId, DocumentState, Reply, Stage, StopReason, Usage, Usd};
use crate::merge::{Outcome, Tree};
use crate::pipeline::{MapVars, MergeStrategy, MergeVars, RenderError, Rendered};
use crate::plan::Route;
use crate::sink::{
    CallRecord, ChunkRecord, Coverage, DocumentResult, Gap, MergeNode, MergeRecord, PipelineRecord,
    SourceRecord,
};

/// A document between its plan and its result.
#[derive(Debug)]
pub struct Document {
    pub key: String,
    prepared: Prepared,
    tree: Tree,
    calls: BTreeMap<CallId, CallRecord>,
    pub open_calls: u64,
    pub usage: Usage,
    pub cost: Usd,
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
    pub fn new(key: String, prepared: Prepared) -> Self {
        let tree = Tree::new(prepared.plan.shape.clone());
        let (usage, cost) = (Usage::default(), Usd::ZERO);
        Document { key, prepared, tree, calls: BTreeMap::new(), open_calls: 0, usage, cost }
    }

    pub fn text_bytes(&self) -> u64 {
        self.prepared.text.body.len() as u64
    }

    /// The calls that need no other call's answer.
    pub fn first_calls(&self) -> impl Iterator<Item = CallId> + use<> {
        (0..self.prepared.plan.shape.leaves()).map(|index| CallId { level: 0, index })
    }

    /// The request for `id`. Merge calls can be built once all of their inputs are in.
    pub fn call(&self, job: &Job, id: CallId) -> Result<Call, CallError> {
        let (route, settings, rendered) = match id.stage() {
            Stage::Map => {
                let settings = (job.pipeline.map().max_tokens, job.pipeline.map().temperature_milli);
                (&job.routes.map, settings, self.map_prompt(job, id)?)
            }
            Stage::Merge => {
                let settings = (job.pipeline.merge().max_tokens, job.pipeline.merge().temperature_milli);
                let rendered = self.merge_prompt(job, id)?;
                fits(&job.routes.merge, &rendered, settings.0)?;
                (&job.routes.merge, settings, rendered)
            }
        };
        let rendered = if route.model.system_prompt { rendered } else { rendered.without_system() };
        let (max_tokens, temperature_milli) = settings;
        let temperature_milli = temperature_milli.filter(|_| route.model.sampling);
        let model = route.id.clone();
        Ok(Call { model, system: rendered.system, user: rendered.user, max_tokens, temperature_milli })
    }

    fn map_prompt(&self, job: &Job, id: CallId) -> Result<Rendered, RenderError> {
        let chunk = &self.prepared.plan.chunks[id.index as usize];
        let body = &self.prepared.text.body;
        job.pipeline.render_map(&MapVars {
            text: &body[chunk.core.clone()],
            context: &body[chunk.context.clone()],
            header: chunk.header.clone().map_or("", |header| &body[header]),
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

    /// Books the answer to `id` and returns the call that it made ready.
    pub fn answered(&mut self, id: CallId, model: &str, reply: Reply, max_tokens: u32) -> Option<CallId> {
        let record =
            CallRecord { model: model.to_owned(), stop_reason: Some(reply.stop.clone()), usage: reply.usage };
        self.calls.insert(id, record);
        let outcome = match outcome(reply, max_tokens) {
            Outcome::Missing { reason } => missing(id, reason),
            outcome => outcome,
        };
        self.tree.finish(id, outcome)
    }

    /// Books that there will be no answer to `id`.
    pub fn gave_up(&mut self, id: CallId, model: &str, reason: String) -> Option<CallId> {
        let record = CallRecord { model: model.to_owned(), stop_reason: None, usage: Usage::default() };
        self.calls.insert(id, record);
        self.tree.finish(id, missing(id, reason))
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
        let gaps: Vec<Gap> = self
            .tree
            .faults()
            .iter()
            .map(|(&call, reason)| Gap { call, bytes: self.bytes_below(call), reason: reason.clone() })
            .collect();
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
            text_bytes: text.body.len(),
            text_tokens: plan.tokens,
            encoding: plan.encoding.to_string(),
            offset: text.source_offset,
            warnings: text.warnings.clone(),
        }
    }

    fn chunk_records(&self) -> Vec<ChunkRecord> {
        let record = |chunk: &crate::domain::Chunk| {
            let id = CallId { level: 0, index: chunk.index };
            let context = (!chunk.context.is_empty()).then_some([chunk.context.start, chunk.context.end]);
            ChunkRecord {
                id,
                bytes: [chunk.core.start, chunk.core.end],
                context_bytes: context,
                tokens: chunk.tokens,
                ends_at: chunk.end,
                call: self.calls.get(&id).cloned(),
            }
        };
        self.prepared.plan.chunks.iter().map(record).collect()
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

fn fits(route: &Route, rendered: &Rendered, max_tokens: u32) -> Result<(), CallError> {
    let counted =
        route.count(&rendered.user) + rendered.system.as_deref().map_or(0, |text| route.count(text));
    if route.fits(counted, max_tokens) {
        return Ok(());
    }
    let (_, tokens) = route.prompt_tokens(counted);
    Err(CallError::TooLong { tokens, model: route.id.clone() })
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
