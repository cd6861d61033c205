//! The Rust crate cudarc, unmodified, as a client of whatever libcuda the loader finds.
//!
//! Prints one JSON object with what it saw; any CUDA error ends it with the error's own text on
//! standard error. With `--count-only` it asks for no more than the number of devices.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use cudarc::driver::{CudaContext, DriverError, sys};

/// More than one frame's worth of data, and no multiple of a page.
const BYTES: usize = 3 * 1024 * 1024 + 17;

fn drive() -> Result<serde_json::Value, DriverError> {
    let context = CudaContext::new(0)?;
    let stream = context.new_stream()?;
    let sent: Vec<u8> = (0..BYTES).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();

    let before = context.new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))?;
    let after = context.new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))?;
    before.record(&stream)?;
    let on_device = stream.clone_htod(&sent)?;
    let copy = stream.clone_dtod(&on_device)?;
    after.record(&stream)?;
    after.synchronize()?;
    let elapsed_ms = before.elapsed_ms(&after)?;
    let back = stream.clone_dtoh(&copy)?;
    stream.synchronize()?;

    let other = context.default_stream();
    let mut zeroed = other.alloc_zeros::<u32>(4096)?;
    other.join(&stream)?;
    let zeros = other.clone_dtoh(&zeroed)?;
    other.memcpy_htod(&vec![7_u32; 4096], &mut zeroed)?;
    let sevens = other.clone_dtoh(&zeroed)?;
    other.synchronize()?;

    let (free, total) = context.mem_get_info()?;
    let uuid: Vec<u8> = context.uuid()?.bytes.iter().map(|byte| *byte as u8).collect();
    Ok(serde_json::json!({
        "devices": CudaContext::device_count()?,
        "name": context.name()?,
        "uuid": uuid,
        "compute": context.compute_capability()?,
        "total_memory": context.total_mem()?,
        "free": free,
        "total": total,
        "copies_equal": back == sent,
        "zeros_equal": zeros.iter().all(|word| *word == 0),
        "sevens_equal": sevens.iter().all(|word| *word == 7),
        "elapsed_is_sane": (0.0..60_000.0).contains(&elapsed_ms),
    }))
}

fn main() -> ExitCode {
    let count_only = std::env::args().any(|argument| argument == "--count-only");
    let outcome = if count_only {
        CudaContext::device_count().map(|devices| serde_json::json!({ "devices": devices }))
    } else {
        drive()
    };
    match outcome {
        Ok(seen) => {
            println!("{seen}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cudarc: {error:?}");
            ExitCode::FAILURE
        }
    }
}
