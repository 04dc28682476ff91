//! Which of a reference's content words an answer has: what a summary must not lose, unlike its wording.
//!
//! Content words are found by their looks, without lists of words, so that any language and any single document can
//! be measured, and a document's figure does not depend on which others are in the sample:
//!
//! - numbers: whatever has a digit and at least two letters or digits (`42`, `3.5`, `Q3`; a lone digit is
//!   mostly the mark of a list), with separators of thousands left out;
//! - names: words written with a capital other than at the start of a sentence, or with two capitals, and nowhere in the
//!   reference in small letters (in German this takes in all nouns);
//! - rare words: those of eight letters or more, for the rarer a word, the longer it is (Zipf 1935; Piantadosi, Tily and
//!   Gibson, "Word lengths are optimized for efficient communication", 2011);
//! - in scripts without spaces each two neighbouring characters, hiragana left out, as indexes of such texts do.
//!
//! Each form counts once. The answer has a content word if it has the same form, in capitals or not, with the English
//! genitive or without; other inflected forms and paraphrases are misses, so figures compare models on the same
//! references and mean little alone.

use std::collections::{BTreeMap, HashSet};

use super::words::{is_unspaced, normal, words};

const RARE_LETTERS: usize = 8;

/// The content words of a reference, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content(Vec<String>);

impl Content {
    pub(super) fn of(reference: &str) -> Content {
        let mut by_form: BTreeMap<String, Looks> = BTreeMap::new();
        for (form, looks) in forms(&normal(reference)) {
            let all = by_form.entry(form).or_default();
            all.is_content |= looks.is_content;
            all.is_name |= looks.is_name;
            all.is_small |= looks.is_small;
        }
        let is_content = |looks: &Looks| looks.is_content || looks.is_name && !looks.is_small;
        Content(by_form.into_iter().filter(|(_, looks)| is_content(looks)).map(|(form, _)| form).collect())
    }

    /// The share of the content words that `answer` has, from 0 to 1. `None` if there are none.
    pub(super) fn share_in(&self, answer: &str) -> Option<f64> {
        let normal = normal(answer);
        let of_answer: HashSet<String> = forms(&normal).into_iter().map(|(form, _)| form).collect();
        let found = self.0.iter().filter(|form| of_answer.contains(*form)).count();
        (!self.0.is_empty()).then(|| found as f64 / self.0.len() as f64)
    }
}

/// How one occurrence of a word is written.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    /// A number, a long word, or a pair of characters.
    is_content: bool,
    is_name: bool,
    is_small: bool,
}

/// What a text has: its words, and the pairs of characters of scripts without spaces.
fn forms(normal: &str) -> Vec<(String, Looks)> {
    let mut forms = Vec::new();
    let mut before: Option<(usize, &str)> = None;
    for (at, word) in words(normal) {
        let gap = before.map(|(start, word)| &normal[start + word.len()..at]);
        if is_unspaced(word) {
            if let Some((_, previous)) = before
                && gap == Some("")
                && is_unspaced(previous)
                && !is_hiragana(previous)
                && !is_hiragana(word)
            {
                let pair = format!("{previous}{word}").to_lowercase();
                forms.push((pair, Looks { is_content: true, ..Looks::default() }));
            }
        } else {
            // The genitive would hide the name: `Smith's` is `Smith`.
            let bare = word.strip_suffix("'s").or(word.strip_suffix("'S")).unwrap_or(word);
            forms.push((form(bare), looks(bare, gap.is_none_or(starts_sentence))));
        }
        before = Some((at, word));
    }
    forms
}

fn is_hiragana(word: &str) -> bool {
    word.starts_with(|char| matches!(char, '\u{3041}'..='\u{309f}'))
}

/// Small letters, and numbers without separators of thousands: `1,234` and `1'234` are `1234`.
fn form(word: &str) -> String {
    let word = word.to_lowercase();
    let bytes = word.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let separates = |at: usize| {
        matches!(bytes[at], b',' | b'\'')
            && (at + 1..at + 4).all(is_digit)
            && !is_digit(at + 4)
            && is_digit(at - 1)
    };
    if !word.starts_with(|char: char| char.is_ascii_digit()) {
        return word;
    }
    word.char_indices().filter(|(at, _)| !separates(*at)).map(|(_, char)| char).collect()
}

fn looks(word: &str, starts_sentence: bool) -> Looks {
    let letters = word.chars().filter(|char| char.is_alphanumeric()).count();
    let is_number = letters >= 2 && word.chars().any(char::is_numeric);
    let capitals = word.chars().filter(|char| char.is_uppercase()).count();
    let is_capitalised = letters >= 2 && word.starts_with(char::is_uppercase);
    Looks {
        is_content: is_number || letters >= RARE_LETTERS,
        is_name: capitals >= 2 || is_capitalised && !starts_sentence,
        is_small: capitals == 0,
    }
}

/// Whether what stands between two words ends a sentence or starts a block: its mark, a blank line, or a line that opens
/// with something other than a word.
fn starts_sentence(gap: &str) -> bool {
    let opens_line = |line: &str| line.chars().any(|char| !char.is_whitespace());
    gap.contains(['.', '!', '?', ':', '…', '。', '！', '？', '।', '؟'])
        || gap.matches('\n').count() > 1
        || gap.rsplit_once('\n').is_some_and(|(_, line)| opens_line(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reference: &str, expected: &[&str]) {
        assert_eq!(Content::of(reference).0, expected, "{reference}");
    }

    #[test]
    fn content_is_numbers_names_and_long_words() {
        check("However, the cat saw Ms Smith pay 1,234.50 in Q3.", &["1234.50", "ms", "q3", "smith"]);
        check("1. The regulation\n2. The IMF", &["imf", "regulation"]);
        check("In 2024 it was 3 of 10", &["10", "2024"]);
        check("so Smith's company’s the LAW'S", &["law", "smith"]);
        check("by Anna,\nBert.\n\nCarl\n- Dora", &["anna", "bert"]);
    }

    #[test]
    fn a_word_that_is_also_written_small_is_no_name() {
        check("The Bank said that a bank is the One", &["one"]);
    }

    #[test]
    fn scripts_without_spaces_give_pairs_of_characters() {
        check("東京タワーは高い。京", &["タワ", "ワー", "京タ", "東京"]);
        check("中国, 人口14亿", &["14", "中国", "人口"]);
    }

    #[test]
    fn separators_of_thousands_do_not_matter_and_decimals_do() {
        for (word, expected) in [
            ("1,234,567", "1234567"),
            ("1'234", "1234"),
            ("1,5", "1,5"),
            ("1.234", "1.234"),
            ("12,3456", "12,3456"),
            ("Ab,123", "ab,123"),
        ] {
            assert_eq!(form(word), expected);
        }
    }

    #[test]
    fn coverage_is_the_share_of_forms_found_in_any_case() {
        let content = Content::of("He told Smith that 1,234 of 99 regulations fell. Smith!");
        assert_eq!(content.0, ["1234", "99", "regulations", "smith"]);
        assert_eq!(content.share_in("SMITH: 1234 regulation"), Some(0.5));
        assert_eq!(content.share_in(""), Some(0.0));
        assert_eq!(content.share_in("regulations smith 1'234 99"), Some(1.0));
        assert_eq!(Content::of("so it is").share_in("so it is"), None);
        assert_eq!(Content::of("東京").share_in("京東"), Some(0.0));
    }
}
