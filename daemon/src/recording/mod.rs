//! Recordings of conversations: made beside a real device, played to clients without one.
//!
//! A recording is a file of sections, one for each client. [`Tape`] writes one section while its
//! client is served; [`Player`] answers a client from the sections of its program, and refuses
//! the first message that differs from what was recorded.

mod difference;
mod file;
mod list;
mod player;
mod script;
mod tape;
#[cfg(test)]
mod tests;

pub(crate) use difference::Difference;
#[cfg(fuzzing)]
pub(crate) use file::parse;
pub(crate) use file::{RecordingError, Section, begin, read};
pub(crate) use list::{RecordingOptions, list};
pub(crate) use player::Player;
pub(crate) use tape::{Tape, TapedReceiver, TapedSender};

use sha2::Digest as _;
use vgpu_link::wire::control::{Snapshot, SnapshotReply};
use vgpu_link::wire::{Header, Kind, Payload, Request};

/// Memory contents of at most so many bytes stand in the recording; of longer ones that go to the
/// host, their hash does: they need only be compared.
const WHOLE_BYTES_MAX: usize = 256;

/// Finds what the host told of its devices.
pub(crate) fn snapshot(sections: &[Section]) -> Option<SnapshotReply> {
    let entries = sections.iter().flat_map(|section| &section.entries);
    let mut told = entries
        .filter(|entry| !entry.is_clients() && entry.header.opcode == Snapshot::OPCODE)
        .filter_map(|entry| SnapshotReply::from_payload(&entry.payload).ok());
    told.next()
}

/// One frame of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its memory contents.
    pub bulk: Contents,
}

/// Memory contents, or what is needed to recognise them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Contents {
    /// All of them.
    Whole(Vec<u8>),
    /// Their SHA-256; the header has their length.
    Hash([u8; 32]),
}

impl Entry {
    /// Keeps a frame: of the host's answers everything, for they will be given again.
    pub fn new(header: &Header, payload: &[u8], bulk: &[u8]) -> Self {
        let bulk = if header.kind == Kind::Reply || bulk.len() <= WHOLE_BYTES_MAX {
            Contents::Whole(bulk.to_vec())
        } else {
            Contents::Hash(sha2::Sha256::digest(bulk).into())
        };
        let header = Header {
            payload_bytes: u32::try_from(payload.len()).expect("a link limits payloads"),
            bulk_bytes: match &bulk {
                Contents::Whole(bytes) => u32::try_from(bytes.len()).expect("a link limits them"),
                Contents::Hash(_) => header.bulk_bytes,
            },
            ..*header
        };
        Self { header, payload: payload.to_vec(), bulk }
    }

    /// Says whether the client sent it.
    pub fn is_clients(&self) -> bool {
        self.header.kind != Kind::Reply
    }
}
