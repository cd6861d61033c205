//! The journal's own protocol (systemd.io, "Native Journal Protocol"): a datagram of fields.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// How much an event matters (syslog(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// 3.
    Error,
    /// 4.
    Warning,
    /// 6.
    Info,
}

/// A journal that is listening.
#[derive(Debug)]
pub(super) struct Journal(UnixDatagram);

impl Journal {
    /// Finds the journal if it is what standard error leads to: it names device and inode of the
    /// stream that it gave us (systemd.exec(5), `JOURNAL_STREAM`).
    pub fn find() -> Option<Self> {
        let named = std::env::var("JOURNAL_STREAM").ok()?;
        let stderr = rustix::fs::fstat(std::io::stderr()).ok()?;
        let ours = format!("{}:{}", stderr.st_dev, stderr.st_ino) == named;
        ours.then(|| Self::at(Path::new(SOCKET)).ok()).flatten()
    }

    fn at(socket: &Path) -> io::Result<Self> {
        let journal = UnixDatagram::unbound()?;
        journal.connect(socket)?;
        // A journal that does not keep up must not hold up the host.
        journal.set_nonblocking(true)?;
        Ok(Self(journal))
    }

    /// Sends one entry; `fields` get our prefix.
    ///
    /// # Errors
    /// If the journal is gone, does not keep up, or takes no entry of that length.
    pub fn send(
        &self,
        priority: Priority,
        text: &str,
        fields: &[(&str, String)],
    ) -> io::Result<()> {
        let number = match priority {
            Priority::Error => "3",
            Priority::Warning => "4",
            Priority::Info => "6",
        };
        let mut entry = Vec::with_capacity(512);
        put(&mut entry, "MESSAGE", text);
        put(&mut entry, "PRIORITY", number);
        put(&mut entry, "SYSLOG_IDENTIFIER", "vgpud");
        for (key, value) in fields {
            put(&mut entry, &format!("VGPU_{}", key.to_ascii_uppercase()), value);
        }
        self.0.send(&entry).map(drop)
    }
}

/// Adds a field; a value of several lines goes with its length before it.
fn put(entry: &mut Vec<u8>, key: &str, value: &str) {
    entry.extend_from_slice(key.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reaches_the_journal_with_its_fields() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("socket");
        let heard = UnixDatagram::bind(&socket).expect("bound");
        let journal = Journal::at(&socket).expect("it listens");
        let fields = [("event", "gone".to_owned()), ("session", "7".to_owned())];
        journal.send(Priority::Warning, "gone session=7", &fields).expect("there is room");
        let mut buffer = [0; 512];
        let count = heard.recv(&mut buffer).expect("sent");
        assert_eq!(
            std::str::from_utf8(&buffer[..count]).expect("text"),
            "MESSAGE=gone session=7\nPRIORITY=4\nSYSLOG_IDENTIFIER=vgpud\n\
             VGPU_EVENT=gone\nVGPU_SESSION=7\n"
        );
        journal.send(Priority::Error, "a\nb=c", &[]).expect("there is room");
        let count = heard.recv(&mut buffer).expect("sent");
        let begin = b"MESSAGE\n\x05\0\0\0\0\0\0\0a\nb=c\nPRIORITY=3\n";
        assert!(buffer[..count].starts_with(begin), "{:?}", &buffer[..count]);
    }

    /// A journal that does not read must not stop the host's loop.
    #[test]
    fn a_journal_that_does_not_keep_up_is_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("socket");
        let _silent = UnixDatagram::bind(&socket).expect("bound");
        let journal = Journal::at(&socket).expect("it listens");
        let refused = (0..100_000).find_map(|_| journal.send(Priority::Info, "event", &[]).err());
        assert_eq!(refused.expect("its buffer is full").kind(), io::ErrorKind::WouldBlock);
    }
}
