//! The weather that a service stand-in makes: quotas, latency and faults, as described by a scenario file.
//!
//! Pure: time and chance are arguments, so that the same scenario runs in virtual time (the dispatcher's tests drive
//! [`Service`] without a socket) and over HTTP (the sandbox asks it before each answer). It models what Bedrock
//! documents about quotas and what its users report about faults, and shares no code with the client that is tested
//! against it. Where the documents are silent (how a minute's quota comes back, whether the output's weight counts at
//! the start) the scenario says which answer it assumes, so that a client can be shown to live with each.

mod fault;
mod file;
mod meter;
mod service;

#[cfg(test)]
mod tests;

pub use fault::{Fault, FaultKind, Selection, StorageFault, StorageFaultKind};
pub use file::{
    Alias, Change, Guardrail, Latency, LatencyChange, Lifecycle, Pool, Rival, Scenario, ScenarioError, Window,
};
pub use service::{Arrival, PoolStatistics, Service};

/// What the service does with a request that has arrived.
#[derive(Debug)]
pub enum Verdict {
    /// Works on it; give the admission back with [`Service::depart`] when the answer is out or the client has gone.
    Serve(Admission),
    /// Answers with an error.
    Refuse(Refusal),
    /// Takes the request and never answers; nothing is booked.
    Hang,
    /// Drops the connection without an answer (a TCP reset); nothing is booked.
    Reset,
}

/// An error instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// The bare name, such as `ThrottlingException`. Empty: an answer without a type, as a proxy gives it.
    pub error_type: String,
    pub message: String,
    /// Seconds, for the header; Bedrock documents none, gateways before it send one.
    pub retry_after_s: Option<u64>,
    /// After this time.
    pub latency_ms: u64,
}

/// A request that is being worked on, with its tokens set aside.
#[derive(Debug)]
pub struct Admission {
    pool: Option<usize>,
    input_tokens: u64,
    reserved_tokens: u64,
    arrived_ms: u64,
    /// Until the answer's first token.
    pub first_token_ms: u64,
    /// For each token after it, microseconds.
    pub per_output_token_us: u64,
    /// What goes wrong with the answer.
    pub fault: Option<StreamFault>,
}

impl Admission {
    /// Until the whole answer is out.
    pub fn latency_ms(&self, output_tokens: u64) -> u64 {
        self.first_token_ms + self.per_output_token_us.saturating_mul(output_tokens) / 1_000
    }
}

/// What goes wrong with a reply that has begun. Where Converse (not streamed) has no such thing, the nearest one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamFault {
    /// The connection breaks in the middle of the body.
    CutOff,
    /// The stream ends in good order, but without `messageStop` and without usage.
    NoMessageStop,
    /// All is there but the usage figures.
    NoUsage,
    /// Bytes that are no event stream, no JSON.
    Garbage,
    /// Status 200 and a page of HTML, as a captive proxy sends it.
    Html,
    /// An exception frame after the first tokens; the type as on the wire (`throttlingException`).
    Exception { error_type: String, message: String },
    /// An event whose checksum is wrong.
    WrongCrc,
    /// The connection stays open and nothing more comes.
    Stall,
    /// A normal end without any text.
    Empty,
    /// A normal end with white space for a text.
    Whitespace,
    /// The answer is cut at the cap, whatever its length would have been.
    MaxTokens,
    /// Stop reason `content_filtered`.
    ContentFiltered,
    /// Stop reason `guardrail_intervened`.
    GuardrailIntervened,
    /// Stop reason `refusal`, as Claude's native interface names it.
    Refusal,
    /// JSON that does not parse: prose before it and its end missing.
    MalformedJson,
    /// JSON that parses and breaks its schema: a member is missing, another has a wrong type, a third is unknown.
    OffSchema,
    /// A normal answer in a language that is not the document's.
    WrongLanguage,
    /// A normal answer with a name and a number that are not in the document.
    Invented,
}

impl StreamFault {
    /// The client gets no usable answer, although the service worked for it (and may bill it).
    pub fn is_broken(&self) -> bool {
        match self {
            StreamFault::CutOff
            | StreamFault::NoMessageStop
            | StreamFault::NoUsage
            | StreamFault::Garbage
            | StreamFault::Html
            | StreamFault::Exception { .. }
            | StreamFault::WrongCrc
            | StreamFault::Stall => true,
            StreamFault::Empty
            | StreamFault::Whitespace
            | StreamFault::MaxTokens
            | StreamFault::ContentFiltered
            | StreamFault::GuardrailIntervened
            | StreamFault::Refusal
            | StreamFault::MalformedJson
            | StreamFault::OffSchema
            | StreamFault::WrongLanguage
            | StreamFault::Invented => false,
        }
    }
}

/// A number below one million that depends on nothing but its arguments (SplitMix64; Steele, Lea, Flood 2014).
pub fn chance_ppm(seed: u64, stream: u64, key: u64) -> u64 {
    mix(seed ^ mix(stream.wrapping_add(1)) ^ mix(key).rotate_left(17)) % 1_000_000
}

fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
