//! The flags of every command, as clap reads them and `--help` shows them.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, CommandFactory, Parser, Subcommand, ValueEnum};

use super::{Exit, Fault};
use crate::tokens::Encoding;

/// Batch document processing for Amazon Bedrock: reads documents from S3 or a folder, cuts them into chunks, sends each
/// to the cheapest model that fits, merges the answers, and writes the results back.
#[derive(Debug, Parser)]
#[command(name = "docmill", version, max_term_width = 100, propagate_version = false)]
#[command(
    after_help = "Exit codes: 0 every document done; 1 some failed or are partial; 2 the command line or a \
    pipeline file is wrong; 3 stopped by budget or deadline; 4 credentials, bucket, endpoint or model refused; \
    130 interrupted."
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub output: Output,
}

/// What is shown, and where.
#[derive(Clone, Debug, ClapArgs)]
pub struct Output {
    /// Machine output on stdout: JSON, one value a line where there are many
    #[arg(long, global = true)]
    pub json: bool,
    /// Show every document and every retry
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Show errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// What goes to stderr while a run goes on: progress for people, or events as JSON lines for a log collector
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Validate pipeline files: every fault with file, line, key and a hint
    Check(Check),
    /// Show what a run would do: documents, chunks, calls, tokens, models, cost, time
    Plan(Plan),
    /// Process the documents and write the results
    Run(Job),
    /// Put the same sample of documents through several models: cost, time, tokens, agreement, ROUGE
    Compare(Compare),
    /// The models there are: windows, prices, quotas, what each can do, when it ends
    Models(super::models::Models),
    /// What a run came to, or has come to so far: of the last run in SINK, or of the one whose report SINK names
    Report(Place),
    /// Look after the ledger in a sink: check it, sum it up, delete what nobody needs
    #[command(subcommand)]
    Ledger(LedgerVerb),
    /// Show what would be read from files, and where in them it stands
    Extract(Extract),
    /// What an isolated reader of documents runs
    #[command(name = "__extract", hide = true)]
    ReadDocuments {
        #[arg(long, require_equals = true)]
        memory_bytes: u64,
        #[arg(long, require_equals = true)]
        processor_s: u64,
    },
    /// Show how files are cut: boundaries, tokens, overlap
    Chunk(Chunk),
    /// Count the tokens of files
    Count(Count),
    /// Serve an S3 and a Bedrock stand-in on a local port, for demos, rehearsals and tests
    Sandbox(Sandbox),
    /// Write a pipeline file with every key, its default and its meaning
    Init(Init),
    /// Print the JSON Schema of the pipeline file, for editors
    Schema,
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, ClapArgs)]
pub struct Check {
    /// Pipeline files
    #[arg(required = true, value_name = "PIPELINE")]
    pub pipelines: Vec<PathBuf>,
    #[command(flatten)]
    pub overrides: Overrides,
}

/// A pipeline and where to run it.
#[derive(Clone, Debug, ClapArgs)]
pub struct Job {
    /// The pipeline file
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,
    #[command(flatten)]
    pub overrides: Overrides,
    /// Run against the embedded stand-in for S3 and Bedrock, whose buckets are the folders in DIR (default: here)
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = ".")]
    pub sandbox: Option<PathBuf>,
    /// The weather in the sandbox: quotas, latency and faults from a scenario file
    #[arg(long, value_name = "FILE", requires = "sandbox")]
    pub scenario: Option<PathBuf>,
    /// Do everything and buy every answer anew, whatever the ledger holds
    #[arg(long)]
    pub fresh: bool,
    /// Try documents once more that failed or came out partial in as many runs as limits.max_runs_per_document allows
    #[arg(long)]
    pub retry_failed: bool,
    /// Do the document KEY and buy its answers anew (repeatable)
    #[arg(long, value_name = "KEY")]
    pub forget: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub struct Plan {
    #[command(flatten)]
    pub job: Job,
    /// Read N documents only, chosen by their names, and work out the rest from the listing, with an error
    #[arg(long, value_name = "N")]
    pub sample: Option<std::num::NonZeroUsize>,
    /// Say for each chunk which model it goes to, and why
    #[arg(long)]
    pub explain: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Compare {
    #[command(flatten)]
    pub job: Job,
    /// The models, by id, profile or ARN; each takes the place of all models of the pipeline
    #[arg(long, value_name = "ID,ID", required = true, value_delimiter = ',')]
    pub models: Vec<String>,
    /// Documents to compare them on, chosen by their names: the same ones every time
    #[arg(long, value_name = "N", default_value = "10")]
    pub sample: std::num::NonZeroUsize,
    /// A folder with the answers to compare with: KEY, KEY.txt or KEY.md for the document KEY
    #[arg(long, value_name = "DIR")]
    pub references: Option<PathBuf>,
    /// Where the answers are put side by side, as Markdown
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// A sink, with docmill's own state in it.
#[derive(Debug, ClapArgs)]
pub struct Place {
    /// Where the results are: s3://bucket/prefix/ or a folder
    #[arg(value_name = "SINK")]
    pub sink: String,
    /// Look into the embedded stand-in for S3, whose buckets are the folders in DIR (default: here)
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = ".")]
    pub sandbox: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum LedgerVerb {
    /// Read everything and say what is damaged
    Verify(Place),
    /// Sum the log up, so that the next run starts faster
    Compact {
        #[command(flatten)]
        place: Place,
        /// Make all tables anew from the log
        #[arg(long)]
        rebuild: bool,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete what is summed up and older than a week, and holds nothing that a result rests on
    Gc {
        #[command(flatten)]
        place: Place,
        /// Only say what would be deleted
        #[arg(long)]
        dry_run: bool,
    },
}

/// What takes the place of values in the pipeline file.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct Overrides {
    /// Where the documents are: s3://bucket/prefix/ or a folder
    #[arg(long, value_name = "URI")]
    pub source: Option<String>,
    /// Where the results go: s3://bucket/prefix/ or a folder
    #[arg(long, value_name = "URI")]
    pub sink: Option<String>,
    /// A hard cap on what the run may cost, in US dollars
    #[arg(long, value_name = "USD")]
    pub max_cost: Option<String>,
    /// Set any key of the pipeline file, e.g. chunk.tokens=4000 (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub struct Extract {
    /// Files to read
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A password that encrypted documents are tried with (repeatable)
    #[arg(long, value_name = "PASSWORD")]
    pub password: Vec<String>,
    /// One line a file instead of its text: format, characters, blocks, time, verdict
    #[arg(long)]
    pub summary: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Count {
    /// Files to count; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Count in this encoding only
    #[arg(long, value_name = "cl100k_base|o200k_base", conflicts_with = "model")]
    pub encoding: Option<Encoding>,
    /// Count for a Bedrock model: an estimate with an upper bound, for vendors that publish no tokenizer
    #[arg(long, value_name = "ID")]
    pub model: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub struct Chunk {
    /// Files to cut; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Most tokens a chunk may have, overlap included
    #[arg(long, default_value_t = 8000)]
    pub tokens: u64,
    /// Tokens of the chunk before that are repeated as context
    #[arg(long, default_value_t = 500)]
    pub overlap: u64,
    #[arg(long, value_name = "cl100k_base|o200k_base", default_value = "o200k_base")]
    pub encoding: Encoding,
    /// Show the text on both sides of each cut
    #[arg(long)]
    pub show_cuts: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Sandbox {
    /// Buckets are the folders in here
    #[arg(long, value_name = "DIR", default_value = ".", conflicts_with = "memory")]
    pub dir: PathBuf,
    /// Keep objects in memory; they are gone when the sandbox stops
    #[arg(long)]
    pub memory: bool,
    /// Address to listen on; port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:4566")]
    pub listen: SocketAddr,
    /// How long the model thinks before it answers, in milliseconds
    #[arg(long, default_value = "0", value_parser = millis, value_name = "MS")]
    pub latency_ms: Duration,
    /// How long the model takes for each token of its answer, in microseconds
    #[arg(long, default_value = "0", value_parser = micros, value_name = "US")]
    pub token_latency_us: Duration,
    /// Quotas, latency and faults from a scenario file
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// How many times faster than the clock the scenario's time goes
    #[arg(long, default_value = "1", value_name = "N")]
    pub speed: u32,
    /// Which requests a scenario's faults hit
    #[arg(long, default_value = "0")]
    pub seed: u64,
}

#[derive(Debug, ClapArgs)]
pub struct Init {
    /// The file to write; it must not exist
    #[arg(default_value = "docmill.toml")]
    pub path: PathBuf,
}

fn millis(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}

fn micros(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_micros)
}

pub fn completions(shell: clap_complete::Shell) -> Result<Exit, Fault> {
    clap_complete::generate(shell, &mut Args::command(), "docmill", &mut io::stdout());
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
