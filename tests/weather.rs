//! Whole runs through the sandbox's weather, over real HTTP: faults of every kind, lost acknowledgements, silence, prompts
//! that do not fit, models that are closed or used up, interruption.

use std::process::{Command, Stdio};

use docmill::sandbox::scenario::Scenario;
use serde_json::Value;

use crate::support::{Run, SUMMARISE, World, document_keys, files};

/// Every fault of the service that passes, each hitting some requests in a hundred, and the store's as well.
const FAULTS: &str = r#"
about = "each fault that passes hits some requests"
[latency]
refusal_ms = 1
[[storage_fault]]
kind = "internal"
probability = 0.01
[[storage_fault]]
kind = "slow-down"
probability = 0.01
[[storage_fault]]
kind = "reset"
probability = 0.01
[[storage_fault]]
kind = "lost-answer"
probability = 0.01
"#;

const KINDS: [&str; 20] = [
    "not-ready",
    "model-timeout",
    "internal",
    "unavailable",
    "too-many-connections",
    "model-error",
    "bad-gateway",
    "reset",
    "hang",
    "cut-off",
    "no-message-stop",
    "no-usage",
    "garbage",
    "html",
    "exception",
    "wrong-crc",
    "stall",
    "empty",
    "whitespace",
    "throttled-requests",
];

fn scenario(text: &str) -> Scenario {
    Scenario::parse(text).unwrap()
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

fn results(world: &World, bucket: &str) -> Vec<(String, Vec<u8>)> {
    let keys = world.keys(bucket).into_iter().filter(|key| !key.starts_with("_docmill/"));
    keys.map(|key| (key.clone(), world.get(bucket, &key))).collect()
}

#[test]
fn faults_of_every_kind_change_the_bill_and_not_one_byte_of_a_result() {
    let calm = World::new(&["inbox", "outbox"]);
    documents(&calm);
    calm.summarise("s3://inbox/", "s3://outbox/", &[]).expect(0);
    let mut text = FAULTS.to_owned();
    for kind in KINDS {
        text.push_str(&format!("[[fault]]\nkind = \"{kind}\"\nprobability = 0.006\n"));
    }
    // The documents are put before the storm begins.
    let stormy = World::in_weather(&["inbox", "outbox"], scenario(&text), documents);
    let patient = [
        "--set",
        "limits.idle_timeout=1s",
        "--set",
        "limits.call_timeout=3s",
        "--set",
        "limits.max_attempts=10",
    ];
    let run = stormy.summarise("s3://inbox/", "s3://outbox/", &patient).expect(0);
    assert!(run.totals()["retries"].as_u64().unwrap() > 3, "there was no storm: {}", run.totals());
    let (found, expected) = (results(&stormy, "outbox"), results(&calm, "outbox"));
    let names =
        |results: &[(String, Vec<u8>)]| results.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for ((key, found), (_, expected)) in found.iter().zip(&expected) {
        assert!(found == expected, "{key} is another one");
    }
}

#[test]
fn a_prompt_that_is_too_long_is_asked_for_in_halves() {
    // The service counts twice as much as docmill expects: no chunk fits.
    let text = "about = \"a small window\"\n[[pool]]\nname = \"small\"\nwindow_tokens = 1500\n";
    let world = World::in_weather(&["inbox", "outbox"], scenario(text), documents);
    let more = ["--set", "source.include=[\"text/rfc8259.txt\"]"];
    let run = world.summarise("s3://inbox/", "s3://outbox/", &more).expect(0);
    assert_eq!(run.totals()["done"], 1, "{}", run.totals());
    let result = world.json("outbox", "text/rfc8259.txt.json");
    let chunks = result["chunks"].as_array().unwrap();
    let pieces: Vec<&Value> =
        chunks.iter().filter_map(|chunk| chunk["pieces"].as_array()).flatten().collect();
    assert!(pieces.len() >= 2, "{result:#}");
    for chunk in chunks.iter().filter(|chunk| chunk["pieces"].is_array()) {
        let pieces = chunk["pieces"].as_array().unwrap();
        assert_eq!(pieces[0]["bytes"][0], chunk["bytes"][0], "pieces tile their chunk");
        assert!(pieces.windows(2).all(|pair| pair[0]["bytes"][1] == pair[1]["bytes"][0]), "{chunk:#}");
        assert_eq!(pieces.last().unwrap()["bytes"][1], chunk["bytes"][1]);
    }
}

#[test]
fn an_answer_that_is_cut_is_asked_for_once_more_and_then_stands() {
    let text = "about = \"everything is cut\"\n[[fault]]\nkind = \"max-tokens\"\n";
    let world = World::in_weather(&["inbox", "outbox"], scenario(text), documents);
    let more = ["--set", "source.include=[\"text/udhr-russian-utf16be.txt\"]"];
    let run = world.summarise("s3://inbox/", "s3://outbox/", &more).expect(1);
    let totals = run.totals();
    assert_eq!(totals["partial"], 1, "{totals}");
    let calls = &totals["models"]["us.amazon.nova-micro-v1:0"]["calls"];
    assert_eq!(&totals["retries"], calls, "each once more, not for ever: {totals}");
    assert_eq!(world.stats()["answers_bought_twice"], 0, "never the same request again");
}

#[test]
fn a_model_that_is_used_up_or_closed_hands_over_to_the_fallback() {
    for kind in ["throttled-day", "denied", "end-of-life", "content-filtered"] {
        let text = format!(
            "about = \"one model is out\"\n[[fault]]\nkind = \"{kind}\"\nmodels = [\"us.amazon.nova-micro-v1:0\"]\n"
        );
        let world = World::in_weather(&["inbox", "outbox"], scenario(&text), documents);
        let more = [
            "--set",
            "route.candidates=[\"us.amazon.nova-micro-v1:0\"]",
            "--set",
            "route.fallback=[\"us.amazon.nova-lite-v1:0\"]",
            "--set",
            "source.include=[\"text/*\"]",
        ];
        let run = world.summarise("s3://inbox/", "s3://outbox/", &more).expect(0);
        let models = run.totals()["models"].clone();
        assert!(models["us.amazon.nova-lite-v1:0"]["calls"].as_u64().unwrap() > 0, "{kind}: {models}");
        world.summarise("s3://inbox/", "s3://outbox/", &more).expect(0);
    }
}

#[test]
fn a_lost_acknowledgement_of_the_ledger_is_not_taken_for_another_run() {
    let text = "about = \"puts are done and not acknowledged\"\n[[storage_fault]]\nkind = \"lost-answer\"\nmethods = [\"PUT\"]\nprobability = 0.07\n";
    let world = World::in_weather(&["inbox", "outbox"], scenario(text), documents);
    let run = world.summarise("s3://inbox/", "s3://outbox/", &[]).expect(0);
    assert_eq!(run.totals()["done"], all(), "{}", run.stderr);
    let again = world.summarise("s3://inbox/", "s3://outbox/", &[]).expect(0);
    assert_eq!(again.totals()["skipped"], listed());
}

#[test]
fn credentials_that_expire_end_the_run_so_that_it_can_go_on() {
    let text = "about = \"the session ends\"\n[[fault]]\nkind = \"expired-token\"\ncalls = [20, 60]\n";
    let world = World::in_weather(&["inbox", "outbox"], scenario(text), documents);
    let run = world.summarise("s3://inbox/", "s3://outbox/", &[]).expect(4);
    assert!(run.stderr.contains("expired"), "{}", run.stderr);
    let totals = run.totals();
    assert!(totals["failed"] == 0 && totals["unfinished"].as_u64().unwrap() > 0, "{totals}");
    // Renewed, after the calls that the fault hits.
    let mut runs = 0;
    while world.summarise("s3://inbox/", "s3://outbox/", &[]).code == 4 {
        runs += 1;
        assert!(runs < 60, "it never goes on");
    }
}

#[test]
fn quotas_that_the_account_tells_are_kept() {
    let text = "about = \"a known quota\"\n[[pool]]\nname = \"micro\"\nmodels = [\"us.amazon.nova-micro-v1:0\"]\ntokens_per_minute = 3000000\n";
    let world = World::in_weather(&["inbox", "outbox"], scenario(text), documents);
    let mut command =
        world.docmill(&["run", SUMMARISE, "--json", "--source", "s3://inbox/", "--sink", "s3://outbox/"]);
    let run = Run::of(command.env("AWS_ENDPOINT_URL_SERVICE_QUOTAS", world.sandbox.url())).expect(0);
    let pools = world.report("outbox")["pools"].clone();
    assert_eq!(
        (&pools[0]["source"], &pools[0]["throttled"]),
        (&"asked".into(), &0.into()),
        "{pools} {}",
        run.stderr
    );
}

#[test]
fn interrupted_it_keeps_what_comes_within_the_grace_and_goes_on_later() {
    // Calls begin to answer and never end: only the grace ends the wait.
    let text = "about = \"some calls hang\"\n[latency]\nfirst_token_ms = 50\n[[fault]]\nkind = \"hang\"\ncalls = [20, 30]\n";
    let world = World::in_weather(&["inbox", "outbox"], scenario(text), documents);
    let args = [
        "run",
        SUMMARISE,
        "--json",
        "--source",
        "s3://inbox/",
        "--sink",
        "s3://outbox/",
        "--set",
        "limits.grace=1s",
    ];
    let mut child = world.docmill(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let answered =
        lines.by_ref().map_while(Result::ok).filter(|line| line.contains("\"call_finished\"")).nth(18);
    assert!(answered.is_some(), "no nineteen calls were answered");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(rest.iter().any(|line| line.contains("\"call_abandoned\"")), "{rest:#?}");
    let again = Run::of(&mut world.docmill(&args)).expect(0);
    let totals = again.totals();
    assert_eq!(
        totals["done"].as_u64().unwrap() + totals["skipped"].as_u64().unwrap(),
        all() as u64,
        "{totals}"
    );
    // Nineteen answers were kept before the interruption, in documents that are done or not.
    let bought = totals["models"]["us.amazon.nova-micro-v1:0"]["calls"].as_u64().unwrap();
    assert!(bought <= 124 - 19, "what was paid for is used: {totals}");
    assert!(totals["repeated"].as_u64().unwrap() >= 1, "what was given up is told: {totals}");
}

#[test]
fn an_api_key_in_the_environment_is_not_sent_to_the_embedded_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("inbox");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("a.txt"), "A text. It is short.").unwrap();
    let sandbox = format!("--sandbox={}", folder.path().display());
    let args = ["run", SUMMARISE, "--json", "--source", "s3://inbox/", "--sink", "s3://outbox/", &sandbox];
    let mut command = crate::support::docmill(&args);
    let run = Run::of(command.env("AWS_BEARER_TOKEN_BEDROCK", "a key of the user's")).expect(0);
    assert_eq!(run.totals()["done"], 1);
}
