//! Quantities as people write them: `64MiB`, `2h30m`, `0.25`.

use std::time::Duration;

/// Bytes: an integer, alone or with a unit. `k`, `M`, `G`, `T` count in thousands, `Ki`, `Mi`, `Gi`, `Ti` in 1024s; a `B`
/// may follow; capitals do not matter.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text.trim())?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        "ki" => 1 << 10,
        "mi" => 1 << 20,
        "gi" => 1 << 30,
        "ti" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A span of time: one or more integers, each with its unit, from days (`d`) over `h`, `m`, `s` to milliseconds (`ms`), the
/// larger ones first and none twice.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut milliseconds: u64 = 0;
    let mut last_factor = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let factor = match &after[..end] {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        if factor >= last_factor {
            return None;
        }
        last_factor = factor;
        milliseconds = milliseconds.checked_add(number.checked_mul(factor)?)?;
        rest = after[end..].trim_start();
    }
    (last_factor != u64::MAX).then(|| Duration::from_millis(milliseconds))
}

/// A decimal number from 0 to 1 with at most three decimals, in thousandths.
pub(super) fn parse_thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 3 {
        return None;
    }
    let thousandths =
        whole.parse::<u32>().ok()?.checked_mul(1_000)? + format!("{fraction:0<3}").parse::<u32>().ok()?;
    (thousandths <= 1_000).then_some(thousandths)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("64MiB", Some(64 << 20)),
            ("64 mib", Some(64 << 20)),
            ("10MB", Some(10_000_000)),
            ("2G", Some(2_000_000_000)),
            ("3Ki", Some(3072)),
            ("7B", Some(7)),
            ("", None),
            ("MiB", None),
            ("1.5GiB", None),
            ("-1", None),
            ("64 furlongs", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn spans_of_time_are_read_with_their_units() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("2h30m", Some(9_000)),
            ("1d 2h", Some(93_600)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("m", None),
            ("30m2h", None),
            ("1h1h", None),
            ("1.5h", None),
            ("1w", None),
            ("99999999999999999d", None),
        ] {
            assert_eq!(parse_duration(text), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(parse_duration("1s250ms"), Some(Duration::from_millis(1250)));
    }

    #[test]
    fn thousandths_are_exact() {
        for (text, thousandths) in [
            ("0", Some(0)),
            ("1", Some(1_000)),
            ("1.000", Some(1_000)),
            ("0.2", Some(200)),
            ("0.1250", Some(125)),
            ("0.0005", None),
            ("1.001", None),
            ("2", None),
            ("-0.1", None),
            (".5", None),
            ("1e-1", None),
            ("nan", None),
            ("", None),
        ] {
            assert_eq!(parse_thousandths(text), thousandths, "{text}");
        }
    }
}
