//! The nouns every room shares: money and tokens, documents and their text, chunks, calls and replies, events.
//!
//! Plain values. Nothing here reads a file, a clock, the environment or the network, and nothing here
//! decides anything: rules live in the room that owns them.

mod call;
mod chunk;
mod document;
mod encoding;
mod event;
mod money;

pub use call::{
    AnswerSchema, Api, Attachment, AttachmentKind, Call, CallId, CallOptions, Guardrail, Reply, ServiceTier,
    Stage, StopReason, ThinkingRequest, Usage,
};
pub use chunk::{Boundary, Chunk};
pub use document::{DocumentState, Format, Gap, Layout, Locator, ObjectMeta, Place, Text};
pub use encoding::{Encoding, UnknownEncoding};
pub use event::{Event, ModelTotals, Planned, Totals};
pub use money::{ParseUsdError, Usd};
