//! The installer and this very machine: its processes, its namespaces, its systemd.
//!
//! They are a program of their own: what they find would be others' processes, and a copy that
//! another test's child still holds open cannot be started.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "tests start programs and remove their files")]

mod children;
#[cfg(target_arch = "x86_64")]
mod namespaces;
mod running;
mod systemd;
