//! What a stream says, before anybody knows how it is framed or where it breaks.

use serde_json::Value;

/// What one delta says, at least: a few words, as the service sends them.
const DELTA_BYTES: usize = 24;

/// The events of a stream, in their order.
#[derive(Debug, Default)]
pub struct Speech {
    pub before: Vec<Line>,
    /// The text of the answer, piece by piece: in the middle of it streams break.
    pub said: Vec<Line>,
    pub after: Vec<Line>,
    /// Says why it ends; of some families it holds the usage too.
    pub stop: Vec<Line>,
    /// Says nothing but what it costs.
    pub accounts: Vec<Line>,
}

/// An event.
#[derive(Debug)]
pub struct Line {
    /// Its type, where the operation has several.
    pub event: &'static str,
    pub payload: Value,
    /// How much of the answer it says.
    pub said_bytes: usize,
}

impl Line {
    pub fn new(event: &'static str, payload: Value) -> Line {
        Line { event, payload, said_bytes: 0 }
    }

    pub fn saying(event: &'static str, payload: Value, said: &str) -> Line {
        Line { event, payload, said_bytes: said.len() }
    }
}

/// A text in pieces of a few words.
pub fn pieces(text: &str) -> Vec<&str> {
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
