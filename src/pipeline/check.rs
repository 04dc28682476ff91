//! What the values mean together: combinations that can not work, models that can not be called, prompts that see no
//! document. A check whose values are missing or bad is left out: their own faults are reported already.

use std::sync::LazyLock;

use toml::de::DeTable;

use super::assemble::assemble;
use super::capacity::CallNeed;
use super::convert::Value;
use super::diagnostic::{Code, Diagnostic, Diagnostics, Place, Severity, quoted};
use super::keys::{KEYS, Meaning, Need};
use super::prompt::{PromptKey, Prompts};
use super::reader::{self, Located, Reading};
use super::routing::Lists;
use super::settings::{Candidate, MergeStrategy};
use super::{DEFAULTS, Pipeline, Setting};
use crate::catalog::{Sampling, Thinking, nearest};
use crate::domain::{Stage, ThinkingRequest};

/// An answer's limit below this leaves a model that reasons before it answers little to answer with.
const THINKING_ROOM_TOKENS: u64 = 4_000;

static DEFAULT_VALUES: LazyLock<Reading> = LazyLock::new(|| {
    let document = DeTable::parse(DEFAULTS).expect("defaults.toml is read by a test");
    reader::read(document.get_ref(), &[])
});

/// Checks what was read and makes the pipeline.
pub(super) fn build(
    reading: Reading,
    text: &str,
    path: &str,
    setting: &Setting<'_>,
) -> Result<Pipeline, Diagnostics> {
    let mut checker = Checker { reading, text, found: Vec::new(), prompts: Prompts::new() };
    checker.fill_in();
    checker.chunk();
    checker.places();
    checker.prompts();
    let stated = checker.with_prices(setting.catalog);
    let catalog = stated.as_ref().unwrap_or(setting.catalog);
    let lists = checker.lists(catalog, setting.today, setting.region);
    checker.capacity(&lists);
    checker.thinking(&lists);
    checker.sampling(&lists);
    checker.quotas(&lists);
    let mut found = std::mem::take(&mut checker.reading.diagnostics);
    found.append(&mut checker.found);
    let (errors, warnings): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|found| found.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(Diagnostics::new(path, text, errors.into_iter().chain(warnings).collect()));
    }
    let warnings = Diagnostics::new(path, text, warnings);
    let tier = match checker.value("route.tier") {
        Some(Value::Meaning(Meaning::Tier(tier))) => *tier,
        _ => None,
    };
    Ok(assemble(&checker.reading.values, checker.prompts, path, lists.into_models(text, tier), warnings))
}

pub(super) struct Checker<'a> {
    reading: Reading,
    text: &'a str,
    pub(super) found: Vec<Diagnostic>,
    prompts: Prompts,
}

impl Checker<'_> {
    /// Puts defaults where nothing was given; blames required keys that are missing.
    fn fill_in(&mut self) {
        for key in KEYS {
            if self.reading.values.contains_key(key.path) || self.reading.bad.contains(key.path) {
                continue;
            }
            match key.need {
                Need::Optional => {}
                Need::Defaulted => {
                    let default =
                        DEFAULT_VALUES.values.get(key.path).expect("defaults.toml is complete, says a test");
                    let located = Located { value: default.value.clone(), place: Place::Nowhere };
                    self.reading.values.insert(key.path, located);
                }
                Need::Required => self.missing(key.path),
            }
        }
    }

    fn missing(&mut self, path: &'static str) {
        let section = path.split_once('.').map(|(section, _)| section);
        let place =
            section.and_then(|section| self.reading.sections.get(section)).cloned().unwrap_or(Place::Nowhere);
        let hint = match path {
            "version" => "write `version = 1` as the first line".to_owned(),
            "source.uri" => {
                "write `uri = \"s3://BUCKET/PREFIX/\"` below `[source]`, or give `--source URI`".to_owned()
            }
            "sink.uri" => {
                "write `uri = \"s3://BUCKET/PREFIX/\"` below `[sink]`, or give `--sink URI`".to_owned()
            }
            _ => "write `candidates = [\"us.amazon.nova-lite-v1:0\"]` below `[route]`".to_owned(),
        };
        self.found
            .push(Diagnostic::new(Code::MissingKey, path, &place, format!("`{path}` is missing")).hint(hint));
    }

    pub(super) fn get(&self, path: &str) -> Option<&Located> {
        self.reading.values.get(path)
    }

    pub(super) fn value(&self, path: &str) -> Option<&Value> {
        self.get(path).map(|located| &located.value)
    }

    pub(super) fn number(&self, path: &str) -> Option<(u64, Place)> {
        match self.get(path) {
            Some(Located { value: Value::Number(number), place }) => Some((*number, place.clone())),
            _ => None,
        }
    }

    fn text(&self, path: &str) -> Option<(&str, &Place)> {
        match self.get(path) {
            Some(Located { value: Value::Text(text), place }) => Some((text, place)),
            _ => None,
        }
    }

    fn chunk(&mut self) {
        let (Some((tokens, tokens_at)), Some((overlap, overlap_at))) =
            (self.number("chunk.tokens"), self.number("chunk.overlap"))
        else {
            return;
        };
        if overlap < tokens {
            return;
        }
        let message = format!("`chunk.overlap` ({overlap}) must be less than `chunk.tokens` ({tokens})");
        // The default of the one can be too much for what was typed for the other.
        let place = if overlap_at == Place::Nowhere { &tokens_at } else { &overlap_at };
        let mut fault = Diagnostic::new(Code::Overlap, "chunk.overlap", place, message)
            .hint(format!("an overlap of a tenth or less is usual: {}", tokens / 16));
        fault = if overlap_at == Place::Nowhere {
            fault.label(format!("`chunk.overlap` is not given and defaults to {overlap}"))
        } else {
            fault.label("every chunk would only repeat the one before").related(&tokens_at, "the whole chunk")
        };
        self.found.push(fault);
    }

    fn places(&mut self) {
        let location = |path| match self.get(path) {
            Some(Located { value: Value::Location(location), place }) => Some((location, place)),
            _ => None,
        };
        let (Some((source, source_at)), Some((sink, sink_at))) =
            (location("source.uri"), location("sink.uri"))
        else {
            return;
        };
        if source.is_same_place(sink) {
            let fault = Diagnostic::new(
                Code::SinkIsSource,
                "sink.uri",
                sink_at,
                "`sink.uri` is the same place as `source.uri`",
            )
            .label("results would be read as documents by the next run")
            .related(source_at, "the source")
            .hint("write the results to a prefix or folder of their own");
            self.found.push(fault);
        }
    }

    fn prompts(&mut self) {
        for key in
            [PromptKey::MapSystem, PromptKey::MapPrompt, PromptKey::MergeSystem, PromptKey::MergePrompt]
        {
            let Some((template, place)) = self.text(key.path()) else { continue };
            let (template, place) = (template.to_owned(), place.clone());
            let faults = self.prompts.add(key, &template, &place, self.text);
            self.found.extend(faults);
        }
    }

    /// A quota for a model that is never called is a misspelt id, mostly.
    fn quotas(&mut self, lists: &Lists) {
        let Some(Value::Quotas(quotas)) = self.value("limits.quotas") else { return };
        let known: Vec<&str> = lists.all().into_iter().map(|(_, model, _)| model.id.as_str()).collect();
        let unknown = quotas.iter().filter(|(id, ..)| !known.contains(&id.as_str()));
        let faults: Vec<Diagnostic> = unknown
            .map(|(id, place, _)| {
                let message = format!("{} is called by no part of `[route]`", quoted(id));
                let hint = match nearest(id, known.iter().copied(), 1)[..] {
                    [meant] => format!("did you mean \"{meant}\"?"),
                    _ => format!("known: {}", known.join(", ")),
                };
                Diagnostic::new(Code::UnknownName, "limits.quotas", place, message).hint(hint)
            })
            .collect();
        self.found.extend(faults);
    }

    pub(super) fn map_need(&self) -> Option<CallNeed> {
        let (tokens, input_at) = self.number("chunk.tokens")?;
        let (output, output_at) = self.number("map.max_tokens")?;
        Some(CallNeed {
            stage: Stage::Map,
            chunk: tokens,
            answers: 0,
            prompt: self.prompt_tokens(PromptKey::MapSystem)? + self.prompt_tokens(PromptKey::MapPrompt)?,
            output,
            input: ("chunk.tokens", input_at),
            output_from: ("map.max_tokens", output_at),
            models: "route.candidates",
        })
    }

    /// A merge call must hold two answers at least, or no tree ends.
    pub(super) fn merge_need(&self) -> Option<CallNeed> {
        if !matches!(
            self.get("merge.strategy")?.value,
            Value::Meaning(Meaning::Strategy(MergeStrategy::Tree))
        ) {
            return None;
        }
        let (map_output, map_at) = self.number("map.max_tokens")?;
        let (output, output_at) = self.number("merge.max_tokens")?;
        let input = if map_output > output {
            ("map.max_tokens", map_at)
        } else {
            ("merge.max_tokens", output_at.clone())
        };
        Some(CallNeed {
            stage: Stage::Merge,
            chunk: 0,
            answers: 2 * map_output.max(output),
            prompt: self.prompt_tokens(PromptKey::MergeSystem)?
                + self.prompt_tokens(PromptKey::MergePrompt)?,
            output,
            input,
            output_from: ("merge.max_tokens", output_at),
            models: "route.candidates",
        })
    }

    /// A prompt's own size, from its bytes: three a token is less than any vocabulary needs for English.
    fn prompt_tokens(&self, key: PromptKey) -> Option<u64> {
        self.text(key.path()).map(|(template, _)| (template.len() as u64).div_ceil(3))
    }

    fn thinking(&mut self, lists: &Lists) {
        let request = match self.get("route.thinking") {
            Some(Located { value: Value::Thinking(request), place }) => (*request, place.clone()),
            _ => return,
        };
        let limits = ["map.max_tokens", "merge.max_tokens"]
            .map(|key| self.number(key).map(|(tokens, _)| (key, tokens)));
        let limits: Vec<(&str, u64)> = limits.into_iter().flatten().collect();
        match request {
            (ThinkingRequest::Budget(budget), place) => {
                self.thinking_budget(u64::from(budget), &place, &limits)
            }
            (ThinkingRequest::Off, place) => {
                let always = |thinking| thinking == Thinking::Always;
                for (path, candidate, at) in
                    lists.all().into_iter().filter(|(_, c, _)| always(c.model.thinking))
                {
                    let message = format!("{} reasons whatever it is told", quoted(&candidate.id));
                    let fault = Diagnostic::new(Code::Thinking, path, at, message).warning();
                    self.found.push(fault.related(&place, "has no effect on it"));
                }
                self.thinking_room(lists, &limits, always);
            }
            (ThinkingRequest::AsIs, _) => {
                self.thinking_room(lists, &limits, |thinking| thinking != Thinking::OnRequest);
            }
        }
    }

    /// What a model reasons comes off the answer's limit.
    fn thinking_budget(&mut self, budget: u64, place: &Place, limits: &[(&str, u64)]) {
        for (key, tokens) in limits.iter().filter(|(_, tokens)| budget >= *tokens) {
            let message = format!("`route.thinking` ({budget}) leaves no room for an answer");
            let fault = Diagnostic::new(Code::ThinkingRoom, "route.thinking", place, message);
            self.found
                .push(fault.hint(format!("`{key}` ({tokens}) must hold both: raise it, or think less")));
        }
    }

    fn thinking_room(&mut self, lists: &Lists, limits: &[(&str, u64)], reasons: impl Fn(Thinking) -> bool) {
        let low: Vec<String> = limits
            .iter()
            .filter(|(_, tokens)| *tokens < THINKING_ROOM_TOKENS)
            .map(|(key, tokens)| format!("`{key}` ({tokens})"))
            .collect();
        if low.is_empty() {
            return;
        }
        for (path, candidate, place) in lists.all().into_iter().filter(|(_, c, _)| reasons(c.model.thinking))
        {
            let message = format!(
                "{} reasons before it answers, and what it reasons counts as answer",
                quoted(&candidate.id)
            );
            let fault = Diagnostic::new(Code::Thinking, path, place, message).warning();
            self.found.push(fault.hint(format!(
                "answers may be cut: {} should be {THINKING_ROOM_TOKENS} or more",
                low.join(" and ")
            )));
        }
    }

    fn sampling(&mut self, lists: &Lists) {
        for key in ["map.temperature", "map.top_p", "merge.temperature", "merge.top_p"] {
            let Some((_, at)) = self.number(key) else { continue };
            for (_, candidate, place) in lists.all().into_iter().filter(|(_, c, _)| !c.model.sampling) {
                let message = format!("{} refuses `{key}`", quoted(&candidate.id));
                let fault = Diagnostic::new(Code::Sampling, key, &at, message)
                    .label("every call to this candidate would fail")
                    .related(place, "this candidate");
                self.found.push(fault.hint(format!("leave `{key}` out, or choose models that accept it")));
            }
        }
        for stage in ["map", "merge"] {
            let [temperature, top_p] = ["temperature", "top_p"].map(|name| format!("{stage}.{name}"));
            let (Some(_), Some((_, at))) = (self.number(&temperature), self.number(&top_p)) else { continue };
            let one = |candidate: &Candidate| candidate.model.features.sampling == Sampling::One;
            for (_, candidate, place) in lists.all().into_iter().filter(|(_, candidate, _)| one(candidate)) {
                let message =
                    format!("{} takes `{temperature}` or `{top_p}`, not both", quoted(&candidate.id));
                let fault =
                    Diagnostic::new(Code::Sampling, &top_p, &at, message).related(place, "this candidate");
                self.found.push(fault.hint(format!("leave `{top_p}` out")));
            }
        }
    }
}
