//! The little of HTTP that a scrape needs (RFC 9112): one request, one answer, and the end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use socket2::Socket;

use super::{Door, exposition};
use crate::figures::Figures;

/// Longest request that is read: 8 KiB. Prometheus sends some 300 bytes.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// How long a client may take to ask, and again to take the answer.
const LIMIT: Duration = Duration::from_secs(2);

/// How long the host's loop may take to say the figures.
const FIGURES_LIMIT: Duration = Duration::from_secs(1);

/// How long the server rests when the system has no more file descriptors.
const REST: Duration = Duration::from_millis(100);

/// Answers one client after the other.
#[derive(Debug)]
pub(super) struct Server {
    /// Where clients come.
    pub door: Door,
    /// A byte asks the loop; its end is ours. It does not block.
    pub asks: UnixStream,
    /// What the loop answers.
    pub answers: Receiver<Figures>,
}

impl Server {
    /// Runs until the loop closes its end.
    pub fn run(self) {
        loop {
            let mut watched =
                [PollFd::new(&self.door, PollFlags::IN), PollFd::new(&self.asks, PollFlags::IN)];
            if retry_on_intr(|| poll(&mut watched, None)).is_err()
                || !watched[1].revents().is_empty()
            {
                return;
            }
            match self.door.accept() {
                // One that goes or dawdles is its own loss.
                Ok(client) => client.into_iter().for_each(|client| drop(self.serve(client))),
                Err(_) => std::thread::sleep(REST),
            }
        }
    }

    fn serve(&self, mut client: Socket) -> io::Result<()> {
        client.set_nonblocking(false)?;
        let request = read(&mut client)?;
        let (status, kind, body) = match request.as_deref().map(target) {
            Some(Some(path)) => self.tell(path),
            Some(None) => said("405 Method Not Allowed", "only GET is answered"),
            None => said("400 Bad Request", "this is no request, or too long or slow a one"),
        };
        let length = body.len();
        let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}\
             Connection: close\r\n\r\n{body}"
        );
        client.set_write_timeout(Some(LIMIT))?;
        client.write_all(answer.as_bytes())?;
        client.shutdown(Shutdown::Write)
    }

    /// Answers what lies at a path.
    fn tell(&self, path: &str) -> (&'static str, &'static str, String) {
        let is_status = path == "/status" && matches!(self.door, Door::Status(_));
        if path != "/metrics" && !is_status {
            return said("404 Not Found", "here is /metrics");
        }
        let Some(figures) = self.figures() else {
            return said("503 Service Unavailable", "the host's loop does not turn");
        };
        if !is_status {
            return ("200 OK", exposition::CONTENT_TYPE, exposition::text(&figures));
        }
        match serde_json::to_string(&figures) {
            Ok(text) => ("200 OK", "application/json", text),
            Err(_) => said("500 Internal Server Error", "the figures cannot be written"),
        }
    }

    /// Asks the loop.
    fn figures(&self) -> Option<Figures> {
        // What came too late for an earlier scrape.
        while self.answers.try_recv().is_ok() {}
        (&self.asks).write_all(b"?").ok()?;
        self.answers.recv_timeout(FIGURES_LIMIT).ok()
    }
}

fn said(status: &'static str, text: &str) -> (&'static str, &'static str, String) {
    (status, "text/plain; charset=utf-8", format!("{text}\n"))
}

/// Reads a request to the end of its header; `None` if it takes too long or is too long.
fn read(client: &mut Socket) -> io::Result<Option<Vec<u8>>> {
    let deadline = Instant::now() + LIMIT;
    let (mut request, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || request.len() > REQUEST_BYTES_MAX {
            return Ok(None);
        }
        client.set_read_timeout(Some(left))?;
        match client.read(&mut piece) {
            Ok(0) => return Ok(None),
            Ok(count) => request.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        if request.windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(Some(request));
        }
    }
}

/// Finds the path that a GET asks for; `None` for another method.
fn target(request: &[u8]) -> Option<&str> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    (words.next() == Some("GET")).then_some(())?;
    words.next().map(|target| target.split('?').next().unwrap_or(target))
}
