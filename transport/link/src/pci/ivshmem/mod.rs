//! The shared memory of stock QEMU (ivshmem) as a link: many clients of one guest, each with a ring
//! in a slot of its own (docs/pci.md).
//!
//! A guest's end is [`connect`]; a host's is a [`Keeper`] for each machine's memory, a [`Server`]
//! where QEMU asks for that memory, and [`serve`] in the worker that a client is handed to.

mod bell;
mod guest;
mod keeper;
mod life;
mod pinned;
mod serve;
mod server;
mod will;

pub use bell::{GuestBell, HostBell};
pub use guest::{SlotStream, connect};
pub use keeper::{Change, Keeper, Place, SILENCE};
pub use serve::{ServedSlot, serve};
pub use server::{FIRST_BELL, Refused, Server, introduce};
pub use vgpu_ring::slots::SLOTS_MAX;
