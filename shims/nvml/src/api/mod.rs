//! Bodies, one module per part of the API.

pub(crate) mod device;
pub(crate) mod init;
pub(crate) mod process;
pub(crate) mod state;
pub(crate) mod system;
