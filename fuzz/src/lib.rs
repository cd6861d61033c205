//! What the fuzzer does with bytes: one function for each reader of bytes that others write.
//!
//! A function panics if a reader breaks a promise: it panics itself, reads what it does not write
//! back, or refuses without naming a place. `cargo xtask fuzz` runs them; `targets` are the
//! programs, three lines each, and `corpus` holds the inputs that reach different code.

#![forbid(unsafe_code)]

mod configuration;
mod handshake;
mod installer;
mod machine;
mod mediator;
mod messages;
mod ring;
mod slots;

pub use configuration::{guest, host};
pub use handshake::handshake;
pub use installer::{cache, journal, library, unit};
pub use machine::machine;
pub use mediator::mediator;
pub use messages::message;
pub use ring::ring;
pub use slots::slots;
pub use vgpud::fuzzing::{image, program, recording};
