//! Values from the command line that take the place of those in the file.

use toml::de::DeValue;

/// One key, set for one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// As typed, for messages: `--set chunk.tokens`, `--source`.
    flag: String,
    key: String,
    value: String,
    /// The value is what it says, whatever it looks like.
    literal: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    #[error("`--set {0}` has no value: write `--set KEY=VALUE`")]
    NoValue(String),
    #[error("`--set` needs a key before the `=`: write `--set KEY=VALUE`")]
    NoKey,
}

impl Override {
    /// `chunk.tokens=4000`: a dotted key and a TOML value. Words need no quotes, and a list may be written as `a,b`.
    pub fn set(argument: &str) -> Result<Override, OverrideError> {
        let (key, value) =
            argument.split_once('=').ok_or_else(|| OverrideError::NoValue(argument.to_owned()))?;
        let key = key.trim();
        if key.is_empty() {
            return Err(OverrideError::NoKey);
        }
        Ok(Override {
            flag: format!("--set {key}"),
            key: key.to_owned(),
            value: value.to_owned(),
            literal: false,
        })
    }

    /// A flag of its own for a key: `Override::flag("--source", "source.uri", uri)`. The value is taken as text.
    pub fn flag(flag: &str, key: &str, value: &str) -> Override {
        Override { flag: flag.to_owned(), key: key.to_owned(), value: value.to_owned(), literal: true }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn flag_name(&self) -> &str {
        &self.flag
    }

    pub(super) fn value(&self) -> &str {
        &self.value
    }

    /// The value as TOML; `None` for a literal one and for what is not TOML, which is then taken as words.
    pub(super) fn toml_value(&self) -> Option<DeValue<'_>> {
        if self.literal {
            return None;
        }
        DeValue::parse(self.value.trim()).ok().map(toml::Spanned::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_toml_when_it_can_be() {
        let value = |argument| Override::set(argument).expect("a key and a value");
        let toml_type = |argument| value(argument).toml_value().map(|value| value.type_str());
        for (argument, expected) in [
            ("a=1", Some("integer")),
            ("a = \"x\"", Some("string")),
            ("a=[\"x\", 'y']", Some("array")),
            ("a={ \"*.dat\" = \"csv\" }", Some("table")),
            ("a=0.5", Some("float")),
            ("a=s3://b/c=d", None),
            ("a=1 2", None),
            ("a=1\nb=2", None),
            ("a=[1", None),
            ("a=", None),
        ] {
            assert_eq!(toml_type(argument), expected, "{argument}");
        }
        assert_eq!(value("a=s3://b/c=d").value(), "s3://b/c=d");
        assert_eq!(
            Override::flag("--source", "source.uri", "1").toml_value().map(|value| value.type_str()),
            None
        );
    }

    #[test]
    fn an_argument_without_key_or_value_is_refused() {
        assert_eq!(Override::set("chunk.tokens"), Err(OverrideError::NoValue("chunk.tokens".to_owned())));
        assert_eq!(Override::set("=3"), Err(OverrideError::NoKey));
    }
}
