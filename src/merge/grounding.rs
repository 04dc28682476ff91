//! What an answer says that none of its sources says: numbers, dates, amounts, names, addresses. Free and local.
//!
//! Only what is sure is reported, for a report can cost a second call to a better model. Everything is compared in a normal
//! form, in which 1,234.5 and 1.234,50 are one number and "March 3rd, 2024" and 2024-03-03 one date. Where a text can be
//! read in two ways (1.234; 3/4/2024) one reading that a source has is enough. A number that is part of a longer one is
//! not grounded by it; one that a source writes in words is. A sum or a share that the model has worked out is in no
//! source and is reported as such. Names are looked at where an answer is in the language of its sources and does not
//! capitalise every noun, and only reported when no word of them is known.

mod dates;
mod numbers;
mod words;

use std::collections::BTreeSet;

use dates::Date;
use numbers::Number;

/// Something in an answer that is in none of its sources.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Ungrounded {
    pub kind: ClaimKind,
    /// As the answer writes it.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimKind {
    Number,
    Date,
    /// A number with a currency.
    Amount,
    Name,
    /// An e-mail address or a URL.
    Address,
}

/// More are not listed: an answer that far from its sources is wrong as a whole.
const MOST_LISTED: usize = 50;

/// What `answer` says and no source does, in the order of the answer, each once, at most fifty. Time and memory grow with
/// the length of the texts and not faster.
pub fn ungrounded(answer: &str, sources: &[&str]) -> Vec<Ungrounded> {
    let known = Known::of(sources);
    let checks_names = known.names_can_be_judged(answer);
    let mut found: Vec<Ungrounded> = Vec::new();
    let mut reported = BTreeSet::new();
    for claim in claims(answer) {
        let is_checked = checks_names || !matches!(claim.what, What::Name(_));
        let text = answer[claim.start..claim.end].trim();
        if is_checked && !known.has(&claim.what) && reported.insert(text) {
            found.push(Ungrounded { kind: claim.what.kind(), text: text.to_owned() });
        }
        if found.len() == MOST_LISTED {
            break;
        }
    }
    found
}

/// A piece of a text that can be looked up in another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    start: usize,
    end: usize,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Number(Number),
    /// One date, or two where day and month can change places.
    Date(Vec<Date>),
    /// Words in lower case.
    Name(Vec<String>),
    Address(String),
}

impl What {
    fn kind(&self) -> ClaimKind {
        match self {
            What::Number(number) if number.is_amount => ClaimKind::Amount,
            What::Number(_) => ClaimKind::Number,
            What::Date(_) => ClaimKind::Date,
            What::Name(_) => ClaimKind::Name,
            What::Address(_) => ClaimKind::Address,
        }
    }
}

/// The claims of a text, in its order. Addresses are found first, then dates, then the others: what is part of one is not
/// taken for another.
fn claims(text: &str) -> Vec<Claim> {
    let mut claims = words::addresses(text);
    for found in [dates::dates(text), numbers::numbers(text), words::names(text)] {
        let new: Vec<Claim> = found.into_iter().filter(|claim| is_free(&claims, claim)).collect();
        claims.extend(new);
        claims.sort_by_key(|claim| claim.start);
    }
    claims
}

/// Whether a claim overlaps none of `claims`, which are sorted and do not overlap.
fn is_free(claims: &[Claim], claim: &Claim) -> bool {
    let at = claims.partition_point(|other| other.end <= claim.start);
    claims.get(at).is_none_or(|other| other.start >= claim.end)
}

/// What the sources say.
#[derive(Debug, Default)]
struct Known {
    numbers: BTreeSet<String>,
    /// Whole dates, and what is left of them without the year or the day.
    dates: BTreeSet<Date>,
    /// In lower case.
    words: BTreeSet<String>,
    /// Of the words.
    alphabets: BTreeSet<u8>,
    addresses: BTreeSet<String>,
}

/// Of the words of an answer in the language of its sources, its small words alone make up as many.
const SAME_LANGUAGE_PERCENT: usize = 40;
/// German writes a quarter of its words with a capital, English a tenth.
const CAPITALS_PERCENT: usize = 20;
/// A name that is declined keeps its beginning.
const ENDING_CHARS: usize = 3;
const STEM_CHARS_MIN: usize = 3;

impl Known {
    fn of(sources: &[&str]) -> Known {
        let mut known = Known::default();
        for source in sources {
            let claims = claims(source);
            known.numbers.extend(numbers::loose_digits(source, &claims));
            known.numbers.extend(numbers::in_words(source));
            known.words.extend(words::words(source).map(str::to_lowercase));
            known.alphabets.extend(words::words(source).filter_map(words::alphabet));
            for claim in claims {
                match claim.what {
                    What::Number(number) => {
                        known.numbers.extend(number.readings.into_iter().chain(number.parts))
                    }
                    What::Date(readings) => known.dates.extend(readings.iter().flat_map(Date::parts)),
                    What::Address(address) => {
                        known.addresses.extend(words::host(&address).map(str::to_owned));
                        known.addresses.insert(address);
                    }
                    What::Name(_) => {}
                }
            }
        }
        known
    }

    fn has(&self, what: &What) -> bool {
        match what {
            What::Number(number) => {
                let parts = &number.parts;
                number.readings.iter().any(|reading| self.numbers.contains(reading))
                    || (!parts.is_empty() && parts.iter().all(|part| self.numbers.contains(part)))
            }
            What::Date(readings) => readings.iter().any(|date| self.has_date(date)),
            // Written in letters that no source has, it may be the name of one that is there.
            What::Name(words) => words.iter().any(|word| self.has_word(word) || !self.has_alphabet(word)),
            What::Address(address) => self.addresses.contains(address),
        }
    }

    /// A source may give the year once, in a heading, and then days and months.
    fn has_date(&self, date: &Date) -> bool {
        let year = date.year.is_none_or(|year| self.numbers.contains(&year.to_string()));
        self.dates.contains(date) || (year && date.day.is_some() && self.dates.contains(&date.without_year()))
    }

    fn has_alphabet(&self, word: &str) -> bool {
        words::alphabet(word).is_some_and(|alphabet| self.alphabets.contains(&alphabet))
    }

    /// Whether a word with this beginning is known.
    fn has_word(&self, word: &str) -> bool {
        let chars = word.chars().count();
        let stem_chars = chars.saturating_sub(ENDING_CHARS).max(STEM_CHARS_MIN.min(chars));
        let stem: String = word.chars().take(stem_chars).collect();
        self.words.range(stem.clone()..).next().is_some_and(|known| known.starts_with(&stem))
    }

    /// Whether the answer is in the language of its sources, and tells names from nouns.
    fn names_can_be_judged(&self, answer: &str) -> bool {
        let (mut all, mut capitals, mut small, mut shared) = (0, 0, 0, 0);
        for word in words::words(answer) {
            all += 1;
            if word.chars().next().is_some_and(char::is_uppercase) {
                capitals += 1;
            } else {
                small += 1;
                shared += usize::from(self.words.contains(&word.to_lowercase()));
            }
        }
        // The first word of each sentence has one too, in every language; a short answer is mostly names.
        shared * 100 >= small * SAME_LANGUAGE_PERCENT
            && (capitals * 100 <= all * CAPITALS_PERCENT || all < 30)
    }
}

#[cfg(test)]
mod tests;
