//! JSON: a valid document becomes indented lines that people, models and tokenizers read well.
//!
//! Exports are often one line of megabytes with `\u00e9` for every accented letter: nowhere to cut, and several times the
//! tokens. So values are laid out one a line (short lists and records stay on one) and escapes become the characters they
//! stand for, while numbers, the order of keys and repeated keys stay as they were written. serde_json would not do:
//! it rounds numbers, drops repeated keys and stops at 128 levels. This is one pass over the bytes with the open
//! brackets on the heap, so that no nesting overflows the stack.

use crate::domain::{Layout, Text};

use super::{ExtractError, Limits, notebook};

/// A list or record of plain values is kept on one line up to this many bytes.
const INLINE_BYTES: usize = 100;

/// Line ends and indentation may take so many bytes for each byte of content, and [`FREE_LAYOUT_BYTES`] in any case. Without
/// that a megabyte of deep lists would become 66, to be paid for as tokens. It goes by what is written, so that the same
/// values come out alike however they were laid out before.
const LAYOUT_SHARE: usize = 2;
const FREE_LAYOUT_BYTES: usize = 16 << 10;

/// Lays out a JSON text. What is not valid JSON stays as it was written, with a warning.
pub(super) fn read(mut text: Text, limits: &Limits) -> Result<Text, ExtractError> {
    if let Some(notebook) = notebook::to_markdown(&text.body) {
        text.body = notebook.markdown;
        text.layout = Layout::Markdown;
        text.source_offset = None;
        text.warnings.extend(notebook.warning);
        return Ok(text);
    }
    match pretty(&text.body, limits.max_text_bytes) {
        Ok(body) => {
            if body != text.body.trim_end() {
                text.body = body;
                text.source_offset = None;
            }
            text.layout = Layout::Code;
        }
        Err(Stop::Limit) => return Err(ExtractError::TooLarge { limit_bytes: limits.max_text_bytes }),
        Err(Stop::Invalid { at }) => {
            let line = 1 + text.body.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count();
            text.warnings.push(format!("not valid JSON at line {line}: kept as it was written"));
            let structured = text.body.trim_start().starts_with(['{', '[']);
            text.layout = if structured { Layout::Code } else { Layout::Prose };
        }
    }
    Ok(text)
}

#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Invalid { at: usize },
    Limit,
}

/// The document, indented; no line end at the end.
fn pretty(json: &str, max_bytes: u64) -> Result<String, Stop> {
    let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let mut printer = Printer {
        json,
        at: 0,
        out: String::with_capacity(json.len()),
        open: Vec::new(),
        inline_until: 0,
        layout_bytes: 0,
        max_bytes,
    };
    printer.document()?;
    Ok(printer.out)
}

struct Printer<'a> {
    json: &'a str,
    at: usize,
    out: String,
    /// The closing brackets that are due.
    open: Vec<u8>,
    /// Up to here values stay on one line.
    inline_until: usize,
    /// Of what is written, blanks between values.
    layout_bytes: usize,
    max_bytes: usize,
}

impl Printer<'_> {
    fn document(&mut self) -> Result<(), Stop> {
        loop {
            self.value()?;
            // After a value: close what closes, until a comma or the end.
            loop {
                self.skip_blanks();
                match (self.peek(), self.open.last().copied()) {
                    (None, None) => return Ok(()),
                    (Some(b','), Some(close)) => {
                        self.at += 1;
                        self.out.push(',');
                        self.new_line(true)?;
                        if close == b'}' {
                            self.key()?;
                        }
                        break;
                    }
                    (Some(byte), Some(close)) if byte == close => self.close()?,
                    _ => return Err(self.invalid()),
                }
            }
        }
    }

    /// One value; of a list or record that is not empty, the brackets and keys before its first plain value.
    fn value(&mut self) -> Result<(), Stop> {
        loop {
            self.skip_blanks();
            let (bracket, close) = match self.peek() {
                Some(b'{') => ('{', b'}'),
                Some(b'[') => ('[', b']'),
                Some(b'"') => return self.string(),
                Some(b'-' | b'0'..=b'9') => return self.number(),
                _ => return self.literal(),
            };
            self.start_inline(close);
            self.at += 1;
            self.out.push(bracket);
            self.open.push(close);
            self.skip_blanks();
            if self.peek() == Some(close) {
                self.at += 1;
                self.out.push(char::from(close));
                self.open.pop();
                return Ok(());
            }
            self.new_line(false)?;
            if close == b'}' {
                self.key()?;
            }
        }
    }

    fn key(&mut self) -> Result<(), Stop> {
        self.skip_blanks();
        self.string()?;
        self.skip_blanks();
        if self.peek() != Some(b':') {
            return Err(self.invalid());
        }
        self.at += 1;
        self.out.push_str(": ");
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let Some(close) = self.open.pop() else {
            return Err(self.invalid());
        };
        self.new_line(false)?;
        self.out.push(char::from(close));
        self.at += 1;
        Ok(())
    }

    fn new_line(&mut self, after_comma: bool) -> Result<(), Stop> {
        if self.out.len() > self.max_bytes {
            return Err(Stop::Limit);
        }
        let content = self.out.len() - self.layout_bytes;
        let line_bytes = 1 + 2 * self.open.len();
        let is_dear = self.layout_bytes + line_bytes > LAYOUT_SHARE * content + FREE_LAYOUT_BYTES;
        if self.at <= self.inline_until || is_dear {
            if after_comma {
                self.out.push(' ');
                self.layout_bytes += 1;
            }
            return Ok(());
        }
        self.layout_bytes += line_bytes;
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n("  ", self.open.len()));
        Ok(())
    }

    /// Looks ahead for a short list or record of plain values. Each look ends at the next bracket, so that all of them
    /// together read the document once.
    fn start_inline(&mut self, close: u8) {
        let (mut bytes, mut in_string, mut escaped) = (0, false, false);
        for (offset, &byte) in self.json.as_bytes()[self.at + 1..].iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'[' | b'{' => return,
                b' ' | b'\n' | b'\r' | b'\t' => continue,
                _ if byte == close => {
                    self.inline_until = self.at + 1 + offset;
                    return;
                }
                _ => {}
            }
            bytes += 1;
            if bytes > INLINE_BYTES {
                return;
            }
        }
    }

    fn string(&mut self) -> Result<(), Stop> {
        if self.peek() != Some(b'"') {
            return Err(self.invalid());
        }
        self.at += 1;
        self.out.push('"');
        loop {
            let rest = &self.json[self.at..];
            let plain = rest.bytes().position(|b| b == b'"' || b == b'\\' || b < 0x20);
            let plain = plain.ok_or(Stop::Invalid { at: self.at })?;
            self.out.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                _ => return Err(self.invalid()),
            }
        }
        self.at += 1;
        self.out.push('"');
        Ok(())
    }

    /// An escape: as its character, unless JSON must have it escaped or it is half a surrogate pair.
    fn escape(&mut self) -> Result<(), Stop> {
        let json = self.json;
        let length = match json.as_bytes().get(self.at + 1) {
            Some(b'/') => {
                self.out.push('/');
                self.at += 2;
                return Ok(());
            }
            Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => 6,
            _ => return Err(self.invalid()),
        };
        if length == 6 {
            let unit = self.hex_unit(self.at).ok_or(self.invalid())?;
            let pair = self.hex_unit(self.at + 6).unwrap_or(0);
            let (units, taken) = match unit {
                0xd800..=0xdbff => ([unit, pair], 12),
                _ => ([unit, 0], 6),
            };
            if let Some(Ok(c)) = char::decode_utf16(units).next()
                && c >= ' '
                && c != '"'
                && c != '\\'
            {
                self.out.push(c);
                self.at += taken;
                return Ok(());
            }
        }
        self.out.push_str(&json[self.at..self.at + length]);
        self.at += length;
        Ok(())
    }

    /// The code unit of the `\uXXXX` at `at`.
    fn hex_unit(&self, at: usize) -> Option<u16> {
        let digits = self.json.get(at..at + 6)?.strip_prefix("\\u")?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        u16::from_str_radix(digits, 16).ok()
    }

    /// A number, as written: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`.
    fn number(&mut self) -> Result<(), Stop> {
        let start = self.at;
        self.skip_if(|b| b == b'-');
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.skip_if(|b| b == b'.') {
            self.digits()?;
        }
        if self.skip_if(|b| matches!(b, b'e' | b'E')) {
            self.skip_if(|b| matches!(b, b'+' | b'-'));
            self.digits()?;
        }
        self.out.push_str(&self.json[start..self.at]);
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Stop> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Err(self.invalid());
        }
        while self.skip_if(|b| b.is_ascii_digit()) {}
        Ok(())
    }

    fn literal(&mut self) -> Result<(), Stop> {
        let rest = &self.json[self.at..];
        let word = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word));
        let word = word.ok_or(self.invalid())?;
        self.out.push_str(word);
        self.at += word.len();
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn skip_if(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let found = self.peek().is_some_and(wanted);
        self.at += usize::from(found);
        found
    }

    fn skip_blanks(&mut self) {
        while self.skip_if(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t')) {}
    }

    fn invalid(&self) -> Stop {
        Stop::Invalid { at: self.at }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn values_are_laid_out_and_written_as_they_were() {
        let check = |json: &str, expect: &str| assert_eq!(pretty(json, MIB).as_deref(), Ok(expect), "{json}");
        check("[]", "[]");
        check(" { } ", "{}");
        check("[1,2.50,1e400,-0]", "[1, 2.50, 1e400, -0]");
        check(r#"{"b":1,"a":[1,2],"b":{}}"#, "{\n  \"b\": 1,\n  \"a\": [1, 2],\n  \"b\": {}\n}");
        check(r#"["\u65e5\u672c \ud83d\ude00 \/"]"#, "[\"日本 😀 /\"]");
        check(r#"["\u0000\n\"\u0022\\\ud800"]"#, r#"["\u0000\n\"\u0022\\\ud800"]"#);
        check(r#"["\ud800\u0041"]"#, r#"["\ud800A"]"#);
        check("[[],[1]]", "[\n  [],\n  [1]\n]");
        check("[[[]],true]", "[\n  [\n    []\n  ],\n  true\n]");
        check(r#"{"a":{"b":null}}"#, "{\n  \"a\": {\"b\": null}\n}");
        check(" \"x\" ", "\"x\"");
    }

    #[test]
    fn what_is_not_json_is_refused_where_it_goes_wrong() {
        let check =
            |json: &str, at: usize| assert_eq!(pretty(json, MIB), Err(Stop::Invalid { at }), "{json}");
        check("", 0);
        check("[1,]", 3);
        check("[1 2]", 3);
        check("{\"a\" 1}", 5);
        check("{a:1}", 1);
        check("[01]", 2);
        check("[1.]", 3);
        check("[\"\t\"]", 2);
        check("[\"\\x\"]", 2);
        check("[\"\\u12\"]", 2);
        check("[1]]", 3);
        check("[1}", 2);
        check("[\"open", 2);
        check("nul", 0);
    }

    #[test]
    fn nesting_costs_neither_stack_nor_space() {
        let deep = "[".repeat(500_000) + &"]".repeat(500_000);
        let numbers = format!("[[[[[[[[{}]]]]]]]]", ["1"; 500_000].join(","));
        let records = "{\"a\":".repeat(170_000) + "1" + &"}".repeat(170_000);
        let zigzag = format!("{}1{}", "[[1,[".repeat(130_000), "]],2]".repeat(130_000));
        for json in [deep, numbers, records, zigzag] {
            let out = pretty(&json, 64 * MIB).unwrap_or_else(|stop| panic!("{stop:?}"));
            assert!(out.len() < 4 * json.len(), "{} of {}", out.len(), json.len());
            assert_eq!(pretty(&out, 64 * MIB), Ok(out.clone()), "stable");
            assert_eq!(pretty(&json, MIB / 2), Err(Stop::Limit));
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = "[ -~é日😀\n\"\\\\]{0,12}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f32>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 8, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::btree_map(text, inner, 0..8).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn documents_keep_their_values_and_layout_is_stable(value in any_value()) {
            let compact = value.to_string();
            let ours = pretty(&compact, MIB).expect("valid JSON");
            let read = |json: &str| serde_json::from_str::<Value>(json).expect("valid JSON");
            prop_assert_eq!(read(&ours), read(&compact));
            let pretty_printed = serde_json::to_string_pretty(&value).expect("a value is JSON");
            prop_assert_eq!(pretty(&pretty_printed, MIB), Ok(ours));
        }

        #[test]
        fn agrees_with_serde_json(json in "[\\[\\]{},:\"\\\\u0-9a-f.e\\-ntruls \n]{0,40}") {
            let ours = pretty(&json, MIB);
            let theirs = serde_json::from_str::<Value>(&json);
            match (&ours, &theirs) {
                (Ok(ours), Ok(theirs)) => {
                    let again = serde_json::from_str::<Value>(ours).ok();
                    prop_assert_eq!(again.as_ref(), Some(theirs));
                    let twice = pretty(ours, MIB);
                    prop_assert_eq!(twice.as_ref(), Ok(ours));
                }
                // serde_json also refuses lone surrogates and numbers beyond f64, which are grammatical.
                (Ok(ours), Err(_)) => prop_assert!(ours.contains("\\u") || ours.contains('e')),
                (Err(_), Ok(_)) => prop_assert!(false, "refused valid JSON"),
                (Err(_), Err(_)) => {}
            }
        }
    }
}
