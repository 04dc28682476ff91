//! EPUB: the chapters of a book in reading order, each a place under its path.
//!
//! The order is the spine of the package document, which the container names (EPUB 3.3, 5.7). Chapters are XHTML and are
//! read as HTML. What is not in the spine is not the book: covers, style sheets, the machine's own table of contents. Where
//! the container or the package is damaged, every page there is is read, in the order of their names, and a gap says so.

use std::collections::{BTreeMap, BTreeSet};

use super::ExtractError;
use super::archive::Archive;
use super::assembly::Assembly;
use super::door::Door;
use super::office::resolved;
use super::xml::{self, Ending, Item};
use super::{charset, html};
use crate::domain::{Format, Layout, Locator, Text};

/// Reads a book.
pub(super) fn read(bytes: &[u8], door: &Door<'_>) -> Result<Text, ExtractError> {
    let mut archive = Archive::open(bytes, Format::Epub, door)?;
    let locked = locked(&mut archive)?;
    let mut text = Assembly::new(door);
    let spine = spine(&mut archive)?;
    let mut is_locked = false;
    for path in spine.paths {
        door.spend_member()?;
        text.separate("\n\n")?;
        text.open(Locator::Member(path.clone()));
        match archive.read(&path)? {
            _ if locked.contains(&path) => {
                is_locked = true;
                text.gap("the chapter is encrypted (DRM)");
            }
            Some(chapter) => match charset::decode(chapter) {
                Ok(decoded) => text.push(&html::markdown(&decoded.body))?,
                Err(error) => text.gap(error.to_string()),
            },
            None if archive.has(&path) => text.gap("the chapter is damaged: upload the book again"),
            None => text.gap("the chapter is missing from the file"),
        }
        text.close();
    }
    for (number, kind) in spine.others {
        text.gap_within(
            &format!("item {number} of the reading order"),
            format!("{kind} is not read as a chapter"),
        );
    }
    if !spine.is_whole {
        text.gap("its reading order is damaged: its pages were read in the order of their names");
    }
    archive.report(&mut text);
    match text.is_blank() {
        true if is_locked => Err(ExtractError::Encrypted { format: Format::Epub }),
        true if text.has_gaps() => text.fail(Format::Epub),
        _ => text.finish(Format::Epub, Layout::Markdown),
    }
}

/// The parts that are encrypted (EPUB Open Container Format, `META-INF/encryption.xml`): chapters, or just fonts.
fn locked(archive: &mut Archive<'_>) -> Result<BTreeSet<String>, ExtractError> {
    let mut locked = BTreeSet::new();
    if let Some(bytes) = archive.read("META-INF/encryption.xml")? {
        let _ = xml::read(&bytes, |item| -> Result<(), ExtractError> {
            if let Item::Start(element) = item
                && element.name() == "CipherReference"
                && let Some(uri) = element.attribute("URI")
            {
                locked.insert(resolved("", &percent_decoded(&uri)));
            }
            Ok(())
        })?;
    }
    Ok(locked)
}

/// The reading order.
struct Spine {
    /// Of the chapters.
    paths: Vec<String>,
    /// Items that are no HTML, or that nothing is known of: their numbers, from 1, and kinds.
    others: Vec<(usize, String)>,
    /// Whether it is the book's own.
    is_whole: bool,
}

fn package_path(archive: &mut Archive<'_>) -> Result<Option<String>, ExtractError> {
    let mut path = None;
    if let Some(container) = archive.read("META-INF/container.xml")? {
        let _ = xml::read(&container, |item| -> Result<(), ExtractError> {
            if let Item::Start(element) = item
                && element.name() == "rootfile"
            {
                path = path.take().or(element.attribute("full-path"));
            }
            Ok(())
        })?;
    }
    let by_name = || archive.paths_below("", ".opf").into_iter().next();
    Ok(path.filter(|path| archive.has(path)).or_else(by_name))
}

fn spine(archive: &mut Archive<'_>) -> Result<Spine, ExtractError> {
    let (mut items, mut order, mut is_whole) = (BTreeMap::new(), Vec::new(), false);
    if let Some(package) = package_path(archive)?
        && let Some(document) = archive.read(&package)?
    {
        let folder = package.rsplit_once('/').map_or("", |(folder, _)| folder);
        let ending = xml::read(&document, |item| -> Result<(), ExtractError> {
            let Item::Start(element) = item else { return Ok(()) };
            match element.name() {
                "item" => {
                    if let (Some(id), Some(href)) = (element.attribute("id"), element.attribute("href")) {
                        let kind = element.attribute("media-type").unwrap_or_default();
                        items.insert(id, (resolved(folder, &percent_decoded(&href)), kind));
                    }
                }
                "itemref" => order.extend(element.attribute("idref")),
                _ => {}
            }
            Ok(())
        })?;
        is_whole = ending == Ending::Whole;
    }
    let (mut paths, mut others, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (number, id) in (1..).zip(order) {
        match items.get(&id) {
            Some((path, kind)) if kind.contains("html") => {
                paths.extend(seen.insert(path.clone()).then(|| path.clone()))
            }
            Some((_, kind)) => others.push((number, format!("a file of type {kind}"))),
            None => others.push((number, "what the package does not name".to_owned())),
        }
    }
    if !is_whole || paths.is_empty() {
        let pages = [".xhtml", ".html", ".htm"].iter().flat_map(|end| archive.paths_below("", end));
        let mut pages: Vec<String> = pages.filter(|path| !seen.contains(path)).collect();
        pages.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        paths.extend(pages);
        is_whole = false;
    }
    Ok(Spine { paths, others, is_whole })
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
