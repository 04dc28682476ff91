//! XML as office files and books hold it: a flat row of elements and texts, by their local names.
//!
//! Documents are written by a hundred programs and damaged by a hundred more, so nothing is demanded that is not needed: wrong
//! end tags, unknown entities and prefixes pass, and what stands before damage is read. No entity is ever expanded but
//! the five of XML and character references, and nothing outside the bytes is ever looked at (XXE, billion laughs).

use std::borrow::Cow;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::charset;

/// Elements within elements beyond this are damage: no format needs a hundredth of it.
const MAX_DEPTH: usize = 10_000;

/// One thing in a document. An empty element is a start and an end.
pub(super) enum Item<'a> {
    Start(Element<'a>),
    End(&'a str),
    Text(Cow<'a, str>),
}

/// The start of an element.
pub(super) struct Element<'a>(BytesStart<'a>);

impl Element<'_> {
    /// The name without its prefix.
    pub fn name(&self) -> &str {
        local(self.0.name().into_inner())
    }

    /// An attribute by its name without prefix.
    pub fn attribute(&self, name: &str) -> Option<String> {
        let mut all = self.0.attributes();
        let all = all.with_checks(false).flatten();
        let mut found = all.filter(|attribute| local(attribute.key.into_inner()) == name);
        found.next().map(|attribute| match attribute.normalized_value(XmlVersion::Implicit1_0) {
            Ok(value) => value.into_owned(),
            Err(_) => attribute.value.into_owned(),
        })
    }

    /// The values of all attributes of this name, whatever their prefixes.
    pub fn attributes(&self, name: &str) -> Vec<String> {
        let mut all = self.0.attributes();
        let all = all.with_checks(false).flatten();
        all.filter(|attribute| local(attribute.key.into_inner()) == name)
            .map(|attribute| attribute.value.into_owned())
            .collect()
    }
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

/// Whether a document was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Ending {
    Whole,
    Damaged,
}

/// Calls `on` for each item. An error of `on` ends the reading and is passed on.
pub(super) fn read<E>(xml: &[u8], mut on: impl FnMut(Item<'_>) -> Result<(), E>) -> Result<Ending, E> {
    let Ok(decoded) = charset::decode(xml.to_vec()) else { return Ok(Ending::Damaged) };
    let mut reader = Reader::from_str(&decoded.body);
    let config = reader.config_mut();
    config.expand_empty_elements = true;
    config.check_end_names = false;
    config.allow_unmatched_ends = true;
    config.allow_dangling_amp = true;
    let mut depth = 0usize;
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Ok(Ending::Damaged);
                }
                on(Item::Start(Element(start)))?;
            }
            Ok(Event::End(end)) => {
                depth = depth.saturating_sub(1);
                on(Item::End(local(end.name().into_inner())))?;
            }
            Ok(Event::Text(text)) => on(Item::Text(text.into_inner()))?,
            Ok(Event::CData(text)) => on(Item::Text(text.into_inner()))?,
            Ok(Event::GeneralRef(reference)) => {
                let named = match &*reference {
                    "amp" => Some('&'),
                    "lt" => Some('<'),
                    "gt" => Some('>'),
                    "quot" => Some('"'),
                    "apos" => Some('\''),
                    "nbsp" => Some('\u{a0}'),
                    _ => reference.resolve_char_ref().ok().flatten(),
                };
                let mut buffer = [0; 4];
                if let Some(c) = named {
                    on(Item::Text(Cow::Borrowed(c.encode_utf8(&mut buffer))))?;
                }
            }
            Ok(Event::Eof) => return Ok(if depth == 0 { Ending::Whole } else { Ending::Damaged }),
            Ok(_) => {}
            Err(_) => return Ok(Ending::Damaged),
        }
    }
}

/// Appends text to HTML, so that it can be no markup.
pub(super) fn push_escaped(html: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            c => html.push(c),
        }
    }
}
