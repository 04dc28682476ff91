//! One value from TOML to what its key asks for, or what is wrong with it.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::{Code, Diagnostic, Place, quoted};
use super::keys::{Choice, FORMATS, Key, Kind, Meaning};
use super::location::Location;
use super::quantity::{parse_bytes, parse_duration, parse_thousandths};
use super::rules::{Alias, EscalationDraft, RuleDraft};
use super::settings::{Password, Pattern};
use crate::catalog::{Quota, nearest};
use crate::domain::{Format, Guardrail, ThinkingRequest, Usd};

/// There are not many more on Bedrock.
const MOST_CANDIDATES: usize = 100;

/// A value of the kind that its key asks for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Number(u64),
    Duration(Duration),
    Money(Usd),
    Text(String),
    Location(Location),
    Patterns(Vec<Pattern>),
    Formats(Vec<(Pattern, Format)>),
    Models(Vec<(String, Place)>),
    Quotas(Vec<(String, Place, Quota)>),
    /// Of a token: input, output.
    Prices(Vec<(String, Place, [Usd; 2])>),
    Rules(Vec<RuleDraft>),
    Escalation(EscalationDraft),
    Guardrail(Guardrail),
    Thinking(ThinkingRequest),
    Metadata(BTreeMap<String, String>),
    Aliases(Vec<Alias>),
    Strings(Vec<String>),
    Passwords(Vec<Password>),
    Meaning(Meaning),
    Meanings(Vec<Meaning>),
}

/// Converts a value; all faults of it when it is not good.
pub(super) fn convert(key: &Key, value: &DeValue<'_>, place: &Place) -> Result<Value, Vec<Diagnostic>> {
    let mut converter = Converter { key: key.path, place, faults: Vec::new() };
    match converter.convert(key.kind, value) {
        Some(value) if converter.faults.is_empty() => Ok(value),
        _ => Err(converter.faults),
    }
}

/// One value on its way from TOML to its kind.
pub(super) struct Converter<'a> {
    pub(super) key: &'a str,
    pub(super) place: &'a Place,
    pub(super) faults: Vec<Diagnostic>,
}

impl Converter<'_> {
    /// `None` when it can not be converted at all; the faults say why.
    fn convert(&mut self, kind: Kind, value: &DeValue<'_>) -> Option<Value> {
        match kind {
            Kind::Version => self.version(value),
            Kind::Count { min, max } => self.integer(value, min, max).map(Value::Number),
            Kind::Bytes => self.bytes(value).map(Value::Number),
            Kind::Duration => self.duration(value).map(Value::Duration),
            Kind::Money => self.money(value).map(Value::Money),
            Kind::Thousandths => self.thousandths(value).map(Value::Number),
            Kind::Line => self.line(value).map(Value::Text),
            Kind::Template { required } => self.template(value, required).map(Value::Text),
            Kind::Location => self.location(value).map(Value::Location),
            Kind::Globs { may_be_empty } => self.globs(value, may_be_empty).map(Value::Patterns),
            Kind::Formats => self.formats(value).map(Value::Formats),
            Kind::Models => self.models(value).map(Value::Models),
            Kind::Quotas => self.quotas(value).map(Value::Quotas),
            Kind::Prices => self.prices(value).map(Value::Prices),
            Kind::Rules => self.rules(value).map(Value::Rules),
            Kind::Escalation => self.escalation(value).map(Value::Escalation),
            Kind::Guardrail => self.guardrail(value).map(Value::Guardrail),
            Kind::Thinking => self.thinking(value).map(Value::Thinking),
            Kind::Metadata => self.metadata(value).map(Value::Metadata),
            Kind::Aliases => self.aliases(value).map(Value::Aliases),
            Kind::Residency => self.residency(value).map(Value::Strings),
            Kind::Stops => self.stops(value).map(Value::Strings),
            Kind::Fields => self.fields(value).map(Value::Strings),
            Kind::Passwords => self.passwords(value).map(Value::Passwords),
            Kind::Choice(choices) => {
                let name = self.string(value, "a string")?;
                self.choice(choices, name, self.place).map(Value::Meaning)
            }
            Kind::Choices(choices) => self.choices(choices, value).map(Value::Meanings),
        }
    }

    /// `hint` says what to write instead; "" when the message says it.
    pub(super) fn fault(&mut self, code: Code, place: &Place, message: String, hint: &str) {
        let fault = Diagnostic::new(code, self.key, place, message);
        self.faults.push(if hint.is_empty() { fault } else { fault.hint(hint) });
    }

    pub(super) fn wrong_type(&mut self, place: &Place, wanted: &str, value: &DeValue<'_>) {
        let found = article(value.type_str());
        let message = format!("`{}` must be {wanted}, not {found}", self.key);
        let quoted_number =
            wanted == "an integer" && value.as_str().is_some_and(|text| text.parse::<u64>().is_ok());
        let hint = match value {
            DeValue::String(_) if quoted_number => "write the number without quotes",
            DeValue::String(_) if wanted.starts_with("an array") => "put it in brackets",
            _ => "",
        };
        let fault = Diagnostic::new(Code::WrongType, self.key, place, message).label(found);
        self.faults.push(if hint.is_empty() { fault } else { fault.hint(hint) });
    }

    fn string<'v>(&mut self, value: &'v DeValue<'_>, wanted: &str) -> Option<&'v str> {
        let text = value.as_str();
        if text.is_none() {
            self.wrong_type(self.place, wanted, value);
        }
        text
    }

    fn version(&mut self, value: &DeValue<'_>) -> Option<Value> {
        match integer(value) {
            Some(1) => Some(Value::Number(1)),
            _ => {
                let message = "this version of docmill reads `version = 1` only".to_owned();
                let hint = "write `version = 1`, or use a version of docmill that knows the file's";
                self.fault(Code::Version, self.place, message, hint);
                None
            }
        }
    }

    pub(super) fn integer(&mut self, value: &DeValue<'_>, min: u64, max: u64) -> Option<u64> {
        if !value.is_integer() {
            self.wrong_type(self.place, "an integer", value);
            return None;
        }
        // What does not fit u64 is negative or enormous.
        let number = integer(value).filter(|number| (min..=max).contains(number));
        if number.is_none() {
            let message = format!("`{}` must be from {min} to {max}", self.key);
            self.fault(Code::OutOfRange, self.place, message, "");
        }
        number
    }

    fn bytes(&mut self, value: &DeValue<'_>) -> Option<u64> {
        let bytes = match value {
            DeValue::Integer(_) => integer(value),
            DeValue::String(text) => parse_bytes(text),
            other => {
                self.wrong_type(self.place, "a number of bytes or a size such as \"64MiB\"", other);
                return None;
            }
        };
        if bytes.is_none_or(|bytes| bytes == 0) {
            let message = format!("`{}` is not a size", self.key);
            self.fault(
                Code::BadValue,
                self.place,
                message,
                "write a whole number of bytes above 0, or one with a unit: \"500kB\", \"64MiB\", \"2GiB\"",
            );
            return None;
        }
        bytes
    }

    fn duration(&mut self, value: &DeValue<'_>) -> Option<Duration> {
        let text = self.string(value, "a span of time such as \"2h30m\"")?;
        let duration = parse_duration(text).filter(|duration| !duration.is_zero());
        if duration.is_none() {
            let message = format!("{} is not a span of time", quoted(text));
            self.fault(
                Code::BadValue,
                self.place,
                message,
                "write whole numbers with units, larger ones first: \"90s\", \"45m\", \"2h30m\", \"1d\"",
            );
        }
        duration
    }

    fn money(&mut self, value: &DeValue<'_>) -> Option<Usd> {
        let text = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.as_str().to_owned(),
            other => {
                self.wrong_type(self.place, "an amount of US dollars such as \"25.00\"", other);
                return None;
            }
        };
        let amount = text.parse::<Usd>();
        if amount.is_err() {
            let message = format!("{} is not an amount of US dollars", quoted(&text));
            self.fault(
                Code::BadValue,
                self.place,
                message,
                "write a plain decimal number that is not negative: \"2.50\"",
            );
        }
        amount.ok()
    }

    fn thousandths(&mut self, value: &DeValue<'_>) -> Option<u64> {
        let text = match value {
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.as_str().to_owned(),
            other => {
                self.wrong_type(self.place, "a number from 0 to 1", other);
                return None;
            }
        };
        let thousandths = parse_thousandths(&text);
        if thousandths.is_none() {
            let message = format!("`{}` must be from 0 to 1, with at most three decimals", self.key);
            self.fault(Code::OutOfRange, self.place, message, "");
        }
        thousandths.map(u64::from)
    }

    fn line(&mut self, value: &DeValue<'_>) -> Option<String> {
        let text = self.string(value, "a string")?;
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            let message = format!("`{}` must be one line of text, not empty", self.key);
            self.fault(Code::BadValue, self.place, message, "");
            return None;
        }
        Some(text.to_owned())
    }

    fn template(&mut self, value: &DeValue<'_>, required: bool) -> Option<String> {
        let text = self.string(value, "a string")?;
        if required && text.trim().is_empty() {
            let message = format!("`{}` can not be empty", self.key);
            self.fault(Code::BadValue, self.place, message, "leave the key out to use the default");
            return None;
        }
        // A checkout with Windows line ends must make the same requests.
        Some(text.replace("\r\n", "\n"))
    }

    fn location(&mut self, value: &DeValue<'_>) -> Option<Location> {
        let text = self.string(value, "a string")?;
        match Location::parse(text) {
            Ok(location) => Some(location),
            Err(error) => {
                let hint = error.hint();
                self.fault(Code::BadValue, self.place, error.to_string(), hint);
                None
            }
        }
    }

    /// The strings of an array with their places; faults for items that are none.
    pub(super) fn strings<'v>(
        &mut self,
        value: &'v DeValue<'_>,
        wanted: &str,
    ) -> Option<Vec<(&'v str, Place)>> {
        let Some(array) = value.as_array() else {
            self.wrong_type(self.place, wanted, value);
            return None;
        };
        let mut strings = Vec::new();
        for item in array.iter() {
            let place = self.inside(item.span());
            match item.get_ref().as_str() {
                Some(text) => strings.push((text, place)),
                None => self.wrong_type(&place, wanted, item.get_ref()),
            }
        }
        Some(strings)
    }

    /// The place of a part of the value. A flag has no parts to point at.
    pub(super) fn inside(&self, span: std::ops::Range<usize>) -> Place {
        match self.place {
            Place::File(_) => Place::File(span),
            Place::Flag(_) | Place::Nowhere => self.place.clone(),
        }
    }

    pub(super) fn pattern(&mut self, text: &str, place: &Place) -> Option<Pattern> {
        if text.is_empty() {
            self.fault(Code::BadValue, place, "an empty pattern matches nothing".to_owned(), "");
            return None;
        }
        match Pattern::parse(text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let message = format!("{} is not a pattern: {}", quoted(text), error.kind());
                self.fault(Code::BadValue, place, message, "");
                None
            }
        }
    }

    fn globs(&mut self, value: &DeValue<'_>, may_be_empty: bool) -> Option<Vec<Pattern>> {
        let strings = self.strings(value, "an array of patterns")?;
        if strings.is_empty() && !may_be_empty && self.faults.is_empty() {
            let message = format!("`{}` is empty, so no document would be taken", self.key);
            self.fault(Code::BadValue, self.place, message, "write `[\"**\"]` to take all");
        }
        Some(strings.into_iter().filter_map(|(text, place)| self.pattern(text, &place)).collect())
    }

    fn formats(&mut self, value: &DeValue<'_>) -> Option<Vec<(Pattern, Format)>> {
        let Some(table) = value.as_table() else {
            self.wrong_type(self.place, "a table such as { \"*.dat\" = \"csv\" }", value);
            return None;
        };
        let mut formats = Vec::new();
        for (glob, name) in table.iter() {
            let place = self.inside(name.span());
            let pattern = self.pattern(glob.get_ref(), &self.inside(glob.span()));
            let Some(text) = name.get_ref().as_str() else {
                self.wrong_type(&place, "a table of format names", name.get_ref());
                continue;
            };
            match FORMATS.iter().find(|(known, _)| *known == text) {
                Some((_, format)) => formats.extend(pattern.map(|pattern| (pattern, *format))),
                None => self.unknown_name(
                    text,
                    &place,
                    &FORMATS.iter().map(|(known, _)| *known).collect::<Vec<_>>(),
                ),
            }
        }
        Some(formats)
    }

    fn quotas(&mut self, value: &DeValue<'_>) -> Option<Vec<(String, Place, Quota)>> {
        const WANTED: &str = "a table such as { \"MODEL ID\" = { tokens_per_minute = 200000 } }";
        const NAMES: [&str; 3] = ["requests_per_minute", "tokens_per_minute", "tokens_per_day"];
        let Some(table) = value.as_table() else {
            self.wrong_type(self.place, WANTED, value);
            return None;
        };
        let mut quotas = Vec::new();
        for (id, limits) in table.iter() {
            let Some(limits) = limits.get_ref().as_table() else {
                self.wrong_type(&self.inside(limits.span()), WANTED, limits.get_ref());
                continue;
            };
            let mut quota = Quota::default();
            for (name, limit) in limits.iter() {
                let (place, number) = (self.inside(limit.span()), integer(limit.get_ref()));
                let slot = match name.get_ref().as_ref() {
                    "requests_per_minute" => &mut quota.requests_per_minute,
                    "tokens_per_minute" => &mut quota.tokens_per_minute,
                    "tokens_per_day" => &mut quota.tokens_per_day,
                    other => {
                        self.unknown_name(other, &self.inside(name.span()), &NAMES);
                        continue;
                    }
                };
                if number.is_none() {
                    let message = format!("`{}` must be a whole number", name.get_ref());
                    self.fault(Code::BadValue, &place, message, "");
                }
                *slot = number;
            }
            quotas.push((id.get_ref().to_string(), self.inside(id.span()), quota));
        }
        Some(quotas)
    }

    fn prices(&mut self, value: &DeValue<'_>) -> Option<Vec<(String, Place, [Usd; 2])>> {
        const WANTED: &str = "a table such as { \"MODEL ID\" = { input = \"0.50\", output = \"1.50\" } }";
        const MILLION: u64 = 1_000_000;
        let Some(table) = value.as_table() else {
            self.wrong_type(self.place, WANTED, value);
            return None;
        };
        let mut prices = Vec::new();
        for (id, figures) in table.iter() {
            let Some(figures) = figures.get_ref().as_table() else {
                self.wrong_type(&self.inside(figures.span()), WANTED, figures.get_ref());
                continue;
            };
            let mut price = [None, None];
            for (name, figure) in figures.iter() {
                let slot = match name.get_ref().as_ref() {
                    "input" => &mut price[0],
                    "output" => &mut price[1],
                    other => {
                        self.unknown_name(other, &self.inside(name.span()), &["input", "output"]);
                        continue;
                    }
                };
                // Rounded up: a budget must not be passed by what was cut off.
                let per_token = |million: Usd| Usd::from_pico(million.pico().div_ceil(MILLION));
                *slot = self.money(figure.get_ref()).map(per_token);
            }
            match price {
                [Some(input), Some(output)] => {
                    prices.push((id.get_ref().to_string(), self.inside(id.span()), [input, output]));
                }
                _ => self.fault(
                    Code::BadValue,
                    &self.inside(id.span()),
                    format!("the price of {} needs `input` and `output`", quoted(id.get_ref())),
                    "in US dollars for a million tokens: { input = \"0.50\", output = \"1.50\" }",
                ),
            }
        }
        Some(prices)
    }

    fn models(&mut self, value: &DeValue<'_>) -> Option<Vec<(String, Place)>> {
        let strings = self.strings(value, "an array of model ids")?;
        // Not to have a fallback is what one has by default.
        if strings.is_empty() && self.faults.is_empty() && self.key != "route.fallback" {
            let message = format!("`{}` is empty, so no model could be called", self.key);
            self.fault(Code::BadValue, self.place, message, "");
        }
        if strings.len() > MOST_CANDIDATES {
            let message = format!("`{}` has more than {MOST_CANDIDATES} models", self.key);
            self.fault(Code::OutOfRange, self.place, message, "");
        }
        self.refuse_duplicates(&strings);
        Some(strings.into_iter().map(|(text, place)| (text.to_owned(), place)).collect())
    }

    fn choices(&mut self, choices: &[Choice], value: &DeValue<'_>) -> Option<Vec<Meaning>> {
        let strings = self.strings(value, "an array of strings")?;
        if strings.is_empty() && self.faults.is_empty() {
            let message = format!("`{}` is empty, so nothing would be written", self.key);
            self.fault(Code::BadValue, self.place, message, "");
        }
        self.refuse_duplicates(&strings);
        Some(strings.into_iter().filter_map(|(name, place)| self.choice(choices, name, &place)).collect())
    }

    pub(super) fn refuse_duplicates(&mut self, strings: &[(&str, Place)]) {
        let mut first: BTreeMap<&str, &Place> = BTreeMap::new();
        for (text, place) in strings {
            if let Some(first) = first.get(text) {
                let message = format!("{} stands twice in the list", quoted(text));
                let fault = Diagnostic::new(Code::Duplicate, self.key, place, message);
                self.faults.push(fault.related(first, "first here"));
            } else {
                first.insert(text, place);
            }
        }
    }

    fn choice(&mut self, choices: &[Choice], name: &str, place: &Place) -> Option<Meaning> {
        let available: Vec<&str> = choices
            .iter()
            .filter(|choice| choice.meaning != Meaning::NotAvailable)
            .map(|choice| choice.name)
            .collect();
        match choices.iter().find(|choice| choice.name == name).map(|choice| choice.meaning) {
            Some(Meaning::NotAvailable) => {
                let message = format!("{} for `{}` is not available in this version", quoted(name), self.key);
                self.fault(
                    Code::NotAvailable,
                    place,
                    message,
                    &format!("available: {}", available.join(", ")),
                );
                None
            }
            Some(meaning) => Some(meaning),
            None => {
                self.unknown_name(name, place, &available);
                None
            }
        }
    }

    pub(super) fn unknown_name(&mut self, name: &str, place: &Place, known: &[&str]) {
        let message = format!("{} is not one of the names that `{}` knows", quoted(name), self.key);
        let hint = match nearest(name, known.iter().copied(), 1)[..] {
            [meant] => format!("did you mean \"{meant}\"?"),
            _ => format!("known: {}", known.join(", ")),
        };
        self.fault(Code::UnknownName, place, message, &hint);
    }
}

pub(super) fn integer(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

pub(super) fn article(type_name: &str) -> String {
    let vowel = type_name.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {type_name}", if vowel { "an" } else { "a" })
}
