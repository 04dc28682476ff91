//! Documents that are too large to hold: the same results as of documents that are held, and no silence about what could
//! not be read.

use std::io::Write;
use std::sync::atomic::Ordering;

use docmill::run::Ended;
use docmill::store::Store;
use serde_json::{Value, json};

use crate::faults::{World, answer};

/// Runs over one document, held or streamed; gives its result and the prompts in order of their text.
async fn run(key: &str, bytes: Vec<u8>, is_streamed: bool) -> (Value, Vec<String>) {
    let mut world = World::new(&[]).await;
    world.source.inner.put(key, bytes.into(), "text/plain").await.unwrap();
    world.stream_above_bytes = if is_streamed { 0 } else { u64::MAX };
    let prompts = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = prompts.clone();
    let summary = world
        .run(
            &["chunk.tokens=400", "chunk.overlap=40", "route.candidates=amazon.nova-micro-v1:0"],
            move |call, _| {
                seen.lock().unwrap().push(call.user.clone());
                answer(&format!("{} bytes.", call.user.len()))
            },
        )
        .await;
    assert_eq!(
        (&summary.ended, summary.totals.failed),
        (&Ended::Complete, 0),
        "{key}: {:?}",
        world.reason(key)
    );
    let mut prompts = std::mem::take(&mut *prompts.lock().unwrap());
    prompts.sort();
    (world.result(key).await, prompts)
}

fn lines(count: usize) -> String {
    (0..count)
        .map(|i| {
            format!(
                "2026-11-20 10:{:02}:{:02} host{} request {} took {} ms\n",
                i / 60 % 60,
                i % 60,
                i % 7,
                i,
                i * 37 % 911
            )
        })
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_streamed_document_has_the_calls_and_the_result_of_one_that_is_held() {
    let log = lines(3_000);
    let table: String = std::iter::once("id;name;sum\n".to_owned())
        .chain((0..3_000).map(|i| format!("{i};\"row; {i}\";{}\n", i * 31 % 977)))
        .collect();
    let records: String =
        (0..2_000).map(|i| format!("{{\"id\": {i}, \"text\": \"entry {}\"}}\n", i * 7)).collect();
    let prose: String =
        (0..1_500).map(|i| format!("On day {i} the wind turned. Nobody spoke of it again.\n\n")).collect();
    let latin: Vec<u8> = prose.replace("wind", "w\u{e9}nt").chars().map(|c| c as u8).collect();
    // Not one character beyond ASCII in the first megabyte.
    let late = format!(
        "{}\n\u{442}\u{435}\u{43a}\u{441}\u{442} \u{43f}\u{43e}\u{437}\u{436}\u{435}\n",
        prose.repeat(16)
    );
    let wide: Vec<u8> = "\u{feff}"
        .chars()
        .chain(prose.chars())
        .collect::<String>()
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let broken = [log.as_bytes(), b"\xff\xfe line \0\0 with damage\n", log.as_bytes()].concat();
    for (key, bytes) in [
        ("app.log", log.clone().into_bytes()),
        ("app.log.gz", gzip(log.as_bytes())),
        ("two.log.gz", [gzip(log.as_bytes()), gzip(table.as_bytes())].concat()),
        ("rows.csv", table.into_bytes()),
        ("rows.jsonl", records.into_bytes()),
        ("book.txt", prose.clone().into_bytes()),
        ("mark.txt", format!("\u{feff}{prose}").into_bytes()),
        ("latin.txt", latin),
        ("wide.txt", wide),
        ("late.txt", late.into_bytes()),
        ("damaged.log", broken),
    ] {
        let (mut held, held_prompts) = run(key, bytes.clone(), false).await;
        let (mut streamed, streamed_prompts) = run(key, bytes, true).await;
        assert!(held_prompts.len() > 20, "{key}: {} calls", held_prompts.len());
        assert!(held_prompts == streamed_prompts, "{key}: other prompts");
        for result in [&mut held, &mut streamed] {
            // Counted chunk by chunk, a token that spans a cut counts as two.
            result["source"]["text_tokens"].take();
        }
        assert_eq!(held["source"], streamed["source"], "{key}");
        assert!(held == streamed, "{key}: other results");
    }
}

#[tokio::test]
async fn what_vanishes_while_it_is_read_leaves_a_gap_from_there_to_the_end() {
    let text = lines(400_000);
    assert!(text.len() > 17 << 20, "more than two ranges of 8 MiB");
    let mut world = World::new(&[("app.log", text.clone())]).await;
    world.stream_above_bytes = 0;
    // Its head, the first pass, and all but the last range of the second.
    world.source.ranges.store(1 + 3 + 2, Ordering::Relaxed);
    let sets = ["chunk.tokens=30000", "chunk.overlap=100", "route.candidates=amazon.nova-micro-v1:0"];
    let summary = world.run(&sets, |_, _| answer("Fine.")).await;
    assert_eq!((&summary.ended, summary.totals.partial), (&Ended::Complete, 1));
    let coverage = world.result("app.log").await["coverage"].clone();
    assert_eq!(coverage["complete"], json!(false));
    let gaps = coverage["gaps"].as_array().unwrap();
    assert_eq!(gaps.len(), 1, "neighbours that lack for one reason are one gap");
    let from = gaps[0]["bytes"][0].as_u64().unwrap();
    assert!((1 << 20..=16 << 20).contains(&from), "{from}");
    assert_eq!(gaps[0]["bytes"][1].as_u64().unwrap(), text.len() as u64);
}

#[tokio::test]
async fn damage_in_a_stream_fails_the_document_with_its_reason() {
    let packed = gzip(lines(100_000).as_bytes());
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b'a'; 16 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    for (key, bytes, reason) in [
        ("cut.log.gz", packed[..packed.len() / 2].to_vec(), "cut off after"),
        ("bomb.log.gz", bomb, "decompression bomb"),
    ] {
        let mut world = World::new(&[]).await;
        world.source.inner.put(key, bytes.into(), "application/gzip").await.unwrap();
        world.stream_above_bytes = 0;
        let summary = world.run(&[], |_, _| answer("Fine.")).await;
        assert_eq!((summary.totals.failed, summary.totals.calls()), (1, 0), "{key}");
        assert!(world.reason(key).contains(reason), "{key}: {}", world.reason(key));
    }
}
