//! Whether the peer of a TCP connection still answers.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// How long the peer's system may leave what we sent without an acknowledgement: 10 seconds, as
/// long as keepalive takes to give up an idle connection.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The state of a connection whose peer has closed and that we have not: TCP_CLOSE_WAIT of the
/// kernel's tcp_states.h.
const CLOSE_WAIT: u8 = 8;

/// Tells whether what was sent to the peer has not been acknowledged for 10 seconds; never of a
/// socket that is none of TCP.
///
/// Of the peer's program this says nothing: its system acknowledges for it, however long a kernel
/// runs. TCP_USER_TIMEOUT would do the same, but it also ends connections whose peer is there and
/// has no room to read more, as a host may that waits for a kernel.
pub fn vanished(socket: impl AsFd) -> bool {
    info(socket).is_some_and(|info| {
        let silence = Duration::from_millis(u64::from(info.tcpi_last_ack_recv));
        let is_sent_again = info.tcpi_unacked > 0 && info.tcpi_retransmits > 0;
        // Of what could not even leave, as where our own interface is down, only the questions
        // count that follow. A peer without room answers each of them.
        (is_sent_again || info.tcpi_probes > 1) && silence > SILENCE_MAX
    })
}

/// Tells whether the peer has closed; an end of input can also be of our own making.
pub(crate) fn closed_by_peer(socket: impl AsFd) -> bool {
    info(socket).is_some_and(|info| info.tcpi_state == CLOSE_WAIT)
}

fn info(socket: impl AsFd) -> Option<libc::tcp_info> {
    // SAFETY: tcp_info is of integers only, so all zeroes is a value of it.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut bytes = size_of::<libc::tcp_info>() as libc::socklen_t;
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: `info` has the room that `bytes` says, both live through the call, and the
    // descriptor is borrowed from its owner.
    let status = unsafe {
        libc::getsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut bytes,
        )
    };
    (status == 0).then_some(info)
}
