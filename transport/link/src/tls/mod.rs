//! The `tls` link: frames over TLS 1.3, both sides with certificates of a private CA.
//!
//! Neither side resumes sessions: what one connection agreed on is of no use to another.

mod credentials;
mod problem;
mod stream;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};

pub use credentials::{Credentials, FILE_BYTES_MAX, Files, Pem};
pub use stream::TlsStream;

use crate::tcp::Tcp;
use crate::uri::HostPort;
use crate::wire::control::Refusal;
use crate::wire::header::VERSION;
use crate::{LinkError, Squeezed, StreamLink};
pub(crate) use problem::told;

/// A link over TLS, with LZ4 where it pays.
pub type TlsLink = StreamLink<Squeezed<TlsStream>>;

/// Speaks frames over a connection that TLS was agreed on.
pub fn link(stream: TlsStream) -> TlsLink {
    StreamLink::new(Squeezed::new(stream))
}

/// What a URI in a client's certificate begins with that names its tenant.
pub const TENANT_URI: &str = "urn:vgpu:tenant:";

/// How long a client that was refused is listened to, so that it hears why: what it still sends
/// would otherwise reset the connection, and the reason with it.
const LINGER: Duration = Duration::from_millis(100);

impl TlsStream {
    /// Connects to a host and agrees on TLS, before `limit`.
    ///
    /// # Errors
    /// [`LinkError::File`] and [`LinkError::Credential`] for files of ours,
    /// [`LinkError::Distrust`] for a host that is not the one it should be,
    /// [`LinkError::Refused`] by one that serves no more, [`LinkError::Connect`],
    /// [`LinkError::TimedOut`]. That the host does not trust us is heard when it is read from.
    pub fn connect(to: &HostPort, files: &Files, limit: Instant) -> Result<Self, LinkError> {
        let config = Credentials::read(files)?.client()?;
        let uri = crate::Uri::Tls(to.clone()).to_string();
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::TimedOut => LinkError::TimedOut,
            _ => LinkError::Connect { uri: uri.clone(), source },
        };
        let name = ServerName::try_from(to.host.clone()).map_err(|_| LinkError::Uri {
            uri: uri.clone(),
            problem: "its host is neither a name nor an address",
        })?;
        let tcp = Tcp::connect(to, limit).map_err(failed)?;
        let connection = ClientConnection::new(Arc::new(config), name)
            .map_err(|error| problem::distrust(uri.clone(), &error))?;
        match Self::agree(tcp, connection.into(), limit) {
            Ok((stream, _)) => Ok(stream),
            Err((_, error)) => Err(agreed(uri, error)),
        }
    }

    /// Agrees on TLS with a client, before `limit`; tells the tenant that its certificate names,
    /// if it names one.
    ///
    /// # Errors
    /// [`LinkError::Distrust`] for a client without a certificate of our CA, which is told so,
    /// [`LinkError::Credential`] if ours cannot be used, [`LinkError::TimedOut`].
    pub fn accept(
        socket: OwnedFd,
        credentials: &Credentials,
        limit: Instant,
    ) -> Result<(Self, Option<String>), LinkError> {
        let config = credentials.server()?;
        let preparing = |source| LinkError::Io { verb: "preparing a connection", source };
        let tcp = Tcp::tune(socket).map_err(preparing)?;
        let peer = tcp.peer();
        let connection = ServerConnection::new(Arc::new(config))
            .map_err(|error| problem::distrust(peer.clone(), &error))?;
        Self::agree(tcp, Connection::from(connection), limit).map_err(|(tcp, error)| {
            linger(&tcp, limit.min(Instant::now() + LINGER));
            agreed(peer, error)
        })
    }
}

/// Turns a client away that has not said anything yet, without waiting for it: TLS has no words
/// before its handshake, only the alert that the client's [`connect`](crate::connect) understands.
pub fn refuse(socket: &OwnedFd) {
    /// An alert of TLS 1.2 and 1.3 (RFC 8446, 6): fatal, internal_error.
    const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];
    // A fresh socket has room for it; a client that is gone needs no answer.
    let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
    let _ = rustix::net::send(socket, &ALERT, flags);
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
}

/// Reads on until the client has closed, or until `limit`.
fn linger(tcp: &Tcp, limit: Instant) {
    tcp.end_sending();
    let mut ignored = [0; 4096];
    while matches!(tcp.read(&mut ignored, Some(limit)), Ok(1..)) {}
}

/// Says why TLS could not be agreed on.
fn agreed(peer: String, error: io::Error) -> LinkError {
    use rustls::{AlertDescription, Error};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match (inner, error.kind()) {
        (Some(Error::AlertReceived(AlertDescription::InternalError)), _) => LinkError::Refused {
            refusal: Refusal::Full,
            version: VERSION,
            text: "it serves no more clients now".to_owned(),
        },
        (Some(error), _) => problem::distrust(peer, error),
        (None, io::ErrorKind::TimedOut) => LinkError::TimedOut,
        (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => LinkError::Closed,
        (None, io::ErrorKind::BrokenPipe) => LinkError::Closed,
        (None, _) => LinkError::Io { verb: "agreeing on TLS", source: error },
    }
}
