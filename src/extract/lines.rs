//! Texts that are rows of records: logs, JSON lines, subtitles. They are recognised here and kept byte for byte.

use serde::de::IgnoredAny;

use crate::domain::{Format, Layout, Text};

/// Lines looked at to recognise a format.
const SAMPLE_LINES: usize = 50;

/// A log line has its clock within this many bytes: level, host and a bracket may stand before.
const CLOCK_WITHIN_BYTES: usize = 48;

/// Counts what is not JSON in a text called JSON Lines. If that is most of it, it is no JSON Lines.
pub(super) fn read_json_lines(mut text: Text) -> Text {
    let (mut lines, mut bad) = (0u64, 0u64);
    for line in text.body.lines().filter(|line| !line.trim().is_empty()) {
        lines += 1;
        bad += u64::from(serde_json::from_str::<IgnoredAny>(line).is_err());
    }
    text.layout = Layout::Lines;
    if bad * 2 > lines {
        text.format = Format::Text;
        text.layout = Layout::Prose;
        text.warnings.push("named JSON lines, but most lines are not JSON: read as prose".to_owned());
    } else if bad > 0 {
        text.warnings.push(format!("{bad} of {lines} lines are not JSON"));
    }
    text
}

/// At least two lines, and every one of the first is a JSON object or list.
pub(super) fn looks_like_json_lines(body: &str) -> bool {
    let mut lines = body.lines().map(str::trim).filter(|line| !line.is_empty()).take(SAMPLE_LINES).peekable();
    let is_json =
        |line: &str| line.starts_with(['{', '[']) && serde_json::from_str::<IgnoredAny>(line).is_ok();
    lines.next().is_some_and(is_json) && lines.peek().is_some() && lines.all(is_json)
}

/// Three lines and half of the first ones carry a clock with seconds near their start.
pub(super) fn looks_like_log(body: &str) -> bool {
    let (mut lines, mut clocks) = (0, 0);
    for line in body.lines().filter(|line| !line.trim().is_empty()).take(SAMPLE_LINES) {
        lines += 1;
        let head = &line.as_bytes()[..line.len().min(CLOCK_WITHIN_BYTES)];
        clocks += usize::from(head.windows(8).any(is_clock));
    }
    clocks >= 3 && clocks * 2 >= lines
}

/// `hh:mm:ss`.
fn is_clock(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(at, byte)| match at {
        2 | 5 => *byte == b':',
        _ => byte.is_ascii_digit(),
    })
}

/// WebVTT by its signature, SubRip by its first cue: a number, then a time line.
pub(super) fn looks_like_subtitles(body: &str) -> bool {
    let mut lines = body.lines().map(str::trim).skip_while(|line| line.is_empty());
    let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let signature =
        first.strip_prefix("WEBVTT").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
    let numbered = !first.is_empty() && first.bytes().all(|b| b.is_ascii_digit());
    signature || numbered && second.contains(" --> ") && second.as_bytes().windows(8).any(is_clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_known_by_their_clocks() {
        let check = |line: &str, expect: bool| {
            let body = format!("{line}\n").repeat(4);
            assert_eq!(looks_like_log(&body), expect, "{line}");
        };
        check("Mar 27 13:06:56 ip-10-77-20-248 sshd[1291]: Server listening", true);
        check("2024-05-01T13:06:56.123Z INFO started", true);
        check("127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.0\" 200", true);
        check("The meeting starts at 13:30 and ends at 15:00.", false);
        check("A sentence that is long enough to have a time, as of 13:06:56, far behind.", false);
        assert!(!looks_like_log("10:00:00 a\n10:00:01 b\nprose\nprose\nprose\n"));
    }

    #[test]
    fn subtitles_and_json_lines_are_known() {
        assert!(looks_like_subtitles("WEBVTT\n\n00:01.000 --> 00:02.000\nHi\n"));
        assert!(looks_like_subtitles("1\r\n00:00:01,000 --> 00:00:02,000\r\nHi\r\n"));
        assert!(!looks_like_subtitles("WEBVTTX\n"));
        assert!(!looks_like_subtitles("1\nsecond --> line\n"));
        assert!(looks_like_json_lines("{\"a\":1}\n\n[2]\n"));
        assert!(!looks_like_json_lines("{\"a\":1}\n"));
        assert!(!looks_like_json_lines("{\"a\":1}\n{b}\n"));
        assert!(!looks_like_json_lines("1\n2\n"));
    }
}
