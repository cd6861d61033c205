//! Closes the connections of others, so that none of them can hold the host up.
//!
//! What lies unread in a Unix socket may be other sockets (SCM_RIGHTS of unix(7)), and to close the
//! last descriptor of one that lingers (SO_LINGER of socket(7)) takes as long as whoever sent it
//! likes. Only a process that ends waits for none of them. So a connection is given to a process
//! that does nothing, and that ends soon (decision 0062).

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags,
    SocketType, sendmsg, shutdown, socketpair,
};

use crate::error::DaemonError;
use crate::log;

/// How long connections are gathered before their process ends: whoever is at the other end sees
/// the end at once, so this only says how many share a process.
const GATHER: Duration = Duration::from_millis(100);

/// Connections that are to be closed.
#[derive(Debug, Default)]
pub(super) struct Closing {
    porter: Option<Porter>,
    /// Processes that have been let go.
    ended: Vec<Child>,
}

/// The process that gathers connections.
#[derive(Debug)]
struct Porter {
    /// It ends when this does. What is sent is never read: it is closed with the other end.
    line: OwnedFd,
    process: Child,
    until: Instant,
}

impl Closing {
    /// Ends a connection, whose peer hears of it at once; never waits.
    pub fn close(&mut self, connection: OwnedFd) {
        // Fails where the other end has gone.
        let _ = shutdown(&connection, Shutdown::Both);
        if self.give(&connection).is_err() {
            // Hundreds came at once, or somebody ended the process: another one.
            self.let_go();
            if let Err(error) = self.give(&connection) {
                // It is closed here, then, which is wrong only if the stranger is hostile, too.
                log::event("no-porter", &[("because", &log::chain(&error))]);
            }
        }
        // Whoever has it now has it until we let go, so ours is not the last descriptor.
    }

    /// When [`Closing::turn`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.porter.as_ref().map(|porter| porter.until)
    }

    /// Lets go of what was gathered, and collects what ended.
    pub fn turn(&mut self) {
        if self.due().is_some_and(|due| due <= Instant::now()) {
            self.let_go();
        }
        self.ended.retain_mut(|process| matches!(process.try_wait(), Ok(None)));
    }

    fn give(&mut self, connection: &OwnedFd) -> Result<(), DaemonError> {
        let porter = match &mut self.porter {
            Some(porter) => porter,
            none => none.insert(Porter::start()?),
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        let handed = [connection.as_fd()];
        // The space is for one.
        let _ = along.push(SendAncillaryMessage::ScmRights(&handed));
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&porter.line, &[IoSlice::new(&[0])], &mut along, flags)
            .map(drop)
            .map_err(DaemonError::system("giving a connection away"))
    }

    fn let_go(&mut self) {
        self.ended.extend(self.porter.take().map(|porter| porter.process));
    }
}

impl Porter {
    fn start() -> Result<Self, DaemonError> {
        let failed = DaemonError::system("preparing to close connections");
        let (unix, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
        let (line, theirs) = socketpair(unix, SocketType::STREAM, flags, None).map_err(failed)?;
        let process = Command::new("/proc/self/exe")
            .arg("porter")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env_clear()
            .spawn()
            .map_err(|source| DaemonError::System { verb: "starting a porter", source })?;
        Ok(Self { line, process, until: Instant::now() + GATHER })
    }
}

/// What the process does: nothing, until the host lets go of it. What it was given is closed by its
/// end.
///
/// # Errors
/// [`DaemonError::System`] if it cannot wait.
pub(crate) fn gather() -> Result<(), DaemonError> {
    let stdin = std::io::stdin();
    loop {
        // Only the end is waited for: what comes is not to be read.
        match poll(&mut [PollFd::new(&stdin, PollFlags::empty())], None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(DaemonError::system("waiting for the host")(errno)),
        }
    }
}
