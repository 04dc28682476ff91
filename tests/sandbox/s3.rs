//! One suite for both stores: memory and a folder must be the same S3.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, Delete, MetadataDirective, ObjectIdentifier,
};
use docmill::sandbox::Root;

use super::{ACCESS_KEY, SECRET_KEY, s3_client, s3_client_with, start};

/// Keys that are names, not paths.
pub fn odd_keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "plain.txt",
        "a",
        "a/b",
        "a/b/c",
        "a/",
        "a//b",
        "a-b",
        "a!b",
        "/lead",
        "//",
        "trail/",
        "..",
        "../up",
        "a/../b",
        ".",
        "./x",
        ".hidden",
        "with space",
        " x ",
        "#hash",
        "100%",
        "%",
        "%41",
        "a%2Fb+c%20d.txt",
        "+",
        "a+b",
        "ünï/cödé",
        "日本語/資料.txt",
        "emoji 😀",
        "q?x=1&y=2",
        "quote\"s",
        "back\\slash",
        "semi;colon",
        "star*",
        "%=",
        "%=self",
        "a/%=self",
        "%=.",
        "tab\tkey",
        "~",
        "'",
        "<&>",
        "con",
        "aux.txt",
        ".docmill-sandbox/x",
        "e\u{301}",
        "\u{e9}",
    ]
    .map(str::to_owned)
    .into();
    keys.extend([
        "x".repeat(1024),
        format!("{}/{}", "d".repeat(300), "f".repeat(300)),
        "ä".repeat(512),
        "/".repeat(200),
    ]);
    keys.extend([format!("{}/x", "d".repeat(300)), "n".repeat(255), "n".repeat(256)]);
    keys
}

pub async fn list(client: &Client, bucket: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut pages = client.list_objects_v2().bucket(bucket).max_keys(7).into_paginator().send();
    while let Some(page) = pages.next().await {
        keys.extend(
            page.expect("a page").contents().iter().map(|object| object.key().unwrap_or_default().to_owned()),
        );
    }
    keys
}

pub async fn put(client: &Client, bucket: &str, key: &str, body: impl Into<Vec<u8>>) -> String {
    let put = client.put_object().bucket(bucket).key(key).body(ByteStream::from(body.into())).send().await;
    put.unwrap_or_else(|error| panic!("{key:?}: {error:?}")).e_tag.expect("an etag")
}

pub async fn get(client: &Client, bucket: &str, key: &str) -> Vec<u8> {
    let got = client
        .get_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await
        .unwrap_or_else(|error| panic!("{key}: {error:?}"));
    got.body.collect().await.expect("a body").to_vec()
}

/// Status and code of a call that must have failed.
#[track_caller]
pub fn failure<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E>>,
) -> (u16, String) {
    let error = result.expect_err("it must be refused");
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    (status, error.code().unwrap_or_default().to_owned())
}

pub fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Runs one test on a store in memory and on one in a folder.
pub async fn on_both(test: impl AsyncFn(&Client)) {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("root");
    for root in [Root::Memory, Root::Folder(inner.clone())] {
        let sandbox = start(root).await;
        let client = s3_client(&sandbox);
        client.create_bucket().bucket("docs").send().await.expect("a bucket");
        test(&client).await;
        sandbox.stop().await;
    }
    let beside: Vec<_> = std::fs::read_dir(folder.path()).expect("a listing").collect();
    assert_eq!(beside.len(), 1, "something was written outside the root: {beside:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_are_made_listed_and_removed() {
    on_both(async |client| {
        let again = client.create_bucket().bucket("docs").send().await;
        assert_eq!(failure(again), refused(409, "BucketAlreadyOwnedByYou"));
        assert_eq!(
            failure(client.create_bucket().bucket("No_Bucket").send().await),
            refused(400, "InvalidBucketName")
        );
        client.create_bucket().bucket("another").send().await.expect("a bucket");
        let names: Vec<_> = client
            .list_buckets()
            .send()
            .await
            .expect("a list")
            .buckets()
            .iter()
            .filter_map(|b| b.name.clone())
            .collect();
        assert_eq!(names, ["another", "docs"]);
        client.head_bucket().bucket("docs").send().await.expect("it is there");
        client.get_bucket_location().bucket("docs").send().await.expect("it is somewhere");
        put(client, "docs", "deep/down/key", "x").await;
        assert_eq!(
            failure(client.delete_bucket().bucket("docs").send().await),
            refused(409, "BucketNotEmpty")
        );
        client.delete_object().bucket("docs").key("deep/down/key").send().await.expect("a delete");
        client.delete_bucket().bucket("docs").send().await.expect("it is empty");
        assert_eq!(failure(client.head_bucket().bucket("docs").send().await).0, 404);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_bucket_or_key_is_named_as_such() {
    on_both(async |client| {
        let missing = refused(404, "NoSuchBucket");
        assert_eq!(failure(client.list_objects_v2().bucket("nowhere").send().await), missing);
        assert_eq!(failure(client.list_objects_v2().bucket("nowhere").prefix("a/").send().await), missing);
        assert_eq!(failure(client.get_object().bucket("nowhere").key("a").send().await), missing);
        assert_eq!(failure(client.put_object().bucket("nowhere").key("a").send().await), missing);
        assert_eq!(failure(client.delete_object().bucket("nowhere").key("a").send().await), missing);
        assert_eq!(
            failure(client.create_multipart_upload().bucket("nowhere").key("a").send().await),
            missing
        );
        assert_eq!(failure(client.get_bucket_location().bucket("nowhere").send().await), missing);
        assert_eq!(
            failure(client.get_object().bucket("docs").key("a/b").send().await),
            refused(404, "NoSuchKey")
        );
        let head = client.head_object().bucket("docs").key("a").send().await.expect_err("no such key");
        assert!(head.into_service_error().is_not_found());
        client.delete_object().bucket("docs").key("a").send().await.expect("deleting nothing succeeds");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_keys_are_refused() {
    let sandbox = start(Root::Memory).await;
    let stranger = s3_client_with(&sandbox, "somebody", SECRET_KEY);
    assert_eq!(failure(stranger.list_buckets().send().await), refused(403, "InvalidAccessKeyId"));
    let liar = s3_client_with(&sandbox, ACCESS_KEY, "guess");
    assert_eq!(failure(liar.list_buckets().send().await), refused(403, "SignatureDoesNotMatch"));
    let put = liar.put_object().bucket("docs").key("a").body(ByteStream::from_static(b"x")).send().await;
    assert_eq!(failure(put), refused(403, "SignatureDoesNotMatch"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_key_is_a_name() {
    on_both(async |client| {
        let keys: BTreeSet<String> = odd_keys().into_iter().collect();
        // Twice, in both orders: `a` before `a/b` and after it.
        for order in [keys.iter().collect::<Vec<_>>(), keys.iter().rev().collect()] {
            for key in &order {
                put(client, "docs", key, format!("body of {key}")).await;
            }
            assert_eq!(list(client, "docs").await, keys.iter().cloned().collect::<Vec<_>>());
            for key in &keys {
                assert_eq!(get(client, "docs", key).await, format!("body of {key}").as_bytes(), "{key}");
                let head = client.head_object().bucket("docs").key(key).send().await.expect("a head");
                assert_eq!(head.content_length(), i64::try_from(format!("body of {key}").len()).ok());
            }
            for key in &order {
                client.delete_object().bucket("docs").key(*key).send().await.expect("a delete");
                assert_eq!(
                    failure(client.get_object().bucket("docs").key(*key).send().await).0,
                    404,
                    "{key}"
                );
            }
            assert!(list(client, "docs").await.is_empty());
        }
        assert_eq!(
            failure(client.put_object().bucket("docs").key("x".repeat(1025)).send().await),
            refused(400, "KeyTooLongError")
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_and_conditions_of_reads() {
    on_both(async |client| {
        let etag = put(client, "docs", "digits", "0123456789").await;
        assert_eq!(etag, "\"781e5e245d69b566979b86e28d23f2c7\"");
        put(client, "docs", "empty", "").await;
        let ranged = async |key: &str, range: &str| {
            client.get_object().bucket("docs").key(key).range(range).send().await
        };
        for (range, body, header) in [
            ("bytes=2-4", "234", "bytes 2-4/10"),
            ("bytes=7-", "789", "bytes 7-9/10"),
            ("bytes=-3", "789", "bytes 7-9/10"),
            ("bytes=-99", "0123456789", "bytes 0-9/10"),
            ("bytes=0-99", "0123456789", "bytes 0-9/10"),
        ] {
            let part = ranged("digits", range).await.expect("a part");
            assert_eq!(part.content_range(), Some(header));
            assert_eq!(part.content_length(), i64::try_from(body.len()).ok());
            assert_eq!(part.body.collect().await.expect("a body").to_vec(), body.as_bytes());
        }
        for (key, range) in
            [("digits", "bytes=10-"), ("digits", "bytes=-0"), ("empty", "bytes=0-"), ("empty", "bytes=-5")]
        {
            assert_eq!(failure(ranged(key, range).await), refused(416, "InvalidRange"), "{key} {range}");
        }
        let get = || client.get_object().bucket("docs").key("digits");
        get().if_match(&etag).send().await.expect("it matches");
        assert_eq!(failure(get().if_match("\"0\"").send().await), refused(412, "PreconditionFailed"));
        assert_eq!(failure(get().if_none_match(&etag).send().await).0, 304);
        get().if_none_match("\"0\"").send().await.expect("it is another");
        let modified = get().send().await.expect("a get").last_modified.expect("a date");
        assert_eq!(failure(get().if_modified_since(modified).send().await).0, 304);
        get().if_unmodified_since(modified).send().await.expect("it has not changed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_of_writes() {
    on_both(async |client| {
        let put_if = || client.put_object().bucket("docs").key("lease");
        let lost = refused(412, "PreconditionFailed");
        assert_eq!(failure(put_if().if_match("\"0\"").send().await), refused(404, "NoSuchKey"));
        let first = put_if()
            .if_none_match("*")
            .body(ByteStream::from_static(b"1"))
            .send()
            .await
            .expect("it is absent")
            .e_tag
            .expect("etag");
        assert_eq!(
            failure(put_if().if_none_match("*").body(ByteStream::from_static(b"2")).send().await),
            lost
        );
        let second = put_if()
            .if_match(&first)
            .body(ByteStream::from_static(b"2"))
            .send()
            .await
            .expect("it matches")
            .e_tag
            .expect("etag");
        assert_eq!(failure(put_if().if_match(&first).body(ByteStream::from_static(b"3")).send().await), lost);
        assert_eq!(get(client, "docs", "lease").await, b"2");
        let delete_if = |etag: &str| client.delete_object().bucket("docs").key("lease").if_match(etag).send();
        assert_eq!(failure(delete_if(&first).await), lost);
        delete_if(&second).await.expect("it matches");
        put_if().if_none_match("*").send().await.expect("it is absent again");
        assert_eq!(failure(put_if().if_none_match("\"0\"").send().await).0, 501);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_conditional_writers_one_wins() {
    on_both(async |client| {
        for round in 0..200 {
            let race = (0..4).map(|writer| {
                let body = ByteStream::from(format!("{writer}").into_bytes());
                tokio::spawn(
                    client
                        .put_object()
                        .bucket("docs")
                        .key(format!("claims/{round}"))
                        .if_none_match("*")
                        .body(body)
                        .send(),
                )
            });
            let race: Vec<_> = race.collect();
            let mut winners = Vec::new();
            for (writer, attempt) in race.into_iter().enumerate() {
                match attempt.await.expect("no panic") {
                    Ok(_) => winners.push(writer),
                    Err(error) => {
                        assert_eq!(failure::<(), _>(Err(error)), refused(412, "PreconditionFailed"))
                    }
                }
            }
            assert_eq!(winners.len(), 1, "round {round}");
            assert_eq!(
                get(client, "docs", &format!("claims/{round}")).await,
                winners[0].to_string().as_bytes()
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_never_sees_half_an_object() {
    on_both(async |client| {
        let body = |n: u8| vec![n; 700_000 + usize::from(n)];
        put(client, "docs", "big", body(1)).await;
        let writer = {
            let client = client.clone();
            tokio::spawn(async move {
                for n in 2..20_u8 {
                    put(&client, "docs", "big", body(n)).await;
                }
            })
        };
        let mut reads = 0;
        while !writer.is_finished() || reads == 0 {
            let seen = get(client, "docs", "big").await;
            assert!(seen == body(seen[0]), "a mixture of {} bytes", seen.len());
            reads += 1;
        }
        writer.await.expect("no panic");
        assert!(get(client, "docs", "big").await == body(19));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_bodies_are_refused() {
    on_both(async |client| {
        let put = || client.put_object().bucket("docs").key("sum").body(ByteStream::from_static(b"hello"));
        put().content_md5("XUFAKrxLKna5cZ2REBfFkg==").send().await.expect("the right MD5");
        put().checksum_crc32("NhCmhg==").send().await.expect("the right CRC");
        client.delete_object().bucket("docs").key("sum").send().await.expect("a delete");
        assert_eq!(
            failure(put().content_md5("AAAAAAAAAAAAAAAAAAAAAA==").send().await),
            refused(400, "BadDigest")
        );
        assert_eq!(failure(put().content_md5("nonsense").send().await), refused(400, "InvalidDigest"));
        assert_eq!(failure(put().checksum_crc32("AAAAAA==").send().await), refused(400, "BadDigest"));
        let sha256 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert_eq!(failure(put().checksum_sha256(sha256).send().await), refused(400, "BadDigest"));
        assert!(list(client, "docs").await.is_empty(), "a refused body was kept");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_about_an_object_is_kept() {
    on_both(async |client| {
        let put =
            client.put_object().bucket("docs").key("described.md").body(ByteStream::from_static(b"# x"));
        let put = put
            .content_type("text/markdown")
            .cache_control("no-store")
            .content_language("de")
            .content_disposition("inline");
        put.metadata("run", "7").metadata("source", "s3://in/a b").send().await.expect("a put");
        client
            .put_object()
            .bucket("docs")
            .key("bare")
            .body(ByteStream::from_static(b"x"))
            .send()
            .await
            .expect("a put");
        let metadata = |pairs: Option<&std::collections::HashMap<String, String>>| {
            pairs.cloned().unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>()
        };
        let wanted = BTreeMap::from([
            ("run".to_owned(), "7".to_owned()),
            ("source".to_owned(), "s3://in/a b".to_owned()),
        ]);
        let head = client.head_object().bucket("docs").key("described.md").send().await.expect("a head");
        assert_eq!(metadata(head.metadata()), wanted);
        let got = client.get_object().bucket("docs").key("described.md").send().await.expect("a get");
        let said =
            (got.content_type(), got.cache_control(), got.content_language(), got.content_disposition());
        assert_eq!(said, (Some("text/markdown"), Some("no-store"), Some("de"), Some("inline")));

        let copy = || client.copy_object().bucket("docs").copy_source("docs/described.md");
        copy().key("kept").send().await.expect("a copy");
        let head = client.head_object().bucket("docs").key("kept").send().await.expect("a head");
        assert_eq!((head.content_type(), metadata(head.metadata())), (Some("text/markdown"), wanted));
        copy()
            .key("new")
            .metadata_directive(MetadataDirective::Replace)
            .content_type("text/x")
            .send()
            .await
            .expect("a copy");
        let head = client.head_object().bucket("docs").key("new").send().await.expect("a head");
        assert_eq!((head.content_type(), metadata(head.metadata())), (Some("text/x"), BTreeMap::new()));
        assert_eq!(failure(copy().key("described.md").send().await), refused(400, "InvalidRequest"));
        assert_eq!(
            failure(copy().key("x").copy_source_if_match("\"0\"").send().await),
            refused(412, "PreconditionFailed")
        );
        assert_eq!(
            failure(client.copy_object().bucket("docs").copy_source("docs/none").key("x").send().await),
            refused(404, "NoSuchKey")
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_deleted_at_once() {
    on_both(async |client| {
        for key in ["a", "a/b", "c d"] {
            put(client, "docs", key, "x").await;
        }
        let name = |key: &str| ObjectIdentifier::builder().key(key).build().expect("a name");
        let delete = Delete::builder()
            .objects(name("a"))
            .objects(name("c d"))
            .objects(name("never was"))
            .build()
            .expect("names");
        let done = client.delete_objects().bucket("docs").delete(delete).send().await.expect("a delete");
        assert_eq!((done.deleted().len(), done.errors().len()), (3, 0));
        assert_eq!(list(client, "docs").await, ["a/b"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_become_one_object() {
    on_both(async |client| {
        let part_bytes = 5 * 1024 * 1024;
        let upload = client
            .create_multipart_upload()
            .bucket("docs")
            .key("big/file")
            .content_type("text/x")
            .send()
            .await
            .expect("an upload");
        let id = upload.upload_id().expect("an id").to_owned();
        let mut parts = Vec::new();
        for (number, body) in
            [(1, vec![b'a'; part_bytes]), (2, vec![b'b'; part_bytes]), (7, b"tail".to_vec())]
        {
            let sent = client
                .upload_part()
                .bucket("docs")
                .key("big/file")
                .upload_id(&id)
                .part_number(number)
                .body(ByteStream::from(body));
            let etag = sent.send().await.expect("a part").e_tag.expect("an etag");
            parts.push(CompletedPart::builder().part_number(number).e_tag(etag).build());
        }
        assert!(list(client, "docs").await.is_empty(), "parts are no objects");
        let listed = client
            .list_parts()
            .bucket("docs")
            .key("big/file")
            .upload_id(&id)
            .max_parts(2)
            .send()
            .await
            .expect("parts");
        assert_eq!(
            (listed.parts().len(), listed.is_truncated(), listed.next_part_number_marker()),
            (2, Some(true), Some("2"))
        );
        let open = client.list_multipart_uploads().bucket("docs").send().await.expect("uploads");
        assert_eq!(open.uploads()[0].key(), Some("big/file"));

        let complete = |parts: Vec<CompletedPart>| {
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
            client
                .complete_multipart_upload()
                .bucket("docs")
                .key("big/file")
                .upload_id(&id)
                .multipart_upload(parts)
        };
        let reversed = parts.iter().rev().cloned().collect();
        assert_eq!(failure(complete(reversed).send().await), refused(400, "InvalidPartOrder"));
        let small_first = vec![parts[2].clone(), CompletedPart::builder().part_number(8).e_tag("x").build()];
        assert_eq!(failure(complete(small_first).send().await), refused(400, "InvalidPart"));
        put(client, "docs", "big/file", "in the way").await;
        assert_eq!(
            failure(complete(parts.clone()).if_none_match("*").send().await),
            refused(412, "PreconditionFailed")
        );
        let done = complete(parts.clone()).send().await.expect("complete");
        assert!(done.e_tag().expect("an etag").ends_with("-3\""));
        let whole = get(client, "docs", "big/file").await;
        assert!(
            whole.len() == 2 * part_bytes + 4 && whole.ends_with(b"bbbtail") && whole.starts_with(b"aaa")
        );
        let head = client.head_object().bucket("docs").key("big/file").send().await.expect("a head");
        assert_eq!((head.e_tag(), head.content_type()), (done.e_tag(), Some("text/x")));
        assert_eq!(failure(complete(parts).send().await), refused(404, "NoSuchUpload"));

        let upload =
            client.create_multipart_upload().bucket("docs").key("other").send().await.expect("an upload");
        let id = upload.upload_id().expect("an id");
        client
            .upload_part_copy()
            .bucket("docs")
            .key("other")
            .upload_id(id)
            .part_number(1)
            .copy_source("docs/big/file")
            .copy_source_range("bytes=0-9")
            .send()
            .await
            .expect("a part");
        client
            .abort_multipart_upload()
            .bucket("docs")
            .key("other")
            .upload_id(id)
            .send()
            .await
            .expect("aborted");
        assert_eq!(
            failure(client.list_parts().bucket("docs").key("other").upload_id(id).send().await),
            refused(404, "NoSuchUpload")
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_streamed_up_and_down() {
    on_both(async |client| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(file.path(), &body).expect("written");
        let stream = ByteStream::from_path(file.path()).await.expect("a stream");
        client.put_object().bucket("docs").key("streamed").body(stream).send().await.expect("a put");
        assert!(get(client, "docs", "streamed").await == body);
    })
    .await;
}
