//! From checked values to the sections of a `Pipeline`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::Pipeline;
use super::convert::Value;
use super::diagnostic::Diagnostics;
use super::keys::Meaning;
use super::location::Location;
use super::prompt::Prompts;
use super::reader::Located;
use super::settings::{
    Candidate, Chunking, Escalation, Extract, Limits, Map, Merge, Pattern, Route, Rule, Sink, Source,
};
use crate::domain::Usd;
use crate::sink::OutputFormat;

/// The models that a pipeline names, looked up.
#[derive(Default)]
pub(super) struct Models {
    pub candidates: Vec<Candidate>,
    pub fallback: Vec<Candidate>,
    pub rules: Vec<Rule>,
    pub escalate: Option<Escalation>,
}

/// Puts the pipeline together; every key that is needed has a value of its kind.
pub(super) fn assemble(
    values: &BTreeMap<&'static str, Located>,
    prompts: Prompts,
    path: &str,
    models: Models,
    warnings: Diagnostics,
) -> Pipeline {
    let optional = |path: &str| values.get(path).map(|located| located.value.clone());
    let take = |path: &str| optional(path).expect("a checked pipeline is complete");
    let file_stem = Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    Pipeline {
        name: optional("name").map(text).or(file_stem).unwrap_or_default(),
        source: Source {
            location: location(take("source.uri")),
            include: patterns(take("source.include")),
            exclude: patterns(take("source.exclude")),
            formats: match take("source.formats") {
                Value::Formats(formats) => formats,
                other => unexpected(&other),
            },
            max_object_bytes: number(take("source.max_object_bytes")),
            members: match take("source.members") {
                Value::Meaning(Meaning::Members(members)) => members,
                other => unexpected(&other),
            },
            records: match take("source.records") {
                Value::Meaning(Meaning::Members(records)) => records,
                other => unexpected(&other),
            },
        },
        extract: Extract {
            vision: match take("extract.vision") {
                Value::Meaning(Meaning::Vision(vision)) => vision,
                other => unexpected(&other),
            },
            passwords: match optional("extract.passwords") {
                Some(Value::Passwords(passwords)) => passwords,
                Some(other) => unexpected(&other),
                None => Vec::new(),
            },
            json_fields: optional("extract.json_fields").map(strings).unwrap_or_default(),
        },
        chunk: Chunking {
            tokens: small(take("chunk.tokens")),
            overlap: small(take("chunk.overlap")),
            boundary: match take("chunk.boundary") {
                Value::Meaning(Meaning::Boundary(boundary)) => boundary,
                other => unexpected(&other),
            },
            encoding: match take("chunk.encoding") {
                Value::Meaning(Meaning::Encoding(encoding)) => encoding,
                other => unexpected(&other),
            },
        },
        route: route(values, models),
        map: Map {
            task: match take("map.task") {
                Value::Meaning(Meaning::Task(task)) => task,
                other => unexpected(&other),
            },
            system: text(take("map.system")),
            prompt: text(take("map.prompt")),
            max_tokens: small(take("map.max_tokens")),
            temperature_milli: optional("map.temperature").map(small),
            top_p_milli: optional("map.top_p").map(small),
            stop: optional("map.stop").map(strings).unwrap_or_default(),
        },
        merge: Merge {
            strategy: match take("merge.strategy") {
                Value::Meaning(Meaning::Strategy(strategy)) => strategy,
                other => unexpected(&other),
            },
            system: text(take("merge.system")),
            prompt: text(take("merge.prompt")),
            max_tokens: small(take("merge.max_tokens")),
            temperature_milli: optional("merge.temperature").map(small),
            top_p_milli: optional("merge.top_p").map(small),
            stop: optional("merge.stop").map(strings).unwrap_or_default(),
            max_fan_in: small(take("merge.max_fan_in")),
        },
        limits: Limits {
            max_cost: optional("limits.max_cost_usd").map(money),
            deadline: optional("limits.deadline").map(duration),
            max_in_flight: small(take("limits.max_in_flight")),
            max_documents_in_flight: small(take("limits.max_documents_in_flight")),
            max_attempts: small(take("limits.max_attempts")),
            max_cost_per_document: optional("limits.max_cost_per_document_usd").map(money),
            max_retries: optional("limits.max_retries").map(number),
            cut_answers: match take("limits.cut_answers") {
                Value::Meaning(Meaning::CutAnswers(rule)) => rule,
                other => unexpected(&other),
            },
            call_timeout: duration(take("limits.call_timeout")),
            idle_timeout: duration(take("limits.idle_timeout")),
            grace: duration(take("limits.grace")),
            max_runs_per_document: small(take("limits.max_runs_per_document")),
            quotas: match optional("limits.quotas") {
                Some(Value::Quotas(quotas)) => quotas.into_iter().map(|(id, _, quota)| (id, quota)).collect(),
                Some(other) => unexpected(&other),
                None => BTreeMap::new(),
            },
            quota_headroom_percent: small(take("limits.quota_headroom_percent")),
        },
        sink: Sink { location: location(take("sink.uri")), formats: sink_formats(take("sink.formats")) },
        prompts,
        warnings,
    }
}

fn route(values: &BTreeMap<&'static str, Located>, models: Models) -> Route {
    let optional = |path: &str| values.get(path).map(|located| located.value.clone());
    let take = |path: &str| optional(path).expect("a checked pipeline is complete");
    Route {
        candidates: models.candidates,
        rules: models.rules,
        fallback: models.fallback,
        escalate: models.escalate,
        api: match take("route.api") {
            Value::Meaning(Meaning::Api(api)) => api,
            other => unexpected(&other),
        },
        thinking: match take("route.thinking") {
            Value::Thinking(thinking) => thinking,
            other => unexpected(&other),
        },
        caching: match take("route.caching") {
            Value::Meaning(Meaning::Caching(caching)) => caching,
            other => unexpected(&other),
        },
        tier: match take("route.tier") {
            Value::Meaning(Meaning::Tier(tier)) => tier,
            other => unexpected(&other),
        },
        guardrail: optional("route.guardrail").map(|value| match value {
            Value::Guardrail(guardrail) => guardrail,
            other => unexpected(&other),
        }),
        metadata: match optional("route.metadata") {
            Some(Value::Metadata(metadata)) => metadata,
            Some(other) => unexpected(&other),
            None => BTreeMap::new(),
        },
    }
}

// The reader gives each key a value of the kind in the table; a test builds a pipeline from all of them.

fn unexpected(value: &Value) -> ! {
    unreachable!("a key has a value of another kind than the table says: {value:?}")
}

fn number(value: Value) -> u64 {
    match value {
        Value::Number(number) => number,
        other => unexpected(&other),
    }
}

fn small(value: Value) -> u32 {
    u32::try_from(number(value)).expect("the table bounds counts below 2^32")
}

fn text(value: Value) -> String {
    match value {
        Value::Text(text) => text,
        other => unexpected(&other),
    }
}

fn strings(value: Value) -> Vec<String> {
    match value {
        Value::Strings(strings) => strings,
        other => unexpected(&other),
    }
}

fn location(value: Value) -> Location {
    match value {
        Value::Location(location) => location,
        other => unexpected(&other),
    }
}

fn patterns(value: Value) -> Vec<Pattern> {
    match value {
        Value::Patterns(patterns) => patterns,
        other => unexpected(&other),
    }
}

fn money(value: Value) -> Usd {
    match value {
        Value::Money(amount) => amount,
        other => unexpected(&other),
    }
}

fn duration(value: Value) -> Duration {
    match value {
        Value::Duration(duration) => duration,
        other => unexpected(&other),
    }
}

fn sink_formats(value: Value) -> Vec<OutputFormat> {
    let Value::Meanings(meanings) = value else { unexpected(&value) };
    let format = |meaning| match meaning {
        Meaning::SinkFormat(format) => format,
        other => unexpected(&Value::Meaning(other)),
    };
    meanings.into_iter().map(format).collect()
}
