//! The real daemon behind a real socket: what its clients, and those beside them, may rely on.

#![forbid(unsafe_code)]

mod badly;
#[path = "../../../tests/src/cable.rs"]
mod cable;
mod confined;
#[path = "../../../transport/link/tests/device/mod.rs"]
#[expect(dead_code, reason = "the tests of the device itself look into it")]
mod device;
mod driving;
mod failure;
mod gates;
mod guests;
mod host_memory;
mod life;
mod limits;
mod lingering;
#[path = "../../../transport/link/tests/made/machine.rs"]
mod machine;
mod machines;
mod metrics;
mod network;
mod operating;
mod original;
mod process;
#[path = "../../../transport/link/tests/made/qemu.rs"]
mod qemu;
mod reaped;
mod serving;
mod sharing;
mod tenants;
mod top;
mod workers;
