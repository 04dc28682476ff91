//! An answer as the events of ConverseStream (API reference: ConverseStreamOutput), and what can go wrong with them.

use serde_json::{Value, json};

use super::super::scenario::StreamFault;
use super::converse::Answer;
use super::event_stream::{Checksum, encode};
use super::play::{Ending, Script};
use super::purchase::Purchase;

/// What one delta says, at least: a few words, as the service sends them.
const DELTA_BYTES: usize = 24;
/// Every payload has a member `p` of varying length that no documentation has: it hides the lengths of tokens from whoever
/// watches the line. Clients' logs show it (golem_llm_bedrock), and a reader has to pass over it.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const GARBAGE: &[u8] =
    b"\0\0\x01\x2c\xff\xff not an event stream \x00\x07\xfd\x83\x96 {\"contentBlockDelta\":";
/// Exceptions that the operation's model has; everything else is an unmodelled error to a client.
const EXCEPTIONS: [&str; 5] = [
    "internalServerException",
    "modelStreamErrorException",
    "serviceUnavailableException",
    "throttlingException",
    "validationException",
];

/// The script of a stream.
pub fn script(answer: &Answer, purchase: &Purchase) -> Script {
    let mut events = Events::new(answer);
    events.event("messageStart", json!({ "role": "assistant" }));
    let reasoning_blocks = events.reasoning(answer);
    let fault = purchase.fault();
    if events.text(answer.text(), reasoning_blocks, fault) {
        return events.script;
    }
    if fault == Some(&StreamFault::NoMessageStop) {
        return events.script;
    }
    events.event("messageStop", json!({ "stopReason": answer.stop() }));
    if fault != Some(&StreamFault::NoUsage) {
        events.event("metadata", answer.accounts(purchase.visit().latency()));
    }
    events.script
}

struct Events {
    script: Script,
    tokens: u64,
    /// What was said so far and will be, in bytes: time goes by in proportion.
    said_bytes: usize,
    all_bytes: usize,
}

impl Events {
    fn new(answer: &Answer) -> Events {
        let all_bytes = answer.reasoning().0.len() + answer.text().len();
        // A delta of 24 bytes makes an event of about 170.
        let script = Script { bytes: Vec::with_capacity(1_024 + 8 * all_bytes), ..Script::default() };
        Events { script, tokens: answer.output_tokens, said_bytes: 0, all_bytes }
    }

    fn event(&mut self, name: &str, payload: Value) {
        self.send(name, payload, Checksum::Right);
    }

    fn send(&mut self, name: &str, mut payload: Value, checksum: Checksum) {
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

    /// The block of reasoning, if there is one; returns how many blocks that makes.
    fn reasoning(&mut self, answer: &Answer) -> usize {
        let (text, signature) = answer.reasoning();
        if text.is_empty() {
            return 0;
        }
        for piece in pieces(text) {
            self.said_bytes += piece.len();
            self.delta(0, json!({ "reasoningContent": { "text": piece } }), Checksum::Right);
        }
        self.delta(0, json!({ "reasoningContent": { "signature": signature } }), Checksum::Right);
        self.event("contentBlockStop", json!({ "contentBlockIndex": 0 }));
        1
    }

    /// The block of text. True: a fault has ended the stream in it.
    fn text(&mut self, text: &str, block: usize, fault: Option<&StreamFault>) -> bool {
        let pieces = pieces(text);
        let middle = pieces.len() / 2;
        for (at, piece) in pieces.iter().enumerate() {
            let is_wrong = at == middle && fault == Some(&StreamFault::WrongCrc);
            self.said_bytes += piece.len();
            let checksum = if is_wrong { Checksum::Wrong } else { Checksum::Right };
            self.delta(block, json!({ "text": piece }), checksum);
            if at == middle && self.breaks(fault) {
                return true;
            }
        }
        // An answer without a word has no middle.
        if pieces.is_empty() && self.breaks(fault) {
            return true;
        }
        if !pieces.is_empty() {
            self.event("contentBlockStop", json!({ "contentBlockIndex": block }));
        }
        false
    }

    fn delta(&mut self, block: usize, delta: Value, checksum: Checksum) {
        self.send("contentBlockDelta", json!({ "contentBlockIndex": block, "delta": delta }), checksum);
    }

    /// Ends the stream here if that is what the fault does.
    fn breaks(&mut self, fault: Option<&StreamFault>) -> bool {
        match fault {
            Some(StreamFault::CutOff) => {
                // Within an event.
                self.script.bytes.truncate(self.script.bytes.len() - 9);
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
        if EXCEPTIONS.contains(&error_type) {
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

/// A text in pieces of a few words.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::with_capacity(text.len() / DELTA_BYTES + 1);
    let mut rest = text;
    while !rest.is_empty() {
        let least = rest.ceil_char_boundary(DELTA_BYTES.min(rest.len()));
        // Words that never end are cut all the same.
        let most = rest.floor_char_boundary((4 * DELTA_BYTES).min(rest.len())).max(least);
        let end = rest[least..most].find(char::is_whitespace).map_or(most, |at| least + at);
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn pieces_make_up_the_text() {
        for text in
            ["", "x", "A few words that are said one after the other, in order.", &"港は九日間".repeat(40)]
        {
            let pieces = pieces(text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= 96));
        }
        assert!(pieces(&"word ".repeat(100)).len() > 10);
    }
}
