//! Memory of the driver API as a program uses it, compared with what it must be.
//!
//! `memory-client STORY` tells one story and prints one JSON object with what it saw. An answer
//! that a story cannot go on without ends it with the call's name on standard error.

#[path = "memory-client/boxes.rs"]
mod boxes;
#[path = "memory-client/mapped.rs"]
mod mapped;
#[path = "memory-client/pooled.rs"]
mod pooled;
#[path = "memory-client/staged.rs"]
mod staged;
#[path = "memory-client/unreachable.rs"]
mod unreachable;

use std::process::ExitCode;

use cudarc::driver::sys::{self, CUresult};
use serde_json::Value;

/// A call that a story cannot go on without.
#[derive(Debug)]
struct Failed {
    call: &'static str,
    code: CUresult,
}

type Told = Result<Value, Failed>;

/// Goes on only after success.
fn ok(call: &'static str, code: CUresult) -> Result<(), Failed> {
    if code == CUresult::CUDA_SUCCESS { Ok(()) } else { Err(Failed { call, code }) }
}

/// Names an answer as the documentation does, without `CUDA_` and `ERROR_`.
fn name(code: CUresult) -> Value {
    let name = format!("{code:?}");
    name.replace("CUDA_", "").replace("ERROR_", "").into()
}

/// Initialises, and makes the primary context of device 0 current.
fn begin() -> Result<sys::CUcontext, Failed> {
    let mut context = std::ptr::null_mut();
    // SAFETY: the places are those that the calls document.
    unsafe {
        ok("cuInit", sys::cuInit(0))?;
        ok("cuDevicePrimaryCtxRetain", sys::cuDevicePrimaryCtxRetain(&mut context, 0))?;
        ok("cuCtxSetCurrent", sys::cuCtxSetCurrent(context))?;
    }
    Ok(context)
}

fn allocate(bytes: usize) -> Result<sys::CUdeviceptr, Failed> {
    let mut address = 0;
    // SAFETY: the place is ours.
    ok("cuMemAlloc", unsafe { sys::cuMemAlloc_v2(&mut address, bytes) })?;
    Ok(address)
}

fn write(to: sys::CUdeviceptr, from: &[u8]) -> CUresult {
    // SAFETY: as many bytes as the slice has.
    unsafe { sys::cuMemcpyHtoD_v2(to, from.as_ptr().cast(), from.len()) }
}

fn read(from: sys::CUdeviceptr, to: &mut [u8]) -> CUresult {
    // SAFETY: as many bytes as the slice has.
    unsafe { sys::cuMemcpyDtoH_v2(to.as_mut_ptr().cast(), from, to.len()) }
}

fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|at| ((at + seed).wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

fn main() -> ExitCode {
    let story = std::env::args().nth(1).unwrap_or_default();
    let told = match story.as_str() {
        "boxes" => boxes::tell(),
        "mapped" => mapped::tell(),
        "pooled" => pooled::tell(),
        "staged" => staged::tell(),
        "unreachable" => unreachable::tell(),
        _ => {
            eprintln!("memory-client: there is no story called {story:?}");
            return ExitCode::from(64);
        }
    };
    match told {
        Ok(seen) => {
            println!("{seen}");
            ExitCode::SUCCESS
        }
        Err(Failed { call, code }) => {
            eprintln!("memory-client: {call} answered {code:?}");
            ExitCode::FAILURE
        }
    }
}
