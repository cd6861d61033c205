//! What a link costs an ordinary CUDA client, and prints one JSON object. `cargo xtask bench` runs
//! it over each link.
//!
//! `latency`: single calls and copies. `load SECONDS`: as many calls as it gets, from the moment
//! that a line comes on standard input. `idle`: a context, and nothing until standard input ends.

use std::hint::black_box;
use std::io::BufRead as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cudarc::driver::{CudaContext, DriverError, result, sys};
use serde_json::{Value, json};

/// Calls of each kind, after a tenth as many that are not counted.
const ROUNDS: usize = 20_000;

/// Submissions between two waits: few enough for any queue.
const BATCH: usize = 200;

const COPIED_BYTES: usize = 16 << 20;

const COPIES: usize = 15;

/// Asks for something that the worker answers by itself, at once.
fn ask() -> Result<(), DriverError> {
    let mut value = 0;
    // SAFETY: the place for the answer lives across the call.
    let code =
        unsafe { sys::cuCtxGetLimit(&raw mut value, sys::CUlimit_enum::CU_LIMIT_STACK_SIZE) };
    black_box(value);
    code.result()
}

/// Times `rounds` calls one by one; the quantiles in nanoseconds.
fn each(rounds: usize, mut call: impl FnMut(usize) -> Result<(), DriverError>) -> Answer {
    for round in 0..rounds / 10 {
        call(round)?;
    }
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let start = Instant::now();
        call(round)?;
        times.push(start.elapsed().as_nanos() as u64);
    }
    times.sort_unstable();
    Ok(json!({ "p50_ns": times[times.len() / 2], "p99_ns": times[times.len() * 99 / 100] }))
}

type Answer = Result<Value, DriverError>;

fn submissions(context: &CudaContext) -> Answer {
    // SAFETY: 4096 bytes are allocated here, set within their bounds, and freed once at the end,
    // after the last operation on them has been waited for.
    unsafe {
        let memory = result::malloc_sync(4096)?;
        let mut times = Vec::with_capacity(ROUNDS);
        for batch in 0..ROUNDS / BATCH {
            for _ in 0..BATCH {
                let start = Instant::now();
                result::memset_d8_async(memory, 0, 64, std::ptr::null_mut())?;
                times.push(start.elapsed().as_nanos() as u64);
            }
            context.synchronize()?;
            if batch == 0 {
                times.clear();
            }
        }
        result::free_sync(memory)?;
        times.sort_unstable();
        Ok(json!({ "p50_ns": times[times.len() / 2], "p99_ns": times[times.len() * 99 / 100] }))
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// Copies `source` to the device and back; rates beside a `memcpy` of this process.
fn copies(source: &[u8]) -> Answer {
    copies_into(source, &mut vec![0; source.len()])
}

/// The same from and to pinned memory.
fn pinned_copies(source: &[u8]) -> Answer {
    // SAFETY: both are allocated here with the length of the source, initialised before they are
    // borrowed, and freed once, after the last use of what was borrowed.
    unsafe {
        let [from, to] =
            [result::malloc_host(source.len(), 0)?, result::malloc_host(source.len(), 0)?];
        to.cast::<u8>().write_bytes(0, source.len());
        from.cast::<u8>().copy_from_nonoverlapping(source.as_ptr(), source.len());
        let pinned = std::slice::from_raw_parts(from.cast::<u8>(), source.len());
        let back = std::slice::from_raw_parts_mut(to.cast::<u8>(), source.len());
        let copied = copies_into(pinned, back);
        result::free_host(from)?;
        result::free_host(to)?;
        copied
    }
}

fn copies_into(source: &[u8], back: &mut [u8]) -> Answer {
    let (mut plain, mut up, mut down) = (Vec::new(), Vec::new(), Vec::new());
    // SAFETY: the allocation has the length of both host buffers, which outlive this function; the
    // copies are synchronous; it is freed once, after its last use.
    unsafe {
        let memory = result::malloc_sync(source.len())?;
        for _ in 0..COPIES {
            let start = Instant::now();
            back.copy_from_slice(black_box(source));
            black_box(&mut *back);
            plain.push(start.elapsed());
            let start = Instant::now();
            result::memcpy_htod_sync(memory, source)?;
            up.push(start.elapsed());
            let start = Instant::now();
            result::memcpy_dtoh_sync(back, memory)?;
            down.push(start.elapsed());
        }
        result::free_sync(memory)?;
    }
    let rate = |seconds: f64| source.len() as f64 / seconds / 1e9;
    let (plain, up, down) = (median(plain), median(up), median(down));
    Ok(json!({
        "equal": back == source,
        "memcpy_gb_s": rate(plain), "htod_gb_s": rate(up), "dtoh_gb_s": rate(down),
    }))
}

/// Bytes without order, as weights of models are (xorshift).
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = (0..COPIED_BYTES / 8).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    words.flat_map(u64::to_le_bytes).collect()
}

fn latency() -> Answer {
    let context = CudaContext::new(0)?;
    context.synchronize()?;
    Ok(json!({
        "sync": each(ROUNDS, |_| ask())?,
        "submit": submissions(&context)?,
        "noise": copies(&noise())?,
        "zeroes": copies(&vec![0; COPIED_BYTES])?,
        "pinned": pinned_copies(&noise())?,
    }))
}

/// Calls for so many seconds.
fn load(seconds: f64) -> Answer {
    let context = CudaContext::new(0)?;
    context.synchronize()?;
    println!("{}", json!({}));
    // What comes is only the moment to begin.
    let _ = std::io::stdin().lock().read_line(&mut String::new());
    let (began, mut calls) = (Instant::now(), 0_u64);
    while began.elapsed().as_secs_f64() < seconds {
        ask()?;
        calls += 1;
    }
    Ok(json!({ "calls_per_second": calls as f64 / began.elapsed().as_secs_f64() }))
}

fn idle() -> Answer {
    let context = CudaContext::new(0)?;
    context.synchronize()?;
    println!("{}", json!({}));
    let ended = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    Ok(json!({ "ended": ended.is_ok() }))
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let measured = match (arguments.next().as_deref(), arguments.next()) {
        (Some("latency"), None) => latency(),
        (Some("load"), Some(seconds)) => load(seconds.parse().unwrap_or(1.0)),
        (Some("idle"), None) => idle(),
        _ => {
            eprintln!("usage: link-client latency | load SECONDS | idle");
            return ExitCode::FAILURE;
        }
    };
    match measured {
        Ok(measured) => {
            println!("{measured}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("link-client: {error:?}");
            ExitCode::FAILURE
        }
    }
}
