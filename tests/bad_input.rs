//! What the outside world does wrong: each time a clear message, the right exit code, and no lost or half-written
//! result.

use serde_json::json;

use crate::support::{Run, SUMMARISE, World, docmill};

fn run_args<'a>(source: &'a str, sink: &'a str) -> Vec<&'a str> {
    vec!["run", SUMMARISE, "--json", "--source", source, "--sink", sink]
}

#[track_caller]
fn refused(run: Run, words: &[&str]) {
    let run = run.expect(4);
    for word in words {
        assert!(run.stderr.contains(word), "no `{word}` in:\n{}", run.stderr);
    }
    assert!(run.events_of("call_finished").is_empty(), "no money before the world was checked");
}

#[test]
fn a_missing_bucket_is_named() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "a.txt", "text");
    refused(
        world.summarise("s3://no-such-bucket/", "s3://outbox/", &[]),
        &["no-such-bucket", "does not exist"],
    );
    refused(world.summarise("s3://inbox/", "s3://no-such-bucket/", &[]), &["no-such-bucket", "sink"]);
    assert!(world.keys("outbox").is_empty(), "a run that can not start leaves nothing behind");
}

#[test]
fn a_missing_bucket_of_the_sandbox_comes_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = format!("--sandbox={}", folder.path().display());
    refused(Run::of(&mut docmill(&["run", SUMMARISE, &sandbox])), &["fixtures", "hint", "folder"]);
}

#[test]
fn wrong_and_missing_credentials_are_told_apart() {
    let world = World::new(&["inbox", "outbox"]);
    let args = run_args("s3://inbox/", "s3://outbox/");
    let unknown = Run::of(world.docmill(&args).env("AWS_ACCESS_KEY_ID", "nobody"));
    refused(unknown, &["access key is not known"]);
    let wrong = Run::of(world.docmill(&args).env("AWS_SECRET_ACCESS_KEY", "wrong"));
    refused(wrong, &["secret key does not belong"]);
    let none =
        Run::of(world.docmill(&args).env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY"));
    refused(none, &["no AWS credentials", "aws sso login"]);
}

#[test]
fn bedrock_credentials_that_are_refused_stop_the_run_at_once() {
    let world = World::new(&[]);
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("in");
    std::fs::create_dir_all(&source).unwrap();
    for i in 0..50 {
        std::fs::write(source.join(format!("{i}.txt")), "A document. It says little.").unwrap();
    }
    let (source, sink) = (source.display().to_string(), folder.path().join("out").display().to_string());
    let args = run_args(&source, &sink);
    let run = Run::of(world.docmill(&args).env("AWS_SECRET_ACCESS_KEY", "wrong"));
    let attempts = run.events_of("call_failed").len();
    refused(run, &["secret key does not belong"]);
    assert!((1..=16).contains(&attempts), "{attempts} calls were tried, one windowful is enough to know");
}

#[test]
fn a_missing_region_is_named() {
    let args = run_args("s3://inbox/", "s3://outbox/");
    refused(Run::of(&mut docmill(&args)), &["AWS_REGION"]);
}

#[test]
fn an_endpoint_where_nobody_listens_is_named() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "a.txt", "A text. It is short.");
    let args = run_args("s3://inbox/", "s3://outbox/");
    let s3 = Run::of(world.docmill(&args).env("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9"));
    refused(s3, &["can not reach", "127.0.0.1:9"]);
    let args = [args, vec!["--set", "limits.max_attempts=2"]].concat();
    let bedrock = Run::of(world.docmill(&args).env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:9"));
    refused(bedrock, &["the run was stopped"]);
}

#[test]
fn an_empty_source_is_no_fault_but_is_said() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "folder/", "");
    let run = world.summarise("s3://inbox/", "s3://outbox/", &[]).expect(0);
    assert!(run.stderr.contains("there is no document in s3://inbox/"), "{}", run.stderr);
    world.put("inbox", "a.txt", "text");
    let run =
        world.summarise("s3://inbox/", "s3://outbox/", &["--set", "source.include=[\"*.pdf\"]"]).expect(0);
    assert!(run.stderr.contains("1 excluded"), "{}", run.stderr);
}

#[test]
fn a_source_folder_that_does_not_exist_is_named() {
    let world = World::new(&[]);
    refused(world.summarise("/no/such/folder", "/tmp/unused", &[]), &["/no/such/folder", "does not exist"]);
}

#[test]
fn a_sink_that_can_not_be_written_is_found_before_money_is_spent() {
    let world = World::new(&["inbox"]);
    world.put("inbox", "a.txt", "A text. It is short.");
    refused(
        world.summarise("s3://inbox/", "/proc/docmill/out", &[]),
        &["can not write to the sink", "/proc/docmill"],
    );
}

#[test]
fn odd_keys_are_names_not_paths() {
    let world = World::new(&["inbox", "outbox"]);
    let keys = [
        "plain.txt",
        "with space.txt",
        "ünï/日本語 #1 (100%).txt",
        "a%2Fb+c%20d.txt",
        "q?x=1&y=2.txt",
        "../up.txt",
        "a/../../b.txt",
        "/absolute.txt",
        "a//b.txt",
        "ends-in-slash/",
        "a/b",
        "a",
        ".hidden",
        "-rf",
        "quote'\".txt",
        "tab\there.txt",
        "back\\slash.txt",
        "~/home",
        "%~%2E%2E",
    ];
    for key in keys {
        world.put("inbox", key, format!("This is the document {key:?}. It says its own name."));
    }
    let run = world.summarise("s3://inbox/", "s3://outbox/", &[]).expect(0);
    assert_eq!(run.totals()["done"], json!(keys.len()));
    for key in keys {
        assert_eq!(world.json("outbox", &format!("{key}.json"))["key"], json!(key));
    }
    let folder = tempfile::tempdir().unwrap();
    let sink = folder.path().join("deep/er/out");
    let run = world.summarise("s3://inbox/", sink.to_str().unwrap(), &[]).expect(0);
    assert_eq!(run.totals()["done"], json!(keys.len()));
    let outside: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(outside, ["deep"]);
    let beside: Vec<_> =
        std::fs::read_dir(folder.path().join("deep/er")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(beside, ["out"], "nothing is written outside the sink");
}

#[test]
fn documents_without_text_fail_with_a_reason_and_the_others_are_done() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "empty.txt", "");
    world.put("inbox", "blank.txt", " \n\t\n");
    world.put("inbox", "image.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice());
    world.put("inbox", "report.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj".as_slice());
    world.put("inbox", "good.txt", "A text. It is short.");
    let run = world.summarise("s3://inbox/", "s3://outbox/", &[]).expect(1);
    let finished = run.events_of("document_finished");
    let reason = |key: &str| {
        let event = finished.iter().find(|e| e["key"] == key).unwrap();
        (event["state"].as_str().unwrap().to_owned(), event["reason"].as_str().unwrap_or_default().to_owned())
    };
    for (key, word) in
        [("empty.txt", "empty"), ("blank.txt", "empty"), ("image.txt", "image/png"), ("report.pdf", "PDF")]
    {
        let (state, reason) = reason(key);
        assert!(state == "failed" && reason.contains(word), "{key}: {state} {reason}");
    }
    assert_eq!(reason("good.txt").0, "done");
    let results: Vec<_> = world.keys("outbox").into_iter().filter(|k| !k.starts_with("_docmill")).collect();
    assert_eq!(results, ["good.txt.json", "good.txt.md"], "a failed document leaves no result");
}

#[test]
fn an_object_over_the_limit_fails_before_it_is_read() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "large.txt", "word ".repeat(1_000));
    let run =
        world.summarise("s3://inbox/", "s3://outbox/", &["--set", "source.max_object_bytes=4999"]).expect(1);
    let reason = run.events_of("document_finished")[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("5000 bytes") && reason.contains("max_object_bytes"), "{reason}");
}

#[test]
fn a_sink_inside_the_source_is_not_eaten() {
    let world = World::new(&["inbox"]);
    world.put("inbox", "docs/a.txt", "A text. It is short.");
    for _ in 0..2 {
        let run = world.summarise("s3://inbox/docs/", "s3://inbox/docs/out/", &[]).expect(0);
        assert_eq!(run.totals()["selected"], 1, "own output is no document");
    }
    let same = world.summarise("s3://inbox/docs/", "s3://inbox/docs", &[]).expect(2);
    assert!(same.stderr.contains("sink"), "{}", same.stderr);
}

#[test]
fn a_result_is_never_written_into_the_source() {
    let world = World::new(&["inbox"]);
    world.put("inbox", "docs/docs/a.txt", "A text. It is short.");
    world.put("inbox", "docs/b.txt", "A text. It is short.");
    let places = ["--source", "s3://inbox/docs/", "--sink", "s3://inbox/"];
    let plan = Run::of(world.docmill(&["plan", SUMMARISE, "--json"]).args(places)).expect(0);
    assert_eq!(plan.events_of("document_would_fail")[0]["key"], "docs/a.txt", "the plan knows");
    assert_eq!(plan.events().pop().unwrap()["plan"]["documents"], 1);
    let run = world.summarise("s3://inbox/docs/", "s3://inbox/", &[]).expect(1);
    let failed: Vec<_> =
        run.events_of("document_finished").into_iter().filter(|e| e["state"] == "failed").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["key"], "docs/a.txt");
    assert!(world.keys("inbox").contains(&"b.txt.json".to_owned()));
    assert!(!world.keys("inbox").contains(&"docs/a.txt.json".to_owned()));
}

#[test]
fn a_faulty_pipeline_file_is_reported_at_once_and_nothing_is_done() {
    let world = World::new(&["inbox", "outbox"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.toml");
    std::fs::write(
        &path,
        "version = 1\n[source]\nuri = \"s3://inbox/\"\n[chunk]\ntokens = 100\noverlap = 200\ntokesn = 3\n",
    )
    .unwrap();
    let run = Run::of(&mut world.docmill(&["run", path.to_str().unwrap()])).expect(2);
    for word in ["bad.toml:6", "overlap", "tokesn", "sink"] {
        assert!(run.stderr.contains(word), "no `{word}` in:\n{}", run.stderr);
    }
    let check = Run::of(&mut docmill(&["check", path.to_str().unwrap(), "--json"])).expect(2);
    let faults: serde_json::Value = serde_json::from_str(&check.stdout).unwrap();
    assert!(faults.as_array().unwrap().iter().any(|f| f["line"] == 6), "{faults}");
}

/// A server that answers every request with the same bytes.
fn parrot(reply: String) -> String {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, reply) = (stream.unwrap(), reply.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut length = 0;
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_ok() {
                    let _ = stream.write_all(reply.as_bytes());
                }
            });
        }
    });
    url
}

#[test]
fn an_answer_that_is_none_is_never_free_and_never_a_success() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "a.txt", "A text. It is short.");
    let content =
        r#"{"output":{"message":{"role":"assistant","content":[{"text":"Fine."}]}},"stopReason":"end_turn""#;
    let cases = [
        ("cut off", content.to_owned()),
        ("a page of a proxy", "<html>Welcome to the hotel network</html>".to_owned()),
        ("without usage", format!("{content}}}")),
        (
            "with a usage of zero",
            format!("{content},\"usage\":{{\"inputTokens\":0,\"outputTokens\":0,\"totalTokens\":0}}}}"),
        ),
    ];
    for (what, body) in cases {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
        let url = parrot(format!("{head} {}\r\n\r\n{body}", body.len()));
        let args = run_args("s3://inbox/", "s3://outbox/");
        let mut command = world.docmill(&args);
        command.args(["--max-cost", "0.0005", "--set", "limits.max_attempts=5"]);
        let run = Run::of(command.env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)).expect(3);
        let totals = run.totals();
        let maybe: docmill::domain::Usd = totals["maybe_billed"].as_str().unwrap().parse().unwrap();
        assert!(maybe > docmill::domain::Usd::ZERO && maybe <= "0.0005".parse().unwrap(), "{what}: {totals}");
        assert_eq!(totals["done"], 0, "{what}");
    }
}

#[test]
fn a_refusal_that_quotes_the_document_is_not_passed_on() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "a.txt", "The patient, Mr Jones of Mill Lane, was seen on Monday. He is well.");
    let body = r#"{"message":"Malformed input: The patient, Mr Jones of Mill Lane, was seen on Monday."}"#;
    let head =
        "HTTP/1.1 400 Bad Request\r\nx-amzn-errortype: ValidationException\r\ncontent-type: application/json";
    let url = parrot(format!("{head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    let args = run_args("s3://inbox/", "s3://outbox/");
    let run = Run::of(world.docmill(&args).env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)).expect(1);
    assert!(run.stderr.contains("ValidationException"), "{}", run.stderr);
    for output in [&run.stdout, &run.stderr] {
        assert!(!output.contains("Jones"), "{output}");
    }
}

#[test]
fn an_endpoint_without_a_scheme_is_refused_and_no_request_is_printed() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "a.txt", "A text. It is short.");
    let args = run_args("s3://inbox/", "s3://outbox/");
    let run = Run::of(world.docmill(&args).env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "localhost:5552"));
    refused(run, &["localhost:5552", "is not a URL"]);
}

#[test]
fn the_exit_code_does_not_depend_on_who_reads_stderr() {
    use std::process::Stdio;
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "a.pdf", "%PDF-1.7\n");
    let args = run_args("s3://inbox/", "s3://outbox/");
    for (args, code) in [(args, 1), (vec!["check", "fixtures/bad-pipelines/version.toml"], 2)] {
        let mut child = world.docmill(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{args:?}");
    }
}

#[test]
fn keys_that_look_like_our_own_state_are_refused() {
    let world = World::new(&["inbox", "outbox"]);
    world.put("inbox", "_docmill/runs/x/report", "A text. It is short.");
    let run = world.summarise("s3://inbox/", "s3://outbox/", &[]).expect(1);
    assert!(run.stderr.contains("docmill's own state"), "{}", run.stderr);
    assert!(world.keys("outbox").iter().all(|key| !key.starts_with("_docmill/runs/x/")));
}

#[test]
fn a_bucket_that_may_not_be_written_is_found_before_money_is_spent() {
    let world = World::new(&[]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "A text. It is short.").unwrap();
    let body =
        "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    let head =
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/xml\r\nconnection: close\r\ncontent-length:";
    let url = parrot(format!("{head} {}\r\n\r\n{body}", body.len()));
    let args = run_args(folder.path().to_str().unwrap(), "s3://read-only/out/");
    let run = Run::of(world.docmill(&args).env("AWS_ENDPOINT_URL_S3", url));
    refused(
        run,
        &[
            "can not write to the sink s3://read-only/out/",
            "the identity needs s3:GetObject",
            "AccessDenied: Access Denied",
        ],
    );
}
