//! Answers after a JSON Schema: which schemas the service takes, and a value that fits one, made of what a text says.
//!
//! The subset is that of structured outputs in the user guide: no recursion, no bounds of numbers and lengths, and every
//! object closed. The value is no invention: texts are sentences of the document, numbers stand in it, of an enum the first
//! label that the document names is taken.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use super::super::summariser;
use super::refusal::Refusal;

const DEPTH_MAX: usize = 32;
/// Entries of a list of objects, of texts and of numbers, at most.
const OBJECTS_MAX: usize = 8;
const TEXTS_MAX: usize = 5;
const NUMBERS_MAX: usize = 20;
/// Bounds that a strict schema can not have.
const BOUNDS: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
];
/// Members that get the whole summary; others get a sentence.
const WHOLE: &[&str] = &["summary", "answer", "abstract", "text", "description", "content"];

/// Refuses a schema that is beyond the subset; `place` is how the service calls it.
pub fn check(schema: &Value, place: &str) -> Result<(), Refusal> {
    check_at(schema, schema, place, 0)
}

fn check_at(schema: &Value, root: &Value, place: &str, depth: usize) -> Result<(), Refusal> {
    let refused = |what: String| {
        Refusal::validation(format!("The model returned the following errors: {place}: {what}"))
    };
    if depth > DEPTH_MAX {
        return Err(refused("Circular references are not supported".to_owned()));
    }
    let Some(members) = schema.as_object() else {
        return Err(refused("Schema must be an object".to_owned()));
    };
    if let Some(reference) = members.get("$ref") {
        let target = reference.as_str().and_then(|reference| resolve(root, reference));
        let target =
            target.ok_or_else(|| refused("Only references within the schema are supported".to_owned()))?;
        return check_at(target, root, place, depth + 1);
    }
    let kind = kind_of(schema);
    if let Some(bound) = BOUNDS.iter().find(|bound| members.contains_key(**bound)) {
        return Err(refused(format!("For '{kind}' type, property '{bound}' is not supported")));
    }
    if kind == "object" && members.get("additionalProperties") != Some(&Value::Bool(false)) {
        return Err(refused(
            "For 'object' type, 'additionalProperties' must be explicitly set to false".to_owned(),
        ));
    }
    children(schema).try_for_each(|child| check_at(child, root, place, depth + 1))
}

/// The schemas within a schema, without its definitions: those are met where they are used.
fn children(schema: &Value) -> impl Iterator<Item = &Value> {
    let properties = schema["properties"].as_object().into_iter().flat_map(Map::values);
    let choices = ["anyOf", "oneOf", "allOf"].into_iter();
    let choices = choices.flat_map(|name| schema[name].as_array().into_iter().flatten());
    properties.chain(choices).chain(schema.get("items"))
}

fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    root.pointer(reference.strip_prefix('#')?)
}

/// A value that fits a schema, made of a text.
pub fn fill(schema: &Value, text: &str) -> Value {
    Filler { root: schema, source: Source::new(text), depth: 0 }.value(schema, "")
}

/// What there is to make values of.
struct Source {
    sentences: Vec<String>,
    summary: String,
    numbers: Vec<Number>,
    /// In lower case.
    words: String,
    sentence: usize,
    number: usize,
}

impl Source {
    fn new(text: &str) -> Source {
        const SUMMARY_TOKENS: usize = 200;
        let (sentences, summary) = (summariser::sentences(text), summariser::summarise(text, SUMMARY_TOKENS));
        Source {
            sentences,
            summary,
            numbers: numbers(text),
            words: text.to_lowercase(),
            sentence: 0,
            number: 0,
        }
    }

    fn sentence(&mut self) -> String {
        let sentence = self.sentences.get(self.sentence % self.sentences.len().max(1)).cloned();
        self.sentence += 1;
        sentence.unwrap_or_default()
    }

    fn number(&mut self) -> Number {
        let number = self.numbers.get(self.number % self.numbers.len().max(1)).cloned();
        self.number += 1;
        number.unwrap_or_else(|| Number::from(0))
    }

    fn names(&self, label: &Value) -> bool {
        label.as_str().is_some_and(|label| !label.is_empty() && self.words.contains(&label.to_lowercase()))
    }
}

struct Filler<'a> {
    root: &'a Value,
    source: Source,
    depth: usize,
}

impl Filler<'_> {
    fn value(&mut self, schema: &Value, name: &str) -> Value {
        // Schemas that were not checked may refer to themselves.
        if self.depth > DEPTH_MAX {
            return Value::Null;
        }
        self.depth += 1;
        let value = self.choose(schema, name);
        self.depth -= 1;
        value
    }

    fn choose(&mut self, schema: &Value, name: &str) -> Value {
        let root = self.root;
        if let Some(target) = schema["$ref"].as_str().and_then(|reference| resolve(root, reference)) {
            return self.value(target, name);
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(labels) = schema["enum"].as_array() {
            let named = labels.iter().find(|label| self.source.names(label));
            return named.or(labels.first()).cloned().unwrap_or_default();
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(choices) = schema[choice].as_array() {
                let some = choices.iter().find(|choice| kind_of(choice) != "null").or(choices.first());
                return some.map_or(Value::Null, |choice| self.value(choice, name));
            }
        }
        match kind_of(schema) {
            "object" => self.object(schema),
            "array" => self.array(schema, name),
            "string" => Value::String(self.text(schema, name)),
            "integer" => {
                let number = self.source.number();
                Value::from(
                    number.as_i64().unwrap_or_else(|| number.as_f64().map_or(0, |number| number as i64)),
                )
            }
            "number" => Value::Number(self.source.number()),
            "boolean" => Value::Bool(true),
            "null" => Value::Null,
            _ => Value::String(self.source.sentence()),
        }
    }

    fn object(&mut self, schema: &Value) -> Value {
        let mut object = Map::new();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            if let Value::Object(members) = self.value(part, "") {
                object.extend(members);
            }
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let value = self.value(property, name);
            object.insert(name.clone(), value);
        }
        Value::Object(object)
    }

    fn array(&mut self, schema: &Value, name: &str) -> Value {
        let fallback = Value::Bool(true);
        let items = schema.get("items").unwrap_or(&fallback);
        let target =
            items["$ref"].as_str().and_then(|reference| resolve(self.root, reference)).unwrap_or(items);
        let mut values: Vec<Value> = if let Some(labels) = target["enum"].as_array() {
            labels.iter().filter(|label| self.source.names(label)).cloned().collect()
        } else {
            match kind_of(target) {
                "object" => self.one_a_sentence(target),
                "integer" | "number" => {
                    let count = self.source.numbers.len().min(NUMBERS_MAX);
                    (0..count).map(|_| self.value(target, name)).collect()
                }
                _ => {
                    let count = self.source.sentences.len().min(TEXTS_MAX);
                    (0..count).map(|_| self.value(target, "item")).collect()
                }
            }
        };
        let least = schema["minItems"].as_u64().and_then(|least| usize::try_from(least).ok()).unwrap_or(0);
        while values.len() < least.min(OBJECTS_MAX) {
            values.push(self.value(target, name));
        }
        Value::Array(values)
    }

    /// An object for each sentence, made of it alone.
    fn one_a_sentence(&mut self, schema: &Value) -> Vec<Value> {
        let sentences: Vec<String> = self.source.sentences.iter().take(OBJECTS_MAX).cloned().collect();
        let depth = self.depth;
        let made = sentences.iter().map(|sentence| {
            Filler { root: self.root, source: Source::new(sentence), depth }.value(schema, "")
        });
        made.collect()
    }

    fn text(&mut self, schema: &Value, name: &str) -> String {
        if schema["format"] == "date" {
            return date(&self.source.words).unwrap_or_else(|| "1970-01-01".to_owned());
        }
        let name = name.to_lowercase();
        if WHOLE.iter().any(|whole| name.contains(whole)) {
            self.source.summary.clone()
        } else {
            self.source.sentence()
        }
    }
}

/// What a schema describes; of several kinds the first that is not null.
fn kind_of(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if schema.get("properties").is_some() || schema.get("allOf").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "",
    }
}

/// The numbers of a text, in its order and each once; `1,250` is one number.
pub fn numbers(text: &str) -> Vec<Number> {
    let mut seen = BTreeSet::new();
    let mut numbers = Vec::new();
    for word in text.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')) {
        let word = word.trim_matches(['.', ',']).replace(',', "");
        if word.is_empty() || !seen.insert(word.clone()) {
            continue;
        }
        let number = match word.parse::<i64>() {
            Ok(number) => Some(Number::from(number)),
            Err(_) => word.parse::<f64>().ok().and_then(Number::from_f64),
        };
        numbers.extend(number);
    }
    numbers
}

/// The first date of a text that is written as 2026-11-20.
fn date(text: &str) -> Option<String> {
    let is_date = |word: &&str| {
        word.len() == 10
            && word
                .bytes()
                .enumerate()
                .all(|(at, b)| if matches!(at, 4 | 7) { b == b'-' } else { b.is_ascii_digit() })
    };
    text.split(|c: char| !(c.is_ascii_digit() || c == '-')).find(is_date).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "The invoice of 2026-03-14 lists three items. A pump costs 1,250.50 euros. \
        Two valves cost 80 euros each. The tone is urgent.";

    fn schema() -> Value {
        json!({
            "type": "object", "additionalProperties": false, "required": ["summary", "items"],
            "properties": {
                "summary": { "type": "string" },
                "day": { "type": "string", "format": "date" },
                "tone": { "enum": ["calm", "urgent"] },
                "total": { "type": ["number", "null"] },
                "items": { "type": "array", "items": { "$ref": "#/$defs/item" } },
            },
            "$defs": { "item": {
                "type": "object", "additionalProperties": false,
                "properties": { "name": { "type": "string" }, "price": { "type": "number" } },
            } },
        })
    }

    #[test]
    fn values_are_made_of_what_the_text_says() {
        assert_eq!(check(&schema(), "here").map_err(|_| ()), Ok(()));
        let value = fill(&schema(), TEXT);
        assert_eq!((&value["tone"], &value["day"]), (&json!("urgent"), &json!("2026-03-14")));
        let items = value["items"].as_array().expect("a list");
        let pump = items.iter().find(|item| item["name"] == "A pump costs 1,250.50 euros.").expect("a pump");
        assert_eq!(pump["price"], 1250.5);
        let summary = value["summary"].as_str().expect("a text");
        assert!(summary.split_inclusive(". ").all(|sentence| TEXT.contains(sentence.trim())), "{summary}");
        assert_eq!(value, fill(&schema(), TEXT));
    }

    #[test]
    fn an_empty_text_fills_any_schema() {
        let value = fill(&schema(), "");
        assert_eq!(value["items"], json!([]));
        assert!(value["summary"].is_string() && value["total"].is_number());
    }

    #[test]
    fn schemas_beyond_the_subset_are_refused() {
        let closed = |property: Value| json!({ "type": "object", "additionalProperties": false, "properties": { "a": property } });
        for schema in [
            json!({ "type": "object", "properties": {} }),
            closed(json!({ "type": "object" })),
            closed(json!({ "type": "integer", "minimum": 1 })),
            closed(json!({ "type": "string", "maxLength": 9 })),
            closed(json!({ "$ref": "#" })),
            closed(json!({ "$ref": "https://example.org/x" })),
            closed(json!({ "type": "array", "items": { "type": "object" } })),
            json!("object"),
        ] {
            assert!(check(&schema, "here").is_err(), "{schema}");
        }
        // What was not checked is filled all the same.
        assert!(fill(&closed(json!({ "$ref": "#" })), TEXT).is_object());
    }

    #[test]
    fn numbers_are_read_once_each() {
        let written: Vec<String> = numbers(TEXT).iter().map(Number::to_string).collect();
        assert_eq!(written, ["2026", "3", "14", "1250.5", "80"]);
    }
}
