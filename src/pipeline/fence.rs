//! The fence around document text in a prompt.
//!
//! What a document says is data. It is put between an opening and a closing tag, and the name of the tag is chosen so
//! that neither can occur in the text: a document that holds `</document>` gets a tag with a suffix made from a hash
//! of its own text. The choice depends on nothing else, so the same text makes the same prompt.

use sha2::{Digest, Sha256};

/// Tags that none of the fenced texts can open or close.
pub(super) struct Fence {
    /// Empty, or `-` and eight hexadecimal digits.
    suffix: String,
}

impl Fence {
    /// A fence for all of `texts` in one prompt, to be put between tags of these names.
    pub(super) fn new(names: &[&str], texts: &[&str]) -> Fence {
        let safe = |suffix: &str| {
            names.iter().all(|name| {
                let name = format!("{name}{suffix}");
                texts.iter().all(|text| !holds_tag(text, &name))
            })
        };
        if safe("") {
            return Fence { suffix: String::new() };
        }
        let mut hash = Sha256::new();
        for text in texts {
            hash.update(text.len().to_le_bytes());
            hash.update(text.as_bytes());
        }
        // A text can not hold the hash of itself but by chance, one in four thousand millions a place; then the
        // hash of the hash is tried. A text of n bytes rules out at most n of the suffixes.
        loop {
            let digest = hash.finalize();
            let suffix = format!("-{}", hex::encode(&digest[..4]));
            if safe(&suffix) {
                return Fence { suffix };
            }
            hash = Sha256::new();
            hash.update(digest);
        }
    }

    /// `<name attributes>`, the text, `</name>`, each on its own lines. An empty text stays empty: there is
    /// nothing to fence, and a template can ask for it with `if`.
    pub(super) fn around(&self, name: &str, attributes: &str, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let space = if attributes.is_empty() { "" } else { " " };
        format!("<{name}{suffix}{space}{attributes}>\n{text}\n</{name}{suffix}>", suffix = self.suffix)
    }
}

/// Whether `text` holds something that a reader could take for an opening or closing tag of this name: letters in any
/// case, with white space or invisible characters anywhere around the slash.
fn holds_tag(text: &str, name: &str) -> bool {
    let blank = |c: &char| c.is_whitespace() || is_invisible(*c);
    text.match_indices('<').any(|(at, _)| {
        let mut rest = text[at + 1..].chars().filter(|c| !blank(c)).peekable();
        if rest.peek() == Some(&'/') {
            rest.next();
        }
        let mut rest = rest.flat_map(char::to_lowercase);
        name.chars().flat_map(char::to_lowercase).all(|c| rest.next() == Some(c))
    })
}

/// Characters without a glyph that can hide in a word: zero-width ones, directional marks, tags.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e01ef}')
}

/// A document's key as one line that can neither break the prompt's layout nor pose as a tag: whatever is
/// invisible, a line break, `<` or `>` is written as `%XX`, and a very long key is cut in the middle.
pub(super) fn key_line(key: &str) -> String {
    const LONGEST: usize = 1024;
    let mut line = String::with_capacity(key.len());
    for c in key.chars() {
        if c == '<' || c == '>' || is_invisible(c) || (c.is_whitespace() && c != ' ') {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                line.push_str(&format!("%{byte:02X}"));
            }
        } else {
            line.push(c);
        }
    }
    let length = line.chars().count();
    if length <= LONGEST {
        return line;
    }
    let head: String = line.chars().take(LONGEST / 2).collect();
    let tail: String = line.chars().skip(length - LONGEST / 2).collect();
    format!("{head}...{tail}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fenced(text: &str) -> String {
        Fence::new(&["document", "context"], &[text]).around("document", "", text)
    }

    #[test]
    fn harmless_text_gets_the_plain_tag() {
        assert_eq!(fenced("a < b, <doc>, a</p>"), "<document>\na < b, <doc>, a</p>\n</document>");
        assert_eq!(fenced(""), "");
        assert_eq!(
            Fence::new(&["answer"], &[]).around("answer", "n=\"3\"", "x"),
            "<answer n=\"3\">\nx\n</answer>"
        );
    }

    #[test]
    fn a_text_that_holds_the_tag_gets_another_one() {
        for text in [
            "</document>",
            "< / DOCUMENT >",
            "<\u{200b}/docu\nment",
            "a <document> b",
            "</context>",
            "</documents>",
            "</d\u{ad}ocument\u{202e}>",
        ] {
            let fenced = fenced(text);
            assert!(fenced.starts_with("<document-"), "{fenced}");
            assert_eq!(fenced, super::tests::fenced(text));
        }
    }

    #[test]
    fn the_fence_can_not_be_guessed_from_a_text_that_was_fenced_before() {
        let first = fenced("</document>");
        let second = fenced(&first);
        let name = |fenced: &str| fenced[..fenced.find('>').unwrap()].to_owned();
        assert_ne!(name(&first), name(&second));
    }

    #[test]
    fn keys_are_one_safe_line() {
        for (key, line) in [
            ("a/b c.txt", "a/b c.txt"),
            ("a\nIgnore <b>", "a%0AIgnore %3Cb%3E"),
            ("ü\u{202e}x\u{2028}", "ü%E2%80%AEx%E2%80%A8"),
            ("50%", "50%"),
        ] {
            assert_eq!(key_line(key), line);
        }
        assert_eq!(key_line(&"<".repeat(5000)).chars().count(), 1027);
    }

    /// Text that is likely to hold parts of tags, and tags made by the fence itself.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("<".to_owned()),
            Just("/".to_owned()),
            Just(">".to_owned()),
            Just("</document".to_owned()),
            Just("DOCUMENT".to_owned()),
            Just("document-".to_owned()),
            Just(" ".to_owned()),
            Just("\u{200b}".to_owned()),
            "[a-f0-9]{1,8}",
            any::<String>(),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_text_closes_its_own_fence(text in hostile(), rounds in 0..3usize) {
            // Fencing a fenced text feeds the fence its own tags.
            let text = (0..rounds).fold(text, |text, _| fenced(&text));
            let fenced = fenced(&text);
            prop_assume!(!text.is_empty());
            let open = &fenced[..=fenced.find('>').unwrap()];
            let name = &open[1..open.len() - 1];
            prop_assert!(!holds_tag(&text, name));
            let expected = format!("<{name}>\n{text}\n</{name}>");
            prop_assert_eq!(fenced, expected);
        }

        #[test]
        fn no_key_breaks_its_line(key in any::<String>()) {
            let line = key_line(&key);
            let safe = line.chars().all(|c| !c.is_control() && !matches!(c, '<' | '>' | '\u{2028}' | '\u{2029}'));
            prop_assert!(safe);
        }
    }
}
