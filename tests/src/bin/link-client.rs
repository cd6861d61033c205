//! What a link costs an ordinary CUDA client, and prints one JSON object. `cargo xtask bench` runs
//! it over each link.
//!
//! `latency BYTES`: single calls, and copies of so many bytes. `load SECONDS`: as many calls as it
//! gets, from the moment that a line comes on standard input. `idle`: a context, and nothing until
//! standard input ends. `first`: calls nothing until a line comes, then copies there and back.

use std::hint::black_box;
use std::io::BufRead as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cudarc::driver::{CudaContext, DriverError, result, sys};
use serde_json::{Value, json};

/// Calls of each kind, after some that are not counted: fewer where they take longer than
/// [`TIME`].
const ROUNDS: usize = 20_000;

/// How long calls, or copies, of one kind go on: 2 s.
const TIME: Duration = Duration::from_secs(2);

/// Calls that are not counted: a tenth of [`ROUNDS`], or of [`TIME`].
const UNCOUNTED: usize = ROUNDS / 10;

/// Submissions between two waits: few enough for any queue.
const BATCH: usize = 200;

/// Copies of each kind, and the fewest where they take longer than [`TIME`].
const COPIES: usize = 15;
const COPIES_LEAST: usize = 3;

/// What a process copies first.
const FIRST_BYTES: usize = 4096;

/// Asks for something that the worker answers by itself, at once.
fn ask() -> Result<(), DriverError> {
    let mut value = 0;
    // SAFETY: the place for the answer lives across the call.
    let code =
        unsafe { sys::cuCtxGetLimit(&raw mut value, sys::CUlimit_enum::CU_LIMIT_STACK_SIZE) };
    black_box(value);
    code.result()
}

/// Times calls one by one; the quantiles in nanoseconds.
fn each(mut call: impl FnMut() -> Result<(), DriverError>) -> Answer {
    let began = Instant::now();
    for _ in 0..UNCOUNTED {
        call()?;
        if began.elapsed() > TIME / 10 {
            break;
        }
    }
    let (began, mut times) = (Instant::now(), Vec::with_capacity(ROUNDS));
    while times.len() < ROUNDS && began.elapsed() < TIME {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_nanos() as u64);
    }
    Ok(quantiles(times))
}

fn quantiles(mut times: Vec<u64>) -> Value {
    times.sort_unstable();
    let at = |percent| times[times.len() * percent / 100];
    json!({ "rounds": times.len(), "p50_ns": at(50), "p99_ns": at(99) })
}

type Answer = Result<Value, DriverError>;

fn submissions(context: &CudaContext) -> Answer {
    // SAFETY: 4096 bytes are allocated here, set within their bounds, and freed once at the end,
    // after the last operation on them has been waited for.
    unsafe {
        let memory = result::malloc_sync(4096)?;
        let (began, mut times) = (Instant::now(), Vec::with_capacity(ROUNDS));
        for batch in 0..ROUNDS / BATCH {
            if batch > 1 && began.elapsed() > TIME {
                break;
            }
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
        Ok(quantiles(times))
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// Copies `source` to the device and back; rates beside a `memcpy` of this process.
fn copies(source: &[u8]) -> Answer {
    copies_by(source, &mut vec![0; source.len()])
}

/// The same from and to pinned memory.
fn pinned_copies(source: &[u8]) -> Answer {
    // SAFETY: it is allocated here with the length of the source, initialised before it is
    // borrowed, and freed once, after the last use of what was borrowed.
    unsafe {
        let pinned = result::malloc_host(source.len(), 0)?;
        pinned.cast::<u8>().write_bytes(0, source.len());
        let copied =
            copies_by(source, std::slice::from_raw_parts_mut(pinned.cast::<u8>(), source.len()));
        result::free_host(pinned)?;
        copied
    }
}

/// Copies `source` into `buffer`, which is what `memcpy` takes; that to the device; and back.
fn copies_by(source: &[u8], buffer: &mut [u8]) -> Answer {
    let (mut plain, mut up, mut down) = (Vec::new(), Vec::new(), Vec::new());
    let began = Instant::now();
    // SAFETY: the allocation has the length of both host buffers, which outlive this function; the
    // copies are synchronous; it is freed once, after its last use.
    unsafe {
        let memory = result::malloc_sync(source.len())?;
        while plain.len() < COPIES && (plain.len() < COPIES_LEAST || began.elapsed() < TIME) {
            let start = Instant::now();
            buffer.copy_from_slice(black_box(source));
            black_box(&mut *buffer);
            plain.push(start.elapsed());
            let start = Instant::now();
            result::memcpy_htod_sync(memory, &*buffer)?;
            up.push(start.elapsed());
            // What is found there in the end has come back.
            buffer.fill(!source[0]);
            let start = Instant::now();
            result::memcpy_dtoh_sync(buffer, memory)?;
            down.push(start.elapsed());
        }
        result::free_sync(memory)?;
    }
    let rate = |seconds: f64| source.len() as f64 / seconds / 1e9;
    let (plain, up, down) = (median(plain), median(up), median(down));
    Ok(json!({
        "equal": buffer == source,
        "memcpy_gb_s": rate(plain), "htod_gb_s": rate(up), "dtoh_gb_s": rate(down),
    }))
}

/// Bytes without order, as weights of models are (xorshift).
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = (0..bytes / 8).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    words.flat_map(u64::to_le_bytes).collect()
}

fn latency(bytes: usize) -> Answer {
    let context = CudaContext::new(0)?;
    context.synchronize()?;
    Ok(json!({
        "sync": each(ask)?,
        "submit": submissions(&context)?,
        "copied_bytes": bytes,
        "noise": copies(&noise(bytes))?,
        "zeroes": copies(&vec![0; bytes])?,
        "pinned": pinned_copies(&noise(bytes))?,
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

/// Begins with the host only when a line comes; a program that finds it then can compute.
fn first() -> Answer {
    println!("{}", json!({}));
    // What comes is only the moment to begin.
    let _ = std::io::stdin().lock().read_line(&mut String::new());
    let _context = CudaContext::new(0)?;
    let (source, mut back) = (noise(FIRST_BYTES), vec![0; FIRST_BYTES]);
    // SAFETY: the allocation has the length of both buffers; the copies are synchronous; it is
    // freed once, after its last use.
    unsafe {
        let memory = result::malloc_sync(FIRST_BYTES)?;
        result::memcpy_htod_sync(memory, &source)?;
        result::memcpy_dtoh_sync(&mut back, memory)?;
        result::free_sync(memory)?;
    }
    assert!(back == source, "what was copied comes back");
    Ok(json!({}))
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let measured = match (arguments.next().as_deref(), arguments.next()) {
        (Some("latency"), Some(bytes)) => latency(bytes.parse().unwrap_or(1 << 20)),
        (Some("load"), Some(seconds)) => load(seconds.parse().unwrap_or(1.0)),
        (Some("idle"), None) => idle(),
        (Some("first"), None) => first(),
        _ => {
            eprintln!("usage: link-client latency BYTES | load SECONDS | idle | first");
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
