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
use super::settings::{Candidate, MergeStrategy};
use super::{DEFAULTS, Pipeline};
use crate::catalog::{Catalog, CatalogError, Date, Kind, Model, Thinking, nearest};
use crate::domain::Stage;

/// Models that end within so many days are warned about.
const ENDS_SOON_DAYS: i64 = 60;

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
    catalog: &Catalog,
    today: Date,
) -> Result<Pipeline, Diagnostics> {
    let mut checker = Checker { reading, text, found: Vec::new(), prompts: Prompts::new() };
    checker.fill_in();
    checker.chunk();
    checker.places();
    checker.prompts();
    let stated = checker.with_prices(catalog);
    let catalog = stated.as_ref().unwrap_or(catalog);
    let candidates = checker.models("route.candidates", catalog, today);
    let fallback = checker.models("route.fallback", catalog, today);
    checker.capacity(&candidates);
    checker.thinking(&candidates);
    for models in [&candidates, &fallback] {
        checker.sampling(models);
    }
    checker.quotas(&candidates, &fallback);
    let mut found = std::mem::take(&mut checker.reading.diagnostics);
    found.append(&mut checker.found);
    let (errors, warnings): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|found| found.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(Diagnostics::new(path, text, errors.into_iter().chain(warnings).collect()));
    }
    let [candidates, fallback] =
        [candidates, fallback].map(|models| models.into_iter().map(|(candidate, _)| candidate).collect());
    let warnings = Diagnostics::new(path, text, warnings);
    Ok(assemble(&checker.reading.values, checker.prompts, path, candidates, fallback, warnings))
}

struct Checker<'a> {
    reading: Reading,
    text: &'a str,
    found: Vec<Diagnostic>,
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

    fn get(&self, path: &str) -> Option<&Located> {
        self.reading.values.get(path)
    }

    fn number(&self, path: &str) -> Option<(u64, Place)> {
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

    /// The catalogue with the prices that the pipeline states, if it does.
    fn with_prices(&mut self, catalog: &Catalog) -> Option<Catalog> {
        let Some(Located { value: Value::Prices(prices), .. }) = self.get("route.prices") else {
            return None;
        };
        let mut stated = catalog.clone();
        let mut faults = Vec::new();
        for (id, place, [input, output]) in prices {
            if !stated.set_price(id, *input, *output) {
                let message = format!("unknown model {}", quoted(id));
                faults.push(Diagnostic::new(Code::UnknownModel, "route.prices", place, message));
            }
        }
        self.found.extend(faults);
        Some(stated)
    }

    /// The models of the key `path` that the catalogue knows, with their places.
    fn models(&mut self, path: &'static str, catalog: &Catalog, today: Date) -> Vec<(Candidate, Place)> {
        let Some(Located { value: Value::Models(ids), .. }) = self.get(path) else {
            return Vec::new();
        };
        let mut candidates = Vec::new();
        for (id, place) in ids.clone() {
            match catalog.find(&id, today) {
                Ok(model) if model.kind == Kind::Chat => {
                    self.found.extend(ends_soon(catalog, model, (path, &id), &place, today));
                    candidates.push((Candidate { id, model: model.clone() }, place));
                }
                Ok(_) => {
                    let message = format!("{} makes embeddings and can not answer a prompt", quoted(&id));
                    self.found.push(Diagnostic::new(Code::NotAChatModel, path, &place, message));
                }
                Err(error) => self.found.push(model_fault(path, &error, &place)),
            }
        }
        candidates
    }

    /// A quota for a model that is never called is a misspelt id, mostly.
    fn quotas(&mut self, candidates: &[(Candidate, Place)], fallback: &[(Candidate, Place)]) {
        let Some(Located { value: Value::Quotas(quotas), .. }) = self.get("limits.quotas") else { return };
        let known: Vec<&str> =
            candidates.iter().chain(fallback).map(|(model, _)| model.id.as_str()).collect();
        let unknown = quotas.iter().filter(|(id, ..)| !known.contains(&id.as_str()));
        let faults: Vec<Diagnostic> = unknown
            .map(|(id, place, _)| {
                let message = format!("{} is neither a candidate nor a fallback", quoted(id));
                let hint = match nearest(id, known.iter().copied(), 1)[..] {
                    [meant] => format!("did you mean \"{meant}\"?"),
                    _ => format!("known: {}", known.join(", ")),
                };
                Diagnostic::new(Code::UnknownName, "limits.quotas", place, message).hint(hint)
            })
            .collect();
        self.found.extend(faults);
    }

    /// Whether chunks and answers fit the candidates.
    fn capacity(&mut self, candidates: &[(Candidate, Place)]) {
        for need in [self.map_need(), self.merge_need()].into_iter().flatten() {
            self.found.extend(need.faults(candidates));
        }
    }

    fn map_need(&self) -> Option<CallNeed> {
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
        })
    }

    /// A merge call must hold two answers at least, or no tree ends.
    fn merge_need(&self) -> Option<CallNeed> {
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
        })
    }

    /// A prompt's own size, from its bytes: three a token is less than any vocabulary needs for English.
    fn prompt_tokens(&self, key: PromptKey) -> Option<u64> {
        self.text(key.path()).map(|(template, _)| (template.len() as u64).div_ceil(3))
    }

    fn thinking(&mut self, candidates: &[(Candidate, Place)]) {
        let limits = ["map.max_tokens", "merge.max_tokens"]
            .map(|key| self.number(key).map(|(tokens, _)| (key, tokens)));
        let low: Vec<String> = limits
            .into_iter()
            .flatten()
            .filter(|(_, tokens)| *tokens < THINKING_ROOM_TOKENS)
            .map(|(key, tokens)| format!("`{key}` ({tokens})"))
            .collect();
        if low.is_empty() {
            return;
        }
        for (candidate, place) in
            candidates.iter().filter(|(candidate, _)| candidate.model.thinking != Thinking::OnRequest)
        {
            let message = format!(
                "{} reasons before it answers, and what it reasons counts as answer",
                quoted(&candidate.id)
            );
            let fault = Diagnostic::new(Code::Thinking, "route.candidates", place, message).warning();
            self.found.push(fault.hint(format!(
                "answers may be cut: {} should be {THINKING_ROOM_TOKENS} or more",
                low.join(" and ")
            )));
        }
    }

    fn sampling(&mut self, candidates: &[(Candidate, Place)]) {
        for key in ["map.temperature", "merge.temperature"] {
            let Some((_, at)) = self.number(key) else { continue };
            for (candidate, place) in candidates.iter().filter(|(candidate, _)| !candidate.model.sampling) {
                let message = format!("{} refuses `{key}`", quoted(&candidate.id));
                let fault = Diagnostic::new(Code::Sampling, key, &at, message)
                    .label("every call to this candidate would fail")
                    .related(place, "this candidate");
                self.found.push(fault.hint(format!("leave `{key}` out, or choose models that accept it")));
            }
        }
    }
}

fn ends_soon(
    catalog: &Catalog,
    model: &Model,
    (path, id): (&str, &str),
    place: &Place,
    today: Date,
) -> Option<Diagnostic> {
    let on = model.end_of_life.filter(|on| on.days_after(today) <= ENDS_SOON_DAYS)?;
    let message = format!("{} reaches its end of life on {on}", quoted(id));
    let fault = Diagnostic::new(Code::ModelEndsSoon, path, place, message).warning();
    Some(fault.hints(catalog.successor(model, today).map(|successor| format!("use `{successor}` instead"))))
}

fn model_fault(path: &str, error: &CatalogError, place: &Place) -> Diagnostic {
    let code = match error {
        CatalogError::Unknown { .. } => Code::UnknownModel,
        CatalogError::EndOfLife { .. } => Code::DeadModel,
        CatalogError::ProfileOnly { .. } => Code::ProfileOnly,
        CatalogError::Unpriced { .. } => Code::UnpricedModel,
        CatalogError::OpaqueArn { .. } | CatalogError::NotAModelArn { .. } => Code::OpaqueArn,
    };
    Diagnostic::new(code, path, place, error.to_string()).hints(error.hint())
}
