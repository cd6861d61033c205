//! The journal of a transaction that is under way: what will be done is on the disk before it is.
//!
//! A record is its length (4 bytes, little-endian), the first 8 bytes of its SHA-256, and JSON. A
//! record that was torn by a crash at the end of the file was never acted upon, and is dropped.
//! Damage anywhere else is stepped over and remembered: the first record names every step, so what
//! a lost record said can be looked up there.

mod frames;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use frames::{MAGIC, frame};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::location::Location;
use crate::object::{Object, Stamp};
use crate::plan::Scope;
use crate::state::{self, Manifest};
use crate::step::Step;

/// Where the journal lies while a transaction is under way.
pub const PATH: &str = "/var/lib/vgpu/journal";
/// Longest journal that is read: 256 MiB.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;

/// The time of the state directory's parent before and after we made that directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ParentTimes {
    /// Before our first change.
    pub before: Stamp,
    /// After it; another value says that others changed the parent since.
    pub after: Stamp,
}

/// A step together with what it found: all that its inverse needs.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Change {
    /// The generation that made it; part of the hidden name beside its path.
    pub generation: u64,
    /// Its number within that generation; the other part.
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

impl Change {
    /// The hidden name that the change has beside its path; none for the service manager.
    #[must_use]
    pub fn aside(&self) -> Option<PathBuf> {
        self.step.path().map(|path| crate::change::hidden(path, self.generation, self.index))
    }
}

/// A hidden file of ours that is about to be collected.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Obsolete {
    /// Where it lies.
    pub aside: Location,
    /// What lies there; anything else is left.
    pub object: Object,
    /// The time that its directory keeps.
    pub parent_mtime: Stamp,
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
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
        /// Every step of the plan: a damaged intent can be told from these.
        steps: Vec<Step>,
    },
    /// Old generations are about to be joined into one.
    Collect {
        /// The one.
        manifest: Box<Manifest>,
        /// Hidden files of ours that nothing needs any more.
        obsolete: Vec<Obsolete>,
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
        /// True if two names could not be exchanged there, and the original got a second name
        /// first.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        two_names: bool,
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
    /// A step could not be undone, because others changed its path.
    Left {
        /// The step's generation.
        generation: u64,
        /// Its number.
        index: u32,
        /// What was seen.
        why: String,
        /// True if `--force` could still undo it.
        restorable: bool,
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
    /// Where the file does not hold what was written: the offsets of what could not be read.
    pub damage: Vec<u64>,
    /// True if it ends in bytes that are no record.
    pub is_torn: bool,
}

impl<'a> Journal<'a> {
    /// Makes the journal with its first record.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if it cannot be written, or lies there already.
    pub fn begin(host: &'a dyn Host, first: Record) -> Result<Self> {
        let mut content = MAGIC.to_vec();
        content.extend(frame(&first)?);
        host.make_file(Path::new(PATH), &content, 0o600)?;
        host.sync_dir(Path::new(state::DIR))?;
        let bytes = content.len() as u64;
        Ok(Self { host, bytes, records: vec![first], damage: Vec::new(), is_torn: false })
    }

    /// Makes the journal as [`Journal::begin`] does; if that fails, takes back what it left: half
    /// of a first record says nothing, and nothing was done.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if nothing is left; [`crate::Error::UndoFailed`] if something is.
    pub fn begin_or_close(host: &'a dyn Host, first: Record) -> Result<Self> {
        Self::begin(host, first).map_err(|first| match state::close(host, None) {
            Ok(()) => first,
            Err(source) => Error::UndoFailed { first: Box::new(first), source: Box::new(source) },
        })
    }

    /// Reads the journal of an interrupted transaction; none if there is none.
    ///
    /// # Errors
    /// [`crate::Error::Record`] if another version wrote it, [`crate::Error::Io`] if it cannot be
    /// read.
    pub fn interrupted(host: &'a dyn Host) -> Result<Option<Self>> {
        let Some(content) = host.read(Path::new(PATH), JOURNAL_BYTES_MAX)? else {
            return Ok(None);
        };
        let read = frames::decode(&content)?;
        let frames::Read { records, bytes, damage, is_torn } = read;
        Ok(Some(Self { host, bytes, records, damage, is_torn }))
    }

    /// Appends a record and waits until it is on the disk.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if it cannot be written.
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
    /// [`crate::Error::Io`] if the file cannot be cut.
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
                Record::Done { index, parent_after, .. } => {
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
