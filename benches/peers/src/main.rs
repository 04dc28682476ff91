//! Times the crates that count tokens or cut texts, on the texts that `benches/text.rs` writes out with `--export`.
//!
//!     docmill-peers DIR
//!
//! Prints lines of tool, version, task, text and megabytes a second, with tabs between, as `peers.py` does. A figure is the
//! median of three readings by one thread's processor time, after one that is not counted.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use std::{env, fs, hint, process, thread};

use base64::prelude::{BASE64_STANDARD, Engine};
use text_splitter::{ChunkConfig, TextSplitter};

const ROUNDS: usize = 3;
const TIKTOKEN_RS: &str = "0.12.1";
const BPE_OPENAI: &str = "0.3.2";
const TEXT_SPLITTER: &str = "0.33.1";
/// Bytes of each text that slow ones are given: some of them would take minutes for all of it.
const PART: usize = 256 << 10;

fn main() {
    let Some(folder) = env::args().nth(1).map(PathBuf::from) else {
        eprintln!("name the folder of texts");
        process::exit(2);
    };
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).expect("the folder can be read").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let tiktoken = tiktoken_rs::cl100k_base_singleton();
    let bpe = bpe_openai::cl100k_base();
    // Python's tiktoken would fetch its vocabulary: it finds the same bytes in its cache, under the hash of their address.
    let vocabulary: String = (0u32..)
        .map_while(|rank| Some((tiktoken.decode_bytes(&[rank]).ok()?, rank)))
        .map(|(bytes, rank)| format!("{} {rank}\n", BASE64_STANDARD.encode(bytes)))
        .collect();
    let cache = folder.join("tiktoken");
    fs::create_dir_all(&cache).expect("the folder can be written to");
    fs::write(cache.join("9b5ad71b2ce5302211f9c61530b329a4922fc6a4"), vocabulary)
        .expect("the folder can be written to");
    for file in files.into_iter().filter(|file| file.extension().is_some_and(|end| end == "txt")) {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("texts are UTF-8");
        let report = |tool: &str, version: &str, task: &str, bytes: usize, work: &dyn Fn() -> usize| {
            println!("{tool}\t{version}\t{task}\t{name}\t{:.2}", rate(bytes, work));
        };
        report("tiktoken-rs", TIKTOKEN_RS, "count", text.len(), &|| tiktoken.count_ordinary(&text));
        report("bpe-openai", BPE_OPENAI, "count", text.len(), &|| bpe.count(&text));
        if name.starts_with("hostile") {
            continue;
        }
        let part = &text[..text.floor_char_boundary(PART)];
        for (tokens, overlap) in [(8_000, 500), (1_000, 100)] {
            let config = ChunkConfig::new(tokens).with_sizer(tiktoken).with_overlap(overlap);
            let splitter = TextSplitter::new(config.expect("the overlap is smaller than the chunk"));
            report("text-splitter", TEXT_SPLITTER, &format!("chunk {tokens}/{overlap}"), part.len(), &|| {
                splitter.chunks(part).count()
            });
        }
    }
}

fn rate(bytes: usize, work: &dyn Fn() -> usize) -> f64 {
    hint::black_box(work());
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = cpu_time();
            hint::black_box(work());
            bytes as f64 / 1e6 / (cpu_time() - start).as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[ROUNDS / 2]
}

/// Time this thread has had a processor, where the system tells, as `benches/text.rs` measures; else the clock.
fn cpu_time() -> Duration {
    // Leaving the processor brings the account up to date.
    thread::yield_now();
    let spent = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let spent = spent.and_then(|line| line.split(' ').next()?.parse().ok());
    spent.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
