//! Commands about pipeline files: `check`, `init`, `schema`, and how every other command reads one.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

use super::args::{Check, Init, Output, Overrides};
use super::{Exit, Fault, say};
use crate::catalog::{Catalog, Date};
use crate::pipeline::{self, Diagnostics, MAX_FILE_BYTES, Override, Pipeline, Setting};
use crate::plan::Routes;

/// Checks every file and shows the faults of all of them.
pub fn check(command: &Check, output: &Output) -> Result<Exit, Fault> {
    let region = super::run::runtime()?.block_on(crate::aws::configured_region());
    let mut exit = Exit::Success;
    let mut records = Vec::new();
    for path in &command.pipelines {
        let faults = match read(path, &command.overrides, region.as_deref())? {
            Ok((pipeline, routes)) => {
                if !output.quiet {
                    routes.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
                }
                if !output.json && !output.quiet {
                    say(&format!("{}: ok", path.display()));
                }
                pipeline.warnings().clone()
            }
            Err(faults) => {
                exit = Exit::Usage;
                faults
            }
        };
        if output.json {
            records.extend(faults.records().iter().map(|r| serde_json::json!(r)));
        } else {
            show(&faults);
        }
    }
    if output.json {
        writeln!(io::stdout(), "{}", serde_json::Value::from(records))?;
    }
    Ok(exit)
}

/// The pipeline of a command that needs a valid one, with its models chosen. Warnings go to stderr.
///
/// Prices depend on the region for some models; without one they are those of us-east-1.
pub fn load(
    path: &Path,
    overrides: &Overrides,
    region: Option<&str>,
    output: &Output,
) -> Result<(Pipeline, Routes), Fault> {
    match read(path, overrides, region)? {
        Ok((pipeline, routes)) => {
            if !output.quiet {
                show(pipeline.warnings());
                routes.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
            }
            Ok((pipeline, routes))
        }
        Err(faults) => {
            show(&faults);
            let count = faults.iter().count();
            let plural = if count == 1 { "fault" } else { "faults" };
            Err(Fault::usage(format!("{} has {count} {plural}; nothing was done", path.display())))
        }
    }
}

fn read(
    path: &Path,
    overrides: &Overrides,
    region: Option<&str>,
) -> Result<Result<(Pipeline, Routes), Diagnostics>, Fault> {
    let name = path.display().to_string();
    let bytes = read_start(path).with_context(|| format!("can not read the pipeline file {name}"));
    let bytes = bytes.map_err(|error| Fault::new(Exit::Usage, error))?;
    let overrides = overrides_of(overrides)?;
    let mut catalog = Catalog::builtin().clone();
    if let Some(file) = pipeline::catalog_file(&bytes, &overrides) {
        let file = path.parent().unwrap_or(Path::new("")).join(file);
        let shown = file.display();
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("can not read route.catalog, {shown}"));
        let text = text.map_err(|error| Fault::new(Exit::Usage, error))?;
        let applied = catalog.apply_overrides(&text);
        applied.map_err(|error| {
            Fault::new(Exit::Usage, anyhow::Error::new(error).context(format!("{shown}")))
        })?;
    }
    let catalog = catalog.in_region(region.unwrap_or("us-east-1"));
    let setting = Setting { catalog: &catalog, today: today(), region };
    match pipeline::parse_in(&bytes, &name, &overrides, &setting) {
        Err(faults) => Ok(Err(faults)),
        Ok(pipeline) => {
            let routes = Routes::choose(&pipeline).map_err(|error| Fault::new(Exit::Usage, error))?;
            Ok(Ok((pipeline, routes)))
        }
    }
}

/// The file, or so much of it that the parser can say it is too large.
fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn overrides_of(flags: &Overrides) -> Result<Vec<Override>, Fault> {
    let mut overrides = Vec::new();
    for argument in &flags.set {
        overrides.push(Override::set(argument).map_err(|error| Fault::new(Exit::Usage, error))?);
    }
    let named = [
        ("--source", "source.uri", &flags.source),
        ("--sink", "sink.uri", &flags.sink),
        ("--max-cost", "limits.max_cost_usd", &flags.max_cost),
    ];
    for (flag, key, value) in named {
        if let Some(value) = value {
            overrides.push(Override::flag(flag, key, value));
        }
    }
    Ok(overrides)
}

pub(super) fn today() -> Date {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Date::from_unix_seconds(since_1970.as_secs() as i64)
}

fn show(diagnostics: &Diagnostics) {
    if !diagnostics.is_empty() {
        let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        // Not through `say`: the colours are control characters, and the renderer takes care of the others.
        let _ = writeln!(io::stderr(), "{}", diagnostics.render(coloured));
    }
}

/// Writes the commented file of all defaults.
pub fn init(command: &Init) -> Result<Exit, Fault> {
    let path = command.path.display();
    let file = std::fs::File::create_new(&command.path);
    let written = file.and_then(|mut file| file.write_all(pipeline::DEFAULTS.as_bytes()));
    match written {
        Ok(()) => {
            say(&format!("wrote {path}; set source.uri and sink.uri, then: docmill check {path}"));
            Ok(Exit::Success)
        }
        Err(error) => {
            let error = anyhow::Error::new(error).context(format!("can not write {path}"));
            Err(Fault::new(Exit::Usage, error).hint("name another file: docmill init FILE"))
        }
    }
}

pub fn schema() -> Result<Exit, Fault> {
    writeln!(io::stdout(), "{:#}", pipeline::schema())?;
    Ok(Exit::Success)
}
