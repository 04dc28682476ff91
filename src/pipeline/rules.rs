//! The small languages of `[route]`: rules with their conditions, escalation, guardrails, and what else is a table of its
//! own. Reading only; which models the ids in them are is looked up in `routing`.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::convert::{Converter, integer};
use super::diagnostic::{Code, Place, quoted};
use super::keys::{ALL_FORMATS, format_named};
use super::languages;
use super::settings::{AnswerFault, Conditions, Password, Secret, TextKind, TokenRange};
use crate::domain::{Guardrail, Stage, ThinkingRequest};

/// More rules than anyone can follow; also what keeps routing a matter of microseconds.
const MOST_RULES: usize = 100;
/// Bedrock's own bounds of `requestMetadata` (API reference, Converse).
const METADATA_PAIRS_MAX: usize = 16;
const METADATA_CHARS_MAX: usize = 256;
/// Models take four to ten.
const STOPS_MAX: usize = 10;

/// The keys of a rule and what messages call them, in the order in which hints list them.
const RULE_KEYS: &[(&str, &str)] = &[
    ("tokens", "route.rules.tokens"),
    ("language", "route.rules.language"),
    ("script", "route.rules.script"),
    ("format", "route.rules.format"),
    ("kind", "route.rules.kind"),
    ("path", "route.rules.path"),
    ("stage", "route.rules.stage"),
    ("images", "route.rules.images"),
    ("use", "route.rules.use"),
];

/// A rule as it was typed.
#[derive(Clone, Debug)]
pub(super) struct RuleDraft {
    pub place: Place,
    pub when: Conditions,
    pub models: Vec<(String, Place)>,
}

#[derive(Clone, Debug)]
pub(super) struct EscalationDraft {
    pub to: (String, Place),
    pub on: Vec<AnswerFault>,
}

/// What may be wrong with an answer, by the names of `route.escalate`.
pub(super) const ANSWER_FAULTS: &[(&str, AnswerFault)] = &[
    ("truncated", AnswerFault::Truncated),
    ("refused", AnswerFault::Refused),
    ("empty", AnswerFault::Empty),
    ("schema", AnswerFault::Schema),
    ("ungrounded", AnswerFault::Ungrounded),
];

/// Without `on`: what is no usable answer. Ungrounded ones may be: a sum is in no source.
const USUAL_FAULTS: [AnswerFault; 4] =
    [AnswerFault::Truncated, AnswerFault::Refused, AnswerFault::Empty, AnswerFault::Schema];

type Entry<'a, 'v> = (&'a str, &'a Spanned<DeValue<'v>>, Place);

impl Converter<'_> {
    pub(super) fn rules(&mut self, value: &DeValue<'_>) -> Option<Vec<RuleDraft>> {
        let Some(array) = value.as_array() else {
            self.wrong_type(
                self.place,
                "an array of tables such as [{ path = \"*.py\", use = \"MODEL ID\" }]",
                value,
            );
            return None;
        };
        if array.len() > MOST_RULES {
            let message = format!("`{}` has more than {MOST_RULES} rules", self.key);
            self.fault(Code::OutOfRange, self.place, message, "");
            return None;
        }
        Some(array.iter().filter_map(|item| self.rule(item)).collect())
    }

    fn rule(&mut self, item: &Spanned<DeValue<'_>>) -> Option<RuleDraft> {
        let place = self.inside(item.span());
        let Some(table) = item.get_ref().as_table() else {
            self.wrong_type(&place, "an array of tables", item.get_ref());
            return None;
        };
        let mut when = Conditions::default();
        let mut models = None;
        let all_rules = self.key;
        for (name, value, at) in self.entries(table) {
            self.key = RULE_KEYS.iter().find(|(key, _)| *key == name).map_or(all_rules, |(_, path)| path);
            match name {
                "tokens" => when.tokens = self.token_range(value, &at),
                "language" => when.languages = self.languages(value),
                "script" => when.scripts = self.scripts(value),
                "format" => when.formats = self.rule_formats(value),
                "kind" => {
                    when.kind = self.one_of(value, &[("code", TextKind::Code), ("prose", TextKind::Prose)])
                }
                "path" => when.paths = self.paths(value),
                "stage" => when.stage = self.stage(value),
                "images" => when.images = self.boolean(value),
                "use" => models = self.one_or_more(value, "a model id or an array of them"),
                other => {
                    let names: Vec<&str> = RULE_KEYS.iter().map(|(name, _)| *name).collect();
                    self.unknown_name(other, &self.inside_key(table, other), &names);
                }
            }
        }
        self.key = all_rules;
        let Some(models) = models else {
            if !table.iter().any(|(name, _)| name.get_ref() == "use") {
                let message = "a rule of `route.rules` does not say which model to use".to_owned();
                self.fault(Code::MissingKey, &place, message, "add `use = \"MODEL ID\"`");
            }
            return None;
        };
        if models.is_empty() {
            let message = "`use` is empty, so no model could be called".to_owned();
            self.fault(Code::BadValue, &place, message, "");
        }
        self.refuse_duplicates(&models);
        let models = models.into_iter().map(|(id, place)| (id.to_owned(), place)).collect();
        Some(RuleDraft { place, when, models })
    }

    fn entries<'a, 'v>(&self, table: &'a DeTable<'v>) -> Vec<Entry<'a, 'v>> {
        table
            .iter()
            .map(|(name, value)| (name.get_ref().as_ref(), value, self.inside(value.span())))
            .collect()
    }

    /// Where the name of a key stands.
    fn inside_key(&self, table: &DeTable<'_>, name: &str) -> Place {
        let key = table.iter().map(|(key, _)| key).find(|key| key.get_ref() == name);
        key.map_or_else(|| self.place.clone(), |key| self.inside(key.span()))
    }

    /// A string or an array of strings.
    fn one_or_more<'v>(
        &mut self,
        value: &'v Spanned<DeValue<'_>>,
        wanted: &str,
    ) -> Option<Vec<(&'v str, Place)>> {
        let place = self.inside(value.span());
        match value.get_ref() {
            DeValue::String(text) => Some(vec![(text.as_ref(), place)]),
            DeValue::Array(_) => self.strings(value.get_ref(), wanted),
            other => {
                self.wrong_type(&place, wanted, other);
                None
            }
        }
    }

    /// What a condition lists. Nothing would hold for every call, which nobody means who writes a condition.
    fn some_of<'v>(
        &mut self,
        value: &'v Spanned<DeValue<'_>>,
        wanted: &str,
    ) -> Option<Vec<(&'v str, Place)>> {
        let listed = self.one_or_more(value, wanted)?;
        if listed.is_empty() && self.faults.is_empty() {
            let place = self.inside(value.span());
            let message = "the condition lists nothing".to_owned();
            self.fault(Code::BadValue, &place, message, "leave it out if it is to hold for every call");
        }
        Some(listed)
    }

    fn token_range(&mut self, value: &Spanned<DeValue<'_>>, at: &Place) -> Option<TokenRange> {
        const WANTED: &str = "a table such as { min = 1000, max = 6000 }";
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(at, WANTED, value.get_ref());
            return None;
        };
        let mut range = TokenRange { min: 0, max: u64::MAX };
        for (name, bound, place) in self.entries(table) {
            let slot = match name {
                "min" => &mut range.min,
                "max" => &mut range.max,
                other => {
                    self.unknown_name(other, &self.inside_key(table, other), &["min", "max"]);
                    continue;
                }
            };
            match integer(bound.get_ref()) {
                Some(number) => *slot = number,
                None => {
                    self.fault(Code::BadValue, &place, format!("`tokens.{name}` must be a whole number"), "")
                }
            }
        }
        if range.min > range.max {
            let message = format!("no text has at least {} tokens and at most {}", range.min, range.max);
            self.fault(Code::BadValue, at, message, "`min` must not be more than `max`");
        }
        Some(range)
    }

    fn languages(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<&'static str> {
        let typed = self.some_of(value, "a language code such as \"de\", or an array of them");
        let mut codes = Vec::new();
        for (text, place) in typed.unwrap_or_default() {
            match languages::code(text) {
                Ok(code) => codes.push(code),
                Err(meant) => {
                    let message =
                        format!("{} is not the code of a language that docmill tells apart", quoted(text));
                    let hint = match meant {
                        Some((code, name)) => format!("{name} is \"{code}\""),
                        None => "write an ISO 639 code: \"en\", \"de\", \"ja\"".to_owned(),
                    };
                    self.fault(Code::UnknownName, &place, message, &hint);
                }
            }
        }
        codes
    }

    fn scripts(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<&'static str> {
        let typed = self.some_of(value, "the name of a script such as \"cyrillic\", or an array of them");
        let mut scripts = Vec::new();
        for (text, place) in typed.unwrap_or_default() {
            match languages::script_codes(text) {
                Some(codes) => scripts.extend(codes),
                None => self.unknown_name(text, &place, &languages::script_names()),
            }
        }
        scripts
    }

    fn rule_formats(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<crate::domain::Format> {
        let typed = self.some_of(value, "the name of a format such as \"pdf\", or an array of them");
        let mut formats = Vec::new();
        for (text, place) in typed.unwrap_or_default() {
            match format_named(text) {
                Some(format) => formats.push(format),
                None => self.unknown_name(text, &place, ALL_FORMATS),
            }
        }
        formats
    }

    fn paths(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<super::settings::Pattern> {
        let typed =
            self.some_of(value, "a pattern such as \"*.py\", or an array of them").unwrap_or_default();
        typed.into_iter().filter_map(|(text, place)| self.pattern(text, &place)).collect()
    }

    fn stage(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Stage> {
        if value.get_ref().as_str() == Some("refine") {
            let message = "the stage `refine` is not available in this version".to_owned();
            self.fault(Code::NotAvailable, &self.inside(value.span()), message, "available: map, merge");
            return None;
        }
        self.one_of(value, &[("map", Stage::Map), ("merge", Stage::Merge)])
    }

    fn one_of<T: Copy>(&mut self, value: &Spanned<DeValue<'_>>, known: &[(&str, T)]) -> Option<T> {
        let place = self.inside(value.span());
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(&place, "an array of rules whose names are strings", value.get_ref());
            return None;
        };
        let found = known.iter().find(|(name, _)| *name == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            self.unknown_name(text, &place, &names);
        }
        found
    }

    fn boolean(&mut self, value: &Spanned<DeValue<'_>>) -> Option<bool> {
        let found = value.get_ref().as_bool();
        if found.is_none() {
            let message = "`images` must be true or false".to_owned();
            self.fault(Code::WrongType, &self.inside(value.span()), message, "");
        }
        found
    }

    pub(super) fn escalation(&mut self, value: &DeValue<'_>) -> Option<EscalationDraft> {
        let Some(table) = value.as_table() else {
            self.wrong_type(self.place, "a table such as { to = \"MODEL ID\", on = [\"truncated\"] }", value);
            return None;
        };
        let (mut to, mut on) = (None, USUAL_FAULTS.to_vec());
        for (name, value, place) in self.entries(table) {
            match name {
                "to" => match value.get_ref().as_str() {
                    Some(id) => to = Some((id.to_owned(), place)),
                    None => self.wrong_type(&place, "a table whose `to` is a model id", value.get_ref()),
                },
                "on" => on = self.answer_faults(value.get_ref()),
                other => self.unknown_name(other, &self.inside_key(table, other), &["to", "on"]),
            }
        }
        if to.is_none() && !table.iter().any(|(name, _)| name.get_ref() == "to") {
            let message = "`route.escalate` does not say which model to ask".to_owned();
            self.fault(Code::MissingKey, self.place, message, "add `to = \"MODEL ID\"`");
        }
        Some(EscalationDraft { to: to?, on })
    }

    fn answer_faults(&mut self, value: &DeValue<'_>) -> Vec<AnswerFault> {
        let Some(strings) = self.strings(value, "a table whose `on` is an array of strings") else {
            return Vec::new();
        };
        if strings.is_empty() && self.faults.is_empty() {
            let message = "`on` is empty, so nothing would ever be escalated".to_owned();
            self.fault(Code::BadValue, self.place, message, "leave `route.escalate` out");
        }
        self.refuse_duplicates(&strings);
        let names: Vec<&str> = ANSWER_FAULTS.iter().map(|(name, _)| *name).collect();
        let mut faults = Vec::new();
        for (text, place) in strings {
            match ANSWER_FAULTS.iter().find(|(name, _)| *name == text) {
                Some((_, fault)) => faults.push(*fault),
                None => self.unknown_name(text, &place, &names),
            }
        }
        faults
    }

    pub(super) fn guardrail(&mut self, value: &DeValue<'_>) -> Option<Guardrail> {
        let Some(table) = value.as_table() else {
            self.wrong_type(self.place, "a table such as { id = \"abc123\", version = \"1\" }", value);
            return None;
        };
        let (mut id, mut version) = (None, None);
        for (name, value, place) in self.entries(table) {
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                other => integer(other).map_or_else(String::new, |number| number.to_string()),
            };
            match name {
                "id" if is_line(&text) => id = Some(text),
                "version" if is_guardrail_version(&text) => version = Some(text),
                "id" => {
                    self.fault(Code::BadValue, &place, "`id` must be a guardrail's id or ARN".to_owned(), "")
                }
                "version" => {
                    let message = "`version` must be the number of a version, or \"DRAFT\"".to_owned();
                    self.fault(Code::BadValue, &place, message, "");
                }
                other => self.unknown_name(other, &self.inside_key(table, other), &["id", "version"]),
            }
        }
        for name in ["id", "version"] {
            if !table.iter().any(|(key, _)| key.get_ref() == name) {
                let message = format!("`{}` needs `{name}`", self.key);
                self.fault(
                    Code::MissingKey,
                    self.place,
                    message,
                    "write { id = \"abc123\", version = \"1\" }",
                );
            }
        }
        Some(Guardrail { id: id?, version: version? })
    }

    pub(super) fn thinking(&mut self, value: &DeValue<'_>) -> Option<ThinkingRequest> {
        if let DeValue::Integer(_) = value {
            let budget = self.integer(value, 1, 1_000_000)?;
            return u32::try_from(budget).ok().map(ThinkingRequest::Budget);
        }
        match value.as_str() {
            Some("off") => Some(ThinkingRequest::Off),
            Some("default") => Some(ThinkingRequest::AsIs),
            Some(other) => {
                self.unknown_name(other, self.place, &["off", "default"]);
                None
            }
            None => {
                self.wrong_type(self.place, "\"off\", \"default\" or a number of tokens", value);
                None
            }
        }
    }

    pub(super) fn metadata(&mut self, value: &DeValue<'_>) -> Option<BTreeMap<String, String>> {
        let pairs = self.text_table(value, "a table of strings such as { team = \"data\" }")?;
        if pairs.len() > METADATA_PAIRS_MAX {
            let message = format!("`{}` has more than {METADATA_PAIRS_MAX} pairs", self.key);
            self.fault(Code::OutOfRange, self.place, message, "the service takes no more");
        }
        for [(name, _), (text, place)] in &pairs {
            if [name, text].iter().any(|text| !is_line(text) || text.chars().count() > METADATA_CHARS_MAX) {
                let message = format!(
                    "names and values of `{}` must have 1 to {METADATA_CHARS_MAX} characters",
                    self.key
                );
                self.fault(Code::BadValue, place, message, "");
            }
        }
        Some(pairs.into_iter().map(|[(name, _), (text, _)]| (name, text)).collect())
    }

    /// What ARNs lead to.
    pub(super) fn aliases(&mut self, value: &DeValue<'_>) -> Option<Vec<Alias>> {
        let pairs = self.text_table(value, "a table such as { \"arn:aws:bedrock:...\" = \"MODEL ID\" }")?;
        for [(arn, place), _] in pairs.iter().filter(|[(arn, _), _]| !arn.starts_with("arn:")) {
            let message = format!("{} is not an ARN", quoted(arn));
            self.fault(Code::BadValue, place, message, "models that have an id of their own need no entry");
        }
        Some(pairs.into_iter().map(|[arn, model]| Alias { arn, model }).collect())
    }

    fn text_table(&mut self, value: &DeValue<'_>, wanted: &str) -> Option<Vec<[(String, Place); 2]>> {
        let Some(table) = value.as_table() else {
            self.wrong_type(self.place, wanted, value);
            return None;
        };
        let mut pairs = Vec::new();
        for (name, value) in table.iter() {
            let place = self.inside(value.span());
            match value.get_ref().as_str() {
                Some(text) => {
                    let name = (name.get_ref().to_string(), self.inside(name.span()));
                    pairs.push([name, (text.to_owned(), place)]);
                }
                None => self.wrong_type(&place, wanted, value.get_ref()),
            }
        }
        Some(pairs)
    }

    pub(super) fn stops(&mut self, value: &DeValue<'_>) -> Option<Vec<String>> {
        let strings = self.strings(value, "an array of strings")?;
        if strings.len() > STOPS_MAX {
            let message = format!("`{}` has more than {STOPS_MAX} sequences", self.key);
            self.fault(Code::OutOfRange, self.place, message, "most models take four");
        }
        for (_, place) in strings.iter().filter(|(text, _)| text.is_empty()) {
            self.fault(Code::BadValue, place, "an empty sequence would stop every answer".to_owned(), "");
        }
        self.refuse_duplicates(&strings);
        Some(strings.into_iter().map(|(text, _)| text.to_owned()).collect())
    }

    pub(super) fn fields(&mut self, value: &DeValue<'_>) -> Option<Vec<String>> {
        let strings = self.strings(value, "an array of names such as [\"title\", \"body\"]")?;
        if strings.is_empty() && self.faults.is_empty() {
            let message = format!("`{}` names no field", self.key);
            self.fault(Code::BadValue, self.place, message, "leave it out to read whole documents");
        }
        self.refuse_duplicates(&strings);
        Some(strings.into_iter().map(|(text, _)| text.to_owned()).collect())
    }

    pub(super) fn residency(&mut self, value: &DeValue<'_>) -> Option<Vec<String>> {
        let strings = self.strings(value, "an array of geographies such as [\"eu\"]")?;
        if strings.is_empty() && self.faults.is_empty() {
            let message = format!("`{}` is empty, so no model could be called", self.key);
            self.fault(Code::BadValue, self.place, message, "leave it out to allow every place");
        }
        self.refuse_duplicates(&strings);
        let mut allowed = Vec::new();
        for (text, place) in strings {
            if super::residency::is_known(text) {
                allowed.push(text.to_owned());
            } else {
                self.unknown_name(text, &place, super::residency::GEOGRAPHIES);
            }
        }
        Some(allowed)
    }

    /// Passwords are never quoted in a message.
    pub(super) fn passwords(&mut self, value: &DeValue<'_>) -> Option<Vec<Password>> {
        const WANTED: &str = "an array of strings and of tables such as { env = \"NAME\" }";
        let Some(array) = value.as_array() else {
            self.wrong_type(self.place, WANTED, value);
            return None;
        };
        let mut passwords = Vec::new();
        for item in array.iter() {
            let place = self.inside(item.span());
            let variable = item.get_ref().as_table().filter(|table| table.len() == 1);
            let variable =
                variable.and_then(|table| table.get("env")).and_then(|name| name.get_ref().as_str());
            match (item.get_ref().as_str(), variable) {
                (Some(text), _) if !text.is_empty() => passwords.push(Password::Given(Secret::new(text))),
                (None, Some(name)) if is_line(name) => passwords.push(Password::Environment(name.to_owned())),
                (Some(_), _) | (None, Some(_)) => {
                    self.fault(Code::BadValue, &place, "an empty password opens nothing".to_owned(), "");
                }
                (None, None) => self.wrong_type(&place, WANTED, item.get_ref()),
            }
        }
        Some(passwords)
    }
}

/// An entry of `route.models`.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    pub arn: (String, Place),
    pub model: (String, Place),
}

fn is_line(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control)
}

fn is_guardrail_version(text: &str) -> bool {
    text == "DRAFT"
        || (!text.is_empty()
            && text.len() <= 8
            && !text.starts_with('0')
            && text.bytes().all(|b| b.is_ascii_digit()))
}
