//! Who connected to a Unix socket, as the system vouches for it (SO_PEERCRED of unix(7)).

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// A process that connected, as it was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its id, as this process sees it; 0 if it is of a namespace that we cannot see
    /// (pid_namespaces(7)).
    pub pid: u32,
}

/// Asks the system who is at the other end of a connection.
///
/// # Errors
/// What the system says; `InvalidData` for a socket of which it does not know.
pub(crate) fn process(connection: impl AsFd) -> io::Result<Process> {
    let mut process = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let whole = size_of::<libc::ucred>() as libc::socklen_t;
    let mut written = whole;
    // SAFETY: `process` is valid for `written` bytes, and the system writes no more; any bytes are
    // a ucred, as it is three integers.
    let status = unsafe {
        libc::getsockopt(
            connection.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut process).cast(),
            &mut written,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // Nobody's number is -1: so says the system of one who is unknown.
    if written != whole || process.uid == u32::MAX || process.gid == u32::MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let libc::ucred { pid, uid, gid } = process;
    Ok(Process { uid, gid, pid: pid.unsigned_abs() })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_peer_is_named_by_user_group_and_process() {
        let (ours, _theirs) = UnixStream::pair().expect("sockets");
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let (uid, gid, pid) = (uid.as_raw(), gid.as_raw(), std::process::id());
        assert_eq!(process(&ours).expect("the system knows"), Process { uid, gid, pid });
    }

    #[test]
    fn who_came_by_the_network_is_no_process() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let came = TcpStream::connect(listener.local_addr().expect("an address"));
        assert!(process(came.expect("it listens")).is_err());
    }
}
