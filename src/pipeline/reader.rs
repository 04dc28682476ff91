//! From TOML to one checked value a key, every fault kept and none the end of the reading.
//!
//! serde stops at the first fault; people want all of them. So the parsed document is walked along the table of keys,
//! and each value is converted or blamed where it stands. What several keys mean together is the business of
//! `check`.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::convert::{Value, article, convert};
use super::diagnostic::{Code, Diagnostic, Place, quoted};
use super::keys::{self, KEYS, Key, Kind, NOT_AVAILABLE};
use super::overrides::Override;
use crate::catalog::nearest;

#[derive(Clone, Debug)]
pub(super) struct Located {
    pub value: Value,
    pub place: Place,
}

/// What was read: a value for each key that was given and is good.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub values: BTreeMap<&'static str, Located>,
    /// Keys that were given but are not good.
    pub bad: BTreeSet<&'static str>,
    /// Where each section begins, to blame it for keys that it lacks.
    pub sections: BTreeMap<&'static str, Place>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a document; values of `overrides` take the place of those of the file.
pub(super) fn read(document: &DeTable<'_>, overrides: &[Override]) -> Reading {
    let overridden = overrides.iter().filter_map(|o| keys::find(o.key())).map(|key| key.path).collect();
    let mut reader = Reader { reading: Reading::default(), overridden };
    reader.top(document);
    for given in overrides {
        reader.given(given);
    }
    reader.reading
}

struct Reader {
    reading: Reading,
    overridden: BTreeSet<&'static str>,
}

impl Reader {
    fn top(&mut self, table: &DeTable<'_>) {
        for (name, value) in table.iter() {
            let at = Place::File(name.span());
            let name: &str = name.get_ref();
            match keys::sections().into_iter().find(|section| *section == name) {
                Some(section) => self.section(section, value.get_ref(), &at),
                None => self.entry("", name, value, &at),
            }
        }
    }

    fn section(&mut self, section: &'static str, value: &DeValue<'_>, at: &Place) {
        self.reading.sections.insert(section, at.clone());
        if let DeValue::Table(table) = value {
            for (name, value) in table.iter() {
                self.entry(section, name.get_ref(), value, &Place::File(name.span()));
            }
            return;
        }
        let message = format!("`{section}` must be a section, not {}", article(value.type_str()));
        let fault = Diagnostic::new(Code::WrongType, section, at, message);
        self.blame(fault.hint(format!("write `[{section}]` on a line of its own, and its keys below")));
        let keys = KEYS
            .iter()
            .map(|key| key.path)
            .filter(|path| path.split_once('.').is_some_and(|(s, _)| s == section));
        self.reading.bad.extend(keys);
    }

    fn entry(&mut self, section: &str, name: &str, value: &Spanned<DeValue<'_>>, at: &Place) {
        let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        // A name with a dot of its own was quoted and is no path.
        match keys::find(&path).filter(|_| !name.contains('.')) {
            Some(key) if self.overridden.contains(key.path) => {}
            Some(key) => self.keep(key, value.get_ref(), &Place::File(value.span())),
            None => {
                let sections = if section.is_empty() { keys::sections() } else { Vec::new() };
                let known: Vec<&str> = keys::names_in(section).chain(sections).collect();
                self.unknown(&path, name, &known, at);
            }
        }
    }

    fn keep(&mut self, key: &'static Key, value: &DeValue<'_>, place: &Place) {
        match convert(key, value, place) {
            Ok(value) => {
                self.reading.bad.remove(key.path);
                self.reading.values.insert(key.path, Located { value, place: place.clone() });
            }
            Err(faults) => {
                self.reading.values.remove(key.path);
                self.reading.bad.insert(key.path);
                self.reading.diagnostics.extend(faults);
            }
        }
    }

    /// A value from the command line: TOML if it is that and the key does not ask for text, words otherwise.
    fn given(&mut self, given: &Override) {
        let place = Place::Flag(given.flag_name().to_owned());
        let Some(key) = keys::find(given.key()) else {
            let known: Vec<&str> = KEYS.iter().map(|key| key.path).collect();
            self.unknown(given.key(), given.key(), &known, &place);
            return;
        };
        // `--set name=2024` means the text, not the number.
        let value = given.toml_value().filter(|value| value.is_str() || !wants_text(key.kind));
        let value = value.unwrap_or_else(|| match key.kind {
            Kind::Models
            | Kind::Globs { .. }
            | Kind::Choices(_)
            | Kind::Residency
            | Kind::Stops
            | Kind::Fields => DeValue::Array(list(given.value())),
            _ => DeValue::String(given.value().into()),
        });
        self.keep(key, &value, &place);
    }

    /// `name` is what is compared with the `known` ones, `path` what the key is called.
    fn unknown(&mut self, path: &str, name: &str, known: &[&str], place: &Place) {
        if NOT_AVAILABLE.contains(&path) {
            let message = format!("`{path}` is not available in this version");
            self.blame(Diagnostic::new(Code::NotAvailable, path, place, message).hint("leave it out"));
            return;
        }
        let same_name = |key: &&Key| {
            key.path.rsplit('.').next() == Some(name)
                || keys::names_in(path).any(|n| key.path == format!("{path}.{n}"))
        };
        let elsewhere: Vec<String> =
            KEYS.iter().filter(same_name).map(|key| format!("`{}`", key.path)).collect();
        let hint = if !elsewhere.is_empty() {
            format!("did you mean {}?", elsewhere.join(" or "))
        } else if let [meant] = nearest(name, known.iter().copied(), 1)[..] {
            format!("did you mean `{meant}`?")
        } else {
            format!("known here: {}", known.join(", "))
        };
        self.blame(
            Diagnostic::new(Code::UnknownKey, path, place, format!("unknown key {}", quoted(path)))
                .hint(hint),
        );
    }

    fn blame(&mut self, diagnostic: Diagnostic) {
        self.reading.diagnostics.push(diagnostic);
    }
}

/// Kinds whose values are strings and nothing else.
fn wants_text(kind: Kind) -> bool {
    match kind {
        Kind::Line | Kind::Template { .. } | Kind::Location | Kind::Choice(_) | Kind::Duration => true,
        Kind::Version | Kind::Count { .. } | Kind::Bytes | Kind::Money | Kind::Thousandths => false,
        Kind::Globs { .. } | Kind::Formats | Kind::Models | Kind::Quotas | Kind::Prices => false,
        Kind::Choices(_) | Kind::Rules | Kind::Escalation | Kind::Guardrail | Kind::Thinking => false,
        Kind::Metadata | Kind::Aliases | Kind::Residency | Kind::Stops | Kind::Fields | Kind::Passwords => {
            false
        }
    }
}

/// `a,b` as an array of strings.
fn list(words: &str) -> DeArray<'_> {
    let mut array = DeArray::new();
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        array.push(Spanned::new(0..0, DeValue::String(word.into())));
    }
    array
}
