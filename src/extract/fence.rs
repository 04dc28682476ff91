//! Fenced code blocks: how text that must keep its lines stands in Markdown made here.

/// Appends `text` between fences that are longer than any row of backticks in it (CommonMark 0.31, 4.5).
pub(super) fn push_fenced(markdown: &mut String, language: &str, text: &str) {
    let (mut row, mut longest) = (0, 0);
    for byte in text.bytes() {
        row = if byte == b'`' { row + 1 } else { 0 };
        longest = longest.max(row);
    }
    let fence = "`".repeat(longest.max(2) + 1);
    for part in [&fence, language, "\n", text, "\n", &fence] {
        markdown.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        let check = |text: &str, expect: &str| {
            let mut markdown = String::new();
            push_fenced(&mut markdown, "rust", text);
            assert_eq!(markdown, expect);
        };
        check("a``b", "```rust\na``b\n```");
        check("````", "`````rust\n````\n`````");
    }
}
