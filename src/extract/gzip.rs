//! Gzip: unpacks an object's bytes under limits that hold before the memory is spent.
//!
//! A gzip file is a row of members that unpack to one stream (RFC 1952, 2.2): log rotation and parallel
//! compressors write many. What follows the last member is padding when it is all zeros, as on tapes, and otherwise
//! ignored with a warning, as `gzip -d` does.

use std::io::{ErrorKind, Read};

use flate2::bufread::GzDecoder;

use super::{ExtractError, Limits};

const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A small object may unpack to this much whatever the ratio: a kilobyte of blank log lines is no bomb.
const ALWAYS_ALLOWED_BYTES: u64 = 1 << 20;

/// Gzip inside gzip happens when an already compressed file is uploaded by a tool that compresses; deeper is hostile.
const MAX_LAYERS: u32 = 3;

/// An object's bytes without their compression.
pub(super) struct Unpacked<'a> {
    pub bytes: Vec<u8>,
    /// The key without `.gz`, so that the inner extension is the last one.
    pub name: &'a str,
    pub was_packed: bool,
    pub warnings: Vec<String>,
}

/// Takes off every layer of gzip, or passes the bytes through untouched.
pub(super) fn unpack<'a>(
    bytes: Vec<u8>,
    name: &'a str,
    limits: &Limits,
) -> Result<Unpacked<'a>, ExtractError> {
    let too_large = ExtractError::TooLarge { limit_bytes: limits.max_text_bytes };
    let packed_bytes = bytes.len() as u64;
    if packed_bytes > limits.max_text_bytes {
        return Err(too_large);
    }
    let mut out = Unpacked { bytes, name, was_packed: false, warnings: Vec::new() };
    let by_ratio = packed_bytes.saturating_mul(limits.max_expansion).max(ALWAYS_ALLOWED_BYTES);
    let mut layers = 0;
    while out.bytes.starts_with(&MAGIC) {
        if layers == MAX_LAYERS {
            return Err(ExtractError::Expansion { max_expansion: limits.max_expansion });
        }
        let cap = by_ratio.min(limits.max_text_bytes);
        let (unpacked, ignored) = members(&out.bytes, cap).map_err(|stop| match stop {
            Stop::Cap if by_ratio < limits.max_text_bytes => {
                ExtractError::Expansion { max_expansion: limits.max_expansion }
            }
            Stop::Cap => too_large.clone(),
            Stop::Truncated(unpacked_bytes) => ExtractError::GzipTruncated { unpacked_bytes },
            Stop::Damaged(unpacked_bytes) => ExtractError::GzipDamaged { unpacked_bytes },
        })?;
        if ignored > 0 {
            out.warnings.push(format!("{ignored} bytes after the gzip data were ignored"));
        }
        out.bytes = unpacked;
        out.name = strip_extension(out.name);
        out.was_packed = true;
        layers += 1;
    }
    Ok(out)
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
    while rest.starts_with(&MAGIC) {
        let mut member = GzDecoder::new(rest);
        let room = cap - out.len() as u64;
        let read = (&mut member).take(room + 1).read_to_end(&mut out);
        let unpacked_bytes = out.len() as u64;
        match read {
            _ if unpacked_bytes > cap => return Err(Stop::Cap),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(Stop::Truncated(unpacked_bytes));
            }
            Err(_) => return Err(Stop::Damaged(unpacked_bytes)),
        }
        rest = member.into_inner();
    }
    let ignored = if rest.iter().all(|&byte| byte == 0) { 0 } else { rest.len() };
    Ok((out, ignored))
}

fn strip_extension(name: &str) -> &str {
    let lower = name.len().checked_sub(3).and_then(|at| name.get(at..));
    match lower {
        Some(end) if end.eq_ignore_ascii_case(".gz") => &name[..name.len() - 3],
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
        let limits = Limits { max_text_bytes: 4 << 20, max_expansion: 50 };
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
            matches!(cut, Err(ExtractError::GzipTruncated { unpacked_bytes }) if unpacked_bytes > 0),
            "{cut:?}"
        );
        let mut flipped = packed.clone();
        let at = flipped.len() - 6;
        flipped[at] ^= 1;
        let damaged = unpacked(flipped, "a");
        assert_eq!(damaged, Err(ExtractError::GzipDamaged { unpacked_bytes: 80_000 }));
        assert_eq!(
            unpacked(b"\x1f\x8b".to_vec(), "a"),
            Err(ExtractError::GzipTruncated { unpacked_bytes: 0 })
        );
        let bomb = gzip(&vec![b' '; 3 << 20]);
        assert_eq!(unpacked(bomb, "a"), Err(ExtractError::Expansion { max_expansion: 50 }));
        let large = gzip(&words.repeat(60));
        assert_eq!(unpacked(large, "a"), Err(ExtractError::TooLarge { limit_bytes: 4 << 20 }));
    }
}
