//! Words, names and addresses of a text.

use super::{Claim, What};

/// The words of a text: letters and what joins them; digits are not part of one.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic() && !is_mark(c)).filter(|word| !word.is_empty())
}

/// Vowel signs of Indic scripts and the like are no letters to Rust, but belong to their word.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{900}'..='\u{dff}' | '\u{e31}' | '\u{e34}'..='\u{e4e}')
        && !c.is_numeric()
}

/// Which letters a word begins with: a number for each alphabet that has capitals, one for all others.
pub(super) fn alphabet(word: &str) -> Option<u8> {
    let first = word.chars().next()?;
    Some(match u32::from(first) {
        0..=0x24f | 0x1e00..=0x1eff => 0,
        0x370..=0x3ff | 0x1f00..=0x1fff => 1,
        0x400..=0x52f => 2,
        0x530..=0x58f => 3,
        _ => 4,
    })
}

/// Two or more capitalised words in a row inside a sentence. What begins a sentence is capitalised anyway and is no part
/// of one.
pub(super) fn names(text: &str) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut run: Vec<(usize, &str)> = Vec::new();
    let mut begins_sentence = true;
    let mut last_end = 0;
    for word in words(text) {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        let between = &text[last_end..start];
        begins_sentence |= between.chars().any(ends_sentence) || between.trim().chars().count() > 1;
        if between != " " || !is_capitalised(word) || begins_sentence {
            claims.extend(name(&run));
            run.clear();
        }
        if is_capitalised(word) && !begins_sentence {
            run.push((start, word));
        }
        begins_sentence = false;
        last_end = start + word.len();
    }
    claims.extend(name(&run));
    claims
}

/// After these a capital says nothing: the end of a sentence, a bullet, a quotation, a heading.
fn ends_sentence(c: char) -> bool {
    !matches!(c, ' ' | ',' | '-' | '\'' | '’' | '(' | ')' | '/' | '&') && !c.is_ascii_digit()
}

fn is_capitalised(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(char::is_uppercase) && chars.next().is_some() && chars.all(char::is_lowercase)
}

fn name(run: &[(usize, &str)]) -> Option<Claim> {
    let [(start, _), .., (last, word)] = run else { return None };
    let words = run.iter().map(|(_, word)| word.to_lowercase()).collect();
    Some(Claim { start: *start, end: last + word.len(), what: What::Name(words) })
}

/// E-mail addresses and URLs.
pub(super) fn addresses(text: &str) -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    let mut from = 0;
    for (at, mark) in text.match_indices(['@', ':', 'w', 'W']) {
        let is_mark = match mark {
            "@" => true,
            ":" => text[at..].starts_with("://"),
            _ => text[at..].get(..4).is_some_and(|start| start.eq_ignore_ascii_case("www.")),
        };
        if !is_mark || at < from {
            continue;
        }
        let start = text[from..at].rfind(|c| !is_part(c)).map_or(from, |before| {
            from + before + text[from + before..].chars().next().map_or(1, char::len_utf8)
        });
        let end = text[at..].find(|c| !is_part(c)).map_or(text.len(), |after| at + after);
        let found = text[start..end].trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '*', '_']);
        if let Some(address) = normal(found) {
            let end = start + found.len();
            claims.push(Claim { start, end, what: What::Address(address) });
            from = end;
        }
    }
    claims
}

/// Characters of addresses as texts hold them. Brackets and quotes surround one.
fn is_part(c: char) -> bool {
    c.is_ascii_graphic()
        && !matches!(c, '<' | '>' | '"' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '`' | '\\')
}

/// Without scheme, `www.` and a slash at the end, in lower case; `None` for what is no address.
fn normal(found: &str) -> Option<String> {
    let lower = found.to_ascii_lowercase();
    let rest = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
    let rest = rest.strip_prefix("mailto:").unwrap_or(rest);
    let rest = rest.strip_prefix("www.").unwrap_or(rest).trim_end_matches('/');
    let host = rest.rsplit('@').next().unwrap_or_default();
    let has_domain = host.split('/').next().is_some_and(|host| {
        host.split_once('.').is_some_and(|(name, rest)| !name.is_empty() && !rest.is_empty())
    });
    (has_domain && !rest.starts_with('@')).then(|| rest.to_owned())
}

/// The host of an address that names more than it.
pub(super) fn host(address: &str) -> Option<&str> {
    let rest = address.rsplit('@').next()?;
    let host = rest.split(['/', '?', '#']).next()?;
    (host != address).then_some(host)
}
