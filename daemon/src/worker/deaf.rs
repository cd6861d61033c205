//! Signals that are meant for the host process only.

#![allow(unsafe_code)]

/// Ignores SIGHUP and SIGUSR1, which may also reach the workers: `systemctl kill` signals every
/// process of the unit, a terminal those of its group. Ignored, they interrupt no call of the
/// driver either, as a handler would.
pub(super) fn ignore_reload_and_drain() {
    for signal in [libc::SIGHUP, libc::SIGUSR1] {
        // SAFETY: signal(2) takes any number and SIG_IGN, which runs no code of ours. It fails for
        // numbers that are no signals, and both are.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
