//! The members of archives as documents: results, states, and what another run does.

use std::io::Write;

use bytes::Bytes;
use docmill::run::{Ended, Summary};
use docmill::store::Store;
use serde_json::json;
use zip::write::SimpleFileOptions;

use crate::faults::{World, answer};

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

async fn run(world: &mut World, bytes: Vec<u8>, sets: &[&str]) -> Summary {
    world.source.inner.put("in/all.zip", Bytes::from(bytes), "application/zip").await.unwrap();
    world.run(sets, |call, _| answer(&format!("{} bytes.", call.user.len()))).await
}

/// Done, partial, failed, skipped, and the calls that were paid for.
fn counts(summary: &Summary) -> [u64; 5] {
    let totals = &summary.totals;
    assert_eq!(summary.ended, Ended::Complete);
    assert_eq!(totals.selected, totals.ended(), "every document ends in one state");
    [totals.done, totals.partial, totals.failed, totals.skipped, totals.calls()]
}

#[tokio::test]
async fn each_member_is_a_document_with_its_own_result_and_state() {
    let inner = zip(&[("deep.txt", b"A text in an archive in an archive.")]);
    let members: [(&str, &[u8]); 5] = [
        ("../notes/a.txt", b"The first text."),
        ("b.md", b"# The second\n\nText."),
        ("inner.zip", &inner),
        ("broken.pdf", b"%PDF-1.7 and nothing more"),
        ("__MACOSX/b.md", b"noise"),
    ];
    let mut world = World::new(&[]).await;
    let summary = run(&mut world, zip(&members), &[]).await;
    assert_eq!(counts(&summary), [3, 0, 1, 0, 3]);
    for key in ["notes/a.txt", "b.md", "inner.zip!/deep.txt"] {
        let key = format!("in/all.zip!/{key}");
        let result = world.result(&key).await;
        assert_eq!((&result["key"], &result["state"]), (&json!(key), &json!("done")));
    }
    assert!(world.reason("in/all.zip!/broken.pdf").contains("damaged"));

    // What failed is tried again, the rest is known.
    let summary = run(&mut world, zip(&members), &[]).await;
    assert_eq!(counts(&summary), [0, 0, 1, 3, 0]);

    // One member is another, and the broken one is gone: the archive is opened, and only that one is done.
    let mended: [(&str, &[u8]); 3] =
        [("../notes/a.txt", b"The first text."), ("b.md", b"# Another\n\nText."), ("inner.zip", &inner)];
    let summary = run(&mut world, zip(&mended), &[]).await;
    assert_eq!(counts(&summary), [1, 0, 0, 2, 1]);

    // Nothing has changed: the archive is not even read.
    let summary = world.run(&[], |_, _| panic!("there is nothing to ask")).await;
    assert_eq!(counts(&summary), [0, 0, 0, 1, 0]);
}

#[tokio::test]
async fn an_archive_without_documents_ends_as_one() {
    let mut world = World::new(&[]).await;
    let summary = run(&mut world, zip(&[]), &[]).await;
    assert_eq!(counts(&summary), [0, 0, 1, 0, 0]);
    assert!(world.reason("in/all.zip").contains("holds no documents"), "{}", world.reason("in/all.zip"));

    let mut world = World::new(&[]).await;
    let excluded = run(&mut world, zip(&[("a.txt", b"text")]), &["source.exclude=**/*.txt"]).await;
    assert_eq!(counts(&excluded), [0, 0, 0, 1, 0]);
    assert_eq!(excluded.totals.excluded, 1);
}

#[tokio::test]
async fn a_limit_of_the_archive_fails_it_beside_the_members_before() {
    let zeros = vec![b'0'; 1 << 20];
    let names: Vec<String> = (0..30).map(|i| format!("{i}.txt")).collect();
    let bombs: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), zeros.as_slice())).collect();
    let mut members: Vec<(&str, &[u8])> = vec![("a.txt", b"A text before the bomb.")];
    members.extend(bombs);
    let mut world = World::new(&[]).await;
    let summary = run(
        &mut world,
        zip(&members),
        &["chunk.tokens=100000", "limits.max_cost_usd=100", "route.candidates=us.amazon.nova-lite-v1:0"],
    )
    .await;
    let totals = &summary.totals;
    assert_eq!(totals.selected, totals.ended());
    assert!(totals.failed >= 1, "{totals:?}");
    assert!(world.reason("in/all.zip").contains("decompression bomb"));
    assert_eq!(world.result("in/all.zip!/a.txt").await["state"], json!("done"));
}

#[tokio::test]
async fn an_archive_can_be_one_document() {
    let mut world = World::new(&[]).await;
    let members: [(&str, &[u8]); 2] = [("a.txt", b"The first text."), ("b.txt", b"The second.")];
    let summary = run(&mut world, zip(&members), &["source.members=one"]).await;
    assert_eq!(counts(&summary), [1, 0, 0, 0, 1]);
    assert_eq!(world.result("in/all.zip").await["source"]["format"], json!("zip"));
}

#[tokio::test]
async fn members_that_were_left_out_are_done_when_they_are_no_longer() {
    let mut world = World::new(&[]).await;
    let members: [(&str, &[u8]); 2] = [("a.txt", b"The first text."), ("b.log", b"10:00:00 started")];
    let summary = run(&mut world, zip(&members), &["source.exclude=*.log"]).await;
    assert_eq!((counts(&summary), summary.totals.excluded), ([1, 0, 0, 0, 1], 1));
    let summary = world.run(&[], |_, _| answer("A log.")).await;
    assert_eq!(counts(&summary), [1, 0, 0, 1, 1]);
    assert_eq!(world.result("in/all.zip!/b.log").await["output"], json!("A log."));
}

#[tokio::test]
async fn each_line_of_json_lines_is_a_document_if_asked_and_only_the_fields_that_are_named_are_read() {
    let mut world = World::new(&[]).await;
    let lines =
        "{\"id\": 1, \"body\": \"The first text.\"}\n\n{\"id\": 2, \"body\": \"The second.\"}\n{\"id\": 3}\n";
    world.source.inner.put("a.jsonl", Bytes::from(lines), "application/x-ndjson").await.unwrap();
    let sets = ["source.records=documents", "extract.json_fields=[\"body\"]"];
    let summary = world
        .run(&sets, |call, _| {
            assert!(call.user.contains("The first text.") != call.user.contains("The second."));
            answer("Fine.")
        })
        .await;
    assert_eq!(counts(&summary), [2, 0, 1, 0, 2]);
    assert!(world.reason("a.jsonl!/000000004.json").contains("extract.json_fields"));
    assert_eq!(world.result("a.jsonl!/000000003.json").await["state"], json!("done"));
}
