//! Bodies, one module per noun of the API.

pub(crate) mod init;
pub(crate) mod memory;
