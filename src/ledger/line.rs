//! A line of state: `<CRC-32 of the JSON, 8 hex digits> <JSON>` and a line feed. Text, so that `zless`, `grep` and (after
//! `cut -c10-`) `jq` read it; checked, so that a damaged line is seen to be one and not believed.

use serde::Serialize;

/// Bytes before the JSON.
pub const PREFIX_BYTES: usize = 9;

/// Appends `value` as one line and gives the number of its bytes without the line feed.
pub fn push(out: &mut Vec<u8>, value: &impl Serialize) -> usize {
    let start = out.len();
    out.extend_from_slice(b"00000000 ");
    serde_json::to_writer(&mut *out, value)
        .expect("strings and numbers are always JSON, and memory can be written");
    let crc = crc(&out[start + PREFIX_BYTES..]);
    out[start..start + 8].copy_from_slice(format!("{crc:08x}").as_bytes());
    out.push(b'\n');
    out.len() - start - 1
}

/// The JSON of a line (without its line feed), if it is what was written.
pub fn json(line: &[u8]) -> Option<&[u8]> {
    let (prefix, json) = line.split_at_checked(PREFIX_BYTES)?;
    let expected = std::str::from_utf8(prefix.strip_suffix(b" ")?).ok()?;
    // `from_str_radix` also takes a sign.
    let is_hex = expected.bytes().all(|b| b.is_ascii_hexdigit());
    (is_hex && u32::from_str_radix(expected, 16) == Ok(crc(json))).then_some(json)
}

/// CRC-32 as in gzip.
pub fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_any_bit_flipped_is_no_line() {
        let mut line = Vec::new();
        let len = push(&mut line, &serde_json::json!({"key": "a"}));
        assert_eq!(line.len(), len + 1);
        line.pop();
        assert_eq!(json(&line), Some(br#"{"key":"a"}"#.as_slice()));
        for bit in 0..line.len() * 8 {
            let mut flipped = line.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // An upper-case hex digit is the same digit.
            let same = flipped.eq_ignore_ascii_case(&line) && flipped[8..] == line[8..];
            assert_eq!(json(&flipped).is_some(), same, "bit {bit}");
        }
        assert_eq!(json(b""), None);
        assert_eq!(json(b"00000000"), None);
        assert_eq!(json(b"00000000 "), Some(b"".as_slice()));
    }
}
