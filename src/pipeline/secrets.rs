//! Keeps passwords out of what is shown: diagnostics quote the lines of a file.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// The text with what stands in `extract.passwords` painted over, byte for byte, so that places stay where they are. Of a
/// file that is no TOML nobody knows what is a password: every line that seems to set some is painted over.
pub(super) fn masked(text: &str, document: &DeTable<'_>, is_toml: bool) -> String {
    if !is_toml {
        return painted(text, lines_that_name_passwords(text));
    }
    let passwords =
        document.get("extract").and_then(|section| section.get_ref().as_table()?.get("passwords"));
    let mut spans = Vec::new();
    match passwords.map(|value| (value.span(), value.get_ref())) {
        Some((_, DeValue::Array(items))) => {
            spans.extend(items.iter().filter(|item| !item.get_ref().is_table()).map(|item| item.span()));
        }
        Some((span, _)) => spans.push(span),
        None => {}
    }
    painted(text, spans)
}

fn painted(text: &str, spans: Vec<Range<usize>>) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut from = 0;
    for span in spans {
        let Some(secret) = text.get(span.clone()).filter(|_| span.start >= from) else { continue };
        masked.push_str(&text[from..span.start]);
        let paint = |c: char| if c == '\n' { "\n".to_owned() } else { "*".repeat(c.len_utf8()) };
        masked.extend(secret.chars().map(paint));
        from = span.end;
    }
    masked.push_str(&text[from..]);
    masked
}

/// What stands after the name in lines such as `passwords = ["a"]`.
fn lines_that_name_passwords(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut spans = Vec::new();
    for line in text.split_inclusive('\n') {
        if let Some(at) = line.find("passwords").filter(|_| !line.trim_start().starts_with('#')) {
            spans.push(start + at + "passwords".len()..start + line.trim_end().len());
        }
        start += line.len();
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_painted_over_and_nothing_else_moves() {
        let shown = |text: &str| {
            let (document, errors) = DeTable::parse_recoverable(text);
            masked(text, document.get_ref(), errors.is_empty())
        };
        for (text, expected) in [
            (
                "a = 1\nextract.passwords = [\"pä\", { env = \"X\" }] # b\n",
                "a = 1\nextract.passwords = [*****, { env = \"X\" }] # b\n",
            ),
            ("[extract]\npasswords = \"ab\"\n", "[extract]\npasswords = ****\n"),
            ("[extract]\npasswords = [\"ab\nx = 1\n", "[extract]\npasswords*******\nx = 1\n"),
            ("map.prompt = \"no passwords\"\n", "map.prompt = \"no passwords\"\n"),
        ] {
            assert_eq!(shown(text), expected);
            assert_eq!(shown(text).len(), text.len());
        }
    }
}
