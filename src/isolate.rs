//! Isolation: documents in foreign formats are read by a child process, so that what their parsers do happens to a child.
//!
//! A parser that overflows the stack, exhausts the memory or loops takes its process with it; no `catch_unwind` helps. So PDFs,
//! office files, archives and mail go to `docmill __extract`, which reads documents from its standard input and answers on its
//! standard output, under limits on memory and processor time that the system enforces, without the environment of its
//! parent (the credentials are in there). Plain text, HTML, JSON, tables and RTF are read by our own code, right here.
//!
//! Children are kept and reused, since a thousand small PDFs should not pay for a thousand processes; one that has
//! worked for long enough is replaced. A child that dies over a document it did not have to itself is no proof against the
//! document, so that one is tried once more in a fresh child: a verdict depends on the document alone.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::cpu;
use crate::domain::{Format, Gap, Layout, Place, Text};
use crate::extract::{self, ExtractError, Options, PageImage};

/// What a child says first, so that a program that is none is noticed. The number changes with the protocol.
const HELLO: &[u8; 8] = b"docmill2";

/// A child is replaced after this much work; its parsers' caches and the fragments of its heap go with it.
const WORK_A_CHILD: Duration = Duration::from_secs(20);
const DOCUMENTS_A_CHILD: u32 = 500;

/// Everything but the text of an answer: the places of a large workbook are some megabytes.
const MAX_HEADER_BYTES: u32 = 256 << 20;

/// What is kept of the last words of a child: enough to tell how it died.
const LAST_WORDS_BYTES: usize = 4 << 10;

/// Beyond the wall clock, so that an orphan of a parent that was killed ends as well.
const PROCESSOR_GRACE_S: u64 = 30;

/// How documents are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The program to start as a child; `None` is this one.
    pub program: Option<PathBuf>,
    /// Children at once. 0: no isolation, everything is read in this process.
    pub workers: usize,
    /// Address space of a child, bytes.
    pub memory_bytes: u64,
    /// Wall clock for one document.
    pub time: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Settings { program: None, workers, memory_bytes: 2 << 30, time: Duration::from_secs(120) }
    }
}

/// Why a document was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Extract(#[from] ExtractError),
    #[error(transparent)]
    Panicked(#[from] cpu::Panicked),
    #[error("its parser crashed ({how}): please report it with the document, and exclude it from the source")]
    Crashed { how: Crash },
    #[error("reading it takes more than {} MiB of memory: split it, or exclude it from the source", .limit_bytes >> 20)]
    OutOfMemory { limit_bytes: u64 },
    #[error("reading it takes longer than {limit_s} s: split it, or exclude it from the source")]
    TimedOut { limit_s: u64 },
    /// The machine's fault, not the document's.
    #[error("the process that reads documents can not be run")]
    Worker(#[source] io::Error),
}

impl ReadError {
    /// Whether every document would fail alike.
    pub fn is_fatal(&self) -> bool {
        matches!(self, ReadError::Worker(_))
    }
}

/// How a parser ended that did not mean to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Crash {
    Panic,
    StackOverflow,
    Signal(i32),
    Exit(i32),
}

impl std::fmt::Display for Crash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Crash::Panic => f.write_str("a panic"),
            Crash::StackOverflow => f.write_str("a stack overflow"),
            Crash::Signal(signal) => write!(f, "signal {signal}"),
            Crash::Exit(code) => write!(f, "exit code {code}"),
        }
    }
}

/// Reads documents, those that need it in children.
#[derive(Debug)]
pub struct Workers {
    settings: Settings,
    slots: Semaphore,
    idle: Mutex<Vec<Worker>>,
}

impl Workers {
    pub fn new(settings: Settings) -> Workers {
        Workers { slots: Semaphore::new(settings.workers), idle: Mutex::new(Vec::new()), settings }
    }

    /// Reads an object's bytes as [`extract::extract_with`] does. Takes up to [`Settings::time`], and may be dropped at
    /// any time: the child that was at work is killed.
    pub async fn extract(&self, bytes: Vec<u8>, name: &str, options: &Options) -> Result<Text, ReadError> {
        if self.settings.workers == 0 || !extract::needs_isolation(&bytes, name, options.declared) {
            let (name, options) = (name.to_owned(), options.clone());
            return Ok(cpu::run(move || extract::extract_with(bytes, &name, &options)).await??);
        }
        let (options, body_bytes) = (options.clone(), bytes.len() as u64);
        let request = Request { name: name.to_owned(), task: Task::Text, options, body_bytes };
        let (reply, body) = self.ask(&request, &bytes).await?;
        reply.into_text(body)
    }

    /// Draws a page of a PDF as [`extract::page_image`] does, in a child as well.
    pub async fn page_image(
        &self,
        bytes: Vec<u8>,
        wanted: PageImage,
        options: &Options,
    ) -> Result<Vec<u8>, ReadError> {
        let options = options.clone();
        if self.settings.workers == 0 {
            return Ok(cpu::run(move || extract::page_image(&bytes, &wanted, &options)).await??);
        }
        let body_bytes = bytes.len() as u64;
        let request = Request { name: String::new(), task: Task::Page(wanted), options, body_bytes };
        let (reply, body) = self.ask(&request, &bytes).await?;
        reply.about()?;
        Ok(body)
    }

    /// Has a child do a task, and a fresh one if a child that had done others before died over it.
    async fn ask(&self, request: &Request, bytes: &[u8]) -> Result<(Reply, Vec<u8>), ReadError> {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        if let Some(worker) = self.take_idle() {
            match self.attempt(worker, request, bytes).await {
                Err(ReadError::Crashed { .. } | ReadError::OutOfMemory { .. } | ReadError::Worker(_)) => {}
                result => return result,
            }
        }
        let worker = Worker::start(&self.settings).map_err(ReadError::Worker)?;
        self.attempt(worker, request, bytes).await
    }

    fn take_idle(&self) -> Option<Worker> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn attempt(
        &self,
        mut worker: Worker,
        request: &Request,
        bytes: &[u8],
    ) -> Result<(Reply, Vec<u8>), ReadError> {
        let max_body_bytes = match request.task {
            Task::Text => request.options.limits.max_text_bytes.saturating_add(1 << 10),
            Task::Page(wanted) => wanted.max_bytes,
        };
        let started = Instant::now();
        let exchange = worker.exchange(request, bytes, max_body_bytes);
        let result = match tokio::time::timeout(self.settings.time, exchange).await {
            Ok(result) => result,
            Err(_) => {
                worker.kill().await;
                return Err(ReadError::TimedOut { limit_s: self.settings.time.as_secs() });
            }
        };
        match result {
            Ok((reply, body)) => {
                worker.busy += started.elapsed();
                worker.documents += 1;
                if worker.busy < WORK_A_CHILD && worker.documents < DOCUMENTS_A_CHILD {
                    self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
                }
                Ok((reply, body))
            }
            Err(error) => Err(worker.cause_of_death(error, &self.settings).await),
        }
    }
}

/// A child process.
#[derive(Debug)]
struct Worker {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    last_words: JoinHandle<Vec<u8>>,
    is_greeted: bool,
    busy: Duration,
    documents: u32,
}

impl Worker {
    fn start(settings: &Settings) -> io::Result<Worker> {
        let program = match &settings.program {
            Some(program) => program.clone(),
            // Still this program after an update has replaced the file.
            None if cfg!(target_os = "linux") => PathBuf::from("/proc/self/exe"),
            None => std::env::current_exe()?,
        };
        let mut child = Command::new(program)
            .arg("__extract")
            .arg(format!("--memory-bytes={}", settings.memory_bytes))
            .arg(format!("--processor-s={}", settings.time.as_secs() + PROCESSOR_GRACE_S))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let piped = "the stream was asked for above";
        let (input, output) = (child.stdin.take().expect(piped), child.stdout.take().expect(piped));
        let mut errors = child.stderr.take().expect(piped);
        let last_words = tokio::spawn(async move {
            let (mut words, mut buffer) = (Vec::new(), [0; 1024]);
            while let Ok(count @ 1..) = errors.read(&mut buffer).await {
                words.extend_from_slice(&buffer[..count]);
                words.drain(..words.len().saturating_sub(LAST_WORDS_BYTES));
            }
            words
        });
        let (is_greeted, busy, documents) = (false, Duration::ZERO, 0);
        Ok(Worker { child, input, output, last_words, is_greeted, busy, documents })
    }

    async fn exchange(
        &mut self,
        request: &Request,
        bytes: &[u8],
        max_body_bytes: u64,
    ) -> io::Result<(Reply, Vec<u8>)> {
        if !self.is_greeted {
            let mut hello = [0; HELLO.len()];
            self.output.read_exact(&mut hello).await?;
            if &hello != HELLO {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the program is not docmill, or another version",
                ));
            }
            self.is_greeted = true;
        }
        let header = serde_json::to_vec(request)?;
        self.input.write_all(&(header.len() as u32).to_le_bytes()).await?;
        self.input.write_all(&header).await?;
        self.input.write_all(bytes).await?;
        self.input.flush().await?;
        let header_bytes = self.output.read_u32_le().await?;
        if header_bytes > MAX_HEADER_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut header = vec![0; header_bytes as usize];
        self.output.read_exact(&mut header).await?;
        let reply: Reply = serde_json::from_slice(&header)?;
        if reply.body_bytes > max_body_bytes {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; reply.body_bytes as usize];
        self.output.read_exact(&mut body).await?;
        Ok((reply, body))
    }

    async fn kill(mut self) {
        // It may have ended by itself in the meantime.
        let _ = self.child.kill().await;
    }

    /// Why a child stopped answering. Its last words are looked at and not passed on: they may hold document text.
    async fn cause_of_death(mut self, error: io::Error, settings: &Settings) -> ReadError {
        drop(self.input);
        // It has closed its output, so it is about to end; one that is not is no worker.
        let status = match tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return ReadError::Worker(error),
            Err(_) => {
                let _ = self.child.kill().await;
                return ReadError::Worker(error);
            }
        };
        let words = self.last_words.await.unwrap_or_default();
        let says = |phrase: &str| words.windows(phrase.len()).any(|window| window == phrase.as_bytes());
        let how = crash(status);
        if !self.is_greeted && !says("memory allocation of") {
            return ReadError::Worker(error);
        }
        // The phrases of the standard library, and the signal of the system's own out-of-memory killer.
        if says("memory allocation of") || how == Crash::Signal(9) {
            return ReadError::OutOfMemory { limit_bytes: settings.memory_bytes };
        }
        if says("overflowed its stack") {
            return ReadError::Crashed { how: Crash::StackOverflow };
        }
        ReadError::Crashed { how }
    }
}

#[cfg(unix)]
fn crash(status: ExitStatus) -> Crash {
    use std::os::unix::process::ExitStatusExt;
    status.signal().map_or(Crash::Exit(status.code().unwrap_or(-1)), Crash::Signal)
}

#[cfg(not(unix))]
fn crash(status: ExitStatus) -> Crash {
    Crash::Exit(status.code().unwrap_or(-1))
}

/// A document to be read. On the wire: the length of this as JSON (4 bytes, little-endian), this, the document's bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    name: String,
    task: Task,
    options: Options,
    body_bytes: u64,
}

/// What is wanted of a document.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Task {
    Text,
    Page(PageImage),
}

/// What became of it, framed in the same way before the text or the image.
#[derive(Debug, Serialize, Deserialize)]
struct Reply {
    /// `None`: its parser panicked. Of an image there is nothing to say.
    result: Option<Result<Option<About>, ExtractError>>,
    body_bytes: u64,
}

/// A text without its body.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    format: Format,
    layout: Layout,
    charset: String,
    source_offset: Option<u64>,
    places: Vec<Place>,
    gaps: Vec<Gap>,
    warnings: Vec<String>,
}

impl Reply {
    /// Does the task.
    fn to(request: &Request, bytes: Vec<u8>) -> (Reply, Vec<u8>) {
        let Request { name, task, options, .. } = request;
        let work = || match task {
            Task::Text => extract::extract_with(bytes, name, options).map(About::of),
            Task::Page(wanted) => extract::page_image(&bytes, wanted, options).map(|png| (None, png)),
        };
        let (result, body) = match catch_unwind(AssertUnwindSafe(work)) {
            Err(_) => (None, Vec::new()),
            Ok(Err(error)) => (Some(Err(error)), Vec::new()),
            Ok(Ok((about, body))) => (Some(Ok(about)), body),
        };
        (Reply { result, body_bytes: body.len() as u64 }, body)
    }

    fn about(self) -> Result<Option<About>, ReadError> {
        Ok(self.result.ok_or(ReadError::Crashed { how: Crash::Panic })??)
    }

    fn into_text(self, body: Vec<u8>) -> Result<Text, ReadError> {
        let nonsense =
            || ReadError::Worker(io::Error::new(io::ErrorKind::InvalidData, "an answer that is no text"));
        let about = self.about()?.ok_or_else(nonsense)?;
        let body = String::from_utf8(body).map_err(|_| nonsense())?;
        let About { format, layout, charset, source_offset, places, gaps, warnings } = about;
        let charset = extract::charset_name(&charset);
        Ok(Text { body, format, layout, charset, source_offset, places, gaps, warnings })
    }
}

impl About {
    fn of(text: Text) -> (Option<About>, Vec<u8>) {
        let Text { body, format, layout, charset, source_offset, places, gaps, warnings } = text;
        let charset = charset.to_owned();
        let about = About { format, layout, charset, source_offset, places, gaps, warnings };
        (Some(about), body.into_bytes())
    }
}

/// The child: reads documents from standard input until it ends. `docmill __extract` does nothing else.
pub fn serve(memory_bytes: u64, processor_s: u64) -> io::Result<()> {
    limit(memory_bytes, processor_s);
    // A panic's message quotes what it panicked over.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    output.write_all(HELLO)?;
    output.flush()?;
    loop {
        let mut length = [0; 4];
        match input.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut header = vec![0; u32::from_le_bytes(length) as usize];
        input.read_exact(&mut header)?;
        let request: Request = serde_json::from_slice(&header)?;
        let mut bytes = vec![0; request.body_bytes as usize];
        input.read_exact(&mut bytes)?;
        let (reply, body) = Reply::to(&request, bytes);
        let header = serde_json::to_vec(&reply)?;
        output.write_all(&(header.len() as u32).to_le_bytes())?;
        output.write_all(&header)?;
        output.write_all(&body)?;
        output.flush()?;
    }
}

/// Limits that the system enforces. No core is dumped: it would hold the document.
#[cfg(unix)]
fn limit(memory_bytes: u64, processor_s: u64) {
    use rustix::process::{Resource, Rlimit, setrlimit};
    for (resource, most) in [(Resource::As, memory_bytes), (Resource::Cpu, processor_s), (Resource::Core, 0)]
    {
        // Where the system has no such limit, the others and the wall clock hold.
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    }
}

#[cfg(not(unix))]
fn limit(_: u64, _: u64) {}
