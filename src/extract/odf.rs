//! OpenDocument text and presentations (ODT, ODP): headings, paragraphs, lists, tables, notes, comments, charts; slides as
//! places.
//!
//! As with DOCX the content becomes the HTML that it means. Text that a tracked change deleted, forms and the
//! descriptions of indexes are skipped. Headers and footers stand in the styles and are read once, after the text.
//! Spreadsheets are read by `sheets`.

use std::collections::{BTreeMap, BTreeSet};

use super::ExtractError;
use super::archive::Archive;
use super::assembly::Assembly;
use super::door::Door;
use super::html;
use super::office::XML_DAMAGED;
use super::xml::{self, Element, Ending, Item, push_escaped};
use crate::domain::{Format, Layout, Locator, Text};

/// Elements whose content is not the text.
const SKIPPED: [&str; 7] =
    ["tracked-changes", "forms", "sequence-decls", "variable-decls", "settings", "script", "event-listeners"];

/// `text:s` stands for so many spaces; more than a line of them is none.
const MAX_SPACES: usize = 100;

/// Reads a text or a presentation.
pub(super) fn read(bytes: &[u8], format: Format, door: &Door<'_>) -> Result<Text, ExtractError> {
    let mut archive = Archive::open(bytes, format, door)?;
    let manifest = archive.read("META-INF/manifest.xml")?.unwrap_or_default();
    if manifest.windows(15).any(|window| window == b"encryption-data") {
        return Err(ExtractError::Encrypted { format });
    }
    let content = archive.require("content.xml")?;
    let objects = objects(&mut archive)?;
    let mut text = Assembly::new(door);
    let mut body = Body { objects: Some(&objects), ..Body::default() };
    let mut slides = 0;
    let ending = xml::read(&content, |item| {
        match &item {
            Item::Start(element) if element.name() == "page" => {
                slides += 1;
                text.separate("\n\n")?;
                text.open(Locator::Slide(slides));
            }
            Item::End("page") => {
                text.push(&html::markdown(&body.take_html()))?;
                text.close();
            }
            _ => {}
        }
        body.take(item);
        let limit_bytes = door.limits().max_text_bytes;
        if body.html.len() as u64 > limit_bytes.saturating_mul(2) {
            return Err(ExtractError::TooLarge { limit_bytes });
        }
        Ok(())
    })?;
    text.push(&html::markdown(&body.take_html()))?;
    if ending == Ending::Damaged {
        if text.is_blank() {
            return Err(ExtractError::Damaged { format });
        }
        text.gap(XML_DAMAGED);
    }
    if body.images > 0 {
        text.warn(format!("{} images were left out", body.images));
    }
    furniture(&mut text, &mut archive)?;
    archive.report(&mut text);
    text.finish(format, Layout::Markdown)
}

/// The HTML of charts and other objects, each a document of its own in a folder of the file, by the folder's name.
fn objects(archive: &mut Archive<'_>) -> Result<BTreeMap<String, String>, ExtractError> {
    let mut objects = BTreeMap::new();
    for path in archive.paths_below("", "/content.xml") {
        let Some(bytes) = archive.read(&path)? else { continue };
        let mut body = Body::default();
        let ending = xml::read(&bytes, |item| -> Result<(), ExtractError> {
            body.take(item);
            Ok(())
        })?;
        if ending == Ending::Damaged {
            archive.fault(&path, ExtractError::Damaged { format: archive.format() });
        }
        let folder = path.strip_suffix("/content.xml").unwrap_or(&path);
        objects.insert(folder.to_owned(), body.take_html());
    }
    Ok(objects)
}

/// Writes the headers and footers of the page styles, each text once; page numbers alone are none.
fn furniture(text: &mut Assembly, archive: &mut Archive<'_>) -> Result<(), ExtractError> {
    let Some(styles) = archive.read("styles.xml")? else { return Ok(()) };
    let (mut body, mut seen) = (Body::default(), BTreeSet::new());
    let (mut open, mut words) = (None, Vec::new());
    let ending = xml::read(&styles, |item| -> Result<(), ExtractError> {
        let kind = |name: &str| match name {
            "header" | "header-left" | "header-first" => Some("Header"),
            "footer" | "footer-left" | "footer-first" => Some("Footer"),
            _ => None,
        };
        match item {
            Item::Start(element) if open.is_none() => open = kind(element.name()),
            Item::End(name) if kind(name).is_some() => {
                words.extend(open.take().map(|kind| (kind, html::markdown(&body.take_html()))));
            }
            item if open.is_some() => body.take(item),
            _ => {}
        }
        Ok(())
    })?;
    if ending == Ending::Damaged {
        archive.fault("styles.xml", ExtractError::Damaged { format: archive.format() });
    }
    for (kind, words) in words {
        let words = words.trim();
        if words.contains(char::is_alphabetic) && seen.insert((kind, words.to_owned())) {
            text.block(&format!("{kind}: {words}"))?;
        }
    }
    Ok(())
}

/// The content while it is read.
#[derive(Default)]
struct Body<'o> {
    objects: Option<&'o BTreeMap<String, String>>,
    html: String,
    /// Notes are read where they stand and written after the text.
    notes: String,
    /// Paragraphs and headings that are open; notes and frames stand within them.
    open: Vec<Paragraph>,
    skip: Option<(String, usize)>,
    in_note: usize,
    in_comment: usize,
    /// The number of the note that is being read.
    citation: Option<String>,
    is_citation: bool,
    images: usize,
}

#[derive(Default)]
struct Paragraph {
    html: String,
    level: Option<u8>,
}

impl Body<'_> {
    fn take_html(&mut self) -> String {
        let mut html = std::mem::take(&mut self.html);
        html.push_str(&std::mem::take(&mut self.notes));
        html
    }

    fn take(&mut self, item: Item<'_>) {
        if let Some((name, open)) = &mut self.skip {
            match item {
                Item::Start(element) if element.name() == name => *open += 1,
                Item::End(end) if end == name => *open -= 1,
                _ => {}
            }
            if *open == 0 {
                self.skip = None;
            }
            return;
        }
        match item {
            Item::Start(element) => self.start(&element),
            Item::End(name) => self.end(name),
            Item::Text(text) => {
                if self.is_citation {
                    self.citation.get_or_insert_default().push_str(&text);
                }
                if let Some(paragraph) = self.open.last_mut() {
                    push_escaped(&mut paragraph.html, &text);
                }
            }
        }
    }

    fn start(&mut self, element: &Element<'_>) {
        let name = element.name();
        match name {
            name if SKIPPED.contains(&name) => self.skip = Some((name.to_owned(), 1)),
            "creator" | "date" | "creator-initials" if self.in_comment > 0 => {
                self.skip = Some((name.to_owned(), 1));
            }
            "annotation" => self.in_comment += 1,
            "object" => {
                let folder = element.attribute("href").unwrap_or_default();
                let folder = folder.trim_start_matches("./").to_owned();
                let html = self.objects.and_then(|objects| objects.get(&folder));
                let html = html.map_or("", String::as_str);
                self.target().push_str(html);
            }
            "p" => {
                self.open.push(Paragraph::default());
                if self.in_comment > 0 {
                    self.push("[comment] ");
                }
                if self.in_note > 0
                    && let Some(citation) = self.citation.take()
                {
                    self.push(&format!("[^{citation}]: "));
                }
            }
            "h" => {
                let level =
                    element.attribute("outline-level").and_then(|level| level.parse().ok()).unwrap_or(1);
                self.open.push(Paragraph { html: String::new(), level: Some(level) });
            }
            "s" => {
                let count = element.attribute("c").and_then(|count| count.parse().ok()).unwrap_or(1);
                self.push(&" ".repeat(count.min(MAX_SPACES)));
            }
            "tab" => self.push(" "),
            "line-break" => self.raw("<br>"),
            "note" => self.in_note += 1,
            "note-citation" => {
                self.is_citation = true;
                self.push("[^");
            }
            "image" => self.images += 1,
            _ => self.structure(name, true),
        }
    }

    fn end(&mut self, name: &str) {
        match name {
            "p" | "h" => self.end_paragraph(),
            "annotation" => self.in_comment = self.in_comment.saturating_sub(1),
            "note" => self.in_note = self.in_note.saturating_sub(1),
            "note-citation" => {
                self.is_citation = false;
                self.push("]");
            }
            _ => self.structure(name, false),
        }
    }

    fn structure(&mut self, name: &str, is_start: bool) {
        let tag = match name {
            "list" => "ul",
            "list-item" | "list-header" => "li",
            "table" => "table",
            "table-row" => "tr",
            "table-cell" | "covered-table-cell" => "td",
            _ => return,
        };
        let slash = if is_start { "" } else { "/" };
        self.target().push_str(&format!("<{slash}{tag}>"));
    }

    fn end_paragraph(&mut self) {
        let Some(paragraph) = self.open.pop() else { return };
        let tag = match paragraph.level {
            Some(level) if self.in_note == 0 => format!("h{}", level.clamp(1, 6)),
            _ => "p".to_owned(),
        };
        let html = format!("<{tag}>{}</{tag}>", paragraph.html);
        self.target().push_str(&html);
    }

    fn target(&mut self) -> &mut String {
        if self.in_note > 0 { &mut self.notes } else { &mut self.html }
    }

    fn push(&mut self, text: &str) {
        if let Some(paragraph) = self.open.last_mut() {
            push_escaped(&mut paragraph.html, text);
        }
    }

    fn raw(&mut self, html: &str) {
        if let Some(paragraph) = self.open.last_mut() {
            paragraph.html.push_str(html);
        }
    }
}
