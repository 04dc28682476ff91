//! PPTX: the slides of a presentation in their order, each a place, with titles as headings, tables, charts, speaker notes and
//! comments.

use std::collections::BTreeSet;

use super::ExtractError;
use super::archive::Archive;
use super::assembly::Assembly;
use super::door::Door;
use super::html;
use super::office::{
    Inserts, NO_INSERTS, Relations, Versions, XML_DAMAGED, embedded, inserted, inserts, path_of, relations,
};
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
    let (mut images, mut notes_read) = (0, BTreeSet::new());
    let (slides, is_whole) = slides(&mut archive, &path, &parts)?;
    for (number, slide) in (1..).zip(slides) {
        text.separate("\n\n")?;
        text.open(Locator::Slide(number));
        let relations = relations(&mut archive, &slide)?;
        let inserts = inserts(&mut archive, &relations, door)?;
        match archive.read(&slide)? {
            Some(bytes) => images += read_slide(&mut text, &bytes, number, &inserts)?,
            None if archive.has(&slide) => {
                text.gap("the slide is damaged: repair the file with the program that made it")
            }
            None => text.gap("the slide is missing from the file"),
        }
        for relation in
            relations.values().filter(|relation| relation.kind == "notesSlide" || relation.kind == "comments")
        {
            if let Some(bytes) = archive.read(&relation.path)? {
                read_notes(
                    &mut text,
                    &bytes,
                    if relation.kind == "comments" { "Comments" } else { "Notes" },
                )?;
                notes_read.insert(relation.path.clone());
            }
        }
        embedded(&mut text, &mut archive, &relations, door)?;
        text.close();
    }
    if !is_whole {
        text.gap("its list of slides is damaged: they were read in the order of their files' names");
        // Notes whose slide is not known any more.
        for path in archive
            .paths_below("ppt/notesSlides/", ".xml")
            .into_iter()
            .filter(|path| !notes_read.contains(path))
        {
            if let Some(bytes) = archive.read(&path)? {
                text.separate("\n\n")?;
                read_notes(&mut text, &bytes, "Notes")?;
            }
        }
    }
    if images > 0 {
        text.warn(format!("{images} images were left out"));
    }
    archive.report(&mut text);
    if text.is_blank() && text.has_gaps() {
        return text.fail(Format::Pptx);
    }
    text.finish(Format::Pptx, Layout::Markdown)
}

/// The paths of the slides in the order in which they are shown; `false` if that is not known, so that all there are
/// are in the order of their names.
fn slides(
    archive: &mut Archive<'_>,
    path: &str,
    parts: &Relations,
) -> Result<(Vec<String>, bool), ExtractError> {
    let mut slides = Vec::new();
    let mut is_whole = false;
    if let Some(presentation) = archive.read(path)? {
        let mut is_known = true;
        let ending = xml::read(&presentation, |item| -> Result<(), ExtractError> {
            if let Item::Start(element) = item
                && element.name() == "sldId"
            {
                // Both `id` and `r:id` are named id without their prefix; the relationship is the one that is known.
                let relation = element.attributes("id").into_iter().find_map(|id| parts.get(&id));
                is_known &= relation.is_some();
                slides.extend(relation.map(|relation| relation.path.clone()));
            }
            Ok(())
        })?;
        is_whole = is_known && ending == Ending::Whole;
    }
    let mut all = archive.paths_below("ppt/slides/slide", ".xml");
    if !is_whole || slides.is_empty() && !all.is_empty() {
        all.retain(|path| !slides.contains(path));
        slides.extend(all);
        is_whole = false;
    }
    Ok((slides, is_whole))
}

/// Writes a slide to the open place, and counts its images.
fn read_slide(
    text: &mut Assembly,
    bytes: &[u8],
    number: u32,
    inserts: &Inserts,
) -> Result<usize, ExtractError> {
    let (slide, ending) = Slide::of(bytes, inserts)?;
    if !slide.has_title {
        text.block(&format!("# Slide {number}"))?;
    }
    text.block(&html::markdown(&slide.html))?;
    if ending == Ending::Damaged {
        text.gap(XML_DAMAGED);
    }
    Ok(slide.images)
}

/// Writes what belongs to a slide and is not on it.
fn read_notes(text: &mut Assembly, bytes: &[u8], name: &str) -> Result<(), ExtractError> {
    let (notes, ending) = Slide::of(bytes, &NO_INSERTS)?;
    let markdown = html::markdown(&notes.html);
    if !markdown.trim().is_empty() {
        text.block(&format!("{name}: {markdown}"))?;
    }
    if ending == Ending::Damaged {
        text.gap_within(&name.to_lowercase(), XML_DAMAGED);
    }
    Ok(())
}

/// A slide while it is read.
struct Slide<'i> {
    inserts: &'i Inserts,
    versions: Versions,
    /// The element that is skipped and how many of its name are open.
    skip: Option<(String, usize)>,
    html: String,
    paragraph: Option<String>,
    in_text: bool,
    is_title: bool,
    is_furniture: bool,
    has_title: bool,
    in_table: bool,
    images: usize,
}

impl<'i> Slide<'i> {
    fn of(bytes: &[u8], inserts: &'i Inserts) -> Result<(Slide<'i>, Ending), ExtractError> {
        let mut slide = Slide {
            inserts,
            versions: Versions::default(),
            skip: None,
            html: String::new(),
            paragraph: None,
            in_text: false,
            is_title: false,
            is_furniture: false,
            has_title: false,
            in_table: false,
            images: 0,
        };
        let ending = xml::read(bytes, |item| -> Result<(), ExtractError> {
            slide.take(item);
            Ok(())
        })?;
        Ok((slide, ending))
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
            name if self.versions.is_other(name) => self.skip = Some((name.to_owned(), 1)),
            "chart" | "relIds" => self.html.push_str(inserted(self.inserts, element)),
            // The words of a comment stand in no paragraph.
            "text" => {
                self.paragraph = Some(String::new());
                self.in_text = true;
            }
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
        self.versions.end(name);
        match name {
            "t" => self.in_text = false,
            "text" => {
                self.in_text = false;
                self.end_paragraph();
            }
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
