//! Finds the document in a prompt. A real model tells instructions from data by reading; this one goes by the fences:
//! blocks between `<tag>` and `</tag>`, each on a line of its own.

use std::collections::BTreeMap;

/// Blocks that only help to understand the document, the text before it and the head of its table: read, not summarised.
const ORIENTATION: [&str; 2] = ["context", "header"];

/// The text to summarise: what lies in the outermost blocks of the name that holds most text, or everything when there
/// are no blocks.
pub fn document(prompt: &str) -> String {
    fenced(prompt).unwrap_or_else(|| prompt.to_owned())
}

/// What lies in the blocks; `None` without blocks.
pub fn fenced(prompt: &str) -> Option<String> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for (tag, content) in blocks(prompt) {
        let name =
            tag.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == '_').to_ascii_lowercase();
        if ORIENTATION.iter().any(|start| name.starts_with(start)) || content.trim().is_empty() {
            continue;
        }
        match groups.iter_mut().find(|(other, _)| *other == name) {
            Some((_, contents)) => contents.push(content),
            None => groups.push((name, vec![content])),
        }
    }
    let size = |contents: &[&str]| contents.iter().map(|content| content.trim().len()).sum::<usize>();
    // Of equals the first, hence the reversal.
    let largest = groups.iter().rev().max_by_key(|(_, contents)| size(contents));
    largest.map(|(_, contents)| contents.join("\n\n"))
}

/// How long an answer the prompt asks for, in tokens: of `at most N words` the last one counts, for it stands after the
/// document.
pub fn wanted_tokens(prompt: &str) -> usize {
    const UNASKED: usize = 1_000;
    let words = prompt.rmatch_indices("at most ").find_map(|(at, found)| {
        let (number, rest) = prompt[at + found.len()..].split_once(' ')?;
        number.parse::<usize>().ok().filter(|_| rest.starts_with("words"))
    });
    // Four words of English are about five tokens, of other languages more.
    words.map_or(UNASKED, |words| words.saturating_mul(2))
}

/// The outermost blocks, in order: tag and content.
fn blocks(prompt: &str) -> Vec<(&str, &str)> {
    let mut lines = Vec::new();
    let mut closing: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut start = 0;
    for line in prompt.split_inclusive('\n') {
        if let Some(tag) = closes(line.trim()) {
            closing.entry(tag).or_default().push(lines.len());
        }
        lines.push((start, line));
        start += line.len();
    }
    let mut blocks = Vec::new();
    let mut at = 0;
    while let Some(&(start, line)) = lines.get(at) {
        at += 1;
        let Some(tag) = opens(line.trim()) else { continue };
        let Some(ends) = closing.get(tag) else { continue };
        // A tag that is never closed is text.
        let Some(&end) = ends.get(ends.partition_point(|end| *end < at)) else { continue };
        blocks.push((tag, &prompt[start + line.len()..lines[end].0]));
        at = end + 1;
    }
    blocks
}

fn opens(line: &str) -> Option<&str> {
    let inner = line.strip_prefix('<')?.strip_suffix('>')?;
    let name = inner.split_whitespace().next()?;
    let attributes = &inner[name.len()..];
    (is_name(name) && !inner.starts_with(char::is_whitespace) && !attributes.contains(['<', '>']))
        .then_some(name)
}

fn closes(line: &str) -> Option<&str> {
    line.strip_prefix("</")?.strip_suffix('>').filter(|name| is_name(name))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'))
}

#[cfg(test)]
mod tests {
    use super::document;

    #[test]
    fn the_fenced_text_is_the_document() {
        let prompt = "Summarise.\n<context>\nThis is chapter 3 of a very long book about everything.\n</context>\n<document name=\"a\">\nThe text.\n</document>\nBe brief.";
        assert_eq!(document(prompt).trim(), "The text.");
    }

    #[test]
    fn several_answers_are_one_document() {
        let prompt =
            "Merge:\n<answer-1>\nOne.\n</answer-1>\n<answer-2>\nTwo.\n</answer-2>\n<note>\nx\n</note>\n";
        assert_eq!(document(prompt), "One.\n\n\nTwo.\n");
    }

    #[test]
    fn without_fences_everything_is_the_document() {
        for prompt in
            ["Plain text.", "a <b>bold</b> word", "<p>\nnever closed", "<a>\n</b>", "< a>\nx\n</a>", ""]
        {
            assert_eq!(document(prompt), prompt);
        }
    }

    #[test]
    fn tags_inside_the_document_are_its_own() {
        let prompt = "<text>\n<p>\ninner\n</p>\n</text>\n<p>\nouter\n</p>";
        assert_eq!(document(prompt), "<p>\ninner\n</p>\n");
    }
}
