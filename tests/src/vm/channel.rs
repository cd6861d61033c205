//! Commands through a virtio serial port.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::system::{Error, Finished, Result, at};

/// What `timeout` (coreutils) answers for a program that it ended.
const ENDED: i32 = 124;

/// How much longer than the script's own limit its answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest line of an answer: three numbers.
const LINE_BYTES_MAX: usize = 64;

/// Longest output of a script that is taken.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// Speaks with `harness.sh` in the guest.
#[derive(Debug)]
pub(super) struct Channel(pub(super) UnixStream);

impl Channel {
    /// Waits until the harness says that it is there.
    pub(super) fn await_ready(&mut self, deadline: Instant) -> io::Result<()> {
        match self.line(deadline)?.as_str() {
            "ready" => Ok(()),
            other => Err(io::Error::other(format!("the harness says {other:?}"))),
        }
    }

    /// Sends a script and does not wait for its end: it is the guest's.
    pub(super) fn send(&mut self, script: &str, limit: Duration) -> Result<()> {
        let head = format!("{} {}\n", limit.as_secs().max(1), script.len());
        self.0.write_all(&[head.as_bytes(), script.as_bytes()].concat()).map_err(lost)
    }

    /// Runs a script to its end.
    pub(super) fn run(&mut self, script: &str, limit: Duration) -> Result<Finished> {
        let begun = Instant::now();
        self.send(script, limit)?;
        let deadline = begun + limit + PATIENCE;
        let line = self.line(deadline).map_err(lost)?;
        let numbers: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let &[code, out, err] = numbers.as_slice() else {
            return Err(lost(io::Error::other(format!("the harness says {line:?}"))));
        };
        let [stdout, stderr] = [out, err].map(|bytes| self.text(bytes, deadline));
        let (stdout, stderr) = (stdout.map_err(lost)?, stderr.map_err(lost)?);
        let code = i32::try_from(code).unwrap_or(i32::MAX);
        if code == ENDED {
            let output = stdout + &stderr;
            return Err(Error::Late { command: script.to_owned(), limit, output });
        }
        // As wait(2) tells of a program that exited.
        let status = ExitStatus::from_raw((code & 0xff) << 8);
        let command = script.to_owned();
        Ok(Finished { command, status, stdout, stderr, took: begun.elapsed() })
    }

    fn line(&mut self, deadline: Instant) -> io::Result<String> {
        let mut line = Vec::new();
        while line.len() < LINE_BYTES_MAX {
            let mut byte = [0];
            self.fill(&mut byte, deadline)?;
            if byte == *b"\n" {
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            line.extend(byte);
        }
        Err(io::Error::other(format!("a long line: {}", String::from_utf8_lossy(&line))))
    }

    fn text(&mut self, bytes: usize, deadline: Instant) -> io::Result<String> {
        if bytes > OUTPUT_BYTES_MAX {
            return Err(io::Error::other(format!("an output of {bytes} bytes")));
        }
        let mut text = vec![0; bytes];
        self.fill(&mut text, deadline)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn fill(&mut self, mut into: &mut [u8], deadline: Instant) -> io::Result<()> {
        while !into.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.0.set_read_timeout(Some(left))?;
            match self.0.read(into) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => into = &mut into[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn lost(source: io::Error) -> Error {
    at("speaking with", "the guest")(source)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// The harness itself, with a socket for its port.
    fn harness() -> (Channel, Child) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/vm/harness.sh");
        let child = Command::new("bash")
            .args(["-c", "exec bash \"$0\" 3<&0", script])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        let mut channel = Channel(ours);
        channel.await_ready(soon()).unwrap();
        (channel, child)
    }

    #[test]
    fn a_script_comes_back_with_its_code_and_both_streams() {
        let (mut channel, mut child) = harness();
        let limit = Duration::from_secs(20);
        let done = channel.run("echo out; echo err >&2; exit 3", limit).unwrap();
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("out\n", "err\n"));
        assert_eq!(done.status.code(), Some(3));
        let done = channel.run("false\necho not here", limit).unwrap();
        assert_eq!((done.stdout.as_str(), done.status.code()), ("", Some(1)));
        let large = channel.run("head -c 300000 /dev/zero | tr '\\0' x", limit).unwrap();
        assert_eq!(large.success().unwrap(), "x".repeat(300_000));
        drop(channel);
        assert!(child.wait().unwrap().success(), "it ends with its port");
    }

    #[test]
    fn a_script_that_never_ends_is_ended_and_the_next_one_is_heard() {
        let (mut channel, mut child) = harness();
        match channel.run("echo begun; exec sleep 600", Duration::from_secs(1)) {
            Err(Error::Late { output, .. }) => assert_eq!(output, "begun\n"),
            other => panic!("{other:?}"),
        }
        let done = channel.run("echo next", Duration::from_secs(20)).unwrap();
        assert_eq!(done.success().unwrap(), "next\n");
        drop(channel);
        assert!(child.wait().unwrap().success());
    }
}
