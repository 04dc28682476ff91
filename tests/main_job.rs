//! The main job through the binary: S3 to summaries in S3, over HTTP, with the real SDK clients.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Run, World, docmill, document_keys, files};

/// A sandbox with all fixtures in bucket `in`, and an empty bucket `out`.
fn fixtures() -> (World, Vec<String>) {
    let world = World::new(&["inbox", "outbox"]);
    let files = files("fixtures/docs");
    let keys = document_keys(&files);
    for (key, body) in files {
        world.put("inbox", &key, body);
    }
    (world, keys)
}

fn long_text(paragraphs: usize) -> String {
    let paragraph = |i: usize| {
        format!(
            "Section {i} of the minutes. The council met on day {i} and granted {} crowns to the harbour. \
             The mill upstream had asked for water rights, which the council refused by {i} votes to two.\n\n",
            100 + i
        )
    };
    (0..paragraphs).map(paragraph).collect()
}

#[test]
fn every_fixture_ends_done_and_its_result_accounts_for_every_byte() {
    let (world, keys) = fixtures();
    let run = world.summarise("s3://inbox/", "s3://outbox/", &[]).expect(0);
    let totals = run.totals();
    assert_eq!(totals["done"], json!(keys.len()), "{totals}");
    let mut levels = BTreeMap::new();
    for key in &keys {
        let result = world.json("outbox", &format!("{key}.json"));
        assert_eq!(result["key"], json!(key));
        assert_eq!(result["state"], "done");
        assert_eq!(result["coverage"], json!({ "complete": true }));
        assert_tiles(&result);
        let output = result["output"].as_str().unwrap();
        assert!(!output.trim().is_empty(), "{key}");
        let page = String::from_utf8(world.get("outbox", &format!("{key}.md"))).unwrap();
        assert!(page.contains(output.trim()), "{key}");
        levels.insert(key.clone(), result["merge"]["levels"].as_array().map_or(0, Vec::len));
    }
    assert_eq!(levels["text/war-and-peace-excerpt.txt"], 2, "a long one is merged over several levels");
    let report = world.report("outbox");
    assert_eq!((&report["ended"], &report["totals"]), (&json!("complete"), &totals));
    let lines = world.get("outbox", report["documents"][0].as_str().unwrap());
    assert_eq!(String::from_utf8(lines).unwrap().lines().count(), keys.len());
}

/// The chunks' own bytes follow each other from the first byte of the text to the last, and contexts lie before them.
fn assert_tiles(result: &Value) {
    let mut end = 0;
    for chunk in result["chunks"].as_array().unwrap() {
        assert_eq!(chunk["bytes"][0], json!(end), "{}", result["key"]);
        if let Some(context) = chunk.get("context_bytes") {
            assert_eq!(context[1], json!(end));
        }
        assert_eq!(chunk["call"]["stop_reason"], "end_turn");
        end = chunk["bytes"][1].as_u64().unwrap();
    }
    assert_eq!(result["source"]["text_bytes"], json!(end), "{}", result["key"]);
}

#[test]
fn the_plan_is_the_run() {
    let (world, _) = fixtures();
    let args =
        ["plan", "pipelines/summarise.toml", "--json", "--source", "s3://inbox/", "--sink", "s3://outbox/"];
    let plan = Run::of(&mut world.docmill(&args)).expect(0);
    assert!(world.keys("outbox").is_empty(), "a plan writes nothing");
    let plan = plan.events().pop().unwrap();
    let run = world.summarise("s3://inbox/", "s3://outbox/", &[]).expect(0);
    let totals = run.totals();
    assert_eq!(plan["plan"], totals["planned"]);
    let calls: u64 =
        totals["models"].as_object().unwrap().values().map(|m| m["calls"].as_u64().unwrap()).sum();
    let recalled = totals["recalled"].as_u64().unwrap();
    assert_eq!(plan["plan"]["calls"], json!(calls + recalled), "equal requests are paid once");
    let cost = |v: &Value| v.as_str().unwrap().parse::<docmill::domain::Usd>().unwrap();
    let spent: docmill::domain::Usd =
        totals["models"].as_object().unwrap().values().map(|m| cost(&m["cost"])).sum();
    assert!(spent <= cost(&plan["plan"]["at_most"]), "{totals}");
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (world, keys) = fixtures();
    world.summarise("s3://inbox/text/", "s3://outbox/a/", &["--set", "limits.max_in_flight=1"]).expect(0);
    world.summarise("s3://inbox/text/", "s3://outbox/b/", &["--set", "limits.max_in_flight=7"]).expect(0);
    for key in keys.iter().filter_map(|key| key.strip_prefix("text/")) {
        for extension in ["json", "md"] {
            let [a, b] = ["a", "b"].map(|folder| world.get("outbox", &format!("{folder}/{key}.{extension}")));
            assert!(a == b, "{key}.{extension}");
        }
    }
}

#[test]
fn the_budget_is_a_hard_cap_and_the_run_ends_cleanly() {
    let world = World::new(&["inbox", "outbox"]);
    for i in 0..8 {
        let text = long_text(200).replace("the", &format!("the {i}th"));
        world.put("inbox", &format!("{i}.txt"), text);
    }
    let run = world.summarise("s3://inbox/", "s3://outbox/", &["--max-cost", "0.002"]).expect(3);
    assert!(run.stderr.contains("max_cost_usd"), "{}", run.stderr);
    let totals = run.totals();
    let model = totals["models"].as_object().unwrap().values().next().unwrap();
    let cost: docmill::domain::Usd = model["cost"].as_str().unwrap().parse().unwrap();
    assert!(cost <= "0.002".parse().unwrap() && cost > "0.0005".parse().unwrap(), "{cost}");
    let number = |name: &str| totals[name].as_u64().unwrap();
    assert_eq!(number("done") + number("unfinished"), 8, "{totals}");
    assert_eq!(world.report("outbox")["ended"], "budget");
}

#[test]
fn a_budget_that_no_call_fits_is_seen_before_anything_is_sent() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "a.txt", long_text(20));
    let run = world.summarise("s3://inbox/", "s3://outbox/", &["--max-cost", "0.000001"]).expect(3);
    assert_eq!(run.totals()["models"], json!({}));
}

#[test]
fn the_deadline_lets_calls_in_flight_finish_and_starts_no_more() {
    let world = World::with_latency(&["inbox", "outbox"], Duration::from_secs(5));
    for i in 0..6 {
        world.put("inbox", &format!("{i}.txt"), long_text(3 + i));
    }
    let limits = ["--set", "limits.deadline=3s", "--set", "limits.max_in_flight=2"];
    let run = world.summarise("s3://inbox/", "s3://outbox/", &limits).expect(3);
    let totals = run.totals();
    assert_eq!((&totals["done"], &totals["unfinished"]), (&json!(2), &json!(4)), "{totals}");
    assert_eq!(world.keys("outbox").iter().filter(|key| key.ends_with(".txt.json")).count(), 2);
}

#[test]
fn an_interrupted_run_keeps_what_is_in_flight_and_says_so() {
    let world = World::with_latency(&["inbox", "outbox"], Duration::from_millis(1_000));
    for i in 0..6 {
        world.put("inbox", &format!("{i}.txt"), long_text(3 + i));
    }
    let args =
        ["run", "pipelines/summarise.toml", "--json", "--source", "s3://inbox/", "--sink", "s3://outbox/"];
    let mut command = world.docmill(&args);
    command.args(["--set", "limits.max_in_flight=2"]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    // The sandbox knows when a call has arrived.
    while world.stats()["operations"].as_array().is_none_or(Vec::is_empty) {
        std::thread::yield_now();
    }
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    let finished: Value = serde_json::from_str(rest.last().unwrap()).unwrap();
    let totals = &finished["totals"];
    assert_eq!(finished["ended"], "interrupted");
    let done = totals["done"].as_u64().unwrap();
    assert!(done >= 1, "what was in flight is kept: {totals}");
    assert_eq!(done + totals["unfinished"].as_u64().unwrap(), 6);
    assert_eq!(world.keys("outbox").iter().filter(|key| key.ends_with(".txt.json")).count() as u64, done);
    assert_eq!(world.report("outbox")["ended"], "interrupted");
}

#[test]
fn an_answer_cut_at_max_tokens_makes_a_partial_result_that_names_its_bytes() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "a.txt", long_text(30));
    let keep = ["--set", "map.max_tokens=5", "--set", "limits.cut_answers=keep"];
    let run = world.summarise("s3://inbox/", "s3://outbox/", &keep).expect(1);
    assert_eq!(run.totals()["partial"], 1);
    let result = world.json("outbox", "a.txt.json");
    assert_eq!(result["state"], "partial");
    let gaps = result["coverage"]["gaps"].as_array().unwrap();
    assert!(gaps[0]["reason"].as_str().unwrap().contains("max_tokens = 5"), "{gaps:?}");
    assert_eq!(gaps[0]["bytes"][0], 0);
    let page = String::from_utf8(world.get("outbox", "a.txt.md")).unwrap();
    assert!(page.contains("**Partial:**"), "{page}");
}

#[test]
fn other_strategies_keep_the_answers_side_by_side_without_merge_calls() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "a.txt", long_text(100));
    world.summarise("s3://inbox/", "s3://outbox/", &["--set", "merge.strategy=none"]).expect(0);
    let apart = world.json("outbox", "a.txt.json");
    let (chunks, answers) = (apart["chunks"].as_array().unwrap(), apart["answers"].as_array().unwrap());
    assert!(chunks.len() > 2);
    assert_eq!((chunks.len(), &apart["output"]), (answers.len(), &Value::Null));
    world.summarise("s3://inbox/", "s3://outbox/", &["--set", "merge.strategy=concat"]).expect(0);
    let joined = world.json("outbox", "a.txt.json");
    let expected: Vec<&str> = answers.iter().map(|a| a.as_str().unwrap()).collect();
    assert_eq!(joined["output"], json!(expected.join("\n\n")));
    assert_eq!(joined["merge"], json!({ "strategy": "concat" }));
}

#[test]
fn a_folder_works_as_source_and_sink_and_needs_no_s3() {
    let world = World::new(&[]);
    let folder = tempfile::tempdir().unwrap();
    let (source, sink) = (folder.path().join("in"), folder.path().join("out"));
    std::fs::create_dir_all(source.join("sub")).unwrap();
    std::fs::write(source.join("sub/a.txt"), long_text(3)).unwrap();
    let run = world.summarise(source.to_str().unwrap(), sink.to_str().unwrap(), &[]).expect(0);
    assert_eq!(run.totals()["done"], 1);
    let result: Value = serde_json::from_slice(&std::fs::read(sink.join("sub/a.txt.json")).unwrap()).unwrap();
    assert_eq!(result["key"], "sub/a.txt");
    let one = source.join("sub/a.txt");
    let run = world.summarise(one.to_str().unwrap(), sink.to_str().unwrap(), &[]).expect(0);
    assert_eq!(run.totals()["selected"], 1, "a source may be one file");
}

#[test]
fn one_object_may_be_the_source() {
    let world = World::new(&["inbox", "outbox"]);
    for key in ["docs/a.txt", "docs/a.txt/b.txt", "docs/a.txt.bak"] {
        world.put("inbox", key, long_text(2));
    }
    world.summarise("s3://inbox/docs/a.txt", "s3://outbox/one/", &[]).expect(0);
    world
        .summarise("s3://inbox/docs", "s3://outbox/folder/", &["--set", "sink.formats=[\"json\"]"])
        .expect(0);
    let keys: Vec<String> = world.keys("outbox").into_iter().filter(|k| !k.contains("_docmill")).collect();
    let expected = [
        "folder/a.txt.bak.json",
        "folder/a.txt.json",
        "folder/a.txt/b.txt.json",
        "one/a.txt.json",
        "one/a.txt.md",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn the_demo_of_the_readme_needs_nothing_but_the_binary() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = folder.path().join("fixtures/docs");
    std::fs::create_dir_all(&bucket).unwrap();
    std::fs::write(bucket.join("a.txt"), long_text(5)).unwrap();
    let sandbox = format!("--sandbox={}", folder.path().display());
    // A proxy for the outside world must not get requests for this machine.
    let mut command = docmill(&["run", "pipelines/summarise.toml", &sandbox]);
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9");
    let run = Run::of(&mut command).expect(0);
    assert!(run.stdout.is_empty(), "stdout is for data: {}", run.stdout);
    assert!(run.stderr.contains("1 done, 0 partial, 0 failed, 0 skipped"), "{}", run.stderr);
    assert!(folder.path().join("summaries/a.txt.md").exists());
}
