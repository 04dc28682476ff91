//! Compressed objects (gzip, zstd): unpacked under limits that hold before the memory is spent.
//!
//! A gzip file is a row of members that unpack to one stream (RFC 1952, 2.2), and a zstd file a row of frames (RFC 8878,
//! 3.1): log rotation and parallel compressors write many. What follows the last one is padding when it is all zeros,
//! as on tapes, and otherwise ignored with a warning, as `gzip -d` does.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read};

use flate2::bufread::GzDecoder;
use ruzstd::decoding::StreamingDecoder;

use super::{ExtractError, Limits};

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// A small object may unpack to this much whatever the ratio: a kilobyte of blank log lines is no bomb.
pub(super) const ALWAYS_ALLOWED_BYTES: u64 = 1 << 20;

/// Gzip inside gzip happens when an already compressed file is uploaded by a tool that compresses; deeper is hostile.
const MAX_LAYERS: u32 = 3;

/// The memory that one zstd frame may ask for; `zstd --long` writes up to 128 MiB by default.
pub(super) const MAX_WINDOW_BYTES: u64 = 128 << 20;

/// Enough to recognise a document.
const PEEK_BYTES: u64 = 64 << 10;

/// An object's bytes without their compression.
pub(super) struct Unpacked<'a> {
    pub bytes: Vec<u8>,
    /// The key without `.gz`, so that the inner extension is the last one.
    pub name: &'a str,
    pub was_packed: bool,
    pub warnings: Vec<String>,
}

/// Takes off every layer of compression, or passes the bytes through untouched.
pub(super) fn unpack<'a>(
    bytes: Vec<u8>,
    name: &'a str,
    limits: &Limits,
) -> Result<Unpacked<'a>, ExtractError> {
    let too_large = ExtractError::TooLarge { limit_bytes: limits.max_text_bytes };
    let packed_bytes = bytes.len() as u64;
    let mut out = Unpacked { bytes, name, was_packed: false, warnings: Vec::new() };
    let by_ratio = packed_bytes.saturating_mul(limits.max_expansion).max(ALWAYS_ALLOWED_BYTES);
    let mut layers = 0;
    while is_compressed(&out.bytes) {
        if layers == MAX_LAYERS {
            return Err(ExtractError::Expansion { max_expansion: limits.max_expansion });
        }
        let cap = by_ratio.min(limits.max_text_bytes);
        let (unpacked, ignored) = members(&out.bytes, cap).map_err(|stop| match stop {
            Stop::Cap if by_ratio < limits.max_text_bytes => {
                ExtractError::Expansion { max_expansion: limits.max_expansion }
            }
            Stop::Cap => too_large.clone(),
            Stop::Truncated(unpacked_bytes) => ExtractError::CompressedTruncated { unpacked_bytes },
            Stop::Damaged(unpacked_bytes) => ExtractError::CompressedDamaged { unpacked_bytes },
        })?;
        if ignored > 0 {
            out.warnings.push(format!("{ignored} bytes after the compressed data were ignored"));
        }
        out.bytes = unpacked;
        out.name = strip_extension(out.name);
        out.was_packed = true;
        layers += 1;
    }
    Ok(out)
}

/// What is inside all layers of gzip: all of it where there is none, the start where there is one; `None` where only
/// unpacking in full tells.
pub(super) fn peek(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !is_compressed(bytes) {
        return Some(Cow::Borrowed(bytes));
    }
    if bytes.starts_with(ZSTD) {
        return None;
    }
    let mut inner = Vec::new();
    // What can not be unpacked is found out later, with its reason.
    let _ = GzDecoder::new(bytes).take(PEEK_BYTES).read_to_end(&mut inner);
    (!is_compressed(&inner)).then_some(Cow::Owned(inner))
}

pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(GZIP)
}

fn is_compressed(bytes: &[u8]) -> bool {
    packing(bytes).is_some()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

/// How the bytes are compressed, if they are.
pub(super) fn packing(bytes: &[u8]) -> Option<Packing> {
    let gzip = is_gzip(bytes).then_some(Packing::Gzip);
    gzip.or_else(|| bytes.starts_with(ZSTD).then_some(Packing::Zstd))
}

enum Stop {
    Cap,
    Truncated(u64),
    Damaged(u64),
}

/// All members' bytes, and how many bytes after them are neither a member nor padding.
fn members(packed: &[u8], cap: u64) -> Result<(Vec<u8>, usize), Stop> {
    let mut out = Vec::new();
    let mut rest = packed;
    loop {
        let room = (cap - out.len() as u64) + 1;
        let read = if rest.starts_with(GZIP) {
            let mut member = GzDecoder::new(rest);
            let read = (&mut member).take(room).read_to_end(&mut out);
            rest = member.into_inner();
            read
        } else if rest.starts_with(ZSTD) {
            frame(&mut rest, room, &mut out)
        } else {
            break;
        };
        let unpacked_bytes = out.len() as u64;
        match read {
            _ if unpacked_bytes > cap => return Err(Stop::Cap),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(Stop::Truncated(unpacked_bytes));
            }
            Err(_) => return Err(Stop::Damaged(unpacked_bytes)),
        }
    }
    let ignored = if rest.iter().all(|&byte| byte == 0) { 0 } else { rest.len() };
    Ok((out, ignored))
}

/// One zstd frame. The decoder does not tell a cut from other damage, but a cut leaves nothing to read.
fn frame(rest: &mut &[u8], room: u64, out: &mut Vec<u8>) -> io::Result<usize> {
    let mut left = *rest;
    let decoder = StreamingDecoder::new_with_max_window_size(&mut left, MAX_WINDOW_BYTES);
    let read = match decoder {
        Ok(mut decoder) => (&mut decoder).take(room).read_to_end(out),
        Err(error) => Err(io::Error::other(error)),
    };
    *rest = left;
    match read {
        Err(_) if rest.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
        read => read,
    }
}

/// The name of what is inside: the key without `.gz` or `.zst`.
pub(super) fn strip_extension(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, end)) if ["gz", "tgz", "zst"].iter().any(|packed| end.eq_ignore_ascii_case(packed)) => {
            stem
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    }

    fn unpacked(bytes: Vec<u8>, name: &str) -> Result<(String, String, usize), ExtractError> {
        let limits = Limits { max_text_bytes: 4 << 20, max_expansion: 50, ..Limits::default() };
        unpack(bytes, name, &limits).map(|out| {
            let text = String::from_utf8_lossy(&out.bytes).into_owned();
            (text, out.name.to_owned(), out.warnings.len())
        })
    }

    #[test]
    fn members_padding_and_layers() {
        let ok = |text: &str, name: &str, warnings| Ok((text.to_owned(), name.to_owned(), warnings));
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(unpacked(b"plain".to_vec(), "a.gz"), ok("plain", "a.gz", 0));
        assert_eq!(unpacked(two.clone(), "a.log.GZ"), ok("one two", "a.log", 0));
        assert_eq!(unpacked([two.clone(), vec![0; 512]].concat(), "a"), ok("one two", "a", 0));
        assert_eq!(unpacked([two, b"junk".to_vec()].concat(), "a"), ok("one two", "a", 1));
        assert_eq!(unpacked(gzip(&gzip(b"twice")), "é.gz.gz"), ok("twice", "é", 0));
        let deep = (0..4).fold(b"x".to_vec(), |bytes, _| gzip(&bytes));
        assert_eq!(unpacked(deep, "a"), Err(ExtractError::Expansion { max_expansion: 50 }));
    }

    #[test]
    fn damage_and_bombs_have_their_own_reasons() {
        let words: Vec<u8> =
            (0..20_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let packed = gzip(&words);
        let cut = unpacked(packed[..packed.len() / 2].to_vec(), "a");
        assert!(
            matches!(cut, Err(ExtractError::CompressedTruncated { unpacked_bytes }) if unpacked_bytes > 0),
            "{cut:?}"
        );
        let mut flipped = packed.clone();
        let at = flipped.len() - 6;
        flipped[at] ^= 1;
        let damaged = unpacked(flipped, "a");
        assert_eq!(damaged, Err(ExtractError::CompressedDamaged { unpacked_bytes: 80_000 }));
        assert_eq!(
            unpacked(b"\x1f\x8b".to_vec(), "a"),
            Err(ExtractError::CompressedTruncated { unpacked_bytes: 0 })
        );
        let bomb = gzip(&vec![b' '; 3 << 20]);
        assert_eq!(unpacked(bomb, "a"), Err(ExtractError::Expansion { max_expansion: 50 }));
        let large = gzip(&words.repeat(60));
        assert_eq!(unpacked(large, "a"), Err(ExtractError::TooLarge { limit_bytes: 4 << 20 }));
    }
}
