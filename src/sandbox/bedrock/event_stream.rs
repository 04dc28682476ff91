//! The framing of `application/vnd.amazon.eventstream`: messages of typed headers and a payload, with two checksums.
//!
//! Written here and not taken from the SDK, because the SDK's reader is what it is tested with. A message is, all
//! numbers big-endian:
//!
//! ```text
//! total length u32 | headers length u32 | CRC32 of these eight bytes
//! headers: name length u8, name, type u8 (7: string), value length u16, value; one after the other
//! payload
//! CRC32 of everything before
//! ```
//!
//! CRC32 is the IEEE one of gzip, so flate2 computes it (it calls crc32fast).

use flate2::Crc;

const STRING: u8 = 7;
const PRELUDE_BYTES: usize = 12;

/// What is wrong with a frame on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    Right,
    Wrong,
}

/// Appends a message to `out`. Names have at most 255 bytes, values 65,535.
pub fn encode(headers: &[(&str, &str)], payload: &[u8], checksum: Checksum, out: &mut Vec<u8>) {
    let start = out.len();
    let headers_bytes: usize = headers.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
    let total = PRELUDE_BYTES + headers_bytes + payload.len() + 4;
    out.reserve(total);
    out.extend_from_slice(&number(total).to_be_bytes());
    out.extend_from_slice(&number(headers_bytes).to_be_bytes());
    out.extend_from_slice(&crc32(&out[start..]).to_be_bytes());
    for (name, value) in headers {
        out.push(u8::try_from(name.len()).expect("header names are short constants"));
        out.extend_from_slice(name.as_bytes());
        out.push(STRING);
        let length = u16::try_from(value.len()).expect("header values are cut to their limit");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(payload);
    let sum = crc32(&out[start..]);
    let sum = if checksum == Checksum::Wrong { !sum } else { sum };
    out.extend_from_slice(&sum.to_be_bytes());
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("an answer is smaller than 4 GB")
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_message_is_laid_out_as_documented() {
        // The vector `payload_one_str_header` of the protocol's test suite (smithy-lang/smithy, aws event stream).
        let mut out = b"before".to_vec();
        encode(&[("content-type", "application/json")], b"{'foo':'bar'}", Checksum::Right, &mut out);
        let message = &out[6..];
        assert_eq!(message.len(), 61);
        assert_eq!(hex::encode(&message[..12]), "0000003d0000002007fd8396");
        assert_eq!(hex::encode(&message[57..]), "8d9c08b1");
        let mut wrong = Vec::new();
        encode(&[], b"x", Checksum::Wrong, &mut wrong);
        let mut right = Vec::new();
        encode(&[], b"x", Checksum::Right, &mut right);
        assert_eq!(wrong[..13], right[..13]);
        assert_ne!(wrong[13..], right[13..]);
    }
}
