//! RTF: the text of a Rich Text document, in the character sets of its fonts (RTF specification 1.9.1).
//!
//! RTF is plain characters: control words, groups, and bytes as `\'hh` in the code page of the font that is current. What a
//! reader does not know it must skip if it is marked so (`\*`), and read through otherwise; so pictures, style sheets
//! and the like are named here, and all other text is the document's.

use encoding_rs::{Encoding, WINDOWS_1252};

use super::ExtractError;
use super::assembly::Assembly;
use super::door::Door;
use crate::domain::{Format, Layout, Text};

/// Groups whose text is not the document's.
const SKIPPED: [&str; 22] = [
    "colortbl",
    "stylesheet",
    "info",
    "pict",
    "object",
    "header",
    "headerl",
    "headerr",
    "headerf",
    "footer",
    "footerl",
    "footerr",
    "footerf",
    "listtable",
    "listoverridetable",
    "rsidtbl",
    "generator",
    "themedata",
    "datastore",
    "xmlnstbl",
    "fldinst",
    "filetbl",
];

/// Groups within groups beyond this are damage.
const MAX_GROUPS: usize = 2_000;

/// Reads a document.
pub(super) fn read(bytes: &[u8], door: &Door<'_>) -> Result<Text, ExtractError> {
    let start = bytes.windows(5).take(1024).position(|window| window == b"{\\rtf");
    let bytes = &bytes[start.ok_or(ExtractError::Damaged { format: Format::Rtf })?..];
    let mut reader = Reader::new(bytes);
    let is_whole = reader.run();
    let mut text = Assembly::new(door);
    for (index, page) in reader.out.split('\x0c').enumerate() {
        if index > 0 {
            text.push("\x0c")?;
        }
        text.push(page)?;
    }
    if !is_whole {
        if text.is_blank() {
            return Err(ExtractError::Damaged { format: Format::Rtf });
        }
        text.gap("the file is cut off: what followed is missing; upload it again");
    }
    text.finish(Format::Rtf, Layout::Prose)
}

/// What a group inherits from the one around it and forgets at its end.
#[derive(Clone)]
struct State {
    is_skipped: bool,
    is_font_table: bool,
    encoding: &'static Encoding,
    /// How many characters stand in for a `\u` in readers that do not know it.
    fallback: usize,
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    state: State,
    groups: Vec<State>,
    /// The fonts' character sets by number.
    fonts: Vec<(i32, &'static Encoding)>,
    font: i32,
    default: &'static Encoding,
    /// Bytes of the current character set that wait to be decoded: a character may be two.
    pending: Vec<u8>,
    /// The first half of a character beyond the first plane.
    high: Option<u16>,
    /// Fallback characters still to be skipped.
    skip: usize,
    starts_group: bool,
    out: String,
}

impl<'b> Reader<'b> {
    fn new(bytes: &'b [u8]) -> Reader<'b> {
        let state = State { is_skipped: false, is_font_table: false, encoding: WINDOWS_1252, fallback: 1 };
        Reader {
            bytes,
            at: 0,
            state,
            groups: Vec::new(),
            fonts: Vec::new(),
            font: 0,
            default: WINDOWS_1252,
            pending: Vec::new(),
            high: None,
            skip: 0,
            starts_group: false,
            out: String::new(),
        }
    }

    /// Reads to the end of the first group; whether there was one.
    fn run(&mut self) -> bool {
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'{' => {
                    self.flush();
                    if self.groups.len() >= MAX_GROUPS {
                        return false;
                    }
                    self.groups.push(self.state.clone());
                    self.starts_group = true;
                    self.skip = 0;
                    continue;
                }
                b'}' => {
                    self.flush();
                    self.skip = 0;
                    if let Some(state) = self.groups.pop() {
                        self.state = state;
                    }
                    if self.groups.is_empty() {
                        return true;
                    }
                }
                b'\\' => self.control(),
                b'\r' | b'\n' => continue,
                byte => self.byte(byte),
            }
            self.starts_group = false;
        }
        self.flush();
        false
    }

    fn byte(&mut self, byte: u8) {
        if self.skip > 0 {
            self.skip -= 1;
        } else if !(self.state.is_skipped || self.state.is_font_table) {
            self.pending.push(byte);
        }
    }

    fn control(&mut self) {
        let Some(&first) = self.bytes.get(self.at) else { return };
        if !first.is_ascii_alphabetic() {
            self.at += 1;
            return self.symbol(first);
        }
        let rest = &self.bytes[self.at..];
        let letters = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).take(40).count();
        let word = std::str::from_utf8(&rest[..letters]).unwrap_or_default();
        let sign = usize::from(rest.get(letters) == Some(&b'-'));
        let digits = rest[letters + sign..].iter().take_while(|byte| byte.is_ascii_digit()).take(10).count();
        let number = std::str::from_utf8(&rest[letters..letters + sign + digits]).unwrap_or_default();
        let number: Option<i32> = number.parse().ok();
        self.at += letters + if digits > 0 { sign + digits } else { 0 };
        if self.bytes.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        self.word(word, number);
    }

    fn symbol(&mut self, symbol: u8) {
        match symbol {
            b'\'' => {
                let hex = self.bytes.get(self.at..self.at + 2).and_then(|hex| std::str::from_utf8(hex).ok());
                if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                    self.at += 2;
                    self.byte(byte);
                }
            }
            b'*' if self.starts_group => self.state.is_skipped = true,
            b'~' => self.push(" "),
            b'_' => self.push("-"),
            b'\r' | b'\n' => self.push("\n"),
            b'\\' | b'{' | b'}' => self.byte(symbol),
            _ => {}
        }
    }

    fn word(&mut self, word: &str, number: Option<i32>) {
        match word {
            // A footnote is marked as skippable for readers that have no notes; we have them.
            word if self.starts_group && SKIPPED.contains(&word) => self.state.is_skipped = true,
            "fonttbl" => self.state.is_font_table = true,
            "ansicpg" => {
                self.default = code_page(number.unwrap_or(1252));
                self.set_encoding(self.default);
            }
            "f" if self.state.is_font_table => self.font = number.unwrap_or(0),
            "fcharset" if self.state.is_font_table => {
                if let Some(encoding) = font_charset(number.unwrap_or(0)) {
                    self.fonts.push((self.font, encoding));
                }
            }
            "f" => {
                let found = self.fonts.iter().find(|(font, _)| Some(*font) == number);
                self.set_encoding(found.map_or(self.default, |(_, encoding)| encoding));
            }
            "plain" => self.set_encoding(self.default),
            "uc" => self.state.fallback = usize::try_from(number.unwrap_or(1)).unwrap_or(1).min(16),
            "u" => self.unicode(number.unwrap_or(0)),
            "bin" => {
                // Raw bytes, which may look like anything.
                self.at = self.at.saturating_add(usize::try_from(number.unwrap_or(0)).unwrap_or(0));
            }
            "par" | "line" | "row" | "sect" => self.push("\n"),
            "page" | "column" => self.push("\x0c"),
            "tab" | "cell" | "nestcell" => self.push("\t"),
            "emdash" => self.push("\u{2014}"),
            "endash" => self.push("\u{2013}"),
            "bullet" => self.push("\u{2022}"),
            "lquote" => self.push("\u{2018}"),
            "rquote" => self.push("\u{2019}"),
            "ldblquote" => self.push("\u{201c}"),
            "rdblquote" => self.push("\u{201d}"),
            "emspace" | "enspace" | "qmspace" => self.push(" "),
            _ => {}
        }
    }

    fn unicode(&mut self, number: i32) {
        // Numbers above 32767 are written as negative ones.
        let unit = (number & 0xffff) as u16;
        self.skip = 0;
        let pair = self.high.take().map(|high| [high, unit]);
        let decoded = match pair {
            Some(pair) => String::from_utf16(&pair).ok(),
            None if (0xd800..0xdc00).contains(&unit) => {
                self.high = Some(unit);
                None
            }
            None => char::from_u32(u32::from(unit)).map(String::from),
        };
        if let Some(text) = decoded {
            self.push(&text);
        }
        self.skip = self.state.fallback;
    }

    fn set_encoding(&mut self, encoding: &'static Encoding) {
        if self.state.encoding != encoding {
            self.flush();
            self.state.encoding = encoding;
        }
    }

    fn push(&mut self, text: &str) {
        self.flush();
        if !(self.state.is_skipped || self.state.is_font_table) {
            self.out.push_str(text);
        }
    }

    fn flush(&mut self) {
        if !self.pending.is_empty() {
            let (text, _) = self.state.encoding.decode_without_bom_handling(&self.pending);
            self.out.push_str(&text);
            self.pending.clear();
        }
    }
}

/// A Windows code page.
fn code_page(number: i32) -> &'static Encoding {
    let label = match number {
        932 => "shift_jis",
        936 => "gbk",
        949 => "euc-kr",
        950 => "big5",
        10_000 => "macintosh",
        65_001 => "utf-8",
        437 | 850 | 1252 => "windows-1252",
        number => return Encoding::for_label(format!("windows-{number}").as_bytes()).unwrap_or(WINDOWS_1252),
    };
    Encoding::for_label(label.as_bytes()).unwrap_or(WINDOWS_1252)
}

/// The character set of a font; `None` for the document's own, and for symbols, which are in none.
fn font_charset(number: i32) -> Option<&'static Encoding> {
    Some(code_page(match number {
        0 => 1252,
        77 => 10_000,
        128 => 932,
        129 => 949,
        134 => 936,
        136 => 950,
        161 => 1253,
        162 => 1254,
        163 => 1258,
        177 => 1255,
        178 => 1256,
        186 => 1257,
        204 => 1251,
        222 => 874,
        238 => 1250,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rtf: &str) -> String {
        let mut reader = Reader::new(rtf.as_bytes());
        assert!(reader.run(), "{rtf}");
        reader.out
    }

    #[test]
    fn text_is_read_and_what_is_not_text_is_skipped() {
        let check = |rtf: &str, expect: &str| assert_eq!(read(rtf), expect, "{rtf}");
        check(r"{\rtf1\ansi Hello \b bold\b0  world\par}", "Hello bold world\n");
        check(r"{\rtf1{\stylesheet{\s1 Heading;}}{\*\unknown junk}{\pict 0102}x}", "x");
        check(r"{\rtf1\ansi\ansicpg1251\'cf\'f0}", "\u{41f}\u{440}");
        check(r"{\rtf1{\fonttbl{\f1\fcharset128 MS Mincho;}}\f1\'93\'fa\'96\'7b}", "日本");
        check(r"{\rtf1\uc1\u8364?\u-3913?5}", "\u{20ac}\u{f0b7}5");
        check(r"{\rtf1\u-10179?\u-8704?}", "\u{1f600}");
        check(r"{\rtf1 a\cell b\cell\row{\field{\*\fldinst HYPERLINK x}{\fldrslt link}}}", "a\tb\t\nlink");
        check(r"{\rtf1 \{\\\}\~\_}", "{\\} -");
    }

    #[test]
    fn damage_ends_somewhere() {
        for rtf in [r"{\rtf1 cut", r"{\rtf1\bin999999999 x}", r"{\rtf1\'", r"{\rtf1\u", "{\\rtf1\\"] {
            let mut reader = Reader::new(rtf.as_bytes());
            assert!(!reader.run(), "{rtf}");
        }
        let deep = "{".repeat(MAX_GROUPS + 1);
        assert!(!Reader::new(deep.as_bytes()).run());
    }
}
