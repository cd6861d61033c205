//! A stream of bytes through TLS, read by one thread and written by another one at the same time.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustls::Connection;

use crate::Stream;
use crate::tcp::Tcp;

/// Bytes fetched from the socket at once: four records of the largest size (RFC 8446, 5.2).
const FETCH_BYTES: usize = 4 * ((16 << 10) + 256 + 5);

/// One end of a TLS connection.
///
/// Three locks, so that nobody waits for the peer while the other half has work: `incoming` is the
/// reader's, `outgoing` the writer's, held while they wait on the socket; `connection` is shared
/// and held for the time of some encryption only, never while waiting. The reader never takes
/// `outgoing`: what TLS itself has to answer goes out with the next write, as RFC 8446 (4.6.3)
/// allows.
#[derive(Debug)]
pub struct TlsStream {
    tcp: Tcp,
    connection: Mutex<Connection>,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Vec<u8>>,
}

/// Records that came and that TLS has not seen yet.
#[derive(Debug)]
struct Incoming {
    buffer: Box<[u8]>,
    unread: Range<usize>,
}

impl Incoming {
    /// Waits for records; 0 means that the peer closed.
    fn fetch(&mut self, tcp: &Tcp, limit: Option<Instant>) -> io::Result<usize> {
        let count = tcp.read(&mut self.buffer, limit)?;
        self.unread = 0..count;
        Ok(count)
    }

    /// Gives TLS some of what came. It takes a few KiB at a time, and nothing while contents of
    /// earlier records wait to be read.
    fn digest(&mut self, connection: &mut Connection) -> io::Result<()> {
        let mut rest = &self.buffer[self.unread.clone()];
        self.unread.start += connection.read_tls(&mut rest)?;
        connection.process_new_packets().map(drop).map_err(invalid)
    }
}

/// Carries an error of TLS through the system's type, for `told` to find.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Takes a lock whose holder may have panicked: rustls keeps its own state, and a connection that
/// it spoilt fails by its checks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TlsStream {
    /// Shakes hands, before `limit`; tells the tenant in the peer's certificate. After a failure
    /// the socket comes back, the alert for the peer sent.
    pub(super) fn agree(
        tcp: Tcp,
        mut connection: Connection,
        limit: Instant,
    ) -> Result<(Self, Option<String>), (Tcp, io::Error)> {
        let mut incoming = Incoming { buffer: vec![0; FETCH_BYTES].into(), unread: 0..0 };
        let shaken = shake(&tcp, &mut connection, &mut incoming, limit);
        // After a failure this is the alert; that the peer hears it is no condition.
        let sent = flush(&tcp, &mut connection, limit);
        if let Err(error) = shaken.and(sent) {
            return Err((tcp, error));
        }
        let tenant = connection.peer_certificates().and_then(super::credentials::tenant);
        let (connection, incoming) = (Mutex::new(connection), Mutex::new(incoming));
        Ok((Self { tcp, connection, incoming, outgoing: Mutex::default() }, tenant))
    }
}

fn shake(
    tcp: &Tcp,
    connection: &mut Connection,
    incoming: &mut Incoming,
    limit: Instant,
) -> io::Result<()> {
    while connection.is_handshaking() {
        flush(tcp, connection, limit)?;
        if incoming.unread.is_empty() && incoming.fetch(tcp, Some(limit))? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        incoming.digest(connection)?;
    }
    Ok(())
}

/// Sends what TLS has to say.
fn flush(tcp: &Tcp, connection: &mut Connection, limit: Instant) -> io::Result<()> {
    let mut records = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut records)?;
    }
    tcp.write_all(&records, Some(limit))
}

impl Stream for TlsStream {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.tcp.as_fd()]
    }

    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        let mut incoming = lock(&self.incoming);
        loop {
            let mut connection = lock(&self.connection);
            loop {
                match connection.reader().read(into) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
                if incoming.unread.is_empty() {
                    break;
                }
                incoming.digest(&mut connection)?;
            }
            drop(connection);
            // Frames say themselves where they end and how a conversation does, so an end without
            // TLS's own words for it deceives nobody.
            if incoming.fetch(&self.tcp, limit)? == 0 {
                return Ok(0);
            }
        }
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        let mut outgoing = lock(&self.outgoing);
        outgoing.clear();
        let mut connection = lock(&self.connection);
        // It takes 64 KiB at most, so that what it holds stays bounded.
        let taken = connection.writer().write_vectored(parts)?;
        while connection.wants_write() {
            connection.write_tls(&mut *outgoing)?;
        }
        drop(connection);
        self.tcp.write_all(&outgoing, limit)?;
        Ok(taken)
    }

    fn close(&self) {
        self.tcp.close();
    }
}
