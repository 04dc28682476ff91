//! A JSON Schema cut down to what the service can hold a model to (Bedrock User Guide, "Get validated JSON results from
//! models"). A schema with one word beyond that is refused as a whole (400), so words that only narrow values are left
//! out here, and the answer is checked against the full schema by who asked for it. A schema that would come to allow
//! something else is not enforced at all.

use super::json::{Json, Object};

/// Deeper schemas are recursive by mistake, or hopeless.
const DEPTH_MAX: usize = 32;

/// Words that mean the same there.
const KEPT: &[&str] = &["type", "enum", "const", "description", "title", "required", "$ref", "default"];
/// Words that only narrow what is allowed, or say nothing to a machine.
const DROPPED: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "examples",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "readOnly",
    "writeOnly",
    "deprecated",
];
const FORMATS: &[&str] =
    &["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// The schema as the service takes it, or `None` if it can not enforce it.
pub(super) fn enforceable(schema: &Json) -> Option<Json> {
    if !is_object(schema) || is_recursive(schema) {
        return None;
    }
    cut(schema, 0)
}

/// What it describes is a JSON object.
pub(super) fn is_object(schema: &Json) -> bool {
    schema.as_object().and_then(|object| object.get("type")).and_then(Json::as_str) == Some("object")
}

fn cut(schema: &Json, depth: usize) -> Option<Json> {
    let object = schema.as_object().filter(|_| depth < DEPTH_MAX)?;
    let mut kept = Object::new();
    for (word, value) in object.iter() {
        match word {
            word if KEPT.contains(&word) => kept.put(word, value.clone()),
            word if DROPPED.contains(&word) => {}
            "format" if value.as_str().is_some_and(|format| FORMATS.contains(&format)) => {
                kept.put(word, value.clone());
            }
            "format" => {}
            // Only 0 and 1 are known.
            "minItems" if matches!(value.to_string().as_str(), "0" | "1") => kept.put(word, value.clone()),
            "minItems" => {}
            "items" => kept.put(word, cut(value, depth + 1)?),
            "anyOf" | "allOf" => kept.put(word, each(value, depth)?),
            "properties" | "$defs" | "definitions" => kept.put(word, named(value, depth)?),
            // Set below. A map with any keys is beyond what can be enforced.
            "additionalProperties" if matches!(value, Json::Bool(_)) => {}
            _ => return None,
        }
    }
    if is_object(schema) {
        kept.put("additionalProperties", false);
    }
    Some(kept.into())
}

fn each(schemas: &Json, depth: usize) -> Option<Json> {
    let Json::Array(schemas) = schemas else { return None };
    let cut: Option<Vec<Json>> = schemas.iter().map(|schema| cut(schema, depth + 1)).collect();
    Some(cut?.into())
}

fn named(schemas: &Json, depth: usize) -> Option<Json> {
    let mut kept = Object::new();
    for (name, schema) in schemas.as_object()?.iter() {
        kept.put(name, cut(schema, depth + 1)?);
    }
    Some(kept.into())
}

/// Some definition leads back to itself, or a reference leads out of the schema.
fn is_recursive(schema: &Json) -> bool {
    fn walk<'a>(root: &'a Json, schema: &'a Json, trail: &mut Vec<&'a str>, steps: &mut u32) -> bool {
        *steps += 1;
        // So many steps are a schema that unfolds into a hedge: as bad as a ring.
        if *steps > 10_000 || trail.len() > DEPTH_MAX {
            return true;
        }
        match schema {
            Json::Array(items) => items.iter().any(|item| walk(root, item, trail, steps)),
            Json::Object(object) => object.iter().any(|(word, value)| match (word, value.as_str()) {
                ("$ref", Some(path)) => {
                    if trail.contains(&path) {
                        return true;
                    }
                    let Some(target) = resolve(root, path) else { return true };
                    trail.push(path);
                    let is_recursive = walk(root, target, trail, steps);
                    trail.pop();
                    is_recursive
                }
                // Reached by their references.
                ("$defs" | "definitions", _) => false,
                _ => walk(root, value, trail, steps),
            }),
            _ => false,
        }
    }
    walk(schema, schema, &mut Vec::new(), &mut 0)
}

/// What `#/$defs/name` points to.
fn resolve<'a>(root: &'a Json, path: &str) -> Option<&'a Json> {
    path.strip_prefix("#/")?.split('/').try_fold(root, |schema, name| schema.as_object()?.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_text(text: &str) -> Option<String> {
        enforceable(&Json::parse(text).expect("JSON")).map(|json| json.to_string())
    }

    #[test]
    fn words_that_narrow_are_left_out_and_the_order_stays() {
        let schema = r#"{"$schema":"x","type":"object","properties":{"why":{"type":"string","maxLength":80},
            "sure":{"type":"number","minimum":0,"maximum":1},"tags":{"type":"array","minItems":1,"maxItems":9,
            "items":{"type":"object","properties":{"n":{"type":"string","format":"date"}}}}},"required":["why"]}"#;
        let expected = r#"{"type":"object","properties":{"why":{"type":"string"},"sure":{"type":"number"},"tags":{"type":"array","minItems":1,"items":{"type":"object","properties":{"n":{"type":"string","format":"date"}},"additionalProperties":false}}},"required":["why"],"additionalProperties":false}"#;
        assert_eq!(cut_text(schema).as_deref(), Some(expected));
    }

    #[test]
    fn what_would_come_to_mean_something_else_is_not_enforced() {
        for schema in [
            r#"{"type":"array","items":{"type":"string"}}"#,
            r#"{"type":"object","additionalProperties":{"type":"string"}}"#,
            r#"{"type":"object","properties":{"a":{"not":{"type":"string"}}}}"#,
            r#"{"type":"object","properties":{"a":{"oneOf":[]}}}"#,
            r#"{"type":"object","properties":{"a":true}}"#,
            r##"{"type":"object","properties":{"next":{"$ref":"#"}}}"##,
            r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}}}}}"##,
            r#"{"type":"object","properties":{"a":{"$ref":"https://example.org/s.json"}}}"#,
        ] {
            assert_eq!(cut_text(schema), None, "{schema}");
        }
        let shared = r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/n"},"b":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"string"}}}"##;
        assert!(cut_text(shared).is_some(), "used twice is no ring");
        let deep = "{\"type\":\"object\",\"properties\":{\"a\":".repeat(60) + "{}" + &"}}".repeat(60);
        assert_eq!(cut_text(&deep), None);
    }
}
