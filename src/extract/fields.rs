//! JSON of which only some fields are wanted: their values, in the order of the document, as plain text.
//!
//! Exports wrap a page of prose in ids, links and settings that nobody wants to pay for. A field is meant wherever it
//! stands; with several wanted ones each value is led by its field's name. A document without any of them is an error, for
//! it would be an answer about nothing.

use serde_json::Value;

use super::ExtractError;
use crate::domain::{Format, Layout, Text};

/// Keeps the values of `fields`.
pub(super) fn read(mut text: Text, fields: &[String]) -> Result<Text, ExtractError> {
    let mut kept = Vec::new();
    let (mut records, mut damaged) = (0u64, 0u64);
    let lines = match text.format {
        Format::JsonLines => text.body.lines().collect(),
        _ => vec![text.body.as_str()],
    };
    for line in lines.into_iter().filter(|line| !line.trim().is_empty()) {
        records += 1;
        match serde_json::from_str::<Value>(line) {
            Ok(value) => collect(&value, fields, &mut kept),
            Err(_) => damaged += 1,
        }
    }
    if kept.is_empty() {
        let names: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        return Err(ExtractError::NoFields { fields: names.join(", ") });
    }
    if damaged > 0 {
        text.gaps.push(crate::domain::Gap {
            place: "JSON".to_owned(),
            reason: format!("{damaged} of {records} records are not valid JSON, or nested too deeply"),
        });
    }
    text.body = kept.join("\n\n");
    text.layout = Layout::Prose;
    text.source_offset = None;
    Ok(text)
}

/// serde_json nests 128 levels at most, so this does as well.
fn collect(value: &Value, fields: &[String], kept: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if !fields.contains(name) {
                    collect(member, fields, kept);
                    continue;
                }
                let text = plain(member);
                if text.trim().is_empty() {
                    continue;
                }
                kept.push(if fields.len() > 1 { format!("{name}: {text}") } else { text });
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, fields, kept)),
        _ => {}
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::{Options, extract_with};

    fn kept(json: &str, name: &str, fields: &[&str]) -> Result<String, ExtractError> {
        let json_fields = fields.iter().map(|field| (*field).to_owned()).collect();
        let options = Options { json_fields, ..Options::default() };
        extract_with(json.as_bytes().to_vec(), name, &options).map(|text| text.body)
    }

    #[test]
    fn only_the_values_of_the_fields_are_read() {
        let json = r#"{"id": 7, "title": "One", "parts": [{"body": "Two\nlines", "x": 1}, {"body": ["a", "b"]}], "body": ""}"#;
        assert_eq!(kept(json, "a.json", &["body"]).unwrap(), "Two\nlines\n\na\nb");
        assert_eq!(kept(json, "a.json", &["title", "id"]).unwrap(), "id: 7\n\ntitle: One");
        let lines = "{\"t\": \"first\", \"n\": 1}\n{\"n\": 2}\n{\"t\": \"second\"}\n";
        assert_eq!(kept(lines, "a.jsonl", &["t"]).unwrap(), "first\n\nsecond");
        assert!(matches!(kept(json, "a.json", &["text"]), Err(ExtractError::NoFields { .. })));
        assert_eq!(kept("{\"t\": 1}", "a.txt", &["t"]).unwrap(), "1", "the content decides what it is");
        assert_eq!(kept("plain", "a.txt", &["t"]).unwrap(), "plain");
    }
}
