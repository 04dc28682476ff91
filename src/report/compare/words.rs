//! Text to the words that comparisons are made of.
//!
//! Words are those of Unicode (UAX #29), in small letters, after compatibility composition (NFKC: full-width digits and
//! ligatures equal plain ones). Where a script has no spaces between words (Han, kana, Thai and its neighbours) each
//! character is a word, with the marks that belong to it: a dictionary would make figures depend on its edition.
//! Nothing is stemmed and no stop word is left out, for either would hold for one language only: `houses` is not `house`.
//!
//! Google's rouge-score, the usual yardstick, knows ASCII letters and digits alone, and parts `don't` and `3.5` into two
//! words each. Without its stemmer it gives the figures of this file for English, but for such words.

use std::borrow::Cow;
use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization as _;
use unicode_segmentation::UnicodeSegmentation as _;

/// The words of several texts as numbers: equal words have equal numbers.
#[derive(Debug, Default)]
pub(super) struct Vocabulary(HashMap<String, u32>);

impl Vocabulary {
    pub(super) fn number(&mut self, text: &str) -> Vec<u32> {
        words(&normal(text)).into_iter().map(|(_, word)| self.number_of(word)).collect()
    }

    fn number_of(&mut self, word: &str) -> u32 {
        let next = u32::try_from(self.0.len()).expect("a text of four thousand million words is never held");
        *self.0.entry(word.to_lowercase()).or_insert(next)
    }
}

/// The text with one spelling for what looks the same. Letters keep their case.
pub(super) fn normal(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    // A soft hyphen is no part of a word, and one writer types `'` where another's program makes `’` of it.
    let chars = text.nfkc().filter(|char| *char != '\u{ad}');
    Cow::Owned(chars.map(|char| if char == '’' { '\'' } else { char }).collect())
}

/// The words of a normal text as they are written, each with the byte it starts at.
pub(super) fn words(normal: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    for (start, joined) in normal.unicode_word_indices() {
        let mut at = start;
        // To Unicode `_` joins words, in Markdown it marks them.
        for word in joined.split('_') {
            if is_unspaced(word) {
                // Unicode keeps a run of katakana together, but not one of other kana.
                words.extend(word.grapheme_indices(true).map(|(within, char)| (at + within, char)));
            } else if !word.is_empty() {
                words.push((at, word));
            }
            at += word.len() + 1;
        }
    }
    words
}

/// Whether the word is of a script that is written without spaces. Hangul is none of them: Korean has spaces.
pub(super) fn is_unspaced(word: &str) -> bool {
    let Some(char) = word.chars().next() else { return false };
    !char.is_numeric()
        && matches!(char,
            // Thai and Lao, Burmese, Khmer.
            '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
            // Kana and the iteration marks.
            | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}'
            // Han.
            | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let normal = normal(text);
        let found: Vec<String> = words(&normal).into_iter().map(|(_, word)| word.to_lowercase()).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn words_are_lower_cased_and_free_of_punctuation_and_markup() {
        check(
            "The **Quick**, _brown_ Fox-trot (1,234.5 %).",
            &["the", "quick", "brown", "fox", "trot", "1,234.5"],
        );
        check("snake_case don’t DON'T", &["snake", "case", "don't", "don't"]);
        check("ÉTÉ e\u{301}te\u{301} ﬁn co\u{ad}op", &["été", "été", "fin", "coop"]);
        check(" \n—…!", &[]);
    }

    #[test]
    fn scripts_without_spaces_give_a_word_a_character() {
        check("東京タワーは333ﾒｰﾄﾙ。", &["東", "京", "タ", "ワ", "ー", "は", "333", "メ", "ー", "ト", "ル"]);
        check("中国２０２０年", &["中", "国", "2020", "年"]);
        check("ที่นี่", &["ท\u{e35}\u{e48}", "น\u{e35}\u{e48}"]);
        check("한국어 문장", &["한국어", "문장"]);
    }

    #[test]
    fn places_of_words_are_bytes_of_the_text() {
        let text = "a __b_c__ タワ d";
        for (at, word) in words(text) {
            assert!(text[at..].starts_with(word), "{word} at {at}");
        }
        assert_eq!(words(text).len(), 6);
    }
}
