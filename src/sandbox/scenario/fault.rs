//! The faults a scenario can order: which there are, whom they hit, and what each looks like.
//!
//! Words and codes are those of the service model and of issue threads of its users; a client that tells errors apart
//! by their text alone must fail here ("too many tokens" has three meanings).

use serde::Deserialize;

use super::{Refusal, StreamFault};

/// One kind of fault and whom it hits.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub kind: FaultKind,
    /// Of the requests that are left by the other conditions, this share; 1 if not given.
    pub probability: Option<f64>,
    /// Only the calls from the first to the last number, counted from 1 over all calls that reach the service.
    pub calls: Option<[u64; 2]>,
    pub from_s: Option<u64>,
    pub until_s: Option<u64>,
    /// Only these models; empty: all.
    #[serde(default)]
    pub models: Vec<String>,
    /// Replaces the usual status of a refusal.
    pub status: Option<u16>,
    /// Replaces the usual type of a refusal or an exception.
    pub error_type: Option<String>,
    /// Replaces the usual words.
    pub message: Option<String>,
    pub retry_after_s: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    // Refusals.
    ThrottledRequests,
    ThrottledTokens,
    ThrottledDay,
    NotReady,
    ModelTimeout,
    Internal,
    Unavailable,
    TooManyConnections,
    ModelError,
    Validation,
    TooLong,
    Denied,
    NotFound,
    EndOfLife,
    ExpiredToken,
    /// A 502 with a page of HTML and no error type, as a load balancer gives it.
    BadGateway,
    // The transport.
    Hang,
    Reset,
    // Replies that have begun.
    CutOff,
    NoMessageStop,
    NoUsage,
    Garbage,
    Html,
    Exception,
    WrongCrc,
    Stall,
    Empty,
    Whitespace,
    MaxTokens,
    ContentFiltered,
    GuardrailIntervened,
    Refusal,
    // Answers that look like answers, for the checks of a client.
    MalformedJson,
    OffSchema,
    WrongLanguage,
    Invented,
}

/// A fault of the object store.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageFault {
    pub kind: StorageFaultKind,
    /// Of the requests that are left by the other conditions, this share; 1 if not given.
    pub probability: Option<f64>,
    /// Only these HTTP methods; empty: all.
    #[serde(default)]
    pub methods: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorageFaultKind {
    /// 500 InternalError.
    Internal,
    /// 503 SlowDown.
    SlowDown,
    /// The connection is reset before anything is done.
    Reset,
    /// The request is carried out, and the connection dropped before the answer.
    LostAnswer,
}

/// What a fault is applied to.
pub struct Selection<'a> {
    pub now_ms: u64,
    pub model: &'a str,
    /// Of this call among all, from 1.
    pub number: u64,
    /// Below one million.
    pub chance_ppm: u64,
}

/// What a request that is hit gets.
pub(super) enum Effect {
    Refuse(Refusal),
    Hang,
    Reset,
    Spoil(StreamFault),
}

impl Fault {
    pub fn hits(&self, selection: &Selection<'_>) -> bool {
        let second = selection.now_ms / 1_000;
        let [first, last] = self.calls.unwrap_or([0, u64::MAX]);
        self.from_s.is_none_or(|from| second >= from)
            && self.until_s.is_none_or(|until| second < until)
            && (first..=last).contains(&selection.number)
            && (self.models.is_empty() || self.models.iter().any(|model| model == selection.model))
            && is_chosen(self.probability, selection.chance_ppm)
    }

    pub(super) fn effect(&self, latency_ms: u64) -> Effect {
        if let Some((status, error_type, message)) = self.kind.refusal() {
            return Effect::Refuse(Refusal {
                status: self.status.unwrap_or(status),
                error_type: self.error_type.clone().unwrap_or_else(|| error_type.to_owned()),
                message: self.message.clone().unwrap_or_else(|| message.to_owned()),
                retry_after_s: self.retry_after_s,
                latency_ms,
            });
        }
        match self.kind {
            FaultKind::Hang => Effect::Hang,
            FaultKind::Reset => Effect::Reset,
            _ => Effect::Spoil(self.stream_fault()),
        }
    }

    fn stream_fault(&self) -> StreamFault {
        match self.kind {
            FaultKind::NoMessageStop => StreamFault::NoMessageStop,
            FaultKind::NoUsage => StreamFault::NoUsage,
            FaultKind::Garbage => StreamFault::Garbage,
            FaultKind::Html => StreamFault::Html,
            FaultKind::Exception => StreamFault::Exception {
                error_type: self.error_type.clone().unwrap_or_else(|| "internalServerException".to_owned()),
                message: self
                    .message
                    .clone()
                    .unwrap_or_else(|| "The system encountered an unexpected error.".to_owned()),
            },
            FaultKind::WrongCrc => StreamFault::WrongCrc,
            FaultKind::Stall => StreamFault::Stall,
            FaultKind::Empty => StreamFault::Empty,
            FaultKind::Whitespace => StreamFault::Whitespace,
            FaultKind::MaxTokens => StreamFault::MaxTokens,
            FaultKind::ContentFiltered => StreamFault::ContentFiltered,
            FaultKind::GuardrailIntervened => StreamFault::GuardrailIntervened,
            FaultKind::Refusal => StreamFault::Refusal,
            FaultKind::MalformedJson => StreamFault::MalformedJson,
            FaultKind::OffSchema => StreamFault::OffSchema,
            FaultKind::WrongLanguage => StreamFault::WrongLanguage,
            FaultKind::Invented => StreamFault::Invented,
            _ => StreamFault::CutOff,
        }
    }
}

impl StorageFault {
    pub fn hits(&self, method: &str, chance_ppm: u64) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|name| name.eq_ignore_ascii_case(method)))
            && is_chosen(self.probability, chance_ppm)
    }
}

fn is_chosen(probability: Option<f64>, chance_ppm: u64) -> bool {
    (chance_ppm as f64) < probability.unwrap_or(1.0) * 1e6
}

impl FaultKind {
    /// Status, type and words of a refusal; `None` for what is none.
    fn refusal(self) -> Option<(u16, &'static str, &'static str)> {
        let refusal = match self {
            FaultKind::ThrottledRequests => {
                (429, THROTTLING, "Too many requests, please wait before trying again.")
            }
            FaultKind::ThrottledTokens => {
                (429, THROTTLING, "Too many tokens, please wait before trying again.")
            }
            FaultKind::ThrottledDay => {
                (429, THROTTLING, "Too many tokens per day, please wait before trying again.")
            }
            FaultKind::NotReady => {
                (429, "ModelNotReadyException", "Model is not ready for inference. Please try again later.")
            }
            FaultKind::ModelTimeout => {
                (408, "ModelTimeoutException", "Model has timed out in processing the request.")
            }
            FaultKind::Internal => {
                (500, "InternalServerException", "The system encountered an unexpected error.")
            }
            FaultKind::Unavailable => {
                (503, "ServiceUnavailableException", "Bedrock is unable to process your request.")
            }
            FaultKind::TooManyConnections => {
                (503, "ServiceUnavailableException", "Too many connections, please wait before trying again.")
            }
            FaultKind::ModelError => {
                (424, "ModelErrorException", "The request failed due to an error while processing the model.")
            }
            FaultKind::Validation => {
                (400, "ValidationException", "Malformed input request: extraneous key [x] is not permitted")
            }
            FaultKind::TooLong => (400, "ValidationException", "Input is too long for requested model."),
            FaultKind::Denied => (
                403,
                "AccessDeniedException",
                "You don't have access to the model with the specified model ID.",
            ),
            FaultKind::NotFound => {
                (404, "ResourceNotFoundException", "Could not resolve the foundation model.")
            }
            FaultKind::EndOfLife => {
                (404, "ResourceNotFoundException", "This model version has reached the end of its life.")
            }
            FaultKind::ExpiredToken => {
                (403, "ExpiredTokenException", "The security token included in the request is expired")
            }
            FaultKind::BadGateway => (502, "", "<html><h1>502 Bad Gateway</h1></html>"),
            _ => return None,
        };
        Some(refusal)
    }
}

pub(super) const THROTTLING: &str = "ThrottlingException";
