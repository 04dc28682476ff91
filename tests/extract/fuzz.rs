//! What cargo-fuzz does with the target `extract` of tests/fuzz, for a fixed number of inputs, and what it found once.

#[path = "../fuzz/extract_laws.rs"]
mod extract_laws;

use self::extract_laws::{DOORS, read};
use super::hostile::{Seed, mutant};

/// Inputs for each door. `DOCMILL_FUZZ_ROUNDS` asks for more.
const ROUNDS: usize = 60;

/// What the readers tell apart.
const FRAGMENTS: [&str; 44] = [
    "<",
    ">",
    "</",
    "/>",
    "&amp;",
    "&#x0;",
    "<!--",
    "<![CDATA[",
    "<?xml version='1.0' encoding='utf-16'?>",
    "<table><tr><td>",
    "<w:p><w:r><w:t>",
    "<w:del>",
    "<mc:AlternateContent><mc:Choice>",
    "<mc:Fallback>",
    "<text:note><text:p>",
    "<draw:page>",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\u",
    "\\ud800",
    "1e999",
    "\"nbformat\":4,\"cells\":[",
    "\\'",
    "\\par",
    "\\u-1?",
    "\\trowd\\cell\\row",
    "{\\*\\bin9",
    "From a\n",
    "\nFrom b\n",
    "Content-Type: multipart/mixed; boundary=B\n\n--B\n",
    "--B--\n",
    "base64",
    "=?utf-8?Q?=",
    "PK\u{3}\u{4}",
    "PK\u{1}\u{2}",
    "PK\u{5}\u{6}",
    "PK\u{7}\u{8}",
    "../",
    "\u{0}",
    "10:00:00,000 --> ",
    ";\t|,",
];

/// Inputs that went wrong once: the way in, then the bytes.
const FOUND: [&[u8]; 0] = [];

fn seeds() -> Vec<Vec<u8>> {
    let files = super::fixture_files().into_iter();
    files
        .map(|file| std::fs::read(file).expect("a fixture"))
        .map(|mut bytes| {
            bytes.truncate(3_000);
            bytes
        })
        .collect()
}

/// A mutant of a seed, with some fragments in it.
fn input(seeds: &[Vec<u8>], random: &mut Seed) -> Vec<u8> {
    let start = &seeds[random.below(seeds.len())];
    let mut bytes = mutant(start, random);
    for _ in 0..random.below(6) {
        let fragment =
            FRAGMENTS[random.below(FRAGMENTS.len())].repeat(1 + random.below(3) * random.below(40));
        let at = random.below(bytes.len() + 1);
        bytes.splice(at..at, fragment.into_bytes());
    }
    bytes
}

#[test]
fn mutated_documents_keep_the_laws() {
    let rounds =
        std::env::var("DOCMILL_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let (seeds, mut random) = (seeds(), Seed(11));
    for round in 0..rounds * usize::from(DOORS) {
        let door = (round % usize::from(DOORS)) as u8;
        let mut data = vec![door];
        data.extend(input(&seeds, &mut random));
        let result = std::panic::catch_unwind(|| read(&data));
        assert!(result.is_ok(), "round {round}, door {door}: {:?}", data.escape_ascii().to_string());
    }
}

#[test]
fn what_was_found_once_is_not_found_again() {
    FOUND.into_iter().for_each(read);
}
