//! Dates of a text, in the forms that documents write.

use super::{Claim, What};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Date {
    pub year: Option<u32>,
    pub month: u32,
    pub day: Option<u32>,
}

impl Date {
    pub fn without_year(self) -> Date {
        Date { year: None, ..self }
    }

    /// The date, and what is left of it without the year or the day.
    pub fn parts(&self) -> Vec<Date> {
        let mut parts = vec![*self];
        if self.day.is_some() {
            parts.push(self.without_year());
            parts.extend(self.year.map(|_| Date { day: None, ..*self }));
        }
        parts
    }
}

/// The beginnings of the names of months in English, German, French, Spanish, Italian, Portuguese and Dutch, longest first
/// where one is the beginning of another.
const MONTHS: [&[&str]; 12] = [
    &["jan", "jän", "ene", "gen"],
    &["feb", "fév", "fev"],
    &["march", "mar", "mär", "mrz", "maa", "mars"],
    &["apr", "avr", "abr"],
    &["may", "mai", "mayo", "mag", "maio", "mei"],
    &["jun", "juin", "giu"],
    &["jul", "juil", "lug"],
    &["aug", "aoû", "aou", "ago"],
    &["sep", "set"],
    &["oct", "okt", "ott", "out"],
    &["nov"],
    &["dec", "dez", "déc", "dic"],
];

/// The whole names; a word that only begins like one ("marched", "general") is none.
const NAMES: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "januar",
    "jänner",
    "februar",
    "märz",
    "mai",
    "juni",
    "juli",
    "oktober",
    "dezember",
    "janvier",
    "février",
    "mars",
    "avril",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "setiembre",
    "octubre",
    "noviembre",
    "diciembre",
    "gennaio",
    "febbraio",
    "aprile",
    "maggio",
    "giugno",
    "luglio",
    "settembre",
    "ottobre",
    "dicembre",
    "janeiro",
    "fevereiro",
    "março",
    "maio",
    "junho",
    "julho",
    "setembro",
    "outubro",
    "novembro",
    "dezembro",
    "januari",
    "februari",
    "maart",
    "mei",
    "augustus",
    "jan",
    "feb",
    "mar",
    "apr",
    "jun",
    "jul",
    "aug",
    "sep",
    "sept",
    "oct",
    "okt",
    "nov",
    "dec",
    "dez",
    "mrz",
];

fn month(word: &str) -> Option<u32> {
    let word = word.to_lowercase();
    if !NAMES.contains(&word.as_str()) {
        return None;
    }
    MONTHS
        .iter()
        .zip(1..)
        .find(|(starts, _)| starts.iter().any(|start| word.starts_with(start)))
        .map(|(_, n)| n)
}

/// A word or a number of a text.
#[derive(Clone, Copy, Debug)]
struct Piece<'a> {
    start: usize,
    end: usize,
    text: &'a str,
    /// What lies between it and the one before.
    gap: &'a str,
}

impl Piece<'_> {
    fn number(&self, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
        if !digits.contains(&self.text.len()) {
            return None;
        }
        self.text.bytes().all(|byte| byte.is_ascii_digit()).then(|| self.text.parse().ok())?
    }

    fn day(&self) -> Option<u32> {
        self.number(1..=2).filter(|day| (1..=31).contains(day))
    }

    fn year(&self) -> Option<u32> {
        self.number(4..=4).filter(|year| (1000..=2999).contains(year))
    }
}

/// Runs of letters, and runs of digits; the marks of East Asian dates stand alone.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let class = |c: char| match c {
        '年' => 3,
        '月' => 4,
        '日' => 5,
        _ => u8::from(c.is_alphabetic()) + 2 * u8::from(c.is_ascii_digit()),
    };
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    let mut open: Option<(usize, u8)> = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        let now = class(c);
        if let Some((start, was)) = open
            && was != now
        {
            let before = pieces.last().map_or(0, |piece| piece.end);
            pieces.push(Piece { start, end: at, text: &text[start..at], gap: &text[before..start] });
            open = None;
        }
        if now != 0 && open.is_none() {
            open = Some((at, now));
        }
    }
    pieces
}

pub(super) fn dates(text: &str) -> Vec<Claim> {
    let pieces = pieces(text);
    let mut claims = Vec::new();
    let mut at = 0;
    while at < pieces.len() {
        match date_at(&pieces[at..]) {
            Some((readings, used)) => {
                let (start, end) = (pieces[at].start, pieces[at + used - 1].end);
                claims.push(Claim { start, end, what: What::Date(readings) });
                at += used;
            }
            None => at += 1,
        }
    }
    claims
}

/// The date that begins with the first piece, in its readings, and how many pieces it has.
fn date_at(pieces: &[Piece<'_>]) -> Option<(Vec<Date>, usize)> {
    numeric(pieces)
        .or_else(|| day_first(pieces))
        .or_else(|| month_first(pieces))
        .or_else(|| east_asian(pieces))
}

/// `2024-03-03`, `3.4.2024`, `03/04/24`.
fn numeric(pieces: &[Piece<'_>]) -> Option<(Vec<Date>, usize)> {
    let [a, b, c, ..] = pieces else { return None };
    if b.gap != c.gap || !matches!(b.gap, "-" | "." | "/" | ". ") {
        return None;
    }
    let date = |year, month: u32, day| {
        ((1..=12).contains(&month)).then_some(Date { year: Some(year), month, day: Some(day) })
    };
    if let (Some(year), Some(month), Some(day)) = (a.year(), b.day(), c.day()) {
        return date(year, month, day).map(|date| (vec![date], 3));
    }
    let (first, second) = (a.day()?, b.day()?);
    let years = match (c.year(), c.number(2..=2)) {
        (Some(year), _) => vec![year],
        // `1.2.24` may be a version.
        (None, Some(short)) if b.gap == "/" || (a.text.len() == 2 && b.text.len() == 2) => {
            vec![2000 + short, 1900 + short]
        }
        _ => return None,
    };
    let both = |year: &u32| [date(*year, second, first), date(*year, first, second)];
    let readings: Vec<Date> = years.iter().flat_map(both).flatten().collect();
    (!readings.is_empty()).then_some((readings, 3))
}

/// `3 March 2024`, `3rd of March`, `3. März 2024`, `3 de marzo de 2024`.
fn day_first(pieces: &[Piece<'_>]) -> Option<(Vec<Date>, usize)> {
    let day = pieces.first()?.day()?;
    let mut next = 1;
    let glue = ["st", "nd", "rd", "th", "er", "of", "de", "º", "ª"];
    while pieces.get(next).is_some_and(|piece| glue.contains(&piece.text)) {
        next += 1;
    }
    let name = pieces.get(next).filter(|name| is_gap(name.gap))?;
    let month = month(name.text)?;
    next += 1;
    let mut after = next;
    while pieces.get(after).is_some_and(|piece| matches!(piece.text, "de" | "del" | "of")) {
        after += 1;
    }
    let year = pieces.get(after).filter(|piece| is_gap(piece.gap)).and_then(Piece::year);
    // Of `port 3 Mar 29` the 29 is the day.
    let is_followed_by_a_day =
        pieces.get(next).is_some_and(|piece| is_gap(piece.gap) && piece.day().is_some());
    if year.is_none() && is_followed_by_a_day {
        return None;
    }
    let used = if year.is_some() { after + 1 } else { next };
    Some((vec![Date { year, month, day: Some(day) }], used))
}

/// `March 3, 2024`, `March 3rd`, `March 2024`.
fn month_first(pieces: &[Piece<'_>]) -> Option<(Vec<Date>, usize)> {
    let starts_with_digit = |piece: &&Piece<'_>| piece.text.starts_with(|c: char| c.is_ascii_digit());
    let second = pieces.get(1).filter(starts_with_digit).filter(|piece| is_gap(piece.gap))?;
    let month = month(pieces.first()?.text)?;
    if let Some(year) = second.year() {
        return Some((vec![Date { year: Some(year), month, day: None }], 2));
    }
    let day = second.day()?;
    let mut next = 2;
    if pieces
        .get(next)
        .is_some_and(|piece| piece.gap.is_empty() && ["st", "nd", "rd", "th"].contains(&piece.text))
    {
        next += 1;
    }
    let year = pieces.get(next).filter(|piece| is_gap(piece.gap)).and_then(Piece::year);
    Some((vec![Date { year, month, day: Some(day) }], next + usize::from(year.is_some())))
}

/// `2024年3月3日`
fn east_asian(pieces: &[Piece<'_>]) -> Option<(Vec<Date>, usize)> {
    let [year, a, month, b, day, c, ..] = pieces else { return None };
    let marks = (a.text, b.text, c.text) == ("年", "月", "日");
    let month = month.day().filter(|month| *month <= 12)?;
    let date = Date { year: Some(year.year()?), month, day: Some(day.day()?) };
    marks.then_some((vec![date], 6))
}

fn is_gap(gap: &str) -> bool {
    matches!(gap, "" | " " | ", " | ". " | "." | "-" | "/" | "\u{a0}")
}
