//! DOCX: the body of a Word document with its headings, lists, tables, notes, charts and what was put into it.
//!
//! The document becomes the HTML that it means, and `html` makes Markdown of that, so that tables in tables, cells that
//! span and lists come out alike wherever they come from. What is deleted in a tracked change, field codes and the second
//! copy that old programs get of a drawing (`mc:Fallback`) are not the text and are skipped; inserted text is read. What
//! repeats on every page (headers, footers) is read once, after the text; so are documents that are embedded.

use std::collections::{BTreeMap, BTreeSet};

use super::ExtractError;
use super::archive::Archive;
use super::assembly::Assembly;
use super::door::Door;
use super::html;
use super::office::{
    Inserts, NO_INSERTS, Relations, Versions, XML_DAMAGED, embedded, inserted, inserts, path_of, relations,
};
use super::xml::{self, Element, Ending, Item, push_escaped};
use crate::domain::{Format, Layout, Text};

/// Elements whose content is not the text.
const SKIPPED: [&str; 6] = ["moveFrom", "del", "instrText", "delText", "pPrChange", "rPrChange"];

/// Parts that a document can not lack in silence.
const WITH_TEXT: [&str; 5] = ["footnotes", "endnotes", "comments", "header", "footer"];

/// Reads a document.
pub(super) fn read(bytes: &[u8], door: &Door<'_>) -> Result<Text, ExtractError> {
    let mut archive = Archive::open(bytes, Format::Docx, door)?;
    let package = relations(&mut archive, "")?;
    let path = path_of(&package, "officeDocument").unwrap_or_else(|| "word/document.xml".to_owned());
    let parts = relations(&mut archive, &path)?;
    let part = |kind: &str| path_of(&parts, kind).unwrap_or_else(|| format!("word/{kind}.xml"));
    let styles = match archive.read(&part("styles"))? {
        Some(bytes) => styles(&bytes),
        None => BTreeMap::new(),
    };
    for relation in parts.values().filter(|relation| WITH_TEXT.contains(&relation.kind.as_str())) {
        if !archive.has(&relation.path) {
            archive.fault(&relation.path, ExtractError::PartMissing);
        }
    }
    let inserts = inserts(&mut archive, &parts, door)?;
    let mut text = Assembly::new(door);
    let mut body = Body::new(&styles, &inserts);
    let document = archive.require(&path)?;
    let mut ending = xml::read(&document, |item| body.take(item, door))?;
    // The notes have relations of their own, under the same identifiers.
    body.inserts = &NO_INSERTS;
    for kind in ["footnotes", "endnotes", "comments"] {
        if let Some(notes) = archive.read(&part(kind))? {
            ending = worse(ending, xml::read(&notes, |item| body.take(item, door))?);
        }
    }
    text.push(&html::markdown(&body.html))?;
    if ending == Ending::Damaged {
        if text.is_blank() {
            return Err(ExtractError::Damaged { format: Format::Docx });
        }
        text.gap(XML_DAMAGED);
    }
    if body.images > 0 {
        text.warn(format!("{} images were left out", body.images));
    }
    furniture(&mut text, &mut archive, &parts, &styles, door)?;
    embedded(&mut text, &mut archive, &parts, door)?;
    archive.report(&mut text);
    text.finish(Format::Docx, Layout::Markdown)
}

/// Writes the headers and footers, each text once; page numbers alone are none.
fn furniture(
    text: &mut Assembly,
    archive: &mut Archive<'_>,
    parts: &Relations,
    styles: &BTreeMap<String, Role>,
    door: &Door<'_>,
) -> Result<(), ExtractError> {
    let mut seen = BTreeSet::new();
    for (kind, name) in [("header", "Header"), ("footer", "Footer")] {
        for relation in parts.values().filter(|relation| relation.kind == kind) {
            let Some(bytes) = archive.read(&relation.path)? else { continue };
            let mut body = Body::new(styles, &NO_INSERTS);
            if xml::read(&bytes, |item| body.take(item, door))? == Ending::Damaged {
                archive.fault(&relation.path, ExtractError::Damaged { format: Format::Docx });
            }
            let markdown = html::markdown(&body.html);
            let words = markdown.trim();
            if words.contains(char::is_alphabetic) && seen.insert((name, words.to_owned())) {
                text.block(&format!("{name}: {words}"))?;
            }
        }
    }
    Ok(())
}

fn worse(a: Ending, b: Ending) -> Ending {
    if a == Ending::Damaged { a } else { b }
}

/// What a style makes of a paragraph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Of a level, from 1.
    Heading(u8),
    Item,
}

/// The styles that are headings or list items, by their identifiers.
fn styles(bytes: &[u8]) -> BTreeMap<String, Role> {
    let mut styles: BTreeMap<String, (Option<String>, Option<Role>)> = BTreeMap::new();
    let mut id = String::new();
    let _ = xml::read(bytes, |item| -> Result<(), ()> {
        let Item::Start(element) = item else { return Ok(()) };
        let value = || element.attribute("val").unwrap_or_default();
        if element.name() == "style" {
            id = element.attribute("styleId").unwrap_or_default();
        }
        let style = styles.entry(id.clone()).or_default();
        let role = match element.name() {
            "name" => level_of_name(&value()).map(Role::Heading),
            "outlineLvl" => outline_level(&value()).map(Role::Heading),
            "numId" if value() != "0" => Some(Role::Item),
            "basedOn" => {
                style.0 = Some(value());
                None
            }
            _ => None,
        };
        // Numbered headings are headings.
        if role.is_some() && !matches!(style.1, Some(Role::Heading(_))) {
            style.1 = role;
        }
        Ok(())
    });
    let role = |id: &str| {
        let mut id = id.to_owned();
        // A chain of styles may be a circle.
        for _ in 0..16 {
            let (based_on, role) = styles.get(&id)?;
            if role.is_some() {
                return *role;
            }
            id = based_on.clone()?;
        }
        None
    };
    styles.keys().filter_map(|id| Some((id.clone(), role(id)?))).collect()
}

/// Level 9 is body text.
fn outline_level(value: &str) -> Option<u8> {
    value.parse::<u8>().ok().filter(|level| *level < 9).map(|level| level + 1)
}

/// `heading 2` is the second level in every language of Word: the names of built-in styles are English in the file.
fn level_of_name(name: &str) -> Option<u8> {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix("heading ") {
        Some(level) => level.trim().parse().ok().filter(|level| (1..=9).contains(level)),
        None => (name == "title").then_some(1),
    }
}

/// A paragraph that is open.
#[derive(Default)]
struct Paragraph {
    html: String,
    heading: Option<u8>,
    is_item: bool,
}

/// The document while it is read.
struct Body<'s> {
    styles: &'s BTreeMap<String, Role>,
    inserts: &'s Inserts,
    versions: Versions,
    html: String,
    /// Text boxes stand within paragraphs.
    paragraphs: Vec<Paragraph>,
    /// The element that is skipped and how many of its name are open.
    skip: Option<(String, usize)>,
    in_text: bool,
    /// What the next paragraph starts with: the number of a note.
    mark: String,
    images: usize,
    tables: usize,
}

impl<'s> Body<'s> {
    fn new(styles: &'s BTreeMap<String, Role>, inserts: &'s Inserts) -> Body<'s> {
        Body {
            styles,
            inserts,
            versions: Versions::default(),
            html: String::new(),
            paragraphs: Vec::new(),
            skip: None,
            in_text: false,
            mark: String::new(),
            images: 0,
            tables: 0,
        }
    }

    fn take(&mut self, item: Item<'_>, door: &Door<'_>) -> Result<(), ExtractError> {
        if let Some((name, open)) = &mut self.skip {
            match item {
                Item::Start(element) if element.name() == name => *open += 1,
                Item::End(end) if end == name => *open -= 1,
                _ => {}
            }
            if *open == 0 {
                self.skip = None;
            }
            return Ok(());
        }
        match item {
            Item::Start(element) => self.start(&element),
            Item::End(name) => self.end(name),
            Item::Text(text) if self.in_text => self.push(&text),
            Item::Text(_) => {}
        }
        let limit_bytes = door.limits().max_text_bytes;
        if self.html.len() as u64 > limit_bytes.saturating_mul(2) {
            return Err(ExtractError::TooLarge { limit_bytes });
        }
        Ok(())
    }

    fn start(&mut self, element: &Element<'_>) {
        let name = element.name();
        let value = || element.attribute("val").unwrap_or_default();
        match name {
            name if SKIPPED.contains(&name) || self.versions.is_other(name) => {
                self.skip = Some((name.to_owned(), 1))
            }
            "p" => {
                self.paragraphs.push(Paragraph::default());
                let mark = std::mem::take(&mut self.mark);
                self.push(&mark);
            }
            "t" => self.in_text = true,
            "tab" if !self.paragraphs.is_empty() => self.push(" "),
            "br" | "cr" => self.raw("<br>"),
            "noBreakHyphen" => self.push("-"),
            "sym" => {
                let code = u32::from_str_radix(&element.attribute("char").unwrap_or_default(), 16).ok();
                // Symbol fonts live in the private use area, where only the font knows what a code is.
                let c = code.filter(|code| !(0xe000..0xf900).contains(code)).and_then(char::from_u32);
                self.push(c.unwrap_or('\u{2022}').encode_utf8(&mut [0; 4]));
            }
            "pStyle" => {
                let role = self.styles.get(&value()).copied();
                self.on_paragraph(|paragraph| match role {
                    Some(Role::Heading(level)) => paragraph.heading = Some(level),
                    Some(Role::Item) => paragraph.is_item = true,
                    None => {}
                });
            }
            "outlineLvl" => {
                let level = outline_level(&value());
                self.on_paragraph(|paragraph| paragraph.heading = paragraph.heading.or(level));
            }
            "numId" => {
                let is_item = value() != "0";
                self.on_paragraph(|paragraph| paragraph.is_item = is_item);
            }
            "footnoteReference" | "endnoteReference" => {
                let id = element.attribute("id").unwrap_or_default();
                self.push(&format!("[^{id}]"));
            }
            "footnote" | "endnote" => {
                // The separators between text and notes are notes to Word.
                let is_text = element.attribute("type").is_none_or(|kind| kind == "normal");
                let id = element.attribute("id").unwrap_or_default();
                self.mark = if is_text { format!("[^{id}]: ") } else { String::new() };
            }
            "comment" => {
                let author = element.attribute("author").unwrap_or_default();
                self.mark = format!("[comment by {author}] ");
            }
            "blip" | "imagedata" => self.images += 1,
            "altChunk" | "chart" | "relIds" => self.insert(element),
            "tbl" => {
                self.tables += 1;
                self.html.push_str("<table>");
            }
            "tr" if self.tables > 0 => self.html.push_str("<tr>"),
            "tc" if self.tables > 0 => self.html.push_str("<td>"),
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        self.versions.end(name);
        match name {
            "t" => self.in_text = false,
            "p" => self.end_paragraph(),
            "tbl" => {
                self.tables = self.tables.saturating_sub(1);
                self.html.push_str("</table>");
            }
            "tr" if self.tables > 0 => self.html.push_str("</tr>"),
            "tc" if self.tables > 0 => self.html.push_str("</td>"),
            _ => {}
        }
    }

    fn end_paragraph(&mut self) {
        let Some(paragraph) = self.paragraphs.pop() else { return };
        if paragraph.html.trim().is_empty() {
            return;
        }
        if paragraph.is_item && paragraph.heading.is_none() && self.html.ends_with("</ul>") {
            // The items of a list follow one another; only numbers say that they are one.
            self.html.truncate(self.html.len() - "</ul>".len());
            self.html.push_str(&format!("<li>{}</li></ul>", paragraph.html));
            return;
        }
        let (open, close) = match (paragraph.heading, paragraph.is_item) {
            // A heading in a cell would make the table one of layout.
            (Some(level), _) if self.tables == 0 => {
                let level = level.min(6);
                (format!("<h{level}>"), format!("</h{level}>"))
            }
            (_, true) => ("<ul><li>".to_owned(), "</li></ul>".to_owned()),
            _ => ("<p>".to_owned(), "</p>".to_owned()),
        };
        // A text box goes before the paragraph that it hangs on.
        self.html.push_str(&open);
        self.html.push_str(&paragraph.html);
        self.html.push_str(&close);
    }

    /// Puts another part in the place of its reference: before the paragraph that a drawing hangs on.
    fn insert(&mut self, element: &Element<'_>) {
        self.html.push_str(inserted(self.inserts, element));
    }

    fn on_paragraph(&mut self, change: impl FnOnce(&mut Paragraph)) {
        if let Some(paragraph) = self.paragraphs.last_mut() {
            change(paragraph);
        }
    }

    fn push(&mut self, text: &str) {
        match self.paragraphs.last_mut() {
            Some(paragraph) => push_escaped(&mut paragraph.html, text),
            None => push_escaped(&mut self.html, text),
        }
    }

    fn raw(&mut self, html: &str) {
        self.on_paragraph(|paragraph| paragraph.html.push_str(html));
    }
}
