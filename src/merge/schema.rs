//! Answers that must be JSON: read, and held against the JSON Schema of the pipeline.
//!
//! Models wrap JSON in code fences and say a sentence before it, however they are asked. So the text is taken as it is, or
//! without its fence, or from its first bracket to the matching last one; anything looser would pass on what the model
//! did not mean. References to other documents are not followed, and nothing is fetched.

use std::fmt;
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

/// More faults help nobody to mend an answer.
const FAULTS_SHOWN: usize = 3;

/// A JSON Schema, ready to check answers.
#[derive(Clone)]
pub struct Schema {
    validator: Arc<Validator>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("it is not a JSON Schema: {reason}")]
    NotASchema { reason: String },
}

/// Why an answer is not what the schema asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("the answer holds no JSON")]
    NoJson,
    #[error("the answer is not JSON: {reason} at line {line}, column {column} of it")]
    Syntax { reason: &'static str, line: usize, column: usize },
    #[error("the answer does not match the schema: {}", Faults(.faults, *.more))]
    Mismatch {
        /// At most three.
        faults: Vec<SchemaFault>,
        /// Beyond these.
        more: usize,
    },
}

/// One fault, without any value of the answer: that may be a document's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFault {
    /// JSON Pointer into the answer; empty for the whole of it.
    pub at: String,
    /// The keyword that it breaks: `required`, `type`.
    pub keyword: String,
    /// What the keyword demands there, as the schema says it, cut when long.
    pub demanded: String,
}

impl Schema {
    /// Reads a schema; without `$schema` it is draft 2020-12.
    pub fn new(schema: &Value) -> Result<Schema, SchemaError> {
        let refuse = |reason: String| SchemaError::NotASchema { reason };
        if !schema.is_object() {
            return Err(refuse("a schema is an object".to_owned()));
        }
        let validator = jsonschema::options().build(schema);
        let validator = validator.map_err(|error| {
            refuse(format!("{}: {}", error.instance_path(), cut(&error.masked().to_string())))
        })?;
        Ok(Schema { validator: Arc::new(validator) })
    }

    /// The JSON of an answer that matches.
    pub fn read(&self, answer: &str) -> Result<Value, AnswerError> {
        let value = json(answer)?;
        let mut faults = Vec::new();
        let mut more = 0;
        for error in self.validator.iter_errors(&value) {
            if faults.len() == FAULTS_SHOWN {
                more += 1;
                continue;
            }
            let path = error.schema_path().to_string();
            faults.push(SchemaFault {
                at: error.instance_path().to_string(),
                keyword: path
                    .rsplit('/')
                    .find(|part| part.parse::<usize>().is_err())
                    .unwrap_or_default()
                    .to_owned(),
                demanded: cut(&error.masked().to_string()),
            });
        }
        if faults.is_empty() { Ok(value) } else { Err(AnswerError::Mismatch { faults, more }) }
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema(..)")
    }
}

/// The JSON value of an answer: the whole text, what stands in its only fence, or the object or array in it.
pub fn json(answer: &str) -> Result<Value, AnswerError> {
    let text = answer.trim().trim_start_matches('\u{feff}');
    let first = match serde_json::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let inner = fenced(text).or_else(|| bracketed(text)).ok_or(AnswerError::NoJson)?;
    serde_json::from_str(inner).map_err(|error| {
        let error = if inner.len() == text.len() { first } else { error };
        let reason = match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            _ => "something is out of place",
        };
        AnswerError::Syntax { reason, line: error.line(), column: error.column() }
    })
}

/// What stands between the first fence and the last.
fn fenced(text: &str) -> Option<&str> {
    let start = text.find("```")?;
    let body = &text[start + 3..];
    let body = &body[body.find('\n')? + 1..];
    // Without an end the answer was cut: what there is says where.
    Some(body.rfind("```").map_or(body, |end| &body[..end]).trim())
}

fn bracketed(text: &str) -> Option<&str> {
    let start = text.find(['{', '['])?;
    let close = if text[start..].starts_with('{') { '}' } else { ']' };
    let end = text.rfind(close).filter(|end| *end > start).map_or(text.len(), |end| end + 1);
    Some(&text[start..end])
}

fn cut(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

struct Faults<'a>(&'a [SchemaFault], usize);

impl fmt::Display for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            let place = if fault.at.is_empty() { "the whole" } else { &fault.at };
            write!(f, "{separator}{place}: {}", fault.demanded)?;
        }
        if self.1 > 0 {
            write!(f, "; and {} more", self.1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Schema {
        Schema::new(&json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["name", "parties"],
            "properties": {
                "name": { "type": "string", "minLength": 1 },
                "parties": { "type": "array", "items": { "type": "object", "required": ["role"] } },
                "kind": { "enum": ["lease", "sale"] },
            },
        }))
        .unwrap()
    }

    #[test]
    fn json_is_found_in_what_models_put_around_it() {
        let value = json!({ "name": "x", "parties": [] });
        for answer in [
            "{\"name\":\"x\",\"parties\":[]}",
            "\u{feff} \n{\"name\":\"x\",\"parties\":[]}\n",
            "```json\n{\"name\":\"x\",\"parties\":[]}\n```",
            "Here it is:\n\n```\n{\"name\":\"x\",\n\"parties\":[]}\n```\nAnything else?",
            "The result is {\"name\":\"x\",\"parties\":[]}.",
        ] {
            assert_eq!(schema().read(answer), Ok(value.clone()), "{answer}");
        }
        assert_eq!(json("[1, 2]"), Ok(json!([1, 2])));
    }

    #[test]
    fn what_is_no_json_is_said_to_be_none_and_where_it_ends() {
        assert_eq!(schema().read("I can not do that."), Err(AnswerError::NoJson));
        assert_eq!(schema().read(""), Err(AnswerError::NoJson));
        for cut in ["{\"name\":\"x\",\"parties\":[", "```json\n{\"name\":\"x\",\"parties\":["] {
            let error = schema().read(cut).unwrap_err();
            assert!(matches!(error, AnswerError::Syntax { reason: "it ends too early", .. }), "{error}");
        }
        assert!(matches!(schema().read("{name: 'x'}"), Err(AnswerError::Syntax { .. })));
    }

    #[test]
    fn the_first_faults_are_named_without_the_values_of_the_answer() {
        let answer = r#"{"name": 7, "secret": "hunter2", "kind": "hunter2", "parties": [{}, "hunter2"]}"#;
        let error = schema().read(answer).unwrap_err();
        let AnswerError::Mismatch { faults, more } = &error else { panic!("{error}") };
        assert_eq!((faults.len(), *more), (3, 2), "{error}");
        let shown = error.to_string();
        assert!(!shown.contains("hunter2") && shown.ends_with("and 2 more"), "{shown}");
        let missing = schema().read("{\"parties\": [{\"role\": 1}]}").unwrap_err();
        let AnswerError::Mismatch { faults, .. } = &missing else { panic!("{missing}") };
        assert_eq!((faults[0].at.as_str(), faults[0].keyword.as_str()), ("", "required"));
        assert!(missing.to_string().contains("name"), "{missing}");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for bad in [
            json!(7),
            json!({ "type": "strin" }),
            json!({ "properties": 3 }),
            json!({ "pattern": "(", "type": "string" }),
        ] {
            assert!(Schema::new(&bad).is_err(), "{bad}");
        }
        let remote = json!({ "$ref": "https://example.com/schema.json" });
        assert!(Schema::new(&remote).is_err(), "nothing is fetched");
    }
}
