//! Which language and script a text is written in, and whether it is code: what a route may depend on.
//!
//! A model that is good enough for English notes may not be for Thai contracts, and a document may change its language half-way,
//! so this is asked for every chunk and has to cost next to nothing. A few hundred bytes from three places are looked at.
//! Most scripts are one language's own; in the others, the most frequent words of the most frequent languages
//! decide where they are clear (some 10 µs), and whatlang's trigrams where they are not: it tells 70 languages apart, at 30 µs a
//! call, and 100 in the Latin script.
//! (whichlang takes a tenth of that, for 16 languages, and calls Thai Vietnamese and Persian Arabic; lingua carries models of
//! some hundred megabytes.)

use whatlang::{Detector, Lang};

use crate::domain::Format;

/// Bytes that are looked at, at each of [`SAMPLES`] places.
const SAMPLE_BYTES: usize = 250;
const SAMPLES: usize = 3;

/// More of a text hardly changes whatlang's mind.
const TRIGRAM_BYTES: usize = 600;

/// Fewer letters say nothing: an ideograph counts for [`IDEOGRAPH_LETTERS`].
const MIN_LETTERS: usize = 20;
const IDEOGRAPH_LETTERS: usize = 3;

/// The language of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Language {
    /// ISO 639-1: `en`, `zh`.
    pub code: &'static str,
    /// ISO 15924: `Latn`, `Cyrl`; `Hans` and `Hant` where Chinese tells which, and `Hani` where it does not.
    pub script: &'static str,
    /// From 0 to 1. Below a half it is a guess: the text is short, mixed, names and numbers, or code.
    pub confidence: f32,
}

/// The language that most of the text is written in; `None` if it has hardly a letter.
pub fn language(text: &str) -> Option<Language> {
    let sample = sample(text);
    let mut letters = [0usize; Script::ALL.len()];
    for c in sample.chars() {
        if let Some(script) = Script::of(c) {
            letters[script as usize] += script.weight();
        }
    }
    let all: usize = letters.iter().sum();
    // Kana and ideographs are one script to who reads them.
    let japanese = letters[Script::Kana as usize] * 20 > letters[Script::Han as usize];
    if japanese {
        letters[Script::Kana as usize] += std::mem::take(&mut letters[Script::Han as usize]);
    }
    let (script, most) =
        Script::ALL.into_iter().map(|script| (script, letters[script as usize])).max_by_key(|&(_, n)| n)?;
    if all < MIN_LETTERS || most == 0 {
        return None;
    }
    let share = most as f32 / all as f32;
    let (code, certainty) = script.language(&sample)?;
    let script = if script == Script::Han { chinese(&sample) } else { script.code() };
    Some(Language { code, script, confidence: share * certainty })
}

/// Whether a text is source code rather than prose or data. A format that is code is; in others, a text may be.
pub fn is_code(text: &str, format: Format) -> bool {
    match format {
        Format::Code => return true,
        Format::Csv
        | Format::Tsv
        | Format::Json
        | Format::JsonLines
        | Format::Xml
        | Format::Log
        | Format::Subtitles => {
            return false;
        }
        _ => {}
    }
    let (mut lines, mut like_code) = (0, 0);
    for line in sample(text).lines().map(str::trim_end).filter(|line| line.trim_start().len() > 1) {
        lines += 1;
        like_code += usize::from(is_line_of_code(line));
    }
    lines >= 4 && like_code * 2 > lines
}

/// A statement, a block's start or end, an assignment, a call, a comment. Prose ends in words and full stops.
fn is_line_of_code(line: &str) -> bool {
    const STARTS: [&str; 12] =
        ["//", "/*", "#!", "#include", "import ", "from ", "def ", "fn ", "return ", "if (", "} ", "let "];
    let inner = line.trim_start();
    let ends = line.ends_with([';', '{', '}', ')', '(', ']', '[', '=', '>']) || line.ends_with("):");
    let is_table = inner.starts_with('|');
    let assigns = [" = ", " == ", " := ", " += ", "->", "=>", "::", "()", "(self", "</"]
        .iter()
        .any(|mark| inner.contains(mark));
    // A sentence in brackets ends like a call.
    let is_sentence = inner.starts_with(char::is_uppercase) && inner.matches(' ').count() > 4 && !assigns;
    !is_table && !is_sentence && (ends || assigns || STARTS.iter().any(|start| inner.starts_with(start)))
}

/// Lines from the start, the middle and the end of a long text.
fn sample(text: &str) -> String {
    if text.len() <= SAMPLES * SAMPLE_BYTES * 2 {
        return text[..text.floor_char_boundary(SAMPLES * SAMPLE_BYTES)].to_owned();
    }
    let mut sample = String::with_capacity(SAMPLES * (SAMPLE_BYTES + 1));
    for place in 0..SAMPLES {
        let at = text.len() * (2 * place + 1) / (2 * SAMPLES);
        let from = text.floor_char_boundary(at);
        sample.push_str(&text[from..text.floor_char_boundary(from + SAMPLE_BYTES)]);
        sample.push('\n');
    }
    sample
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    Latin,
    Cyrillic,
    Greek,
    Armenian,
    Hebrew,
    Arabic,
    Devanagari,
    Bengali,
    Gurmukhi,
    Gujarati,
    Oriya,
    Tamil,
    Telugu,
    Kannada,
    Malayalam,
    Sinhala,
    Thai,
    Lao,
    Tibetan,
    Myanmar,
    Georgian,
    Ethiopic,
    Khmer,
    Mongolian,
    Hangul,
    Kana,
    Han,
}

impl Script {
    const ALL: [Script; 27] = [
        Script::Latin,
        Script::Cyrillic,
        Script::Greek,
        Script::Armenian,
        Script::Hebrew,
        Script::Arabic,
        Script::Devanagari,
        Script::Bengali,
        Script::Gurmukhi,
        Script::Gujarati,
        Script::Oriya,
        Script::Tamil,
        Script::Telugu,
        Script::Kannada,
        Script::Malayalam,
        Script::Sinhala,
        Script::Thai,
        Script::Lao,
        Script::Tibetan,
        Script::Myanmar,
        Script::Georgian,
        Script::Ethiopic,
        Script::Khmer,
        Script::Mongolian,
        Script::Hangul,
        Script::Kana,
        Script::Han,
    ];

    /// The script of a letter, by its block (Unicode 17, Blocks.txt).
    fn of(c: char) -> Option<Script> {
        if c.is_ascii() {
            return c.is_ascii_alphabetic().then_some(Script::Latin);
        }
        if !c.is_alphabetic() {
            return None;
        }
        Some(match c as u32 {
            0xaa..=0x24f | 0x1e00..=0x1eff | 0xff21..=0xff5a => Script::Latin,
            0x370..=0x3ff | 0x1f00..=0x1fff => Script::Greek,
            0x400..=0x52f | 0x1c80..=0x1c8f => Script::Cyrillic,
            0x530..=0x58f => Script::Armenian,
            0x590..=0x5ff => Script::Hebrew,
            0x600..=0x6ff | 0x750..=0x77f | 0x8a0..=0x8ff | 0xfb50..=0xfdff | 0xfe70..=0xfeff => {
                Script::Arabic
            }
            0x900..=0x97f => Script::Devanagari,
            0x980..=0x9ff => Script::Bengali,
            0xa00..=0xa7f => Script::Gurmukhi,
            0xa80..=0xaff => Script::Gujarati,
            0xb00..=0xb7f => Script::Oriya,
            0xb80..=0xbff => Script::Tamil,
            0xc00..=0xc7f => Script::Telugu,
            0xc80..=0xcff => Script::Kannada,
            0xd00..=0xd7f => Script::Malayalam,
            0xd80..=0xdff => Script::Sinhala,
            0xe00..=0xe7f => Script::Thai,
            0xe80..=0xeff => Script::Lao,
            0xf00..=0xfff => Script::Tibetan,
            0x1000..=0x109f => Script::Myanmar,
            0x10a0..=0x10ff | 0x1c90..=0x1cbf => Script::Georgian,
            0x1200..=0x139f => Script::Ethiopic,
            0x1780..=0x17ff => Script::Khmer,
            0x1800..=0x18af => Script::Mongolian,
            0x1100..=0x11ff | 0x3130..=0x318f | 0xac00..=0xd7af => Script::Hangul,
            0x3041..=0x30ff | 0x31f0..=0x31ff | 0xff66..=0xff9f => Script::Kana,
            0x2e80..=0x2fdf | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff => {
                Script::Han
            }
            _ => return None,
        })
    }

    /// How many letters of an alphabet say as much as one of these.
    fn weight(self) -> usize {
        match self {
            Script::Han | Script::Kana | Script::Hangul => IDEOGRAPH_LETTERS,
            _ => 1,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Script::Latin => "Latn",
            Script::Cyrillic => "Cyrl",
            Script::Greek => "Grek",
            Script::Armenian => "Armn",
            Script::Hebrew => "Hebr",
            Script::Arabic => "Arab",
            Script::Devanagari => "Deva",
            Script::Bengali => "Beng",
            Script::Gurmukhi => "Guru",
            Script::Gujarati => "Gujr",
            Script::Oriya => "Orya",
            Script::Tamil => "Taml",
            Script::Telugu => "Telu",
            Script::Kannada => "Knda",
            Script::Malayalam => "Mlym",
            Script::Sinhala => "Sinh",
            Script::Thai => "Thai",
            Script::Lao => "Laoo",
            Script::Tibetan => "Tibt",
            Script::Myanmar => "Mymr",
            Script::Georgian => "Geor",
            Script::Ethiopic => "Ethi",
            Script::Khmer => "Khmr",
            Script::Mongolian => "Mong",
            Script::Hangul => "Kore",
            Script::Kana => "Jpan",
            Script::Han => "Hani",
        }
    }

    /// The language of a sample that is mostly in this script, and how sure that is.
    fn language(self, sample: &str) -> Option<(&'static str, f32)> {
        Some(match self {
            Script::Latin => return latin(sample),
            Script::Cyrillic | Script::Arabic | Script::Devanagari | Script::Hebrew => {
                return by_trigrams(sample, self);
            }
            Script::Greek => ("el", 1.0),
            Script::Armenian => ("hy", 1.0),
            Script::Bengali => ("bn", 1.0),
            Script::Gurmukhi => ("pa", 1.0),
            Script::Gujarati => ("gu", 1.0),
            Script::Oriya => ("or", 1.0),
            Script::Tamil => ("ta", 1.0),
            Script::Telugu => ("te", 1.0),
            Script::Kannada => ("kn", 1.0),
            Script::Malayalam => ("ml", 1.0),
            Script::Sinhala => ("si", 1.0),
            Script::Thai => ("th", 1.0),
            Script::Lao => ("lo", 1.0),
            Script::Tibetan => ("bo", 1.0),
            Script::Myanmar => ("my", 1.0),
            Script::Georgian => ("ka", 1.0),
            Script::Ethiopic => ("am", 0.8),
            Script::Khmer => ("km", 1.0),
            Script::Mongolian => ("mn", 1.0),
            Script::Hangul => ("ko", 1.0),
            Script::Kana => ("ja", 1.0),
            Script::Han => ("zh", 1.0),
        })
    }
}

/// Characters that were simplified, and how they were before, both among the most frequent.
fn chinese(sample: &str) -> &'static str {
    const SIMPLIFIED: &str = "这来时们个为国会对开关过还进动问间东车见长门马书乐买儿义习乡专业丛两严丧权";
    const TRADITIONAL: &str = "這來時們個為國會對開關過還進動問間東車見長門馬書樂買兒義習鄉專業叢兩嚴喪權";
    let count = |set: &str| sample.chars().filter(|&c| set.contains(c)).count();
    match (count(SIMPLIFIED), count(TRADITIONAL)) {
        (simplified, traditional) if simplified > 2 * traditional => "Hans",
        (simplified, traditional) if traditional > 2 * simplified => "Hant",
        _ => "Hani",
    }
}

/// Languages that are told by their words.
const LANGUAGES: [&str; 7] = ["de", "en", "es", "fr", "it", "nl", "pt"];

/// The most frequent words of these, of each only those that no other has, with its index; sorted.
#[rustfmt::skip]
const WORDS: [(&str, usize); 102] = [
    ("als", 0), ("an", 1), ("and", 1), ("ao", 6), ("are", 1), ("as", 6), ("at", 1), ("au", 3), ("auch", 0),
    ("auf", 0), ("aux", 3), ("be", 1), ("by", 1), ("ce", 3), ("che", 4), ("como", 2), ("con", 2), ("da", 6),
    ("dans", 3), ("das", 0), ("dat", 5), ("dei", 4), ("della", 4), ("dem", 0), ("den", 0), ("der", 0),
    ("des", 3), ("di", 4), ("die", 0), ("do", 6), ("dos", 6), ("du", 3), ("een", 5), ("ein", 0),
    ("eine", 0), ("el", 2), ("em", 6), ("est", 3), ("et", 3), ("for", 1), ("from", 1),
    ("gli", 4), ("had", 1), ("he", 1), ("het", 5), ("his", 1), ("il", 4), ("is", 1), ("ist", 0), ("it", 1),
    ("las", 2), ("les", 3), ("los", 2), ("mais", 6), ("mit", 0), ("más", 2), ("na", 6), ("nel", 4),
    ("nicht", 0), ("niet", 5), ("non", 4), ("not", 1), ("não", 6), ("oder", 0), ("of", 1), ("on", 1),
    ("ook", 5), ("or", 1), ("os", 6), ("par", 3), ("pas", 3), ("per", 4), ("por", 2), ("pour", 3),
    ("qui", 3), ("sich", 0), ("sie", 0), ("sono", 4), ("su", 2), ("sur", 3), ("that", 1), ("the", 1),
    ("this", 1), ("to", 1), ("um", 6), ("uma", 6), ("una", 2), ("und", 0), ("une", 3), ("van", 5),
    ("von", 0), ("voor", 5), ("was", 1), ("werden", 0), ("wird", 0), ("with", 1), ("wordt", 5), ("y", 2),
    ("you", 1), ("zijn", 5), ("zu", 0), ("è", 4),
];

/// One word in so many is a frequent one of its language in any prose.
const FREQUENT: usize = 8;

fn latin(sample: &str) -> Option<(&'static str, f32)> {
    let (mut words, mut hits) = (0usize, [0usize; LANGUAGES.len()]);
    for word in sample.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
        words += 1;
        let mut lower = [0; 8];
        let Some(lower) = lower.get_mut(..word.len()) else { continue };
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        if let Ok(found) = WORDS.binary_search_by(|(frequent, _)| frequent.as_bytes().cmp(lower)) {
            hits[WORDS[found].1] += 1;
        }
    }
    let best = (0..hits.len()).max_by_key(|&index| hits[index])?;
    let second = (0..hits.len()).filter(|&index| index != best).map(|index| hits[index]).max()?;
    if words >= 20 && hits[best] * FREQUENT >= words && hits[best] >= 3 * second {
        return Some((LANGUAGES[best], 1.0));
    }
    by_trigrams(sample, Script::Latin)
}

/// whatlang's opinion, of the words of one script only: a Russian text full of product names is Russian.
fn by_trigrams(sample: &str, script: Script) -> Option<(&'static str, f32)> {
    let is_other = |c: char| Script::of(c).is_some_and(|other| other != script);
    let own: Vec<&str> = sample.split_whitespace().filter(|word| !word.contains(is_other)).collect();
    let own = own.join(" ");
    let info = Detector::new().detect(&own[..own.floor_char_boundary(TRIGRAM_BYTES)])?;
    Some((iso_639_1(info.lang()), info.confidence() as f32))
}

fn iso_639_1(lang: Lang) -> &'static str {
    match lang {
        Lang::Afr => "af",
        Lang::Aka => "ak",
        Lang::Amh => "am",
        Lang::Ara => "ar",
        Lang::Aze => "az",
        Lang::Bel => "be",
        Lang::Ben => "bn",
        Lang::Bul => "bg",
        Lang::Cat => "ca",
        Lang::Ces => "cs",
        Lang::Cmn => "zh",
        Lang::Cym => "cy",
        Lang::Dan => "da",
        Lang::Deu => "de",
        Lang::Ell => "el",
        Lang::Eng => "en",
        Lang::Epo => "eo",
        Lang::Est => "et",
        Lang::Fin => "fi",
        Lang::Fra => "fr",
        Lang::Guj => "gu",
        Lang::Heb => "he",
        Lang::Hin => "hi",
        Lang::Hrv => "hr",
        Lang::Hun => "hu",
        Lang::Hye => "hy",
        Lang::Ind => "id",
        Lang::Ita => "it",
        Lang::Jav => "jv",
        Lang::Jpn => "ja",
        Lang::Kan => "kn",
        Lang::Kat => "ka",
        Lang::Khm => "km",
        Lang::Kor => "ko",
        Lang::Lat => "la",
        Lang::Lav => "lv",
        Lang::Lit => "lt",
        Lang::Mal => "ml",
        Lang::Mar => "mr",
        Lang::Mkd => "mk",
        Lang::Mya => "my",
        Lang::Nep => "ne",
        Lang::Nld => "nl",
        Lang::Nob => "nb",
        Lang::Ori => "or",
        Lang::Pan => "pa",
        Lang::Pes => "fa",
        Lang::Pol => "pl",
        Lang::Por => "pt",
        Lang::Ron => "ro",
        Lang::Rus => "ru",
        Lang::Sin => "si",
        Lang::Slk => "sk",
        Lang::Slv => "sl",
        Lang::Sna => "sn",
        Lang::Spa => "es",
        Lang::Srp => "sr",
        Lang::Swe => "sv",
        Lang::Tam => "ta",
        Lang::Tel => "te",
        Lang::Tgl => "tl",
        Lang::Tha => "th",
        Lang::Tuk => "tk",
        Lang::Tur => "tr",
        Lang::Ukr => "uk",
        Lang::Urd => "ur",
        Lang::Uzb => "uz",
        Lang::Vie => "vi",
        Lang::Yid => "yi",
        Lang::Zul => "zu",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_known_by_a_sentence_or_two() {
        let check = |code: &str, script: &str, text: &str| {
            let found = language(text).unwrap_or_else(|| panic!("{code}: none"));
            assert_eq!((found.code, found.script), (code, script), "{text}");
            assert!(found.confidence > 0.0 && found.confidence <= 1.0, "{code}: {}", found.confidence);
        };
        check(
            "en",
            "Latn",
            "All human beings are born free and equal in dignity and rights. They are endowed with reason.",
        );
        check(
            "de",
            "Latn",
            "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft begabt.",
        );
        check(
            "fr",
            "Latn",
            "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison.",
        );
        check(
            "es",
            "Latn",
            "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón.",
        );
        check(
            "pt",
            "Latn",
            "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de razão.",
        );
        check(
            "it",
            "Latn",
            "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione.",
        );
        check(
            "nl",
            "Latn",
            "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd met verstand.",
        );
        check(
            "pl",
            "Latn",
            "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem.",
        );
        check(
            "sv",
            "Latn",
            "Alla människor är födda fria och lika i värde och rättigheter. De har utrustats med förnuft och samvete.",
        );
        check(
            "vi",
            "Latn",
            "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
        );
        check(
            "ru",
            "Cyrl",
            "Все люди рождаются свободными и равными в своем достоинстве и правах. API и S3.",
        );
        check(
            "uk",
            "Cyrl",
            "Всі люди народжуються вільними і рівними у своїй гідності та правах. Вони наділені розумом.",
        );
        check("ar", "Arab", "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق وقد وهبوا عقلا وضميرا");
        check(
            "fa",
            "Arab",
            "تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند و دارای عقل هستند",
        );
        check("hi", "Deva", "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है");
        check("th", "Thai", "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ");
        check(
            "ja",
            "Jpan",
            "すべての人間は、生まれながらにして自由であり、AWS Lambda の設定について平等である。",
        );
        check("zh", "Hans", "人人生而自由，在尊严和权利上一律平等。这是时间的问题，我们对国家会来。");
        check("zh", "Hant", "人人生而自由，在尊嚴和權利上一律平等。這是時間的問題，我們對國家會來。");
        check("ko", "Kore", "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다");
        check(
            "el",
            "Grek",
            "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα",
        );
        check("he", "Hebr", "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה");
    }

    #[test]
    fn the_words_are_sorted_and_of_one_language_each() {
        assert!(WORDS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn what_has_no_letters_has_no_language() {
        for text in ["", "12.5\n17.3\n", "Total: 5", "----\n====\n", "😀😀😀"] {
            assert_eq!(language(text), None, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_judged_by_its_bulk() {
        let english =
            "The committee met on Monday and decided that the budget of the year was to be kept. ".repeat(40);
        let german =
            "Der Ausschuss hat am Montag getagt und entschieden, dass das Budget nicht erhöht wird. "
                .repeat(400);
        assert_eq!(language(&format!("{english}{german}")).map(|l| l.code), Some("de"));
        assert_eq!(language(&format!("{german}{english}")).map(|l| l.code), Some("de"));
    }

    #[test]
    fn code_is_told_from_prose() {
        let rust = "fn main() {\n    let x = 1;\n    println!(\"{x}\");\n}\n\nfn other() -> u8 {\n    0\n}\n";
        let python = "import os\n\ndef walk(path):\n    for name in os.listdir(path):\n        print(name)\n    return None\n";
        let prose = "The sun rose (late).\nIt was a cold morning,\nand nobody spoke; not even the captain.\nThen they left.\n";
        let table = "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n| 5 | 6 |\n";
        assert!(is_code(rust, Format::Text) && is_code(python, Format::Markdown));
        assert!(!is_code(prose, Format::Text) && !is_code(table, Format::Markdown));
        assert!(is_code(prose, Format::Code) && !is_code(rust, Format::Json));
    }
}
