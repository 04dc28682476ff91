//! Finds where sentences, clauses and words start in running text, in the scripts of the world as far as punctuation tells.

use super::effort::spend;
use super::tally::View;
use crate::domain::Boundary;

/// Bytes before a range that are looked at to know what ends at its start.
const LOOK_BACK: usize = 64;

/// Calls `found` with each place in `lo..=hi` where a sentence, clause or word starts, as long as it asks for more.
pub(super) fn breaks(view: View, lo: usize, hi: usize, mut found: impl FnMut(usize, Boundary) -> bool) {
    if lo > hi {
        return;
    }
    let start = view.floor(lo.saturating_sub(LOOK_BACK).max(view.base));
    let end = view.floor((hi + 4).min(view.end()));
    let text = view.slice(start, end);
    spend(text.len());
    let mut ended = Ended::Nothing;
    let mut has_space = false;
    let mut before = ' ';
    let mut next = 0;
    while let Some(char) = text[next..].chars().next() {
        let at = next;
        next += char.len_utf8();
        if char.is_whitespace() {
            has_space = true;
            continue;
        }
        let place = start + at;
        if place > hi {
            return;
        }
        if place >= lo
            && let Some(level) = level(text, &ended, has_space, before, char)
            && !found(place, level)
        {
            return;
        }
        ended = if char.is_ascii_alphanumeric() { Ended::Nothing } else { ended.then(char, at, has_space) };
        has_space = false;
        before = char;
        if char.is_ascii_alphanumeric() {
            // Nothing starts inside a word.
            next += text.as_bytes()[next..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        }
    }
}

/// What the characters just before end.
#[derive(Clone, Copy)]
enum Ended {
    Nothing,
    /// A sentence, if white space and no small letter follow; the place is that of a full stop that may be an abbreviation's.
    Sentence {
        dot: Option<usize>,
    },
    /// A sentence in a script that needs no space.
    WideSentence,
    Clause,
    WideClause,
}

impl Ended {
    fn then(self, char: char, at: usize, has_space: bool) -> Ended {
        match char {
            '.' => Ended::Sentence { dot: Some(at) },
            '!' | '?' | '…' | '।' | '॥' | '؟' | '۔' | '።' | '។' | '။' | '։' | '‽' => {
                Ended::Sentence { dot: None }
            }
            '。' | '！' | '？' | '｡' | '．' => Ended::WideSentence,
            ',' | ';' | ':' | '،' | '؛' | '—' | '–' => Ended::Clause,
            '，' | '、' | '；' | '：' | '､' => Ended::WideClause,
            // What closes a quotation or a bracket belongs to what it closes.
            '"' | '\'' | ')' | ']' | '}' | '»' | '”' | '’' | '』' | '」' | '）' | '】' | '》' | '*' | '_'
                if !has_space =>
            {
                self
            }
            _ => Ended::Nothing,
        }
    }
}

fn level(text: &str, ended: &Ended, has_space: bool, before: char, char: char) -> Option<Boundary> {
    let closes =
        matches!(char, '』' | '」' | '）' | '】' | '》' | '”' | '’' | '。' | '！' | '？' | '，' | '、');
    match ended {
        Ended::Sentence { dot } if has_space => {
            let is_leader = matches!(char, '.' | ',' | ';' | ':' | '!' | '?');
            let goes_on =
                is_leader || char.is_lowercase() || dot.is_some_and(|dot| is_abbreviation(&text[..dot]));
            Some(if goes_on { Boundary::Word } else { Boundary::Sentence })
        }
        Ended::WideSentence if !closes => Some(Boundary::Sentence),
        Ended::WideClause if !closes => Some(Boundary::Clause),
        Ended::Clause if has_space => Some(Boundary::Clause),
        _ if has_space => Some(Boundary::Word),
        _ if is_unspaced(before) && is_unspaced(char) => Some(Boundary::Word),
        _ => None,
    }
}

/// Han and kana, which are written without spaces.
fn is_unspaced(char: char) -> bool {
    matches!(char, '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3fffd}')
}

/// Whether the word that `text` ends with is one that a full stop follows inside a sentence: an initial, a list number, a
/// title and the like.
fn is_abbreviation(text: &str) -> bool {
    let start = text
        .rfind(|char: char| !char.is_alphanumeric() && char != '.')
        .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    let word = &text[start..];
    let mut chars = word.chars();
    match (chars.next(), chars.next()) {
        (Some(first), None) => return first.is_uppercase() || first.is_numeric(),
        (None, _) => return false,
        _ => {}
    }
    let is_number = word.len() <= 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    let starts_line = text[..start].trim_end_matches([' ', '\t']).ends_with('\n');
    is_number && starts_line || ABBREVIATIONS.contains(&word)
}

const ABBREVIATIONS: [&str; 58] = [
    "Abs", "Art", "Bd", "Capt", "Cie", "Co", "Col", "Corp", "Dr", "Ed", "Fig", "Figs", "Gen", "Hon", "Hr",
    "Inc", "Jr", "Lt", "Ltd", "M.A", "MM", "Messrs", "Mlle", "Mme", "Mr", "Mrs", "Ms", "Mt", "No", "Nos",
    "Nr", "Ph.D", "Prof", "Rev", "Sec", "Sen", "Sgt", "Sr", "Sra", "St", "Str", "Ste", "U.K", "U.S", "Vol",
    "al", "approx", "bzw", "ca", "cf", "e.g", "i.e", "p", "pp", "resp", "usw", "vs", "z.B",
];
