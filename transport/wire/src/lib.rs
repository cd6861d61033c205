//! The wire format: bytes to types and back. Pure: no I/O, no unsafe, nothing of CUDA's meaning.
//!
//! A **frame** is a [`Header`], a payload (the message's fields) and, for messages that carry
//! memory contents, a bulk part that a link can move without copying it into the payload.
//! Everything is little-endian with explicit widths; every size is checked before use.

#![forbid(unsafe_code)]

pub mod codec;
pub mod control;
#[path = "generated/cublas.rs"]
pub mod cublas;
#[path = "generated/cuda.rs"]
pub mod cuda;
pub mod header;
pub mod limits;
pub mod message;
pub mod text;

pub use codec::{Malformed, Reader, Writer};
pub use header::{Header, Kind};
pub use message::{Encoded, Fields, Payload, Request};
pub use text::Text;

/// Names the message of an opcode, for people.
pub fn name(opcode: u32) -> Option<&'static str> {
    control::name(opcode).or_else(|| cuda::name(opcode)).or_else(|| cublas::name(opcode))
}
