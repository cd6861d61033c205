//! The host daemon.

pub mod dispatch;
