//! Office Open XML packages (DOCX, PPTX): which part of the zip is which, by its relationships, and what of other parts
//! stands in a part.
//!
//! The names that everybody knows (`word/document.xml`) are a habit, not the standard; the relationships are (ECMA-376,
//! part 2, 6.5). Where they are missing or broken, the habit is what is left.

use std::collections::BTreeMap;

use super::archive::Archive;
use super::assembly::Assembly;
use super::door::Door;
use super::members::member;
use super::xml::{self, Element, Ending, Item, push_escaped};
use super::{ExtractError, chart};
use crate::domain::{Locator, Text};

/// The gap of a document whose main part ends in damage.
pub(super) const XML_DAMAGED: &str =
    "its XML is damaged: what follows the damage is missing; repair it with the program that made it";

/// The relationships of a part: identifier to type (its last word) and path in the package.
pub(super) type Relations = BTreeMap<String, Relation>;

pub(super) struct Relation {
    pub kind: String,
    pub path: String,
}

/// The relationships of the part at `path`; none if it has none. `""` is the package itself.
pub(super) fn relations(archive: &mut Archive<'_>, path: &str) -> Result<Relations, ExtractError> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let slash = if folder.is_empty() { "" } else { "/" };
    let index = format!("{folder}{slash}_rels/{file}.rels");
    let Some(bytes) = archive.read(&index)? else { return Ok(Relations::new()) };
    let mut relations = Relations::new();
    let ending = xml::read(&bytes, |item| -> Result<(), ExtractError> {
        if let Item::Start(element) = item
            && element.name() == "Relationship"
            && element.attribute("TargetMode").as_deref() != Some("External")
            && let (Some(id), Some(kind), Some(target)) =
                (element.attribute("Id"), element.attribute("Type"), element.attribute("Target"))
        {
            let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
            relations.insert(id, Relation { kind, path: resolved(folder, &target) });
        }
        Ok(())
    })?;
    if ending == Ending::Damaged {
        archive.fault(&index, ExtractError::Damaged { format: archive.format() });
    }
    Ok(relations)
}

/// The HTML of other parts, by the relation under which the text refers to them: charts, diagrams, and whole documents
/// that Word shows in place of a reference (`w:altChunk`, ECMA-376 part 1, 17.17.2).
pub(super) type Inserts = BTreeMap<String, String>;

pub(super) static NO_INSERTS: Inserts = Inserts::new();

/// Reads the parts that the text of a part refers to.
pub(super) fn inserts(
    archive: &mut Archive<'_>,
    parts: &Relations,
    door: &Door<'_>,
) -> Result<Inserts, ExtractError> {
    let mut inserts = Inserts::new();
    for (id, relation) in parts {
        let path = relation.path.as_str();
        if !matches!(relation.kind.as_str(), "aFChunk" | "chart" | "chartEx" | "diagramData") {
            continue;
        }
        if !archive.has(path) {
            archive.fault(path, ExtractError::PartMissing);
            continue;
        }
        let Some(bytes) = archive.read(path)? else { continue };
        let (html, ending) = match relation.kind.as_str() {
            "aFChunk" => match door.inner().and_then(|inner| inner.read(bytes, path, None)) {
                Ok(Text { body, gaps, .. }) => {
                    gaps.into_iter().for_each(|gap| archive.fault_within(path, gap));
                    (as_paragraphs(&body), Ending::Whole)
                }
                Err(error) if error.is_of_the_whole() => return Err(error),
                Err(error) => {
                    archive.fault(path, error);
                    continue;
                }
            },
            "diagramData" => chart::diagram(&bytes),
            _ => chart::chart(&bytes),
        };
        if ending == Ending::Damaged {
            archive.fault(path, ExtractError::Damaged { format: archive.format() });
        }
        inserts.insert(id.clone(), html);
    }
    Ok(inserts)
}

/// What stands in the place of an element that refers to another part.
pub(super) fn inserted<'i>(inserts: &'i Inserts, element: &Element<'_>) -> &'i str {
    let ids = element.attributes("dm").into_iter().chain(element.attributes("id"));
    ids.filter_map(|id| inserts.get(&id)).next().map_or("", String::as_str)
}

/// Text, or the Markdown of another document, as paragraphs that keep their lines.
fn as_paragraphs(text: &str) -> String {
    let mut html = String::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        html.push_str("<p>");
        for (number, line) in paragraph.lines().enumerate() {
            if number > 0 {
                html.push_str("<br>");
            }
            push_escaped(&mut html, line);
        }
        html.push_str("</p>");
    }
    html
}

/// Reads the documents that are embedded in the text, by the same door as any other.
pub(super) fn embedded(
    text: &mut Assembly,
    archive: &mut Archive<'_>,
    parts: &Relations,
    door: &Door<'_>,
) -> Result<(), ExtractError> {
    for relation in
        parts.values().filter(|relation| matches!(relation.kind.as_str(), "package" | "oleObject"))
    {
        let Some(bytes) = archive.read(&relation.path)? else { continue };
        door.spend_member()?;
        let name = relation.path.rsplit('/').next().unwrap_or_default().to_owned();
        text.separate("\n\n")?;
        text.open(Locator::Attachment(name.clone()));
        text.push(&format!("[attachment {name}]\n\n"))?;
        match door.inner() {
            Ok(inner) => {
                member(text, &inner, bytes, &name)?;
            }
            Err(error) => text.gap(error.to_string()),
        }
        text.close();
    }
    Ok(())
}

/// Of several versions of a drawing (`mc:AlternateContent`, ECMA-376 part 3, 9.3) the first is read: they say the same.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// How many choices of each open alternative were met.
    seen: Vec<u32>,
}

impl Versions {
    /// Whether the element that starts is another version of one that was read.
    pub fn is_other(&mut self, name: &str) -> bool {
        match name {
            "AlternateContent" => {
                self.seen.push(0);
                false
            }
            "Choice" | "Fallback" => self.seen.last_mut().is_some_and(|seen| {
                *seen += 1;
                *seen > 1
            }),
            _ => false,
        }
    }

    pub fn end(&mut self, name: &str) {
        if name == "AlternateContent" {
            self.seen.pop();
        }
    }
}

/// The path of the first relation of a kind.
pub(super) fn path_of(relations: &Relations, kind: &str) -> Option<String> {
    relations.values().find(|relation| relation.kind == kind).map(|relation| relation.path.clone())
}

/// A target as a path of the package: `../media/a.png` from `ppt/slides` is `ppt/media/a.png`.
pub(super) fn resolved(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => folder.split('/').filter(|part| !part.is_empty()).collect(),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_paths_of_the_package() {
        assert_eq!(resolved("ppt/slides", "../media/a.png"), "ppt/media/a.png");
        assert_eq!(resolved("word", "styles.xml"), "word/styles.xml");
        assert_eq!(resolved("word", "/word/./a.xml"), "word/a.xml");
        assert_eq!(resolved("", "../../etc/passwd"), "etc/passwd");
    }
}
