//! EPUB: the chapters of a book in reading order, each a place under its path.
//!
//! The order is the spine of the package document, which the container names (EPUB 3.3, 5.7). Chapters are XHTML and are
//! read as HTML. What cannot be found in the spine is not read: covers, style sheets, the machine's own table of contents.

use std::collections::BTreeMap;

use super::ExtractError;
use super::archive::Archive;
use super::assembly::Assembly;
use super::door::Door;
use super::office::resolved;
use super::xml::{self, Item};
use super::{charset, html};
use crate::domain::{Format, Layout, Locator, Text};

/// Reads a book.
pub(super) fn read(bytes: &[u8], door: &Door<'_>) -> Result<Text, ExtractError> {
    let mut archive = Archive::open(bytes, Format::Epub, door)?;
    let is_protected = archive.read("META-INF/rights.xml")?.is_some();
    let package = package_path(&mut archive)?;
    let mut text = Assembly::new(door);
    for path in spine(&mut archive, &package)? {
        door.spend_member()?;
        text.separate("\n\n")?;
        text.open(Locator::Member(path.clone()));
        match archive.read(&path)? {
            Some(chapter) => match charset::decode(chapter) {
                Ok(decoded) => text.push(&html::markdown(&decoded.body))?,
                Err(_) if is_protected => return Err(ExtractError::Encrypted { format: Format::Epub }),
                Err(error) => text.gap(error.to_string()),
            },
            None => text.gap("the chapter is missing from the file"),
        }
        text.close();
    }
    text.finish(Format::Epub, Layout::Markdown)
}

fn package_path(archive: &mut Archive<'_>) -> Result<String, ExtractError> {
    let container = archive.require("META-INF/container.xml")?;
    let mut path = None;
    let _ = xml::read(&container, |item| -> Result<(), ExtractError> {
        if let Item::Start(element) = item
            && element.name() == "rootfile"
        {
            path = path.take().or(element.attribute("full-path"));
        }
        Ok(())
    })?;
    path.ok_or(ExtractError::Damaged { format: Format::Epub })
}

/// The paths of the chapters.
fn spine(archive: &mut Archive<'_>, package: &str) -> Result<Vec<String>, ExtractError> {
    let document = archive.require(package)?;
    let folder = package.rsplit_once('/').map_or("", |(folder, _)| folder);
    let (mut items, mut spine) = (BTreeMap::new(), Vec::new());
    let _ = xml::read(&document, |item| -> Result<(), ExtractError> {
        let Item::Start(element) = item else { return Ok(()) };
        match element.name() {
            "item" => {
                let is_text = element.attribute("media-type").is_some_and(|kind| kind.contains("html"));
                if let (true, Some(id), Some(href)) =
                    (is_text, element.attribute("id"), element.attribute("href"))
                {
                    items.insert(id, resolved(folder, &percent_decoded(&href)));
                }
            }
            "itemref" => spine.extend(element.attribute("idref")),
            _ => {}
        }
        Ok(())
    })?;
    Ok(spine.into_iter().filter_map(|id| items.remove(&id)).collect())
}

/// References in a package are URLs.
fn percent_decoded(href: &str) -> String {
    let href = href.split('#').next().unwrap_or_default();
    let bytes = href.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
