//! The laws of the text engine: counts equal tiktoken's on every input, and chunks lose nothing, keep their limit, overlap as
//! asked, end at good places, and do not depend on how the text came in.

#[path = "fuzz/laws.rs"]
mod laws;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use docmill::chunk::{self, Size, SizeError};
use docmill::domain::{Boundary, Chunk, Layout};
use docmill::tokens::{self, Count, Counter, Encoding};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use self::laws::{Random, assert_counts, assert_laws, joined, mutated, oracle};

/// The same cases on every machine and in every run.
fn config(cases: u32, seed: u64) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn fixture(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/docs").join(path);
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

const FIXTURES: [(&str, Layout); 11] = [
    ("text/war-and-peace-excerpt.txt", Layout::Prose),
    ("text/rfc8259.txt", Layout::Prose),
    ("text/udhr-spanish.txt", Layout::Prose),
    ("text/udhr-arabic.txt", Layout::Prose),
    ("markdown/nist-800-63b-authenticators.md", Layout::Markdown),
    ("markdown/grundgesetz-grundrechte-excerpt.md", Layout::Markdown),
    ("csv/marvel-characters-excerpt.csv", Layout::Table { delimiter: b',' }),
    ("log/auth-excerpt.log", Layout::Lines),
    ("json-lines/elasticoffee-excerpt.ndjson", Layout::Lines),
    ("code/parse_jats_excerpt.py", Layout::Code),
    ("subtitles/elephants-dream.ru.vtt", Layout::Transcript),
];

/// What the split rules tell apart, and what upsets tokenizers.
const FRAGMENTS: [&str; 58] = [
    "a",
    "B",
    "the",
    "The",
    " word",
    " Word",
    "WORD",
    "x",
    "'s",
    "'S",
    "'ll",
    "'LL",
    "'re",
    "'ſ",
    "'",
    "''",
    " '",
    "don't",
    "ſ",
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    " \n",
    "\n ",
    "\u{a0}",
    "\u{3000}",
    "\u{2028}",
    "1",
    "22",
    "333",
    "4444",
    "٣",
    "½",
    ".",
    ",",
    "...",
    "//",
    "/",
    "=",
    "====",
    "(",
    ")",
    "\"",
    "é",
    "ß",
    "Ж",
    "中",
    "日本",
    "。",
    "\u{301}",
    "👍🏽",
    "👨‍👩‍👧",
    "\0",
    "ǅ",
];

proptest! {
    #![proptest_config(config(2_000, 1))]

    #[test]
    fn counts_of_fragments_are_tiktokens(text in prop::collection::vec(prop::sample::select(&FRAGMENTS[..]), 0..60)) {
        assert_counts(&text.concat());
    }

    #[test]
    fn counts_of_any_unicode_are_tiktokens(text in prop::collection::vec(any::<char>(), 0..60)) {
        assert_counts(&text.into_iter().collect::<String>());
    }

    #[test]
    fn counts_of_ascii_are_tiktokens(text in "[ -~\n\t]{0,200}") {
        assert_counts(&text);
    }
}

#[test]
fn counts_of_tokens_put_together_are_tiktokens() {
    let mut random = Random(7);
    let engine = tiktoken_rs::o200k_base_singleton();
    for _ in 0..20_000 {
        let tokens = (0..=random.below(5)).map(|_| random.below(199_998) as u32);
        let bytes: Vec<u8> = tokens.flat_map(|token| engine.decode_bytes(&[token]).unwrap()).collect();
        assert_counts(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn counts_of_documents_are_tiktokens() {
    for (path, _) in FIXTURES {
        let text = fixture(path);
        for encoding in Encoding::ALL {
            assert_eq!(tokens::count(&text, encoding), oracle(&text, encoding), "{path}, {encoding}");
        }
    }
}

#[test]
fn counts_of_hostile_runs_are_tiktokens() {
    let mut random = Random(11);
    let runs = [
        "a",
        "A",
        " ",
        "\n",
        "\r\n",
        "=",
        "-",
        "ab",
        "é",
        "中",
        "あ",
        "👍🏽",
        "\u{301}",
        "0",
        "' ",
        "\t ",
        "e\u{301}",
        "👨‍👩‍👧",
    ];
    for run in runs {
        for length in [1, 2, 3, 63, 64, 65, 200, 1_000, 2_500, 4_099] {
            assert_counts(&run.repeat(length));
            assert_counts(&format!("x{}y", run.repeat(length)));
        }
    }
    for alphabet in [
        "abcdefghijklmnopqrstuvwxyz",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        "!#%&()*+,-./:;<=>?@[]^_{|}~",
    ] {
        let chars: Vec<char> = alphabet.chars().collect();
        let text: String = (0..5_000).map(|_| chars[random.below(chars.len())]).collect();
        assert_counts(&text);
    }
}

#[test]
fn an_endless_run_is_counted() {
    // tiktoken-rs panics on a million spaces, and merges longer runs in quadratic time; each token is at most 128 bytes.
    for run in [" ", "a", "=", "\n", "中", "."] {
        let text = run.repeat(3_000_000 / run.len());
        for encoding in Encoding::ALL {
            let tokens = tokens::count(&text, encoding);
            assert!(
                (text.len() as u64 / 128..=text.len() as u64).contains(&tokens),
                "{encoding} {run:?}: {tokens}"
            );
        }
    }
}

#[test]
fn a_large_text_counts_the_same_in_parts() {
    let text = prose(3, 1_300_000);
    for encoding in Encoding::ALL {
        let paragraphs: u64 = text.split_inclusive("\n\n").map(|part| tokens::count(part, encoding)).sum();
        assert_eq!(tokens::count(&text, encoding), paragraphs, "line ends before letters are seams");
    }
    assert_eq!(tokens::count(&text, Encoding::O200kBase), oracle(&text, Encoding::O200kBase));
}

#[test]
fn an_estimate_is_bounded_by_the_bytes() {
    let text = "Antidisestablishmentarianism, twice: antidisestablishmentarianism.";
    let exact = tokens::count(text, Encoding::O200kBase);
    assert_eq!(Counter::exact(Encoding::O200kBase).count(text), Count::Exact(exact));
    let count = Counter::estimate(Encoding::O200kBase, 1_250_000, 2_000_000).count(text);
    assert_eq!(count, Count::Estimate { likely: (exact * 5).div_ceil(4), at_most: exact * 2 });
    let wild = Counter::estimate(Encoding::O200kBase, 1_000_000, 1_000_000_000).count(text);
    assert_eq!(wild.at_most(), text.len() as u64);
    assert_eq!(Counter::estimate(Encoding::O200kBase, u64::MAX, 0).count("").at_most(), 0);
}

#[test]
fn a_size_that_can_not_be_is_refused() {
    let size = |tokens, overlap| Size::new(tokens, overlap, Encoding::Cl100kBase);
    assert_eq!(size(Size::MIN_TOKENS - 1, 0), Err(SizeError::TooSmall));
    assert_eq!(size(Size::MAX_TOKENS + 1, 0), Err(SizeError::TooLarge));
    assert_eq!(size(100, 100), Err(SizeError::OverlapNotSmaller));
    assert_eq!(size(100, 99).unwrap().with_limit(99), Err(SizeError::LimitBelowTokens));
}

/// Prose that does not repeat itself: paragraphs of sentences of made-up words.
fn prose(seed: u64, bytes: usize) -> String {
    let mut random = Random(seed);
    let starts =
        ["b", "ch", "d", "f", "gr", "h", "k", "l", "m", "n", "pl", "r", "s", "str", "t", "v", "w", ""];
    let ends = ["an", "ed", "ing", "ory", "al", "e", "er", "ous", "y", "ight", "on", "us"];
    let mut text = String::new();
    while text.len() < bytes {
        for _ in 0..2 + random.below(6) {
            for word in 0..5 + random.below(18) {
                let (start, end) = (random.of(&starts), random.of(&ends));
                let middle = random.of(&["", "", "a", "o", "il", "ent", "ar"]);
                match word {
                    0 => text.push_str(&format!(
                        "{}{middle}{end}",
                        random.of(&["The", "No", "Ka", "Lor", "Mi", "Ten"])
                    )),
                    _ => text.push_str(&format!(" {start}{middle}{end}")),
                }
            }
            text.push_str(random.of(&[".", ".", ".", "!", "?"]));
            text.push(' ');
        }
        text.pop();
        text.push_str("\n\n");
    }
    text
}

/// Blocks of about `bytes` bytes.
fn blocks(text: &str, bytes: usize) -> Vec<&str> {
    let mut rest = text;
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        let (block, next) = rest.split_at(rest.ceil_char_boundary(bytes.min(rest.len())));
        blocks.push(block);
        rest = next;
    }
    blocks
}

fn layouts() -> impl Strategy<Value = Layout> {
    prop::sample::select(vec![
        Layout::Prose,
        Layout::Markdown,
        Layout::Table { delimiter: b',' },
        Layout::Table { delimiter: b'\t' },
        Layout::Lines,
        Layout::Code,
        Layout::Transcript,
    ])
}

fn sizes() -> impl Strategy<Value = Size> {
    let parts = (16u64..200, 0u64..100, 0u64..60, prop::sample::select(Encoding::ALL.to_vec()));
    parts.prop_map(|(tokens, overlap, more, encoding)| {
        Size::new(tokens, overlap * tokens / 100, encoding).unwrap().with_limit(tokens + more).unwrap()
    })
}

const BLOCKS: [&str; 34] = [
    "One sentence. ",
    "Another one! ",
    "Mr. Smith went, as usual, home. ",
    "a, b; c: d ",
    "word ",
    "\n",
    "\n\n",
    "\r\n\r\n",
    "\x0c",
    "# Title\n",
    "Title\n=====\n",
    "- item\n",
    "1. item\n",
    "```\nlet x = 1;\n",
    "```\n",
    "| a | b |\n",
    "name,\"quoted, \nfield\",3\n",
    "\"",
    ",",
    "\t",
    "2026-01-01T00:00:00Z INFO started\n",
    "    at frame()\n",
    "fn main() {\n    body();\n}\n\n",
    "00:01.000 --> 00:02.000\nHello\n\n",
    "これは文です。",
    "次の文、続く。",
    "漢字",
    "한국어 문장. ",
    "مرحبا؟ ",
    "👨‍👩‍👧👍🏽",
    "🇫🇷🇩🇪",
    "e\u{301}\u{302}",
    "aaaaaaaaaaaaaaaaaaaaaaaa",
    "   ",
];

proptest! {
    #![proptest_config(config(400, 2))]

    #[test]
    fn laws_hold_for_any_mixture(
        blocks in prop::collection::vec(prop::sample::select(&BLOCKS[..]), 0..120),
        layout in layouts(),
        size in sizes(),
    ) {
        assert_laws(&blocks.concat(), layout, &size);
    }

    #[test]
    fn laws_hold_for_any_unicode(text in prop::collection::vec(any::<char>(), 0..200), layout in layouts(), size in sizes()) {
        assert_laws(&text.into_iter().collect::<String>(), layout, &size);
    }
}

#[test]
fn laws_hold_for_documents() {
    for (path, layout) in FIXTURES {
        let text = fixture(path);
        for (tokens, overlap) in [(8_000, 500), (1_000, 100), (120, 30), (16, 15)] {
            let size = Size::new(tokens, overlap, Encoding::Cl100kBase).unwrap();
            let text =
                if tokens < 100 { &text[..text.floor_char_boundary(4_000.min(text.len()))] } else { &text };
            assert_laws(text, layout, &size);
        }
    }
}

#[test]
fn laws_hold_without_a_single_boundary() {
    for unit in ["a", "=", "中", "👍🏽", "🇫🇷", "\u{301}", "0", "\0", "Zz9+"] {
        let text = unit.repeat(6_000);
        for size in [Size::new(16, 8, Encoding::O200kBase), Size::new(500, 60, Encoding::Cl100kBase)] {
            assert_laws(&text, Layout::Prose, &size.unwrap());
        }
    }
    let nested: String =
        (0..100).map(|depth| format!("{}- {}\n", "  ".repeat(depth), "> ".repeat(depth))).collect();
    assert_laws(&nested, Layout::Markdown, &Size::new(64, 16, Encoding::O200kBase).unwrap());
}

#[test]
fn white_space_alone_gives_no_chunk() {
    let size = Size::new(100, 10, Encoding::O200kBase).unwrap();
    for text in ["", " ", "\n\n\n", "\u{3000}\t\r\n", &" ".repeat(100_000)] {
        assert_eq!(chunk::chunks(text, Layout::Prose, &size), []);
    }
}

#[test]
fn prose_is_cut_well() {
    let text = prose(5, 600_000);
    for (tokens, overlap, fill) in [(8_000, 500, 0.95), (1_000, 100, 0.95)] {
        let size = Size::new(tokens, overlap, Encoding::Cl100kBase).unwrap();
        let chunks = assert_laws(&text, Layout::Prose, &size);
        let well = chunks.iter().filter(|chunk| chunk.end >= Boundary::Sentence).count();
        assert!(well * 100 >= chunks.len() * 99, "{well} of {} end at a sentence or better", chunks.len());
        let full: u64 = chunks.iter().map(|chunk| chunk.tokens).sum();
        let fill_is = full as f64 / (chunks.len() as u64 * tokens) as f64;
        assert!(fill_is >= fill, "{tokens}: {fill_is}");
        for chunk in &chunks[1..] {
            let context = tokens::count(&text[chunk.context.clone()], Encoding::Cl100kBase);
            assert!(
                (overlap / 2..=overlap).contains(&context),
                "{context} tokens of context, asked {overlap}"
            );
            assert!(chunk.tokens >= tokens / 3, "a scrap of {} tokens", chunk.tokens);
        }
    }
}

/// A call is bought again when the core or the context of its chunk has changed.
#[test]
fn an_inserted_paragraph_changes_few_chunks() {
    let text = prose(9, 700_000);
    let starts: Vec<usize> = text.match_indices("\n\n").map(|(at, gap)| at + gap.len()).collect();
    for (tokens, overlap) in [(8_000, 500), (4_000, 250), (1_000, 100)] {
        let size = Size::new(tokens, overlap, Encoding::O200kBase).unwrap();
        let old: HashSet<String> =
            chunk::iter(&text, Layout::Prose, &size).map(|chunk| joined(&text, &chunk)).collect();
        let (mut changed, inserts) = (0, 24);
        for insert in 0..inserts {
            let mut edited = text.clone();
            edited.insert_str(
                starts[(insert * 97 + 5) % starts.len()],
                "Somebody has put in a paragraph. It has two sentences.\n\n",
            );
            changed += chunk::iter(&edited, Layout::Prose, &size)
                .filter(|chunk| !old.contains(&joined(&edited, chunk)))
                .count();
        }
        assert!(changed >= inserts, "each insert changes the chunk it falls into");
        assert!(
            changed <= 3 * inserts,
            "{changed} chunks changed by {inserts} inserts into {} chunks of {tokens} tokens",
            old.len()
        );
    }
}

#[test]
fn a_stream_gives_the_same_chunks() {
    let texts = [
        (prose(13, 1_400_000), Layout::Prose),
        (
            format!("id,text\n{}", prose(14, 700_000).replace("\n\n", "\n1,")),
            Layout::Table { delimiter: b',' },
        ),
        (format!("{}\n\n{}", "x".repeat(700_000), prose(15, 400_000)), Layout::Markdown),
    ];
    for (text, layout) in texts {
        let size = Size::new(2_000, 200, Encoding::Cl100kBase).unwrap();
        let whole = chunk::chunks(&text, layout, &size);
        for bytes in [911, 65_536, 1_000_003] {
            let streamed: Vec<_> = chunk::stream(blocks(&text, bytes), layout, &size).collect();
            assert!(streamed.iter().all(|streamed| streamed.text == joined(&text, &streamed.chunk)));
            let chunks: Vec<Chunk> = streamed.into_iter().map(|streamed| streamed.chunk).collect();
            assert!(chunks == whole, "{layout:?} in blocks of {bytes} bytes");
        }
    }
}

#[test]
fn threads_make_no_difference() {
    let text = prose(17, 2_500_000);
    let size = Size::new(8_000, 500, Encoding::O200kBase).unwrap();
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            (chunk::chunks(&text, Layout::Prose, &size), tokens::count(&text, Encoding::O200kBase))
        })
    };
    let lazily: Vec<Chunk> = chunk::iter(&text, Layout::Prose, &size).collect();
    assert!(with_threads(1) == with_threads(3));
    assert!(with_threads(2).0 == lazily);
}

#[test]
fn a_table_repeats_its_header() {
    let mut text = "id,name,remark\n".to_owned();
    for row in 0..400 {
        write!(text, "{row},\"Name, number {row}\",\"two\nlines, \"\"quoted\"\"\"\n").unwrap();
    }
    let size = Size::new(300, 40, Encoding::Cl100kBase).unwrap();
    let chunks = assert_laws(&text, Layout::Table { delimiter: b',' }, &size);
    assert!(chunks.len() > 10);
    for chunk in &chunks[1..] {
        assert_eq!(chunk.header, Some(0..15));
        for place in [chunk.context.start, chunk.core.start] {
            assert!(text[..place].ends_with("\"\"\"\n") || place == 15, "a record starts at {place}");
        }
    }
}

#[test]
fn cuts_of_documents() {
    let mut seen = String::new();
    for (path, layout) in FIXTURES {
        let text = fixture(path);
        let text = &text[..text.floor_char_boundary(6_000.min(text.len()))];
        let size = Size::new(400, 50, Encoding::O200kBase).unwrap();
        writeln!(seen, "{path}").unwrap();
        for chunk in chunk::chunks(text, layout, &size) {
            let start: String = text[chunk.core.clone()].chars().take(40).collect();
            let end = format!("{:?}", chunk.end);
            let (tokens, context) = (chunk.tokens, chunk.context.len());
            writeln!(seen, "{tokens:>5} tokens {context:>4} bytes of context, ends at {end:<9} {start:?}")
                .unwrap();
        }
    }
    insta::assert_snapshot!(seen);
}

/// What cargo-fuzz does with tests/fuzz, for a fixed number of inputs.
#[test]
fn mutated_texts_keep_the_laws() {
    let mut random = Random(23);
    let seeds: Vec<Vec<u8>> = FIXTURES.iter().map(|(path, _)| fixture(path).into_bytes()).collect();
    for _ in 0..600 {
        let input = mutated(&mut random, &seeds, &FRAGMENTS);
        laws::count(&input);
        laws::chunk(&input);
    }
}
