//! Runs in this process against stores and a model that fail on purpose: what a run makes of each fault.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use docmill::catalog::Catalog;
use docmill::chunk::Size;
use docmill::dispatch::{Failure, FailureClass, Model};
use docmill::domain::{Call, Event, ObjectMeta, Reply, StopReason, Totals, Usage};
use docmill::isolate::{Settings, Workers};
use docmill::ledger::{Ledger, Me, Options};
use docmill::pipeline::{self, Override, Pipeline};
use docmill::plan::Routes;
use docmill::report::RunRecord;
use docmill::run::{self, Books, Ended, Job, Redo, Summary};
use docmill::source::Source;
use docmill::store::{Conditional, Memory, Object, Page, Store, StoreError};
use serde_json::{Value, json};
use tokio::sync::watch;

/// A model that is a function of the call and of how often that call was made before.
struct Scripted<F> {
    script: F,
    seen: Mutex<BTreeMap<String, usize>>,
    calls: AtomicUsize,
}

#[async_trait::async_trait]
impl<F: Fn(&Call, usize) -> Result<Reply, Failure> + Send + Sync> Model for Scripted<F> {
    async fn converse(&self, call: &Call) -> Result<Reply, Failure> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let before = {
            let mut seen = self.seen.lock().unwrap();
            let times = seen.entry(call.user.clone()).or_default();
            *times += 1;
            *times - 1
        };
        tokio::task::yield_now().await;
        (self.script)(call, before)
    }
}

pub fn answer(text: &str) -> Result<Reply, Failure> {
    stopped(text, StopReason::EndTurn)
}

fn stopped(text: &str, stop: StopReason) -> Result<Reply, Failure> {
    let usage = Usage { input_tokens: 1_000, output_tokens: 10, ..Usage::default() };
    Ok(Reply { text: text.to_owned(), stop, usage })
}

fn fails(class: FailureClass) -> Result<Reply, Failure> {
    Err(Failure { class, message: format!("{class:?} on purpose"), retry_after_ms: Some(1) })
}

/// A store in which chosen keys misbehave.
pub struct Faulty {
    pub inner: Memory,
    vanished: &'static str,
    stale: &'static str,
    unwritable: &'static str,
    /// Ranges that can be read before the object is gone.
    pub ranges: AtomicUsize,
}

impl Faulty {
    fn new() -> Self {
        let ranges = AtomicUsize::new(usize::MAX);
        Faulty { inner: Memory::new(7), vanished: "-", stale: "-", unwritable: "-", ranges }
    }

    /// docmill's own state can always be written.
    fn check_write(&self, key: &str) -> Result<(), StoreError> {
        if key.starts_with(self.unwritable) && !key.starts_with("_docmill/") {
            let source = "the disk is full".into();
            return Err(StoreError::Other { action: "write", what: format!("`{key}`"), source });
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Store for Faulty {
    fn describe(&self) -> String {
        "faulty:".to_owned()
    }

    async fn list(&self, token: Option<&str>) -> Result<Page, StoreError> {
        let mut page = self.inner.list(token).await?;
        for object in page.objects.iter_mut().filter(|object| object.key == self.stale) {
            object.etag = Some("an older version".to_owned());
        }
        Ok(page)
    }

    async fn get(&self, key: &str, if_match: Option<&str>, max_bytes: u64) -> Result<Object, StoreError> {
        let key = if key == self.vanished { "no such key" } else { key };
        self.inner.get(key, if_match, max_bytes).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.inner.head(key).await
    }

    async fn put(&self, key: &str, body: Bytes, content_type: &str) -> Result<Option<String>, StoreError> {
        self.check_write(key)?;
        self.inner.put(key, body, content_type).await
    }

    async fn put_if_absent(&self, key: &str, body: Bytes, content_type: &str) -> Result<bool, StoreError> {
        self.check_write(key)?;
        self.inner.put_if_absent(key, body, content_type).await
    }

    async fn list_after(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.inner.list_after(prefix, after).await
    }

    async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
        if_match: Option<&str>,
    ) -> Result<Vec<u8>, StoreError> {
        let left = self.ranges.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match left {
            Ok(_) => self.inner.get_range(key, range, if_match).await,
            Err(_) => Err(StoreError::NotFound { key: key.to_owned() }),
        }
    }

    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
        etag: &str,
    ) -> Result<Conditional, StoreError> {
        self.inner.put_if_match(key, body, content_type, etag).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
}

fn pipeline(sets: &[&str]) -> Pipeline {
    let overrides: Vec<Override> = sets.iter().map(|set| Override::set(set).unwrap()).collect();
    let bytes = std::fs::read("pipelines/summarise.toml").unwrap();
    let today = "2026-11-20".parse().unwrap();
    pipeline::parse(&bytes, "summarise.toml", &overrides, Catalog::builtin(), today).unwrap()
}

pub struct World {
    pub source: Arc<Faulty>,
    sink: Arc<Faulty>,
    events: Vec<Event>,
    /// As in [`Job`].
    pub stream_above_bytes: u64,
}

impl World {
    pub async fn new(documents: &[(&str, String)]) -> World {
        World::with(Faulty::new(), Faulty::new(), documents).await
    }

    async fn with(source: Faulty, sink: Faulty, documents: &[(&str, String)]) -> World {
        for (key, text) in documents {
            source.inner.put(key, text.clone().into(), "text/plain").await.unwrap();
        }
        World {
            source: Arc::new(source),
            sink: Arc::new(sink),
            events: Vec::new(),
            stream_above_bytes: docmill::run::STREAM_ABOVE_BYTES,
        }
    }

    pub async fn run<F>(&mut self, sets: &[&str], script: F) -> Summary
    where
        F: Fn(&Call, usize) -> Result<Reply, Failure> + Send + Sync + 'static,
    {
        let pipeline = pipeline(sets);
        let routes = Routes::choose(&pipeline).unwrap();
        let chunk = pipeline.chunk();
        let size = Size::new(chunk.tokens.into(), chunk.overlap.into(), routes.encoding).unwrap();
        let (source, sink): (Arc<dyn Store>, Arc<dyn Store>) = (self.source.clone(), self.sink.clone());
        let books = books(sink.clone()).await;
        let settings = pipeline.source().clone();
        let record = record(&pipeline);
        let job = Job {
            pipeline,
            routes,
            size,
            source: source.clone(),
            sink,
            source_in_sink: None,
            stream_above_bytes: self.stream_above_bytes,
            backoff_ms: 1,
            seed: 1,
            quotas: BTreeMap::new(),
            redo: Redo::default(),
            passwords: Vec::new(),
            workers: Workers::new(Settings { workers: 0, ..Settings::default() }),
            now: || 1_800_000_000,
        };
        let model = Scripted { script, seen: Mutex::default(), calls: AtomicUsize::new(0) };
        let events = &mut self.events;
        let mut observer = |event: &Event, _: &Totals, _| events.push(event.clone());
        let (_keep, stop) = watch::channel(false);
        let source = Source::new(source, settings, None);
        run::run(Arc::new(job), source, Arc::new(model), books, record, &mut observer, stop).await
    }

    pub async fn result(&self, key: &str) -> Value {
        let object = self.sink.inner.get(&format!("{key}.json"), None, u64::MAX).await.unwrap();
        serde_json::from_slice(&object.body).unwrap()
    }

    pub fn reason(&self, key: &str) -> String {
        let finished = self.events.iter().find_map(|event| match event {
            Event::DocumentFinished { key: k, reason, .. } if k == key => {
                Some(reason.clone().unwrap_or_default())
            }
            _ => None,
        });
        finished.unwrap_or_else(|| panic!("{key} did not end"))
    }
}

/// The ledger of a sink, for a process that is the only one there.
async fn books(sink: Arc<dyn Store>) -> Books {
    let me = Me {
        run: "test".into(),
        host: "here".into(),
        machine: "here".into(),
        pid: 1,
        process_started: 1,
        nonce: 1,
        now: 1_800_000_000,
        is_alive: Box::new(|_, _| false),
    };
    let (ledger, opened) = Ledger::open(sink, me, Options::default()).await.unwrap();
    let unanswered = opened.unanswered.iter().map(|intent| intent.key).collect();
    Books { ledger, unanswered, first_segment: opened.next_segment }
}

fn record(pipeline: &Pipeline) -> RunRecord {
    RunRecord {
        run: "test".into(),
        docmill: "test",
        pipeline: pipeline.name().into(),
        fingerprint: pipeline.fingerprint(),
        source: "faulty:".into(),
        sink: "faulty:".into(),
        region: "us-east-1".into(),
        started: "2026-11-20T00:00:00Z".into(),
        seconds: None,
        ended: "running".into(),
        first_segment: 1,
        max_cost_usd: None,
        totals: Totals::default(),
        seen: Vec::new(),
        pools: Vec::new(),
        documents: Vec::new(),
    }
}

/// Some 2,000 tokens a hundred paragraphs: several chunks of the pipeline's 2,000.
fn text(paragraphs: usize) -> String {
    (0..paragraphs)
        .map(|i| format!("Paragraph {i} tells what happened on day {i} of the journey to the sea.\n\n"))
        .collect()
}

/// Short documents, none like the other: equal requests are made once.
fn different(documents: usize) -> Vec<(String, String)> {
    (0..documents).map(|i| (format!("{i:03}.txt"), format!("Journey {i}.\n\n{}", text(3)))).collect()
}

fn is_merge(call: &Call) -> bool {
    call.user.contains("<answer")
}

#[tokio::test]
async fn what_passes_is_tried_again_and_nothing_is_lost() {
    // Equal requests would be counted together: each document and each answer is its own.
    let inland = |paragraphs: usize, place: &str| text(paragraphs).replace("the sea", place);
    let documents =
        [("a.txt", text(600)), ("b.txt", inland(3, "the hill")), ("c.txt", inland(300, "the mill"))];
    let mut world = World::new(&documents).await;
    let summary = world
        .run(&[], |call, before| match before {
            0 if call.user.len() % 3 == 0 => fails(FailureClass::Throttled),
            0 if call.user.len() % 3 == 1 => fails(FailureClass::Transient),
            0 => fails(FailureClass::Broken),
            1 => fails(FailureClass::Timeout),
            _ => answer(&call.user[call.user.len() / 2..]),
        })
        .await;
    assert_eq!((summary.ended, summary.totals.done, summary.totals.failed), (Ended::Complete, 3, 0));
    assert_eq!(summary.totals.calls(), summary.totals.planned.calls);
    assert_eq!(summary.totals.retries, 2 * summary.totals.calls());
    assert!(summary.totals.maybe_billed > docmill::domain::Usd::ZERO, "timeouts may have been billed");
}

#[tokio::test]
async fn a_chunk_that_is_given_up_is_a_gap_with_its_bytes() {
    let mut world = World::new(&[("a.txt", text(600))]).await;
    let summary = world
        .run(&[], |call, _| match call.user.contains("Paragraph 2 ") {
            true => fails(FailureClass::Malformed),
            false => answer("An answer."),
        })
        .await;
    assert_eq!((summary.totals.partial, summary.totals.failed_calls()), (1, 1));
    let result = world.result("a.txt").await;
    let gap = &result["coverage"]["gaps"][0];
    assert_eq!((&gap["call"], &gap["bytes"]), (&json!("0.0"), &result["chunks"][0]["bytes"]));
    assert_eq!(gap["reason"], "Malformed on purpose");
    assert_eq!(result["chunks"][0]["call"]["stop_reason"], Value::Null);
}

#[tokio::test]
async fn a_merge_that_is_given_up_leaves_the_answers_side_by_side() {
    let mut world = World::new(&[("a.txt", text(600))]).await;
    let summary = world
        .run(&[], |call, _| if is_merge(call) { fails(FailureClass::TooLong) } else { answer("An answer.") })
        .await;
    assert_eq!(summary.totals.partial, 1);
    let result = world.result("a.txt").await;
    let chunks = result["chunks"].as_array().unwrap().len();
    assert_eq!(result["output"], json!(vec!["An answer."; chunks].join("\n\n")));
    assert_eq!(result["coverage"]["gaps"][0]["call"], "1.0");
}

#[tokio::test]
async fn a_document_without_one_answer_fails_with_the_services_words() {
    let mut world = World::new(&[("a.txt", text(200)), ("b.txt", text(3))]).await;
    let summary = world.run(&["limits.max_attempts=2"], |_, _| fails(FailureClass::Transient)).await;
    assert_eq!((summary.ended, summary.totals.failed), (Ended::Complete, 2));
    assert_eq!(world.reason("a.txt"), "Transient on purpose");
    assert!(world.sink.inner.get("a.txt.json", None, 9).await.is_err(), "no result");
}

#[tokio::test]
async fn a_run_in_which_nothing_succeeds_is_not_driven_through_all_documents() {
    let documents: Vec<(String, String)> = different(100);
    let documents: Vec<(&str, String)> =
        documents.iter().map(|(key, text)| (key.as_str(), text.clone())).collect();
    let mut world = World::new(&documents).await;
    let summary = world.run(&["limits.max_in_flight=4"], |_, _| fails(FailureClass::Malformed)).await;
    assert!(matches!(summary.ended, Ended::Refused(_)), "{summary:?}");
    assert!((20..24).contains(&summary.totals.failed_calls()), "{summary:?}");
    let sink = Faulty { unwritable: "", ..Faulty::new() };
    let mut world = World::with(Faulty::new(), sink, &documents).await;
    let summary = world.run(&["limits.max_in_flight=4"], |_, _| answer("An answer.")).await;
    assert!(matches!(summary.ended, Ended::Refused(_)), "{summary:?}");
    assert!(summary.totals.calls() < 20, "answers are not bought to be lost: {summary:?}");
}

#[tokio::test]
async fn what_a_filter_put_in_the_place_of_an_answer_is_no_answer() {
    for stop in
        [StopReason::GuardrailIntervened, StopReason::ContentFiltered, StopReason::Other("refusal".into())]
    {
        let mut world = World::new(&[("a.txt", text(3))]).await;
        let stop_here = stop.clone();
        let summary = world.run(&[], move |_, _| stopped("Blocked.", stop_here.clone())).await;
        assert_eq!(summary.totals.failed, 1, "{stop}");
    }
}

#[tokio::test]
async fn an_answer_without_text_is_asked_for_once_more_and_both_are_paid() {
    let mut world = World::new(&[("a.txt", text(3))]).await;
    let summary = world.run(&[], |_, before| answer(if before == 0 { " \n" } else { "Now." })).await;
    assert_eq!(summary.totals.done, 1);
    assert_eq!(summary.totals.usage().input_tokens, 2_000);
    // The result tells what it rests on, the run what was paid.
    let half = (summary.totals.cost().pico() / 2).to_string();
    let told: docmill::domain::Usd =
        world.result("a.txt").await["cost_usd"].as_str().unwrap().parse().unwrap();
    assert_eq!(told.pico().to_string(), half);
    let mut world = World::new(&[("a.txt", text(3))]).await;
    let summary = world.run(&[], |_, _| answer("")).await;
    assert_eq!((summary.totals.failed, summary.totals.usage().input_tokens), (1, 2_000));
}

#[tokio::test]
async fn a_refused_model_ends_the_run_and_what_is_not_done_is_counted() {
    let documents: Vec<(String, String)> = different(200);
    let documents: Vec<(&str, String)> =
        documents.iter().map(|(key, text)| (key.as_str(), text.clone())).collect();
    let mut world = World::new(&documents).await;
    let counter = AtomicUsize::new(0);
    let summary = world
        .run(&["limits.max_in_flight=4"], move |_, _| match counter.fetch_add(1, Ordering::Relaxed) {
            0..10 => answer("An answer."),
            _ => fails(FailureClass::Denied),
        })
        .await;
    assert_eq!(summary.ended, Ended::Refused("Denied on purpose".into()));
    let totals = &summary.totals;
    assert_eq!((totals.done, totals.ended() + totals.unfinished), (10, totals.selected));
    assert!(totals.failed_calls() <= 4, "one windowful is enough to know");
}

#[tokio::test]
async fn a_document_whose_call_was_refused_is_unfinished_whatever_its_other_calls_say() {
    // The refusal comes first or last among the answers, depending on where the chunk lies.
    for refused in ["Paragraph 2 ", "Paragraph 300 ", "Paragraph 598 "] {
        let mut world = World::new(&[("a.txt", text(600))]).await;
        let summary = world
            .run(&[], move |call, _| match call.user.contains(refused) {
                true => fails(FailureClass::Denied),
                false => answer("An answer."),
            })
            .await;
        let totals = &summary.totals;
        // The first call of all is refused before another one is sent.
        assert!(refused == "Paragraph 2 " || totals.calls() > 1, "the other chunks were answered");
        assert_eq!((totals.ended(), totals.unfinished), (0, 1), "{totals:?}");
        assert!(world.sink.inner.get("a.txt.json", None, 9).await.is_err(), "no result");
    }
}

#[tokio::test]
async fn objects_that_vanish_or_change_under_our_hands() {
    let source = Faulty { vanished: "gone.txt", stale: "newer.txt", ..Faulty::new() };
    let documents = [("gone.txt", text(3)), ("here.txt", text(4)), ("newer.txt", text(5))];
    let mut world = World::with(source, Faulty::new(), &documents).await;
    let summary = world.run(&[], |_, _| answer("An answer.")).await;
    assert_eq!((summary.totals.done, summary.totals.failed), (2, 1));
    assert!(world.reason("gone.txt").contains("does not exist (any more)"), "{}", world.reason("gone.txt"));
    let newer = world.result("newer.txt").await;
    let read = world.source.inner.head("newer.txt").await.unwrap().etag.unwrap();
    assert_eq!(newer["source"]["etag"], read, "the version that was read, not the one that was listed");
}

#[tokio::test]
async fn a_result_that_can_not_be_written_fails_its_document_only() {
    let sink = Faulty { unwritable: "b.txt", ..Faulty::new() };
    let mut world = World::with(Faulty::new(), sink, &[("a.txt", text(3)), ("b.txt", text(4))]).await;
    let summary = world.run(&[], |_, _| answer("An answer.")).await;
    assert_eq!((summary.totals.done, summary.totals.failed), (1, 1));
    assert!(world.reason("b.txt").contains("the disk is full"), "{}", world.reason("b.txt"));
}

#[tokio::test]
async fn started_documents_are_finished_before_new_ones_start() {
    let documents: Vec<(String, String)> = (0..300).map(|i| (format!("{i:03}.txt"), text(i % 400))).collect();
    let documents: Vec<(&str, String)> =
        documents.iter().map(|(key, text)| (key.as_str(), text.clone())).collect();
    let mut world = World::new(&documents).await;
    let summary = world
        .run(&["limits.max_in_flight=3", "limits.max_documents_in_flight=5"], |_, _| answer("An answer."))
        .await;
    assert_eq!(summary.totals.done, 299, "all but the empty one");
    // A document is open, and its text in memory, until the last of its calls is done.
    let mut left: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut listed, mut started) = (0u64, 0u64);
    for event in &world.events {
        match event {
            Event::Listed { documents, .. } => {
                assert_eq!(listed, started, "one page of the listing in memory at a time");
                listed += documents;
            }
            Event::DocumentStarted { key, .. } => {
                started += 1;
                left.insert(key, u64::MAX);
            }
            Event::DocumentPlanned { key, calls, .. } => _ = left.insert(key, *calls),
            Event::CallFinished { key, .. } | Event::CallRecalled { key, .. } => {
                *left.get_mut(key.as_str()).unwrap() -= 1;
            }
            Event::DocumentFinished { key, .. } => _ = left.remove(key.as_str()),
            _ => {}
        }
        let open = left.values().filter(|calls| **calls > 0).count();
        assert!(open <= 5 + 3, "{open} documents are open");
    }
}

#[tokio::test]
async fn an_answer_without_text_is_asked_of_the_better_model() {
    let mut world = World::new(&[("a.txt", text(3))]).await;
    let sets = ["route.escalate={to=\"us.amazon.nova-lite-v1:0\",on=[\"empty\"]}"];
    let summary =
        world.run(&sets, |call, _| answer(if call.model.contains("micro") { " " } else { "Better." })).await;
    assert_eq!((summary.ended, summary.totals.done), (Ended::Complete, 1), "{}", world.reason("a.txt"));
    let result = world.result("a.txt").await;
    let call = &result["chunks"][0]["call"];
    assert_eq!((&result["output"], &call["escalated_from"]["fault"]), (&json!("Better."), &json!("empty")));
}

#[tokio::test]
async fn a_call_is_escalated_to_a_model_that_was_not_asked_before() {
    let mut world = World::new(&[("a.txt", text(3))]).await;
    let sets = [
        "route.fallback=us.amazon.nova-pro-v1:0",
        "route.escalate={to=\"us.amazon.nova-lite-v1:0\",on=[\"refused\"]}",
    ];
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    world
        .run(&sets, move |call, _| {
            seen.lock().unwrap().push(call.model.clone());
            stopped("", StopReason::ContentFiltered)
        })
        .await;
    let asked = asked.lock().unwrap().clone();
    let mut distinct = asked.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((asked.len(), distinct.len()), (3, 3), "{asked:?}");
}
