//! What is wrong with a pipeline file, where, and what to do: for people in rustc's form, for machines as JSON.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

/// The kinds of faults. Numbers are never given to another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    NotUtf8,
    TooLarge,
    Syntax,
    Version,
    UnknownKey,
    MissingKey,
    WrongType,
    OutOfRange,
    BadValue,
    UnknownName,
    NotAvailable,
    Duplicate,
    Overlap,
    Window,
    OutputCap,
    Sampling,
    SinkIsSource,
    NeverUsed,
    Shadowed,
    ThinkingRoom,
    UnknownModel,
    DeadModel,
    ProfileOnly,
    UnpricedModel,
    OpaqueArn,
    NotAChatModel,
    ModelEndsSoon,
    Thinking,
    Tier,
    NoCandidate,
    Region,
    TemplateSyntax,
    UnknownVariable,
    TextUnused,
    TemplateFails,
}

impl Code {
    pub fn id(self) -> &'static str {
        match self {
            Code::NotUtf8 => "DM0101",
            Code::TooLarge => "DM0102",
            Code::Syntax => "DM0103",
            Code::Version => "DM0104",
            Code::UnknownKey => "DM0201",
            Code::MissingKey => "DM0202",
            Code::WrongType => "DM0203",
            Code::OutOfRange => "DM0204",
            Code::BadValue => "DM0205",
            Code::UnknownName => "DM0206",
            Code::NotAvailable => "DM0207",
            Code::Duplicate => "DM0208",
            Code::Overlap => "DM0301",
            Code::Window => "DM0302",
            Code::OutputCap => "DM0303",
            Code::Sampling => "DM0304",
            Code::SinkIsSource => "DM0305",
            Code::NeverUsed => "DM0306",
            Code::Shadowed => "DM0307",
            Code::ThinkingRoom => "DM0308",
            Code::UnknownModel => "DM0401",
            Code::DeadModel => "DM0402",
            Code::ProfileOnly => "DM0403",
            Code::UnpricedModel => "DM0404",
            Code::OpaqueArn => "DM0405",
            Code::NotAChatModel => "DM0406",
            Code::ModelEndsSoon => "DM0407",
            Code::Thinking => "DM0408",
            Code::Tier => "DM0409",
            Code::NoCandidate => "DM0410",
            Code::Region => "DM0411",
            Code::TemplateSyntax => "DM0501",
            Code::UnknownVariable => "DM0502",
            Code::TextUnused => "DM0503",
            Code::TemplateFails => "DM0504",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Bytes of the file's text.
    File(Range<usize>),
    /// A flag of the command line, as typed: `--set chunk.tokens`.
    Flag(String),
    /// The whole file, or nothing that was typed: a default.
    Nowhere,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub(super) code: Code,
    pub(super) severity: Severity,
    pub(super) message: String,
    /// `chunk.overlap`; empty when the fault is in no key.
    pub(super) key: String,
    pub(super) place: Place,
    /// What stands at the place, in a few words; may be empty.
    pub(super) label: String,
    /// Other places that have to do with it.
    pub(super) related: Vec<(Place, String)>,
    pub(super) hints: Vec<String>,
}

impl Diagnostic {
    pub(super) fn new(code: Code, key: &str, place: &Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: printable(&message.into()),
            key: key.to_owned(),
            place: place.clone(),
            label: String::new(),
            related: Vec::new(),
            hints: Vec::new(),
        }
    }

    pub(super) fn warning(mut self) -> Diagnostic {
        self.severity = Severity::Warning;
        self
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = printable(&label.into());
        self
    }

    pub(super) fn related(mut self, place: &Place, label: impl Into<String>) -> Diagnostic {
        self.related.push((place.clone(), printable(&label.into())));
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hints.push(printable(&hint.into()));
        self
    }

    pub(super) fn hints(self, hints: impl IntoIterator<Item = String>) -> Diagnostic {
        hints.into_iter().fold(self, Diagnostic::hint)
    }

    pub fn code(&self) -> Code {
        self.code
    }

    pub fn severity(&self) -> Severity {
        self.severity
    }

    pub fn message(&self) -> &str {
        &self.message
    }
}

/// A message quotes what the user typed; a terminal must not act on it.
fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// What the user typed, for a message: in backquotes, cut when long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        return format!("`{text}`");
    }
    format!("`{}...`", text.chars().take(LONGEST).collect::<String>())
}

/// Faults of one file, with the text that they point into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    path: String,
    text: String,
    list: Vec<Diagnostic>,
    /// Faults beyond the ones that are listed.
    left_out: usize,
}

/// More faults than anyone reads: a file that is no pipeline at all can have one in every line.
const MOST_LISTED: usize = 100;

impl Diagnostics {
    /// In the order of the file; what no line of it is to blame for comes last.
    pub(super) fn new(path: &str, text: &str, mut list: Vec<Diagnostic>) -> Diagnostics {
        let order = |diagnostic: &Diagnostic| match &diagnostic.place {
            Place::File(span) => (0, span.start),
            Place::Flag(_) => (1, 0),
            Place::Nowhere => (2, 0),
        };
        list.sort_by_key(order);
        let left_out = list.len().saturating_sub(MOST_LISTED);
        list.truncate(MOST_LISTED);
        Diagnostics { path: path.to_owned(), text: text.to_owned(), list, left_out }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// At most a hundred.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// For people: one block a fault in rustc's form, ending in a line break. `coloured` writes ANSI colours.
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let blocks = self.list.iter().map(|diagnostic| renderer.render(&[self.group(diagnostic)]) + "\n");
        let mut report = blocks.collect::<Vec<_>>().join("\n");
        if self.left_out > 0 {
            report.push_str(&format!("\n{} more faults are not shown\n", self.left_out));
        }
        report
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.id());
        let mut group = match &diagnostic.place {
            Place::File(span) => title.element(self.snippet(span, diagnostic)),
            Place::Flag(flag) => title.element(Origin::path(flag.as_str())),
            Place::Nowhere => title.element(Origin::path(self.path.as_str())),
        };
        for (place, label) in &diagnostic.related {
            if let Place::Flag(flag) = place {
                group = group.element(Level::NOTE.message(format!("{label} ({flag})")));
            } else if !matches!((place, &diagnostic.place), (Place::File(_), Place::File(_))) {
                group = group.element(Level::NOTE.message(label.as_str()));
            }
        }
        diagnostic.hints.iter().fold(group, |group, hint| group.element(Level::HELP.message(hint.as_str())))
    }

    fn snippet<'a>(
        &'a self,
        span: &Range<usize>,
        diagnostic: &'a Diagnostic,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let mark = |kind: AnnotationKind, span: &Range<usize>, label: &'a str| {
            let annotation = kind.span(self.visible(span));
            if label.is_empty() { annotation } else { annotation.label(label) }
        };
        let snippet = Snippet::source(self.text.as_str()).path(self.path.as_str());
        let snippet = snippet.annotation(mark(AnnotationKind::Primary, span, &diagnostic.label));
        diagnostic.related.iter().fold(snippet, |snippet, (place, label)| match place {
            Place::File(span) => snippet.annotation(mark(AnnotationKind::Context, span, label)),
            Place::Flag(_) | Place::Nowhere => snippet,
        })
    }

    /// A prompt of forty lines is pointed at by its first line: all of it would fill the screen.
    fn visible(&self, span: &Range<usize>) -> Range<usize> {
        let text = &self.text[span.clone()];
        let end = text.find('\n').map_or(span.end, |at| span.start + at);
        span.start..end.max(span.start)
    }

    /// For machines: one record a fault, at most a hundred.
    pub fn records(&self) -> Vec<Record<'_>> {
        self.list.iter().map(|diagnostic| self.record(diagnostic)).collect()
    }

    fn record<'a>(&'a self, diagnostic: &'a Diagnostic) -> Record<'a> {
        let (line, column) = match &diagnostic.place {
            Place::File(span) => {
                let (line, column) = self.position(span.start);
                (Some(line), Some(column))
            }
            Place::Flag(_) | Place::Nowhere => (None, None),
        };
        let flag = if let Place::Flag(flag) = &diagnostic.place { Some(flag.as_str()) } else { None };
        Record {
            severity: diagnostic.severity,
            code: diagnostic.code.id(),
            message: &diagnostic.message,
            file: &self.path,
            line,
            column,
            flag,
            key: Some(diagnostic.key.as_str()).filter(|key| !key.is_empty()),
            hints: &diagnostic.hints,
        }
    }

    /// Line and column of a byte of the text, both from 1, columns in characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// A fault for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record<'a> {
    pub severity: Severity,
    pub code: &'static str,
    pub message: &'a str,
    /// The pipeline file, as it was named.
    pub file: &'a str,
    /// From 1; absent when no line of the file is to blame.
    pub line: Option<usize>,
    /// From 1, in characters.
    pub column: Option<usize>,
    /// The flag that is to blame instead: `--set chunk.tokens`.
    pub flag: Option<&'a str>,
    pub key: Option<&'a str>,
    pub hints: &'a [String],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, place: Place) -> Diagnostics {
        let diagnostic =
            Diagnostic::new(Code::BadValue, "a.b", &place, "`a.b` is odd").label("here").hint("mend it");
        Diagnostics::new("p.toml", text, vec![diagnostic])
    }

    #[test]
    fn columns_count_characters_and_lines_end_at_line_feeds() {
        let text = "ü = 1\r\nää = \"x\"\r\n";
        for (pattern, expected) in [("ü", (1, 1)), ("1", (1, 5)), ("ää", (2, 1)), ("\"x\"", (2, 6))] {
            let start = text.find(pattern).unwrap();
            let diagnostics = one(text, Place::File(start..start + pattern.len()));
            let record = &diagnostics.records()[0];
            assert_eq!((record.line, record.column), (Some(expected.0), Some(expected.1)), "{pattern}");
        }
        assert_eq!(one(text, Place::Nowhere).records()[0].line, None);
    }

    #[test]
    fn every_kind_of_place_is_shown() {
        for (place, expected) in [
            (Place::File(4..5), " --> p.toml:1:5\n"),
            (Place::Flag("--set a.b".to_owned()), "--> --set a.b\n"),
            (Place::Nowhere, "--> p.toml\n"),
        ] {
            let shown = one("b = 1\n", place).render(false);
            assert!(
                shown.starts_with("error[DM0205]: `a.b` is odd\n") && shown.contains(expected),
                "{shown}"
            );
            assert!(shown.contains("help: mend it"), "{shown}");
        }
        assert!(one("b = 1\n", Place::File(4..5)).render(true).contains("\u{1b}["));
    }

    #[test]
    fn a_file_full_of_faults_is_not_listed_in_full() {
        let fault =
            |at: usize| Diagnostic::new(Code::UnknownKey, "x", &Place::File(at..at + 1), "unknown key `x`");
        let text = "x\n".repeat(1_000);
        let diagnostics = Diagnostics::new("p.toml", &text, (0..1_000).map(|line| fault(2 * line)).collect());
        assert_eq!(diagnostics.records().len(), 100);
        assert!(diagnostics.render(false).ends_with("\n900 more faults are not shown\n"));
    }

    #[test]
    fn a_terminal_never_sees_what_the_file_would_make_it_do() {
        let diagnostic = Diagnostic::new(Code::BadValue, "", &Place::Nowhere, "`\u{1b}[31m` is odd");
        assert_eq!(diagnostic.message(), "`\\u{1b}[31m` is odd");
    }
}
