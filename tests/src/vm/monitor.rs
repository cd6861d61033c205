//! QEMU's own ear: the machine stands still, and goes on (QEMU's "QMP" specification).

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long QEMU may take to answer.
const ANSWER: Duration = Duration::from_secs(60);

/// A connection to QEMU's monitor.
#[derive(Debug)]
pub(super) struct Monitor {
    qemu: BufReader<UnixStream>,
    /// What happened and was not waited for yet.
    events: Vec<Value>,
}

impl Monitor {
    /// Connects, and begins the conversation.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let mut monitor =
            Self { qemu: BufReader::new(UnixStream::connect(path)?), events: Vec::new() };
        monitor.await_word("QMP", Instant::now() + ANSWER)?;
        monitor.command("qmp_capabilities")?;
        Ok(monitor)
    }

    /// Has a command done.
    pub(super) fn command(&mut self, name: &str) -> io::Result<()> {
        writeln!(self.qemu.get_mut(), "{}", json!({ "execute": name }))?;
        self.await_word("return", Instant::now() + ANSWER).map(drop)
    }

    /// Waits until QEMU tells of an event.
    pub(super) fn await_event(&mut self, name: &str, limit: Duration) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        let mut events = std::mem::take(&mut self.events).into_iter();
        loop {
            let event = match events.next() {
                Some(event) => event,
                None => self.await_word("event", deadline)?,
            };
            if event == name {
                self.events = events.collect();
                return Ok(());
            }
        }
    }

    /// Waits for a message with this key, or an error; keeps the events that come before.
    fn await_word(&mut self, key: &str, deadline: Instant) -> io::Result<Value> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.qemu.get_ref().set_read_timeout(Some(left))?;
            let mut line = String::new();
            match self.qemu.read_line(&mut line) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
            let mut said: Value = serde_json::from_str(&line).map_err(io::Error::other)?;
            if let Some(error) = said.get("error") {
                return Err(io::Error::other(format!("QEMU says {error}")));
            }
            if let Some(value) = said.get_mut(key) {
                return Ok(value.take());
            }
            self.events.extend(said.get_mut("event").map(Value::take));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    #[test]
    fn events_are_kept_until_they_are_waited_for_and_errors_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("monitor");
        let listener = UnixListener::bind(&path).unwrap();
        let qemu = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let said = |text: &str| writeln!(&stream, "{text}").unwrap();
            said("{\"QMP\": {}}");
            for answer in [
                "{\"return\": {}}",
                "{\"event\": \"A\"}\n{\"event\": \"B\"}\n{\"return\": {}}\n{\"event\": \"C\"}",
                "{\"error\": {\"class\": \"GenericError\"}}",
            ] {
                lines.next().unwrap().unwrap();
                said(answer);
            }
        });
        let mut monitor = Monitor::connect(&path).unwrap();
        monitor.command("stop").unwrap();
        monitor.await_event("B", ANSWER).unwrap();
        monitor.await_event("C", ANSWER).unwrap();
        let error = monitor.command("fly").unwrap_err();
        assert!(error.to_string().contains("GenericError"), "{error}");
        qemu.join().unwrap();
        let ended = monitor.await_event("A", ANSWER).unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
    }
}
