//! The JSON Schema of the pipeline file, for editors: names, types and bounds from the table of keys, descriptions and
//! defaults from `defaults.toml`.

use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

use super::DEFAULTS;
use super::keys::{Choice, FORMATS, KEYS, Key, Kind, Meaning, Need};

/// JSON Schema, draft 2020-12.
pub fn schema() -> Value {
    let defaults = DeTable::parse(DEFAULTS).expect("defaults.toml is read by a test");
    let mut top = Section::default();
    let mut sections: Vec<(&str, Section)> = Vec::new();
    for key in KEYS {
        let (section, name) = key.path.split_once('.').unwrap_or(("", key.path));
        let mut property = kind_schema(key.kind);
        property["description"] = json!(description(key.path));
        if key.need == Need::Defaulted {
            property["default"] = default_of(defaults.get_ref(), section, name);
        }
        if section.is_empty() {
            top.add(key, name, property);
        } else {
            match sections.last_mut() {
                Some((last, keys)) if *last == section => keys.add(key, name, property),
                _ => {
                    let mut keys = Section::default();
                    keys.add(key, name, property);
                    sections.push((section, keys));
                }
            }
        }
    }
    for (name, section) in sections {
        if !section.required.is_empty() {
            top.required.push(name);
        }
        top.properties.insert(name.to_owned(), section.schema());
    }
    let mut schema = top.schema();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("docmill pipeline");
    schema
}

#[derive(Default)]
struct Section {
    properties: serde_json::Map<String, Value>,
    required: Vec<&'static str>,
}

impl Section {
    fn add(&mut self, key: &'static Key, name: &'static str, property: Value) {
        self.properties.insert(name.to_owned(), property);
        if key.need == Need::Required {
            self.required.push(name);
        }
    }

    fn schema(self) -> Value {
        let mut schema =
            json!({ "type": "object", "additionalProperties": false, "properties": self.properties });
        if !self.required.is_empty() {
            schema["required"] = json!(self.required);
        }
        schema
    }
}

fn kind_schema(kind: Kind) -> Value {
    match kind {
        Kind::Version => json!({ "const": 1 }),
        Kind::Count { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Bytes => {
            json!({ "type": ["integer", "string"], "minimum": 1, "pattern": "^\\s*[0-9]+\\s*([kKmMgGtT][iI]?)?[bB]?\\s*$" })
        }
        Kind::Duration => json!({ "type": "string", "pattern": "^\\s*([0-9]+(d|h|m|s|ms)\\s*)+$" }),
        Kind::Money => {
            json!({ "type": ["number", "string"], "minimum": 0, "pattern": "^\\s*\\$?[0-9]*\\.?[0-9]*\\s*$" })
        }
        Kind::Thousandths => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Kind::Line => json!({ "type": "string", "minLength": 1 }),
        Kind::Template { required: true } => json!({ "type": "string", "minLength": 1 }),
        Kind::Template { required: false } => json!({ "type": "string" }),
        Kind::Location => json!({ "type": "string", "minLength": 1 }),
        Kind::Globs { may_be_empty } => {
            let item = json!({ "type": "string", "minLength": 1 });
            json!({ "type": "array", "items": item, "minItems": usize::from(!may_be_empty) })
        }
        Kind::Formats => {
            let names: Vec<&str> = FORMATS.iter().map(|(name, _)| *name).collect();
            json!({ "type": "object", "additionalProperties": { "enum": names } })
        }
        Kind::Models => {
            json!({ "type": "array", "items": { "type": "string" }, "minItems": 1, "uniqueItems": true })
        }
        Kind::Choice(choices) => json!({ "enum": available(choices) }),
        Kind::Choices(choices) => {
            json!({ "type": "array", "items": { "enum": available(choices) }, "minItems": 1, "uniqueItems": true })
        }
    }
}

fn available(choices: &[Choice]) -> Vec<&'static str> {
    choices
        .iter()
        .filter(|choice| choice.meaning != Meaning::NotAvailable)
        .map(|choice| choice.name)
        .collect()
}

fn default_of(defaults: &DeTable<'_>, section: &str, name: &str) -> Value {
    let table = defaults.get(section).and_then(|section| section.get_ref().as_table());
    table.and_then(|table| table.get(name)).map_or(Value::Null, |value| json_of(value.get_ref()))
}

fn json_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Integer(number) => json!(number.as_str().parse::<u64>().unwrap_or_default()),
        DeValue::Array(array) => array.iter().map(|item| json_of(item.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(name, item)| (name.get_ref().to_string(), json_of(item.get_ref()))).collect()
        }
        // No default is of these types.
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => Value::Null,
    }
}

/// The comment above a key in `defaults.toml`, as one text; `#key = value` is a key that has no default.
pub(super) fn description(path: &str) -> String {
    let (wanted_section, wanted) = path.split_once('.').unwrap_or(("", path));
    let mut section = "";
    let mut in_text = false;
    let mut comment: Vec<&str> = Vec::new();
    for line in DEFAULTS.lines() {
        let key_line = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
        let is_key = !in_text && key_line.split_once(" = ").is_some_and(|(name, _)| name == wanted);
        if is_key && section == wanted_section {
            return paragraphs(&comment);
        }
        if !in_text && let Some(prose) = line.strip_prefix("# ").or((line == "#").then_some("")) {
            comment.push(prose);
            continue;
        }
        comment.clear();
        if line.matches("\"\"\"").count() == 1 {
            in_text = !in_text;
        } else if !in_text && let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
        {
            section = name;
        }
    }
    String::new()
}

/// Lines of a paragraph are joined; an indented line or an empty one begins a new line.
fn paragraphs(comment: &[&str]) -> String {
    let mut text = String::new();
    for line in comment {
        if line.is_empty() || line.starts_with(' ') || text.ends_with('\n') {
            if !text.ends_with('\n') {
                text.push('\n');
            }
        } else if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(line.trim_end());
    }
    text
}
