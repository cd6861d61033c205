//! Bodies, one module per noun of the API.

mod argument;
pub mod handle;
mod kind;
pub mod logger;
pub mod matrix;
pub mod multiply;
pub mod reduce;
pub mod status;
pub mod symmetric;
pub mod transfer;
pub mod triangular;
pub mod vector;

pub use kind::Kind;
