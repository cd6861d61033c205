//! The bodies of the runtime API, one module per noun; names are the C names in snake case.

pub mod capture;
pub mod context;
pub mod copy;
pub mod device;
pub mod entry_point;
pub mod error;
pub mod event;
pub mod function;
pub mod host_memory;
pub mod kernel;
pub mod launch;
pub mod library;
pub mod memory;
pub mod occupancy;
pub mod peer;
pub mod pointer;
pub mod properties;
pub mod registration;
pub mod set;
pub mod stream;
pub mod symbol;
pub mod version;
