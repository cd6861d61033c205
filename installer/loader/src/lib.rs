//! A pure model of how glibc's ld.so finds a library.
//!
//! Nothing here runs a program or touches the machine: a caller hands over bytes ([`Source`]) and
//! a way to look at files ([`Files`]), and gets answers with their reasons. Three rooms:
//! - [`elf`]: what one ELF file says about itself;
//! - [`cache`]: what `/etc/ld.so.cache` says about the machine;
//! - [`process`]: which file a process gets for which name, and why.
#![forbid(unsafe_code)]

pub mod cache;
pub mod elf;
pub mod process;

pub use cache::{Cache, CacheError};
pub use elf::{Binary, ElfError, Source};
pub use process::{Environment, Files, Found, Platform, Process};
