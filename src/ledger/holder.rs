//! Who holds the ledger: the process that says so in `holder.jsonl` and says it again every ten seconds. It decides who
//! may start and what a refused run is told. It does not protect the log, which protects itself: a holder that was taken
//! for dead and was not finds out at its next segment.
//!
//! Whether a holder lives is asked of the system where it can tell, on the same machine. Elsewhere clocks can not be
//! compared, so the file is watched for a sign of life. Only a holder not seen for longer than any clock may be wrong is
//! given up at once: S3 refuses requests of a clock that is 15 minutes off (RequestTimeTooSkewed).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{FORMAT, LedgerError, TEXT, line, names};
use crate::store::{Conditional, Store, StoreError};

/// How often a holder is to say that it lives.
pub const BEAT: Duration = Duration::from_secs(10);
/// Much more than a holder's line.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Lost races for `holder.jsonl` before a beat is let go; the next one comes soon.
const RACES_MAX: u32 = 5;

/// The process that wants to hold the ledger, and what only the edge can know. Times are Unix seconds.
pub struct Me {
    pub run: String,
    /// A name for people.
    pub host: String,
    /// Equal where process ids name the same processes, and after no restart (on Linux: boot id and PID namespace).
    /// Empty if that is not known.
    pub machine: String,
    pub pid: u32,
    /// When the process started, in whatever the system counts in; tells it from a later one with its id.
    pub process_started: u64,
    /// Drawn anew each time a ledger is opened.
    pub nonce: u64,
    pub now: u64,
    /// Whether the process with this id and start lives on this machine.
    pub is_alive: Box<dyn Fn(u32, u64) -> bool + Send + Sync>,
}

/// When another holder counts as gone.
#[derive(Clone, Debug)]
pub struct Options {
    /// Take the ledger whoever holds it; that one will find itself fenced.
    pub take_over: bool,
    /// On another machine, and not seen for so long by our clock: given up at once.
    pub stale: Duration,
    /// Otherwise watched for so long.
    pub watch: Duration,
    /// How often it is looked at meanwhile.
    pub look: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            take_over: false,
            stale: Duration::from_mins(15),
            watch: BEAT.mul_f32(2.5),
            look: Duration::from_secs(5),
        }
    }
}

/// A holder as it wrote itself down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub run: String,
    pub host: String,
    pub machine: String,
    pub pid: u32,
    pub process_started: u64,
    pub nonce: String,
    /// The segment with its claim. Grows from holder to holder.
    pub claim: u64,
    /// The segment it will write next, as of `seen`.
    pub next_segment: u64,
    /// Unix seconds, as the next two.
    pub started: u64,
    pub seen: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
}

impl Holder {
    pub(super) fn new(me: &Me) -> Holder {
        Holder {
            run: me.run.clone(),
            host: me.host.clone(),
            machine: me.machine.clone(),
            pid: me.pid,
            process_started: me.process_started,
            nonce: format!("{:016x}", me.nonce),
            claim: 0,
            next_segment: 0,
            started: me.now,
            seen: me.now,
            ended: None,
        }
    }

    /// One of which nothing is known but that it was there.
    pub(super) fn unknown(claim: u64) -> Holder {
        Holder {
            run: String::new(),
            host: String::new(),
            machine: String::new(),
            pid: 0,
            process_started: 0,
            nonce: String::new(),
            claim,
            next_segment: claim + 1,
            started: 0,
            seen: 0,
            ended: None,
        }
    }
}

/// `run r on host h, process 1, started 2026-11-20T16:00:00Z, last seen 2026-11-20T16:01:10Z`
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holder { run, host, pid, claim, .. } = self;
        if self.nonce.is_empty() {
            return write!(f, "one that left nothing but its claim, segment {claim}");
        }
        let (started, seen) = (date(self.started), date(self.seen));
        write!(f, "run {run} on {host}, process {pid}, started {started}, last seen {seen}")
    }
}

fn date(unix_seconds: u64) -> String {
    let time = i64::try_from(unix_seconds).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| "at an unknown time".to_owned())
}

#[derive(Serialize, Deserialize)]
struct File {
    docmill_ledger: u32,
    #[serde(default)]
    holder: Option<Holder>,
}

/// `holder.jsonl` as it was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// `None` if there is none, or none that can be read.
    pub holder: Option<Holder>,
    pub exists: bool,
    etag: Option<String>,
    body: Vec<u8>,
}

impl Found {
    pub fn is_damaged(&self) -> bool {
        self.exists && self.holder.is_none()
    }

    /// Whether `claimant` came after the holder in the file.
    pub fn is_older_than(&self, claimant: &Holder) -> bool {
        self.holder.as_ref().is_none_or(|holder| holder.claim < claimant.claim)
    }

    /// Whether a holder has written that lives, as far as the file says.
    fn is_held(&self) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.ended.is_none())
    }
}

pub(super) async fn read(store: &dyn Store) -> Result<Found, LedgerError> {
    let object = match store.get(names::HOLDER, None, FILE_BYTES_MAX).await {
        Ok(object) => object,
        Err(StoreError::NotFound { .. }) => return Ok(Found::default()),
        // It is none of ours, so it says nothing.
        Err(StoreError::TooLarge { .. }) => return Ok(Found { exists: true, ..Found::default() }),
        Err(source) => return Err(LedgerError::Store { action: "read the holder of", source }),
    };
    let line = object.body.strip_suffix(b"\n").unwrap_or(&object.body);
    let file = line::json(line).and_then(|json| serde_json::from_slice::<File>(json).ok());
    if let Some(file) = file.as_ref().filter(|file| file.docmill_ledger > FORMAT) {
        return Err(LedgerError::TooNew { what: names::HOLDER.to_owned(), version: file.docmill_ledger });
    }
    let holder = file.and_then(|file| file.holder);
    Ok(Found { holder, exists: true, etag: object.meta.etag, body: object.body })
}

/// Waits until nobody else holds the ledger, as far as can be told, and gives what was found at last. `claimant` is who
/// claimed the log last, who may not have come to say so in the file.
pub(super) async fn wait_for_turn(
    store: &dyn Store,
    me: &Me,
    options: &Options,
    claimant: Option<&Holder>,
) -> Result<Found, LedgerError> {
    let mut first = read(store).await?;
    if let Some(claimant) = claimant.filter(|claimant| first.is_older_than(claimant)) {
        first.holder = Some(claimant.clone());
    }
    if options.take_over {
        return Ok(first);
    }
    match judge(&first, me, options) {
        Verdict::Free => return Ok(first),
        Verdict::Held => return Err(held(first)),
        Verdict::Unknown => {}
    }
    if let Some(holder) = &first.holder {
        let seconds = options.watch.as_secs();
        tracing::warn!("watching for {seconds} s whether another run still lives: {holder}");
    }
    let mut waited = Duration::ZERO;
    while waited < options.watch {
        tokio::time::sleep(options.look).await;
        waited += options.look.max(Duration::from_millis(1));
        let found = read(store).await?;
        if found.body != first.body {
            return if found.is_held() { Err(held(found)) } else { Ok(found) };
        }
    }
    Ok(first)
}

enum Verdict {
    Free,
    Held,
    Unknown,
}

fn judge(found: &Found, me: &Me, options: &Options) -> Verdict {
    let Some(holder) = &found.holder else {
        return if found.exists { Verdict::Unknown } else { Verdict::Free };
    };
    if holder.ended.is_some() {
        return Verdict::Free;
    }
    if !me.machine.is_empty() && me.machine == holder.machine {
        let is_alive = (me.is_alive)(holder.pid, holder.process_started);
        return if is_alive { Verdict::Held } else { Verdict::Free };
    }
    let age = Duration::from_secs(me.now.saturating_sub(holder.seen));
    if age > options.stale { Verdict::Free } else { Verdict::Unknown }
}

fn held(found: Found) -> LedgerError {
    LedgerError::Held { by: Box::new(found.holder.unwrap_or_else(|| Holder::unknown(0))) }
}

/// Keeps `holder.jsonl` up to date for one holder.
pub(super) struct Announcer {
    store: Arc<dyn Store>,
    /// Of the file as it was last seen.
    etag: Option<String>,
}

impl Announcer {
    pub fn new(store: Arc<dyn Store>, found: &Found) -> Self {
        Announcer { store, etag: found.etag.clone() }
    }

    /// Writes `holder` into the file. Over a holder with a later claim it is never written: that one has taken over.
    pub async fn announce(&mut self, holder: &Holder) -> Result<(), LedgerError> {
        let error = |source| LedgerError::Store { action: "write the holder of", source };
        let file = File { docmill_ledger: FORMAT, holder: Some(holder.clone()) };
        let mut body = Vec::new();
        line::push(&mut body, &file);
        let body = Bytes::from(body);
        for _ in 0..RACES_MAX {
            let Some(etag) = self.etag.take() else {
                let found = read(&*self.store).await?;
                if let Some(by) = found.holder.filter(|other| other.claim > holder.claim) {
                    return Err(LedgerError::Fenced { by: Box::new(by) });
                }
                self.etag = found.etag;
                if !found.exists {
                    if self.store.put_if_absent(names::HOLDER, body.clone(), TEXT).await.map_err(error)? {
                        return Ok(());
                    }
                } else if self.etag.is_none() {
                    // A store without entity tags has nothing to match.
                    self.store.put(names::HOLDER, body, TEXT).await.map_err(error)?;
                    return Ok(());
                }
                continue;
            };
            match self.store.put_if_match(names::HOLDER, body.clone(), TEXT, &etag).await.map_err(error)? {
                Conditional::Replaced(etag) => {
                    self.etag = etag;
                    return Ok(());
                }
                // No entity tag to go by next time: it is read before it is written then.
                Conditional::Unconditional(_) => return Ok(()),
                // Another holder's file, or our own whose acknowledgement was lost: it is read and judged.
                Conditional::Refused => {}
            }
        }
        Ok(())
    }
}
