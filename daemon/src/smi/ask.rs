//! One question to the daemon, over the little of HTTP that its status socket speaks.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::error::DaemonError;

/// How long the daemon may take; it answers within milliseconds, or says itself after a second that
/// its loop does not turn.
const LIMIT: Duration = Duration::from_secs(3);

/// Longest answer: 400 clients on 64 GPUs are below 3 MiB.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// Asks for the status; returns its JSON.
///
/// # Errors
/// [`DaemonError::Status`] if nobody answers, or not with that.
pub(super) fn status(socket: &Path) -> Result<String, DaemonError> {
    let failed = |source| DaemonError::Status { path: socket.into(), source };
    let answer = ask(socket).map_err(failed)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        Some((_, body)) => Err(failed(io::Error::other(body.trim().to_owned()))),
        None => Err(failed(io::ErrorKind::UnexpectedEof.into())),
    }
}

fn ask(socket: &Path) -> io::Result<String> {
    let mut daemon = UnixStream::connect(socket)?;
    daemon.set_read_timeout(Some(LIMIT))?;
    daemon.set_write_timeout(Some(LIMIT))?;
    daemon.write_all(b"GET /status HTTP/1.1\r\nHost: vgpud\r\n\r\n")?;
    let mut answer = String::new();
    daemon.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}
