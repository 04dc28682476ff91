//! The command line: flags, exit codes, what goes to stdout (data) and to stderr (for people). No logic of its own:
//! each command reads its flags, calls a room, and prints what comes back.

mod args;
mod compare;
mod extract;
mod inspect;
mod ledger;
mod models;
mod pipelines;
mod plan;
mod process;
mod report;
mod run;
mod sandbox;
mod session;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

/// What the process ends with. The meanings are part of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every document is done.
    Success = 0,
    /// The run finished; some documents failed or are partial.
    SomeFailed = 1,
    /// The command line or a pipeline file is wrong; nothing was done.
    Usage = 2,
    /// Stopped by budget or deadline; can be resumed.
    Stopped = 3,
    /// Credentials, bucket, endpoint or model access refused.
    Refused = 4,
    /// By Ctrl-C or SIGTERM; can be resumed.
    Interrupted = 130,
}

/// An error to print before leaving with `exit`.
#[derive(Debug)]
pub struct Fault {
    exit: Exit,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Fault {
    fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Fault { exit, error: error.into(), hint: None }
    }

    fn usage(message: impl fmt::Display) -> Self {
        Fault::new(Exit::Usage, anyhow::anyhow!("{message}"))
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// stdout went away, as in `docmill count * | head`: no fault of anybody.
impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Fault::new(Exit::Success, error),
            _ => Fault::new(Exit::Refused, anyhow::Error::new(error).context("can not write to stdout")),
        }
    }
}

/// Parses the command line, does it, prints the error chain, and gives the exit code.
pub fn main() -> ExitCode {
    let args = Args::parse();
    start_tracing(args.output.log_format);
    let result = match args.command {
        Command::Run(command) => run::run(&command, &args.output),
        Command::Plan(command) => plan::plan(&command, &args.output),
        Command::Compare(command) => compare::compare(&command, &args.output),
        Command::Report(command) => report::report(&command, &args.output),
        Command::Ledger(command) => ledger::ledger(&command, &args.output),
        Command::Models(command) => models::models(&command, &args.output),
        Command::Check(command) => pipelines::check(&command, &args.output),
        Command::Init(command) => pipelines::init(&command),
        Command::Schema => pipelines::schema(),
        Command::Count(command) => inspect::count(&command, &args.output),
        Command::Extract(command) => extract::extract(&command, &args.output),
        Command::ReadDocuments { memory_bytes, processor_s } => extract::worker(memory_bytes, processor_s),
        Command::Chunk(command) => inspect::chunk(&command, &args.output),
        Command::Sandbox(command) => sandbox::serve(&command),
        Command::Completions { shell } => args::completions(shell),
    };
    let exit = result.unwrap_or_else(|fault| {
        if fault.exit != Exit::Success {
            report(&fault);
        }
        fault.exit
    });
    ExitCode::from(exit as u8)
}

/// Traces of the libraries (AWS SDK, HTTP), off unless `DOCMILL_LOG` asks for them, as in `DOCMILL_LOG=aws_config=debug`:
/// at their lower levels they hold requests, and so document text.
fn start_tracing(format: args::LogFormat) {
    let Ok(filter) = std::env::var("DOCMILL_LOG") else { return };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        args::LogFormat::Text => builder.init(),
        args::LogFormat::Json => builder.json().init(),
    }
}

fn report(fault: &Fault) {
    let mut text = format!("error: {}\n", fault.error);
    let mut shown = fault.error.to_string();
    for cause in fault.error.chain().skip(1) {
        let line = cause.to_string();
        if !shown.contains(&line) {
            text.push_str(&format!("  caused by: {line}\n"));
            shown.push_str(&line);
        }
    }
    if let Some(hint) = &fault.hint {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    say(text.trim_end());
}

/// Prints lines for people. Nobody is left to be told when stderr is closed, and it must not change the exit code.
fn say(text: &str) {
    // Keys and service messages come from outside; escape sequences in them stay out of the terminal.
    let text: String =
        text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
    let _ = writeln!(io::stderr(), "{text}");
}
