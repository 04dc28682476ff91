//! The shape of the house, as tests: which room may import which, which may name AWS, which are pure.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms in the order of `src/lib.rs`; a room imports only rooms above it.
const ROOMS: &[&str] = &[
    "domain", "catalog", "tokens", "chunk", "extract", "family", "merge", "sink", "pipeline", "plan", "cpu",
    "isolate", "store", "ledger", "source", "dispatch", "report", "aws", "run", "sandbox", "cli",
];
/// No tokio, no aws, no files, no clock, no environment, no console.
const PURE: &[&str] =
    &["domain", "catalog", "tokens", "chunk", "extract", "family", "merge", "sink", "pipeline", "plan"];
const MAY_NAME_AWS: &[&str] = &["aws", "sandbox"];
/// What the sandbox may know of the client: facts and counting, never how requests are made or answers read.
const SANDBOX_IMPORTS: &[&str] = &["domain", "catalog", "tokens", "cpu"];

struct Source {
    room: String,
    path: PathBuf,
    /// Without comments and without the tests at the end.
    code: String,
    whole: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    assert!(files.len() > 40, "the walk lost its way: {} files", files.len());
    files
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&root).expect("below src");
            let first = relative.iter().next().expect("a name").to_string_lossy();
            let whole = fs::read_to_string(&path).expect("UTF-8");
            let code = whole.split("#[cfg(test)]").next().unwrap_or_default();
            let is_comment = |line: &&str| line.trim_start().starts_with("//");
            let code = code.lines().filter(|line| !is_comment(line)).collect::<Vec<_>>().join("\n");
            let code = if relative.ends_with("tests.rs") { String::new() } else { code };
            Source { room: first.trim_end_matches(".rs").to_owned(), path, code, whole }
        })
        .collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Rooms that `code` imports by `crate::<room>`.
fn imports(code: &str) -> BTreeSet<&str> {
    code.split("crate::")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
        .collect()
}

fn place(room: &str) -> usize {
    ROOMS.iter().position(|r| *r == room).unwrap_or_else(|| panic!("room `{room}` has no place in the order"))
}

#[test]
fn lib_rs_lists_the_rooms_in_their_order() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("lib.rs");
    let listed: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(listed, ROOMS);
}

#[test]
fn a_room_imports_only_rooms_above_it() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| !matches!(s.room.as_str(), "lib" | "main")) {
        for import in imports(&source.code) {
            if ROOMS.contains(&import) && import != source.room && place(import) > place(&source.room) {
                faults.push(format!("{} imports {import}", source.path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn only_the_edges_name_aws() {
    let mut faults = Vec::new();
    for source in sources() {
        let names_aws =
            ["aws_sdk", "aws_config", "aws_smithy", "s3s::"].iter().any(|name| source.code.contains(name));
        if names_aws && !MAY_NAME_AWS.contains(&source.room.as_str()) {
            faults.push(source.path);
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn pure_rooms_can_not_fail_from_outside() {
    let forbidden = [
        "tokio::",
        "std::fs",
        "std::env::",
        "std::net::Tcp",
        "std::process",
        "SystemTime",
        "Instant::now",
        "println!",
        "thread_rng",
        "HashMap::new().iter",
    ];
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| PURE.contains(&s.room.as_str())) {
        for word in forbidden.iter().filter(|word| source.code.contains(**word)) {
            faults.push(format!("{} uses {word}", source.path.display()));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_sandbox_shares_no_code_with_the_client() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| s.room == "sandbox") {
        for import in imports(&source.code) {
            if import != "sandbox" && ROOMS.contains(&import) && !SANDBOX_IMPORTS.contains(&import) {
                faults.push(format!("{} imports {import}", source.path.display()));
            }
        }
        if source.code.contains("aws_sdk_bedrock") {
            faults.push(format!("{} uses the client's SDK", source.path.display()));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_file_says_what_it_owns_and_stays_readable() {
    let mut faults = Vec::new();
    for source in sources() {
        let path = source.path.display();
        if !source.whole.starts_with("//!") {
            faults.push(format!("{path} does not open with what it owns"));
        }
        if source.whole.lines().count() > 650 {
            faults.push(format!("{path} is longer than 650 lines"));
        }
        for word in ["todo!(", "unimplemented!(", "#[allow(", "#[ignore", "dbg!("] {
            if source.whole.contains(word) {
                faults.push(format!("{path} holds {word}"));
            }
        }
        if source.code.contains(".unwrap()") {
            faults.push(format!("{path} unwraps outside of tests"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
