//! The one table of keys: it drives the reader, the "did you mean" hints and the JSON Schema. What a key means
//! and what its default is stands in `defaults.toml`, and nowhere else.

use crate::domain::{Api, Encoding, Format, ServiceTier};
use crate::pipeline::settings::{
    BoundaryRule, Caching, CutAnswers, EncodingRule, Members, MergeStrategy, Task, Vision,
};
use crate::sink::OutputFormat;

pub(super) struct Key {
    /// `section.key`, or a key of the top level.
    pub path: &'static str,
    pub kind: Kind,
    pub need: Need,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The user must give it.
    Required,
    /// `defaults.toml` gives it.
    Defaulted,
    /// It may be absent.
    Optional,
}

/// What a key's value looks like.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Always 1.
    Version,
    /// An integer within these bounds.
    Count {
        min: u64,
        max: u64,
    },
    /// An integer, or a string with a unit: `"64MiB"`.
    Bytes,
    /// A string: `"2h30m"`.
    Duration,
    /// A string or a number, US dollars.
    Money,
    /// A number from 0 to 1 with at most three decimals.
    Thousandths,
    /// A string of one line.
    Line,
    /// A string, a template; `required` ones can not be empty.
    Template {
        required: bool,
    },
    Location,
    /// An array of globs.
    Globs {
        may_be_empty: bool,
    },
    /// A table of globs and format names.
    Formats,
    /// An array of model ids.
    Models,
    /// A table of model ids and their quotas.
    Quotas,
    /// A table of model ids and their prices for a million tokens.
    Prices,
    /// An array of tables: conditions and the models to use.
    Rules,
    /// A table: a model and the faults of answers that lead to it.
    Escalation,
    /// A table: id and version.
    Guardrail,
    /// `"off"`, `"default"` or a number of tokens.
    Thinking,
    /// A table of strings.
    Metadata,
    /// A table of ARNs and model ids.
    Aliases,
    /// An array of geographies and regions.
    Residency,
    /// An array of strings that end an answer.
    Stops,
    /// Names of fields.
    Fields,
    /// An array of strings, and of tables that name an environment variable.
    Passwords,
    Choice(&'static [Choice]),
    /// An array of different choices, at least one.
    Choices(&'static [Choice]),
}

/// A name of a closed set. Names of the contract that this version can not do yet are known, to be refused as such.
pub(super) struct Choice {
    pub name: &'static str,
    pub meaning: Meaning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Boundary(BoundaryRule),
    Encoding(EncodingRule),
    Task(Task),
    Strategy(MergeStrategy),
    SinkFormat(OutputFormat),
    CutAnswers(CutAnswers),
    Members(Members),
    Vision(Vision),
    Api(Api),
    Caching(Caching),
    Tier(Option<ServiceTier>),
    NotAvailable,
}

const fn choice(name: &'static str, meaning: Meaning) -> Choice {
    Choice { name, meaning }
}

const BOUNDARIES: &[Choice] = &[choice("auto", Meaning::Boundary(BoundaryRule::Auto))];

const ENCODINGS: &[Choice] = &[
    choice("auto", Meaning::Encoding(EncodingRule::Auto)),
    choice("o200k_base", Meaning::Encoding(EncodingRule::Fixed(Encoding::O200kBase))),
    choice("cl100k_base", Meaning::Encoding(EncodingRule::Fixed(Encoding::Cl100kBase))),
];

const TASKS: &[Choice] = &[
    choice("summarise", Meaning::Task(Task::Summarise)),
    choice("extract", Meaning::NotAvailable),
    choice("classify", Meaning::NotAvailable),
    choice("embed", Meaning::NotAvailable),
    choice("custom", Meaning::NotAvailable),
];

const STRATEGIES: &[Choice] = &[
    choice("tree", Meaning::Strategy(MergeStrategy::Tree)),
    choice("concat", Meaning::Strategy(MergeStrategy::Concat)),
    choice("none", Meaning::Strategy(MergeStrategy::None)),
    choice("refine", Meaning::NotAvailable),
    choice("fields", Meaning::NotAvailable),
    choice("vote", Meaning::NotAvailable),
];

const SINK_FORMATS: &[Choice] = &[
    choice("json", Meaning::SinkFormat(OutputFormat::Json)),
    choice("markdown", Meaning::SinkFormat(OutputFormat::Markdown)),
    choice("jsonl", Meaning::NotAvailable),
    choice("parquet", Meaning::NotAvailable),
];

const CUT_ANSWERS: &[Choice] = &[
    choice("ask-again", Meaning::CutAnswers(CutAnswers::AskAgain)),
    choice("keep", Meaning::CutAnswers(CutAnswers::Keep)),
];

const MEMBERS: &[Choice] = &[
    choice("documents", Meaning::Members(Members::Documents)),
    choice("one", Meaning::Members(Members::One)),
];

const VISION: &[Choice] =
    &[choice("off", Meaning::Vision(Vision::Off)), choice("model", Meaning::Vision(Vision::Model))];

const APIS: &[Choice] =
    &[choice("converse", Meaning::Api(Api::Converse)), choice("invoke", Meaning::Api(Api::Invoke))];

const CACHING: &[Choice] =
    &[choice("auto", Meaning::Caching(Caching::Auto)), choice("off", Meaning::Caching(Caching::Off))];

const TIERS: &[Choice] = &[
    choice("default", Meaning::Tier(None)),
    choice("priority", Meaning::Tier(Some(ServiceTier::Priority))),
    choice("flex", Meaning::Tier(Some(ServiceTier::Flex))),
];

/// The names that `source.formats` takes, as `domain::Format` is written.
pub(super) const FORMATS: &[(&str, Format)] = &[
    ("text", Format::Text),
    ("markdown", Format::Markdown),
    ("html", Format::Html),
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("json", Format::Json),
    ("json-lines", Format::JsonLines),
    ("xml", Format::Xml),
    ("log", Format::Log),
    ("code", Format::Code),
    ("subtitles", Format::Subtitles),
];

/// The names that rules take: also of formats that are told from their content alone.
pub(super) const ALL_FORMATS: &[&str] = &[
    "text",
    "markdown",
    "html",
    "csv",
    "tsv",
    "json",
    "json-lines",
    "xml",
    "log",
    "code",
    "subtitles",
    "pdf",
    "docx",
    "odt",
    "rtf",
    "pptx",
    "odp",
    "xlsx",
    "xls",
    "ods",
    "epub",
    "email",
    "mbox",
    "zip",
    "tar",
    "image",
];

/// The format of this name, as the domain writes it.
pub(super) fn format_named(name: &str) -> Option<Format> {
    serde_json::from_value(serde_json::Value::from(name)).ok()
}

const fn key(path: &'static str, kind: Kind, need: Need) -> Key {
    Key { path, kind, need }
}

const fn count(path: &'static str, min: u64, max: u64) -> Key {
    key(path, Kind::Count { min, max }, Need::Defaulted)
}

/// Every key, in the order of `defaults.toml`.
pub(super) static KEYS: &[Key] = &[
    key("version", Kind::Version, Need::Required),
    key("name", Kind::Line, Need::Optional),
    key("source.uri", Kind::Location, Need::Required),
    key("source.include", Kind::Globs { may_be_empty: false }, Need::Defaulted),
    key("source.exclude", Kind::Globs { may_be_empty: true }, Need::Defaulted),
    key("source.formats", Kind::Formats, Need::Defaulted),
    key("source.max_object_bytes", Kind::Bytes, Need::Defaulted),
    key("source.members", Kind::Choice(MEMBERS), Need::Defaulted),
    key("source.records", Kind::Choice(MEMBERS), Need::Defaulted),
    key("extract.vision", Kind::Choice(VISION), Need::Defaulted),
    key("extract.passwords", Kind::Passwords, Need::Optional),
    key("extract.json_fields", Kind::Fields, Need::Optional),
    // Below 32 tokens a chunk holds less than a sentence and the prompt dwarfs it; a typing mistake, not a wish.
    count("chunk.tokens", 32, 4_000_000),
    count("chunk.overlap", 0, 4_000_000),
    key("chunk.boundary", Kind::Choice(BOUNDARIES), Need::Defaulted),
    key("chunk.encoding", Kind::Choice(ENCODINGS), Need::Defaulted),
    key("route.candidates", Kind::Models, Need::Required),
    key("route.rules", Kind::Rules, Need::Optional),
    key("route.fallback", Kind::Models, Need::Optional),
    key("route.escalate", Kind::Escalation, Need::Optional),
    key("route.residency", Kind::Residency, Need::Optional),
    key("route.api", Kind::Choice(APIS), Need::Defaulted),
    key("route.thinking", Kind::Thinking, Need::Defaulted),
    key("route.caching", Kind::Choice(CACHING), Need::Defaulted),
    key("route.tier", Kind::Choice(TIERS), Need::Defaulted),
    key("route.guardrail", Kind::Guardrail, Need::Optional),
    key("route.metadata", Kind::Metadata, Need::Optional),
    key("route.models", Kind::Aliases, Need::Optional),
    key("route.prices", Kind::Prices, Need::Optional),
    key("route.catalog", Kind::Line, Need::Optional),
    key("map.task", Kind::Choice(TASKS), Need::Defaulted),
    key("map.system", Kind::Template { required: false }, Need::Defaulted),
    key("map.prompt", Kind::Template { required: true }, Need::Defaulted),
    count("map.max_tokens", 1, 1_000_000),
    key("map.temperature", Kind::Thousandths, Need::Optional),
    key("map.top_p", Kind::Thousandths, Need::Optional),
    key("map.stop", Kind::Stops, Need::Optional),
    key("merge.strategy", Kind::Choice(STRATEGIES), Need::Defaulted),
    key("merge.system", Kind::Template { required: false }, Need::Defaulted),
    key("merge.prompt", Kind::Template { required: true }, Need::Defaulted),
    count("merge.max_tokens", 1, 1_000_000),
    key("merge.temperature", Kind::Thousandths, Need::Optional),
    key("merge.top_p", Kind::Thousandths, Need::Optional),
    key("merge.stop", Kind::Stops, Need::Optional),
    // One answer a call would make a level as large as the one below it: the tree would never end.
    count("merge.max_fan_in", 2, 1_000),
    key("limits.max_cost_usd", Kind::Money, Need::Optional),
    key("limits.max_cost_per_document_usd", Kind::Money, Need::Optional),
    key("limits.deadline", Kind::Duration, Need::Optional),
    count("limits.max_in_flight", 1, 10_000),
    count("limits.max_documents_in_flight", 1, 10_000),
    count("limits.max_attempts", 1, 100),
    key("limits.max_retries", Kind::Count { min: 0, max: 1_000_000_000 }, Need::Optional),
    key("limits.cut_answers", Kind::Choice(CUT_ANSWERS), Need::Defaulted),
    key("limits.call_timeout", Kind::Duration, Need::Defaulted),
    key("limits.idle_timeout", Kind::Duration, Need::Defaulted),
    key("limits.grace", Kind::Duration, Need::Defaulted),
    count("limits.max_runs_per_document", 1, 1_000),
    key("limits.quotas", Kind::Quotas, Need::Optional),
    // More than nine tenths unused is a mistake, not caution.
    count("limits.quota_headroom_percent", 0, 90),
    key("sink.uri", Kind::Location, Need::Required),
    key("sink.formats", Kind::Choices(SINK_FORMATS), Need::Defaulted),
];

/// Keys and sections of the contract that this version does not have yet: refused as such, not as unknown.
pub(super) const NOT_AVAILABLE: &[&str] = &["map.schema", "refine", "sink.kms_key", "sink.tags"];

pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The sections in the order of the table.
pub(super) fn sections() -> Vec<&'static str> {
    let mut sections: Vec<&str> =
        KEYS.iter().filter_map(|key| key.path.split_once('.')).map(|(s, _)| s).collect();
    sections.dedup();
    sections
}

/// The names of the keys of a section; of the top level for "".
pub(super) fn names_in(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(move |key| match key.path.split_once('.') {
        Some((of, name)) if of == section => Some(name),
        None if section.is_empty() => Some(key.path),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_of_the_domain_has_its_own_name() {
        for (name, format) in FORMATS {
            assert_eq!(serde_json::to_value(format).unwrap(), *name);
        }
        for name in ALL_FORMATS {
            let format = format_named(name).unwrap_or_else(|| panic!("{name} is no format"));
            assert_eq!(serde_json::to_value(format).unwrap(), *name);
        }
    }
}
