//! Messages of the connection itself: handshake, device snapshot, device state, copies that the
//! host has made for the guest.
//!
//! Opcodes 1 to 0xff are control messages; those of the driver API begin at 0x100. The layouts of
//! [`Hello`]'s first six bytes, [`Refused`] and [`Goodbye`] are the same in every version of the
//! wire format, so that two peers of different versions can still part in an orderly way.

mod collect;
mod function;
mod handshake;
mod snapshot;
mod state;

pub use collect::{Collect, Collected, Delivery};
pub use function::{DueFunction, NextFunction};
pub use handshake::{Goodbye, Hello, MAGIC, Reason, Refusal, Refused, Role, Welcome};
pub use snapshot::{Capabilities, DeviceFacts, Snapshot, SnapshotReply};
pub use state::{Clocks, DeviceState, DeviceStateReply, Process};

/// Names the control messages on the wire.
pub mod opcode {
    /// The guest's first frame, a call.
    pub const HELLO: u32 = 1;
    /// The host's answer to an accepted `Hello`, a reply.
    pub const WELCOME: u32 = 2;
    /// The host's answer to a `Hello` that it does not accept, a reply; the connection ends.
    pub const REFUSED: u32 = 3;
    /// Either side's last frame, a post; the connection ends.
    pub const GOODBYE: u32 = 4;
    /// Asks for everything about the devices that does not change, a call.
    pub const SNAPSHOT: u32 = 5;
    /// Asks for what changes about one device, a call.
    pub const DEVICE_STATE: u32 = 6;
    /// Asks for the contents of copies that are complete, a call.
    pub const COLLECT: u32 = 7;
    /// Says which function of the program has returned and asks for the next one, a call.
    pub const NEXT_FUNCTION: u32 = 8;
    /// First opcode of the driver API.
    pub const DRIVER_FIRST: u32 = 0x100;
}

/// Names a control message, for people.
pub(crate) fn name(opcode: u32) -> Option<&'static str> {
    Some(match opcode {
        opcode::HELLO => "Hello",
        opcode::WELCOME => "Welcome",
        opcode::REFUSED => "Refused",
        opcode::GOODBYE => "Goodbye",
        opcode::SNAPSHOT => "Snapshot",
        opcode::DEVICE_STATE => "DeviceState",
        opcode::COLLECT => "Collect",
        opcode::NEXT_FUNCTION => "NextFunction",
        _ => return None,
    })
}

/// Statuses that a control reply carries in its header.
pub mod status {
    /// The call was done and the reply's fields stand.
    pub const DONE: u16 = 0;
    /// No device has that ordinal (`DeviceState`). The value is CUDA_ERROR_INVALID_DEVICE.
    pub const NO_SUCH_DEVICE: u16 = 101;
}
