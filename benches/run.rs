//! What a whole run costs beside the SDK's calls: the same calls to the same sandbox, bare and as a run with its ledger,
//! dispatcher and results; and the memory of 1,000 calls in flight.
//!
//! ```text
//! cargo bench --bench run                some seconds
//! cargo bench --bench run -- --once      a small run, to see that it still works
//! ```
//!
//! The sandbox answers at once and runs in this process, so both figures hold its work too: what is limited by the SDK and
//! the server shows in the first, what docmill adds in the difference. Stores are in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use docmill::aws::{Aws, Bedrock, CallTimeouts, Settings};
use docmill::catalog::Catalog;
use docmill::chunk::Size;
use docmill::dispatch::{BACKOFF_MS, Model};
use docmill::domain::{Call, Event, Totals};
use docmill::isolate::{self, Workers};
use docmill::ledger::{Ledger, Me, Options};
use docmill::pipeline::{self, Override};
use docmill::plan::Routes;
use docmill::report::RunRecord;
use docmill::run::{self, Books, Job, Redo};
use docmill::sandbox::{Latency, Sandbox};
use docmill::source::Source;
use docmill::store::{Memory, Store};
use tokio::sync::watch;
use tokio::task::JoinSet;

const PIPELINE: &str = r#"
version = 1
source.uri = "s3://inbox/"
sink.uri = "s3://outbox/"
route.candidates = ["us.amazon.nova-micro-v1:0"]
"#;

fn main() {
    let is_short = std::env::args().any(|argument| argument == "--once" || argument == "--test");
    let calls = if is_short { 50 } else { 3_000 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        for in_flight in [16, 64] {
            let bare = bare(calls, in_flight, Duration::ZERO).await;
            let run = whole(calls, in_flight, Duration::ZERO).await;
            let rate = |seconds: f64| f64::from(calls) / seconds;
            println!(
                "{in_flight:>4} in flight: {:>6.0} calls/s bare, {:>6.0} calls/s as a run ({:.2} of bare)",
                rate(bare),
                rate(run),
                bare / run
            );
        }
        let many = if is_short { 50 } else { 1_000 };
        let before = resident_kib("VmRSS:");
        whole(2 * many, many as usize, Duration::from_secs(2)).await;
        let peak = resident_kib("VmHWM:");
        println!(
            "{many:>4} in flight, 2 s each: {} MiB more than before",
            peak.saturating_sub(before) / 1024
        );
    });
}

/// A prompt of some 2,000 tokens, none like the other.
fn text(i: u32) -> String {
    (0..100)
        .map(|p| format!("In case {i} the council heard matter {p} and granted {} crowns to it. ", i + p))
        .collect()
}

async fn sandbox(latency: Duration) -> (Sandbox, Bedrock) {
    let options = docmill::sandbox::Options {
        latency: Latency { fixed: latency, per_output_token: Duration::ZERO },
        ..docmill::sandbox::Options::default()
    };
    let credentials = (options.access_key.clone(), options.secret_key.clone());
    let sandbox = Sandbox::start(options).await.expect("a port is free");
    let settings = Settings {
        s3_endpoint: Some(sandbox.url()),
        bedrock_endpoint: Some(sandbox.url()),
        static_credentials: Some(credentials),
        call_timeouts: CallTimeouts::default(),
        ..Settings::default()
    };
    let aws = Aws::load(settings, false).await.expect("everything is given");
    let bedrock = aws.bedrock(Default::default());
    (sandbox, bedrock)
}

/// Seconds for so many calls without a run around them.
async fn bare(calls: u32, in_flight: usize, latency: Duration) -> f64 {
    let (sandbox, bedrock) = sandbox(latency).await;
    let bedrock = Arc::new(bedrock);
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for i in 0..calls {
        if tasks.len() >= in_flight {
            tasks.join_next().await;
        }
        let bedrock = bedrock.clone();
        tasks.spawn(async move {
            let call = Call {
                model: "us.amazon.nova-micro-v1:0".to_owned(),
                system: None,
                user: text(i),
                max_tokens: 500,
                temperature_milli: None,
                ..Call::default()
            };
            bedrock.converse(&call).await.expect("the sandbox answers");
        });
    }
    while tasks.join_next().await.is_some() {}
    let seconds = began.elapsed().as_secs_f64();
    sandbox.stop().await;
    seconds
}

/// Seconds for a run of so many documents of one chunk.
async fn whole(documents: u32, in_flight: usize, latency: Duration) -> f64 {
    let (sandbox, bedrock) = sandbox(latency).await;
    let (source, sink): (Arc<dyn Store>, Arc<dyn Store>) =
        (Arc::new(Memory::new(1_000)), Arc::new(Memory::new(1_000)));
    for i in 0..documents {
        let key = format!("{i:06}.txt");
        source.put(&key, text(i).into(), "text/plain").await.expect("memory takes everything");
    }
    let flight = format!("limits.max_in_flight={in_flight}");
    let started = format!("limits.max_documents_in_flight={in_flight}");
    let sets = [flight, started].map(|set| Override::set(&set).expect("a key and a value"));
    let today = "2026-11-20".parse().expect("a date");
    let parsed = pipeline::parse(PIPELINE.as_bytes(), "bench.toml", &sets, Catalog::builtin(), today);
    let pipeline = parsed.unwrap_or_else(|faults| panic!("{}", faults.render(false)));
    let routes = Routes::choose(&pipeline).expect("the model fits");
    let size = Size::new(8_000, 500, routes.encoding).expect("a good size");
    let settings = pipeline.source().clone();
    let record = record(&pipeline);
    let job = Job {
        pipeline,
        routes,
        size,
        source: source.clone(),
        sink: sink.clone(),
        source_in_sink: None,
        stream_above_bytes: docmill::run::STREAM_ABOVE_BYTES,
        backoff_ms: BACKOFF_MS,
        seed: 1,
        quotas: BTreeMap::new(),
        redo: Redo::default(),
        passwords: Vec::new(),
        workers: Workers::new(isolate::Settings { workers: 0, ..isolate::Settings::default() }),
        now: || 1_800_000_000,
    };
    let me = Me {
        run: "bench".into(),
        host: "here".into(),
        machine: "here".into(),
        pid: 1,
        process_started: 1,
        nonce: 1,
        now: 1_800_000_000,
        is_alive: Box::new(|_, _| false),
    };
    let (ledger, opened) = Ledger::open(sink, me, Options::default()).await.expect("nobody else is there");
    let books = Books { ledger, unanswered: Vec::new(), first_segment: opened.next_segment };
    let mut observer = |_: &Event, _: &Totals, _| {};
    let (_keep, stop) = watch::channel(false);
    let began = Instant::now();
    let source = Source::new(source, settings, None);
    let summary =
        run::run(Arc::new(job), source, Arc::new(bedrock), books, record, &mut observer, stop).await;
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(summary.totals.done, u64::from(documents), "{summary:?}");
    sandbox.stop().await;
    seconds
}

fn record(pipeline: &pipeline::Pipeline) -> RunRecord {
    RunRecord {
        run: "bench".into(),
        docmill: "bench",
        pipeline: pipeline.name().into(),
        fingerprint: pipeline.fingerprint(),
        source: String::new(),
        sink: String::new(),
        region: "us-east-1".into(),
        started: String::new(),
        seconds: None,
        ended: "running".into(),
        first_segment: 1,
        max_cost_usd: None,
        totals: Totals::default(),
        seen: Vec::new(),
        pools: Vec::new(),
        documents: Vec::new(),
    }
}

/// A figure of `/proc/self/status`; 0 where there is none.
fn resident_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
