//! Any order of appending, committing, compacting, crashing, collecting and rebuilding, held against a map in memory; and
//! the walk beside a sorted listing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use crate::ledger::compact::PartSizes;
use crate::ledger::tests::{NOW, commit, document, key, memory, open, reply};
use crate::ledger::{DocumentRecord, Ledger, Record, verify};
use crate::store::Store;

/// In the order of their bytes, which is neither that of their length nor that of paths.
const NAMES: [&str; 12] =
    ["", "a", "a!", "a-b/c", "a.txt", "a/b", "a/b.c", "a0", "ab", "é", "ﬁ", "😀 \"quoted\"\n"];

#[derive(Clone, Debug)]
enum Step {
    Reply(u64),
    Document(usize, u64),
    Forget(usize),
    Commit,
    Compact,
    /// The process dies, and with it what was not committed.
    Crash,
    /// Weeks later.
    Collect,
    Rebuild,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..40u64).prop_map(Step::Reply),
        6 => (0..NAMES.len(), 0..1_000u64).prop_map(|(name, version)| Step::Document(name, version)),
        2 => (0..NAMES.len()).prop_map(Step::Forget),
        6 => Just(Step::Commit),
        3 => Just(Step::Compact),
        2 => Just(Step::Crash),
        1 => Just(Step::Collect),
        1 => Just(Step::Rebuild),
    ]
}

#[derive(Clone, Default)]
struct Model {
    replies: BTreeSet<u64>,
    documents: BTreeMap<String, DocumentRecord>,
}

impl Model {
    fn append(&mut self, record: &Record) {
        match record {
            Record::Reply(reply) => {
                self.replies.insert(reply.usage.input_tokens);
            }
            Record::Document(document) => {
                self.documents.insert(document.key.clone(), document.clone());
            }
            Record::Forget { key } => {
                self.documents.remove(key);
            }
            _ => {}
        }
    }

    async fn check(&self, ledger: &Ledger) {
        let reader = ledger.reader();
        for n in 0..40 {
            let expected = self.replies.contains(&n).then(|| reply(n));
            assert_eq!(reader.recall(key(n)).await.unwrap(), expected, "reply {n}");
            assert!(expected.is_none() || reader.may_hold(key(n)));
        }
        let mut states = ledger.states(None);
        for name in NAMES {
            assert_eq!(states.seek_to(name).await.unwrap().as_ref(), self.documents.get(name), "{name:?}");
        }
        let after = self.documents.keys().nth(1).cloned();
        for after in [None, after] {
            let mut states = ledger.states(after.as_deref());
            let mut all = Vec::new();
            while let Some(document) = states.next().await.unwrap() {
                all.push(document);
            }
            let rest = self.documents.values().filter(|d| after.as_ref().is_none_or(|after| d.key > *after));
            assert!(all.iter().eq(rest), "after {after:?}: {all:?}");
        }
        assert_eq!(ledger.losses(), [""; 0]);
    }
}

async fn run(steps: Vec<Step>) {
    let store = memory();
    let sizes = PartSizes { document_bytes: 1, reply_entries: 3 };
    let (mut ledger, _) = open(&store).await;
    ledger.sizes = sizes;
    let (mut model, mut pending) = (Model::default(), Vec::new());
    for step in steps {
        match step {
            Step::Reply(n) => pending.push(Record::Reply(reply(n))),
            Step::Document(name, version) => pending.push(Record::Document(document(NAMES[name], version))),
            Step::Forget(name) => pending.push(Record::Forget { key: NAMES[name].to_owned() }),
            Step::Commit => {
                pending.iter().for_each(|record| model.append(record));
                commit(&mut ledger, pending.drain(..)).await;
            }
            Step::Compact => {
                ledger.compact(true).await.unwrap();
            }
            Step::Crash => {
                pending.clear();
                let (opened, found) = open(&store).await;
                assert_eq!(found.losses, [""; 0]);
                ledger = opened;
                ledger.sizes = sizes;
            }
            Step::Collect => {
                let later = NOW + 14 * 24 * 3_600;
                let promised = ledger.gc(later, true).await.unwrap();
                assert_eq!(ledger.gc(later, false).await.unwrap(), promised);
                assert_eq!(ledger.gc(NOW, true).await.unwrap().segments, [0; 0], "too young");
            }
            Step::Rebuild => assert_eq!(ledger.rebuild().await.unwrap(), [""; 0]),
        }
        model.check(&ledger).await;
    }
    let (ledger, found) = open(&store).await;
    assert_eq!(found.losses, [""; 0]);
    model.check(&ledger).await;
    let report = verify(store).await.unwrap();
    assert_eq!(report.faults, [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_ledger_says_what_was_committed(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(run(steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_walk_beside_a_listing_finds_every_state(
        layers in proptest::collection::vec(proptest::collection::btree_map(0..6_000u32, any::<bool>(), 0..400), 1..5),
        listing in proptest::collection::btree_set(0..6_500u32, 0..300),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(walk(layers, listing));
    }
}

/// Layers of tables and at last a tail; `true` is a state, `false` forgets one.
async fn walk(layers: Vec<BTreeMap<u32, bool>>, listing: BTreeSet<u32>) {
    let store: Arc<dyn Store> = memory();
    let (mut ledger, _) = open(&store).await;
    let name = |n: u32| format!("folder/{:03}/document {n:05}.txt", n / 100);
    let mut model = Model::default();
    // Below all layers one that takes many blocks.
    let base = (0..6_000).step_by(2).map(|n| (n, true)).collect();
    let last = layers.len();
    for (version, layer) in std::iter::once(base).chain(layers).enumerate() {
        let records = layer.into_iter().map(|(n, is_state)| match is_state {
            true => Record::Document(document(&name(n), version as u64)),
            false => Record::Forget { key: name(n) },
        });
        let records: Vec<Record> = records.collect();
        records.iter().for_each(|record| model.append(record));
        commit(&mut ledger, records).await;
        if version < last {
            ledger.sizes =
                PartSizes { document_bytes: if version % 2 == 0 { 20_000 } else { 1 << 20 }, ..ledger.sizes };
            ledger.compact(true).await.unwrap();
        }
    }
    let mut states = ledger.states(None);
    for n in listing {
        let key = name(n);
        assert_eq!(states.seek_to(&key).await.unwrap().as_ref(), model.documents.get(&key), "{key}");
    }
    assert_eq!(ledger.losses(), [""; 0]);
}
