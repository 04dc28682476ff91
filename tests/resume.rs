//! Never bought twice, never lost: real processes killed with SIGKILL at seeded points, stopped and woken, refused and
//! taken over. The sandbox outlives them and counts what was paid for.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{Run, SUMMARISE, World, document_keys, files};

/// Results below `prefix`, without docmill's own state.
fn results(world: &World, bucket: &str, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let keys = world.keys(bucket).into_iter();
    let keys = keys.filter_map(|key| Some((key.strip_prefix(prefix)?.to_owned(), key.clone())));
    let keys = keys.filter(|(name, _)| !name.starts_with("_docmill/"));
    keys.map(|(name, key)| (name, world.get(bucket, &key))).collect()
}

/// Names what differs, not the bytes of everything.
#[track_caller]
fn assert_same(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>, when: &str) {
    let keys: std::collections::BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    for key in keys {
        let text = |results: &BTreeMap<String, Vec<u8>>| {
            results.get(key).map_or("(nothing)".to_owned(), |body| String::from_utf8_lossy(body).into_owned())
        };
        let (found, expected) = (text(found), text(expected));
        if let Some((a, b)) = found.lines().zip(expected.lines()).find(|(a, b)| a != b) {
            panic!("{when}: {key} has {a:?} for {b:?}");
        }
        assert_eq!(found.len(), expected.len(), "{when}: {key}");
    }
}

/// How many documents there are.
fn all() -> usize {
    document_keys(&files("fixtures/docs")).len()
}

/// How many objects there are: an archive in which nothing has changed is passed over as one.
fn listed() -> usize {
    files("fixtures/docs").len()
}

fn documents(world: &World) {
    for (key, body) in files("fixtures/docs") {
        world.put("inbox", &key, body);
    }
}

fn run(world: &World, sink: &str, more: &[&str]) -> Command {
    let mut args = vec!["run", SUMMARISE, "--json", "--source", "s3://inbox/", "--sink", sink];
    args.extend(more);
    world.docmill(&args)
}

/// Starts a run and kills it when it has shown `lines` events; says whether it was killed before it ended.
fn killed_after(mut command: Command, lines: u64) -> bool {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap()).lines();
    let ended = shown.by_ref().take(lines as usize).count() < lines as usize;
    child.kill().unwrap();
    child.wait().unwrap();
    !ended
}

struct Seed(u64);

impl Seed {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn kill_and_resume(seed: u64, runs: u64) {
    let world = World::new(&["inbox", "outbox"]);
    documents(&world);
    let undisturbed = Run::of(&mut run(&world, "s3://outbox/whole/", &[])).expect(0);
    let lines = undisturbed.stdout.lines().count() as u64;
    let expected = results(&world, "outbox", "whole/");
    assert_eq!(expected.len(), 2 * all(), "two files for each document");
    let mut seed = Seed(seed);
    for i in 0..runs {
        world.reset();
        let (prefix, mut kills) = (format!("{i}/"), 0);
        let sink = format!("s3://outbox/{prefix}");
        // Some runs are killed again and again.
        for _ in 0..=seed.below(3) {
            if !killed_after(run(&world, &sink, &[]), 1 + seed.below(lines)) {
                break;
            }
            kills += 1;
        }
        let last = Run::of(&mut run(&world, &sink, &[])).expect(0);
        assert_same(&results(&world, "outbox", &prefix), &expected, &format!("run {i} after {kills} kills"));
        let stats = world.stats();
        let twice = stats["answers_bought_twice"].as_u64().unwrap();
        let reported = last.totals()["repeated"].as_u64().unwrap();
        // Each killed run may have lost what was in flight, and the one after it says so.
        assert!(twice <= kills * 80, "run {i}: {twice} answers bought twice by {kills} kills");
        if kills == 1 && last.totals()["done"] != 0 {
            assert!(twice <= reported, "run {i}: {twice} answers bought twice, {reported} reported");
        }
    }
}

#[test]
fn killed_at_seeded_points_it_resumes_to_the_same_bytes_and_says_what_was_bought_twice() {
    kill_and_resume(11, 13);
}

#[test]
fn and_at_other_points() {
    kill_and_resume(12, 13);
}

#[test]
fn an_unchanged_source_costs_its_listing_and_nothing_else() {
    let world = World::new(&["inbox", "outbox"]);
    documents(&world);
    Run::of(&mut run(&world, "s3://outbox/", &[])).expect(0);
    world.reset();
    let again = Run::of(&mut run(&world, "s3://outbox/", &[])).expect(0);
    let totals = again.totals();
    assert_eq!(
        (&totals["skipped"], &totals["selected"]),
        (&Value::from(listed()), &Value::from(listed())),
        "{totals}"
    );
    assert!(again.events_of("document_started").is_empty(), "no document was read");
    assert_eq!(world.stats()["operations"].as_array().map(Vec::len), Some(0), "{}", world.stats());
}

#[test]
fn what_changed_is_bought_and_nothing_else() {
    let world = World::new(&["inbox", "outbox"]);
    // A long document in many chunks, none like the other.
    let text: String = (1..=3_000u32)
        .map(|i| format!("Paragraph {i} tells of item {} and of {} more.\n\n", i * 7919 % 1009, i * 31 % 97))
        .collect();
    world.put("inbox", "long.txt", text.clone());
    world.put("inbox", "copy.txt", text.clone());
    world.put("inbox", "other.txt", "Another document.");
    let small = ["--set", "chunk.tokens=200", "--set", "chunk.overlap=20"];
    let first = Run::of(&mut run(&world, "s3://outbox/", &small)).expect(0);
    let calls =
        |run: &Run| run.totals()["models"]["us.amazon.nova-micro-v1:0"]["calls"].as_u64().unwrap_or(0);
    let all = calls(&first);
    assert_eq!(first.totals()["recalled"].as_u64().unwrap(), all - 1, "the copy is not paid for");
    let half = text.len() / 2 + text[text.len() / 2..].find("\n\n").unwrap() + 2;
    let edited = format!(
        "{}A new paragraph, about nothing that was there before.\n\n{}",
        &text[..half],
        &text[half..]
    );
    world.put("inbox", "long.txt", edited);
    let second = Run::of(&mut run(&world, "s3://outbox/", &small)).expect(0);
    assert_eq!(second.totals()["skipped"], 2, "{}", second.totals());
    assert!(calls(&second) * 10 <= all, "{} of {all} calls bought for a new paragraph", calls(&second));
}

#[test]
fn forget_fresh_and_retry_failed_do_what_they_say() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "a.txt", "The first document.");
    world.put("inbox", "b.txt", "The second document.");
    world.put("inbox", "empty.txt", " \n");
    let go = |more: &[&str]| Run::of(&mut run(&world, "s3://outbox/", more)).totals();
    let calls = |totals: &Value| totals["models"]["us.amazon.nova-micro-v1:0"]["calls"].as_u64().unwrap_or(0);
    for _ in 0..3 {
        assert_eq!(go(&[])["failed"], 1, "a failed document is tried in three runs");
    }
    let fourth = go(&[]);
    let tried = |totals: &Value| totals["planned"]["documents"].clone();
    assert_eq!((&fourth["failed"], &fourth["skipped"]), (&Value::from(1), &Value::from(2)), "{fourth}");
    assert_eq!(tried(&fourth), 0, "it is named, and not tried any more");
    let retried = go(&["--retry-failed"]);
    assert_eq!((&retried["failed"], calls(&retried)), (&Value::from(1), 0), "{retried}");
    let forgotten = go(&["--forget", "a.txt"]);
    assert_eq!((&forgotten["done"], calls(&forgotten)), (&Value::from(1), 1), "{forgotten}");
    let fresh = go(&["--fresh"]);
    assert_eq!((&fresh["done"], calls(&fresh)), (&Value::from(2), 2), "{fresh}");
    // Another prompt is another request.
    let changed = go(&["--set", "map.max_tokens=900"]);
    assert_eq!((&changed["done"], calls(&changed)), (&Value::from(2), 2), "{changed}");
    let back = go(&[]);
    assert_eq!(
        (&back["done"], calls(&back), &back["recalled"]),
        (&Value::from(2), 0, &Value::from(2)),
        "{back}"
    );
}

/// A run that is under way: it has shown that a call was answered.
fn under_way(mut command: Command) -> (Child, impl Iterator<Item = String>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("\"call_finished\"")), "no call was answered");
    (child, lines)
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_second_run_is_refused_by_name_and_a_dead_one_is_taken_over() {
    let world = World::with_latency(&["inbox", "outbox"], std::time::Duration::from_millis(200));
    documents(&world);
    let slow = ["--set", "limits.max_in_flight=1"];
    let (mut first, _lines) = under_way(run(&world, "s3://outbox/", &slow));
    let second = Run::of(&mut run(&world, "s3://outbox/", &[])).expect(4);
    let pid = first.id().to_string();
    assert!(second.stderr.contains(&pid), "the holder is named: {}", second.stderr);
    first.kill().unwrap();
    first.wait().unwrap();
    let third = Run::of(&mut run(&world, "s3://outbox/", &[])).expect(0);
    assert_eq!(third.totals()["done"], all());
    assert!(third.totals()["recalled"].as_u64().unwrap() >= 1, "what the dead run paid for is used");
}

#[test]
fn a_run_that_was_stopped_and_taken_over_finds_itself_fenced_when_it_wakes() {
    let world = World::with_latency(&["inbox", "outbox"], std::time::Duration::from_millis(50));
    documents(&world);
    let (mut zombie, lines) = under_way(run(&world, "s3://outbox/", &["--set", "limits.max_in_flight=2"]));
    signal(&zombie, "-STOP");
    let heir = Run::of(&mut run(&world, "s3://outbox/", &["--set", "map.max_tokens=900"])).expect(0);
    assert_eq!(heir.totals()["done"], all(), "{}", heir.stderr);
    let after = results(&world, "outbox", "");
    signal(&zombie, "-CONT");
    let last: Vec<String> = lines.collect();
    assert_eq!(zombie.wait().unwrap().code(), Some(4), "{last:#?}");
    assert!(last.iter().any(|line| line.contains("taken the sink over")), "{last:#?}");
    assert_same(&results(&world, "outbox", ""), &after, "the zombie changed results");
    let again = Run::of(&mut run(&world, "s3://outbox/", &["--set", "map.max_tokens=900"])).expect(0);
    assert_eq!(again.totals()["skipped"], listed(), "the zombie changed the ledger");
}

#[test]
fn a_damaged_ledger_is_told_and_costs_money_but_never_the_result() {
    let world = World::new(&["inbox", "outbox"]);
    documents(&world);
    Run::of(&mut run(&world, "s3://outbox/", &[])).expect(0);
    let expected = results(&world, "outbox", "");
    let mut seed = Seed(5);
    let segments: Vec<String> =
        world.keys("outbox").into_iter().filter(|key| key.contains("_docmill/ledger/log/")).collect();
    let mut damaged = 0;
    for key in &segments {
        let mut body = world.get("outbox", key);
        match seed.below(4) {
            0 => body.truncate(seed.below(body.len() as u64) as usize),
            1 => {
                let at = seed.below(body.len() as u64) as usize;
                body[at] ^= 1 << seed.below(8);
            }
            _ => continue,
        }
        damaged += 1;
        world.put("outbox", key, body);
    }
    assert!(damaged > 0);
    let again = Run::of(&mut run(&world, "s3://outbox/", &[])).expect(0);
    assert!(again.stderr.contains("ledger"), "the damage is told: {}", again.stderr);
    assert_same(&results(&world, "outbox", ""), &expected, "after the damage");
}

#[test]
fn another_output_format_is_written_without_buying_anything() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "a.txt", "The first document. It is short.");
    let only = ["--set", "sink.formats=[\"json\"]"];
    Run::of(&mut run(&world, "s3://outbox/", &only)).expect(0);
    assert!(!world.keys("outbox").contains(&"a.txt.md".to_owned()));
    world.reset();
    let both = Run::of(&mut run(&world, "s3://outbox/", &[])).expect(0);
    assert_eq!(both.totals()["recalled"], 1, "{}", both.totals());
    assert!(world.keys("outbox").contains(&"a.txt.md".to_owned()));
    assert_eq!(world.stats()["operations"].as_array().map(Vec::len), Some(0), "{}", world.stats());
}

#[test]
fn a_fresh_run_buys_equal_requests_once() {
    let world = World::new(&["inbox", "outbox"]);
    for i in 0..40 {
        world.put("inbox", &format!("{i:02}.txt"), "The same document. It is short.");
    }
    for more in [&[][..], &["--fresh"], &["--fresh"]] {
        let totals = Run::of(&mut run(&world, "s3://outbox/", more)).expect(0).totals();
        assert_eq!((&totals["done"], &totals["recalled"]), (&40.into(), &39.into()), "{totals}");
    }
}

#[test]
fn a_sink_that_is_none_has_no_ledger_and_gets_none() {
    let world = World::new(&["inbox", "outbox"]);
    for verb in [&["verify"][..], &["compact"], &["gc", "--dry-run"]] {
        let args: Vec<&str> =
            ["ledger"].iter().chain(verb).chain(&["s3://outbox/mistyped/"]).copied().collect();
        let refused = Run::of(&mut world.docmill(&args)).expect(4);
        assert!(refused.stderr.contains("there is no ledger"), "{}", refused.stderr);
    }
    assert!(world.keys("outbox").is_empty());
}
