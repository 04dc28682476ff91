//! A speech in frames, and what can go wrong with them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::super::scenario::StreamFault;
use super::event_stream::{Checksum, encode};
use super::play::{Ending, Script};
use super::speech::{Line, Speech};

/// Every payload has a member `p` of varying length that no documentation has: it hides the lengths of tokens from whoever
/// watches the line. Clients' logs show it (golem_llm_bedrock), and a reader has to pass over it.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const GARBAGE: &[u8] =
    b"\0\0\x01\x2c\xff\xff not an event stream \x00\x07\xfd\x83\x96 {\"contentBlockDelta\":";
/// Exceptions that the operations' models have; everything else is an unmodelled error to a client.
const EXCEPTIONS: [&str; 5] = [
    "internalServerException",
    "modelStreamErrorException",
    "serviceUnavailableException",
    "throttlingException",
    "validationException",
];
/// One that only InvokeModelWithResponseStream has.
const TIMEOUT: &str = "modelTimeoutException";

/// How the events of an operation are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrap {
    /// ConverseStream: an event of its own type.
    Events,
    /// InvokeModelWithResponseStream: a `chunk` with the JSON in base64.
    Chunks,
}

/// The script of a stream whose answer has so many tokens.
pub fn script(speech: Speech, wrap: Wrap, tokens: u64, fault: Option<&StreamFault>) -> Script {
    let mut events = Events::new(&speech, wrap, tokens);
    events.all(speech.before);
    if events.said(speech.said, fault) {
        return events.script;
    }
    events.all(speech.after);
    if fault == Some(&StreamFault::NoMessageStop) {
        return events.script;
    }
    events.all(speech.stop);
    if fault != Some(&StreamFault::NoUsage) {
        events.all(speech.accounts);
    }
    events.script
}

struct Events {
    script: Script,
    wrap: Wrap,
    tokens: u64,
    /// What was said so far and will be, in bytes: time goes by in proportion.
    said_bytes: usize,
    all_bytes: usize,
}

impl Events {
    fn new(speech: &Speech, wrap: Wrap, tokens: u64) -> Events {
        let all_bytes = speech.before.iter().chain(&speech.said).map(|line| line.said_bytes).sum();
        // A delta of 24 bytes makes an event of about 170.
        let script = Script { bytes: Vec::with_capacity(1_024 + 8 * all_bytes), ..Script::default() };
        Events { script, wrap, tokens, said_bytes: 0, all_bytes }
    }

    fn all(&mut self, lines: Vec<Line>) {
        lines.into_iter().for_each(|line| self.send(line, Checksum::Right));
    }

    fn send(&mut self, line: Line, checksum: Checksum) {
        self.said_bytes += line.said_bytes;
        let (name, mut payload) = match self.wrap {
            Wrap::Events => (line.event, line.payload),
            Wrap::Chunks => ("chunk", json!({ "bytes": BASE64.encode(line.payload.to_string()) })),
        };
        payload["p"] = json!(PADDING[..1 + 13 * self.script.marks.len() % PADDING.len()]);
        let headers =
            [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
        encode(&headers, payload.to_string().as_bytes(), checksum, &mut self.script.bytes);
        let tokens = match self.all_bytes {
            0 => self.tokens,
            all => self.tokens * self.said_bytes as u64 / all as u64,
        };
        self.script.marks.push((self.script.bytes.len(), tokens));
    }

    /// The text. True: a fault has ended the stream in it.
    fn said(&mut self, lines: Vec<Line>, fault: Option<&StreamFault>) -> bool {
        let (middle, is_silent) = (lines.len() / 2, lines.is_empty());
        for (at, line) in lines.into_iter().enumerate() {
            let is_wrong = at == middle && fault == Some(&StreamFault::WrongCrc);
            self.send(line, if is_wrong { Checksum::Wrong } else { Checksum::Right });
            if at == middle && self.breaks(fault) {
                return true;
            }
        }
        // An answer without a word has no middle.
        is_silent && self.breaks(fault)
    }

    /// Ends the stream here if that is what the fault does.
    fn breaks(&mut self, fault: Option<&StreamFault>) -> bool {
        match fault {
            Some(StreamFault::CutOff) => {
                // Within an event.
                self.script.bytes.truncate(self.script.bytes.len().saturating_sub(9));
                self.script.ending = Ending::HangUp;
            }
            Some(StreamFault::Stall) => self.script.ending = Ending::Silence,
            Some(StreamFault::Garbage) => self.script.bytes.extend_from_slice(GARBAGE),
            Some(StreamFault::Exception { error_type, message }) => self.exception(error_type, message),
            _ => return false,
        }
        // The last mark is the end of what is sent, wherever that is now.
        if let Some(last) = self.script.marks.last_mut() {
            last.0 = self.script.bytes.len();
        }
        true
    }

    /// An exception frame, or an error frame for a type that no client knows.
    fn exception(&mut self, error_type: &str, message: &str) {
        if EXCEPTIONS.contains(&error_type) || (error_type == TIMEOUT && self.wrap == Wrap::Chunks) {
            let payload = json!({ "message": message }).to_string();
            let headers = [
                (":exception-type", error_type),
                (":content-type", "application/json"),
                (":message-type", "exception"),
            ];
            encode(&headers, payload.as_bytes(), Checksum::Right, &mut self.script.bytes);
        } else {
            let limit = message.floor_char_boundary(message.len().min(1_000));
            let headers = [
                (":error-code", error_type),
                (":error-message", &message[..limit]),
                (":message-type", "error"),
            ];
            encode(&headers, b"", Checksum::Right, &mut self.script.bytes);
        }
    }
}
