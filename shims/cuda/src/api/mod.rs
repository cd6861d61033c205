//! Bodies, one module per noun of the API.

pub(crate) mod attribute;
pub(crate) mod capture;
pub(crate) mod context;
pub(crate) mod copy;
pub(crate) mod copy2d;
pub(crate) mod device;
pub(crate) mod entry;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod function;
pub(crate) mod graph;
pub(crate) mod init;
pub(crate) mod kernel;
pub(crate) mod launch;
pub(crate) mod launch_old;
pub(crate) mod library;
pub(crate) mod linker;
pub(crate) mod memory;
pub(crate) mod module;
pub(crate) mod occupancy;
pub(crate) mod pinned;
pub(crate) mod pointer;
pub(crate) mod primary;
pub(crate) mod set;
pub(crate) mod stream;
pub(crate) mod virtual_memory;
