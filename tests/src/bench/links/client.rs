//! A client of a link, in a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::subject::Subject;
use crate::system::{Error, Result, at};

/// Its name, for messages.
const NAME: &str = "link-client";

/// A client that was started.
pub(super) struct Client {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Client {
    /// Starts a client and waits until it says that it is ready.
    pub fn start(subject: &Subject<'_>, seat: usize, arguments: &[&str]) -> Result<Self> {
        let mut child = subject
            .command(seat, arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(at("starting", NAME))?;
        let stdout = child.stdout.take().map(BufReader::new);
        let mut client = Self { child, stdout };
        client.line()?;
        Ok(client)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads one line.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if let Some(stdout) = &mut self.stdout {
            stdout.read_line(&mut line).map_err(at("reading from", NAME))?;
        }
        match line.is_empty() {
            false => Ok(line),
            true => Err(Error::Missing {
                what: "an answer".into(),
                place: NAME.into(),
                output: format!("{:?}", self.child.wait()),
            }),
        }
    }

    /// Lets so much time pass, unless the client ends.
    pub fn watch(&self, time: Duration) -> Result<()> {
        let Some(stdout) = &self.stdout else { return Ok(()) };
        let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: 0 };
        match poll(&mut [PollFd::new(stdout.get_ref(), PollFlags::IN)], Some(&time)) {
            Ok(0) => Ok(()),
            ended => Err(Error::Missing {
                what: "a client that waits".into(),
                place: NAME.into(),
                output: format!("{ended:?}"),
            }),
        }
    }

    /// Writes to the client and ends its input.
    pub fn input(&mut self, bytes: &[u8]) -> Result<()> {
        let mut stdin = self.child.stdin.take();
        match &mut stdin {
            Some(stdin) => stdin.write_all(bytes).map_err(at("writing to", NAME)),
            None => Ok(()),
        }
    }

    /// Kills it, as a program that cannot say goodbye.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().map_err(at("ending", NAME))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // One that fails has no more to say; the figures are there or their absence was told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
