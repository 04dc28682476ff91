//! The one vocabulary of what happens in a run. Progress, `--json` output and the run report only read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CallId, DocumentState, StopReason, Usage, Usd};

/// Something that happened. With `--json` each is one line on stdout: `{"event":"call_finished",...}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    RunStarted {
        run: String,
        pipeline: String,
        source: String,
        sink: String,
        map_model: String,
        merge_model: String,
    },
    /// A page of the listing was read.
    Listed {
        documents: u64,
        excluded: u64,
        /// Of these documents, those that are as they were when their result was written: they are skipped.
        unchanged: u64,
        last: bool,
    },
    /// The last document of an archive has ended.
    ArchiveFinished {
        key: String,
        /// Its members, without those that the pipeline leaves out.
        documents: u64,
        /// Not `done`: it is opened again by the next run.
        state: DocumentState,
    },
    /// The document is about to be fetched.
    DocumentStarted {
        key: String,
        size_bytes: u64,
    },
    /// The document's text was read, counted and cut; these calls will be made.
    DocumentPlanned {
        key: String,
        tokens: u64,
        chunks: u64,
        calls: u64,
        levels: u64,
        expected: Usd,
        at_most: Usd,
        expected_input_tokens: u64,
        expected_output_tokens: u64,
        warnings: Vec<String>,
    },
    CallRetried {
        key: String,
        call: CallId,
        attempt: u32,
        model: String,
        wait_ms: u64,
        reason: String,
        /// Of a reply that was paid for and is of no use (it held no text); zero otherwise.
        usage: Usage,
        cost: Usd,
        /// The worst case of an attempt that broke off and may have been billed all the same.
        maybe_billed: Usd,
    },
    CallFinished {
        key: String,
        call: CallId,
        model: String,
        stop_reason: StopReason,
        usage: Usage,
        cost: Usd,
        latency_ms: u64,
        attempts: u32,
        /// A run that was killed sent the same call and did not live to keep the answer: it may have been paid for
        /// twice.
        repeated: bool,
    },
    /// The answer was in the ledger, or another call just asked the same.
    CallRecalled {
        key: String,
        call: CallId,
        model: String,
    },
    /// The run was interrupted before the answer came.
    CallAbandoned {
        key: String,
        call: CallId,
        model: String,
        maybe_billed: Usd,
    },
    CallFailed {
        key: String,
        call: CallId,
        model: String,
        attempts: u32,
        reason: String,
        /// Of replies that were paid for and are of no use.
        usage: Usage,
        cost: Usd,
        maybe_billed: Usd,
    },
    DocumentFinished {
        key: String,
        state: DocumentState,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        outputs: Vec<String>,
        cost: Usd,
    },
    /// Nothing for the machine to act on; for whoever watches.
    Notice {
        message: String,
    },
    RunFinished {
        run: String,
        ended: String,
        totals: Box<Totals>,
    },
}

/// What a run came to. `documents` counts each document that ended, in exactly one state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Objects that the listing showed and the globs let through.
    pub selected: u64,
    /// Objects that include, exclude or "not our own output" left out.
    pub excluded: u64,
    pub done: u64,
    pub partial: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Started or listed but in no final state when the run was stopped.
    pub unfinished: u64,
    pub chunks: u64,
    pub retries: u64,
    /// Calls that were answered without paying: from the ledger, or by the answer to an equal call.
    pub recalled: u64,
    /// Calls that were in flight when the run was interrupted.
    pub abandoned: u64,
    /// Answers that an earlier run may have paid for and lost: it was killed with these calls under way.
    pub repeated: u64,
    pub planned: Planned,
    pub models: BTreeMap<String, ModelTotals>,
    /// Attempts that broke off after they were sent: the service may have billed up to this much for them.
    pub maybe_billed: Usd,
}

impl Totals {
    pub fn ended(&self) -> u64 {
        self.done + self.partial + self.failed + self.skipped
    }

    pub fn calls(&self) -> u64 {
        self.models.values().map(|m| m.calls).sum()
    }

    pub fn failed_calls(&self) -> u64 {
        self.models.values().map(|m| m.failed_calls).sum()
    }

    pub fn cost(&self) -> Usd {
        self.models.values().map(|m| m.cost).sum()
    }

    pub fn usage(&self) -> Usage {
        self.models.values().fold(Usage::default(), |mut sum, m| {
            sum += m.usage;
            sum
        })
    }
}

/// The sum of the plans of the documents that were planned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Planned {
    pub documents: u64,
    /// Tokens of the documents themselves, in the chunker's encoding, overlap not counted twice.
    pub tokens: u64,
    pub chunks: u64,
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub expected: Usd,
    pub at_most: Usd,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelTotals {
    pub calls: u64,
    pub failed_calls: u64,
    pub usage: Usage,
    pub cost: Usd,
}
