//! The journal of a transaction that is under way: what will be done is on the disk before it is.
//!
//! A record is its length (4 bytes, little-endian), the first 8 bytes of its SHA-256, and JSON. A
//! record that was torn by a crash at the end of the file was never acted upon, and is dropped;
//! damage anywhere else is an error.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::object::{Object, Stamp};
use crate::plan::Scope;
use crate::step::Step;

/// Where the journal lies while a transaction is under way.
pub const PATH: &str = "/var/lib/vgpu/journal";
/// First bytes of the file: the format and its version.
const MAGIC: &[u8] = b"vgpu journal 1\n";
/// Longest record: 16 MiB. A drop-in of 1 MiB, the most that is read, fits many times.
const RECORD_BYTES_MAX: usize = 16 << 20;
/// Longest journal that is read: 256 MiB.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;
const FRAME_BYTES: usize = 12;

/// The time of the state directory's parent before and after we made that directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentTimes {
    /// Before our first change.
    pub before: Stamp,
    /// After it; another value says that others changed the parent since.
    pub after: Stamp,
}

/// A step together with what it found: all that its inverse needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its number within the transaction; part of the hidden name beside its path.
    pub index: u32,
    /// The step.
    pub step: Step,
    /// What lay at the path.
    pub before: Object,
    /// The time of the path's directory before the step.
    pub parent_mtime: Stamp,
    /// The time of the path's directory after the step; unknown if the step was interrupted.
    pub parent_after: Option<Stamp>,
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// An apply begins.
    Apply {
        /// The generation that it makes.
        generation: u64,
        /// How far it reaches.
        scope: Scope,
        /// Seconds since 1970.
        time: u64,
        /// Set by the transaction that made the state directory.
        parent_times: Option<ParentTimes>,
    },
    /// A rollback begins.
    Rollback {
        /// The generation that stays; 0 is the state before the first.
        to: u64,
        /// True if what others changed is to go, too.
        force: bool,
        /// True if no service is to be restarted.
        no_restart: bool,
    },
    /// A step is about to be taken.
    Intent {
        /// The step and its inverse.
        change: Change,
    },
    /// A step was taken.
    Done {
        /// Its number.
        index: u32,
        /// The time of its directory afterwards.
        parent_after: Stamp,
    },
    /// A step of the service manager is about to be taken.
    Service {
        /// The step.
        step: Step,
    },
    /// A step is about to be undone by a rollback.
    Undo {
        /// The step's generation.
        generation: u64,
        /// Its number.
        index: u32,
        /// True if its directory gets its old time back: nobody else changed the directory.
        restore_mtime: bool,
    },
    /// Everything was done: what is left only tidies up.
    Commit {
        /// Steps that a rollback could not undo but still could: generation and number.
        kept: Vec<(u64, u32)>,
        /// The times from the first generation, which a rollback is about to remove.
        parent_times: Option<ParentTimes>,
    },
}

/// The journal of the transaction that is under way.
pub struct Journal<'a> {
    host: &'a dyn Host,
    bytes: u64,
    /// Every sound record so far.
    pub records: Vec<Record>,
}

impl<'a> Journal<'a> {
    /// Makes the journal with its first record.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written, or lies there already.
    pub fn begin(host: &'a dyn Host, first: Record) -> Result<Self> {
        let mut content = MAGIC.to_vec();
        content.extend(frame(&first)?);
        host.make_file(Path::new(PATH), &content, 0o600)?;
        host.sync_dir(Path::new(crate::state::DIR))?;
        Ok(Self { host, bytes: content.len() as u64, records: vec![first] })
    }

    /// Reads the journal of an interrupted transaction; none if there is none.
    ///
    /// # Errors
    /// [`Error::Record`] if it is damaged, [`Error::Io`] if it cannot be read.
    pub fn interrupted(host: &'a dyn Host) -> Result<Option<Self>> {
        let Some(content) = host.read(Path::new(PATH), JOURNAL_BYTES_MAX)? else {
            return Ok(None);
        };
        let (records, bytes) = decode(&content)?;
        Ok(Some(Self { host, bytes, records }))
    }

    /// Appends a record and waits until it is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn append(&mut self, record: Record) -> Result<()> {
        let framed = frame(&record)?;
        self.host.append(Path::new(PATH), self.bytes, &framed)?;
        self.bytes += framed.len() as u64;
        self.records.push(record);
        Ok(())
    }

    /// Takes a commit record away again, also one that was only half written.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be cut.
    pub fn uncommit(&mut self) -> Result<()> {
        if let Some(Record::Commit { .. }) = self.records.last() {
            let commit = self.records.pop();
            let bytes = commit.map_or(Ok(0), |record| frame(&record).map(|text| text.len()))?;
            self.bytes -= bytes as u64;
        }
        self.host.append(Path::new(PATH), self.bytes, b"")
    }

    /// The steps that were begun, in order, each with the time of its directory afterwards.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        for record in &self.records {
            match record {
                Record::Intent { change } => changes.push(change.clone()),
                Record::Done { index, parent_after } => {
                    for change in changes.iter_mut().filter(|change| change.index == *index) {
                        change.parent_after = Some(*parent_after);
                    }
                }
                _ => {}
            }
        }
        changes
    }

    /// The steps of the service manager that were begun, in order.
    #[must_use]
    pub fn services(&self) -> Vec<Step> {
        let service = |record: &Record| match record {
            Record::Service { step } => Some(step.clone()),
            _ => None,
        };
        self.records.iter().filter_map(service).collect()
    }
}

fn wrong(what: impl Into<String>) -> Error {
    Error::Record { path: PATH.into(), what: what.into() }
}

fn frame(record: &Record) -> Result<Vec<u8>> {
    let text = serde_json::to_vec(record).map_err(|error| wrong(error.to_string()))?;
    let bytes = u32::try_from(text.len()).ok().filter(|_| text.len() <= RECORD_BYTES_MAX);
    let mut framed = bytes.ok_or_else(|| wrong("a record is too long"))?.to_le_bytes().to_vec();
    framed.extend_from_slice(&Sha256::digest(&text)[..8]);
    framed.extend(text);
    Ok(framed)
}

/// Reads every sound record and says how many bytes they take.
fn decode(content: &[u8]) -> Result<(Vec<Record>, u64)> {
    let Some(mut rest) = content.strip_prefix(MAGIC) else {
        // Torn while it was made: nothing had begun.
        return if MAGIC.starts_with(content) || content.iter().all(|byte| *byte == 0) {
            Ok((Vec::new(), 0))
        } else {
            Err(wrong("it is not a journal of version 1"))
        };
    };
    let mut records = Vec::new();
    while rest.len() >= FRAME_BYTES {
        let length = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let end = FRAME_BYTES + length;
        let (Some(text), true) = (rest.get(FRAME_BYTES..end), length <= RECORD_BYTES_MAX) else {
            break;
        };
        if Sha256::digest(text)[..8] != rest[4..FRAME_BYTES] {
            if end == rest.len() {
                break;
            }
            let offset = content.len() - rest.len();
            return Err(wrong(format!("the record at byte {offset} is damaged")));
        }
        let record = serde_json::from_slice(text);
        records.push(record.map_err(|error| wrong(error.to_string()))?);
        rest = &rest[end..];
    }
    Ok((records, (content.len() - rest.len()) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut content = MAGIC.to_vec();
        content.extend(frame(&Record::Rollback { to: 0, force: false, no_restart: true }).unwrap());
        content.extend(frame(&Record::Commit { kept: vec![(1, 2)], parent_times: None }).unwrap());
        content
    }

    #[test]
    fn a_journal_cut_at_any_byte_gives_the_records_before_the_cut() {
        let content = sample();
        let (whole, bytes) = decode(&content).unwrap();
        assert_eq!((whole.len(), bytes), (2, content.len() as u64));
        for cut in 0..content.len() {
            let (records, bytes) = decode(&content[..cut]).unwrap();
            assert!(records.len() < 2 && bytes <= cut as u64, "cut at {cut}");
            assert_eq!(records[..], whole[..records.len()]);
        }
    }

    #[test]
    fn damage_before_the_last_record_is_an_error() {
        let mut content = sample();
        content[MAGIC.len() + FRAME_BYTES + 3] ^= 1;
        assert!(matches!(decode(&content), Err(Error::Record { .. })));
        assert!(matches!(decode(b"something else"), Err(Error::Record { .. })));
    }
}
