//! What routing looks at in a call, and whether a rule speaks of it.
//!
//! Language, script and kind are told by whoever has the text; where they can not be told, a condition on them does not
//! hold. Nothing here depends on the order in which calls are made: the same text takes the same route in every run.

use crate::domain::{Format, Stage};
use crate::pipeline::{Conditions, TextKind};

/// What can be told from a text alone. The default says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextTraits {
    /// ISO 639-1 (`pipeline::language_code`).
    pub language: Option<&'static str>,
    /// ISO 15924.
    pub script: Option<&'static str>,
    pub is_code: Option<bool>,
}

/// A call to be routed.
#[derive(Clone, Copy, Debug)]
pub struct Traits<'a> {
    pub stage: Stage,
    /// Of the chunk, or of the answers to merge at their longest, in the chunker's encoding.
    pub tokens: u64,
    pub text: TextTraits,
    pub format: Format,
    /// The document's key.
    pub path: &'a str,
    pub has_images: bool,
}

/// Which condition of a rule does not hold; `None` when all do. Conditions on the path are left out: they are the same
/// for all calls of a document, and slow.
pub(super) fn unmet(when: &Conditions, call: &Traits<'_>) -> Option<Condition> {
    let Conditions { tokens, languages, scripts, formats, kind, paths: _, stage, images } = when;
    let named = |names: &[&str], name: Option<&str>| {
        names.is_empty() || name.is_some_and(|name| names.contains(&name))
    };
    let of_kind = |kind: TextKind| call.text.is_code == Some(kind == TextKind::Code);
    [
        (Condition::Stage, stage.is_none_or(|stage| stage == call.stage)),
        (Condition::Images, images.is_none_or(|images| images == call.has_images)),
        (Condition::Format, formats.is_empty() || formats.contains(&call.format)),
        (Condition::Tokens, tokens.is_none_or(|range| (range.min..=range.max).contains(&call.tokens))),
        (Condition::Kind, kind.is_none_or(of_kind)),
        (Condition::Language, named(languages, call.text.language)),
        (Condition::Script, named(scripts, call.text.script)),
    ]
    .into_iter()
    .find_map(|(condition, holds)| (!holds).then_some(condition))
}

pub(super) fn path_matches(when: &Conditions, path: &str) -> bool {
    when.paths.is_empty() || when.paths.iter().any(|pattern| pattern.matches(path))
}

/// Whether a rule looks at what only a look at the text can tell.
pub(super) fn reads_text(when: &Conditions) -> bool {
    !when.languages.is_empty() || !when.scripts.is_empty() || when.kind.is_some()
}

/// A condition of a rule, by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    Stage,
    Images,
    Format,
    Tokens,
    Kind,
    Language,
    Script,
    Path,
}

impl Condition {
    pub fn name(self) -> &'static str {
        match self {
            Condition::Stage => "stage",
            Condition::Images => "images",
            Condition::Format => "format",
            Condition::Tokens => "tokens",
            Condition::Kind => "kind",
            Condition::Language => "language",
            Condition::Script => "script",
            Condition::Path => "path",
        }
    }
}
