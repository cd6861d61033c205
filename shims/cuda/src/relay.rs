//! The table by which libcublas uses this library's session (`vgpu_guest::relay`).
//!
//! It goes through the same boundary as an exported function; what the messages mean, only
//! libcublas and the host know.

use std::ffi::c_void;

use vgpu_abi::cuda::Error;
use vgpu_guest::relay::{OPCODES, REFUSED, Table, VERSION};
use vgpu_guest::wire::{Encoded, Fields};
use vgpu_guest::{Counter, Failure, boundary, convert, session};

use crate::{remote, work};

static TABLE: Table = Table { version: VERSION, bytes: size_of::<Table>() as u32, call, post };

/// Returns the table; it stays where it is.
pub(crate) fn table() -> *const c_void {
    (&raw const TABLE).cast()
}

unsafe extern "C" fn call(
    opcode: u32,
    fields: *const u8,
    fields_bytes: usize,
    answer: *mut u8,
    answer_room: usize,
    answer_bytes: *mut usize,
) -> u32 {
    static CALLS: Counter = Counter::new("(cuBLAS, answered)");
    let mut refused = 0;
    let answered = boundary(&CALLS, || {
        // SAFETY: libcublas's promise (relay::Call): NULL or places of these lengths.
        let (fields, room, mut bytes) = unsafe {
            (
                convert::slice::<u8, Error>(fields, fields_bytes)?,
                convert::slice_mut::<u8, Error>(answer, answer_room)?,
                convert::output::<_, Error>(answer_bytes)?,
            )
        };
        let request = request(opcode, fields)?;
        remote::ready()?;
        // What it gives to the stream of its handle is not known here.
        match work::give_anywhere(|| session::call(&request)) {
            Ok(Fields(answer)) => {
                let place = room.get_mut(..answer.len()).ok_or(Error::INVALID_VALUE)?;
                place.copy_from_slice(&answer);
                bytes.set(answer.len());
                Ok(())
            }
            Err(Failure::Refused { code }) => {
                refused = REFUSED | u32::from(code);
                Ok(())
            }
            Err(failure) => Err(failure.into()),
        }
    });
    answered.map_or_else(Error::code, |()| refused)
}

unsafe extern "C" fn post(opcode: u32, fields: *const u8, fields_bytes: usize) -> u32 {
    static CALLS: Counter = Counter::new("(cuBLAS, posted)");
    let posted = boundary(&CALLS, || {
        // SAFETY: libcublas's promise (relay::Post): NULL or a place of this length.
        let fields = unsafe { convert::slice::<u8, Error>(fields, fields_bytes)? };
        remote::post(&request(opcode, fields)?)
    });
    posted.map_or_else(Error::code, |()| 0)
}

fn request(opcode: u32, fields: &[u8]) -> Result<Encoded, Error> {
    if OPCODES.contains(&opcode) {
        Ok(Encoded { opcode, fields: Fields(fields.to_vec()) })
    } else {
        Err(Error::INVALID_VALUE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_of_cublas_are_passed_on() {
        let mut bytes = 0;
        for opcode in [0, 1, 0x100, 0x3ff, 0x500, u32::MAX] {
            // SAFETY: no fields, no room, and a place for the length.
            let code = unsafe {
                call(opcode, std::ptr::null(), 0, std::ptr::null_mut(), 0, &raw mut bytes)
            };
            assert_eq!(code, Error::INVALID_VALUE.code(), "{opcode:#x}");
            // SAFETY: no fields.
            let code = unsafe { post(opcode, std::ptr::null(), 0) };
            assert_eq!(code, Error::INVALID_VALUE.code(), "{opcode:#x}");
        }
    }
}
