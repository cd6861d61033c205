//! The installer: facts, plan, apply with a journal, verify, rollback.
//!
//! [`discover`] looks at a machine and gives [`facts`]; [`plan`] makes steps of facts and a policy
//! without looking at anything; [`apply`] takes the steps as one transaction, [`verify`] judges the
//! result before it counts; [`rollback`] and [`recover`] go back. Only [`host::real`] has effects.
#![deny(unsafe_code)]

pub mod account;
pub mod answer;
pub mod apply;
pub mod change;
pub mod cli;
pub mod commands;
pub mod difference;
pub mod discover;
pub mod doctor;
pub mod drift;
pub mod error;
pub mod explain;
pub mod facts;
pub mod gc;
pub mod host;
pub mod journal;
pub mod ld_conf;
pub mod ldso;
pub mod location;
pub mod mask;
pub mod object;
pub mod plan;
#[expect(unsafe_code, reason = "the probe calls into the libraries that it loads")]
pub mod probe;
pub mod program;
pub mod recover;
pub mod refresh;
pub mod render;
pub mod report;
pub mod rollback;
mod scan_text;
pub mod service;
pub mod shadow;
pub mod state;
pub mod step;
pub mod systemd;
pub mod unit_file;
pub mod unit_log;
pub mod verify;

pub use error::{Error, Result};
