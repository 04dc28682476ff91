//! Splits a text into the pieces that are merged on their own, by the rules of each encoding.
//!
//! Published as regular expressions with look-ahead, which cost most of the time of every tokenizer that runs them. These
//! are the same rules by hand: one pass, eight bytes at a time over ASCII words, and never more than a constant number of
//! looks at a byte.

use super::ascii::{self, WINDOW};

/// Class bits of a code point; `build.rs` writes them.
const LOWERISH: u8 = 0b00_0001; // Ll Lm Lo M
const UPPERISH: u8 = 0b00_0010; // Lu Lt Lm Lo M
const LETTER: u8 = 0b00_0100;
const NUMBER: u8 = 0b00_1000;
const SPACE: u8 = 0b01_0000;
const NEWLINE: u8 = 0b10_0000;
/// What stands after the last byte: of no class.
const END: u8 = 0b100_0000;

const CASED: u8 = LOWERISH | UPPERISH;
/// Not in `[^\s\p{L}\p{N}]`.
const NOT_OTHER: u8 = LETTER | NUMBER | SPACE | END;

/// Code points of one block of the class table.
const BLOCK_BITS: u32 = 8;
const BLOCKS: usize = (char::MAX as usize + 1) >> BLOCK_BITS;

static TABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/classes"));

/// Pieces of ASCII text found together.
#[derive(Clone, Copy)]
pub(crate) struct Window<'t> {
    pub bytes: &'t [u8; WINDOW + 16],
    /// Bit `n` for the piece that starts at byte `n`. Bit 0 is set, and at least one other. Where the last of them ends is
    /// not known.
    pub starts: u64,
    /// Those of them at the start of a line.
    pub lines: u64,
}

impl Window<'_> {
    /// Bytes of all pieces whose end is known.
    #[inline(always)]
    pub fn len(&self) -> usize {
        63 - self.starts.leading_zeros() as usize
    }
}

/// The splitter of one encoding over one text.
#[derive(Clone, Copy)]
pub(crate) struct Split<'t, const O200K: bool> {
    text: &'t [u8],
}

impl<'t, const O200K: bool> Split<'t, O200K> {
    /// `text` must be the bytes of a `str`: other bytes give senseless pieces, though no panic.
    pub fn new(text: &'t str) -> Split<'t, O200K> {
        Split { text: text.as_bytes() }
    }

    /// The window of ASCII text at `at`, a piece's start, if there is more than one piece in it.
    #[inline(always)]
    pub fn window(&self, at: usize) -> Option<Window<'t>> {
        let bytes = self.text.get(at..)?.first_chunk::<{ WINDOW + 16 }>()?;
        if u64::from_le_bytes(*bytes.first_chunk::<8>()?) & HIGHS != 0 {
            return None; // Text of another script: not worth it.
        }
        let (starts, lines) = ascii::starts::<O200K>(bytes.first_chunk::<WINDOW>()?);
        (starts != 1).then_some(Window { bytes, starts, lines })
    }

    /// The piece that starts at `at`, which must be a character boundary before the end of the text.
    #[inline(always)]
    pub fn piece(&self, at: usize) -> usize {
        self.any_piece(at)
    }

    #[inline(never)]
    fn any_piece(&self, at: usize) -> usize {
        let (class, len) = self.class(at);
        if class & NUMBER != 0 {
            return self.number(at + len);
        }
        if O200K {
            if class & CASED != 0 {
                return self.cased_at(at, class, len);
            }
        } else if class & LETTER != 0 {
            return self.letters(at + len);
        }
        let after = at + len;
        let (next, next_len) = self.class(after);
        if !O200K && self.text[at] == b'\'' {
            let suffix = self.contraction(after);
            if suffix != 0 {
                return after + suffix;
            }
        }
        if class & NEWLINE == 0 {
            if O200K && next & CASED != 0 {
                return self.with_contraction(self.cased(after).0);
            }
            if !O200K && next & LETTER != 0 {
                return self.letters(after + next_len);
            }
        }
        if class & SPACE == 0 {
            self.others(after)
        } else if self.text[at] == b' ' && next & NOT_OTHER == 0 {
            self.others(after + next_len)
        } else {
            self.white_space(at, after)
        }
    }

    /// `\p{N}{1,3}` after its first.
    fn number(&self, mut at: usize) -> usize {
        for _ in 0..2 {
            let (class, len) = self.class(at);
            if class & NUMBER == 0 {
                break;
            }
            at += len;
        }
        at
    }

    /// `\p{L}*`
    #[inline]
    fn letters(&self, mut at: usize) -> usize {
        loop {
            at += self.ascii_run(at, ascii_letters);
            let (class, len) = self.class(at);
            if class & LETTER == 0 {
                return at;
            }
            at += len;
        }
    }

    /// `[^\s\p{L}\p{N}]*` and the line ends after it, which o200k_base lets slashes follow.
    fn others(&self, mut at: usize) -> usize {
        loop {
            let (class, len) = self.class(at);
            if class & NOT_OTHER != 0 {
                break;
            }
            at += len;
        }
        while self.text.get(at).is_some_and(|&byte| byte == b'\n' || byte == b'\r' || (O200K && byte == b'/'))
        {
            at += 1;
        }
        at
    }

    /// A run of white space, or as much of it as goes into one piece: up to its last line end; else all but the character
    /// that goes with the word after it.
    fn white_space(&self, start: usize, after: usize) -> usize {
        let mut after_newline = if matches!(self.text[start], b'\n' | b'\r') { after } else { start };
        let (mut last, mut at) = (start, after);
        loop {
            let (class, len) = self.class(at);
            if class & SPACE == 0 {
                break;
            }
            last = at;
            at += len;
            if class & NEWLINE != 0 {
                after_newline = at;
            }
        }
        if at == self.text.len() && (!O200K || after_newline == start) {
            at
        } else if after_newline != start {
            after_newline
        } else if last != start {
            last
        } else {
            at
        }
    }

    /// The cased word of o200k_base that starts with the letter or mark at `at`.
    fn cased_at(&self, at: usize, class: u8, len: usize) -> usize {
        if class & LETTER == 0 && self.class(at + len).0 & CASED != 0 {
            // A mark: the rule first tries it as the one character that may precede a word.
            let (end, lower) = self.cased(at + len);
            if lower {
                return self.with_contraction(end);
            }
        }
        self.with_contraction(self.cased(at).0)
    }

    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`, or the same with `+` and `*` changed over. Gives the
    /// end and whether it was the first.
    fn cased(&self, start: usize) -> (usize, bool) {
        let mut at = start;
        let mut after_both = start;
        let class = loop {
            at += self.ascii_run(at, ascii_upper);
            let (class, len) = self.class(at);
            if class & UPPERISH == 0 {
                break class;
            }
            at += len;
            if class & LOWERISH != 0 {
                after_both = at;
            }
        };
        let upper_end = at;
        if class & LOWERISH == 0 {
            // No lower case after it: the first rule gives letters back until one that counts as lower case is free.
            return if after_both != start { (after_both, true) } else { (at, false) };
        }
        loop {
            at += self.ascii_run(at, ascii_lower);
            let (class, len) = self.class(at);
            if class & LOWERISH == 0 {
                debug_assert!(at > upper_end);
                return (at, true);
            }
            at += len;
        }
    }

    fn with_contraction(&self, end: usize) -> usize {
        let suffix = match self.text.get(end) {
            Some(b'\'') => self.contraction(end + 1),
            _ => 0,
        };
        if suffix == 0 { end } else { end + 1 + suffix }
    }

    /// Bytes of `(?i:[sdmt]|ll|ve|re)` at `at`, 0 if it is not there. Case folding makes the long s an s.
    fn contraction(&self, at: usize) -> usize {
        match self.text.get(at..).unwrap_or_default() {
            [b's' | b'S' | b'd' | b'D' | b'm' | b'M' | b't' | b'T', ..] => 1,
            [b'l' | b'L', b'l' | b'L', ..] | [b'v' | b'V' | b'r' | b'R', b'e' | b'E', ..] => 2,
            [0xc5, 0xbf, ..] => 2,
            _ => 0,
        }
    }

    /// Length of the run of ASCII bytes at `at` that `mask` marks, as far as whole words of eight bytes reach.
    #[inline(always)]
    fn ascii_run(&self, start: usize, mask: fn(u64) -> u64) -> usize {
        let mut at = start;
        while let Some(eight) = self.text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let length = run(mask(u64::from_le_bytes(*eight))) as usize;
            at += length;
            if length < 8 {
                break;
            }
        }
        at - start
    }

    /// Class and length of the character at `at`.
    #[inline(always)]
    fn class(&self, at: usize) -> (u8, usize) {
        class_at(self.text, at)
    }
}

#[inline(always)]
fn class_at(text: &[u8], at: usize) -> (u8, usize) {
    match text.get(at) {
        None => (END, 0),
        Some(&byte) if byte < 0x80 => (TABLE[BLOCKS + usize::from(byte)], 1),
        Some(&byte) => wide_class_at(text, at, byte),
    }
}

#[inline]
fn wide_class_at(text: &[u8], at: usize, first: u8) -> (u8, usize) {
    let tail = |n: usize| u32::from(text.get(at + n).copied().unwrap_or(0) & 0x3f);
    let (code_point, len) = match first {
        0..0xe0 => (u32::from(first & 0x1f) << 6 | tail(1), 2),
        0xe0..0xf0 => (u32::from(first & 0x0f) << 12 | tail(1) << 6 | tail(2), 3),
        0xf0.. => (u32::from(first & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4),
    };
    let block = usize::from(TABLE[(code_point >> BLOCK_BITS) as usize]);
    (TABLE[BLOCKS + (block << BLOCK_BITS) + (code_point & 0xff) as usize], len)
}

pub(super) const ONES: u64 = 0x0101_0101_0101_0101;
pub(super) const HIGHS: u64 = 0x80 * ONES;

/// The high bit of each byte of `x` that lies in `first..=last`, both below 0x80.
#[inline(always)]
pub(super) const fn in_range(x: u64, first: u8, last: u8) -> u64 {
    let low = x & !HIGHS;
    let at_least = low + (0x80 - first as u64) * ONES;
    let above = low + (0x7f - last as u64) * ONES;
    at_least & !above & !x & HIGHS
}

#[inline(always)]
fn ascii_letters(x: u64) -> u64 {
    // Setting the case bit moves no other byte into the range.
    in_range(x | (0x20 * ONES), b'a', b'z')
}

#[inline(always)]
fn ascii_lower(x: u64) -> u64 {
    in_range(x, b'a', b'z')
}

#[inline(always)]
fn ascii_upper(x: u64) -> u64 {
    in_range(x, b'A', b'Z')
}

/// Bytes before the first one that is not marked.
#[inline(always)]
fn run(marks: u64) -> u32 {
    (!marks & HIGHS).trailing_zeros() / 8
}

/// Runs `body` with the splitter of `encoding` over `text`, so that each rule set is compiled on its own.
macro_rules! with_split {
    ($encoding:expr, $text:expr, |$split:ident| $body:expr) => {
        match $encoding {
            $crate::tokens::Encoding::Cl100kBase => {
                let $split = $crate::tokens::split::Split::<false>::new($text);
                $body
            }
            $crate::tokens::Encoding::O200kBase => {
                let $split = $crate::tokens::split::Split::<true>::new($text);
                $body
            }
        }
    };
}
pub(crate) use with_split;

/// Whether a piece ends at `at` whatever the rest of the text is, so that counts on both sides add up: a letter stands
/// before and neither a letter, mark nor apostrophe after, or a line feed before and a letter after.
pub(super) fn is_seam(text: &str, at: usize) -> bool {
    let bytes = text.as_bytes();
    let Some(before) = text.get(..at).and_then(|head| head.chars().next_back()) else { return false };
    let (after, _) = class_at(bytes, at);
    if before == '\n' {
        return after & LETTER != 0;
    }
    let (class, _) = class_at(bytes, at - before.len_utf8());
    class & LETTER != 0 && after & (CASED | LETTER | END) == 0 && bytes[at] != b'\''
}

/// Pieces that end up to here end there whatever follows `text`, but for the last.
pub(crate) fn settled(text: &str) -> usize {
    let is_open = |char: char| {
        let mut bytes = [0; 4];
        char.encode_utf8(&mut bytes);
        char == '\'' || class_at(&bytes, 0).0 & (LETTER | CASED | SPACE) != 0
    };
    text.trim_end_matches(is_open).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces one by one, or as far as windows find them.
    fn pieces<const O200K: bool>(text: &str, windows: bool) -> Vec<&str> {
        let split = Split::<O200K>::new(text);
        let (mut at, mut pieces) = (0, Vec::new());
        while at < text.len() {
            let window = split.window(at).filter(|_| windows);
            let base = at;
            let mut starts = window.map_or(0, |window| window.starts & !1);
            if starts == 0 {
                at = split.piece(at);
                pieces.push(&text[base..at]);
            }
            while starts != 0 {
                let end = base + starts.trailing_zeros() as usize;
                pieces.push(&text[at..end]);
                at = end;
                starts &= starts - 1;
            }
        }
        pieces
    }

    #[test]
    fn windows_find_the_same_pieces() {
        let mut state = 12_345u64;
        let mut below = |n: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % n as u64) as usize
        };
        let alphabet: Vec<char> = "aabBlLsStTvere'''  '\n\n\r\t  //..,(1123é中\u{301}".chars().collect();
        for _ in 0..40_000 {
            let (len, first, kinds) = (80 + below(100), below(alphabet.len()), 1 + below(alphabet.len()));
            let text: String = (0..len).map(|_| alphabet[(first + below(kinds)) % alphabet.len()]).collect();
            assert_eq!(pieces::<false>(&text, true), pieces::<false>(&text, false));
            assert_eq!(pieces::<true>(&text, true), pieces::<true>(&text, false));
        }
    }

    #[test]
    fn pieces_of_a_sentence() {
        let text = "I'LL say: \"don't\"  (12345) HTTPServer\n\n  x and more text to fill the window with what comes after it.";
        let cl100k = [
            "I",
            "'LL",
            " say",
            ":",
            " \"",
            "don",
            "'t",
            "\"",
            " ",
            " (",
            "123",
            "45",
            ")",
            " HTTPServer",
            "\n\n",
            " ",
            " x",
        ];
        let o200k = [
            "I'LL",
            " say",
            ":",
            " \"",
            "don't",
            "\"",
            " ",
            " (",
            "123",
            "45",
            ")",
            " HTTPServer",
            "\n\n",
            " ",
            " x",
        ];
        for windows in [false, true] {
            assert_eq!(pieces::<false>(text, windows)[..cl100k.len()], cl100k);
            assert_eq!(pieces::<true>(text, windows)[..o200k.len()], o200k);
        }
    }
}
