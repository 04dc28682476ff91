//! The object store in bad weather: what the real client makes of it, and that a fault hits the same requests each time.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;

use super::s3::{get, put};
use super::{s3_client, start_in, stats};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_fails_in_the_words_of_s3() {
    for (kind, status, code) in
        [("internal", 500, Some("InternalError")), ("slow-down", 503, Some("SlowDown"))]
    {
        let sandbox =
            start_in(&format!("[[storage_fault]]\nkind = '{kind}'\nmethods = ['PUT']\n[latency]\n")).await;
        let client = s3_client(&sandbox);
        let body = ByteStream::from(vec![b'x'; 300_000]);
        let error = client.put_object().bucket("docs").key("a").body(body).send().await.expect_err("a fault");
        let answered = error.raw_response().map(|response| response.status().as_u16());
        assert_eq!((answered, error.code()), (Some(status), code));
        // Other methods are served.
        let error = client.get_object().bucket("docs").key("a").send().await.expect_err("no bucket");
        assert_eq!(error.code(), Some("NoSuchBucket"));
        let stats = stats(&sandbox).await;
        assert_eq!(
            (&stats["storage"]["requests"], &stats["storage"]["faults"][kind]),
            (&2.into(), &1.into())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_a_write_that_was_done() {
    let faults = "[[storage_fault]]\nkind = 'lost-answer'\nmethods = ['PUT']\n[[storage_fault]]\nkind = 'reset'\nmethods = ['DELETE']";
    let sandbox = start_in(faults).await;
    let client = s3_client(&sandbox);
    client.create_bucket().bucket("docs").send().await.expect_err("the answer is lost");
    let put = client.put_object().bucket("docs").key("a").body(ByteStream::from_static(b"done"));
    let error = put.send().await.expect_err("the answer is lost");
    assert!(error.raw_response().is_none(), "{error:?}");
    assert_eq!(get(&client, "docs", "a").await, b"done");
    let error = client.delete_object().bucket("docs").key("a").send().await.expect_err("a reset");
    assert!(error.raw_response().is_none(), "{error:?}");
    assert_eq!(get(&client, "docs", "a").await, b"done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_store_hit_the_same_requests_in_any_order() {
    let mut hit = Vec::new();
    for reversed in [false, true] {
        let sandbox =
            start_in("[[storage_fault]]\nkind = 'slow-down'\nprobability = 0.3\nmethods = ['GET']").await;
        let client = s3_client(&sandbox);
        client.create_bucket().bucket("docs").send().await.expect("a bucket");
        let mut keys: Vec<String> = (0..60).map(|n| format!("key {n}")).collect();
        for key in &keys {
            put(&client, "docs", key, "text").await;
        }
        if reversed {
            keys.reverse();
        }
        let mut failed = Vec::new();
        for key in keys {
            if client.get_object().bucket("docs").key(&key).send().await.is_err() {
                failed.push(key);
            }
        }
        failed.sort();
        hit.push(failed);
    }
    assert_eq!(hit[0], hit[1]);
    assert!((5..35).contains(&hit[0].len()), "{hit:?}");
}
