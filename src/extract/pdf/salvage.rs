//! Salvage: a PDF that is cut off, with a page tree made anew for the pages that are still there.
//!
//! A PDF is read from its end: trailer, catalog, page tree. A file that was cut in transfer has lost these, but its pages
//! stand in it as objects of their own, which readers find by scanning. So a catalog and a page tree over the pages
//! that are found are written after what is left. Pages within compressed object streams are not found.

use std::collections::BTreeSet;

/// A page's dictionary is no longer than this.
const PAGE_BYTES: usize = 16 << 10;

/// A damaged file with more page objects is none.
const MAX_PAGES: usize = 100_000;

/// The bytes with a new end, or `None` if no page is found in them.
pub(super) fn with_new_page_tree(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut pages: Vec<(u32, u32)> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut highest = 0;
    let mut at = 0;
    while let Some(found) = find(&bytes[at..], b" obj") {
        let header = at + found;
        at = header + 4;
        let Some((number, generation)) = numbers_before(&bytes[..header]) else { continue };
        highest = highest.max(number);
        let near = bytes.len().min(at + PAGE_BYTES);
        let end = find(&bytes[at..near], b"endobj").map_or(near, |end| at + end);
        let stream = find(&bytes[at..end], b"stream").map_or(end, |stream| at + stream);
        if is_page(&bytes[at..stream]) && pages.len() < MAX_PAGES && seen.insert(number) {
            pages.push((number, generation));
        }
    }
    if pages.is_empty() {
        return None;
    }
    let (tree, catalog) = (highest.checked_add(1)?, highest.checked_add(2)?);
    let kids: Vec<String> =
        pages.iter().map(|(number, generation)| format!("{number} {generation} R")).collect();
    // Where the cut left no size, a page is as large as most are.
    let end = format!(
        "\nendstream\nendobj\n{tree} 0 obj\n<</Type/Pages/MediaBox[0 0 612 792]/Count {}/Kids[{}]>>\nendobj\n\
         {catalog} 0 obj\n<</Type/Catalog/Pages {tree} 0 R>>\nendobj\ntrailer\n<</Root {catalog} 0 R/Size {}>>\n%%EOF\n",
        pages.len(),
        kids.join(" "),
        catalog.saturating_add(1),
    );
    Some([bytes, end.as_bytes()].concat())
}

/// Whether a dictionary has `/Type /Page`.
fn is_page(object: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = find(&object[at..], b"/Type") {
        at += found + 5;
        let value = object[at..].trim_ascii_start();
        if let Some(rest) = value.strip_prefix(b"/Page") {
            return rest.first().is_none_or(|next| !next.is_ascii_alphanumeric());
        }
    }
    false
}

/// The object and generation numbers that `bytes` end with.
fn numbers_before(bytes: &[u8]) -> Option<(u32, u32)> {
    let from = bytes.len().saturating_sub(20);
    let text = std::str::from_utf8(bytes.get(from..)?).ok().or_else(|| {
        let ascii = bytes[from..].iter().rposition(|byte| !byte.is_ascii()).map_or(from, |at| from + at + 1);
        std::str::from_utf8(&bytes[ascii..]).ok()
    })?;
    let (rest, generation) = text.rsplit_once(' ')?;
    let digits = rest.len() - rest.bytes().rev().take_while(u8::is_ascii_digit).count();
    Some((rest[digits..].parse().ok()?, generation.parse().ok()?))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_and_given_a_tree() {
        let cut = b"%PDF-1.4\n3 0 obj\n<</Type /Page /Contents 4 0 R>>\nendobj\n\xff7 0 obj<</Type/Pages>>endobj\n8 0 obj";
        let whole = with_new_page_tree(cut).expect("a page");
        let end = String::from_utf8_lossy(&whole[cut.len()..]).into_owned();
        assert!(end.contains("9 0 obj\n<</Type/Pages") && end.contains("/Kids[3 0 R]"), "{end}");
        assert_eq!(with_new_page_tree(b"%PDF-1.4\n3 0 obj\n<</Type/Font>>\nendobj"), None);
    }
}
