//! One suite for the stores that are here: keys in byte order, pages, ranges, conditions, races.

use std::sync::Arc;

use super::*;

const TYPE: &str = "text/plain";

type Named = (&'static str, Arc<dyn Store>);

fn stores() -> (tempfile::TempDir, Vec<Named>) {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::new(folder.path().join("not/yet"));
    (folder, vec![("memory", Arc::new(Memory::new(2))), ("directory", Arc::new(directory))])
}

async fn keys(store: &dyn Store, prefix: &str, mut after: Option<String>) -> Vec<String> {
    let mut keys = Vec::new();
    loop {
        let page = store.list_after(prefix, after.as_deref()).await.unwrap();
        keys.extend(page.objects.into_iter().map(|object| object.key));
        if page.next.is_none() {
            return keys;
        }
        after = page.next;
    }
}

#[tokio::test]
async fn listings_are_in_byte_order_of_the_whole_key() {
    let (_folder, stores) = stores();
    // '!' < '-' < '.' < '/' < '0' < letters < 'é' < 'ﬁ' < '😀'; UTF-16 would put the last two the other way round.
    let expected =
        ["a!", "a-b/c", "a.txt", "a/b", "a/b.c", "a/c/d", "a/é", "a0", "ab/c", "b", "é", "ﬁ/x", "😀"];
    for (name, store) in stores {
        for key in expected.iter().rev() {
            store.put(key, Bytes::from_static(b"x"), TYPE).await.unwrap();
        }
        assert!(expected.is_sorted());
        assert_eq!(keys(&*store, "", None).await, expected, "{name}");
        let listed: Vec<_> = store.list(None).await.unwrap().objects.into_iter().map(|o| o.key).collect();
        assert!(expected.starts_with(&listed.iter().map(String::as_str).collect::<Vec<_>>()), "{name}");
    }
}

#[tokio::test]
async fn a_listing_can_start_at_any_prefix_and_after_any_key() {
    let (_folder, stores) = stores();
    let all = ["a.txt", "a/b", "a/b.c", "a/bb/x", "a/c/d", "ab/c", "b"];
    for (name, store) in stores {
        assert_eq!(keys(&*store, "a/", None).await, [""; 0], "{name}: nothing is there yet");
        for key in all {
            store.put(key, Bytes::from_static(b"x"), TYPE).await.unwrap();
        }
        for prefix in ["", "a", "a/", "a/b", "a/bb/", "a/c/d", "b", "c", "a/b/c"] {
            for after in
                [None, Some(""), Some("a"), Some("a/a"), Some("a/b"), Some("a/bb/"), Some("b"), Some("z")]
            {
                let expected: Vec<&str> = all
                    .into_iter()
                    .filter(|key| key.starts_with(prefix) && after.is_none_or(|after| *key > after))
                    .collect();
                let listed = keys(&*store, prefix, after.map(str::to_owned)).await;
                assert_eq!(listed, expected, "{name}: `{prefix}` after {after:?}");
            }
        }
    }
}

#[tokio::test]
async fn ranges_end_where_the_object_ends() {
    let (_folder, stores) = stores();
    for (name, store) in stores {
        store.put("k", Bytes::from_static(b"0123456789"), TYPE).await.unwrap();
        for (range, expected) in [
            (2..5, "234"),
            (8..99, "89"),
            (10..20, ""),
            (50..60, ""),
            (3..3, ""),
            (0..u64::MAX, "0123456789"),
        ] {
            let read = store.get_range("k", range.clone(), None).await.unwrap();
            assert_eq!(read, expected.as_bytes(), "{name}: {range:?}");
        }
        let etag = store.head("k").await.unwrap().etag;
        let same = store.get_range("k", 2..5, etag.as_deref()).await;
        assert_eq!(same.unwrap(), b"234", "{name}");
        let changed = store.get_range("k", 2..5, Some("another")).await;
        assert!(matches!(changed, Err(StoreError::Changed { .. })), "{name}: {changed:?}");
        let missing = store.get_range("none", 0..1, None).await;
        assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{name}: {missing:?}");
    }
}

#[tokio::test]
async fn conditional_writes_hold_to_their_condition() {
    let (_folder, stores) = stores();
    for (name, store) in stores {
        let body = |text: &'static str| Bytes::from_static(text.as_bytes());
        let refused = store.put_if_match("f/k", body("0"), TYPE, "v1").await.unwrap();
        assert_eq!(refused, Conditional::Refused, "{name}: nothing to match");
        let first = store.put("f/k", body("1"), TYPE).await.unwrap().unwrap();
        assert_eq!(store.head("f/k").await.unwrap().etag.as_ref(), Some(&first), "{name}");
        assert!(!store.put_if_absent("f/k", body("2"), TYPE).await.unwrap(), "{name}");
        let second = store.put_if_match("f/k", body("3"), TYPE, &first).await.unwrap();
        let Conditional::Replaced(Some(second)) = second else { panic!("{name}: {second:?}") };
        assert_eq!(store.head("f/k").await.unwrap().etag.as_ref(), Some(&second), "{name}");
        let late = store.put_if_match("f/k", body("4"), TYPE, &first).await.unwrap();
        assert_eq!(late, Conditional::Refused, "{name}");
        assert_eq!(store.get("f/k", None, 9).await.unwrap().body, b"3", "{name}");
        store.delete("f/k").await.unwrap();
        store.delete("f/k").await.unwrap();
        assert!(matches!(store.head("f/k").await, Err(StoreError::NotFound { .. })), "{name}");
        assert_eq!(
            keys(&*store, "", None).await,
            [""; 0],
            "{name}: locks and temporary files are not listed"
        );
        let stale = store.put_if_match("f/k", body("5"), TYPE, &second).await.unwrap();
        assert_eq!(stale, Conditional::Refused, "{name}");
        assert!(store.put_if_absent("f/k", body("6"), TYPE).await.unwrap(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_writers_one_wins() {
    let (_folder, stores) = stores();
    for (name, store) in stores {
        let mut etag = store.put("turns", Bytes::new(), TYPE).await.unwrap().unwrap();
        for round in 0..40 {
            let racers = (0..4).map(|racer: u32| {
                let (store, etag) = (store.clone(), etag.clone());
                tokio::spawn(async move {
                    let key = format!("log/{round:03}");
                    let body = Bytes::from(racer.to_string());
                    let absent = store.put_if_absent(&key, body.clone(), TYPE).await.unwrap();
                    let turn = store.put_if_match("turns", body, TYPE, &etag).await.unwrap();
                    (absent, turn)
                })
            });
            let (mut absent, mut turns) = (0, Vec::new());
            for racer in racers.collect::<Vec<_>>() {
                let (won, turn) = racer.await.unwrap();
                absent += u32::from(won);
                turns.extend(match turn {
                    Conditional::Replaced(etag) => etag,
                    _ => None,
                });
            }
            assert_eq!((absent, turns.len()), (1, 1), "{name}, round {round}");
            etag = turns.remove(0);
        }
    }
}
