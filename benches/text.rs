//! How fast texts are counted and cut, in megabytes a second of one thread's time, next to tiktoken-rs.
//!
//!     cargo bench --bench text                          the documents of fixtures/docs and generated texts
//!     cargo bench --bench text -- --corpus DIR          each folder in DIR is a kind of text
//!     cargo bench --bench text -- --once                one short pass, to see that it still runs
//!     cargo bench --bench text -- --export DIR          writes the texts for benches/peers, and our figures as its lines
//!
//! "unseen" is a new thread's first reading, "warm" a later one. Each figure is the median of interleaved rounds.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, hint, thread};

use docmill::chunk::{self, Size};
use docmill::domain::Layout;
use docmill::tokens::{self, Encoding};

/// Bytes that a kind of text is repeated up to, so that a reading takes long enough to be measured.
const ENOUGH: usize = 8 << 20;
const ROUNDS: usize = 5;
/// Of hostile texts, as they are slow for tiktoken-rs.
const HOSTILE: usize = 1 << 20;
/// Tokens of a chunk and of its overlap.
const SIZES: [(u64, u64); 2] = [(8_000, 500), (1_000, 100)];

struct Kind {
    name: String,
    text: String,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let is_short = arguments.iter().any(|argument| argument == "--once" || argument == "--test");
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let corpus = option("--corpus")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/docs"), PathBuf::from);
    let mut kinds = kinds(&corpus);
    kinds.extend(hostile(if is_short { 20_000 } else { HOSTILE }));
    if is_short {
        for kind in &mut kinds {
            kind.text.truncate(kind.text.floor_char_boundary(20_000.min(kind.text.len())));
        }
    }
    let rounds = if is_short { 1 } else { ROUNDS };
    // One thread, however large the text is.
    let one =
        rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread can be made");
    if let Some(folder) = option("--export") {
        return one.install(|| export(&kinds, Path::new(folder)));
    }
    one.install(|| {
        for encoding in Encoding::ALL {
            let start = Instant::now();
            tokens::count("a", encoding);
            println!("\n{encoding}: tables ready in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
            count_table(&kinds, encoding, rounds, is_short);
        }
        chunk_table(&kinds, rounds, is_short);
    });
}

fn count_table(kinds: &[Kind], encoding: Encoding, rounds: usize, is_short: bool) {
    println!(
        "{:<28} {:>8} {:>8} {:>8} {:>12} {:>7}",
        "count", "MB", "unseen", "warm", "tiktoken-rs", "times"
    );
    let oracle = match encoding {
        Encoding::Cl100kBase => tiktoken_rs::cl100k_base_singleton(),
        Encoding::O200kBase => tiktoken_rs::o200k_base_singleton(),
    };
    for Kind { name, text } in kinds {
        let (mut unseen, mut warm, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        let repeats = if is_short { 1 } else { (ENOUGH / text.len()).max(1) };
        // The first part alone: it would take minutes.
        let part = &text[..text.floor_char_boundary(text.len().min(1 << 20))];
        for _ in 0..rounds {
            unseen.push(rate(text.len() * repeats, first_readings(text, encoding, repeats)));
            warm.push(rate(
                text.len() * repeats,
                time(|| {
                    for _ in 0..repeats {
                        hint::black_box(tokens::count(text, encoding));
                    }
                }),
            ));
            theirs.push(rate(part.len(), time(|| hint::black_box(oracle.count_ordinary(part)))));
        }
        assert_eq!(
            tokens::count(part, encoding),
            oracle.count_ordinary(part) as u64,
            "{name}: counts differ"
        );
        let (unseen, warm, theirs) = (median(unseen), median(warm), median(theirs));
        let size = text.len() as f64 / 1e6;
        println!("{name:<28} {size:>8.1} {unseen:>8.1} {warm:>8.1} {theirs:>12.1} {:>7.1}", unseen / theirs);
    }
}

/// Writes the texts that peers read too, and what we make of them: tool, version, task, text, megabytes a second.
fn export(kinds: &[Kind], folder: &Path) {
    fs::create_dir_all(folder).expect("the folder can be made");
    let mut lines = String::new();
    for Kind { name, text } in kinds {
        let name = match name.as_str() {
            "all of these" => "mixed",
            "base64" => "hostile-base64",
            "punctuation" => "hostile-punctuation",
            "books" | "cjk" | "code" | "text" => name,
            _ => continue,
        };
        fs::write(folder.join(name).with_extension("txt"), text).expect("the folder can be written to");
        let version = env!("CARGO_PKG_VERSION");
        let repeats = (ENOUGH / text.len()).max(1);
        let mut line = |tool: &str, task: &str, mut read: Box<dyn FnMut() -> Duration + '_>| {
            let rates = (0..ROUNDS).map(|_| rate(text.len() * repeats, read())).collect();
            writeln!(lines, "{tool}\t{version}\t{task}\t{name}\t{:.2}", median(rates))
                .expect("a string can be written to");
        };
        let encoding = Encoding::Cl100kBase;
        line("docmill, unseen text", "count", Box::new(|| first_readings(text, encoding, repeats)));
        let count = || {
            for _ in 0..repeats {
                hint::black_box(tokens::count(text, encoding));
            }
        };
        line("docmill", "count", Box::new(|| time(count)));
        for (tokens, overlap) in if name.starts_with("hostile") { &[][..] } else { &SIZES[..] } {
            let size = Size::new(*tokens, *overlap, encoding).expect("the size is valid");
            let cut = || {
                for _ in 0..repeats {
                    hint::black_box(chunk::iter(text, layout(name), &size).count());
                }
            };
            line("docmill", &format!("chunk {tokens}/{overlap}"), Box::new(|| time(cut)));
        }
    }
    fs::write(folder.join("docmill.tsv"), &lines).expect("the folder can be written to");
    print!("{lines}");
}

/// The time new threads take, each of which remembers nothing.
fn first_readings(text: &str, encoding: Encoding, repeats: usize) -> Duration {
    let read = || {
        let fresh =
            rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread can be made");
        fresh.install(|| {
            tokens::count("a", encoding);
            time(|| hint::black_box(tokens::count(text, encoding)))
        })
    };
    let readings = (0..repeats.min(16)).map(|_| read());
    readings.sum::<Duration>() * repeats as u32 / repeats.min(16) as u32
}

fn chunk_table(kinds: &[Kind], rounds: usize, is_short: bool) {
    println!("\n{:<28} {:>8} {:>12} {:>12}", "chunk, cl100k_base", "MB", "8,000/500", "1,000/100");
    for Kind { name, text } in kinds {
        let repeats = if is_short { 1 } else { (ENOUGH / text.len()).max(1) };
        let mut line = String::new();
        for (tokens, overlap) in SIZES {
            let size = Size::new(tokens, overlap, Encoding::Cl100kBase).expect("the size is valid");
            let rates = (0..rounds).map(|_| {
                let cut = || {
                    (0..repeats).for_each(|_| {
                        hint::black_box(chunk::iter(text, layout(name), &size).count());
                    })
                };
                rate(text.len() * repeats, time(cut))
            });
            write!(line, " {:>12.1}", median(rates.collect())).expect("a string can be written to");
        }
        println!("{name:<28} {:>8.1}{line}", text.len() as f64 / 1e6);
    }
}

fn layout(name: &str) -> Layout {
    match name {
        "markdown" => Layout::Markdown,
        "csv" => Layout::Table { delimiter: b',' },
        "log" | "logs" | "json-lines" => Layout::Lines,
        "code" | "json" => Layout::Code,
        "subtitles" => Layout::Transcript,
        _ => Layout::Prose,
    }
}

/// The folders of `corpus`, the files of each put together, and all of them.
fn kinds(corpus: &Path) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for folder in sorted(corpus) {
        let texts = sorted(&folder).into_iter().filter_map(|file| fs::read_to_string(file).ok());
        let text: String = texts.collect();
        if !text.is_empty() {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            kinds.push(Kind { name, text });
        }
    }
    let text: String = kinds.iter().map(|kind| kind.text.as_str()).collect();
    if !text.is_empty() {
        kinds.push(Kind { name: "all of these".into(), text });
    }
    kinds
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Seeded texts without much to hold on to, none of which repeats but for the runs.
fn hostile(bytes: usize) -> Vec<Kind> {
    let mut state = 88_172_645_463_325_252u64;
    let mut below = move |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let mut of = |alphabet: &str| {
        let chars: Vec<char> = alphabet.chars().collect();
        let mut text = String::with_capacity(bytes + 4);
        while text.len() < bytes {
            text.push(chars[below(chars.len())]);
        }
        text
    };
    let han: String = ('\u{4e00}'..'\u{6e00}').collect();
    let texts = [
        ("one letter", of("a")),
        ("base64", of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")),
        ("random letters", of("abcdefghijklmnopqrstuvwxyz")),
        ("equals signs", of("=")),
        ("punctuation", of("!#%&()*+,-./:;<=>?@[]^_{|}~")),
        ("newlines", of("\n")),
        ("mixed white space", of(" \t\n\r\u{a0}\u{3000}")),
        ("Han without breaks", of(&han)),
        ("emoji and joiners", of("👍🏽👨👩👧\u{200d}\u{fe0f}\u{301}\u{302}")),
    ];
    texts.into_iter().map(|(name, text)| Kind { name: name.into(), text }).collect()
}

fn time<R>(work: impl FnOnce() -> R) -> Duration {
    let start = cpu_time();
    hint::black_box(work());
    cpu_time().saturating_sub(start).max(Duration::from_nanos(1))
}

/// Time this thread has had a processor, where the system tells; else the clock.
fn cpu_time() -> Duration {
    // Leaving the processor brings the account up to date.
    thread::yield_now();
    let spent = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let spent = spent.and_then(|line| line.split(' ').next()?.parse().ok());
    spent.map_or_else(clock, Duration::from_nanos)
}

fn clock() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

fn rate(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
