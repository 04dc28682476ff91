//! Segments: how records lie in an object of the log, and how a new one gets there.
//!
//! First line a header (format, number, run, who wrote it and when), then the records, then a trailer with the number of
//! records. Header and trailer both carry the segment's number, so that an object under a foreign name is not believed,
//! and the trailer tells a whole segment from one that was cut off.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    DocumentRecord, FORMAT, Holder, Intent, LedgerError, Record, ReplyKey, TEXT, holder, line, names,
};
use crate::store::{Store, StoreError};

/// A segment holds what came in during a second; an object larger than this is none.
pub(super) const SEGMENT_BYTES_MAX: u64 = 256 << 20;
/// Attempts to write a segment, besides those of the store itself. With the waits between them about 13 seconds.
const ATTEMPTS_MAX: u32 = 7;
const FIRST_WAIT: Duration = Duration::from_millis(200);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub docmill_ledger: u32,
    pub segment: u64,
    pub run: String,
    pub nonce: String,
    /// Unix seconds, to within a beat.
    pub written: u64,
}

#[derive(Serialize, Deserialize)]
struct Trailer {
    docmill_ledger: u32,
    segment: u64,
    records: u64,
}

/// What the index keeps of a record.
#[derive(Clone, Debug)]
pub(super) enum Note {
    Reply { key: ReplyKey, offset: u32, bytes: u32 },
    Document(Arc<DocumentRecord>),
    Forget(String),
    Intent(Intent),
    Claim(Box<Holder>),
    Closed,
    Progress,
}

impl Note {
    /// `offset` and `bytes` say where the record's line lies.
    pub fn of(record: Record, offset: usize, bytes: usize) -> Note {
        // A place that does not fit leads nowhere: the reply counts as lost, not as another one.
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        match record {
            Record::Reply(reply) => {
                Note::Reply { key: reply.key, offset: small(offset), bytes: small(bytes) }
            }
            Record::Document(document) => Note::Document(Arc::new(document)),
            Record::Forget { key } => Note::Forget(key),
            Record::Intent(intent) => Note::Intent(intent),
            Record::Claim { holder } => Note::Claim(Box::new(holder)),
            Record::Closed { .. } => Note::Closed,
            Record::Progress { .. } => Note::Progress,
        }
    }
}

/// What has been appended and not sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buffered {
    pub replies: usize,
    pub records: usize,
    pub bytes: usize,
}

/// The open end of the log.
#[derive(Default)]
pub(super) struct Buffer {
    lines: Vec<u8>,
    notes: Vec<Note>,
    replies: usize,
}

impl Buffer {
    pub fn append(&mut self, record: Record) {
        let offset = self.lines.len();
        let bytes = line::push(&mut self.lines, &record);
        self.replies += usize::from(matches!(record, Record::Reply(_)));
        self.notes.push(Note::of(record, offset, bytes));
    }

    pub fn buffered(&self) -> Buffered {
        Buffered { replies: self.replies, records: self.notes.len(), bytes: self.lines.len() }
    }

    pub fn seal(&mut self, header: &Header) -> Segment {
        let buffer = std::mem::take(self);
        let mut body = Vec::with_capacity(buffer.lines.len() + 512);
        line::push(&mut body, header);
        let shift = u32::try_from(body.len()).unwrap_or(u32::MAX);
        body.extend_from_slice(&buffer.lines);
        let records = buffer.notes.len() as u64;
        line::push(&mut body, &Trailer { docmill_ledger: FORMAT, segment: header.segment, records });
        let shifted = |mut note| {
            if let Note::Reply { offset, .. } = &mut note {
                *offset = offset.saturating_add(shift);
            }
            note
        };
        let notes = buffer.notes.into_iter().map(shifted).collect();
        Segment(Arc::new(Sealed { number: header.segment, body: body.into(), notes }))
    }
}

/// A sealed part of the log, on its way into the store. Clones are the same segment.
#[derive(Clone)]
pub struct Segment(Arc<Sealed>);

pub(super) struct Sealed {
    pub number: u64,
    pub body: Bytes,
    pub notes: Vec<Note>,
}

impl Segment {
    pub fn number(&self) -> u64 {
        self.0.number
    }

    pub(super) fn sealed(&self) -> &Sealed {
        &self.0
    }

    /// Writes the segment. After `Ok` it is durable. After an error it may be there all the same, and may be committed
    /// again; `Fenced` is final.
    pub async fn commit(&self, store: &dyn Store) -> Result<(), LedgerError> {
        let (mut wait, mut attempt) = (FIRST_WAIT, 1);
        loop {
            match self.try_commit(store).await {
                Err(LedgerError::Store { source, .. }) if attempt < ATTEMPTS_MAX && is_transient(&source) => {
                    tracing::warn!("writing segment {} failed, attempt {attempt}: {source}", self.number());
                    tokio::time::sleep(wait).await;
                    (wait, attempt) = (wait * 2, attempt + 1);
                }
                result => return result,
            }
        }
    }

    /// Writes the same segment once more: a store that lets it be done takes no notice of `If-None-Match`, as servers that
    /// speak S3's protocol but for the conditions of 2024 do.
    pub(super) async fn can_be_replaced(&self, store: &dyn Store) -> Result<bool, LedgerError> {
        let written = store.put_if_absent(&names::segment(self.number()), self.0.body.clone(), TEXT).await;
        written.map_err(|source| LedgerError::Store { action: "append to", source })
    }

    async fn try_commit(&self, store: &dyn Store) -> Result<(), LedgerError> {
        let error = |source| LedgerError::Store { action: "append to", source };
        let key = names::segment(self.number());
        if store.put_if_absent(&key, self.0.body.clone(), TEXT).await.map_err(error)? {
            return Ok(());
        }
        // The number is taken: by an earlier attempt of ours whose acknowledgement was lost, or by another holder.
        match store.get(&key, None, SEGMENT_BYTES_MAX).await {
            Ok(object) if object.body == self.0.body => Ok(()),
            Ok(object) => {
                let by = claimant(store, self.number(), &object.body).await;
                Err(LedgerError::Fenced { by: Box::new(by) })
            }
            Err(StoreError::TooLarge { .. }) => {
                Err(LedgerError::Fenced { by: Box::new(Holder::unknown(self.number())) })
            }
            Err(source) => Err(error(source)),
        }
    }
}

/// Worth another attempt: not a matter of names or rights.
fn is_transient(error: &StoreError) -> bool {
    use StoreError::*;
    match error {
        // A folder that can not be written now can not be written in a second either.
        Other { source, .. } => !source.is::<std::io::Error>(),
        Unreachable { .. } | Changed { .. } | NotFound { .. } => true,
        NoBucket { .. } | Credentials { .. } | Denied { .. } | TooLarge { .. } => false,
    }
}

/// Who took a number: the claim in the segment says it, or else the file of the holder.
async fn claimant(store: &dyn Store, number: u64, body: &[u8]) -> Holder {
    let mut claimed = None;
    let _ = read(number, body, |record, _, _| {
        if let Record::Claim { holder } = record {
            claimed = Some(holder);
        }
    });
    match claimed {
        Some(holder) => holder,
        None => {
            holder::read(store).await.ok().and_then(|f| f.holder).unwrap_or_else(|| Holder::unknown(number))
        }
    }
}

/// What a segment said about itself.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// `None` if the header is damaged.
    pub header: Option<Header>,
    /// It says of itself that it is the segment it is named as. What is not may be anything, and its name mean nothing.
    pub is_believed: bool,
    /// What is wrong with it, for people.
    pub loss: Option<String>,
}

/// Hands the records of a segment that are as they were written to `each`, with offset and length of their lines. Damage
/// is skipped and told.
pub(super) fn read(
    number: u64,
    body: &[u8],
    mut each: impl FnMut(Record, usize, usize),
) -> Result<Reading, LedgerError> {
    let lines: Vec<(usize, &[u8])> = lines(body).collect();
    let json =
        |line: Option<&(usize, &[u8])>| line.and_then(|(_, line)| line::json(line).map(<[u8]>::to_vec));
    let header: Option<Header> = json(lines.first()).and_then(|json| serde_json::from_slice(&json).ok());
    let trailer: Option<Trailer> = json(lines.last()).and_then(|json| serde_json::from_slice(&json).ok());
    // A later format may have other fields, but it will have this one.
    #[derive(Deserialize)]
    struct Version {
        docmill_ledger: u32,
    }
    let version = json(lines.first()).and_then(|json| serde_json::from_slice(&json).ok());
    if let Some(Version { docmill_ledger: version }) = version
        && version > FORMAT
    {
        return Err(LedgerError::TooNew { what: names::segment(number), version });
    }
    let numbers = [header.as_ref().map(|h| h.segment), trailer.as_ref().map(|t| t.segment)];
    if !numbers.contains(&Some(number)) || numbers.iter().flatten().any(|n| *n != number) {
        let loss = Some("is not the segment it is named as; none of it was used".to_owned());
        return Ok(Reading { header: None, is_believed: false, loss });
    }
    let records = &lines[usize::from(header.is_some())..lines.len() - usize::from(trailer.is_some())];
    let mut good = 0;
    for (offset, line) in records {
        let record = line::json(line).and_then(|json| serde_json::from_slice(json).ok());
        if let Some(record) = record {
            good += 1;
            each(record, *offset, line.len());
        }
    }
    let loss = match &trailer {
        None => Some(format!("has lost its end; {good} records were good")),
        Some(trailer) if trailer.records > good => {
            Some(format!("has lost {} of {} records", trailer.records - good, trailer.records))
        }
        Some(_) if header.is_none() => Some("has lost its first line".to_owned()),
        Some(trailer) if trailer.records < good || records.len() as u64 > good => Some(format!(
            "holds {} lines that were not written with it",
            records.len() as u64 - trailer.records
        )),
        Some(_) => None,
    };
    Ok(Reading { header, is_believed: true, loss })
}

/// Lines with their offsets. What comes after the last line feed is no line.
fn lines(body: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    body.split_inclusive(|b| *b == b'\n')
        .scan(0, |next, line| {
            let offset = *next;
            *next += line.len();
            Some((offset, line))
        })
        .filter_map(|(offset, line)| Some((offset, line.strip_suffix(b"\n")?)))
}
