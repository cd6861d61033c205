//! Bodies, one module per noun of the API.

pub mod status;
