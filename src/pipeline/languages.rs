//! The names of languages and scripts that rules may use: the ones that detectors tell apart.
//!
//! A language is named by its ISO 639-1 code, a script by a plain name or its ISO 15924 code. People also type the code of three letters and the English name, so the
//! first is taken for what it means and the second is answered with the code.

use crate::catalog::nearest;

/// ISO 639-1, ISO 639-3, English.
const LANGUAGES: &[(&str, &str, &str)] = &[
    ("af", "afr", "Afrikaans"),
    ("ak", "aka", "Akan"),
    ("am", "amh", "Amharic"),
    ("ar", "ara", "Arabic"),
    ("az", "aze", "Azerbaijani"),
    ("be", "bel", "Belarusian"),
    ("bg", "bul", "Bulgarian"),
    ("bn", "ben", "Bengali"),
    ("bo", "bod", "Tibetan"),
    ("bs", "bos", "Bosnian"),
    ("ca", "cat", "Catalan"),
    ("cs", "ces", "Czech"),
    ("cy", "cym", "Welsh"),
    ("da", "dan", "Danish"),
    ("de", "deu", "German"),
    ("el", "ell", "Greek"),
    ("en", "eng", "English"),
    ("eo", "epo", "Esperanto"),
    ("es", "spa", "Spanish"),
    ("et", "est", "Estonian"),
    ("eu", "eus", "Basque"),
    ("fa", "pes", "Persian"),
    ("fi", "fin", "Finnish"),
    ("fr", "fra", "French"),
    ("ga", "gle", "Irish"),
    ("gu", "guj", "Gujarati"),
    ("he", "heb", "Hebrew"),
    ("hi", "hin", "Hindi"),
    ("hr", "hrv", "Croatian"),
    ("hu", "hun", "Hungarian"),
    ("hy", "hye", "Armenian"),
    ("id", "ind", "Indonesian"),
    ("is", "isl", "Icelandic"),
    ("it", "ita", "Italian"),
    ("ja", "jpn", "Japanese"),
    ("jv", "jav", "Javanese"),
    ("ka", "kat", "Georgian"),
    ("kk", "kaz", "Kazakh"),
    ("km", "khm", "Khmer"),
    ("kn", "kan", "Kannada"),
    ("ko", "kor", "Korean"),
    ("la", "lat", "Latin"),
    ("lg", "lug", "Ganda"),
    ("lo", "lao", "Lao"),
    ("lt", "lit", "Lithuanian"),
    ("lv", "lav", "Latvian"),
    ("mi", "mri", "Maori"),
    ("mk", "mkd", "Macedonian"),
    ("ml", "mal", "Malayalam"),
    ("mn", "mon", "Mongolian"),
    ("mr", "mar", "Marathi"),
    ("ms", "msa", "Malay"),
    ("my", "mya", "Burmese"),
    ("nb", "nob", "Norwegian"),
    ("ne", "nep", "Nepali"),
    ("nl", "nld", "Dutch"),
    ("nn", "nno", "Nynorsk"),
    ("or", "ori", "Oriya"),
    ("pa", "pan", "Punjabi"),
    ("pl", "pol", "Polish"),
    ("pt", "por", "Portuguese"),
    ("ro", "ron", "Romanian"),
    ("ru", "rus", "Russian"),
    ("si", "sin", "Sinhala"),
    ("sk", "slk", "Slovak"),
    ("sl", "slv", "Slovene"),
    ("sn", "sna", "Shona"),
    ("so", "som", "Somali"),
    ("sq", "sqi", "Albanian"),
    ("sr", "srp", "Serbian"),
    ("st", "sot", "Sotho"),
    ("sv", "swe", "Swedish"),
    ("sw", "swa", "Swahili"),
    ("ta", "tam", "Tamil"),
    ("te", "tel", "Telugu"),
    ("th", "tha", "Thai"),
    ("tk", "tuk", "Turkmen"),
    ("tl", "tgl", "Tagalog"),
    ("tn", "tsn", "Tswana"),
    ("tr", "tur", "Turkish"),
    ("ts", "tso", "Tsonga"),
    ("uk", "ukr", "Ukrainian"),
    ("ur", "urd", "Urdu"),
    ("uz", "uzb", "Uzbek"),
    ("vi", "vie", "Vietnamese"),
    ("xh", "xho", "Xhosa"),
    ("yi", "yid", "Yiddish"),
    ("yo", "yor", "Yoruba"),
    ("zh", "zho", "Chinese"),
    ("zh", "cmn", "Mandarin"),
    ("zu", "zul", "Zulu"),
];

/// Scripts by a plain name, and their ISO 15924 codes.
const SCRIPTS: &[(&str, &[&str])] = &[
    ("latin", &["Latn"]),
    ("cyrillic", &["Cyrl"]),
    ("greek", &["Grek"]),
    ("arabic", &["Arab"]),
    ("hebrew", &["Hebr"]),
    ("chinese", &["Hani", "Hans", "Hant"]),
    ("japanese", &["Jpan"]),
    ("korean", &["Kore"]),
    ("devanagari", &["Deva"]),
    ("bengali", &["Beng"]),
    ("gurmukhi", &["Guru"]),
    ("gujarati", &["Gujr"]),
    ("oriya", &["Orya"]),
    ("tamil", &["Taml"]),
    ("telugu", &["Telu"]),
    ("kannada", &["Knda"]),
    ("malayalam", &["Mlym"]),
    ("sinhala", &["Sinh"]),
    ("thai", &["Thai"]),
    ("lao", &["Laoo"]),
    ("tibetan", &["Tibt"]),
    ("myanmar", &["Mymr"]),
    ("khmer", &["Khmr"]),
    ("mongolian", &["Mong"]),
    ("georgian", &["Geor"]),
    ("armenian", &["Armn"]),
    ("ethiopic", &["Ethi"]),
];

/// The names that a rule can give to a script, codes left out.
pub(super) fn script_names() -> Vec<&'static str> {
    SCRIPTS.iter().map(|(name, _)| *name).collect()
}

/// The ISO 15924 codes of a script that is named plainly or by one of them.
pub(super) fn script_codes(typed: &str) -> Option<Vec<&'static str>> {
    if let Some((_, codes)) = SCRIPTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(typed)) {
        return Some(codes.to_vec());
    }
    let mut codes = SCRIPTS.iter().flat_map(|(_, codes)| *codes);
    codes.find(|code| code.eq_ignore_ascii_case(typed)).map(|code| vec![*code])
}

/// The ISO 639-1 code of what was typed; where it is no code, the code and name that were probably meant.
pub(super) fn code(typed: &str) -> Result<&'static str, Option<(&'static str, &'static str)>> {
    let lower = typed.to_ascii_lowercase();
    if let Some((code, ..)) = LANGUAGES.iter().find(|(one, three, _)| lower == *one || lower == *three) {
        return Ok(code);
    }
    let meant = nearest(typed, LANGUAGES.iter().map(|(.., name)| *name), 1).first().copied();
    let of_name = |name: &str| LANGUAGES.iter().find(|(.., known)| *known == name);
    // Two or three letters are a code that does not exist, not a name cut short.
    let meant = meant.filter(|_| typed.chars().count() > 3);
    Err(meant.and_then(of_name).map(|(code, _, name)| (*code, *name)))
}

/// The ISO 639-1 code of a language that is named by either of its ISO codes; `None` for one that no rule can name.
pub fn language_code(code: &str) -> Option<&'static str> {
    self::code(code).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_two_and_three_letters_are_one_language_and_a_name_is_answered_with_it() {
        assert_eq!((code("de"), code("deu"), code("DE")), (Ok("de"), Ok("de"), Ok("de")));
        assert_eq!(language_code("cmn"), Some("zh"));
        assert_eq!(code("german"), Err(Some(("de", "German"))));
        assert_eq!(code("xx"), Err(None));
        let mut codes: Vec<&str> = LANGUAGES.iter().map(|(_, three, _)| *three).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), LANGUAGES.len(), "a code stands twice");
        assert_eq!(script_codes("Cyrillic"), Some(vec!["Cyrl"]));
        assert_eq!(script_codes("hans"), Some(vec!["Hans"]));
        assert_eq!(
            (script_codes("chinese").map(|codes| codes.len()), script_codes("klingon")),
            (Some(3), None)
        );
    }
}
