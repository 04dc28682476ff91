//! Listings of both stores against the slow and obvious answer.

use std::collections::BTreeSet;

use aws_sdk_s3::types::EncodingType;

use super::s3::{failure, on_both, put, refused};

/// What ListObjectsV2 must answer, page after page, computed the slow and obvious way.
fn expected(keys: &BTreeSet<String>, prefix: &str, delimiter: Option<&str>, after: &str) -> Vec<String> {
    let wanted = keys.iter().filter(|key| key.starts_with(prefix) && key.as_str() > after);
    let mut found: Vec<String> = wanted
        .map(|key| {
            match delimiter.and_then(|delimiter| Some((key[prefix.len()..].find(delimiter)?, delimiter))) {
                Some((at, delimiter)) => format!("{}|", &key[..prefix.len() + at + delimiter.len()]),
                None => key.clone(),
            }
        })
        .collect();
    found.dedup();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_have_prefixes_delimiters_and_pages() {
    on_both(async |client| {
        let mut keys: BTreeSet<String> = (0..60).map(|n| format!("logs/{}/{:02}.txt", n % 4, n)).collect();
        keys.extend(
            ["a", "a-b", "a/b", "a/c/d", "a0", "b", "logs", "logs-old/x", "é/ü", "z//z", "z/"]
                .map(str::to_owned),
        );
        for key in &keys {
            put(client, "docs", key, key.as_str()).await;
        }
        for prefix in ["", "a", "a/", "logs/", "logs/1/0", "logs/9", "z/", "é", "nothing"] {
            for delimiter in [None, Some("/"), Some("-"), Some("/z")] {
                for after in ["", "a/b", "a/zz", "logs/1/"] {
                    for page_keys in [3, 1000] {
                        let mut pages =
                            client.list_objects_v2().bucket("docs").prefix(prefix).max_keys(page_keys);
                        pages = pages.set_delimiter(delimiter.map(str::to_owned)).start_after(after);
                        let mut found = Vec::new();
                        let mut pages = pages.into_paginator().send();
                        while let Some(page) = pages.next().await {
                            let page = page.expect("a page");
                            let mut entries: Vec<String> =
                                page.contents().iter().filter_map(|object| object.key.clone()).collect();
                            entries.extend(
                                page.common_prefixes()
                                    .iter()
                                    .filter_map(|p| Some(format!("{}|", p.prefix()?))),
                            );
                            entries.sort_by(|a, b| a.trim_end_matches('|').cmp(b.trim_end_matches('|')));
                            assert!(entries.len() <= page_keys as usize);
                            assert_eq!(page.key_count(), i32::try_from(entries.len()).ok());
                            found.extend(entries);
                        }
                        assert_eq!(
                            found,
                            expected(&keys, prefix, delimiter, after),
                            "{prefix:?} {delimiter:?} {after:?} {page_keys}"
                        );
                    }
                }
            }
        }
        let none = client.list_objects_v2().bucket("docs").max_keys(0).send().await.expect("a page");
        assert_eq!((none.key_count(), none.is_truncated()), (Some(0), Some(false)));
        let bad = client.list_objects_v2().bucket("docs").continuation_token("!").send().await;
        assert_eq!(failure(bad), refused(400, "InvalidArgument"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_listing_pages_by_marker() {
    on_both(async |client| {
        for key in ["a/1", "a/2", "b", "c/1", "d", "e"] {
            put(client, "docs", key, "x").await;
        }
        let (mut found, mut marker) = (Vec::new(), String::new());
        loop {
            let page = client
                .list_objects()
                .bucket("docs")
                .delimiter("/")
                .max_keys(2)
                .marker(&marker)
                .send()
                .await
                .expect("a page");
            found.extend(page.contents().iter().filter_map(|object| object.key.clone()));
            found.extend(page.common_prefixes().iter().filter_map(|prefix| prefix.prefix.clone()));
            match page.next_marker() {
                Some(next) => marker = next.to_owned(),
                None => break,
            }
        }
        found.sort();
        assert_eq!(found, ["a/", "b", "c/", "d", "e"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn url_encoding_carries_keys_that_xml_can_not() {
    on_both(async |client| {
        put(client, "docs", "dir/a b+c%d\u{1}é.txt", "x").await;
        let page = client
            .list_objects_v2()
            .bucket("docs")
            .encoding_type(EncodingType::Url)
            .prefix("dir/")
            .send()
            .await
            .expect("a page");
        assert_eq!(page.contents()[0].key(), Some("dir/a+b%2Bc%25d%01%C3%A9.txt"));
        assert_eq!(page.prefix(), Some("dir/"));
    })
    .await;
}
