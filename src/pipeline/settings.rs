//! The sections of a pipeline as the other rooms read them: checked, complete, in the units of the code.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};
use serde::Serialize;

use super::location::Location;
use crate::catalog::{Model, Quota};
use crate::domain::{Api, Encoding, Format, Guardrail, ServiceTier, Stage, ThinkingRequest, Usd};
use crate::sink::OutputFormat;

/// `[source]`: which documents are read.
#[derive(Clone, Debug)]
pub struct Source {
    pub location: Location,
    pub include: Vec<Pattern>,
    pub exclude: Vec<Pattern>,
    /// In the order of their patterns' text.
    pub formats: Vec<(Pattern, Format)>,
    pub max_object_bytes: u64,
    pub members: Members,
    /// What the lines of JSON Lines are, in the same words.
    pub records: Members,
}

/// What an archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Members {
    /// Each member is a document of its own.
    Documents,
    /// All members together are one document.
    One,
}

impl Source {
    /// Whether the document with this key (relative to the source) is taken.
    pub fn selects(&self, key: &str) -> bool {
        let matches = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(key));
        matches(&self.include) && !matches(&self.exclude)
    }

    /// Whether `exclude` leaves the document with this key out, a member of an archive for example.
    pub fn excludes(&self, key: &str) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(key))
    }

    /// The format that the pipeline file gives to this key, if it does.
    pub fn format_of(&self, key: &str) -> Option<Format> {
        self.formats.iter().find(|(pattern, _)| pattern.matches(key)).map(|(_, format)| *format)
    }
}

/// A glob over keys: `*` and `?` stay within a folder, `**` crosses folders, and a pattern without a slash looks at the
/// file name in any folder.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, globset::Error> {
        let anywhere = if text.contains('/') { text.to_owned() } else { format!("**/{text}") };
        let glob = GlobBuilder::new(&anywhere).literal_separator(true).build()?;
        Ok(Pattern { text: text.to_owned(), matcher: glob.compile_matcher() })
    }

    pub fn matches(&self, key: &str) -> bool {
        self.matcher.is_match(key)
    }

    /// As typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// `[chunk]`: how texts are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunking {
    /// Of header, context and core together, in tokens of the chunker's encoding.
    pub tokens: u32,
    /// Less than `tokens`.
    pub overlap: u32,
    pub boundary: BoundaryRule,
    pub encoding: EncodingRule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BoundaryRule {
    /// The best place near the limit.
    Auto,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodingRule {
    /// The public vocabulary nearest to that of the first candidate.
    Auto,
    Fixed(Encoding),
}

/// `[extract]`: how documents are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extract {
    pub vision: Vision,
    /// Tried on encrypted documents, in this order.
    pub passwords: Vec<Password>,
    /// Of JSON, only the values of these fields are read, wherever they stand. Empty: everything is.
    pub json_fields: Vec<String>,
}

/// What is done with pages and documents that are pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Vision {
    /// They are named as gaps.
    Off,
    /// They are shown to a model.
    Model,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    Given(Secret),
    /// The name of the environment variable that holds it.
    Environment(String),
}

/// A text that shows in no message.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `[route]`: which models may be used, and how they are called.
#[derive(Clone, Debug)]
pub struct Route {
    /// At least one, in the order of the file, none twice. At least one holds a chunk and its answer.
    pub candidates: Vec<Candidate>,
    /// In the order of the file: the first that matches decides.
    pub rules: Vec<Rule>,
    /// Who takes over, in this order, where the chosen candidate can not go on.
    pub fallback: Vec<Candidate>,
    pub escalate: Option<Escalation>,
    pub api: Api,
    pub thinking: ThinkingRequest,
    pub caching: Caching,
    /// `None`: the service's default tier. Models that do not offer it are called at the default tier.
    pub tier: Option<ServiceTier>,
    pub guardrail: Option<Guardrail>,
    pub metadata: BTreeMap<String, String>,
}

/// Which calls go to other models than `route.candidates`.
#[derive(Clone, Debug)]
pub struct Rule {
    pub when: Conditions,
    /// At least one, none twice. The cheapest that fits is taken.
    pub candidates: Vec<Candidate>,
    /// Of the pipeline file, from 1; `None` where the rules were given by a flag.
    pub line: Option<u32>,
}

/// What a call must be for a rule to apply: all that is said here. An empty list and `None` say nothing.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Of the chunk, or of the answers to merge at their longest, in the chunker's encoding.
    pub tokens: Option<TokenRange>,
    /// ISO 639-1 codes.
    pub languages: Vec<&'static str>,
    /// ISO 15924 codes.
    pub scripts: Vec<&'static str>,
    pub formats: Vec<Format>,
    pub kind: Option<TextKind>,
    /// Of the document's key.
    pub paths: Vec<Pattern>,
    pub stage: Option<Stage>,
    pub images: Option<bool>,
}

/// Both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRange {
    pub min: u64,
    pub max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TextKind {
    Code,
    Prose,
}

/// A better model is asked when an answer is bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    pub to: Candidate,
    /// At least one, none twice.
    pub on: Vec<AnswerFault>,
}

/// What may be wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerFault {
    /// It was cut at its limit.
    Truncated,
    /// The model, or a filter, would not answer.
    Refused,
    Empty,
    /// It is not the JSON that was asked for.
    Schema,
    /// It holds numbers, dates or names that are not in the text.
    Ungrounded,
}

impl AnswerFault {
    /// As in the pipeline file.
    pub fn name(self) -> &'static str {
        match self {
            AnswerFault::Truncated => "truncated",
            AnswerFault::Refused => "refused",
            AnswerFault::Empty => "empty",
            AnswerFault::Schema => "schema",
            AnswerFault::Ungrounded => "ungrounded",
        }
    }
}

/// Whether the prompt that many calls share is kept by the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Caching {
    /// Where it pays.
    Auto,
    Off,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// As typed: a model id, an inference profile id or an ARN. This is what is sent to the service.
    pub id: String,
    pub model: Model,
}

/// `[map]`: what is done with each chunk. The prompts are rendered by `Pipeline::render_map`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    pub task: Task,
    /// The template as typed; empty for no system prompt.
    pub system: String,
    /// The template as typed.
    pub prompt: String,
    pub max_tokens: u32,
    /// Thousandths. `None`: not sent.
    pub temperature_milli: Option<u32>,
    /// Thousandths. `None`: not sent.
    pub top_p_milli: Option<u32>,
    /// An answer ends before the first of these.
    pub stop: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    Summarise,
}

impl Task {
    pub fn name(self) -> &'static str {
        match self {
            Task::Summarise => "summarise",
        }
    }
}

/// `[merge]`: how partial answers become one. The prompts are rendered by `Pipeline::render_merge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    pub strategy: MergeStrategy,
    pub system: String,
    pub prompt: String,
    pub max_tokens: u32,
    pub temperature_milli: Option<u32>,
    pub top_p_milli: Option<u32>,
    pub stop: Vec<String>,
    /// At least 2.
    pub max_fan_in: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MergeStrategy {
    /// Level by level, by further calls.
    Tree,
    /// One after the other, without a call.
    Concat,
    /// They stay apart.
    None,
}

impl MergeStrategy {
    pub fn name(self) -> &'static str {
        match self {
            MergeStrategy::Tree => "tree",
            MergeStrategy::Concat => "concat",
            MergeStrategy::None => "none",
        }
    }
}

/// `[limits]`: what a run may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub max_cost: Option<Usd>,
    pub max_cost_per_document: Option<Usd>,
    pub deadline: Option<Duration>,
    pub max_in_flight: u32,
    pub max_documents_in_flight: u32,
    pub max_attempts: u32,
    /// Repeated attempts that the whole run may make. `None`: in proportion to its calls.
    pub max_retries: Option<u64>,
    pub cut_answers: CutAnswers,
    pub call_timeout: Duration,
    pub idle_timeout: Duration,
    pub grace: Duration,
    pub max_runs_per_document: u32,
    /// By the id of a candidate or fallback, as typed there.
    pub quotas: BTreeMap<String, Quota>,
    pub quota_headroom_percent: u32,
}

/// What is done with an answer that was cut at `max_tokens`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutAnswers {
    /// Once more, with room for twice as much.
    AskAgain,
    /// It is kept as it is, and its document is partial.
    Keep,
}

/// `[sink]`: where results go and in which forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    pub location: Location,
    /// At least one, in the order of the file, none twice.
    pub formats: Vec<OutputFormat>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_keys_as_the_defaults_file_says() {
        for (pattern, key, expected) in [
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("*", "a/b", true),
            ("*.md", "a/b.md", true),
            ("*.md", "b.txt", false),
            ("a/*.md", "a/b.md", true),
            ("a/*.md", "a/b/c.md", false),
            ("a/**/*.md", "a/b/c.md", true),
            ("a/**/*.md", "a/c.md", true),
            ("b/*.md", "a/b/c.md", false),
            ("{a,b}/?.t[xy]t", "b/1.tyt", true),
            ("*.MD", "a.md", false),
            ("ü *.txt", "x/ü #1.txt", true),
        ] {
            let matches = Pattern::parse(pattern).expect(pattern).matches(key);
            assert_eq!(matches, expected, "{pattern} on {key}");
        }
    }
}
