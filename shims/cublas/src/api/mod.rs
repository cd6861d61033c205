//! Bodies, one module per noun of the API.

mod argument;
pub mod handle;
mod kind;
pub mod logger;
pub mod multiply;
pub mod status;
pub mod transfer;

pub use kind::Kind;
