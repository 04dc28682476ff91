//! The JSON Schema of the pipeline file, for editors: names, types and bounds from the table of keys, descriptions and
//! defaults from `defaults.toml`.

use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

use super::DEFAULTS;
use super::keys::{ALL_FORMATS, Choice, FORMATS, KEYS, Key, Kind, Meaning, Need};
use super::rules::ANSWER_FAULTS;

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
        Kind::Prices => {
            let amount = kind_schema(Kind::Money);
            let figures = json!({ "input": amount, "output": amount });
            let required = json!(["input", "output"]);
            let price = json!({
                "type": "object", "additionalProperties": false, "properties": figures, "required": required,
            });
            json!({ "type": "object", "additionalProperties": price })
        }
        Kind::Quotas => {
            let limit = json!({ "type": "integer", "minimum": 0 });
            let limits = json!({
                "requests_per_minute": limit, "tokens_per_minute": limit, "tokens_per_day": limit,
            });
            let quota = json!({ "type": "object", "additionalProperties": false, "properties": limits });
            json!({ "type": "object", "additionalProperties": quota })
        }
        Kind::Rules => json!({ "type": "array", "items": rule_schema() }),
        Kind::Escalation => {
            let faults: Vec<&str> = ANSWER_FAULTS.iter().map(|(name, _)| *name).collect();
            let on =
                json!({ "type": "array", "items": { "enum": faults }, "minItems": 1, "uniqueItems": true });
            object(json!({ "to": { "type": "string", "minLength": 1 }, "on": on }), &["to"])
        }
        Kind::Guardrail => {
            let version = json!({ "type": ["integer", "string"], "pattern": "^([1-9][0-9]{0,7}|DRAFT)$" });
            object(
                json!({ "id": { "type": "string", "minLength": 1 }, "version": version }),
                &["id", "version"],
            )
        }
        Kind::Thinking => {
            json!({ "type": ["integer", "string"], "minimum": 1, "pattern": "^(off|default)$" })
        }
        Kind::Metadata => {
            let text = json!({ "type": "string", "minLength": 1, "maxLength": 256 });
            json!({ "type": "object", "additionalProperties": text, "maxProperties": 16 })
        }
        Kind::Aliases => {
            json!({ "type": "object", "additionalProperties": { "type": "string", "minLength": 1 } })
        }
        Kind::Residency | Kind::Fields => {
            json!({ "type": "array", "items": { "type": "string" }, "minItems": 1, "uniqueItems": true })
        }
        Kind::Stops => {
            let text = json!({ "type": "string", "minLength": 1 });
            json!({ "type": "array", "items": text, "maxItems": 10, "uniqueItems": true })
        }
        Kind::Passwords => {
            let variable = json!({ "env": { "type": "string", "minLength": 1 } });
            let mut password = object(variable, &["env"]);
            password["type"] = json!(["string", "object"]);
            password["minLength"] = json!(1);
            json!({ "type": "array", "items": password })
        }
        Kind::Choice(choices) => json!({ "enum": available(choices) }),
        Kind::Choices(choices) => {
            json!({ "type": "array", "items": { "enum": available(choices) }, "minItems": 1, "uniqueItems": true })
        }
    }
}

fn rule_schema() -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    let count = json!({ "type": "integer", "minimum": 0 });
    let rule = json!({
        "tokens": object(json!({ "min": count, "max": count }), &[]),
        "language": one_or_more(&text),
        "script": one_or_more(&text),
        "format": one_or_more(&json!({ "enum": ALL_FORMATS })),
        "kind": { "enum": ["code", "prose"] },
        "path": one_or_more(&text),
        "stage": { "enum": ["map", "merge"] },
        "images": { "type": "boolean" },
        "use": one_or_more(&text),
    });
    object(rule, &["use"])
}

fn object(properties: Value, required: &[&str]) -> Value {
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn one_or_more(item: &Value) -> Value {
    json!({ "anyOf": [item, { "type": "array", "items": item, "minItems": 1, "uniqueItems": true }] })
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

/// Lines of a paragraph are joined; indented lines stay on their own, and an empty one ends a paragraph.
fn paragraphs(comment: &[&str]) -> String {
    let mut text = String::new();
    let mut joins = false;
    for line in comment {
        let indented = line.starts_with(' ');
        if !text.is_empty() && !line.is_empty() {
            text.push(if joins && !indented { ' ' } else { '\n' });
        }
        text.push_str(line.trim_end());
        joins = !indented && !line.is_empty();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The few keywords that the schema uses, checked as JSON Schema defines them.
    fn fault(schema: &Value, value: &Value, path: &str) -> Option<String> {
        let fail = |what: &str| Some(format!("{path}: {what}"));
        let type_of = match value {
            Value::String(_) => "string",
            Value::Number(number) if number.is_u64() => "integer",
            Value::Number(_) => "number",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::Bool(_) => "boolean",
            _ => "other",
        };
        if let Some(choices) = schema["anyOf"].as_array() {
            let faults: Vec<_> = choices.iter().map(|schema| fault(schema, value, path)).collect();
            return if faults.iter().any(Option::is_none) { None } else { fail("anyOf") };
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => vec![type_of],
        };
        let fits = types.contains(&type_of) || (type_of == "integer" && types.contains(&"number"));
        if !fits {
            return fail("type");
        }
        if schema.get("const").is_some_and(|only| only != value) {
            return fail("const");
        }
        if schema["enum"].as_array().is_some_and(|names| !names.contains(value)) {
            return fail("enum");
        }
        if value.as_f64().zip(schema["minimum"].as_f64()).is_some_and(|(value, minimum)| value < minimum) {
            return fail("minimum");
        }
        if let Value::Array(items) = value {
            let mut faults = items.iter().filter_map(|item| fault(&schema["items"], item, path));
            return faults.next();
        }
        let Value::Object(fields) = value else { return None };
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        if let Some(missing) =
            required.iter().filter_map(Value::as_str).find(|name| !fields.contains_key(*name))
        {
            return fail(&format!("{missing} is missing"));
        }
        fields.iter().find_map(|(name, field)| match schema["properties"].get(name) {
            Some(of) => fault(of, field, &format!("{path}.{name}")),
            None if schema["additionalProperties"] == false => fail(&format!("{name} is unknown")),
            None => fault(&schema["additionalProperties"], field, &format!("{path}.{name}")),
        })
    }

    fn check(toml: &str) -> Option<String> {
        let value: Value = toml::from_str(toml).expect("the text is TOML");
        fault(&schema(), &value, "")
    }

    #[test]
    fn good_files_satisfy_the_schema() {
        assert_eq!(check(DEFAULTS), None);
        assert_eq!(check(include_str!("../../pipelines/summarise.toml")), None);
        let rest = "version = 1\nroute.candidates = ['a']\nsource.uri = 'a'\nsink.uri = 'b'\n";
        let rule = "route.rules = [{ language = ['de', 'fr'], format = 'pdf', tokens = { min = 3 }, images = true, use = 'a' }]";
        assert_eq!(check(&format!("{rest}{rule}")), None);
        assert_eq!(
            check(&format!("{rest}route.thinking = 2000\nextract.passwords = ['a', {{ env = 'B' }}]")),
            None
        );
    }

    #[test]
    fn bad_files_do_not() {
        let rest = "route.candidates = ['a']\nsource.uri = 'a'\nsink.uri = 'b'\n";
        assert_eq!(check(&format!("version = 1\n{rest}")), None);
        for (change, expected) in [
            ("", ": version is missing"),
            ("version = 2", ".version: const"),
            ("version = 1\nchunk.tokens = 8", ".chunk.tokens: minimum"),
            ("version = 1\nchunk.tokens = '8'", ".chunk.tokens: type"),
            ("version = 1\nchunk.size = 8", ".chunk: size is unknown"),
            ("version = 1\nmap.task = 'sing'", ".map.task: enum"),
            ("version = 1\nsink.formats = ['parquet']", ".sink.formats: enum"),
            ("version = 1\nsource.formats = { a = 'x' }", ".source.formats.a: enum"),
            ("version = 1\nroute.tier = 'express'", ".route.tier: enum"),
            ("version = 1\nroute.rules = [{ kind = 'code' }]", ".route.rules: use is missing"),
            ("version = 1\nroute.rules = [{ use = 'a', format = 'x' }]", ".route.rules.format: anyOf"),
            ("version = 1\nroute.escalate = { to = 'a', on = ['x'] }", ".route.escalate.on: enum"),
        ] {
            assert_eq!(check(&format!("{change}\n{rest}")).as_deref(), Some(expected), "{change}");
        }
    }

    #[test]
    fn every_key_has_a_description_and_every_default_is_there() {
        let schema = schema();
        for key in KEYS {
            let property = match key.path.split_once('.') {
                Some((section, name)) => &schema["properties"][section]["properties"][name],
                None => &schema["properties"][key.path],
            };
            assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{}", key.path);
            assert_eq!(property.get("default").is_some(), key.need == Need::Defaulted, "{}", key.path);
        }
        assert_eq!(schema["properties"]["chunk"]["properties"]["tokens"]["default"], 8000);
        assert_eq!(
            schema["properties"]["limits"]["properties"]["deadline"]["description"],
            "How long the run may take: \"45m\", \"2h30m\", \"1d\". After that no call is started, and the run can be resumed. \
             Default: no deadline."
        );
    }
}
