//! Prompts: templates checked when the pipeline is read, rendered with fenced document text when it runs.
//!
//! Which variables there are is written in `defaults.toml`. Nothing that changes from run to run is among them: the same
//! document and pipeline make the same requests, byte for byte, which is what finds paid answers again.

use std::collections::BTreeMap;

use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value};

use super::diagnostic::{Code, Diagnostic, Place, quoted};
use super::fence::{Fence, key_line};
use crate::catalog::nearest;
use crate::domain::Format;

/// What a map call is about.
#[derive(Clone, Copy, Debug)]
pub struct MapVars<'a> {
    /// The text that this call is responsible for.
    pub text: &'a str,
    /// The overlap before it; may be empty.
    pub context: &'a str,
    /// The table header to repeat; may be empty.
    pub header: &'a str,
    /// The document's key; anything.
    pub key: &'a str,
    pub format: Format,
    /// From 1.
    pub part: u32,
    pub parts: u32,
}

/// What a merge call is about.
#[derive(Clone, Copy, Debug)]
pub struct MergeVars<'a> {
    /// In the order of the document.
    pub answers: &'a [&'a str],
    /// From 1.
    pub level: u32,
    pub levels: u32,
    /// Whether the answer is the document's result.
    pub is_final: bool,
    /// The document's key; anything.
    pub key: &'a str,
}

/// The prompts of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub system: Option<String>,
    pub user: String,
}

impl Rendered {
    /// For models that take no system prompt: it comes first in the user's.
    pub fn without_system(self) -> Rendered {
        match self.system {
            Some(system) => Rendered { system: None, user: format!("{system}\n\n{}", self.user) },
            None => self,
        }
    }
}

/// A template that was good for the values it was tried with fails for others: an operation that the template does
/// with a variable is impossible for this one, or it loops too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the template `{template}` can not be rendered, line {line}: {reason}")]
pub struct RenderError {
    /// `map.prompt`
    pub template: String,
    /// From 1; 0 if unknown.
    pub line: usize,
    /// In minijinja's words; holds no document text.
    pub reason: String,
}

const MAP_VARIABLES: &[&str] = &["text", "context", "header", "max_words", "format", "key", "part", "parts"];
const MERGE_VARIABLES: &[&str] = &["answers", "count", "is_final", "max_words", "level", "levels", "key"];

/// Steps of the template engine that one prompt may take. Prompts take some dozens; only an enormous loop gets here.
const FUEL: u64 = 50_000;

/// The four templates of a pipeline.
#[derive(Clone, Debug)]
pub(super) struct Prompts {
    environment: Environment<'static>,
}

/// The keys of the templates, which are also the templates' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PromptKey {
    MapSystem,
    MapPrompt,
    MergeSystem,
    MergePrompt,
}

impl PromptKey {
    pub(super) fn path(self) -> &'static str {
        match self {
            PromptKey::MapSystem => "map.system",
            PromptKey::MapPrompt => "map.prompt",
            PromptKey::MergeSystem => "merge.system",
            PromptKey::MergePrompt => "merge.prompt",
        }
    }

    fn variables(self) -> &'static [&'static str] {
        match self {
            PromptKey::MapSystem | PromptKey::MapPrompt => MAP_VARIABLES,
            PromptKey::MergeSystem | PromptKey::MergePrompt => MERGE_VARIABLES,
        }
    }

    /// What the template must use, or the call would not see the document.
    fn required_variable(self) -> Option<&'static str> {
        match self {
            PromptKey::MapPrompt => Some("text"),
            PromptKey::MergePrompt => Some("answers"),
            PromptKey::MapSystem | PromptKey::MergeSystem => None,
        }
    }
}

impl Prompts {
    pub(super) fn new() -> Prompts {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        // Without it errors do not know where they are.
        environment.set_debug(true);
        Prompts { environment }
    }

    /// Adds a template; says what is wrong with it. `file` is the text of the pipeline file, to point into.
    pub(super) fn add(
        &mut self,
        key: PromptKey,
        template: &str,
        place: &Place,
        file: &str,
    ) -> Vec<Diagnostic> {
        let path = key.path();
        if let Err(error) = self.environment.add_template_owned(path, template.to_owned()) {
            let at = locate(file, place, template, error.range());
            let message = format!("`{path}` is not a template: {}", reason(&error));
            return vec![Diagnostic::new(Code::TemplateSyntax, path, &at, message)];
        }
        let faults = self.variable_faults(key, template, place, file);
        if faults.is_empty() { self.trial(key, template, place, file) } else { faults }
    }

    fn variable_faults(&self, key: PromptKey, template: &str, place: &Place, file: &str) -> Vec<Diagnostic> {
        let path = key.path();
        let compiled = self.environment.get_template(path).expect("the template was just added");
        let mut used: Vec<String> = compiled.undeclared_variables(false).into_iter().collect();
        used.retain(|name| self.environment.globals().all(|(global, _)| global != name));
        used.sort();
        let unknown = used.iter().filter(|name| !key.variables().contains(&name.as_str())).map(|name| {
            let at = locate(file, place, template, word(template, name));
            let hint = match nearest(name, key.variables().iter().copied(), 1)[..] {
                [meant] => format!("did you mean `{meant}`?"),
                _ => format!("there are: {}", key.variables().join(", ")),
            };
            let message = format!("`{path}` has no variable {}", quoted(name));
            Diagnostic::new(Code::UnknownVariable, path, &at, message).hint(hint)
        });
        let mut faults: Vec<Diagnostic> = unknown.collect();
        if let Some(required) = key.required_variable().filter(|name| !used.iter().any(|used| used == name)) {
            let message = format!("`{path}` never uses `{required}`, so no call would see the document");
            let hint = format!(
                "write {{{{ {required} }}}} where the {} belongs",
                if required == "text" { "passage" } else { "answers" }
            );
            faults.push(Diagnostic::new(Code::TextUnused, path, place, message).hint(hint));
        }
        faults
    }

    /// Renders with and without overlap and header, first and last level: filters and tests that do not exist, and
    /// operations that the variables do not allow, only show then.
    fn trial(&self, key: PromptKey, template: &str, place: &Place, file: &str) -> Vec<Diagnostic> {
        let map = |context, header, parts| {
            let vars = MapVars {
                text: "text",
                context,
                header,
                key: "key",
                format: Format::Text,
                part: parts,
                parts,
            };
            map_context(&vars, 1000)
        };
        let merge = |answers: &[&str], is_final| {
            let vars = MergeVars { answers, level: 1, levels: 2, is_final, key: "key" };
            merge_context(&vars, 1000)
        };
        let contexts = match key {
            PromptKey::MapSystem | PromptKey::MapPrompt => [map("", "", 1), map("context", "header", 2)],
            PromptKey::MergeSystem | PromptKey::MergePrompt => {
                [merge(&["a", "b"], false), merge(&["a"], true)]
            }
        };
        let compiled = self.environment.get_template(key.path()).expect("the template was just added");
        let failed = contexts.iter().find_map(|context| compiled.render(context.clone()).err());
        let fault = failed.map(|error| {
            let at = locate(file, place, template, error.range());
            let message = format!("`{}` can not be rendered: {}", key.path(), reason(&error));
            Diagnostic::new(Code::TemplateFails, key.path(), &at, message)
        });
        fault.into_iter().collect()
    }

    pub(super) fn map(&self, vars: &MapVars<'_>, max_tokens: u32) -> Result<Rendered, RenderError> {
        self.both(PromptKey::MapSystem, PromptKey::MapPrompt, map_context(vars, max_tokens))
    }

    pub(super) fn merge(&self, vars: &MergeVars<'_>, max_tokens: u32) -> Result<Rendered, RenderError> {
        self.both(PromptKey::MergeSystem, PromptKey::MergePrompt, merge_context(vars, max_tokens))
    }

    fn both(&self, system: PromptKey, user: PromptKey, context: Value) -> Result<Rendered, RenderError> {
        let system = self.render(system, context.clone())?;
        let user = self.render(user, context)?;
        Ok(Rendered { system: Some(system).filter(|system| !system.is_empty()), user })
    }

    fn render(&self, key: PromptKey, context: Value) -> Result<String, RenderError> {
        let rendered =
            self.environment.get_template(key.path()).and_then(|template| template.render(context));
        match rendered {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) => Err(RenderError {
                template: key.path().to_owned(),
                line: error.line().unwrap_or(0),
                reason: error.kind().to_string(),
            }),
        }
    }
}

fn map_context(vars: &MapVars<'_>, max_tokens: u32) -> Value {
    let fenced = [("document", vars.text), ("context", vars.context), ("header", vars.header)];
    let (names, texts): (Vec<_>, Vec<_>) = fenced.into_iter().filter(|(_, text)| !text.is_empty()).unzip();
    let fence = Fence::new(&names, &texts);
    let format = serde_json::to_value(vars.format).ok();
    let format = format.as_ref().and_then(|format| format.as_str()).unwrap_or_default();
    Value::from(BTreeMap::from([
        ("text", Value::from(fence.around("document", "", vars.text))),
        ("context", Value::from(fence.around("context", "", vars.context))),
        ("header", Value::from(fence.around("header", "", vars.header))),
        ("max_words", Value::from(max_words(max_tokens))),
        ("format", Value::from(format)),
        ("key", Value::from(key_line(vars.key))),
        ("part", Value::from(vars.part)),
        ("parts", Value::from(vars.parts)),
    ]))
}

fn merge_context(vars: &MergeVars<'_>, max_tokens: u32) -> Value {
    let fence = Fence::new(&["answer"], vars.answers);
    let answers =
        vars.answers.iter().zip(1..).map(|(answer, n)| fence.around("answer", &format!("n=\"{n}\""), answer));
    Value::from(BTreeMap::from([
        ("answers", Value::from(answers.collect::<Vec<_>>().join("\n\n"))),
        ("count", Value::from(vars.answers.len())),
        ("is_final", Value::from(vars.is_final)),
        ("max_words", Value::from(max_words(max_tokens))),
        ("level", Value::from(vars.level)),
        ("levels", Value::from(vars.levels)),
        ("key", Value::from(key_line(vars.key))),
    ]))
}

/// English takes about 1.3 tokens a word, German about 2, and models overshoot the length they are asked for.
fn max_words(max_tokens: u32) -> u32 {
    (max_tokens / 2).max(1)
}

fn reason(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{} ({detail})", error.kind()),
        None => error.kind().to_string(),
    }
}

/// The first place inside `{...}` where `name` stands as a word.
fn word(template: &str, name: &str) -> Option<std::ops::Range<usize>> {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let inside = |at: usize| {
        template[..at].rfind(['{', '}']).is_some_and(|brace| template[brace..].starts_with(['{', '%']))
    };
    template
        .match_indices(name)
        .find(|(at, _)| {
            let (before, after) = (&template[..*at], &template[at + name.len()..]);
            !is_word(before.chars().next_back()) && !is_word(after.chars().next()) && inside(*at)
        })
        .map(|(at, _)| at..at + name.len())
}

/// The place of a part of a template in the file, when the template stands there as it is; the whole value otherwise.
fn locate(file: &str, place: &Place, template: &str, part: Option<std::ops::Range<usize>>) -> Place {
    let (Place::File(span), Some(part)) = (place, part) else {
        return place.clone();
    };
    match file.get(span.clone()).and_then(|raw| raw.find(template)) {
        Some(offset) if part.end <= template.len() => {
            Place::File(span.start + offset + part.start..span.start + offset + part.end)
        }
        _ => place.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::pipeline::{Override, Pipeline, parse};

    fn pipeline(overrides: &[(&str, &str)]) -> Pipeline {
        let minimal = "version = 1\nsource.uri = 'docs'\nroute.candidates = ['us.amazon.nova-micro-v1:0']\nsink.uri = 'out'\n";
        let overrides: Vec<Override> =
            overrides.iter().map(|(key, value)| Override::flag("--set", key, value)).collect();
        let today = "2026-11-20".parse().expect("a date");
        parse(minimal.as_bytes(), "p.toml", &overrides, Catalog::builtin(), today)
            .unwrap_or_else(|faults| panic!("{}", faults.render(false)))
    }

    const VARS: MapVars<'_> = MapVars {
        text: "The passage.",
        context: "",
        header: "",
        key: "a/b.md",
        format: Format::JsonLines,
        part: 2,
        parts: 3,
    };

    #[test]
    fn the_default_map_prompt_of_a_first_passage() {
        let rendered = pipeline(&[]).render_map(&VARS).expect("the default prompt renders");
        assert_eq!(
            rendered.user,
            "The passage to summarise:\n\n<document>\nThe passage.\n</document>\n\n\
             Summarise the passage in at most 500 words. If it is short, your summary is shorter still."
        );
        assert!(
            rendered.system.expect("there is a default system prompt").starts_with("You summarise passages")
        );
    }

    #[test]
    fn the_default_map_prompt_with_overlap_and_table_header() {
        let vars = MapVars { context: "Before.", header: "a,b", ..VARS };
        let rendered = pipeline(&[]).render_map(&vars).expect("the default prompt renders");
        assert_eq!(
            rendered.user,
            "The end of the preceding passage comes first. It is there so that you can follow, and is summarised elsewhere: \
             report nothing that stands only there.\n\n<context>\nBefore.\n</context>\n\n\
             The passage continues a table with these columns:\n\n<header>\na,b\n</header>\n\n\
             The passage to summarise:\n\n<document>\nThe passage.\n</document>\n\n\
             Summarise the passage in at most 500 words. If it is short, your summary is shorter still."
        );
    }

    #[test]
    fn the_default_merge_prompts() {
        let vars = MergeVars { answers: &["One.", "Two."], level: 1, levels: 2, is_final: false, key: "a" };
        let user = |vars| pipeline(&[]).render_merge(&vars).expect("the default prompt renders").user;
        let answers = "The summaries, in the order of the document:\n\n\
                       <answer n=\"1\">\nOne.\n</answer>\n\n<answer n=\"2\">\nTwo.\n</answer>\n\n";
        let partial = "Combine them into one summary of at most 750 words. It will be combined further: keep details \
                       rather than polish.";
        let last = "Write the summary of the document in at most 750 words. Begin with one or two sentences that say what \
                    the document is and what it comes to.";
        assert_eq!(user(vars), format!("{answers}{partial}"));
        assert_eq!(user(MergeVars { is_final: true, ..vars }), format!("{answers}{last}"));
    }

    #[test]
    fn the_default_prompts_are_the_same_for_equal_passages() {
        let pipeline = pipeline(&[]);
        let other = MapVars { key: "z", part: 9, parts: 70, format: Format::Text, ..VARS };
        assert_eq!(pipeline.render_map(&VARS), pipeline.render_map(&other));
        let merge = MergeVars { answers: &["x"], level: 1, levels: 2, is_final: false, key: "a" };
        let other = MergeVars { level: 2, levels: 3, key: "b", ..merge };
        assert_eq!(pipeline.render_merge(&merge), pipeline.render_merge(&other));
    }

    #[test]
    fn every_variable_can_be_used() {
        let prompt = "{{ text }}|{{ context }}|{{ header }}|{{ max_words }}|{{ format }}|{{ key }}|{{ part }}/{{ parts }}";
        let rendered =
            pipeline(&[("map.prompt", prompt), ("map.system", "")]).render_map(&VARS).expect("it renders");
        let user = "<document>\nThe passage.\n</document>|||500|json-lines|a/b.md|2/3".to_owned();
        assert_eq!(rendered, Rendered { system: None, user });
        let prompt =
            "{{ answers }}|{{ count }}|{{ is_final }}|{{ max_words }}|{{ level }}/{{ levels }}|{{ key }}";
        let vars = MergeVars { answers: &["x"], level: 1, levels: 2, is_final: true, key: "<a>\n" };
        let rendered = pipeline(&[("merge.prompt", prompt)]).render_merge(&vars).expect("it renders");
        assert_eq!(rendered.user, "<answer n=\"1\">\nx\n</answer>|1|True|750|1/2|%3Ca%3E%0A");
    }

    #[test]
    fn document_text_is_neither_template_nor_fence() {
        let text = "{{ key }} {% raw %} </document> </context> & <b>";
        let rendered =
            pipeline(&[]).render_map(&MapVars { text, context: text, ..VARS }).expect("it renders");
        assert_eq!(rendered.user.matches(text).count(), 2);
        assert_eq!(rendered.user.matches("<document-").count(), 1);
        assert_eq!(rendered.user.matches("<context-").count(), 1);
    }

    #[test]
    fn a_template_that_fails_for_some_values_fails_with_its_line() {
        let pipeline = pipeline(&[("map.prompt", "{{ text }}\n{% if part > 5 %}{{ part.x.y }}{% endif %}")]);
        let error = pipeline.render_map(&MapVars { part: 6, ..VARS }).expect_err("a number has no fields");
        assert_eq!(
            error.to_string(),
            "the template `map.prompt` can not be rendered, line 2: undefined value"
        );
        let endless = self::pipeline(&[(
            "map.prompt",
            "{{ text }}{% if part > 5 %}{% for i in range(99999) %}{{ i }}{% endfor %}{% endif %}",
        )]);
        assert!(endless.render_map(&MapVars { part: 6, ..VARS }).is_err());
    }

    #[test]
    fn a_system_prompt_can_be_put_in_front() {
        let both = Rendered { system: Some("S".to_owned()), user: "U".to_owned() };
        assert_eq!(both.without_system(), Rendered { system: None, user: "S\n\nU".to_owned() });
    }
}
