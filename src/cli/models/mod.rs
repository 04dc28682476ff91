//! `docmill models`: the model catalogue for people, as a table, one model with the source of each figure, and what a price
//! map or the service itself would change in it.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Value, json};

use super::args::Output;
use super::session::{aws_fault, settings_from_environment};
use super::{Exit, Fault, process, say};
use crate::aws::Aws;
use crate::catalog::{Catalog, CatalogError, Change, Date, Model, Price, Status, Tier, Update};
use crate::domain::Usd;
use crate::report::count as grouped;

mod show;

/// Larger than any file of rows or price map.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Lines of a kind that are shown to people; the file or `--json` has them all.
const SHOWN_MAX: usize = 40;

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Models {
    #[command(subcommand)]
    pub verb: Option<Verb>,
    #[command(flatten)]
    pub filter: Filter,
    #[command(flatten)]
    pub view: View,
}

/// Which models are shown.
#[derive(Debug, ClapArgs)]
pub struct Filter {
    /// Only ids that contain all of these
    #[arg(value_name = "TEXT")]
    pub texts: Vec<String>,
    /// Only families that contain this, e.g. anthropic or openai.chat
    #[arg(long, value_name = "FAMILY")]
    pub family: Option<String>,
    /// Only what a pipeline may name today: alive, callable by this id, with a known price
    #[arg(long)]
    pub callable: bool,
}

/// The catalogue that is looked at.
#[derive(Clone, Debug, ClapArgs)]
pub struct View {
    /// Put the rows of this file over the catalogue: TOML or JSON, as `docmill models update` writes it
    #[arg(long, value_name = "FILE")]
    pub catalog: Option<PathBuf>,
    /// Prices of bare ids in this region (default: us-east-1), and which models are in doubt there
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Everything that is known of a model, and from where: prices, limits, features, profiles, successor
    Show {
        /// A model, an inference profile, or the ARN of either
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        view: View,
    },
    /// Write what changed as a file of rows, which `--catalog` and pipelines read
    Update(UpdateArgs),
}

#[derive(Debug, ClapArgs)]
pub struct UpdateArgs {
    /// A price map of LiteLLM (model_prices_and_context_window.json); `-` is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "from_aws", conflicts_with = "from_aws")]
    pub from: Option<PathBuf>,
    /// Ask Bedrock and Service Quotas: dates, profiles, quotas (no prices: no API tells them)
    #[arg(long)]
    pub from_aws: bool,
    /// The file to write; it must not exist (default: standard output)
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Take figures too that jump by a factor of 100 or more
    #[arg(long, conflicts_with = "from_aws")]
    pub force: bool,
    /// Compare with the catalogue after the rows of this file
    #[arg(long, value_name = "FILE")]
    pub catalog: Option<PathBuf>,
}

pub fn models(command: &Models, output: &Output) -> Result<Exit, Fault> {
    let today = Date::from_unix_seconds(i64::try_from(process::unix_seconds()).unwrap_or(i64::MAX));
    match &command.verb {
        None => list(&command.filter, &command.view, today, output)?,
        Some(Verb::Show { id, view }) => {
            let catalog = open(view.catalog.as_deref(), view.region.as_deref())?;
            show::show(&catalog, id, view.region.as_deref(), today, output)?;
        }
        Some(Verb::Update(args)) => update(args, today, output)?,
    }
    Ok(Exit::Success)
}

/// The catalogue with the rows of a file over it, as seen from a region.
fn open(overrides: Option<&Path>, region: Option<&str>) -> Result<Catalog, Fault> {
    let mut catalog = Catalog::builtin().clone();
    if let Some(path) = overrides {
        let text = read(path)?;
        catalog.apply_overrides(&text).map_err(|error| {
            let hint = error.hint.clone();
            let fault = Fault::usage(format_args!("{}: {error}", path.display()));
            if let Some(hint) = hint { fault.hint(hint) } else { fault }
        })?;
    }
    Ok(catalog.in_region(region.unwrap_or("us-east-1")))
}

fn read(path: &Path) -> Result<String, Fault> {
    let unreadable = |error: io::Error| {
        Fault::new(Exit::Usage, anyhow!(error).context(format!("can not read {}", path.display())))
    };
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let file = fs::File::open(path).map_err(unreadable)?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Fault::usage(format_args!(
            "{} is larger than {} MiB",
            path.display(),
            FILE_BYTES_MAX >> 20
        )));
    }
    String::from_utf8(bytes)
        .map_err(|_| Fault::usage(format_args!("{} is not text in UTF-8", path.display())))
}

fn list(filter: &Filter, view: &View, today: Date, output: &Output) -> Result<(), Fault> {
    let catalog = open(view.catalog.as_deref(), view.region.as_deref())?;
    let texts: Vec<String> = filter.texts.iter().map(|text| text.to_lowercase()).collect();
    let fits = |model: &Model| {
        texts.iter().all(|text| model.id.to_lowercase().contains(text))
            && filter
                .family
                .as_ref()
                .is_none_or(|family| model.family.name().contains(&family.to_lowercase()))
            && (!filter.callable || catalog.find(&model.id, today).is_ok())
    };
    let rows: Vec<(&Model, bool)> = catalog.rows().filter(|(model, _)| fits(model)).collect();
    let mut out = io::BufWriter::new(io::stdout().lock());
    if output.json {
        for (model, is_priced) in &rows {
            writeln!(out, "{}", show::summary(&catalog, model, *is_priced, today))?;
        }
        return Ok(out.flush()?);
    }
    let width = rows.iter().map(|(model, _)| model.id.len()).max().unwrap_or(0).max(2);
    writeln!(
        out,
        "{:width$}  {:<18} {:>10} {:>8} {:>9} {:>9} {:>12}  status",
        "id", "family", "window", "output", "$/M in", "$/M out", "tokens/min"
    )?;
    for (model, is_priced) in &rows {
        let price = |amount: Usd| if *is_priced { per_million(amount) } else { "-".to_owned() };
        let output_price =
            if model.max_output_tokens > 0 { price(model.price.output) } else { "-".to_owned() };
        writeln!(
            out,
            "{:width$}  {:<18} {:>10} {:>8} {:>9} {:>9} {:>12}  {}",
            model.id,
            model.family.name(),
            some(model.window_tokens),
            some(model.max_output_tokens.into()),
            price(model.price.input),
            output_price,
            model.quota.tokens_per_minute.map_or_else(|| "-".to_owned(), grouped),
            status(&catalog, model, today),
        )?;
    }
    out.flush()?;
    if rows.is_empty() {
        say("no model fits; `docmill models` shows all");
    }
    Ok(())
}

/// A limit, where 0 stands for none that is known.
fn some(limit: u64) -> String {
    if limit == 0 { "-".to_owned() } else { grouped(limit) }
}

/// Dollars for a million tokens.
fn per_million(amount: Usd) -> String {
    Usd::from_pico(amount.pico().saturating_mul(1_000_000)).to_string()
}

/// How a model stands today, and why it can not be called if it can not.
fn status(catalog: &Catalog, model: &Model, today: Date) -> String {
    let ends = model.end_of_life.map(|on| format!(", ends {on}")).unwrap_or_default();
    match catalog.find(&model.id, today) {
        Err(CatalogError::EndOfLife { on, .. }) => format!("ended {on}"),
        Err(CatalogError::ProfileOnly { .. }) => format!("by profile only{ends}"),
        Err(CatalogError::Unpriced { .. }) => format!("no known price{ends}"),
        _ if model.status(today) == Status::Legacy => format!("legacy{ends}"),
        _ => format!("active{ends}"),
    }
}

fn update(args: &UpdateArgs, today: Date, output: &Output) -> Result<(), Fault> {
    // What would be lost in the end is said before anything is asked.
    if let Some(path) = args.out.as_ref().filter(|path| path.exists()) {
        return Err(exists(path));
    }
    let catalog = match &args.catalog {
        None => Catalog::builtin().clone(),
        Some(path) => open_for_update(path)?,
    };
    let update = match &args.from {
        Some(path) => {
            let text = read(path)?;
            let update = catalog.update_from_litellm(&text, today, args.force);
            update.map_err(|error| Fault::usage(format_args!("{}: {error}", path.display())))?
        }
        None => super::run::runtime()?.block_on(from_aws(&catalog, today))?,
    };
    if !output.quiet {
        explain(&update, args, output.verbose);
    }
    if let Some(path) = &args.out {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let mut file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(path),
            _ => Fault::new(Exit::Usage, anyhow!(error).context(format!("can not write {}", path.display()))),
        })?;
        let written = file.write_all(update.overrides.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|error| {
            Fault::new(Exit::Refused, anyhow!(error).context(format!("can not write {}", path.display())))
        })?;
    }
    let mut out = io::stdout();
    if output.json {
        writeln!(out, "{}", as_json(&update))?;
    } else if args.out.is_none() {
        out.write_all(update.overrides.as_bytes())?;
    }
    Ok(())
}

/// Without `in_region`: an update is about the table itself.
fn open_for_update(path: &Path) -> Result<Catalog, Fault> {
    let mut catalog = Catalog::builtin().clone();
    let text = read(path)?;
    catalog
        .apply_overrides(&text)
        .map_err(|error| Fault::usage(format_args!("{}: {error}", path.display())))?;
    Ok(catalog)
}

fn exists(path: &Path) -> Fault {
    Fault::usage(format_args!("{} exists; it may hold figures of your own", path.display()))
        .hint("name another file with --out, and put together what you want of both")
}

async fn from_aws(catalog: &Catalog, today: Date) -> Result<Update, Fault> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let ignored = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|value| value == "true");
    let endpoint = variable("AWS_ENDPOINT_URL_BEDROCK").or_else(|| variable("AWS_ENDPOINT_URL"));
    let aws = Aws::load(settings_from_environment(), false).await.map_err(aws_fault)?;
    let listing = aws.listing(endpoint.filter(|_| !ignored).as_deref(), catalog).await;
    let (listing, notes) = listing.map_err(|error| Fault::new(Exit::Refused, error))?;
    for note in notes {
        say(&note);
    }
    say(&format!(
        "asked in {}: what can be called by its bare id, and the quotas, hold there",
        listing.region
    ));
    Ok(catalog.update_from_service(&listing, today))
}

/// The report for people.
fn explain(update: &Update, args: &UpdateArgs, verbose: bool) {
    let lines = |title: &str, lines: Vec<String>| {
        if lines.is_empty() {
            return;
        }
        say(&format!("{title}: {}", lines.len()));
        for line in lines.iter().take(SHOWN_MAX) {
            say(&format!("  {line}"));
        }
        if lines.len() > SHOWN_MAX {
            say(&format!("  and {} more", lines.len() - SHOWN_MAX));
        }
    };
    let changes = |changes: &[Change]| {
        let line = |change: &Change| {
            let old = change.old.as_deref().unwrap_or("unknown");
            format!("{} {}: {old} -> {}", change.id, change.field, change.new)
        };
        changes.iter().map(line).collect::<Vec<_>>()
    };
    lines("changed", changes(&update.changed));
    lines("added", update.added.clone());
    let suspicious = changes(&update.suspicious);
    if !suspicious.is_empty() && !args.force {
        lines("left out as suspicious (--force takes those that are not zero)", suspicious);
    } else {
        lines("left out as suspicious", suspicious);
    }
    let refused = update.refused.iter();
    lines("refused", refused.map(|r| format!("{} {}: {}", r.id, r.field, r.reason)).collect());
    if args.from_aws {
        lines("not in the catalogue, and without a price to put in", update.skipped.clone());
    } else {
        if verbose {
            lines("not for calls on demand", update.skipped.clone());
        }
        if !update.added.is_empty() {
            say("a price map keeps models long after their end: look at what is added before you use it");
        }
    }
    if update.changed.is_empty() && update.added.is_empty() {
        say("nothing changed");
    }
}

fn as_json(update: &Update) -> Value {
    let changes = |changes: &[Change]| {
        let value = |change: &Change| json!({ "id": change.id, "field": change.field, "old": change.old, "new": change.new });
        changes.iter().map(value).collect::<Vec<_>>()
    };
    let refused = update.refused.iter();
    let refused: Vec<Value> =
        refused.map(|r| json!({ "id": r.id, "field": r.field, "reason": r.reason })).collect();
    json!({
        "changed": changes(&update.changed),
        "added": update.added,
        "suspicious": changes(&update.suspicious),
        "refused": refused,
        "skipped": update.skipped,
    })
}

/// Prices of a tier by their names, in dollars for a million tokens; those that are not known are left out.
fn prices(price: &Price) -> Vec<(&'static str, String)> {
    let all = [
        ("input", Some(price.input)),
        ("output", Some(price.output)),
        ("cache_read", price.cache_read),
        ("cache_write", price.cache_write),
        ("cache_write_1h", price.cache_write_1h),
    ];
    all.into_iter().filter_map(|(name, amount)| Some((name, per_million(amount?)))).collect()
}

/// The prices of a model by tier, `long` for long prompts.
fn price_list(model: &Model) -> Vec<(&'static str, Price)> {
    let mut list = Vec::new();
    for tier in Tier::ALL {
        if let Some(price) = model.price_at(tier, 0) {
            list.push((tier.name(), price));
        }
    }
    if let Some(long) = &model.long_prompt {
        list.push(("long", long.price));
    }
    list
}
