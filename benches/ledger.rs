//! What the ledger costs a run: appending, starting over a long history, recalling answers, and walking beside a listing
//! in which nothing has changed.
//!
//!     cargo bench --bench ledger                 1,000,000 answers, 100,000 and 1,000,000 documents, in a folder
//!     cargo bench --bench ledger -- --once       a small history, to see that it still runs
//!
//! What starts fresh is measured in processes of its own, so that its memory is not that of making the history.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use docmill::domain::{Call, DocumentState, StopReason, Usage};
use docmill::ledger::{DocumentRecord, Ledger, Me, Options, PaidReply, Record, ReplyKey};
use docmill::store::{Directory, Memory, Store};

/// As in a run: a group commit of 64 answers.
const REPLIES_PER_SEGMENT: u64 = 64;
/// Of an answer of about 400 tokens.
const REPLY_BYTES: usize = 1_600;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    match arguments.as_slice() {
        ["start", folder, replies] => runtime.block_on(start(Path::new(folder), number(replies))),
        ["walk", folder, documents] => runtime.block_on(walk(Path::new(folder), number(documents))),
        _ => {
            let is_short = arguments.contains(&"--once") || arguments.contains(&"--test");
            let (replies, documents, unchanged) =
                if is_short { (2_000, 500, 3_000) } else { (1_000_000, 100_000, 1_000_000) };
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            runtime.block_on(append(folder.path(), if is_short { 5 } else { 300 }));
            println!("\n{replies} answers and {documents} finished documents, compacted");
            let history = folder.path().join("history");
            runtime.block_on(make_history(&history, replies, documents));
            again("start", &history, replies);
            println!("\n{unchanged} unchanged documents");
            let listing = folder.path().join("listing");
            runtime.block_on(make_history(&listing, 0, unchanged));
            again("walk", &listing, unchanged);
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("the parent passes numbers")
}

/// Runs this program again for one measurement.
fn again(what: &str, folder: &Path, size: u64) {
    let program = env::current_exe().expect("this program has a path");
    let status = Command::new(program).arg(what).arg(folder).arg(size.to_string()).status();
    assert!(status.expect("this program can be run again").success(), "{what} failed");
}

async fn open(store: &Arc<dyn Store>) -> Ledger {
    let me = Me {
        run: "bench".to_owned(),
        host: "here".to_owned(),
        machine: "this".to_owned(),
        pid: std::process::id(),
        process_started: 0,
        nonce: u64::from(std::process::id()),
        now: 1_795_000_000,
        is_alive: Box::new(|_, _| false),
    };
    let (ledger, opened) = Ledger::open(store.clone(), me, Options::default()).await.expect("it opens");
    assert!(opened.losses.is_empty(), "{:?}", opened.losses);
    ledger
}

fn reply(n: u64) -> PaidReply {
    let call = Call {
        model: "amazon.nova-micro-v1:0".to_owned(),
        system: None,
        user: n.to_string(),
        max_tokens: 500,
        temperature_milli: Some(0),
        ..Call::default()
    };
    PaidReply {
        key: ReplyKey::of(&call),
        model: call.model,
        max_tokens: 500,
        text: "word ".repeat(REPLY_BYTES / 5),
        stop: StopReason::EndTurn,
        usage: Usage { input_tokens: 8_000, output_tokens: 400, ..Usage::default() },
    }
}

fn name(n: u64) -> String {
    format!("archive/{:04}/report-{n:07}.txt", n / 1_000)
}

fn document(n: u64) -> DocumentRecord {
    DocumentRecord {
        key: name(n),
        etag: Some(reply(n).key.to_string()),
        size: 40_000 + n,
        fingerprint: "8c6976e5b5410415bde908bd4dee15dfb167a9c873fc4bb8a81f6f2ab448a918".to_owned(),
        state: DocumentState::Done,
        reason: None,
        attempts: 0,
        outputs: Vec::new(),
        run: "2026-11-20T16-00-00".to_owned(),
    }
}

async fn commit(ledger: &mut Ledger, store: &Arc<dyn Store>) {
    let Some(segment) = ledger.seal() else { return };
    segment.commit(&**store).await.expect("nobody else writes");
    ledger.committed(segment);
}

async fn append(folder: &Path, segments: u64) {
    let stores: [(&str, Arc<dyn Store>); 2] = [
        ("memory", Arc::new(Memory::new(1_000))),
        ("folder", Arc::new(Directory::new(folder.join("append")))),
    ];
    for (name, store) in stores {
        let mut ledger = open(&store).await;
        let start = Instant::now();
        let mut appending = Duration::ZERO;
        for segment in 0..segments {
            let replies: Vec<_> = (0..REPLIES_PER_SEGMENT).map(|n| reply(segment * 64 + n)).collect();
            let start = Instant::now();
            replies.into_iter().for_each(|reply| ledger.append(Record::Reply(reply)));
            appending += start.elapsed();
            commit(&mut ledger, &store).await;
        }
        let (replies, took) = ((segments * REPLIES_PER_SEGMENT) as f64, start.elapsed().as_secs_f64());
        println!(
            "append to {name:<8} {:>10.0} answers/s with commits of 64, {:>6.2} us each before the commit",
            replies / took,
            appending.as_secs_f64() * 1e6 / replies
        );
    }
}

async fn make_history(folder: &Path, replies: u64, documents: u64) {
    let store: Arc<dyn Store> = Arc::new(Directory::new(folder));
    let mut ledger = open(&store).await;
    let start = Instant::now();
    let mut compacting = Duration::ZERO;
    let mut compactions = 0;
    for from in (0..replies.max(documents)).step_by(1_000) {
        for n in from..from + 1_000 {
            // Short answers: this is about their number.
            if n < replies {
                ledger.append(Record::Reply(PaidReply { text: "short".to_owned(), ..reply(n) }));
            }
            if n < documents {
                ledger.append(Record::Document(document(n)));
            }
        }
        commit(&mut ledger, &store).await;
        let start = Instant::now();
        compactions += u64::from(ledger.compact(false).await.expect("it compacts") > 0);
        compacting += start.elapsed();
    }
    let last = Instant::now();
    compactions += u64::from(ledger.compact(true).await.expect("it compacts") > 0);
    compacting += last.elapsed();
    let (took, compacting) = (start.elapsed().as_secs_f64(), compacting.as_secs_f64());
    println!("made in {took:.1} s, of which {compacting:.1} s for {compactions} compactions");
    print_memory("  making it");
}

async fn start(folder: &Path, replies: u64) {
    let store: Arc<dyn Store> = Arc::new(Directory::new(folder));
    let start = Instant::now();
    let ledger = open(&store).await;
    println!("start                {:>10.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let reader = ledger.reader();
    let some: Vec<ReplyKey> = (0..2_000).map(|n| reply(n * 7_919 % replies).key).collect();
    let start = Instant::now();
    for key in &some {
        assert!(reader.recall(*key).await.expect("it reads").is_some());
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / some.len() as f64;
    println!("recall, at random    {each:>10.1} us each, filters and tables cold");
    let unknown: Vec<ReplyKey> = (0..20_000).map(|n| reply(replies + n).key).collect();
    let start = Instant::now();
    let maybe = unknown.iter().filter(|key| reader.may_hold(**key)).count();
    let each = start.elapsed().as_secs_f64() * 1e9 / unknown.len() as f64;
    println!(
        "not there            {each:>10.1} ns each, {maybe} of {} to be looked up in vain",
        unknown.len()
    );
    print_memory("  start and recall");
}

async fn walk(folder: &Path, documents: u64) {
    let store: Arc<dyn Store> = Arc::new(Directory::new(folder));
    let start = Instant::now();
    let ledger = open(&store).await;
    let mut states = ledger.states(None);
    let mut unchanged = 0;
    for n in 0..documents {
        let state = states.seek_to(&name(n)).await.expect("it reads");
        unchanged += u64::from(state.is_some_and(|state| state.size == 40_000 + n));
    }
    assert_eq!((unchanged, ledger.losses().len()), (documents, 0));
    println!("walk                 {:>10.1} s", start.elapsed().as_secs_f64());
    print_memory("  walk");
}

/// The most memory this process has had, where the system tells.
fn print_memory(what: &str) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    if let Some(peak) = peak.map(|kb: u64| kb / 1_024) {
        println!("{what}: at most {peak} MB of memory");
    }
}
