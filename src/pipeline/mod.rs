//! The pipeline file, from what was typed to a `Pipeline` that can not be invalid, and the prompts that it holds.
//!
//! The road: `reader` walks the TOML along the table in `keys` and converts each value; `check` looks at what the
//! values mean together and with the catalogue; only then a `Pipeline` comes to be. Every fault on the way becomes a
//! `Diagnostic` and does not stop the others from being found. Defaults and documentation of the keys have one place,
//! `defaults.toml`, which is also what `docmill init` writes.

mod assemble;
mod capacity;
mod check;
mod convert;
mod diagnostic;
mod fence;
mod fingerprint;
mod keys;
mod languages;
mod location;
mod overrides;
mod prompt;
mod quantity;
mod reader;
mod residency;
mod routing;
mod rules;
mod schema;
mod secrets;
mod settings;

use serde_json::json;
use sha2::{Digest, Sha256};
use toml::de::DeTable;

pub use diagnostic::{Code, Diagnostic, Diagnostics, Record, Severity};
pub use languages::language_code;
pub use location::{Location, LocationError};
pub use overrides::{Override, OverrideError};
pub use prompt::{MapVars, MergeVars, RenderError, Rendered};
pub use schema::schema;
pub use settings::{
    AnswerFault, BoundaryRule, Caching, Candidate, Chunking, Conditions, CutAnswers, EncodingRule,
    Escalation, Extract, Limits, Map, Members, Merge, MergeStrategy, Password, Pattern, Route, Rule, Secret,
    Sink, Source, Task, TextKind, TokenRange, Vision,
};

use crate::catalog::{Catalog, Date};
use diagnostic::Place;
use prompt::Prompts;

/// Every key with its default, unit and meaning: documentation, template for new files, and the defaults themselves.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// A larger file is no pipeline but a mistake.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// A pipeline that can run: complete, its parts consistent with each other and with the catalogue.
#[derive(Clone, Debug)]
pub struct Pipeline {
    name: String,
    source: Source,
    extract: Extract,
    chunk: Chunking,
    route: Route,
    map: Map,
    merge: Merge,
    limits: Limits,
    sink: Sink,
    prompts: Prompts,
    warnings: Diagnostics,
}

/// What decides, outside of a pipeline file, whether it is valid.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    pub catalog: &'a Catalog,
    /// Decides which models have ended.
    pub today: Date,
    /// Where calls are sent to, if that is known.
    pub region: Option<&'a str>,
}

/// Reads a pipeline file: [`parse_in`] for a region that is not known.
pub fn parse(
    bytes: &[u8],
    path: &str,
    overrides: &[Override],
    catalog: &Catalog,
    today: Date,
) -> Result<Pipeline, Diagnostics> {
    parse_in(bytes, path, overrides, &Setting { catalog, today, region: None })
}

/// Reads a pipeline file.
///
/// `bytes` is the content of the file named `path`; `overrides` take the place of values in it. Either a pipeline, with
/// warnings, or all faults that could be found.
pub fn parse_in(
    bytes: &[u8],
    path: &str,
    overrides: &[Override],
    setting: &Setting<'_>,
) -> Result<Pipeline, Diagnostics> {
    let text = text_of(bytes).map_err(|fault| Diagnostics::new(path, "", vec![*fault]))?;
    let (document, errors) = DeTable::parse_recoverable(text);
    let shown = secrets::masked(text, document.get_ref(), errors.is_empty());
    if !errors.is_empty() {
        let faults = errors.iter().map(|error| syntax_fault(error, text)).collect();
        return Err(Diagnostics::new(path, &shown, faults));
    }
    let reading = reader::read(document.get_ref(), overrides);
    check::build(reading, &shown, path, setting)
}

/// The file that `route.catalog` names, for who reads it before [`parse_in`] looks models up. `None` as well where the
/// pipeline file is so faulty that its name can not be read: `parse_in` says why.
pub fn catalog_file(bytes: &[u8], overrides: &[Override]) -> Option<String> {
    let text = text_of(bytes).ok()?;
    let (document, _) = DeTable::parse_recoverable(text);
    let reading = reader::read(document.get_ref(), overrides);
    match &reading.values.get("route.catalog")?.value {
        convert::Value::Text(path) => Some(path.clone()),
        _ => None,
    }
}

/// The file as text, without a byte order mark.
fn text_of(bytes: &[u8]) -> Result<&str, Box<Diagnostic>> {
    let refuse = |code, message: &str, hint: &str| {
        Box::new(Diagnostic::new(code, "", &Place::Nowhere, message).hint(hint))
    };
    if bytes.len() > MAX_FILE_BYTES {
        let hint = "is this the right file? a pipeline has a few kilobytes";
        return Err(refuse(Code::TooLarge, "the file is larger than 1 MiB, too large for a pipeline", hint));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        refuse(Code::NotUtf8, &format!("the file is not UTF-8 text (line {line})"), "save it as UTF-8")
    })
}

fn syntax_fault(error: &toml::de::Error, text: &str) -> Diagnostic {
    let place = match error.span() {
        Some(span) if text.get(span.clone()).is_some() => Place::File(span),
        _ => Place::Nowhere,
    };
    Diagnostic::new(
        Code::Syntax,
        "",
        &place,
        format!("not TOML: {}", error.message().lines().next().unwrap_or_default()),
    )
}

impl Pipeline {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    pub fn extract(&self) -> &Extract {
        &self.extract
    }

    pub fn chunk(&self) -> &Chunking {
        &self.chunk
    }

    pub fn route(&self) -> &Route {
        &self.route
    }

    pub fn map(&self) -> &Map {
        &self.map
    }

    pub fn merge(&self) -> &Merge {
        &self.merge
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn sink(&self) -> &Sink {
        &self.sink
    }

    /// What is allowed but should be looked at.
    pub fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }

    /// The prompts of a map call. Equal variables make equal prompts.
    pub fn render_map(&self, vars: &MapVars<'_>) -> Result<Rendered, RenderError> {
        self.prompts.map(vars, self.map.max_tokens)
    }

    /// The prompts of a merge call. Equal variables make equal prompts.
    pub fn render_merge(&self, vars: &MergeVars<'_>) -> Result<Rendered, RenderError> {
        self.prompts.merge(vars, self.merge.max_tokens)
    }

    /// SHA-256, in hexadecimal, of everything that shapes the requests made for a given document: formats, chunking,
    /// candidates, task, prompts and merging. Places, limits and output forms are left out, so that moving a
    /// pipeline or giving it more time keeps its paid answers.
    pub fn fingerprint(&self) -> String {
        let formats: Vec<_> =
            self.source.formats.iter().map(|(pattern, format)| (pattern.as_str(), format)).collect();
        let candidates: Vec<&str> =
            self.route.candidates.iter().map(|candidate| candidate.id.as_str()).collect();
        let encoding = match self.chunk.encoding {
            EncodingRule::Auto => "auto",
            EncodingRule::Fixed(encoding) => encoding.name(),
        };
        // Arrays, so that the order is the one written here. The first item is the version of this list.
        let mut canonical = vec![
            json!(1),
            json!(formats),
            json!([self.chunk.tokens, self.chunk.overlap]),
            json!([json!(self.chunk.boundary), json!(encoding)]),
            json!(candidates),
            json!([json!(self.map.task), json!(self.map.system), json!(self.map.prompt)]),
            json!([json!(self.map.max_tokens), json!(self.map.temperature_milli)]),
            json!([json!(self.merge.strategy), json!(self.merge.system), json!(self.merge.prompt)]),
            json!([
                json!(self.merge.max_tokens),
                json!(self.merge.temperature_milli),
                json!(self.merge.max_fan_in)
            ]),
        ];
        canonical.extend(fingerprint::later_keys(self));
        let canonical = serde_json::Value::from(canonical);
        hex::encode(Sha256::digest(canonical.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Format, Usd};

    const MINIMAL: &str = r#"version = 1
source.uri = "s3://my-bucket/documents/"
route.candidates = ["us.amazon.nova-micro-v1:0", "us.amazon.nova-lite-v1:0"]
sink.uri = "s3://my-bucket/summaries/"
"#;

    fn today() -> Date {
        "2026-11-20".parse().expect("a date")
    }

    fn parse_with(text: &str, overrides: &[&str]) -> Result<Pipeline, Diagnostics> {
        let overrides: Vec<Override> =
            overrides.iter().map(|o| Override::set(o).expect("an override")).collect();
        parse(text.as_bytes(), "dir/nightly.toml", &overrides, Catalog::builtin(), today())
    }

    fn good(text: &str, overrides: &[&str]) -> Pipeline {
        parse_with(text, overrides).unwrap_or_else(|faults| panic!("{}", faults.render(false)))
    }

    /// Code and flag, or code and position, of each fault.
    fn faults(text: &str, overrides: &[&str]) -> Vec<String> {
        let diagnostics = parse_with(text, overrides).expect_err("the pipeline is bad");
        let place = |record: &Record<'_>| match (record.flag, record.line, record.column) {
            (Some(flag), ..) => flag.to_owned(),
            (_, Some(line), Some(column)) => format!("{line}:{column}"),
            _ => "nowhere".to_owned(),
        };
        diagnostics.records().iter().map(|record| format!("{} {}", record.code, place(record))).collect()
    }

    fn sections(pipeline: &Pipeline) -> String {
        let Pipeline {
            name: _,
            source,
            extract,
            chunk,
            route,
            map,
            merge,
            limits,
            sink,
            prompts: _,
            warnings: _,
        } = pipeline;
        format!(
            "{source:#?}\n{extract:#?}\n{chunk:#?}\n{route:#?}\n{map:#?}\n{merge:#?}\n{limits:#?}\n{sink:#?}"
        )
    }

    #[test]
    fn the_defaults_file_says_exactly_what_happens_without_it() {
        let (minimal, defaults) = (good(MINIMAL, &[]), good(DEFAULTS, &[]));
        assert_eq!(sections(&minimal), sections(&defaults));
        assert_eq!(minimal.fingerprint(), defaults.fingerprint());
        assert!(defaults.warnings().is_empty());
        assert_eq!(minimal.name(), "nightly");
    }

    #[test]
    fn every_key_stands_in_the_defaults_file_with_a_meaning() {
        for key in keys::KEYS {
            assert!(
                schema::description(key.path).len() > 10,
                "{} is not explained in defaults.toml",
                key.path
            );
        }
    }

    #[test]
    fn keys_without_a_default_can_be_switched_on_in_the_defaults_file() {
        let lines = DEFAULTS.lines().map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
            _ => line,
        });
        let pipeline = good(&lines.collect::<Vec<_>>().join("\n"), &[]);
        assert_eq!(pipeline.name(), "summarise");
        assert_eq!(
            (pipeline.map().temperature_milli, pipeline.merge().temperature_milli),
            (Some(200), Some(200))
        );
        let limits = pipeline.limits();
        assert_eq!(limits.max_cost, Some("25".parse::<Usd>().expect("an amount")));
        assert_eq!(limits.deadline.map(|deadline| deadline.as_secs()), Some(9_000));
    }

    #[test]
    fn overrides_take_the_place_of_the_file() {
        let pipeline = good(
            MINIMAL,
            &[
                "chunk.tokens=4000",
                "chunk.overlap = 0",
                "source.uri=docs/in",
                "source.include=*.md,*.txt",
                "source.formats={ \"*.dat\" = \"csv\" }",
                "source.max_object_bytes=1MiB",
                "route.candidates=us.amazon.nova-pro-v1:0",
                "map.temperature=0.25",
                "limits.max_cost_usd=2.50",
                "limits.deadline=2h30m",
                "merge.strategy=concat",
                "sink.formats=[\"markdown\"]",
                "name=2024",
            ],
        );
        assert_eq!((pipeline.chunk().tokens, pipeline.chunk().overlap), (4000, 0));
        assert_eq!(pipeline.source().location, Location::Folder("docs/in".into()));
        assert!(pipeline.source().selects("a/b.txt") && !pipeline.source().selects("a/b.csv"));
        assert_eq!(pipeline.source().format_of("x.dat"), Some(Format::Csv));
        assert_eq!(pipeline.source().max_object_bytes, 1 << 20);
        assert_eq!(pipeline.route().candidates[0].id, "us.amazon.nova-pro-v1:0");
        assert_eq!(pipeline.map().temperature_milli, Some(250));
        assert_eq!(pipeline.limits().max_cost.map(|cost| cost.to_string()).as_deref(), Some("2.5"));
        assert_eq!(pipeline.merge().strategy, MergeStrategy::Concat);
        assert_eq!(pipeline.sink().formats, [crate::sink::OutputFormat::Markdown]);
        assert_eq!(pipeline.name(), "2024");
    }

    #[test]
    fn a_flag_gives_what_the_file_lacks_and_heals_what_is_bad_in_it() {
        let text = "version = 1\nsource.uri = 7\nroute.candidates = [\"us.amazon.nova-lite-v1:0\"]\n";
        let flags =
            [Override::flag("--source", "source.uri", "docs"), Override::flag("--sink", "sink.uri", "out")];
        assert!(parse(text.as_bytes(), "p.toml", &flags, Catalog::builtin(), today()).is_ok());
    }

    #[test]
    fn faults_of_overrides_name_the_flag() {
        for (argument, expected) in [
            ("chunk.tokns=4000", "DM0201 --set chunk.tokns"),
            ("tokens=4000", "DM0201 --set tokens"),
            ("chunk=3", "DM0201 --set chunk"),
            ("chunk.tokens=many", "DM0203 --set chunk.tokens"),
            ("chunk.tokens=1", "DM0204 --set chunk.tokens"),
            ("chunk.overlap=8000", "DM0301 --set chunk.overlap"),
            ("route.candidates=nova", "DM0401 --set route.candidates"),
            ("map.prompt=Summarise.", "DM0503 --set map.prompt"),
            ("map.system={{ x }}", "DM0502 --set map.system"),
            ("sink.uri=s3://my-bucket/documents", "DM0305 --set sink.uri"),
            ("map.max_tokens=100000", "DM0303 --set map.max_tokens"),
        ] {
            let found = faults(MINIMAL, &[argument]);
            assert!(found.iter().any(|fault| fault == expected), "{argument}: {found:?}");
        }
        let shown = parse_with(MINIMAL, &["chunk=3"]).expect_err("a section is no key").render(false);
        assert!(shown.contains("did you mean `chunk.tokens` or `chunk.overlap`"), "{shown}");
    }

    #[test]
    fn positions_survive_windows_line_ends_and_a_byte_order_mark() {
        let text = "version = 1\nsource.uri = \"dócs\"\nchunk = { tokens = 'ü', overlap = 500, x = 1 }\n\
                    route.candidates = [\"us.amazon.nova-lite-v1:0\"]\nsink.uri = \"out\"\n";
        let expected = ["DM0203 3:20", "DM0201 3:40"];
        assert_eq!(faults(text, &[]), expected);
        assert_eq!(faults(&text.replace('\n', "\r\n"), &[]), expected);
        assert_eq!(faults(&format!("\u{feff}{text}"), &[]), expected);
        let shown = parse_with(&text.replace('\n', "\r\n"), &[]).expect_err("still bad").render(false);
        assert_eq!(shown, parse_with(text, &[]).expect_err("still bad").render(false));
    }

    #[test]
    fn windows_line_ends_make_the_same_requests() {
        let pipeline = good(&DEFAULTS.replace('\n', "\r\n"), &[]);
        assert_eq!(pipeline.fingerprint(), good(DEFAULTS, &[]).fingerprint());
    }

    #[test]
    fn what_is_no_text_or_no_pipeline_is_refused_whole() {
        let refusal = |bytes: &[u8]| {
            let diagnostics =
                parse(bytes, "p.toml", &[], Catalog::builtin(), today()).expect_err("not a pipeline");
            diagnostics
                .iter()
                .map(|fault| format!("{}: {}", fault.code().id(), fault.message()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            refusal(b"version = 1\nname = \"\xff\"\n"),
            ["DM0101: the file is not UTF-8 text (line 2)"]
        );
        let large = vec![b'#'; MAX_FILE_BYTES + 1];
        assert_eq!(refusal(&large), ["DM0102: the file is larger than 1 MiB, too large for a pipeline"]);
    }

    #[test]
    fn quoted_names_with_dots_are_not_paths() {
        let text = format!("\"chunk.tokens\" = 4000\n{MINIMAL}");
        assert_eq!(faults(&text, &[]), ["DM0201 1:1"]);
    }

    #[test]
    fn the_fingerprint_follows_what_shapes_requests_and_nothing_else() {
        let fingerprint = |overrides: &[&str]| good(MINIMAL, overrides).fingerprint();
        let plain = fingerprint(&[]);
        for change in [
            "chunk.tokens=4000",
            "chunk.overlap=400",
            "chunk.encoding=cl100k_base",
            "source.formats={ \"*.dat\" = \"csv\" }",
            "route.candidates=us.amazon.nova-lite-v1:0",
            "map.system=",
            "map.prompt={{ text }}",
            "map.max_tokens=900",
            "map.temperature=0",
            "merge.strategy=concat",
            "merge.system=",
            "merge.prompt={{ answers }}",
            "merge.max_tokens=900",
            "merge.temperature=0",
            "merge.max_fan_in=4",
            "merge.stop=END",
            "map.top_p=0.5",
            "source.members=one",
            "extract.vision=model",
            "route.thinking=off",
            "route.guardrail={ id = \"a\", version = 1 }",
            "route.rules=[{ kind = \"code\", use = \"us.amazon.nova-lite-v1:0\" }]",
            "route.escalate={ to = \"us.amazon.nova-pro-v1:0\" }",
        ] {
            assert_ne!(fingerprint(&[change]), plain, "{change}");
        }
        for same in [
            "name=x",
            "source.uri=docs",
            "source.include=*.md",
            "source.exclude=*.md",
            "source.max_object_bytes=1",
            "limits.max_cost_usd=1",
            "limits.deadline=1h",
            "limits.max_in_flight=1",
            "route.api=invoke",
            "route.tier=flex",
            "route.caching=off",
            "route.metadata={ a = \"b\" }",
            "route.residency=us",
            "extract.passwords=[\"a\"]",
            "sink.uri=out",
            "sink.formats=json",
        ] {
            assert_eq!(fingerprint(&[same]), plain, "{same}");
        }
        // Paid answers are kept under it: a change of the scheme must be meant.
        let tiny = ["map.system=", "map.prompt={{ text }}", "merge.system=", "merge.prompt={{ answers }}"];
        assert_eq!(fingerprint(&tiny), "3e752fefc9ef8b61214abf4e03b229b171e8529677711f2654489f3bf1e4016b");
    }

    #[test]
    fn a_model_that_ends_soon_is_warned_about_and_named() {
        let text = MINIMAL.replace("us.amazon.nova-lite-v1:0", "us.anthropic.claude-opus-4-1-20250805-v1:0");
        let pipeline = good(&text, &[]);
        let warnings: Vec<&str> = pipeline.warnings().iter().map(Diagnostic::message).collect();
        assert_eq!(
            warnings,
            ["`us.anthropic.claude-opus-4-1-20250805-v1:0` reaches its end of life on 2027-01-08"]
        );
        assert!(pipeline.warnings().render(false).contains("use `us.anthropic.claude-opus-5-5` instead"));
    }

    #[test]
    fn records_are_what_machines_get() {
        let diagnostics =
            parse_with(&MINIMAL.replace("version = 1", "version = 2"), &["chunk.tokens=x"]).expect_err("bad");
        let records = serde_json::to_value(diagnostics.records()).expect("records are plain data");
        assert_eq!(
            records,
            json!([
                {
                    "severity": "error", "code": "DM0104", "message": "this version of docmill reads `version = 1` only",
                    "file": "dir/nightly.toml", "line": 1, "column": 11, "flag": null, "key": "version",
                    "hints": ["write `version = 1`, or use a version of docmill that knows the file's"],
                },
                {
                    "severity": "error", "code": "DM0203", "message": "`chunk.tokens` must be an integer, not a string",
                    "file": "dir/nightly.toml", "line": null, "column": null, "flag": "--set chunk.tokens",
                    "key": "chunk.tokens", "hints": [],
                },
            ])
        );
    }

    #[test]
    fn deep_nesting_is_a_fault_and_not_a_crash() {
        let text = format!("a = {}", "[".repeat(500_000));
        assert!(parse_with(&text, &[]).is_err());
        assert!(parse_with(&format!("a = {}1{}", "[".repeat(10_000), "]".repeat(10_000)), &[]).is_err());
        assert!(parse_with(&format!("{MINIMAL}map.prompt = '{}'", "{{ (".repeat(20_000)), &[]).is_err());
    }

    /// Pieces of pipeline files in any order, so that every reader meets every kind of value.
    fn file_pieces() -> impl Strategy<Value = String> {
        let keys = proptest::sample::select(keys::KEYS.iter().map(|key| key.path).collect::<Vec<_>>());
        let value = prop_oneof![
            Just("1".to_owned()),
            Just("-1".to_owned()),
            Just("0.5".to_owned()),
            Just("true".to_owned()),
            Just("[]".to_owned()),
            Just("{ a = 1 }".to_owned()),
            Just("[\"a\", 1, [2]]".to_owned()),
            Just("2026-11-20".to_owned()),
            "\"[a-z{}%*/:\\[\\]ü]{0,12}\"",
            "'''\r?\n\\{[{%#] ?[a-z.|( ]{0,12}[%}]\\}'''",
            any::<String>(),
        ];
        let line = (keys, value).prop_map(|(key, value)| format!("{key} = {value}\n"));
        proptest::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
    }

    proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(text in prop_oneof![any::<String>(), file_pieces()]) {
            let text = format!("{text}{MINIMAL}");
            if let Err(faults) = parse_with(&text, &[]) {
                prop_assert!(!faults.is_empty());
                prop_assert!(!faults.render(false).is_empty());
                prop_assert_eq!(faults.records().len(), faults.iter().count());
            }
        }

        #[test]
        fn no_override_makes_the_reader_panic(key in proptest::sample::select(keys::KEYS.iter().map(|key| key.path).collect::<Vec<_>>()), value in any::<String>()) {
            if let Err(faults) = parse_with(MINIMAL, &[&format!("{key}={value}")]) {
                let flag = format!("--set {key}");
                prop_assert!(faults.render(false).contains(&flag));
            }
        }
    }
}
