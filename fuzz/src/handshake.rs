//! Both sides of the handshake, and the frames after it, over a stream of made-up bytes.

use std::io::{self, IoSlice};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use vgpu_link::handshake::{introduce, meet, part, welcome};
use vgpu_link::wire::Text;
use vgpu_link::wire::control::{Hello, Role, Welcome};
use vgpu_link::{Bulk, Link, LinkError, Receiver as _, Stream, StreamLink};

/// A peer who says what stands in the input, in pieces of the length that the input says.
struct Scripted {
    rest: Mutex<Vec<u8>>,
    piece: usize,
}

impl Stream for Scripted {
    fn read(&self, into: &mut [u8], _limit: Option<Instant>) -> io::Result<usize> {
        let mut rest = self.rest.lock().expect("one thread");
        let count = into.len().min(self.piece).min(rest.len());
        into[..count].copy_from_slice(&rest[..count]);
        rest.drain(..count);
        Ok(count)
    }

    fn write(&self, parts: &[IoSlice<'_>], _limit: Option<Instant>) -> io::Result<usize> {
        Ok(parts.iter().map(|part| part.len()).sum())
    }

    fn close(&self) {}
}

/// Longest payload or bulk part that is taken: an input is shorter, so that a frame that announces
/// more is cut off in any case.
const BULK_BYTES_MAX: usize = 4096;

fn host(link: &mut dyn Link, limit: Instant) -> Result<(), LinkError> {
    let hello = meet(link, limit)?;
    assert!(hello.exe.as_str().len() <= vgpu_link::wire::limits::EXE_BYTES_MAX);
    let version = Text::cut("0.1.0");
    welcome(link, &Welcome { host_version: version, epoch: 1, session: 2 })
}

fn guest(link: &mut dyn Link, limit: Instant) -> Result<(), LinkError> {
    let hello = Hello { role: Role::Guest, pid: 1, exe: Text::cut("guest") };
    introduce(link, &hello, limit).map(drop)
}

/// The first byte says which side we are and how the bytes come; the rest is what the peer says.
pub fn handshake(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else { return };
    let piece = usize::from(first >> 1) + 1;
    let mut link = StreamLink::new(Scripted { rest: Mutex::new(rest.to_vec()), piece });
    let limit = Instant::now() + Duration::from_secs(60);
    let met = if first & 1 == 0 { host(&mut link, limit) } else { guest(&mut link, limit) };
    let (mut payload, mut bulk) = (Vec::new(), vec![0; BULK_BYTES_MAX]);
    let ended = met.err().unwrap_or_else(|| {
        loop {
            match link.receive(&mut payload, Bulk::Into(&mut bulk)) {
                Ok(header) => assert!(header.bulk_bytes as usize <= bulk.len()),
                Err(error) => break error,
            }
        }
    });
    assert!(!ended.to_string().is_empty());
    // The peer hears what it did wrong; whether it wants to is its own affair.
    let _ = part(&mut link, &ended);
}
