//! PPTX: the slides of a presentation in their order, each a place, with titles as headings, tables and speaker notes.

use super::ExtractError;
use super::archive::Archive;
use super::assembly::Assembly;
use super::door::Door;
use super::html;
use super::office::{Relations, path_of, relations};
use super::xml::{self, Element, Ending, Item, push_escaped};
use crate::domain::{Format, Layout, Locator, Text};

/// Placeholders that repeat on every slide.
const FURNITURE: [&str; 3] = ["dt", "ftr", "sldNum"];

/// Reads a presentation.
pub(super) fn read(bytes: &[u8], door: &Door<'_>) -> Result<Text, ExtractError> {
    let mut archive = Archive::open(bytes, Format::Pptx, door)?;
    let package = relations(&mut archive, "")?;
    let path = path_of(&package, "officeDocument").unwrap_or_else(|| "ppt/presentation.xml".to_owned());
    let parts = relations(&mut archive, &path)?;
    let mut text = Assembly::new(door);
    let mut images = 0;
    for (number, slide) in (1..).zip(slides(&mut archive, &path, &parts)?) {
        text.separate("\n\n")?;
        text.open(Locator::Slide(number));
        match archive.read(&slide)? {
            Some(bytes) => images += read_slide(&mut text, &bytes, number, false)?,
            None => text.gap("the slide is missing from the file"),
        }
        let notes = path_of(&relations(&mut archive, &slide)?, "notesSlide");
        if let Some(notes) = notes
            && let Some(bytes) = archive.read(&notes)?
        {
            read_slide(&mut text, &bytes, number, true)?;
        }
        text.close();
    }
    if images > 0 {
        text.warn(format!("{images} images were left out"));
    }
    text.finish(Format::Pptx, Layout::Markdown)
}

/// The paths of the slides in the order in which they are shown.
fn slides(archive: &mut Archive<'_>, path: &str, parts: &Relations) -> Result<Vec<String>, ExtractError> {
    let presentation = archive.require(path)?;
    let mut slides = Vec::new();
    let _ = xml::read(&presentation, |item| -> Result<(), ExtractError> {
        if let Item::Start(element) = item
            && element.name() == "sldId"
        {
            // Both `id` and `r:id` are named id without their prefix; the relationship is the one that is known.
            let relation = element.attributes("id").into_iter().find_map(|id| parts.get(&id));
            slides.extend(relation.map(|relation| relation.path.clone()));
        }
        Ok(())
    })?;
    if slides.is_empty() {
        slides = archive.paths();
        slides.retain(|path| path.starts_with("ppt/slides/slide") && path.ends_with(".xml"));
        slides.sort_by_key(|path| (path.len(), path.clone()));
    }
    Ok(slides)
}

/// Writes a slide, or its notes, to the open place, and counts its images.
fn read_slide(text: &mut Assembly, bytes: &[u8], number: u32, is_notes: bool) -> Result<usize, ExtractError> {
    let mut slide = Slide::default();
    let ending = xml::read(bytes, |item| -> Result<(), ExtractError> {
        slide.take(item);
        Ok(())
    })?;
    let markdown = html::markdown(&slide.html);
    if is_notes {
        if !markdown.trim().is_empty() {
            text.block(&format!("Notes: {markdown}"))?;
        }
    } else {
        if !slide.has_title {
            text.block(&format!("# Slide {number}"))?;
        }
        text.block(&markdown)?;
    }
    if ending == Ending::Damaged {
        text.gap("its XML is damaged: repair the file with the program that made it");
    }
    Ok(slide.images)
}

/// A slide while it is read.
#[derive(Default)]
struct Slide {
    html: String,
    paragraph: Option<String>,
    in_text: bool,
    is_title: bool,
    is_furniture: bool,
    has_title: bool,
    in_table: bool,
    images: usize,
}

impl Slide {
    fn take(&mut self, item: Item<'_>) {
        match item {
            Item::Start(element) => self.start(&element),
            Item::End(name) => self.end(name),
            Item::Text(text) if self.in_text => {
                if let Some(paragraph) = &mut self.paragraph {
                    push_escaped(paragraph, &text);
                }
            }
            Item::Text(_) => {}
        }
    }

    fn start(&mut self, element: &Element<'_>) {
        match element.name() {
            "sp" => (self.is_title, self.is_furniture) = (false, false),
            "ph" => {
                let kind = element.attribute("type").unwrap_or_default();
                self.is_title = matches!(kind.as_str(), "title" | "ctrTitle");
                self.is_furniture = FURNITURE.contains(&kind.as_str());
            }
            "p" => self.paragraph = Some(String::new()),
            "t" => self.in_text = true,
            "br" => {
                if let Some(paragraph) = &mut self.paragraph {
                    paragraph.push_str("<br>");
                }
            }
            "blip" => self.images += 1,
            "tbl" => {
                (self.in_table, self.is_title, self.is_furniture) = (true, false, false);
                self.html.push_str("<table>");
            }
            "tr" if self.in_table => self.html.push_str("<tr>"),
            "tc" if self.in_table => self.html.push_str("<td>"),
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        match name {
            "t" => self.in_text = false,
            "p" => self.end_paragraph(),
            "tbl" => {
                self.in_table = false;
                self.html.push_str("</table>");
            }
            "tr" if self.in_table => self.html.push_str("</tr>"),
            "tc" if self.in_table => self.html.push_str("</td>"),
            _ => {}
        }
    }

    fn end_paragraph(&mut self) {
        let Some(paragraph) = self.paragraph.take().filter(|html| !html.trim().is_empty()) else { return };
        if self.is_furniture {
            return;
        }
        let tag = if self.is_title && !self.in_table { "h1" } else { "p" };
        self.has_title |= tag == "h1";
        self.html.push_str(&format!("<{tag}>{paragraph}</{tag}>"));
    }
}
