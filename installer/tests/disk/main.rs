//! The installer as a program, on roots on a real file system.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "tests look at the machine themselves")]

mod answers;
mod cli;
mod containment;
mod doctor;
mod generations;
mod guest;
mod mutations;
mod owners;
mod probe;
mod report;
mod scopes;
mod sweep;
