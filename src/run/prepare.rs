//! One document from the store to its plan: fetch, extract, count, cut.

use std::sync::{Arc, Mutex, PoisonError};

use super::Job;
use super::scroll::{Scroll, ScrollError};
use crate::cpu;
use crate::domain::{Chunk, Event, ObjectMeta, Text};
use crate::extract::{self, ExtractError, Limits, Options};
use crate::isolate::ReadError;
use crate::plan::{self, DocumentPlan, PlanError};
use crate::store::{Object, Store, StoreError};

/// Plain text of more bytes than this is usually read as a stream; below, holding it is cheaper than reading it twice.
pub const STREAM_ABOVE_BYTES: u64 = 32 << 20;

/// How often an object that changes between listing and reading is looked up anew.
const CHANGES_MAX: u32 = 3;

/// A document that is ready for its calls.
#[derive(Debug)]
pub struct Prepared {
    /// As it was read, which may be newer than the listing.
    pub meta: ObjectMeta,
    /// Without its body where that is read as a stream.
    pub text: Arc<Text>,
    pub text_bytes: u64,
    pub plan: Arc<DocumentPlan>,
    /// How to read the text once more, where it is too large to hold.
    pub scroll: Option<Scroll>,
}

/// Why a document could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("its result would lie among docmill's own state; rename it or exclude `_docmill/**`")]
    Reserved,
    #[error("its result would be written into the source; choose another sink")]
    ResultInSource,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Scroll(#[from] ScrollError),
    #[error(
        "it has {} MiB, and only plain text (prose, Markdown, logs, JSON lines, tables, code, XML) is read beyond {} MiB: \
         split it, or exclude it from the source", .size >> 20, .most >> 20
    )]
    TooLargeToHold { size: u64, most: u64 },
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Panicked(#[from] cpu::Panicked),
}

impl PrepareError {
    /// True for every document: the run, or the plan, can not go on. One object may be closed to us while the others
    /// are open.
    pub fn is_fatal(&self) -> bool {
        match self {
            PrepareError::Store(StoreError::Denied { .. }) => false,
            PrepareError::Store(error) => error.is_fatal(),
            PrepareError::Read(error) => error.is_fatal(),
            PrepareError::Scroll(error) => error.is_fatal(),
            _ => false,
        }
    }
}

impl Prepared {
    /// The plan as an event: what a run shows and what `plan` adds up.
    pub fn planned(&self, key: &str) -> Event {
        let (plan, estimate) = (&self.plan, &self.plan.estimate);
        Event::DocumentPlanned {
            key: key.to_owned(),
            tokens: plan.tokens,
            chunks: plan.chunks.len() as u64,
            calls: estimate.calls,
            levels: u64::from(plan.shape.depth()),
            expected: estimate.expected,
            at_most: estimate.at_most,
            expected_input_tokens: estimate.input_tokens,
            expected_output_tokens: estimate.output_tokens,
            warnings: self.text.warnings.clone(),
        }
    }
}

/// Fetches `listed` and plans it, unless its result could not be written anyway.
pub async fn prepare(job: Arc<Job>, listed: ObjectMeta) -> Result<Prepared, PrepareError> {
    if listed.key.starts_with("_docmill/") {
        return Err(PrepareError::Reserved);
    }
    if job.source_in_sink.as_deref().is_some_and(|inside| listed.key.starts_with(inside)) {
        return Err(PrepareError::ResultInSource);
    }
    let max_bytes = job.pipeline.source().max_object_bytes;
    if listed.size > max_bytes {
        let (key, size) = (listed.key, listed.size);
        return Err(StoreError::TooLarge { key, size, max_bytes }.into());
    }
    let declared = job.pipeline.source().format_of(&listed.key);
    let options = Options { declared, ..Options::default() };
    let most = Limits::default().max_text_bytes;
    if listed.size > job.stream_above_bytes {
        if let Some(prepared) = prepare_stream(&job, &listed, &options).await? {
            return Ok(prepared);
        }
        if listed.size > most {
            return Err(PrepareError::TooLargeToHold { size: listed.size, most });
        }
    }
    let object = fetch(&*job.source, &listed, most).await?;
    let Object { meta, body } = object;
    let text = match job.workers.extract(body, &listed.key, &options).await {
        // What is small may unpack to something large.
        Err(ReadError::Extract(error @ ExtractError::TooLarge { .. })) => {
            let prepared = prepare_stream(&job, &listed, &options).await?;
            return prepared.ok_or(ReadError::Extract(error).into());
        }
        result => Arc::new(result?),
    };
    let read = text.clone();
    let work = move || DocumentPlan::new(&job.pipeline, &job.routes, &job.size, &read);
    let plan = cpu::run(work).await??;
    let text_bytes = text.body.len() as u64;
    Ok(Prepared { meta, text, text_bytes, plan: Arc::new(plan), scroll: None })
}

/// What is kept of a text that passes by.
#[derive(Default)]
struct Passed {
    chunks: Vec<Chunk>,
    hashes: Vec<u64>,
    tokens: u64,
}

/// Plans an object as a stream, if it can be read as one.
async fn prepare_stream(
    job: &Arc<Job>,
    listed: &ObjectMeta,
    options: &Options,
) -> Result<Option<Prepared>, PrepareError> {
    // Both passes and this look at one version, the one that there is now.
    let meta = job.source.head(&listed.key).await?;
    let head = job.source.get_range(&meta.key, 0..extract::HEAD_BYTES, meta.etag.as_deref()).await?;
    let Some(outlook) = extract::outlook(&head, &meta.key, options) else { return Ok(None) };
    drop(head);
    let (format, layout) = (outlook.format, outlook.layout);
    let scroll = Scroll { meta: meta.clone(), outlook, options: options.clone(), size: job.size };
    let passed = Arc::new(Mutex::new(Passed::default()));
    let (notes, encoding) = (passed.clone(), job.size.encoding());
    let each = move |streamed: crate::chunk::StreamedChunk| {
        let core = streamed.core();
        let (hash, tokens) = (plan::hash(core), crate::tokens::count(core, encoding));
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.hashes.push(hash);
        notes.tokens += tokens;
        notes.chunks.push(streamed.chunk);
        true
    };
    let findings = scroll.clone().read(job.source.clone(), each).await?;
    let Passed { chunks, hashes, tokens } =
        std::mem::take(&mut *passed.lock().unwrap_or_else(PoisonError::into_inner));
    let text_bytes = chunks.last().map_or(0, |chunk| chunk.core.end as u64);
    let plan = DocumentPlan::of_chunks(&job.pipeline, &job.routes, &job.size, chunks, &hashes, tokens)?;
    let text = Text {
        body: String::new(),
        format,
        layout,
        charset: findings.charset,
        source_offset: findings.source_offset,
        places: Vec::new(),
        gaps: Vec::new(),
        warnings: findings.warnings,
    };
    let plan = Arc::new(plan);
    Ok(Some(Prepared { meta, text: Arc::new(text), text_bytes, plan, scroll: Some(scroll) }))
}

/// Reads one version of the object, whole. If it changed since it was listed, the newer version is read.
async fn fetch(store: &dyn Store, listed: &ObjectMeta, max_bytes: u64) -> Result<Object, StoreError> {
    let mut etag = listed.etag.clone();
    let mut changes = 0;
    loop {
        match store.get(&listed.key, etag.as_deref(), max_bytes).await {
            Err(StoreError::Changed { .. }) if changes < CHANGES_MAX => {
                changes += 1;
                etag = store.head(&listed.key).await?.etag;
            }
            result => return result,
        }
    }
}
