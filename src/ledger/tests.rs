//! The ledger as a whole: crashes, races, zombies, lost acknowledgements, interrupted compactions and
//! who may start. What damage does to it is tested in `damage`, and any order of doing things in `model`.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::domain::{CallId, DocumentState, ObjectMeta, StopReason, Usage};
use crate::store::{Conditional, Directory, Memory, Object, Page, Store};

pub(super) const NOW: u64 = 1_795_000_000;

pub(super) fn key(n: u64) -> ReplyKey {
    let mut key = [0; 16];
    // Spread as a hash is, so that keys are not written in their order.
    key[..8].copy_from_slice(&(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..].copy_from_slice(&n.to_le_bytes());
    ReplyKey(key)
}

pub(super) fn reply(n: u64) -> PaidReply {
    PaidReply {
        key: key(n),
        model: "amazon.nova-micro-v1:0".to_owned(),
        max_tokens: 500,
        text: format!("answer {n}\n\"quoted\" {}", "x".repeat((n % 50) as usize)),
        stop: StopReason::EndTurn,
        usage: Usage { input_tokens: n, output_tokens: 7, ..Usage::default() },
    }
}

pub(super) fn document(name: &str, version: u64) -> DocumentRecord {
    DocumentRecord {
        key: name.to_owned(),
        etag: Some(format!("etag-{version}")),
        size: version,
        fingerprint: "f".repeat(64),
        state: DocumentState::Done,
        reason: None,
        attempts: 0,
        outputs: vec![Output { key: format!("{name}.md"), etag: None }],
        run: "run".to_owned(),
    }
}

fn intent(n: u64) -> Intent {
    Intent { document: format!("doc{n}"), call: CallId::new(0, n as u32), key: key(n) }
}

/// A process on machine `machine`; all processes of a machine but `pid` 1 are dead.
pub(super) fn me(machine: &str, pid: u32, now: u64) -> Me {
    static NONCE: AtomicU64 = AtomicU64::new(1);
    Me {
        run: format!("run-{machine}-{pid}"),
        host: format!("host-{machine}"),
        machine: machine.to_owned(),
        pid,
        process_started: 5,
        nonce: NONCE.fetch_add(1, Ordering::Relaxed),
        now,
        is_alive: Box::new(|pid, started| pid == 1 && started == 5),
    }
}

pub(super) fn quick() -> Options {
    let step = Duration::from_millis(1);
    Options { watch: step * 3, look: step, ..Options::default() }
}

/// Opens as a process that finds its predecessors dead.
pub(super) async fn open(store: &Arc<dyn Store>) -> (Ledger, Opened) {
    Ledger::open(store.clone(), me("m", 2, NOW), quick()).await.unwrap()
}

pub(super) async fn commit(ledger: &mut Ledger, records: impl IntoIterator<Item = Record>) {
    records.into_iter().for_each(|record| ledger.append(record));
    if let Some(segment) = ledger.seal() {
        segment.commit(&*ledger.shared.store.clone()).await.unwrap();
        ledger.committed(segment);
    }
}

/// What a fault does to a write.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// It is done whatever its condition.
    Ignores,
    /// It is not done, and the writer is told so.
    Fails,
    /// It is done, and the writer is told that it was not.
    FailsAfter,
    /// It is done twice, as the SDK does after a time-out: the second one meets the first.
    Repeats,
}

/// A store whose writes go wrong: the one with number `at`, and all after it if `lasting`.
pub(super) struct Faulty {
    inner: Arc<dyn Store>,
    writes: AtomicU64,
    at: AtomicU64,
    fault: Mutex<Fault>,
    lasting: AtomicBool,
    reads: AtomicU64,
}

impl Faulty {
    pub(super) fn over(inner: Arc<dyn Store>) -> Arc<Faulty> {
        Arc::new(Faulty {
            inner,
            writes: AtomicU64::new(0),
            at: AtomicU64::new(u64::MAX),
            fault: Mutex::new(Fault::Fails),
            lasting: AtomicBool::new(false),
            reads: AtomicU64::new(0),
        })
    }

    /// The write after `after` more goes wrong.
    fn arm(&self, after: u64, fault: Fault, lasting: bool) {
        *self.fault.lock().unwrap() = fault;
        self.lasting.store(lasting, Ordering::SeqCst);
        self.at.store(self.writes.load(Ordering::SeqCst) + after, Ordering::SeqCst);
    }

    fn disarm(&self) {
        self.at.store(u64::MAX, Ordering::SeqCst);
    }

    fn fault(&self) -> Option<Fault> {
        let (number, at) = (self.writes.fetch_add(1, Ordering::SeqCst), self.at.load(Ordering::SeqCst));
        let hit = number == at || (number > at && self.lasting.load(Ordering::SeqCst));
        hit.then(|| *self.fault.lock().unwrap())
    }
}

/// One that no second attempt helps against, so that tests need not wait.
fn refused() -> StoreError {
    StoreError::Denied { what: "it".to_owned(), permission: "s3:PutObject", source: "injected".into() }
}

#[async_trait::async_trait]
impl Store for Faulty {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    async fn list(&self, token: Option<&str>) -> Result<Page, StoreError> {
        self.inner.list(token).await
    }
    async fn list_after(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.inner.list_after(prefix, after).await
    }
    async fn get(&self, key: &str, if_match: Option<&str>, max_bytes: u64) -> Result<Object, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.get(key, if_match, max_bytes).await
    }
    async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
        if_match: Option<&str>,
    ) -> Result<Vec<u8>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.get_range(key, range, if_match).await
    }
    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.inner.head(key).await
    }
    async fn put(&self, key: &str, body: Bytes, kind: &str) -> Result<Option<String>, StoreError> {
        match self.fault() {
            Some(Fault::Fails) => Err(refused()),
            Some(Fault::FailsAfter) => self.inner.put(key, body, kind).await.and(Err(refused())),
            Some(Fault::Repeats | Fault::Ignores) | None => self.inner.put(key, body, kind).await,
        }
    }
    async fn put_if_absent(&self, key: &str, body: Bytes, kind: &str) -> Result<bool, StoreError> {
        match self.fault() {
            Some(Fault::Fails) => Err(refused()),
            Some(Fault::FailsAfter) => self.inner.put_if_absent(key, body, kind).await.and(Err(refused())),
            Some(Fault::Repeats) => {
                self.inner.put_if_absent(key, body.clone(), kind).await?;
                self.inner.put_if_absent(key, body, kind).await
            }
            Some(Fault::Ignores) => self.inner.put(key, body, kind).await.map(|_| true),
            None => self.inner.put_if_absent(key, body, kind).await,
        }
    }
    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        kind: &str,
        etag: &str,
    ) -> Result<Conditional, StoreError> {
        match self.fault() {
            Some(Fault::Fails) => Err(refused()),
            Some(Fault::FailsAfter) => {
                self.inner.put_if_match(key, body, kind, etag).await.and(Err(refused()))
            }
            Some(Fault::Repeats) => {
                self.inner.put_if_match(key, body.clone(), kind, etag).await?;
                self.inner.put_if_match(key, body, kind, etag).await
            }
            Some(Fault::Ignores) => self.inner.put(key, body, kind).await.map(Conditional::Unconditional),
            None => self.inner.put_if_match(key, body, kind, etag).await,
        }
    }
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.fault() {
            Some(_) => Err(refused()),
            None => self.inner.delete(key).await,
        }
    }
}

pub(super) fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::new(7))
}

fn stores() -> (tempfile::TempDir, Vec<Arc<dyn Store>>) {
    let folder = tempfile::tempdir().unwrap();
    let directory: Arc<dyn Store> = Arc::new(Directory::new(folder.path().join("sink")));
    (folder, vec![memory(), directory])
}

#[tokio::test]
async fn what_was_committed_is_there_for_the_next_run_and_nothing_else_is() {
    let (_folder, stores) = stores();
    for store in stores {
        let (mut ledger, opened) = open(&store).await;
        assert!(opened.losses.is_empty() && opened.previous.is_none() && opened.unanswered.is_empty());
        assert_eq!(opened.next_segment, 1);
        let reader = ledger.reader();
        ledger.append(Record::Reply(reply(1)));
        assert_eq!(ledger.buffered().replies, 1);
        assert!(!reader.may_hold(key(1)), "not durable yet");
        let segment = ledger.seal().unwrap();
        assert!(ledger.seal().is_none(), "one at a time");
        segment.commit(&*store).await.unwrap();
        ledger.committed(segment);
        assert_eq!(reader.recall(key(1)).await.unwrap(), Some(reply(1)));
        commit(&mut ledger, [Record::Document(document("a", 1)), Record::Document(document("b", 1))]).await;
        commit(&mut ledger, [Record::Forget { key: "b".to_owned() }, Record::Document(document("a", 2))])
            .await;
        ledger.append(Record::Reply(reply(2)));
        drop(ledger);

        let (mut ledger, opened) = open(&store).await;
        assert!(opened.losses.is_empty(), "{:?}", opened.losses);
        assert!(opened.previous.is_some_and(|previous| previous.ended.is_none()));
        assert_eq!(ledger.reader().recall(key(1)).await.unwrap(), Some(reply(1)));
        assert_eq!(ledger.reader().recall(key(2)).await.unwrap(), None, "never sealed");
        let mut states = ledger.states(None);
        assert_eq!(states.seek_to("a").await.unwrap(), Some(document("a", 2)));
        assert_eq!(states.seek_to("b").await.unwrap(), None);
        ledger.close("complete", NOW + 9).await.unwrap();
        let (_, opened) = open(&store).await;
        assert_eq!(opened.previous.and_then(|previous| previous.ended), Some(NOW + 9));
    }
}

#[tokio::test]
async fn calls_without_an_answer_are_named_until_a_run_closes() {
    let store = memory();
    let (mut ledger, opened) = open(&store).await;
    let run = (ledger.holder.run.clone(), opened.next_segment);
    let records = (0..4).map(|n| Record::Intent(intent(n)));
    commit(&mut ledger, records.chain([Record::Reply(reply(1)), Record::Document(document("d", 1))])).await;
    let progress = serde_json::json!({"calls": 4});
    commit(&mut ledger, [Record::Progress { run: run.0.clone(), totals: progress.clone() }]).await;
    let mut documents = Vec::new();
    let log = read_run(&*store, &run.0, run.1, |document| documents.push(document)).await.unwrap();
    assert_eq!((log.replies, log.progress, log.closed), (1, Some(progress), None));
    assert_eq!(documents, [document("d", 1)]);
    assert_eq!(log.unanswered.len(), 3);

    let (mut ledger, opened) = open(&store).await;
    let unanswered: BTreeSet<_> = opened.unanswered.iter().map(|intent| intent.call.index).collect();
    assert_eq!(unanswered, [0, 2, 3].into());
    // They outlive maintenance and a compaction, and an answer that comes later takes its intent away.
    ledger.compact(true).await.unwrap();
    commit(&mut ledger, [Record::Intent(intent(2)), Record::Reply(reply(2))]).await;
    ledger.release(NOW).await.unwrap();
    let (mut ledger, opened) = open(&store).await;
    assert_eq!(opened.previous.and_then(|previous| previous.ended), Some(NOW));
    assert_eq!(opened.unanswered.len(), 2);
    commit(&mut ledger, [Record::Intent(intent(9))]).await;
    ledger.close("complete", NOW).await.unwrap();
    let (_, opened) = open(&store).await;
    assert!(opened.unanswered.is_empty(), "{:?}", opened.unanswered);
    let log = read_run(&*store, "no such run", 0, |_| panic!("it has no documents")).await.unwrap();
    assert!(log.holder.is_none() && log.losses.is_empty());
}

#[tokio::test]
async fn who_may_start_is_decided_by_who_lives() {
    // (the holder's machine and process, ours, how much later) -> whether we get it
    for (holder, mine, later, expected) in [
        (("m", 2), ("m", 3), 1, true),      // same machine, process gone
        (("m", 1), ("m", 3), 9_999, false), // same machine, process lives, however long not seen
        (("x", 1), ("m", 3), 10, true),     // elsewhere, and no sign of life while we looked
        (("x", 1), ("m", 3), 9_999, true),  // elsewhere, not seen for hours
        (("", 1), ("", 1), 10, true),       // machines that can not be told apart are not the same
    ] {
        let store = memory();
        let first = Ledger::open(store.clone(), me(holder.0, holder.1, NOW), quick()).await.unwrap();
        let second = Ledger::open(store.clone(), me(mine.0, mine.1, NOW + later), quick()).await;
        match second {
            Ok(_) => assert!(expected, "{holder:?} {mine:?}"),
            Err(LedgerError::Held { by }) => {
                assert!(!expected, "{holder:?} {mine:?}");
                assert_eq!(*by, first.0.holder);
                let message = LedgerError::Held { by }.to_string();
                for part in ["run-m-1", "host-m", "process 1", "started 2026-11-18T"] {
                    assert!(message.contains(part), "{message}");
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_holder_can_be_thrown_out_on_purpose() {
    let store = memory();
    let (mut first, _) = Ledger::open(store.clone(), me("m", 1, NOW), quick()).await.unwrap();
    let options = Options { take_over: true, ..quick() };
    let (_, opened) = Ledger::open(store.clone(), me("m", 2, NOW), options).await.unwrap();
    assert_eq!(opened.previous, Some(first.holder.clone()));
    assert!(matches!(first.close("complete", NOW).await, Err(LedgerError::Fenced { .. })));
}

#[tokio::test]
async fn a_holder_elsewhere_that_beats_is_left_alone() {
    let store = memory();
    let (mut ledger, _) = Ledger::open(store.clone(), me("x", 1, NOW), quick()).await.unwrap();
    // It beats whenever it is looked at: time passes only by looking.
    let beats: Vec<_> = (1..=3).map(|n| ledger.beat(NOW + n)).collect();
    let beating = async {
        for beat in beats {
            tokio::time::sleep(Duration::from_millis(1)).await;
            beat.await.unwrap();
        }
    };
    let patient = Options { watch: Duration::from_secs(3_600), ..quick() };
    let (opened, ()) = tokio::join!(Ledger::open(store.clone(), me("m", 3, NOW + 1), patient), beating);
    assert!(matches!(opened, Err(LedgerError::Held { .. })));
    // What can not be read says nothing, but if it changes somebody is there; if it does not, nobody is.
    store.put(names::HOLDER, Bytes::from_static(b"garbage"), TEXT).await.unwrap();
    let (_, opened) = open(&store).await;
    assert!(opened.losses[0].contains("holder.jsonl is damaged"), "{:?}", opened.losses);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_start_at_once_one_gets_it() {
    let (_folder, stores) = stores();
    for store in stores {
        for round in 0..25 {
            let racers = (0..3).map(|_| {
                // The holder of the round before is found on another machine and long gone; that of this one lives.
                let (store, machine) = (store.clone(), format!("m{round}"));
                let now = NOW + round * 10_000;
                tokio::spawn(async move { Ledger::open(store, me(&machine, 1, now), quick()).await })
            });
            let mut winners = 0;
            for racer in racers.collect::<Vec<_>>() {
                match racer.await.unwrap() {
                    Ok((mut ledger, _)) => {
                        winners += 1;
                        commit(&mut ledger, [Record::Reply(reply(round))]).await;
                    }
                    Err(LedgerError::Held { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            assert_eq!(winners, 1, "round {round}");
        }
        let (ledger, opened) = open(&store).await;
        assert!(opened.losses.is_empty(), "{:?}", opened.losses);
        for n in 0..25 {
            assert_eq!(ledger.reader().recall(key(n)).await.unwrap(), Some(reply(n)));
        }
    }
}

#[tokio::test]
async fn a_zombie_is_stopped_at_its_next_step_whatever_it_is() {
    let (_folder, stores) = stores();
    for store in stores {
        let (mut zombie, _) = Ledger::open(store.clone(), me("x", 1, NOW), quick()).await.unwrap();
        commit(&mut zombie, [Record::Reply(reply(1)), Record::Document(document("a", 1))]).await;
        zombie.append(Record::Reply(reply(2)));
        zombie.append(Record::Document(document("a", 2)));
        let late = zombie.seal().unwrap();
        let compaction = zombie.start_compaction(true).unwrap();

        let (mut ledger, _) = open(&store).await;
        assert_eq!(late.number(), ledger.holder.claim, "the claim takes the number the other one wants");
        let fenced = late.commit(&*store).await;
        let Err(LedgerError::Fenced { by }) = fenced else { panic!("{fenced:?}") };
        assert_eq!(by.run, "run-m-2");
        assert!(matches!(zombie.beat(NOW + 1).await, Err(LedgerError::Fenced { .. })));
        assert!(matches!(zombie.close("complete", NOW + 2).await, Err(LedgerError::Fenced { .. })));
        // Its tables say what the log says, so they do no harm before ours, and are refused after.
        let is_first = store.describe() == "memory";
        if is_first {
            compaction.run().await.unwrap();
            ledger.compact(true).await.unwrap();
        } else {
            ledger.compact(true).await.unwrap();
            assert!(matches!(compaction.run().await, Err(LedgerError::Fenced { .. })));
        }
        commit(&mut ledger, [Record::Document(document("b", 1))]).await;
        ledger.beat(NOW + 3).await.unwrap();
        ledger.close("complete", NOW + 4).await.unwrap();

        let (ledger, opened) = open(&store).await;
        assert!(opened.losses.is_empty(), "{:?}", opened.losses);
        assert_eq!(ledger.reader().recall(key(1)).await.unwrap(), Some(reply(1)));
        assert_eq!(ledger.reader().recall(key(2)).await.unwrap(), None);
        let mut states = ledger.states(None);
        assert_eq!(states.seek_to("a").await.unwrap(), Some(document("a", 1)));
        assert_eq!(states.seek_to("b").await.unwrap(), Some(document("b", 1)));
        assert_eq!(verify(store).await.unwrap().faults, [""; 0]);
    }
}

#[tokio::test]
async fn a_lost_acknowledgement_loses_nothing_and_doubles_nothing() {
    for (fault, write) in [(Fault::Repeats, 0), (Fault::Repeats, 2), (Fault::FailsAfter, 0)] {
        let store = Faulty::over(memory());
        let shared: Arc<dyn Store> = store.clone();
        if fault == Fault::Repeats {
            // The claim, and the first beat with it.
            store.arm(write, fault, false);
        }
        let (mut ledger, _) = open(&shared).await;
        ledger.append(Record::Reply(reply(1)));
        let segment = ledger.seal().unwrap();
        store.arm(0, fault, false);
        if fault == Fault::FailsAfter {
            segment.commit(&*store).await.unwrap_err();
        }
        segment.commit(&*store).await.unwrap();
        ledger.committed(segment);
        store.arm(0, Fault::Repeats, false);
        ledger.beat(NOW + 1).await.unwrap();
        store.arm(4, Fault::Repeats, false);
        ledger.compact(true).await.unwrap();
        store.disarm();
        ledger.close("complete", NOW + 2).await.unwrap();
        let (ledger, opened) = open(&shared).await;
        assert!(opened.losses.is_empty(), "{:?}", opened.losses);
        assert_eq!(ledger.reader().recall(key(1)).await.unwrap(), Some(reply(1)));
        assert_eq!(verify(shared).await.unwrap().replies, 1);
    }
}

#[tokio::test]
async fn a_store_that_ignores_conditions_works_and_is_told_of() {
    let store = Faulty::over(memory());
    let shared: Arc<dyn Store> = store.clone();
    store.arm(0, Fault::Ignores, true);
    let (mut ledger, opened) = open(&shared).await;
    assert!(opened.is_unfenced);
    commit(&mut ledger, [Record::Reply(reply(1))]).await;
    ledger.beat(NOW + 1).await.unwrap();
    // Without conditions a later claim in the holder's file still stops whoever beats.
    let (mut second, _) = open(&shared).await;
    assert!(matches!(ledger.beat(NOW + 2).await, Err(LedgerError::Fenced { .. })));
    second.beat(NOW + 3).await.unwrap();
    second.close("complete", NOW + 4).await.unwrap();
    store.disarm();
    let (ledger, opened) = open(&shared).await;
    assert!(!opened.is_unfenced && opened.losses.is_empty());
    assert_eq!(ledger.reader().recall(key(1)).await.unwrap(), Some(reply(1)));
}

#[tokio::test]
async fn a_compaction_can_stop_anywhere() {
    for fault in [Fault::Fails, Fault::FailsAfter] {
        let mut stopped = 0;
        for write in 0.. {
            let store = Faulty::over(memory());
            let shared: Arc<dyn Store> = store.clone();
            let (mut ledger, _) = open(&shared).await;
            ledger.sizes = compact::PartSizes { document_bytes: 1, reply_entries: 8 };
            for n in 0..30 {
                commit(
                    &mut ledger,
                    [Record::Reply(reply(n)), Record::Document(document(&format!("d{n:02}"), n))],
                )
                .await;
                if n == 9 {
                    ledger.compact(true).await.unwrap();
                }
            }
            store.arm(write, fault, true);
            let is_done = ledger.compact(true).await.is_ok();
            store.disarm();
            drop(ledger);
            for is_first in [true, false] {
                let (mut ledger, opened) = open(&shared).await;
                assert!(opened.losses.is_empty(), "{fault:?} {write}: {:?}", opened.losses);
                for n in 0..30 {
                    assert_eq!(
                        ledger.reader().recall(key(n)).await.unwrap(),
                        Some(reply(n)),
                        "{fault:?} {write}"
                    );
                }
                let mut states = ledger.states(None);
                for n in 0..30 {
                    let name = format!("d{n:02}");
                    assert_eq!(
                        states.seek_to(&name).await.unwrap(),
                        Some(document(&name, n)),
                        "{fault:?} {write}"
                    );
                }
                // And the next one finds its way.
                if is_first {
                    ledger.compact(true).await.unwrap();
                }
            }
            assert_eq!(verify(shared).await.unwrap().faults, [""; 0], "{fault:?} {write}");
            if is_done {
                break;
            }
            stopped += 1;
        }
        assert!(stopped >= 9, "{fault:?}: only {stopped} writes to stop at");
    }
}

#[tokio::test]
async fn starting_reads_no_more_of_a_long_history_than_of_a_short_one() {
    let store = Faulty::over(memory());
    let shared: Arc<dyn Store> = store.clone();
    let (mut ledger, _) = open(&shared).await;
    for n in 0..600 {
        commit(&mut ledger, [Record::Reply(reply(n)), Record::Document(document(&format!("d{n:03}"), n))])
            .await;
        ledger.compact(false).await.unwrap();
    }
    assert!(ledger.tail.first > 512, "it compacts by itself in mid-run");
    ledger.compact(true).await.unwrap();
    let before = store.reads.load(Ordering::SeqCst);
    let (ledger, _) = open(&shared).await;
    let reads = store.reads.load(Ordering::SeqCst) - before;
    assert!(reads <= 2, "{reads} objects were read: the holder and the manifest are enough");
    let mut states = ledger.states(None);
    for n in 0..600 {
        states.seek_to(&format!("d{n:03}")).await.unwrap().unwrap();
    }
    let reads = store.reads.load(Ordering::SeqCst) - before;
    assert!(reads <= 10, "{reads} objects were read for 600 unchanged documents");
}

/// The run's loop hands these out to tasks.
#[tokio::test]
async fn what_waits_can_be_spawned() {
    fn spawnable<T>(future: impl Future<Output = T> + Send + 'static) -> impl Future<Output = T> {
        future
    }
    let store = memory();
    let opening = spawnable(Ledger::open(store.clone(), me("m", 2, NOW), quick()));
    let (mut ledger, _) = opening.await.unwrap();
    let (reader, mut states) = (ledger.reader(), ledger.states(None));
    spawnable(async move { reader.recall(key(1)).await }).await.unwrap();
    spawnable(async move { states.seek_to("a").await }).await.unwrap();
    ledger.append(Record::Reply(reply(1)));
    let (segment, same) = (ledger.seal().unwrap(), store.clone());
    let committing = segment.clone();
    spawnable(async move { committing.commit(&*same).await }).await.unwrap();
    ledger.committed(segment);
    spawnable(ledger.beat(NOW)).await.unwrap();
    let compaction = ledger.start_compaction(true).unwrap();
    let compacted = spawnable(compaction.run()).await.unwrap();
    ledger.compacted(compacted);
    spawnable(verify(store.clone())).await.unwrap();
    spawnable(async move { ledger.gc(NOW, false).await }).await.unwrap();
}
