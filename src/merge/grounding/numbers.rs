//! Numbers of a text in a normal form: no group separators, a dot before the fraction, no idle zeros.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{Claim, What, is_free};

/// A number as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Number {
    /// What it can mean: `1.234` is a thousand or a fraction, `1.5 million` also 1500000.
    pub readings: Vec<String>,
    /// What it is made of where a space joins groups: `10 000` may be two numbers.
    pub parts: Vec<String>,
    pub is_amount: bool,
}

const CURRENCIES: &[&str] = &[
    "$", "€", "£", "¥", "₹", "₽", "USD", "EUR", "GBP", "JPY", "CHF", "CNY", "INR", "AUD", "CAD", "Euro",
    "euros", "euro", "dollars", "dollar", "pounds", "yen",
];

/// Powers of ten by their names, as they follow a number.
const SCALES: &[(&str, usize)] = &[
    ("thousand", 3),
    ("Tausend", 3),
    ("mille", 3),
    ("mil", 3),
    ("k", 3),
    ("million", 6),
    ("millions", 6),
    ("Million", 6),
    ("Millionen", 6),
    ("Mio", 6),
    ("millones", 6),
    ("millón", 6),
    ("milioni", 6),
    ("mn", 6),
    ("M", 6),
    ("billion", 9),
    ("billions", 9),
    ("bn", 9),
    ("B", 9),
    ("Milliarde", 9),
    ("Milliarden", 9),
    ("Mrd", 9),
    ("milliard", 9),
    ("milliards", 9),
    ("miliardi", 9),
    ("trillion", 12),
    ("万", 4),
    ("億", 8),
    ("亿", 8),
];

/// Numbers that languages write in words, to know them when an answer writes digits.
const WORDS: &[(&str, u64)] = &[
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("eleven", 11),
    ("twelve", 12),
    ("thirteen", 13),
    ("fourteen", 14),
    ("fifteen", 15),
    ("sixteen", 16),
    ("seventeen", 17),
    ("eighteen", 18),
    ("nineteen", 19),
    ("twenty", 20),
    ("thirty", 30),
    ("forty", 40),
    ("fifty", 50),
    ("sixty", 60),
    ("seventy", 70),
    ("eighty", 80),
    ("ninety", 90),
    ("hundred", 100),
    ("thousand", 1000),
    ("dozen", 12),
    ("one", 1),
    ("once", 1),
    ("twice", 2),
    ("both", 2),
    ("half", 50),
    ("zero", 0),
    ("first", 1),
    ("second", 2),
    ("third", 3),
    ("fourth", 4),
    ("fifth", 5),
    ("sixth", 6),
    ("seventh", 7),
    ("eighth", 8),
    ("ninth", 9),
    ("tenth", 10),
    ("double", 2),
    ("couple", 2),
    ("zwei", 2),
    ("drei", 3),
    ("vier", 4),
    ("fünf", 5),
    ("sechs", 6),
    ("sieben", 7),
    ("acht", 8),
    ("neun", 9),
    ("zehn", 10),
    ("elf", 11),
    ("zwölf", 12),
    ("zwanzig", 20),
    ("dreißig", 30),
    ("vierzig", 40),
    ("fünfzig", 50),
    ("hundert", 100),
    ("tausend", 1000),
    ("deux", 2),
    ("trois", 3),
    ("quatre", 4),
    ("cinq", 5),
    ("sept", 7),
    ("huit", 8),
    ("neuf", 9),
    ("dix", 10),
    ("onze", 11),
    ("douze", 12),
    ("vingt", 20),
    ("trente", 30),
    ("quarante", 40),
    ("cinquante", 50),
    ("cent", 100),
    ("mille", 1000),
    ("dos", 2),
    ("tres", 3),
    ("cuatro", 4),
    ("cinco", 5),
    ("seis", 6),
    ("siete", 7),
    ("ocho", 8),
    ("nueve", 9),
    ("diez", 10),
    ("doce", 12),
    ("veinte", 20),
    ("treinta", 30),
    ("cien", 100),
    ("ciento", 100),
    ("mil", 1000),
];

static VALUES: LazyLock<BTreeMap<&str, u64>> = LazyLock::new(|| WORDS.iter().copied().collect());

/// The numbers of a text. Digits within a word (`A4`, `3f2a`) and the marks of a list are none.
pub(super) fn numbers(text: &str) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut from = 0;
    while let Some(start) = next_digit(text, from) {
        let token = Token::at(text, start);
        from = token.end;
        let (before, after) = (&text[..start], &text[token.end..]);
        if !is_in_word(before, after) && !is_list_mark(before, after) {
            claims.push(Claim { start, end: token.end, what: What::Number(token.number(before, after)) });
        }
    }
    claims
}

fn next_digit(text: &str, from: usize) -> Option<usize> {
    text.as_bytes()[from..].iter().position(u8::is_ascii_digit).map(|at| from + at)
}

/// Runs of digits that are no number of their own: in dates, addresses and words.
pub(super) fn loose_digits<'a>(text: &'a str, claims: &'a [Claim]) -> impl Iterator<Item = String> + 'a {
    let mut from = 0;
    let runs = std::iter::from_fn(move || {
        let start = next_digit(text, from)?;
        from = start + digits_at(text, start);
        Some((start, from))
    });
    runs.filter(|(start, end)| {
        let run = Claim { start: *start, end: *end, what: What::Address(String::new()) };
        let at = claims.partition_point(|claim| claim.end <= *start);
        let in_number = claims.get(at).is_some_and(|claim| matches!(claim.what, What::Number(_)));
        is_free(claims, &run) || !in_number
    })
    .map(|(start, end)| normal(&text[start..end], ""))
}

fn digits_at(text: &str, start: usize) -> usize {
    text.as_bytes()[start..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Digits and what joins them.
struct Token<'a> {
    groups: Vec<&'a str>,
    /// Between the groups.
    marks: Vec<char>,
    end: usize,
}

impl<'a> Token<'a> {
    fn at(text: &'a str, start: usize) -> Token<'a> {
        let mut end = start + digits_at(text, start);
        let mut token = Token { groups: vec![&text[start..end]], marks: Vec::new(), end };
        while let Some(mark) = text[end..].chars().next() {
            let next = end + mark.len_utf8();
            let digits = if next < text.len() { digits_at(text, next) } else { 0 };
            let joins = match mark {
                '.' | ',' | '\'' | '’' => digits > 0,
                // Spaces group thousands, and nothing else.
                ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}' => digits == 3 && token.groups_of_three(),
                _ => false,
            };
            if !joins {
                break;
            }
            end = next + digits;
            token.marks.push(if mark.is_whitespace() { ' ' } else { mark });
            token.groups.push(&text[next..end]);
        }
        token.end = end;
        token
    }

    fn groups_of_three(&self) -> bool {
        self.groups[0].len() <= 3
            && self.groups[1..].iter().all(|group| group.len() == 3)
            && self.marks.iter().all(|mark| *mark == ' ')
    }

    fn number(&self, before: &str, after: &str) -> Number {
        let mut readings = self.readings();
        let power = scale(after);
        let scaled: Vec<String> = readings.iter().filter_map(|reading| shifted(reading, power?)).collect();
        readings.extend(scaled);
        let parts = if self.marks.contains(&' ') {
            self.groups.iter().map(|group| normal(group, "")).collect()
        } else {
            Vec::new()
        };
        Number { readings, parts, is_amount: is_amount(before, after) }
    }

    fn readings(&self) -> Vec<String> {
        let (groups, marks) = (&self.groups, &self.marks);
        let Some(last) = marks.last() else { return vec![normal(groups[0], "")] };
        let (whole, fraction) = (groups[..groups.len() - 1].concat(), groups[groups.len() - 1]);
        let is_grouped = |groups: &[&str]| {
            let (first, others) = (groups[0], &groups[1..]);
            first.len() <= 3
                && (first != "0" || others.is_empty())
                && others.iter().enumerate().all(|(at, group)| {
                    // Indian grouping has pairs before the last three.
                    group.len() == 3 || (group.len() == 2 && at + 1 < others.len())
                })
        };
        let same = marks.iter().all(|mark| mark == last);
        let mut readings = Vec::new();
        if same && is_grouped(groups) {
            readings.push(normal(&groups.concat(), ""));
        }
        let once = marks.iter().filter(|mark| *mark == last).count() == 1;
        let others_same = marks[..marks.len() - 1].windows(2).all(|pair| pair[0] == pair[1]);
        if matches!(last, '.' | ',') && once && others_same && is_grouped(&groups[..groups.len() - 1])
            || marks.len() == 1
        {
            readings.push(normal(&whole, fraction));
        }
        if readings.is_empty() {
            // A version, an IP address, a paragraph's number: only as it stands.
            readings.push(groups.join("."));
        }
        readings
    }
}

fn normal(whole: &str, fraction: &str) -> String {
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

/// Times ten to the power; `None` for what is no plain number.
fn shifted(reading: &str, power: usize) -> Option<String> {
    let (whole, fraction) = reading.split_once('.').unwrap_or((reading, ""));
    if fraction.contains('.') {
        return None;
    }
    let padded = format!("{fraction:0<power$}");
    Some(normal(&format!("{whole}{}", &padded[..power]), &padded[power..]))
}

/// The power of ten that the word after a number stands for.
fn scale(after: &str) -> Option<usize> {
    let rest = after.trim_start_matches([' ', '\u{a0}', '\u{202f}', '-']);
    let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
    let word = &rest[..end];
    // A single letter only right behind the number: 5k, 3M.
    let is_close = rest.len() == after.len();
    let known =
        SCALES.iter().find(|(name, _)| *name == word).filter(|_| word.chars().count() > 1 || is_close);
    let wide = || {
        SCALES
            .iter()
            .find(|(name, _)| !name.is_ascii() && name.chars().count() == 1 && rest.starts_with(name))
    };
    known.or_else(wide).map(|(_, power)| *power)
}

/// A currency before the number, or behind it and its power of ten.
fn is_amount(before: &str, after: &str) -> bool {
    let behind = after.trim_start();
    let starts = |text: &str| CURRENCIES.iter().any(|currency| text.starts_with(currency));
    let behind_word = behind.trim_start_matches(char::is_alphabetic).trim_start();
    let before = before.trim_end();
    CURRENCIES.iter().any(|currency| before.ends_with(currency))
        || starts(behind)
        || (scale(after).is_some() && starts(behind_word))
}

/// Digits that are part of a word: after a letter, or before letters and more digits.
fn is_in_word(before: &str, after: &str) -> bool {
    let letter_before =
        before.chars().next_back().is_some_and(|c| c.is_alphabetic() && c.is_ascii() || c == '_');
    let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
    let digits_again = letters > 0 && after[letters..].starts_with(|c: char| c.is_ascii_digit());
    letter_before || digits_again
}

/// `1.` or `2)` at the beginning of a line.
fn is_list_mark(before: &str, after: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    let at_start = line.chars().all(|c| c.is_whitespace() || matches!(c, '#' | '*' | '-' | '>' | '('));
    let mut next = after.chars();
    at_start && matches!(next.next(), Some('.' | ')')) && next.next().is_none_or(char::is_whitespace)
}

/// Numbers that are written in words, also "twenty-three" and "three hundred".
pub(super) fn in_words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut last: Option<(u64, usize)> = None;
    for word in super::words::words(text) {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        let Some(&value) = VALUES.get(word.to_lowercase().as_str()) else {
            last = None;
            continue;
        };
        found.push(value.to_string());
        // Joined to the one before by a hyphen or a space.
        if let Some((before, end)) = last
            && matches!(&text[end..start], "-" | " ")
        {
            if (20..100).contains(&before) && value < 10 {
                found.push((before + value).to_string());
            } else if value >= 100 && before < value {
                found.push((before * value).to_string());
            }
        }
        last = Some((value, start + word.len()));
    }
    found
}
