//! Making a recording: halves of a link that keep what passes.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use vgpu_link::wire::Header;
use vgpu_link::{Closer, LinkError, Receiver, Sender};

use super::{Entry, file};
use crate::log;

/// Records one client's conversation, and adds it to the file when it is dropped.
#[derive(Debug)]
pub(crate) struct Tape {
    path: PathBuf,
    session: u64,
    exe: String,
    packed: Mutex<DeflateEncoder<Vec<u8>>>,
}

impl Tape {
    /// Begins a section.
    pub fn new(path: PathBuf, session: u64, exe: String) -> Arc<Self> {
        let packed = Mutex::new(DeflateEncoder::new(Vec::new(), Compression::default()));
        Arc::new(Self { path, session, exe, packed })
    }

    fn keep(&self, header: &Header, payload: &[u8], bulk: &[u8]) {
        let entry = Entry::new(header, payload, bulk);
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        // Into memory: it cannot fail.
        file::write_entry(&mut *packed, &entry).expect("writing to memory");
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        let packed = self.packed.get_mut().unwrap_or_else(PoisonError::into_inner);
        let ended = packed.flush().and_then(|()| {
            packed.try_finish()?;
            Ok(std::mem::take(packed.get_mut()))
        });
        let ended = ended.map_err(|source| super::RecordingError::File {
            verb: "packing",
            path: self.path.clone(),
            source,
        });
        let added =
            ended.and_then(|packed| file::append(&self.path, self.session, &self.exe, &packed));
        if let Err(error) = added {
            let because = log::chain(&error);
            log::event("not-recorded", &[("session", &self.session), ("because", &because)]);
        }
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
