//! A document's sentences: Markdown marks and link targets removed, wrapped lines joined, lists, tables, logs and code
//! taken line by line, and nothing longer than a reader would call a sentence.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation as _;

use super::terms::is_unspaced;

/// The longest sentence that is quoted, in characters; a longer one is cut where it pauses.
const SENTENCE_MAX_CHARS: usize = 320;
/// From here on a sentence is long, in characters.
const LONG_CHARS: usize = 220;
/// The pieces taken of one endless sentence (minified code, base64), in all.
const PIECES_MAX: usize = 24;
/// A paragraph is split at the latest here, in bytes, so that one without end costs no more than others.
const PARAGRAPH_MAX_BYTES: usize = 16 * 1024;
/// How wide a line of wrapped prose is, in columns.
const WRAPPED_COLUMNS: std::ops::RangeInclusive<usize> = 40..=130;
/// What is looked at to tell prose from data.
const SAMPLE_CHARS: usize = 160;

/// Longer tags, labels and link targets are not looked for: a page of open brackets must not cost its square.
const MARKUP_MAX_BYTES: usize = 1000;
/// HTML that people write in Markdown.
const TAGS: &[&str] = &[
    "a", "b", "br", "center", "code", "dd", "details", "div", "dl", "dt", "em", "font", "h1", "h2", "h3",
    "h4", "h5", "h6", "hr", "i", "img", "kbd", "li", "ol", "p", "pre", "small", "span", "strong", "sub",
    "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "tt", "u", "ul",
];

/// Words whose full stop ends no sentence, in lower case and without it.
const ABBREVIATIONS: &[&str] = &[
    "al", "art", "bd", "bzw", "cf", "co", "corp", "dr", "ed", "eg", "e.g", "etc", "fig", "figs", "i.e", "ie",
    "inc", "jr", "ltd", "mme", "mr", "mrs", "ms", "no", "nos", "nr", "op", "pp", "prof", "sec", "sr", "st",
    "u.s", "vgl", "vol", "vs", "z.b",
];

/// A quotable piece of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentence {
    pub text: String,
    /// 0 to 1: how much it looks like something that a person would quote.
    pub quality: f32,
}

/// The sentences of `text` in its order.
pub fn split(text: &str) -> Vec<Sentence> {
    let mut splitter = Splitter::default();
    for line in text.lines() {
        splitter.line(line.trim());
    }
    splitter.flush();
    if splitter.sentences.is_empty() {
        splitter.sentences = splitter.headings;
    }
    splitter.sentences
}

/// Whether the text ends as a sentence does: with a full stop of some script, perhaps inside quotes or brackets.
pub fn is_ended(text: &str) -> bool {
    let inner = text.trim_end_matches(['"', '\'', '”', '’', '»', ')', '）', '」', '』']);
    inner.ends_with(['.', '!', '?', '…', '。', '！', '？', '．', '।', '॥', '؟', '۔', '።', '។', '၊', '။'])
}

#[derive(Default)]
struct Splitter {
    paragraph: String,
    last_line: String,
    sentences: Vec<Sentence>,
    /// Quoted only when there is nothing else.
    headings: Vec<Sentence>,
}

impl Splitter {
    fn line(&mut self, line: &str) {
        let line = without_tags(line.trim_start_matches(['>', ' ']));
        let line = line.trim();
        if line.is_empty() || is_rule(line) || line.starts_with("```") || line.starts_with("~~~") {
            return self.flush();
        }
        if let Some(heading) = heading(line) {
            self.flush();
            let text = inline(heading);
            push(&mut self.headings, &text);
            return;
        }
        if line.starts_with('|') {
            self.flush();
            let cells: Vec<_> = line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
            push_pieces(&mut self.sentences, &inline(&cells.join(", ")));
            return;
        }
        let (item, line) = without_bullet(line);
        if item || !self.continues(line) {
            self.flush();
        }
        if !self.paragraph.is_empty() && !self.paragraph.ends_with(is_unspaced) {
            self.paragraph.push(' ');
        }
        self.paragraph.push_str(&inline(line));
        line.clone_into(&mut self.last_line);
        if self.paragraph.len() > PARAGRAPH_MAX_BYTES {
            self.flush();
        }
    }

    /// Whether `line` goes on where the paragraph's last line was wrapped.
    fn continues(&self, line: &str) -> bool {
        let columns: usize = self.last_line.chars().map(|c| if is_unspaced(c) { 2 } else { 1 }).sum();
        WRAPPED_COLUMNS.contains(&columns)
            && letters(&self.last_line) > 0.7
            && !self.last_line.ends_with([':', ';', '{', '}'])
            && !line.starts_with(['[', '{', '<', '#', '}'])
    }

    fn flush(&mut self) {
        let paragraph = std::mem::take(&mut self.paragraph);
        self.last_line.clear();
        let mut sentence = String::new();
        for piece in paragraph.unicode_sentences() {
            sentence.push_str(piece);
            if !ends_in_abbreviation(&sentence) {
                push_pieces(&mut self.sentences, &sentence);
                sentence.clear();
            }
        }
        push_pieces(&mut self.sentences, &sentence);
    }
}

fn push_pieces(sentences: &mut Vec<Sentence>, text: &str) {
    let mut rest = text.trim();
    for _ in 0..PIECES_MAX {
        let Some((end, _)) = rest.char_indices().nth(SENTENCE_MAX_CHARS) else { break };
        let head = &rest[..end];
        // The last pause, unless it is so early that most would be lost for it.
        let pause = head.rfind([',', ';', '、', '，', '；', ' ', ':']).filter(|at| *at > end / 2);
        let cut = pause.map_or(end, |at| at + head[at..].chars().next().map_or(0, char::len_utf8));
        push(sentences, head[..cut].trim_end_matches([',', ' ']));
        rest = rest[cut..].trim_start();
    }
    if rest.char_indices().nth(SENTENCE_MAX_CHARS).is_none() {
        push(sentences, rest);
    }
}

fn push(sentences: &mut Vec<Sentence>, text: &str) {
    let text = text.trim();
    if text.chars().any(char::is_alphanumeric) {
        sentences.push(Sentence { text: text.to_owned(), quality: quality(text) });
    }
}

fn quality(text: &str) -> f32 {
    let letters = letters(text);
    let mut quality = if letters < 0.75 { letters * letters } else { 1.0 };
    let unspaced = text.chars().filter(|c| is_unspaced(*c)).count();
    let words = text.split_whitespace().count() + unspaced / 2;
    if words < 5 {
        quality *= 0.3;
    }
    // Long sentences share words with more others than they say more.
    if text.chars().nth(LONG_CHARS).is_some() {
        quality *= 0.8;
    }
    // An identifier, a path, a hash or a line of base64 is long for a word of any language.
    if text.split_whitespace().any(|word| word.len() > 40 && word.is_ascii()) {
        quality *= 0.2;
    }
    if !is_ended(text) {
        quality *= 0.6;
    }
    if text.chars().any(char::is_alphabetic)
        && !text.chars().any(char::is_lowercase)
        && unspaced == 0
        && text.is_ascii()
    {
        quality *= 0.5;
    }
    quality
}

/// The share of letters and marks among the visible characters at the start of `text`.
fn letters(text: &str) -> f32 {
    let (mut letters, mut others) = (0.0, 0.0);
    for c in text.chars().filter(|c| !c.is_whitespace()).take(SAMPLE_CHARS) {
        if c.is_alphabetic() || (!c.is_ascii() && !c.is_numeric()) {
            letters += 1.0;
        } else {
            others += 1.0;
        }
    }
    letters / f32::max(letters + others, 1.0)
}

fn ends_in_abbreviation(sentence: &str) -> bool {
    let Some(before) = sentence.trim_end().strip_suffix('.') else { return false };
    let word = before.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    // "J." is an initial and "16." a German date. Where it is not, a sentence too long is better than half of one.
    let initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase);
    let ordinal = matches!(word.len(), 1..=2) && word.bytes().all(|byte| byte.is_ascii_digit());
    initial || ordinal || (word.len() <= 5 && ABBREVIATIONS.contains(&word.to_lowercase().as_str()))
}

fn heading(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    ((1..=6).contains(&level) && rest.starts_with(' ')).then(|| rest.trim_matches(['#', ' ']))
}

/// A line of dashes, an underline, or the line below a table's head.
fn is_rule(line: &str) -> bool {
    line.len() >= 2
        && line.chars().all(|c| matches!(c, '-' | '=' | '*' | '_' | '|' | ':' | '+' | '~' | ' ' | '.'))
}

/// A line without the HTML that stands in Markdown. Other angle brackets are text: `Vec<String>`, `a < b`.
fn without_tags(line: &str) -> Cow<'_, str> {
    if !line.contains('<') {
        return Cow::Borrowed(line);
    }
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('<') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let after = tag(rest).unwrap_or_else(|| {
            text.push('<');
            &rest[1..]
        });
        rest = after;
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// What comes after the tag or comment at the start of `text`, if there is one that is not too long.
fn tag(text: &str) -> Option<&str> {
    let inner = text[1..].trim_start_matches('/');
    let name = &inner[..inner.len() - inner.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).len()];
    if !inner.starts_with("!--") && !TAGS.contains(&name.to_ascii_lowercase().as_str()) {
        return None;
    }
    let end = text.bytes().take(MARKUP_MAX_BYTES).position(|byte| byte == b'>')?;
    Some(&text[end + 1..])
}

fn without_bullet(line: &str) -> (bool, &str) {
    if let Some(rest) = ["- ", "* ", "+ ", "• ", "– "].iter().find_map(|bullet| line.strip_prefix(bullet))
    {
        let rest = rest.strip_prefix("[ ] ").or_else(|| rest.strip_prefix("[x] ")).unwrap_or(rest);
        return (true, rest.trim_start());
    }
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if (1..=3).contains(&digits) {
        let rest = &line[digits..];
        if let Some(rest) = rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") ")) {
            return (true, rest.trim_start());
        }
    }
    (false, line)
}

/// A line without Markdown's inline marks: `[text](target)` is its text, an image its description.
fn inline(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['[', '!', '*', '`', '_', '\\']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((label, after)) = link(rest.strip_prefix('!').unwrap_or(rest)) {
            text.push_str(label);
            rest = after;
            continue;
        }
        let marks = ["***", "**", "__", "``", "`"];
        if let Some(after) = marks.iter().find_map(|mark| rest.strip_prefix(mark)) {
            rest = after;
            continue;
        }
        let mut chars = rest.chars();
        let first = chars.next().unwrap_or_default();
        let next = chars.next().unwrap_or(' ');
        rest = &rest[first.len_utf8()..];
        match first {
            // Markdown's escape: what follows is text, not a mark.
            '\\' if next.is_ascii_punctuation() => {
                text.push(next);
                rest = &rest[next.len_utf8()..];
            }
            '*' | '_' if is_emphasis(text.chars().next_back().unwrap_or(' '), next) => {}
            _ => text.push(first),
        }
    }
    text.push_str(rest);
    text
}

/// Whether a single `*` or `_` between these two opens or closes emphasis: not in `2 * 3`, not in `snake_case`.
fn is_emphasis(before: char, after: char) -> bool {
    let opens = !before.is_alphanumeric() && after.is_alphanumeric();
    let closes = !before.is_whitespace() && !after.is_alphanumeric();
    opens || closes
}

/// The label of a link at the start of `text`, and what comes after it.
fn link(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('[')?;
    let end = inner.bytes().take(MARKUP_MAX_BYTES).position(|byte| byte == b']')?;
    let (label, after) = (&inner[..end], &inner[end + 1..]);
    let target = after.strip_prefix('(')?;
    let close = target.bytes().take(MARKUP_MAX_BYTES).position(|byte| byte == b')')?;
    Some((label, &target[close + 1..]))
}
