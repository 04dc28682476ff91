//! Changes to the table from a file of the user: prices that were negotiated, models that are newer than this program.
//!
//! The file is the table itself with fewer rows, as JSON or as TOML (`[[models]]`); a row states only what it changes. All
//! of it is taken or nothing: a file with one fault changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::model::Kind;
use super::nearest::nearest;
use super::table::{self, KEYS, Row, Table};
use super::{Catalog, Entry};
use crate::domain::Usd;

/// What a file changed, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overridden {
    pub changed: Vec<String>,
    pub added: Vec<String>,
}

/// A fault in a file of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableError {
    /// From 1.
    pub line: usize,
    /// The key, or the id of the row, that it is about.
    pub key: Option<String>,
    pub message: String,
    /// What the user can do about it.
    pub hint: Option<String>,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for TableError {}

/// The source of figures that a file states without naming one.
const STATED: &str = "override";

impl Catalog {
    /// Puts the rows of a file over those of the table. It takes back what `in_region` and `set_price` did to the same
    /// models, so it comes before them.
    pub fn apply_overrides(&mut self, text: &str) -> Result<Overridden, TableError> {
        let file = read(text)?;
        let mut rows: BTreeMap<&str, Arc<Row>> = BTreeMap::new();
        let mut overridden = Overridden::default();
        for patch in &file.models {
            if rows.contains_key(patch.id.as_str()) {
                return Err(fault(text, &patch.id, "id", "the model has two rows", "put them together"));
            }
            check_id(text, &patch.id)?;
            let old = self.models.get(&patch.id).map(|entry| &entry.row);
            let mut row =
                old.map_or_else(|| Row { id: patch.id.clone(), ..Row::default() }, |row| (**row).clone());
            row.overlay(patch);
            for key in patch.keys().into_iter().filter(|key| !patch.from.contains_key(*key)) {
                row.from.insert(key.to_owned(), STATED.to_owned());
            }
            let list = if old.is_some() { &mut overridden.changed } else { &mut overridden.added };
            list.push(patch.id.clone());
            rows.insert(&patch.id, Arc::new(row));
        }
        let touched: BTreeSet<&str> = rows.keys().copied().collect();
        for (id, entry) in &self.models {
            // What a profile leaves out is as in the row of its base model.
            let inherits = entry.row.base.as_deref().is_some_and(|base| touched.contains(base));
            if inherits && !touched.contains(id.as_str()) {
                rows.insert(id, Arc::clone(&entry.row));
            }
        }
        let mut entries = Vec::new();
        for row in rows.values() {
            let base = match &row.base {
                None => None,
                Some(base) => Some(self.base_row(text, row, base, &rows)?),
            };
            let entry = table::entry(row, base.as_deref()).map_err(|key| incomplete(text, row, key))?;
            check(text, &entry)?;
            entries.push(entry);
        }
        self.models.extend(entries.into_iter().map(|entry| (entry.model.id.clone(), entry)));
        self.sources.names.insert(STATED.to_owned(), "stated in a file of the user".to_owned());
        self.sources.names.extend(file.sources.names);
        Ok(overridden)
    }

    fn base_row(
        &self,
        text: &str,
        row: &Row,
        base: &str,
        rows: &BTreeMap<&str, Arc<Row>>,
    ) -> Result<Arc<Row>, TableError> {
        let found = rows.get(base).or_else(|| self.models.get(base).map(|entry| &entry.row));
        let Some(found) = found else {
            let ids = self.models.keys().map(String::as_str);
            let hint = match nearest(base, ids, 1).first() {
                Some(id) => format!("did you mean `{id}`?"),
                None => "give the base model a row as well".to_owned(),
            };
            return Err(fault(text, &row.id, "base", &format!("there is no model `{base}`"), &hint));
        };
        if found.base.is_some() {
            return Err(fault(
                text,
                &row.id,
                "base",
                &format!("`{base}` is itself a profile"),
                "name the model behind it",
            ));
        }
        if !row.id.ends_with(&format!(".{base}")) {
            let message = format!("the id of a profile of `{base}` ends with it, as in `us.{base}`");
            return Err(fault(
                text,
                &row.id,
                "base",
                &message,
                "leave `base` out if this is a model of its own",
            ));
        }
        Ok(Arc::clone(found))
    }
}

/// A file of rows: JSON if it begins like an object, else TOML.
fn read(text: &str) -> Result<Table, TableError> {
    if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
        serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
            let message = error.to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
            misread(error.line().max(1), message)
        })
    } else {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            misread(
                1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count(),
                error.message(),
            )
        })
    }
}

/// The parser's message, with the key it is about and the key that was probably meant.
fn misread(line: usize, message: &str) -> TableError {
    let message = message.lines().next().unwrap_or_default();
    let named = message.split('`').nth(1).map(str::to_owned);
    if message.starts_with("unknown field") {
        let name = named.clone().unwrap_or_default();
        let hint = match nearest(&name, KEYS.iter().copied(), 1).first() {
            Some(key) => format!("did you mean `{key}`?"),
            None => format!("a row has the keys {}", KEYS.join(", ")),
        };
        return TableError { line, key: named, message: "unknown key".to_owned(), hint: Some(hint) };
    }
    let hint = message.starts_with("missing field").then(|| "every row needs an `id`".to_owned());
    TableError { line, key: None, message: message.to_owned(), hint }
}

/// A fault in the row of `id`, at the first line that names it in quotes.
fn fault(text: &str, id: &str, key: &str, message: &str, hint: &str) -> TableError {
    let quoted = [format!("\"{id}\""), format!("'{id}'")];
    let line =
        text.lines().position(|line| quoted.iter().any(|quoted| line.contains(quoted))).unwrap_or(0) + 1;
    TableError {
        line,
        key: Some(format!("{id}, {key}")),
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
    }
}

fn incomplete(text: &str, row: &Row, key: &str) -> TableError {
    let is_price = matches!(key, "price" | "flex" | "priority" | "batch" | "regions");
    if row.keys().contains(&key) && is_price {
        let hint =
            "write [input, output], and after them cache read, cache write for 5 minutes and for an hour";
        return fault(text, &row.id, key, "not a list of two to five prices", hint);
    }
    if key == "long" {
        let hint = "write the number of tokens above which it holds, then prices as in `price`";
        return fault(text, &row.id, key, "not the price of long prompts", hint);
    }
    fault(
        text,
        &row.id,
        key,
        "a new model has to state it",
        "add it, or name a known model as `base` if this is a profile of one",
    )
}

fn check_id(text: &str, id: &str) -> Result<(), TableError> {
    let clean = !id.is_empty() && id.len() <= 256 && id.bytes().all(|byte| byte.is_ascii_graphic());
    if !clean {
        return Err(fault(
            text,
            id,
            "id",
            "not the id of a model",
            "write it as the service does, without blanks",
        ));
    }
    if id.starts_with("arn:") {
        let hint = "state what an ARN leads to in `route.models` of the pipeline file";
        return Err(fault(text, id, "id", "an ARN has no row", hint));
    }
    Ok(())
}

/// What no row may say.
fn check(text: &str, entry: &Entry) -> Result<(), TableError> {
    let model = &entry.model;
    let refuse = |key, message: &str, hint: &str| Err(fault(text, &model.id, key, message, hint));
    if entry.priced && model.price.input == Usd::ZERO {
        return refuse("price", "input can not be free", "leave `price` out if it is not known");
    }
    if entry.priced && model.kind == Kind::Chat && model.price.output == Usd::ZERO {
        return refuse("price", "output can not be free", "leave `price` out if it is not known");
    }
    if entry.priced && model.kind == Kind::Chat && model.max_output_tokens == 0 {
        return refuse("output", "a model that answers has an output of some tokens", "state its limit");
    }
    if entry.priced && model.window_tokens == 0 {
        return refuse("window", "it can not be 0", "state how many tokens the model takes");
    }
    if !(1..=1_000).contains(&model.burndown) {
        return refuse("burndown", "not between 1 and 1000", "leave it out if it is not known: it is 1 then");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Date;

    fn today() -> Date {
        "2026-11-20".parse().expect("a date")
    }

    #[test]
    fn a_file_changes_single_figures_and_adds_models() {
        let mut catalog = Catalog::builtin().clone();
        let text = r#"
            [[models]]
            id = "us.amazon.nova-lite-v1:0"
            price = ["0.05", "0.20"]
            [[models]]
            id = "amazon.nova-lite-v1:0"
            window = 200_000
            [[models]]
            id = "acme.large-v1:0"
            family = "openai.chat"
            window = 32_000
            output = 4_000
            price = [1_000_000, 2_000_000]
            from = { price = "the contract of May" }
        "#;
        let overridden = catalog.apply_overrides(text).expect("a good file");
        assert_eq!(overridden.added, ["acme.large-v1:0"]);
        assert_eq!(overridden.changed, ["us.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"]);
        let us = catalog.find("us.amazon.nova-lite-v1:0", today()).expect("it is known");
        assert_eq!((us.price.input.pico(), us.price.cache_read), (50_000, None));
        assert_eq!((us.window_tokens, us.features.vision), (200_000, true), "inherited from its base");
        let eu = catalog.find("eu.amazon.nova-lite-v1:0", today()).expect("it is known");
        assert_eq!(
            (eu.window_tokens, eu.price),
            (200_000, Catalog::builtin().models["eu.amazon.nova-lite-v1:0"].model.price)
        );
        let source = |id: &str, key: &str| {
            let details = catalog.details(id, today()).expect("it is known");
            details.source(key).map(str::to_owned)
        };
        assert_eq!(
            source("us.amazon.nova-lite-v1:0", "price").as_deref(),
            Some("stated in a file of the user")
        );
        assert_eq!(
            source("eu.amazon.nova-lite-v1:0", "window").as_deref(),
            Some("stated in a file of the user")
        );
        assert_eq!(source("acme.large-v1:0", "price").as_deref(), Some("the contract of May"));
        assert_eq!(source("acme.large-v1:0", "cache"), None);
    }

    #[test]
    fn faults_name_line_key_and_way_out() {
        let new = "id = \"a.b\"\nfamily = \"openai.chat\"\nwindow = 1\noutput = 1\nprice";
        let cases = [
            (
                "[[models]]\nid = \"amazon.nova-lite-v1:0\"\nwidow = 3",
                "line 3: widow: unknown key",
                "did you mean `window`?",
            ),
            (
                "{\"models\": [\n{\"id\":\"amazon.nova-lite-v1:0\",\n\"prise\":[1,2]}]}",
                "line 3: prise: unknown key",
                "did you mean `price`?",
            ),
            (
                "[[models]]\nid = \"a.b\"",
                "line 2: a.b, family: a new model has to state it",
                "add it, or name a known model as `base` if this is a profile of one",
            ),
            (
                &format!("[[models]]\n{new} = [1]"),
                "line 2: a.b, price: not a list of two to five prices",
                "write [input, output], and after them cache read, cache write for 5 minutes and for an hour",
            ),
            (
                &format!("[[models]]\n{new} = [0, 1]"),
                "line 2: a.b, price: input can not be free",
                "leave `price` out if it is not known",
            ),
            (
                "[[models]]\nid = \"xx.amazon.nova-lite\"\nbase = \"amazon.nova-lite-v1:1\"",
                "line 2: xx.amazon.nova-lite, base: there is no model `amazon.nova-lite-v1:1`",
                "did you mean `amazon.nova-lite-v1:0`?",
            ),
            (
                "[[models]]\nid = \"arn:aws:bedrock:x\"",
                "line 2: arn:aws:bedrock:x, id: an ARN has no row",
                "state what an ARN leads to in `route.models` of the pipeline file",
            ),
            (
                "[[models]]\nid = \"a.b\"\n[[models]]\nid = \"a.b\"",
                "line 2: a.b, id: the model has two rows",
                "put them together",
            ),
        ];
        for (text, message, hint) in cases {
            let mut catalog = Catalog::builtin().clone();
            let error = catalog.apply_overrides(text).expect_err(text);
            assert_eq!((error.to_string().as_str(), error.hint.as_deref()), (message, Some(hint)));
        }
        for text in [
            "{",
            "[[models",
            "[[models]]\nid = 3",
            "{\"models\":[{\"id\":\"a.b\",\"price\":[-1,2]}]}",
            "\u{feff}{\"models\":3}",
        ] {
            assert!(Catalog::builtin().clone().apply_overrides(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_faulty_file_changes_nothing() {
        let mut catalog = Catalog::builtin().clone();
        let text = "[[models]]\nid = \"amazon.nova-lite-v1:0\"\nwindow = 7\n[[models]]\nid = \"a.b\"";
        assert!(catalog.apply_overrides(text).is_err());
        let window = |catalog: &Catalog| catalog.models["amazon.nova-lite-v1:0"].model.window_tokens;
        assert_eq!(window(&catalog), window(Catalog::builtin()));
    }
}
