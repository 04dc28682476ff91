//! Damaged and hostile state: whatever happens to the ledger's objects, opening it does not panic, no reply and no state is
//! ever one that was not written, and what is lost is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::domain::CallId;
use crate::ledger::compact::PartSizes;
use crate::ledger::tests::{NOW, commit, document, key, me, memory, open, quick, reply};
use crate::ledger::{DocumentRecord, Intent, Ledger, LedgerError, Record, TEXT, line, names, verify};
use crate::store::Store;

const REPLIES: u64 = 60;
const DOCUMENTS: u64 = 20;
const CORRUPTIONS: u64 = 240;

/// Numbers that depend on a seed alone (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

/// A ledger of three runs, with tables of several parts, a tail, and all that was ever written of each document.
async fn world() -> (Arc<dyn Store>, BTreeMap<String, Vec<DocumentRecord>>) {
    let store = memory();
    let mut history: BTreeMap<String, Vec<DocumentRecord>> = BTreeMap::new();
    for run in 0..3 {
        let (mut ledger, _) = open(&store).await;
        ledger.sizes = PartSizes { document_bytes: 1, reply_entries: 8 };
        for n in 0..REPLIES / 3 {
            let n = run * REPLIES / 3 + n;
            let name = format!("d{:02}", n % DOCUMENTS);
            let state = document(&name, n);
            history.entry(name.clone()).or_default().push(state.clone());
            let intent = Intent { document: name, call: CallId::new(0, 0), key: key(n) };
            commit(&mut ledger, [Record::Intent(intent)]).await;
            commit(&mut ledger, [Record::Reply(reply(n)), Record::Document(state)]).await;
            if n % 12 == 11 {
                ledger.compact(true).await.unwrap();
            }
        }
        ledger.close("complete", NOW).await.unwrap();
    }
    (store, history)
}

async fn objects(store: &dyn Store) -> BTreeMap<String, Vec<u8>> {
    let (mut objects, mut after) = (BTreeMap::new(), None);
    loop {
        let page = store.list_after("", after.as_deref()).await.unwrap();
        for object in page.objects {
            let body = store.get(&object.key, None, u64::MAX).await.unwrap().body;
            objects.insert(object.key, body);
        }
        if page.next.is_none() {
            return objects;
        }
        after = page.next;
    }
}

/// Damages one object and says what it did.
async fn corrupt(store: &dyn Store, random: &mut Random) -> String {
    let objects: Vec<_> = objects(store).await.into_iter().collect();
    let (key, mut body) = objects[random.below(objects.len())].clone();
    let done = match random.below(8) {
        0 => {
            body.truncate(random.below(body.len()));
            "cut off"
        }
        1 | 2 => {
            let bit = random.below(body.len() * 8);
            body[bit / 8] ^= 1 << (bit % 8);
            "a bit flipped in"
        }
        3 => {
            store.delete(&key).await.unwrap();
            return format!("removed {key}");
        }
        4 => {
            body = objects[random.below(objects.len())].1.clone();
            "another object's body in"
        }
        5 => {
            body = (0..random.below(3_000)).map(|_| random.below(256) as u8).collect();
            "garbage in"
        }
        6 => {
            let lines: Vec<&[u8]> = body.split_inclusive(|b| *b == b'\n').collect();
            let (line, twice) = (random.below(lines.len()), random.below(2) == 0);
            let copies = |i: usize| if i != line { 1 } else { 2 * usize::from(twice) };
            let lines = lines.iter().enumerate().flat_map(|(i, line)| std::iter::repeat_n(*line, copies(i)));
            body = lines.collect::<Vec<_>>().concat();
            "a line doubled or left out in"
        }
        _ => {
            let (at, bytes) = (random.below(body.len()), random.below(60));
            body.splice(at..(at + bytes).min(body.len()), (0..random.below(60)).map(|_| b' '));
            "a hole in"
        }
    };
    store.put(&key, Bytes::from(body), TEXT).await.unwrap();
    format!("{done} {key}")
}

#[tokio::test]
async fn damage_costs_answers_and_is_told_and_nothing_else() {
    let (pristine, history) = world().await;
    let pristine = objects(&*pristine).await;
    let (mut harmful, mut opened_anyway) = (0, 0);
    for seed in 0..CORRUPTIONS {
        let store = memory();
        for (key, body) in &pristine {
            store.put(key, Bytes::from(body.clone()), TEXT).await.unwrap();
        }
        let mut random = Random(seed);
        let mut what = Vec::new();
        for _ in 0..1 + random.below(3) {
            what.push(corrupt(&*store, &mut random).await);
        }
        let what = format!("seed {seed}: {}", what.join(", "));
        let is_changed = objects(&*store).await != pristine;
        let report = verify(store.clone()).await.unwrap();
        let (ledger, found) = Ledger::open(store.clone(), me("m", 2, NOW), quick()).await.expect(&what);
        opened_anyway += 1;
        let loss = check(&ledger, &history, &what).await;
        if loss {
            harmful += 1;
            assert!(is_changed, "{what}");
            let told = found.losses.iter().chain(&ledger.losses()).count();
            assert!(told > 0, "{what}: something is lost and nobody told");
            assert!(!report.faults.is_empty(), "{what}: something is lost and verify does not see it");
        }
        // It can be written to, and what is written then is safe.
        let mut ledger = ledger;
        commit(&mut ledger, [Record::Reply(reply(1_000)), Record::Document(document("new", 1))]).await;
        ledger.compact(true).await.expect(&what);
        let (ledger, _) = Ledger::open(store, me("m", 2, NOW), quick()).await.expect(&what);
        assert_eq!(ledger.reader().recall(key(1_000)).await.unwrap(), Some(reply(1_000)), "{what}");
        assert_eq!(ledger.states(None).seek_to("new").await.unwrap(), Some(document("new", 1)), "{what}");
    }
    assert_eq!(opened_anyway, CORRUPTIONS);
    assert!(harmful > CORRUPTIONS / 8, "only {harmful} of the corruptions did any harm");
}

/// Whether something that was written is not found, or only an older state of it. What is found was written.
async fn check(ledger: &Ledger, history: &BTreeMap<String, Vec<DocumentRecord>>, what: &str) -> bool {
    let mut is_lost = false;
    for n in 0..REPLIES {
        match ledger.reader().recall(key(n)).await.expect(what) {
            Some(found) => assert_eq!(found, reply(n), "{what}"),
            None => is_lost = true,
        }
    }
    assert_eq!(ledger.reader().recall(key(500)).await.expect(what), None, "{what}");
    let mut states = ledger.states(None);
    for (name, versions) in history {
        match states.seek_to(name).await.expect(what) {
            Some(found) => {
                assert!(versions.contains(&found), "{what}: {found:?}");
                is_lost |= versions.last() != Some(&found);
            }
            None => is_lost = true,
        }
    }
    is_lost
}

#[tokio::test]
async fn a_rebuild_brings_back_what_the_log_still_says() {
    let (store, history) = world().await;
    let damaged = objects(&*store).await;
    for key in damaged.keys().filter(|key| !key.starts_with(names::LOG)) {
        store.delete(key).await.unwrap();
    }
    let (mut ledger, found) = open(&store).await;
    assert_eq!(found.losses, [""; 0], "nothing but derived data is gone");
    assert!(!check(&ledger, &history, "from the log alone").await);
    assert_eq!(ledger.rebuild().await.unwrap(), [""; 0]);
    assert!(!check(&ledger, &history, "rebuilt").await);
    for key in objects(&*store).await.keys().filter(|key| key.starts_with(names::TABLES)) {
        store.put(key, Bytes::from_static(b"gone"), TEXT).await.unwrap();
    }
    let (mut ledger, _) = open(&store).await;
    assert!(check(&ledger, &history, "tables gone").await);
    assert!(!ledger.losses().is_empty());
    ledger.rebuild().await.unwrap();
    let (ledger, found) = open(&store).await;
    assert_eq!(found.losses, [""; 0]);
    assert!(!check(&ledger, &history, "rebuilt again").await);
    assert_eq!(verify(store).await.unwrap().faults, [""; 0]);
}

#[tokio::test]
async fn a_later_format_is_refused_wherever_it_is_met() {
    let places = [names::HOLDER.to_owned(), names::manifest(5), names::segment(126)];
    let (store, _) = world().await;
    let pristine = objects(&*store).await;
    let highest = pristine.keys().filter(|key| key.starts_with(names::MANIFESTS)).count();
    assert_eq!(highest, 5, "the newest manifest is the one that is replaced");
    for place in places {
        let before = store.get(&place, None, u64::MAX).await.ok();
        let mut later = Vec::new();
        let header = serde_json::json!({"docmill_ledger": 2, "segment": 126, "number": 5, "new": [1]});
        line::push(&mut later, &header);
        store.put(&place, Bytes::from(later), TEXT).await.unwrap();
        let error = Ledger::open(store.clone(), me("m", 2, NOW), quick()).await.err();
        let Some(LedgerError::TooNew { what, version: 2 }) = &error else { panic!("{place}: {error:?}") };
        assert_eq!(*what, place);
        assert!(error.is_some_and(|error| error.to_string().contains("update docmill")));
        match before {
            Some(object) => store.put(&place, object.body.into(), TEXT).await.map(drop).unwrap(),
            None => store.delete(&place).await.unwrap(),
        }
    }
}

#[tokio::test]
async fn names_that_are_not_ours_are_left_alone() {
    let (store, history) = world().await;
    let ours: BTreeSet<String> = objects(&*store).await.into_keys().collect();
    let foreign = [
        "log/9999999999.jsonl",
        "log/.DS_Store",
        "log/0000000003.jsonl.bak",
        "log/x/0000000004.jsonl",
        "notes",
    ];
    for name in foreign {
        let key = format!("_docmill/ledger/{name}");
        assert!(!ours.contains(&key));
        store.put(&key, Bytes::from_static(b"not ours"), TEXT).await.unwrap();
    }
    let (mut ledger, found) = open(&store).await;
    assert!(!check(&ledger, &history, "foreign objects").await);
    assert!(
        found.losses.iter().all(|loss| loss.contains("9999999999.jsonl is not the segment")),
        "{:?}",
        found.losses
    );
    assert!(ledger.holder.claim < 1_000, "a name alone moves no number");
    ledger.gc(NOW + 14 * 24 * 3_600, false).await.unwrap();
    for name in foreign {
        store.head(&format!("_docmill/ledger/{name}")).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_in_the_place_of_another_is_not_taken_for_it() {
    let store = memory();
    let (mut ledger, opened) = open(&store).await;
    let first = opened.next_segment + 1;
    for n in [60, 61] {
        // Of one length, so that each lies where the other did.
        commit(
            &mut ledger,
            [Record::Reply(crate::ledger::PaidReply { text: "same".to_owned(), ..reply(n) })],
        )
        .await;
    }
    ledger.compact(true).await.unwrap();
    let (one, two) = (names::segment(first), names::segment(first + 1));
    let (body, other) =
        (store.get(&one, None, 9_999).await.unwrap(), store.get(&two, None, 9_999).await.unwrap());
    assert_eq!(body.meta.size, other.meta.size);
    store.put(&one, other.body.into(), TEXT).await.unwrap();
    store.put(&two, body.body.into(), TEXT).await.unwrap();
    let (ledger, _) = open(&store).await;
    for n in [60, 61] {
        assert_eq!(ledger.reader().recall(key(n)).await.unwrap(), None);
    }
    assert_eq!(ledger.losses().len(), 2);
}

#[tokio::test]
async fn the_last_segment_is_missed_and_its_number_not_used_again() {
    let store = memory();
    let (mut ledger, opened) = open(&store).await;
    commit(&mut ledger, [Record::Reply(reply(1))]).await;
    ledger.beat(NOW + 1).await.unwrap();
    let last = opened.next_segment + 1;
    store.delete(&names::segment(last)).await.unwrap();
    // Were its number claimed, the old holder would go on after it unhindered.
    let (_, opened) = open(&store).await;
    assert_eq!(opened.next_segment, last + 1);
    assert_eq!(opened.losses, [format!("segments {last} to {last} of the log are missing")]);
    ledger.append(Record::Reply(reply(2)));
    let late = ledger.seal().unwrap().commit(&*store).await;
    assert!(matches!(late, Err(LedgerError::Fenced { .. })));
}
