//! Request bodies, read member by member: what is not known is refused, and every refusal names the place.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::refusal::Refusal;

const REFORMAT: &str = "please reformat your input and try again.";

/// A JSON value and where it stands.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    value: &'a Value,
    /// Such as `#/messages/0`.
    path: String,
}

/// The members of an object.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

/// Parses a body.
pub fn parse(body: &Bytes) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|_| {
        Refusal::validation(format!("Malformed input request: the body is not valid JSON, {REFORMAT}"))
    })
}

impl<'a> Node<'a> {
    pub fn root(value: &'a Value) -> Node<'a> {
        Node { value, path: "#".to_owned() }
    }

    /// Where it stands, as the Converse API writes it: `messages.0.content`.
    pub fn dotted(&self) -> String {
        self.path.trim_start_matches("#/").replace('/', ".")
    }

    /// The members of an object that has no others than these.
    pub fn members(&self, known: &[&str]) -> Result<Members<'a>, Refusal> {
        let members = self.object()?;
        match members.map.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(members),
            Some(key) => {
                let place = if self.path == "#" { String::new() } else { format!("{}: ", self.path) };
                // The key comes from the client: a long one is cut, it need not be repeated in full.
                let key: String = key.chars().take(64).collect();
                Err(malformed(format!("{place}extraneous key [{key}] is not permitted")))
            }
        }
    }

    /// The members of an object that may have any.
    pub fn object(&self) -> Result<Members<'a>, Refusal> {
        let map = self.value.as_object().ok_or_else(|| self.mistyped("Object"))?;
        Ok(Members { map, path: self.path.clone() })
    }

    /// The only member of a union, and its name.
    pub fn union(&self, known: &[&str]) -> Result<(&'a str, Node<'a>), Refusal> {
        let members = self.members(known)?;
        let mut given = members.map.keys().filter(|key| !members.map[*key].is_null());
        let (Some(name), None) = (given.next(), given.next()) else {
            let place = self.dotted();
            return Err(Refusal::validation(format!(
                "The object at {place} must have exactly one of its members set: {}.",
                known.join(", ")
            )));
        };
        Ok((name, Node { value: &members.map[name], path: format!("{}/{name}", self.path) }))
    }

    pub fn items(&self) -> Result<Vec<Node<'a>>, Refusal> {
        let items = self.value.as_array().ok_or_else(|| self.mistyped("JSONArray"))?;
        Ok(items
            .iter()
            .enumerate()
            .map(|(index, value)| Node { value, path: format!("{}/{index}", self.path) })
            .collect())
    }

    pub fn text(&self) -> Result<&'a str, Refusal> {
        self.value.as_str().ok_or_else(|| self.mistyped("String"))
    }

    /// One of a closed set.
    pub fn one_of(&self, known: &[&str]) -> Result<&'a str, Refusal> {
        let text = self.text()?;
        if known.contains(&text) {
            return Ok(text);
        }
        Err(self.invalid(&format!("Member must satisfy enum value set: [{}]", known.join(", "))))
    }

    /// A whole number in a range.
    pub fn integer(&self, least: i64) -> Result<i64, Refusal> {
        let number = self.value.as_i64().ok_or_else(|| self.mistyped("Integer"))?;
        if number >= least {
            return Ok(number);
        }
        Err(self.invalid(&format!("Member must have value greater than or equal to {least}")))
    }

    /// A number between 0 and 1.
    pub fn share(&self) -> Result<f64, Refusal> {
        let number = self.value.as_f64().ok_or_else(|| self.mistyped("Number"))?;
        match number {
            number if number < 0.0 => Err(self.invalid("Member must have value greater than or equal to 0")),
            number if number > 1.0 => Err(self.invalid("Member must have value less than or equal to 1")),
            number => Ok(number),
        }
    }

    /// A whole number in a range, refused in the words of the native bodies' schemas.
    pub fn integer_within(&self, least: i64, most: i64) -> Result<i64, Refusal> {
        let number = self.value.as_i64().ok_or_else(|| self.mistyped("Integer"))?;
        match number {
            number if number < least => {
                Err(self.malformed(&format!("{number} is not greater or equal to {least}")))
            }
            number if number > most => {
                Err(self.malformed(&format!("{number} is not less or equal to {most}")))
            }
            number => Ok(number),
        }
    }

    /// A number in a range, refused in the same words.
    pub fn number_within(&self, least: f64, most: f64) -> Result<f64, Refusal> {
        let number = self.value.as_f64().ok_or_else(|| self.mistyped("Number"))?;
        match number {
            number if number < least => {
                Err(self.malformed(&format!("{number} is not greater or equal to {least}")))
            }
            number if number > most => {
                Err(self.malformed(&format!("{number} is not less or equal to {most}")))
            }
            number => Ok(number),
        }
    }

    pub fn boolean(&self) -> Result<bool, Refusal> {
        self.value.as_bool().ok_or_else(|| self.mistyped("Boolean"))
    }

    /// The value itself, for what is passed on unread.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// The refusal of a value that the schema of a native body does not allow.
    pub fn malformed(&self, what: &str) -> Refusal {
        malformed(format!("{}: {what}", self.path))
    }

    /// The refusal of a value that breaks a rule of its shape.
    pub fn invalid(&self, constraint: &str) -> Refusal {
        let value = match self.value {
            Value::Number(number) => format!("'{number}' "),
            // Text may be a document's, and belongs in no error.
            _ => String::new(),
        };
        let place = self.dotted();
        Refusal::validation(format!(
            "1 validation error detected: Value {value}at '{place}' failed to satisfy constraint: {constraint}"
        ))
    }

    fn mistyped(&self, expected: &str) -> Refusal {
        let found = match self.value {
            Value::Null => "Null",
            Value::Bool(_) => "Boolean",
            Value::Number(_) => "Number",
            Value::String(_) => "String",
            Value::Array(_) => "JSONArray",
            Value::Object(_) => "JSONObject",
        };
        malformed(format!("{}: expected type: {expected}, found: {found}", self.path))
    }
}

impl<'a> Members<'a> {
    /// A member; null is the same as none.
    pub fn get(&self, name: &str) -> Option<Node<'a>> {
        let value = self.map.get(name).filter(|value| !value.is_null())?;
        Some(Node { value, path: format!("{}/{name}", self.path) })
    }

    /// A member that must be there.
    pub fn need(&self, name: &str) -> Result<Node<'a>, Refusal> {
        self.get(name).ok_or_else(|| malformed(format!("{}: required key [{name}] not found", self.path)))
    }

    pub fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.map.keys().map(String::as_str)
    }
}

fn malformed(what: String) -> Refusal {
    Refusal::validation(format!("Malformed input request: {what}, {REFORMAT}"))
}
