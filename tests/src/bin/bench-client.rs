//! Measures calls and copies from inside an ordinary CUDA client, through whatever libcuda the
//! loader finds, and prints one JSON object. `cargo xtask bench` runs it over our libraries.
//!
//! Times are medians of many rounds: the machine may have other work, and the median of a call is
//! what a client waits. Copies are compared with a plain `memcpy` of the same size between two
//! buffers of this process, measured in the same run.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cudarc::driver::{CudaContext, DriverError, result};
use serde_json::{Value, json};

/// Sizes copied, in bytes: from one page's quarter to the size that the targets name.
const SIZES: &[usize] = &[1 << 10, 16 << 10, 256 << 10, 1 << 20, 16 << 20, 64 << 20, 256 << 20];

/// A size is copied for about this long; at least three and at most a thousand times.
const TIME_A_SIZE: Duration = Duration::from_millis(600);

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Repeats `round` for about [`TIME_A_SIZE`], after one round that is not counted.
fn repeat(mut round: impl FnMut() -> Result<(), DriverError>) -> Result<Duration, DriverError> {
    round()?;
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || (began.elapsed() < TIME_A_SIZE && times.len() < 1000) {
        let start = Instant::now();
        round()?;
        times.push(start.elapsed());
    }
    Ok(median(times))
}

fn calls(context: &CudaContext) -> Result<Value, DriverError> {
    const ROUNDS: usize = 4000;
    const BATCH: usize = 500;
    let mut sync = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        black_box(context.mem_get_info()?);
        sync.push(start.elapsed());
    }
    // Small enough for any queue, so that what is timed is the submission and not a full buffer.
    let mut submit = Vec::new();
    // SAFETY: 4096 bytes are allocated here, set within their bounds, and freed once at the end,
    // after the last operation on them has been waited for.
    unsafe {
        let memory = result::malloc_sync(4096)?;
        for _ in 0..40 {
            let start = Instant::now();
            for _ in 0..BATCH {
                result::memset_d8_async(memory, 0, 64, std::ptr::null_mut())?;
            }
            submit.push(start.elapsed() / BATCH as u32);
            context.synchronize()?;
        }
        result::free_sync(memory)?;
    }
    let nanoseconds = |times| median(times).as_nanos() as u64;
    Ok(json!({ "sync_call_ns": nanoseconds(sync), "async_submit_ns": nanoseconds(submit) }))
}

fn copies(bytes: usize) -> Result<Value, DriverError> {
    let source: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
    let mut destination = vec![0_u8; bytes];
    let plain = repeat(|| {
        destination.copy_from_slice(black_box(&source));
        black_box(&mut destination);
        Ok(())
    })?;
    // SAFETY: the allocation has the length of both host buffers, which live until the end of this
    // function; the copies are synchronous; it is freed once.
    let (up, down) = unsafe {
        let memory = result::malloc_sync(bytes)?;
        let up = repeat(|| result::memcpy_htod_sync(memory, &source))?;
        let down = repeat(|| result::memcpy_dtoh_sync(&mut destination, memory))?;
        result::free_sync(memory)?;
        (up, down)
    };
    let rate = |time: Duration| bytes as f64 / time.as_secs_f64() / 1e9;
    Ok(json!({
        "bytes": bytes,
        "equal": source == destination,
        "memcpy_gb_s": rate(plain),
        "htod_gb_s": rate(up),
        "dtoh_gb_s": rate(down),
        "htod_ratio": plain.as_secs_f64() / up.as_secs_f64(),
        "dtoh_ratio": plain.as_secs_f64() / down.as_secs_f64(),
    }))
}

fn measure() -> Result<Value, DriverError> {
    let context = CudaContext::new(0)?;
    let calls = calls(&context)?;
    let copies = SIZES.iter().map(|bytes| copies(*bytes)).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "device": context.name()?, "calls": calls, "copies": copies }))
}

fn main() -> ExitCode {
    match measure() {
        Ok(measured) => {
            println!("{measured}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-client: {error:?}");
            ExitCode::FAILURE
        }
    }
}
