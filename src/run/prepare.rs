//! One document from the store to its plan: fetch, extract, count, cut.

use std::sync::{Arc, Mutex, PoisonError};

use super::Job;
use super::pictures::{self, Picture};
use super::scroll::{Scroll, ScrollError};
use super::traits::tell;
use crate::chunk::{self, StreamedChunk};
use crate::cpu;
use crate::domain::{CallId, Chunk, Event, Format, ObjectMeta, Stage, Text};
use crate::extract::{self, ExtractError, ImageLimit, Limits, Members, Options};
use crate::isolate::ReadError;
use crate::pipeline::{self, Vision};
use crate::plan::{self, ChunkFacts, Cut, DocumentPlan, Explanation, PlanError, TextTraits};
use crate::store::{Object, Store, StoreError};
use crate::tokens;

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
    /// In the order of the text.
    pub pictures: Arc<[Picture]>,
    pub plan: Arc<DocumentPlan>,
    /// How to read the text once more, where it is too large to hold.
    pub scroll: Option<Scroll>,
}

/// Chunks in a row whose calls take the same route for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Explained {
    pub first: CallId,
    pub last: CallId,
    /// Of the first of them.
    pub tokens: u64,
    #[serde(flatten)]
    pub why: Explanation,
}

impl Prepared {
    /// Why the calls of the map stage take the routes they take. Of a text that is read as a stream, language and kind are
    /// not known any more.
    pub fn explain(&self, job: &Job) -> Vec<Explained> {
        let (routes, format) = (&job.routes, self.text.format);
        let document = routes.for_document(&self.meta.key, format, !self.pictures.is_empty());
        let mut explained: Vec<Explained> = Vec::new();
        for chunk in &self.plan.chunks {
            let text = match self.text.body.get(chunk.core.clone()).filter(|_| routes.reads_text()) {
                Some(core) => tell(core, format),
                None => TextTraits::default(),
            };
            let (id, tokens) = (CallId::new(0, chunk.index), chunk.tokens);
            let why = routes.explain(&document.traits(Stage::Map, tokens, text));
            match explained.last_mut().filter(|before| before.why == why) {
                Some(before) => before.last = id,
                None => explained.push(Explained { first: id, last: id, tokens, why }),
            }
        }
        explained
    }
}

/// What an object turned out to be.
#[derive(Debug)]
pub enum Ready {
    Document(Box<Prepared>),
    Archive(ArchiveObject),
}

/// An archive whose members are documents.
#[derive(Debug)]
pub struct ArchiveObject {
    pub meta: ObjectMeta,
    pub bytes: Vec<u8>,
    pub options: Options,
    /// It is no archive: its lines are the documents.
    pub are_lines: bool,
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
    Image(#[from] ImageLimit),
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
pub async fn prepare(job: Arc<Job>, listed: ObjectMeta) -> Result<Ready, PrepareError> {
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
    let options = options(&job, &listed.key);
    let most = Limits::default().max_text_bytes;
    let are_lines = has_records(&job, &listed.key, &options);
    if listed.size > job.stream_above_bytes {
        let streamed = if are_lines { None } else { prepare_stream(&job, &listed, &options).await? };
        if let Some(prepared) = streamed {
            return Ok(prepared.into());
        }
        if listed.size > most {
            return Err(PrepareError::TooLargeToHold { size: listed.size, most });
        }
    }
    let Object { meta, body } = fetch(&*job.source, &listed, most).await?;
    let are_documents = job.pipeline.source().members == pipeline::Members::Documents;
    if are_lines || (are_documents && options.declared.is_none() && Members::is_archive(&body)) {
        return Ok(Ready::Archive(ArchiveObject { meta, bytes: body, options, are_lines }));
    }
    let result = plan_whole(&job, meta, body, &options).await;
    match result {
        // What is small may unpack to something large.
        Err(PrepareError::Read(ReadError::Extract(error @ ExtractError::TooLarge { .. }))) => {
            let prepared = prepare_stream(&job, &listed, &options).await?;
            prepared.map(Ready::from).ok_or(ReadError::Extract(error).into())
        }
        result => result.map(Ready::from),
    }
}

/// Whether each line of the object is a document, which is asked for and said by its name.
fn has_records(job: &Job, key: &str, options: &Options) -> bool {
    let name = key.to_ascii_lowercase();
    let is_named = name.ends_with(".jsonl") || name.ends_with(".ndjson");
    let is_lines = options.declared.map_or(is_named, |format| format == Format::JsonLines);
    is_lines && job.pipeline.source().records == pipeline::Members::Documents
}

/// Plans a member of an archive, unpacked.
pub async fn prepare_member(job: Arc<Job>, meta: ObjectMeta, bytes: Vec<u8>) -> Result<Ready, PrepareError> {
    let options = options(&job, &meta.key);
    plan_whole(&job, meta, bytes, &options).await.map(Ready::from)
}

fn options(job: &Job, key: &str) -> Options {
    let declared = job.pipeline.source().format_of(key);
    let json_fields = job.pipeline.extract().json_fields.clone();
    Options { declared, json_fields, passwords: job.passwords.clone(), ..Options::default() }
}

impl From<Prepared> for Ready {
    fn from(prepared: Prepared) -> Self {
        Ready::Document(Box::new(prepared))
    }
}

async fn plan_whole(
    job: &Arc<Job>,
    meta: ObjectMeta,
    body: Vec<u8>,
    options: &Options,
) -> Result<Prepared, PrepareError> {
    let (text, pictures) = read(job, body, &meta.key, options).await?;
    let (text, pictures): (Arc<Text>, Arc<[Picture]>) = (Arc::new(text), pictures.into());
    let (read, shown, planned, key) = (text.clone(), pictures.clone(), job.clone(), meta.key.clone());
    let work = move || {
        let tell = |text: &str| tell(text, read.format);
        let Job { pipeline, routes, size, .. } = &*planned;
        if shown.is_empty() {
            return DocumentPlan::of_text(pipeline, routes, size, &read, &key, false, &tell);
        }
        let chunks = chunk::chunks(&read.body, read.layout, size);
        let chunks = pictures::spread(chunks, &read.body, &shown, size);
        let facts = chunks.iter().map(|chunk| {
            let core = &read.body[chunk.core.clone()];
            ChunkFacts { hash: plan::hash(core), text: tell(core), second_tokens: None }
        });
        let (facts, tokens) = (facts.collect(), tokens::count(&read.body, size.encoding()));
        let (path, format, text) = (key.as_str(), read.format, tell(&read.body));
        let cut = Cut { chunks, facts, tokens, path, format, text, has_images: true };
        DocumentPlan::of(pipeline, routes, size, cut)
    };
    let plan = cpu::run(work).await??;
    let text_bytes = text.body.len() as u64;
    Ok(Prepared { meta, text, text_bytes, pictures, plan: Arc::new(plan), scroll: None })
}

/// The text, and the pictures that models are shown.
async fn read(
    job: &Job,
    body: Vec<u8>,
    key: &str,
    options: &Options,
) -> Result<(Text, Vec<Picture>), PrepareError> {
    if job.pipeline.extract().vision == Vision::Off {
        return Ok((job.workers.extract(body, key, options).await?, Vec::new()));
    }
    if let Some(document) = pictures::image_document(&body, key) {
        return Ok(document?);
    }
    Ok(pictures::read(job, body, key, options).await?)
}

/// What is kept of a text that passes by.
#[derive(Default)]
struct Passed {
    chunks: Vec<Chunk>,
    facts: Vec<ChunkFacts>,
    tokens: u64,
    /// Of the first chunk, which stands for the whole.
    traits: Option<TextTraits>,
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
    let (notes, encoding, second) = (passed.clone(), job.size.encoding(), job.routes.second_encoding());
    let reads_text = job.routes.reads_text();
    let each = move |streamed: StreamedChunk| {
        let core = streamed.core();
        let text = if reads_text { tell(core, format) } else { TextTraits::default() };
        let second_tokens = second.map(|encoding| tokens::count(&streamed.text, encoding));
        let facts = ChunkFacts { hash: plan::hash(core), text, second_tokens };
        let tokens = tokens::count(core, encoding);
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.traits.get_or_insert(text);
        notes.facts.push(facts);
        notes.tokens += tokens;
        notes.chunks.push(streamed.chunk);
        true
    };
    let findings = scroll.clone().read(job.source.clone(), each).await?;
    let Passed { chunks, facts, tokens, traits } =
        std::mem::take(&mut *passed.lock().unwrap_or_else(PoisonError::into_inner));
    let text_bytes = chunks.last().map_or(0, |chunk| chunk.core.end as u64);
    let (path, text) = (meta.key.as_str(), traits.unwrap_or_default());
    let cut = Cut { chunks, facts, tokens, path, format, text, has_images: false };
    let plan = DocumentPlan::of(&job.pipeline, &job.routes, &job.size, cut)?;
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
    let pictures = Arc::default();
    Ok(Some(Prepared { meta, text: Arc::new(text), text_bytes, pictures, plan, scroll: Some(scroll) }))
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
