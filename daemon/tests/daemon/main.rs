//! The real daemon behind a real socket: what its clients, and those beside them, may rely on.

#![forbid(unsafe_code)]

mod badly;
mod driving;
mod life;
#[path = "../../../transport/link/tests/made/machine.rs"]
mod machine;
mod machines;
mod metrics;
mod network;
mod operating;
mod process;
mod serving;
mod sharing;
mod tenants;
mod top;
