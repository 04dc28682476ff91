//! Archives under way: each member is a document of its own, `archive.zip!/path`, with a result and a state; the archive
//! itself has a state only, so that the next run knows from the listing whether to open it again.
//!
//! Members are unpacked one at a time, when there is room for one. A member that is as it was when its result was written
//! (its entity tag is a hash of its bytes) is skipped, whatever has changed around it.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc::{self, Receiver};

use super::conductor::{Done, Loop};
use super::document::Origin;
use super::intake::{Todo, todo};
use super::prepare::{ArchiveObject, PrepareError, prepare_member};
use crate::cpu;
use crate::domain::{DocumentState, Event, ObjectMeta, Usd};
use crate::extract::{ExtractError, Member, Members};
use crate::ledger::{DocumentRecord, LedgerError};

/// Where the members of an archive come from.
pub(super) type Unpacked = Receiver<Result<Member, ExtractError>>;

/// An archive whose members are being done.
pub(super) struct Archive {
    origin: Origin,
    /// What earlier runs made of its members.
    states: BTreeMap<String, DocumentRecord>,
    /// `None`: a member is on its way, or there are no more.
    pub resting: Option<Unpacked>,
    is_read: bool,
    /// Members that were handed out, and those of them that have not ended.
    members: u64,
    open: u64,
    excluded: u64,
    not_done: u64,
    fault: Option<String>,
}

/// Unpacks an archive, member by member, for whoever takes them from the other end.
pub(super) fn hand_out(object: ArchiveObject) -> (Unpacked, impl Future<Output = ()> + Send + 'static) {
    let ArchiveObject { bytes, options, are_lines, meta: _ } = object;
    let (sender, receiver) = mpsc::channel(1);
    let work = async move {
        if are_lines {
            for member in lines(&bytes, options.limits.max_members) {
                // Nobody listens any more when the run is stopped.
                if sender.send(member).await.is_err() {
                    return;
                }
            }
            return;
        }
        let members = sender.clone();
        let walk = cpu::run_beside(move || match Members::open(bytes, &options) {
            Ok(opened) => {
                for member in opened.into_iter().flatten() {
                    if members.blocking_send(member).is_err() {
                        return;
                    }
                }
            }
            // Nobody listens any more when the run is stopped.
            Err(error) => drop(members.blocking_send(Err(error))),
        });
        if walk.await.is_err() {
            let damaged = ExtractError::ArchiveCutOff;
            let _ = sender.send(Err(damaged)).await;
        }
    };
    (receiver, work)
}

/// The lines of a file of records, each as a member that is named by its number.
fn lines(bytes: &[u8], max_members: u32) -> impl Iterator<Item = Result<Member, ExtractError>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let numbered = bytes.split(|byte| *byte == b'\n').zip(1u32..);
    let filled = numbered.filter(|(line, _)| !line.trim_ascii().is_empty());
    filled.zip(0u32..=max_members).map(move |((line, number), count)| {
        if count == max_members {
            return Err(ExtractError::TooManyMembers { max_members });
        }
        let (path, size_bytes) = (format!("{number:09}.json"), line.len() as u64);
        Ok(Member { path, size_bytes, bytes: Ok(line.trim_ascii().to_vec()) })
    })
}

/// What a member is as an object of its own.
pub(super) fn member_meta(archive: &str, member: &Member) -> ObjectMeta {
    let key = format!("{archive}!/{}", member.path);
    let bytes = member.bytes.as_deref().unwrap_or_default();
    let etag = member.bytes.is_ok().then(|| hex::encode(&Sha256::digest(bytes)[..16]));
    ObjectMeta { key, size: bytes.len() as u64, etag }
}

impl Loop<'_> {
    /// Opens an archive: looks up what is known of its members.
    pub(super) fn open_archive(&mut self, number: u64, mut origin: Origin, object: ArchiveObject) {
        origin.meta = object.meta.clone();
        let below = format!("{}!/", origin.meta.key);
        let states = self.journal.states(&below);
        let (unpacked, work) = hand_out(object);
        self.intake.spawn(async move {
            work.await;
            Done::Scrolled
        });
        self.intake.spawn(async move {
            let states = states.all_below(&below).await;
            Done::Archive(number, origin, unpacked, states)
        });
    }

    pub(super) fn archive_opened(
        &mut self,
        number: u64,
        origin: Origin,
        unpacked: Unpacked,
        states: Result<BTreeMap<String, DocumentRecord>, LedgerError>,
    ) {
        // What can not be looked up is done again, from the ledger's answers.
        let states = states.unwrap_or_default();
        let archive = Archive {
            origin,
            states,
            resting: Some(unpacked),
            is_read: false,
            members: 0,
            open: 0,
            excluded: 0,
            not_done: 0,
            fault: None,
        };
        self.archives.insert(number, archive);
    }

    /// Takes the next member of an archive, if there is one open.
    pub(super) fn unpack_next(&mut self) -> bool {
        let resting = self.archives.iter_mut().find_map(|(n, archive)| Some((*n, archive.resting.take()?)));
        let Some((number, mut unpacked)) = resting else { return false };
        self.intake.spawn(async move {
            let member = unpacked.recv().await;
            Done::Member(number, unpacked, member)
        });
        true
    }

    pub(super) fn member(
        &mut self,
        number: u64,
        unpacked: Unpacked,
        member: Option<Result<Member, ExtractError>>,
    ) {
        let Some(archive) = self.archives.get_mut(&number) else { return };
        match member {
            Some(Ok(member)) => {
                archive.resting = Some(unpacked);
                self.start_member(number, member);
            }
            Some(Err(error)) => {
                archive.resting = Some(unpacked);
                archive.fault.get_or_insert_with(|| error.to_string());
            }
            None => archive.is_read = true,
        }
        self.finish_archive(number);
    }

    fn start_member(&mut self, number: u64, member: Member) {
        let Some(archive) = self.archives.get_mut(&number) else { return };
        let meta = member_meta(&archive.origin.meta.key, &member);
        if self.job.pipeline.source().excludes(&meta.key) {
            archive.excluded += 1;
            return self.emit(Event::Listed { documents: 0, excluded: 1, unchanged: 0, last: false });
        }
        // The archive was listed as one document: its first member takes that place.
        let documents = u64::from(archive.members > 0);
        archive.members += 1;
        let state = archive.states.remove(&meta.key);
        match todo(&meta, state.as_ref(), &self.fingerprint, &self.job) {
            Todo::Unchanged => {
                self.emit(Event::Listed { documents, excluded: 0, unchanged: 1, last: false });
            }
            Todo::GivenUp { state, reason } => {
                archive.not_done += 1;
                self.emit(Event::Listed { documents, excluded: 0, unchanged: 0, last: false });
                let (key, outputs, cost) = (meta.key, Vec::new(), Usd::ZERO);
                let reason = Some(reason);
                self.emit(Event::DocumentFinished { key, state, reason, outputs, cost });
            }
            Todo::Do { failures } => {
                archive.open += 1;
                self.emit(Event::Listed { documents, excluded: 0, unchanged: 0, last: false });
                let outputs = state.map(|state| state.outputs).unwrap_or_default();
                let origin = Origin { meta: meta.clone(), failures, outputs, archive: Some(number) };
                self.prepare_member(origin, member);
            }
        }
    }

    fn prepare_member(&mut self, origin: Origin, member: Member) {
        let number = self.next_number();
        let meta = origin.meta.clone();
        self.preparing.insert(number, meta.size);
        self.emit(Event::DocumentStarted { key: meta.key.clone(), size_bytes: meta.size });
        let job = self.job.clone();
        self.intake.spawn(async move {
            let prepared = match member.bytes {
                Ok(bytes) => prepare_member(job, meta, bytes).await,
                Err(error) => Err(PrepareError::Read(error.into())),
            };
            Done::Prepared(number, origin, prepared)
        });
    }

    /// Books that a member has ended.
    pub(super) fn member_ended(&mut self, archive: Option<u64>, state: DocumentState) {
        let Some(number) = archive else { return };
        let Some(archive) = self.archives.get_mut(&number) else { return };
        archive.open -= 1;
        archive.not_done += u64::from(state != DocumentState::Done);
        self.finish_archive(number);
    }

    fn finish_archive(&mut self, number: u64) {
        let Some(archive) = self.archives.get(&number) else { return };
        if archive.open > 0 || !archive.is_read {
            return;
        }
        let Some(archive) = self.archives.remove(&number) else { return };
        let Archive { mut origin, members, excluded, not_done, fault, .. } = archive;
        origin.archive = None;
        let key = origin.meta.key.clone();
        if fault.is_none() && excluded > 0 {
            // What is left out today may be asked for tomorrow: the archive keeps no state, and is opened again.
            return self.emit(match members {
                0 => {
                    let reason = Some("every member of the archive is excluded".to_owned());
                    let (state, outputs, cost) = (DocumentState::Skipped, Vec::new(), Usd::ZERO);
                    Event::DocumentFinished { key, state, reason, outputs, cost }
                }
                documents => Event::ArchiveFinished { key, documents, state: archive_state(not_done) },
            });
        }
        let fault = fault.or_else(|| (members == 0).then(|| "the archive holds no documents".to_owned()));
        let Some(fault) = fault else {
            let state = archive_state(not_done);
            let event = Event::ArchiveFinished { key, documents: members, state };
            return self.keep_state(origin, state, None, Vec::new(), event);
        };
        // Its members have taken its place among the documents; what went wrong with itself is one more.
        let documents = u64::from(members > 0);
        self.emit(Event::Listed { documents, excluded: 0, unchanged: 0, last: false });
        self.document_ended(origin, DocumentState::Failed, Some(fault), Vec::new(), Usd::ZERO);
    }
}

fn archive_state(not_done: u64) -> DocumentState {
    if not_done > 0 { DocumentState::Partial } else { DocumentState::Done }
}
