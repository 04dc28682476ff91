//! The run report as bytes: one summary object, and the state of every document as JSON lines in segments, so that a
//! million documents need no more memory than a thousand.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::dispatch::PoolStatistics;
use crate::domain::{Event, Stage, Totals};
use crate::plan::Seen;

const SCHEMA: &str = "docmill.run/1";
/// Documents a segment holds. At a million documents these are a thousand small objects.
const SEGMENT_LINES: usize = 1_000;

/// `_docmill/runs/<run>/report.json`: written when the run starts (so that a read-only sink is found before money is
/// spent) and again when it ends.
#[derive(Clone, Debug, Serialize)]
pub struct RunRecord {
    pub run: String,
    pub docmill: &'static str,
    pub pipeline: String,
    pub fingerprint: String,
    pub source: String,
    pub sink: String,
    pub region: String,
    /// RFC 3339.
    pub started: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// `running`, or how it ended.
    pub ended: String,
    /// The run's first segment in the ledger's log.
    pub first_segment: u64,
    pub max_cost_usd: Option<crate::domain::Usd>,
    pub totals: Totals,
    /// What the calls came to beside what was expected of them, for the plans of later runs.
    pub seen: Vec<SeenRecord>,
    /// How the quotas were used, once the run has ended.
    pub pools: Vec<PoolStatistics>,
    /// Objects with the states of the documents, in the order in which they ended.
    pub documents: Vec<String>,
}

/// What the calls of one stage to one model came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRecord {
    pub stage: Stage,
    pub model: String,
    #[serde(flatten)]
    pub seen: Seen,
}

/// What the report of an earlier run of the same pipeline says of its calls; nothing if it is another pipeline's, or none.
pub fn history(report: &[u8], fingerprint: &str) -> Vec<SeenRecord> {
    #[derive(Deserialize)]
    struct Report {
        fingerprint: String,
        #[serde(default)]
        seen: Vec<SeenRecord>,
    }
    let report = serde_json::from_slice::<Report>(report).ok();
    report.filter(|report| report.fingerprint == fingerprint).map(|report| report.seen).unwrap_or_default()
}

impl RunRecord {
    pub fn key(&self) -> String {
        format!("_docmill/runs/{}/report.json", self.run)
    }

    pub fn bytes(&self) -> Bytes {
        #[derive(Serialize)]
        struct Versioned<'a> {
            schema: &'static str,
            #[serde(flatten)]
            record: &'a RunRecord,
            calls: u64,
            cost_usd: crate::domain::Usd,
        }
        let (calls, cost_usd) = (self.totals.calls(), self.totals.cost());
        let versioned = Versioned { schema: SCHEMA, record: self, calls, cost_usd };
        let mut json = serde_json::to_vec_pretty(&versioned).expect("strings and numbers are always JSON");
        json.push(b'\n');
        json.into()
    }
}

/// The states of documents on their way into segments.
#[derive(Debug)]
pub struct DocumentLines {
    run: String,
    lines: Vec<u8>,
    count: usize,
    segments: usize,
}

impl DocumentLines {
    pub fn new(run: &str) -> Self {
        DocumentLines { run: run.to_owned(), lines: Vec::new(), count: 0, segments: 0 }
    }

    /// Adds a finished document; gives the segment that became full.
    pub fn add(&mut self, event: &Event) -> Option<(String, Bytes)> {
        let Event::DocumentFinished { key, state, reason, outputs, cost } = event else { return None };
        let line = serde_json::json!({
            "key": key, "state": state, "reason": reason, "outputs": outputs, "cost_usd": cost,
        });
        self.lines.extend_from_slice(line.to_string().as_bytes());
        self.lines.push(b'\n');
        self.count += 1;
        if self.count < SEGMENT_LINES { None } else { self.flush() }
    }

    /// The segment so far, if there is anything in it.
    pub fn flush(&mut self) -> Option<(String, Bytes)> {
        if self.count == 0 {
            return None;
        }
        let key = format!("_docmill/runs/{}/documents-{:06}.jsonl", self.run, self.segments);
        self.segments += 1;
        self.count = 0;
        Some((key, std::mem::take(&mut self.lines).into()))
    }
}
