//! A document's sentences: Markdown marks and link targets removed, wrapped lines joined, lists, tables, logs and code
//! taken line by line, and nothing longer than a reader would call a sentence.

use unicode_segmentation::UnicodeSegmentation as _;

use super::terms::is_unspaced;

/// The longest sentence that is quoted, in characters; a longer one is cut where it pauses.
const SENTENCE_MAX_CHARS: usize = 320;
/// The pieces taken of one endless sentence (minified code, base64), in all.
const PIECES_MAX: usize = 24;
/// A paragraph is split at the latest here, in bytes, so that one without end costs no more than others.
const PARAGRAPH_MAX_BYTES: usize = 16 * 1024;
/// How wide a line of wrapped prose is, in columns.
const WRAPPED_COLUMNS: std::ops::RangeInclusive<usize> = 40..=130;
/// What is looked at to tell prose from data.
const SAMPLE_CHARS: usize = 160;

/// Words whose full stop ends no sentence, in lower case and without it.
const ABBREVIATIONS: &[&str] = &[
    "al", "art", "bd", "bzw", "cf", "co", "corp", "dr", "ed", "eg", "e.g", "etc", "fig", "figs", "i.e", "ie", "inc", "jr", "ltd",
    "mme", "mr", "mrs", "ms", "no", "nos", "nr", "op", "pp", "prof", "sec", "sr", "st", "u.s", "vgl", "vol", "vs", "z.b",
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

/// Whether a sentence can end with this character (closing quotes and brackets included).
pub fn is_terminal(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？' | '．' | '।' | '॥' | '؟' | '۔' | '܂' | '።' | '។' | '၊' | '။')
        || matches!(c, '"' | '\'' | '”' | '’' | '»' | ')' | '）' | '」' | '』')
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
        let line = line.trim_start_matches(['>', ' ']);
        if line.is_empty() || is_rule(line) || line.starts_with("```") || line.starts_with("~~~") || is_tags(line) {
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
    // An identifier, a path, a hash or a line of base64 is long for a word of any language.
    if text.split_whitespace().any(|word| word.len() > 40 && word.is_ascii()) {
        quality *= 0.2;
    }
    if !text.ends_with(is_terminal) {
        quality *= 0.6;
    }
    if text.chars().any(char::is_alphabetic) && !text.chars().any(char::is_lowercase) && unspaced == 0 && text.is_ascii() {
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
    // "J." is an initial; "A." at the end of a list may be one: a sentence too long is better than half of one.
    let initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase);
    initial || (word.len() <= 5 && ABBREVIATIONS.contains(&word.to_lowercase().as_str()))
}

fn heading(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    ((1..=6).contains(&level) && rest.starts_with(' ')).then(|| rest.trim_matches(['#', ' ']))
}

/// A line of dashes, an underline, or the line below a table's head.
fn is_rule(line: &str) -> bool {
    line.len() >= 2 && line.chars().all(|c| matches!(c, '-' | '=' | '*' | '_' | '|' | ':' | '+' | '~' | ' ' | '.'))
}

/// Nothing but tags and comments: `<div>`, `</p><p>`, `<!-- x -->`.
fn is_tags(line: &str) -> bool {
    if !line.starts_with('<') || !line.ends_with('>') {
        return false;
    }
    let mut rest = line;
    while let Some(tag) = rest.strip_prefix('<') {
        let Some((_, after)) = tag.split_once('>') else { return false };
        rest = after.trim_start();
    }
    rest.is_empty()
}

fn without_bullet(line: &str) -> (bool, &str) {
    if let Some(rest) = ["- ", "* ", "+ ", "• ", "– "].iter().find_map(|bullet| line.strip_prefix(bullet)) {
        return (true, rest.trim_start_matches(["[ ] ", "[x] "].as_slice()[0]).trim_start());
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
        // A backslash before punctuation is Markdown's escape; what follows it is text.
        let mut chars = rest.chars();
        let first = chars.next().unwrap_or_default();
        if first != '\\' || !chars.next().is_some_and(|c| c.is_ascii_punctuation()) {
            text.push(first);
        } else if let Some(escaped) = rest.chars().nth(1) {
            text.push(escaped);
            chars = rest.chars();
            chars.nth(1);
            rest = chars.as_str();
            continue;
        }
        rest = &rest[first.len_utf8()..];
    }
    text.push_str(rest);
    text
}

/// The label of a link at the start of `text`, and what comes after it.
fn link(text: &str) -> Option<(&str, &str)> {
    /// Longer labels and targets are not looked for: a page of open brackets must not cost its square.
    const LINK_MAX_BYTES: usize = 2000;
    let inner = text.strip_prefix('[')?;
    let end = inner.bytes().take(LINK_MAX_BYTES).position(|byte| byte == b']')?;
    let (label, after) = (&inner[..end], &inner[end + 1..]);
    let target = after.strip_prefix('(')?;
    let close = target.bytes().take(LINK_MAX_BYTES).position(|byte| byte == b')')?;
    Some((label, &target[close + 1..]))
}
