//! The command line itself: help, data on stdout, exit codes, single-file commands.

use crate::support::{Run, docmill};

fn run(args: &[&str]) -> Run {
    Run::of(&mut docmill(args))
}

#[test]
fn help_names_every_command_and_exit_code() {
    let help = run(&["--help"]).expect(0);
    for word in
        ["check", "plan", "run", "chunk", "count", "sandbox", "init", "schema", "completions", "Exit codes"]
    {
        assert!(help.stdout.contains(word), "{word}");
    }
    run(&["frobnicate"]).expect(2);
    run(&["run"]).expect(2);
    run(&["run", "/no/such/file.toml"]).expect(2);
}

#[test]
fn init_writes_the_documented_defaults_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new.toml");
    let path = path.to_str().unwrap();
    run(&["init", path]).expect(0);
    assert_eq!(std::fs::read_to_string(path).unwrap(), docmill::pipeline::DEFAULTS);
    let again = run(&["init", path]).expect(2);
    assert!(again.stderr.contains("hint"), "{}", again.stderr);
    run(&["check", path]).expect(0);
}

#[test]
fn every_shipped_pipeline_is_valid() {
    for entry in std::fs::read_dir("pipelines").unwrap() {
        let path = entry.unwrap().path();
        let check = run(&["check", path.to_str().unwrap()]).expect(0);
        assert!(check.stderr.contains(": ok"), "{}", check.stderr);
    }
}

#[test]
fn schema_and_completions_are_data_on_stdout() {
    let schema: serde_json::Value = serde_json::from_str(&run(&["schema"]).expect(0).stdout).unwrap();
    assert!(schema["properties"]["chunk"].is_object());
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).expect(0).stdout.contains("docmill"));
    }
}

#[test]
fn count_counts_files_in_both_encodings_and_for_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    std::fs::write(&path, "hello world, hello docmill").unwrap();
    let path = path.to_str().unwrap();
    let line: serde_json::Value =
        serde_json::from_str(&run(&["count", "--json", path]).expect(0).stdout).unwrap();
    assert_eq!((&line["cl100k_base"], &line["o200k_base"]), (&6.into(), &6.into()), "{line}");
    let model = run(&["count", "--json", "--model", "us.amazon.nova-micro-v1:0", path]).expect(0);
    let line: serde_json::Value = serde_json::from_str(&model.stdout).unwrap();
    assert!(line["likely"].as_u64() >= Some(6) && line["at_most"].as_u64() <= Some(26), "{line}");
    run(&["count", "--model", "amazon.no-such-model", path]).expect(2);
    let missing = run(&["count", path, "/no/such/file"]).expect(1);
    assert!(missing.stdout.contains("a.txt") && missing.stderr.contains("/no/such/file"));
}

#[test]
fn chunk_shows_cuts_that_tile_the_file() {
    let file = "fixtures/docs/text/war-and-peace-excerpt.txt";
    let chunks = run(&["chunk", "--json", "--tokens", "500", "--overlap", "50", file]).expect(0);
    let mut end = 0;
    for line in chunks.stdout.lines() {
        let chunk: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(chunk["core"]["start"], end);
        assert!(chunk["tokens"].as_u64() <= Some(500));
        end = chunk["core"]["end"].as_u64().unwrap();
    }
    assert_eq!(end, std::fs::metadata(file).unwrap().len());
    let table = run(&["chunk", "--tokens", "500", "--overlap", "50", "--show-cuts", file]).expect(0);
    assert!(table.stdout.contains("paragraph"), "{}", table.stdout);
    run(&["chunk", "--tokens", "50", "--overlap", "50", file]).expect(2);
}
