//! A document: the object as a listing shows it, the text that was read from it, and the state it ends in.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// An object of the source as its listing shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectMeta {
    /// The key, relative to the store's root. Any UTF-8: it is a name, never a path to be followed.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The entity tag without its quotes; a version of the content, not necessarily its MD5.
    pub etag: Option<String>,
}

/// What a document is, found by content first and by name second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    Text,
    Markdown,
    Html,
    Csv,
    Tsv,
    Json,
    JsonLines,
    Xml,
    Log,
    Code,
    Subtitles,
    Pdf,
    Docx,
    Odt,
    Rtf,
    Pptx,
    Odp,
    Xlsx,
    Xls,
    Ods,
    Epub,
    Email,
    Mbox,
    Zip,
    Tar,
    /// Only where models are shown pictures.
    Image,
}

impl fmt::Display for Format {
    /// As people write it: `PDF`, `JSON Lines`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Text => "text",
            Format::Markdown => "Markdown",
            Format::Html => "HTML",
            Format::Csv => "CSV",
            Format::Tsv => "TSV",
            Format::Json => "JSON",
            Format::JsonLines => "JSON Lines",
            Format::Xml => "XML",
            Format::Log => "log",
            Format::Code => "source code",
            Format::Subtitles => "subtitles",
            Format::Pdf => "PDF",
            Format::Docx => "Word (DOCX)",
            Format::Odt => "OpenDocument text (ODT)",
            Format::Rtf => "RTF",
            Format::Pptx => "PowerPoint (PPTX)",
            Format::Odp => "OpenDocument presentation (ODP)",
            Format::Xlsx => "Excel (XLSX)",
            Format::Xls => "Excel 97 (XLS)",
            Format::Ods => "OpenDocument spreadsheet (ODS)",
            Format::Epub => "EPUB",
            Format::Email => "e-mail",
            Format::Mbox => "mailbox (mbox)",
            Format::Zip => "zip archive",
            Format::Tar => "tar archive",
            Format::Image => "image",
        })
    }
}

/// How the extracted text is laid out, which is what decides where it may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Paragraphs and sentences. A form feed starts a page.
    Prose,
    /// Headings, lists, tables and fenced code as in CommonMark; otherwise prose.
    Markdown,
    /// Records of delimited values, quoted as in RFC 4180, the first one the header.
    Table { delimiter: u8 },
    /// One record a line: logs, JSON lines.
    Lines,
    /// Source code and pretty-printed JSON or XML: blank lines and indentation.
    Code,
    /// Subtitle cues: a time line, then text, then a blank line.
    Transcript,
}

/// The text of a document, ready to be counted and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub body: String,
    pub format: Format,
    pub layout: Layout,
    /// Name of the character set it was read with (WHATWG label, upper case as in the standard: `UTF-8`, `Shift_JIS`).
    pub charset: &'static str,
    /// `Some(n)`: byte `i` of `body` is byte `i + n` of the object. `None`: the text was decoded, unpacked or
    /// converted, and offsets count bytes of `body`.
    pub source_offset: Option<u64>,
    /// Which part of the document each part of `body` comes from, sorted by start, an outer place before those inside it.
    /// Empty where offsets say it all, as in plain text.
    pub places: Vec<Place>,
    /// What the document holds and `body` lacks. A document with gaps is not wholly read.
    pub gaps: Vec<Gap>,
    /// What a careful reader should know: replaced bytes, a guessed character set. No document text.
    pub warnings: Vec<String>,
}

/// A part of a document and the bytes of the text that came from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Bytes of the text's body.
    pub range: Range<usize>,
    pub at: Locator,
}

/// The name of a part of a document, as a reader of the original would look it up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Locator {
    /// From 1, in the order of the file, whatever is printed on it.
    Page(u32),
    /// From 1.
    Slide(u32),
    /// The name of a sheet of a workbook.
    Sheet(String),
    /// Each line of the range is a row of a sheet; this is the number of the first, from 1.
    Rows(u32),
    /// A message of a mailbox, from 1.
    Message(u32),
    /// An attachment of a message, by its file name.
    Attachment(String),
    /// A member of an archive or a book, by its path.
    Member(String),
}

/// Something that a document holds and that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Where, in words: `page 3`, `member a/b.pdf, page 1`.
    pub place: String,
    /// Why, and what can be done. No document text.
    pub reason: String,
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Locator::Page(n) => write!(f, "page {n}"),
            Locator::Slide(n) => write!(f, "slide {n}"),
            Locator::Sheet(name) => write!(f, "sheet {name}"),
            Locator::Rows(n) => write!(f, "row {n}"),
            Locator::Message(n) => write!(f, "message {n}"),
            Locator::Attachment(name) => write!(f, "attachment {name}"),
            Locator::Member(path) => write!(f, "member {path}"),
        }
    }
}

impl Text {
    /// The places that share bytes with `range`, outer ones before those inside them.
    pub fn places_in(&self, range: &Range<usize>) -> impl Iterator<Item = &Place> {
        let start = range.start;
        let end = self.places.partition_point(|place| place.range.start < range.end);
        self.places[..end].iter().filter(move |place| place.range.end > start)
    }

    /// Where a range of the body stands in the document, as one would cite it: `page 3`, `pages 3-5`,
    /// `sheet Costs, rows 12-40`. `None` if the document has no such parts.
    pub fn place_of(&self, range: Range<usize>) -> Option<String> {
        let (first, last) =
            (self.path_to(range.start), self.path_to(range.end.saturating_sub(1).max(range.start)));
        // A range that starts or ends between two places is cited by what it touches.
        let first = if first.is_empty() {
            self.places_in(&range).take(1).map(|p| p.at.clone()).collect()
        } else {
            first
        };
        let last = if last.is_empty() {
            self.places_in(&range).last().map(|p| p.at.clone()).into_iter().collect()
        } else {
            last
        };
        if first.is_empty() || last.is_empty() {
            return None;
        }
        let common = first.iter().zip(&last).take_while(|(a, b)| a == b).count();
        let mut words: Vec<String> = first[..common].iter().map(Locator::to_string).collect();
        let (first, last) = (&first[common..], &last[common..]);
        match (first, last) {
            ([], _) | (_, []) => {}
            ([Locator::Page(a)], [Locator::Page(b)]) => words.push(format!("pages {a}-{b}")),
            ([Locator::Slide(a)], [Locator::Slide(b)]) => words.push(format!("slides {a}-{b}")),
            ([Locator::Rows(a)], [Locator::Rows(b)]) => words.push(format!("rows {a}-{b}")),
            ([Locator::Message(a)], [Locator::Message(b)]) => words.push(format!("messages {a}-{b}")),
            (first, last) => words.push(format!("{} to {}", joined(first), joined(last))),
        }
        Some(words.join(", "))
    }

    /// The places around one byte, from the outermost in, with rows counted to the byte's own.
    fn path_to(&self, at: usize) -> Vec<Locator> {
        let byte = at..at + 1;
        let around = self.places_in(&byte);
        let exact = |place: &Place| match place.at {
            Locator::Rows(first) => {
                let before = self.body.as_bytes().get(place.range.start..at).unwrap_or_default();
                let lines = before.iter().filter(|byte| **byte == b'\n').count();
                Locator::Rows(first.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX)))
            }
            _ => place.at.clone(),
        };
        around.map(exact).collect()
    }
}

fn joined(path: &[Locator]) -> String {
    path.iter().map(Locator::to_string).collect::<Vec<_>>().join(", ")
}

/// The one state a document ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentState {
    Done,
    Partial,
    Failed,
    Skipped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cited_by_the_places_it_touches() {
        let place = |range, at| Place { range, at };
        let text = Text {
            body: "one\x0ctwo\x0cthree\na\nb\nc\n".to_owned(),
            format: Format::Pdf,
            layout: Layout::Prose,
            charset: "UTF-8",
            source_offset: None,
            places: vec![
                place(0..3, Locator::Page(1)),
                place(4..7, Locator::Page(2)),
                place(8..20, Locator::Sheet("S".to_owned())),
                place(14..20, Locator::Rows(7)),
            ],
            gaps: Vec::new(),
            warnings: Vec::new(),
        };
        let cited = |range: Range<usize>| text.place_of(range);
        assert_eq!(cited(0..2).as_deref(), Some("page 1"));
        assert_eq!(cited(0..6).as_deref(), Some("pages 1-2"));
        assert_eq!(cited(3..6).as_deref(), Some("page 2"), "from between two pages");
        assert_eq!(cited(16..17).as_deref(), Some("sheet S, row 8"));
        assert_eq!(cited(14..20).as_deref(), Some("sheet S, rows 7-9"));
        assert_eq!(cited(5..15).as_deref(), Some("page 2 to sheet S, row 7"));
        assert_eq!(cited(30..31), None);
    }
}
