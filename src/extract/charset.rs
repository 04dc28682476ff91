//! Character sets: bytes to characters, or the verdict that the bytes are not text.
//!
//! The order is from proof to guess: a byte order mark; the NUL pattern of UTF-16 and UTF-32; strict UTF-8; UTF-8 with
//! a few broken bytes; what HTML or XML declare; and last what chardetng, Firefox's detector, reads from the bytes. A
//! guess is a warning, and so is every byte that was replaced.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE};

use super::{ExtractError, foreign};

/// The detector needs no more than this from the first byte that is not ASCII on.
const DETECT_BYTES: usize = 1 << 20;

/// UTF-16 and UTF-32 without a mark are recognised from this much of the start.
const SAMPLE_BYTES: usize = 64 << 10;

/// Characters, and how they came to be.
pub(super) struct Decoded {
    pub body: String,
    pub charset: &'static str,
    /// As in [`crate::domain::Text::source_offset`].
    pub source_offset: Option<u64>,
    pub warnings: Vec<String>,
}

/// Decodes bytes that may be text.
pub(super) fn decode(bytes: Vec<u8>) -> Result<Decoded, ExtractError> {
    let mut decoded = match wide_charset(&bytes) {
        Some((wide, skip)) => wide.decode(&bytes, skip)?,
        None => decode_narrow(bytes)?,
    };
    remove_nul(&mut decoded);
    normalise_old_mac(&mut decoded);
    Ok(decoded)
}

/// A character set's name as [`crate::domain::Text::charset`] has it, for a name that came from another process.
pub(super) fn known_name(name: &str) -> &'static str {
    let wide = Wide::ALL.into_iter().map(Wide::name).find(|wide| *wide == name);
    wide.or_else(|| Encoding::for_label(name.as_bytes()).map(Encoding::name)).unwrap_or(UTF_8.name())
}

/// Character sets whose units are wider than a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wide {
    Utf16Le,
    Utf16Be,
    Utf32Le,
    Utf32Be,
}

impl Wide {
    const ALL: [Self; 4] = [Self::Utf32Le, Self::Utf32Be, Self::Utf16Le, Self::Utf16Be];

    fn name(self) -> &'static str {
        match self {
            Self::Utf16Le => "UTF-16LE",
            Self::Utf16Be => "UTF-16BE",
            Self::Utf32Le => "UTF-32LE",
            Self::Utf32Be => "UTF-32BE",
        }
    }

    fn mark(self) -> &'static [u8] {
        match self {
            Self::Utf16Le => b"\xff\xfe",
            Self::Utf16Be => b"\xfe\xff",
            Self::Utf32Le => b"\xff\xfe\0\0",
            Self::Utf32Be => b"\0\0\xfe\xff",
        }
    }

    /// The characters, U+FFFD for what is none.
    fn read(self, bytes: &[u8]) -> String {
        let utf32 = |to_u32: fn([u8; 4]) -> u32| {
            let char_of = |unit: &[u8]| unit.try_into().ok().and_then(|unit| char::from_u32(to_u32(unit)));
            bytes.chunks(4).map(|unit| char_of(unit).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        };
        match self {
            Self::Utf16Le => UTF_16LE.decode_without_bom_handling(bytes).0.into_owned(),
            Self::Utf16Be => UTF_16BE.decode_without_bom_handling(bytes).0.into_owned(),
            Self::Utf32Le => utf32(u32::from_le_bytes),
            Self::Utf32Be => utf32(u32::from_be_bytes),
        }
    }

    /// Whether the sample reads as text: hardly a character that is none, and either most of it from the scripts that leave
    /// the high bytes of a unit zero, or as many blanks and full stops as any script has.
    fn explains(self, sample: &[u8]) -> bool {
        let text = self.read(sample);
        let (mut chars, mut low, mut basic, mut blanks) = (0, 0, 0, 0);
        for c in text.chars() {
            chars += 1;
            low += usize::from(c < '\u{100}');
            basic += usize::from(c < '\u{10000}');
            blanks += usize::from(matches!(c, ' ' | '\n' | '\r' | '\t' | '\u{3000}' | '、' | '。' | '，'));
        }
        // Any four bytes whose last is zero may be a character of the upper planes.
        junk_share(&text) <= 0.02 && basic * 4 > chars * 3 && (low * 10 > chars * 7 || blanks * 200 > chars)
    }

    fn decode(self, bytes: &[u8], skip: usize) -> Result<Decoded, ExtractError> {
        let body = self.read(&bytes[skip..]);
        let replaced = body.chars().filter(|&c| c == char::REPLACEMENT_CHARACTER).count();
        if junk_share(&body) > 0.1 {
            return Err(not_text(bytes));
        }
        Ok(Decoded {
            body,
            charset: self.name(),
            source_offset: None,
            warnings: replaced_warning(replaced).into_iter().collect(),
        })
    }
}

/// The wide character set of bytes that may be the beginning of a text, and the length of their mark.
pub(super) fn wide(bytes: &[u8]) -> Option<(Wide, usize)> {
    wide_charset(bytes)
}

/// The character set of a part of a text that is not ASCII; `None` is UTF-8, damaged or not.
pub(super) fn narrow(part: &[u8]) -> Option<&'static Encoding> {
    // Its first and last character may be cut.
    let start = part.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count();
    let is_utf8 = match std::str::from_utf8(&part[start..]) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    (!is_utf8 && !mostly_utf8(part)).then(|| detect(part))
}

/// The wide character set of the bytes and the length of their mark.
fn wide_charset(bytes: &[u8]) -> Option<(Wide, usize)> {
    let marked = Wide::ALL.into_iter().find(|wide| {
        // FF FE 00 00 is also UTF-16LE that starts with a NUL, which no text does.
        bytes.starts_with(wide.mark())
    });
    match marked {
        Some(wide) => Some((wide, wide.mark().len())),
        None => wide_by_pattern(&bytes[..bytes.len().min(SAMPLE_BYTES)]).map(|wide| (wide, 0)),
    }
}

/// UTF-16 or UTF-32 without a mark, as Windows tools write it, told by where the NUL bytes and the blanks are.
fn wide_by_pattern(sample: &[u8]) -> Option<Wide> {
    if sample.len() < 4 || !sample.contains(&0) {
        return None;
    }
    // ASCII with some NULs in it reads as Chinese in UTF-16; Latin and Cyrillic in UTF-16 read as ASCII that is at
    // least half NULs and other control characters.
    let narrow = match std::str::from_utf8(sample) {
        Ok(_) => true,
        Err(error) => error.valid_up_to() + 4 > sample.len(),
    };
    if narrow && controls(sample) * 5 < sample.len() {
        return None;
    }
    let sample = &sample[..sample.len() & !3];
    Wide::ALL.into_iter().find(|wide| wide.explains(sample))
}

/// Decodes bytes that are a character set of single bytes or of multi-byte sequences.
fn decode_narrow(bytes: Vec<u8>) -> Result<Decoded, ExtractError> {
    let mark = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let bytes = match String::from_utf8(bytes) {
        Ok(body) => return decode_utf8(body, mark),
        Err(error) => error.into_bytes(),
    };
    let (encoding, guessed) = if mark > 0 || mostly_utf8(&bytes) {
        (UTF_8, false)
    } else if controls(&bytes) * 100 > bytes.len() {
        return Err(not_text(&bytes));
    } else if let Some(encoding) = declared(&bytes) {
        (encoding, false)
    } else {
        (detect(&bytes), true)
    };
    let (body, replaced) = if encoding == UTF_8 {
        let replaced = bytes[mark..].utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count();
        (String::from_utf8_lossy(&bytes[mark..]).into_owned(), replaced)
    } else {
        let body = encoding.decode_without_bom_handling(&bytes).0.into_owned();
        let replaced = body.chars().filter(|&c| c == char::REPLACEMENT_CHARACTER).count();
        (body, replaced)
    };
    if junk_share(&body) > 0.1 {
        return Err(not_text(&bytes));
    }
    let mut warnings = Vec::new();
    if guessed {
        warnings.push(format!("the character set {} was guessed from the bytes", encoding.name()));
    }
    warnings.extend(replaced_warning(replaced));
    Ok(Decoded { body, charset: encoding.name(), source_offset: None, warnings })
}

/// Valid UTF-8, which may still be ISO-2022-JP in escape sequences, or a binary that happens to be ASCII.
fn decode_utf8(mut body: String, mark: usize) -> Result<Decoded, ExtractError> {
    if controls(body.as_bytes()) * 10 > body.len() * 3 {
        return Err(not_text(body.as_bytes()));
    }
    if ["\u{1b}$B", "\u{1b}$@"].iter().any(|escape| body.contains(escape))
        && let Some(japanese) =
            ISO_2022_JP.decode_without_bom_handling_and_without_replacement(body.as_bytes())
    {
        return Ok(Decoded {
            body: japanese.into_owned(),
            charset: ISO_2022_JP.name(),
            source_offset: None,
            warnings: Vec::new(),
        });
    }
    body.drain(..mark);
    Ok(Decoded { body, charset: UTF_8.name(), source_offset: Some(mark as u64), warnings: Vec::new() })
}

/// UTF-8 that was damaged, not another character set: whole and cut-off multi-byte sequences are at least as many as
/// bytes that could not be part of one. Text in the legacy East Asian sets has three to six times more of the latter,
/// text in the single-byte ones has next to none of the former.
fn mostly_utf8(bytes: &[u8]) -> bool {
    let (mut sequences, mut strays) = (0usize, 0usize);
    for chunk in bytes.utf8_chunks() {
        sequences += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        match chunk.invalid().len() {
            0 => {}
            1 => strays += 1,
            _ => sequences += 1,
        }
    }
    sequences > 0 && sequences >= strays
}

/// The character set that an HTML `meta` or an XML declaration names. The bytes were read as ASCII to find it, so a
/// declared UTF-16 is untrue (HTML standard, "prescan a byte stream").
fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = &bytes[..bytes.len().min(4096)];
    if !head.trim_ascii_start().starts_with(b"<") {
        return None;
    }
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let label = ["charset", "encoding"].into_iter().find_map(|attribute| {
        let value = head.split_once(attribute)?.1.trim_start().strip_prefix('=')?;
        let value = value.trim_start().trim_start_matches(['"', '\'']);
        Some(value.split(['"', '\'', ' ', ';', '>', '?']).next()?.to_owned())
    })?;
    Encoding::for_label(label.as_bytes()).filter(|e| e.is_ascii_compatible() && *e != UTF_8)
}

fn detect(bytes: &[u8]) -> &'static Encoding {
    let first = bytes.iter().position(|b| !b.is_ascii()).unwrap_or(0);
    let start = first.saturating_sub(1024);
    let end = bytes.len().min(first + DETECT_BYTES);
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(&bytes[start..end], end == bytes.len());
    detector.guess(None, Utf8Detection::Deny)
}

/// Control bytes that text does not hold. Tab, line ends, form feed, backspace, escape and the old end-of-file mark may be.
fn controls(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&b| (b < 0x20 && !matches!(b, 8..=13 | 0x1a | 0x1b)) || b == 0x7f).count()
}

/// The share of characters that speak against this reading of the bytes.
fn junk_share(text: &str) -> f64 {
    let (mut chars, mut junk) = (0u64, 0u64);
    for c in text.chars() {
        chars += 1;
        let odd = match c {
            '\t' | '\n' | '\r' | '\u{c}' | '\u{8}' | '\u{b}' | '\u{1b}' | '\u{1a}' | '\u{85}' => false,
            '\u{e000}'..='\u{f8ff}' | '\u{f0000}'.. | char::REPLACEMENT_CHARACTER => true,
            c => c.is_control() || (c as u32 & 0xfffe) == 0xfffe,
        };
        junk += u64::from(odd);
    }
    junk as f64 / chars.max(1) as f64
}

fn not_text(bytes: &[u8]) -> ExtractError {
    match foreign::sniff_binary(bytes) {
        Some(error) => error,
        None => ExtractError::Binary,
    }
}

fn replaced_warning(replaced: usize) -> Option<String> {
    (replaced > 0).then(|| format!("{replaced} invalid byte sequences were replaced by U+FFFD"))
}

/// NUL ends a string in half the software that text passes through, and models do not expect it. A lone one is noise (UTF-16
/// appended to ASCII, a crash); a run is the padding of a fixed-width field.
fn remove_nul(decoded: &mut Decoded) {
    let nul = decoded.body.bytes().filter(|&b| b == 0).count();
    if nul == 0 {
        return;
    }
    let mut body = String::with_capacity(decoded.body.len());
    let mut run = 0;
    for c in decoded.body.chars() {
        if c == '\0' {
            run += 1;
            continue;
        }
        if run > 1 && !body.is_empty() {
            body.push(' ');
        }
        run = 0;
        body.push(c);
    }
    decoded.body = body;
    decoded.source_offset = None;
    decoded.warnings.push(format!("{nul} NUL bytes were removed"));
}

/// A text whose only line end is a bare CR (classic Mac OS, some exports) is one endless line to everything downstream.
fn normalise_old_mac(decoded: &mut Decoded) {
    if decoded.body.contains('\r') && !decoded.body.contains('\n') {
        decoded.body = decoded.body.replace('\r', "\n");
        decoded.source_offset = None;
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::{BIG5, EUC_JP, GBK, KOI8_R, KOI8_U, SHIFT_JIS, WINDOWS_1251, WINDOWS_1252};

    use super::*;

    const RUSSIAN: &str = "Все люди рождаются свободными и равными в своём достоинстве и правах. ";
    const JAPANESE: &str =
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。\n";
    const CHINESE: &str = "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心。\n";
    const FRENCH: &str = "Tous les êtres humains naissent libres et égaux en dignité et en droits.\n";

    fn check(bytes: &[u8], charset: &str, body: &str) -> Decoded {
        let decoded = decode(bytes.to_vec()).unwrap_or_else(|error| panic!("{charset}: {error}"));
        assert_eq!((decoded.charset, decoded.body.as_str()), (charset, body));
        if let Some(offset) = decoded.source_offset {
            assert_eq!(&bytes[offset as usize..], body.as_bytes());
        }
        decoded
    }

    fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    }

    fn utf32(text: &str, to_bytes: fn(u32) -> [u8; 4]) -> Vec<u8> {
        text.chars().flat_map(|c| to_bytes(c as u32)).collect()
    }

    #[test]
    fn utf8_is_moved_with_its_offset() {
        assert_eq!(check("naïve\r\n".as_bytes(), "UTF-8", "naïve\r\n").source_offset, Some(0));
        assert_eq!(check(b"\xef\xbb\xbfx", "UTF-8", "x").source_offset, Some(3));
    }

    #[test]
    fn wide_character_sets_are_found_with_and_without_a_mark() {
        for text in [RUSSIAN, JAPANESE, FRENCH, "hi", "<html lang=\"en\">\r\n<p>x"] {
            check(&utf16(&format!("\u{feff}{text}"), u16::to_le_bytes), "UTF-16LE", text);
            check(&utf16(&format!("\u{feff}{text}"), u16::to_be_bytes), "UTF-16BE", text);
            check(&utf32(&format!("\u{feff}{text}"), u32::to_le_bytes), "UTF-32LE", text);
            check(&utf32(text, u32::to_be_bytes), "UTF-32BE", text);
        }
        for text in [RUSSIAN, JAPANESE, FRENCH] {
            check(&utf16(&text.repeat(20), u16::to_le_bytes), "UTF-16LE", &text.repeat(20));
            check(&utf16(&text.repeat(20), u16::to_be_bytes), "UTF-16BE", &text.repeat(20));
        }
    }

    #[test]
    fn legacy_character_sets_are_guessed_and_it_is_said() {
        for (encoding, text) in [
            (SHIFT_JIS, JAPANESE),
            (EUC_JP, JAPANESE),
            (GBK, CHINESE),
            (BIG5, "人人生而自由，在尊嚴和權利上一律平等。\n"),
            (WINDOWS_1251, RUSSIAN),
            (KOI8_U, RUSSIAN),
            (WINDOWS_1252, FRENCH),
        ] {
            let text = text.repeat(5);
            let decoded = check(&encoding.encode(&text).0, encoding.name(), &text);
            assert_eq!(decoded.warnings.len(), 1);
            assert_eq!(decoded.source_offset, None);
        }
        check(b"\x1b$B%F%9%H\x1b(B", "ISO-2022-JP", "テスト");
    }

    #[test]
    fn declarations_are_believed() {
        let html = "<html><meta http-equiv=Content-Type content='text/html; charset=KOI8-R'><p>да";
        assert!(check(&KOI8_R.encode(html).0, "KOI8-R", html).warnings.is_empty());
        let xml = "<?xml version='1.0' encoding=\"ISO-8859-1\"?><a>é</a>";
        check(&WINDOWS_1252.encode(xml).0, "windows-1252", xml);
    }

    #[test]
    fn a_few_broken_bytes_leave_utf8_what_it_is() {
        let decoded = check(
            b"caf\xc3\xa9 \xff na\xc3\xafve words \xf0\x9f\x98",
            "UTF-8",
            "café \u{fffd} naïve words \u{fffd}",
        );
        assert_eq!(decoded.warnings, ["2 invalid byte sequences were replaced by U+FFFD"]);
        check(b"caf\xe9 na\xefve", "windows-1252", "café naïve");
    }

    #[test]
    fn nul_bytes_and_old_line_ends_are_taken_out() {
        let decoded = check(
            b"as\0 the highest\0\0\0\0aspiration of the\0",
            "UTF-8",
            "as the highest aspiration of the",
        );
        assert_eq!(decoded.warnings, ["6 NUL bytes were removed"]);
        assert_eq!(check(b"a,b\rc,d\r", "UTF-8", "a,b\nc,d\n").source_offset, None);
        assert_eq!(check(b"a\rb\n", "UTF-8", "a\rb\n").source_offset, Some(0));
    }

    #[test]
    fn what_is_not_text_is_refused() {
        let check =
            |bytes: &[u8]| assert_eq!(decode(bytes.to_vec()).err(), Some(ExtractError::Binary), "{bytes:?}");
        check(&[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
        check(&[1, 0, 2, 0, 3, 0, 4, 0, 250, 255, 1, 0]);
        check(&(0..=255).rev().collect::<Vec<u8>>());
        check(&[0xf1, 0x02, 0x03, 0xfe, 0x9f, 0x11, 0x80, 0xc0]);
    }
}
