//! A pure model of how glibc's and musl's ld.so find a library.
//!
//! Nothing here runs a program or touches the machine: a caller hands over bytes ([`Source`]) and
//! a way to look at files ([`Files`]), and gets answers with their reasons:
//! - [`elf`]: what one ELF file says about itself;
//! - [`cache`]: what `/etc/ld.so.cache` says about the machine;
//! - [`files`]: what the loader sees at a path;
//! - [`platform`]: what the machine and the environment add to the search;
//! - [`process`]: which file a process gets for which name, and why;
//! - [`symbols`]: which symbols one ELF file wants and which it offers.
#![forbid(unsafe_code)]

pub mod cache;
pub mod elf;
pub mod files;
mod glibc;
mod musl;
pub mod platform;
pub mod process;
pub mod resolution;
pub mod symbols;
mod tokens;

pub use cache::{Cache, CacheError};
pub use elf::{Binary, ElfError, Source};
pub use files::{Files, Found, Mismatch};
pub use platform::{Environment, Family, Legacy, Platform};
pub use process::{Process, StartError};
pub use resolution::{Asked, Attempt, Note, Object, Outcome, Reason, Resolution};
pub use symbols::{Symbols, Wanted};
