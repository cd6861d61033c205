//! Making a recording: halves of a link that keep what passes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use vgpu_link::wire::Header;
use vgpu_link::{Closer, LinkError, Receiver, Sender};

use super::{Entry, RecordingError, file};
use crate::log;

/// Records one client's conversation, and adds it to the file when that is over.
#[derive(Debug)]
pub(crate) struct Tape {
    path: PathBuf,
    session: u64,
    exe: String,
    /// `None` when it is over.
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    packed: DeflateEncoder<Vec<u8>>,
    /// Bytes of the entries; beyond what can be read again nothing is kept.
    bytes: u64,
}

impl Tape {
    /// Begins a section.
    pub fn new(path: PathBuf, session: u64, exe: String) -> Arc<Self> {
        let packed = DeflateEncoder::new(Vec::new(), Compression::default());
        let kept = Mutex::new(Some(Kept { packed, bytes: 0 }));
        Arc::new(Self { path, session, exe, kept })
    }

    fn keep(&self, header: &Header, payload: &[u8], bulk: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Kept { packed, bytes }) = &mut *kept else { return };
        let entry = Entry::new(header, payload, bulk);
        *bytes += file::entry_bytes(&entry);
        if *bytes <= file::ENTRIES_BYTES_MAX {
            // Into memory: it cannot fail.
            file::write_entry(packed, &entry).expect("writing to memory");
        }
    }

    /// Adds what was said so far to the file; what is said later is not kept. A thread that waits
    /// for the device may still hold the tape when the worker ends.
    pub fn finish(&self) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(kept) = kept else { return };
        if let Err(error) = self.add(kept) {
            let because = log::chain(&error);
            log::event("not-recorded", &[("session", &self.session), ("because", &because)]);
        }
    }

    fn add(&self, Kept { packed, bytes }: Kept) -> Result<(), RecordingError> {
        if bytes > file::ENTRIES_BYTES_MAX {
            return Err(RecordingError::TooLong { path: self.path.clone() });
        }
        let packed = packed.finish().map_err(|source| RecordingError::File {
            verb: "packing",
            path: self.path.clone(),
            source,
        })?;
        file::append(&self.path, self.session, &self.exe, &packed)
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Sends, and keeps what was sent.
pub(crate) struct TapedSender {
    /// The half that sends.
    pub inner: Box<dyn Sender>,
    /// Where it is kept.
    pub tape: Arc<Tape>,
}

impl Sender for TapedSender {
    fn send(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), LinkError> {
        // First kept, then sent: what the client does next comes after it in the recording.
        self.tape.keep(header, payload, bulk);
        self.inner.send(header, payload, bulk)
    }

    fn limit_sends(&mut self, limit: Option<Instant>) {
        self.inner.limit_sends(limit);
    }

    fn closer(&self) -> Closer {
        self.inner.closer()
    }
}

/// Receives, and keeps what was received.
pub(crate) struct TapedReceiver {
    /// The half that receives.
    pub inner: Box<dyn Receiver>,
    /// Where it is kept.
    pub tape: Arc<Tape>,
    frame: Option<(Header, Vec<u8>)>,
}

impl TapedReceiver {
    /// Wraps a half.
    pub fn new(inner: Box<dyn Receiver>, tape: Arc<Tape>) -> Self {
        Self { inner, tape, frame: None }
    }
}

impl Receiver for TapedReceiver {
    fn header(&mut self) -> Result<Header, LinkError> {
        self.inner.header()
    }

    fn payload(&mut self, header: &Header, payload: &mut Vec<u8>) -> Result<(), LinkError> {
        self.inner.payload(header, payload)?;
        if header.bulk_bytes == 0 {
            self.tape.keep(header, payload, &[]);
        } else {
            self.frame = Some((*header, payload.clone()));
        }
        Ok(())
    }

    fn bulk(&mut self, place: &mut [u8]) -> Result<(), LinkError> {
        self.inner.bulk(place)?;
        // The worker reads a bulk part in one piece.
        if let Some((header, payload)) = self.frame.take() {
            self.tape.keep(&header, &payload, place);
        }
        Ok(())
    }

    fn limit_waits(&mut self, limit: Option<Instant>) {
        self.inner.limit_waits(limit);
    }
}
