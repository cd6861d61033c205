//! Measures calls and copies from inside an ordinary CUDA client, through whatever libcuda the
//! loader finds, and prints one JSON object. `cargo xtask bench` runs it over our libraries.
//! `--sizes=N` copies only the N smallest sizes; `idle` holds a context until its input ends.
//!
//! Times are medians of many rounds: the machine may have other work, and the median of a call is
//! what a client waits. Copies are compared with a plain `memcpy` of the same size between two
//! buffers of this process, measured in the same run.

use std::ffi::CStr;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cudarc::driver::sys::{CUgraphInstantiate_flags, CUlimit, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, DriverError, result};
use serde_json::{Value, json};

/// Sizes copied, in bytes: from one page's quarter to the size that the targets name.
const SIZES: &[usize] = &[1 << 10, 16 << 10, 256 << 10, 1 << 20, 16 << 20, 64 << 20, 256 << 20];

/// A size is copied for about this long; at least three and at most a thousand times.
const TIME_A_SIZE: Duration = Duration::from_millis(600);

fn median(times: Vec<Duration>) -> Duration {
    percentile(times, 50)
}

fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
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
    // Answered by the worker itself, where `cuMemGetInfo` asks the host process.
    let mut by_worker = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        black_box(context.get_limit(CUlimit::CU_LIMIT_STACK_SIZE)?);
        by_worker.push(start.elapsed());
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
    let (launches, graph) = launches()?;
    let nanoseconds = |times| median(times).as_nanos() as u64;
    Ok(json!({
        "sync_call_ns": nanoseconds(sync),
        "worker_call_ns": nanoseconds(by_worker.clone()),
        "worker_call_p99_ns": percentile(by_worker, 99).as_nanos() as u64,
        "async_submit_ns": nanoseconds(submit),
        "launches_1000_ns": nanoseconds(launches),
        "graph_1000_ns": nanoseconds(graph),
    }))
}

/// A kernel that does nothing, for cards from Turing on.
const NOTHING: &CStr = c"
.version 6.3
.target sm_75
.address_size 64
.visible .entry vgpu_test_nothing() { ret; }
";

/// Times 1,000 launches until they are done: one by one, and as one graph.
fn launches() -> Result<(Vec<Duration>, Vec<Duration>), DriverError> {
    const LAUNCHES: usize = 1000;
    const ROUNDS: usize = 20;
    // SAFETY: the image is a C text that lives for ever; module, stream and graph are used between
    // their creation and their destruction here; the kernel takes no arguments.
    unsafe {
        let module = result::module::load_data(NOTHING.as_ptr().cast())?;
        let kernel = result::module::get_function(module, c"vgpu_test_nothing".into())?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
        let all = || {
            (0..LAUNCHES).try_for_each(|_| {
                let (grid, block) = ((1, 1, 1), (1, 1, 1));
                result::launch_kernel(kernel, grid, block, 0, stream, &mut [])
            })
        };
        let mut one_by_one = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            all()?;
            result::stream::synchronize(stream)?;
            one_by_one.push(start.elapsed());
        }
        result::stream::begin_capture(stream, CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED)?;
        all()?;
        let graph = result::stream::end_capture(stream)?;
        let executable = result::graph::instantiate(graph, CUgraphInstantiate_flags(0))?;
        let mut at_once = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            result::graph::launch(executable, stream)?;
            result::stream::synchronize(stream)?;
            at_once.push(start.elapsed());
        }
        result::graph::exec_destroy(executable)?;
        result::graph::destroy(graph)?;
        result::stream::destroy(stream)?;
        result::module::unload(module)?;
        Ok((one_by_one, at_once))
    }
}

fn copies(bytes: usize) -> Result<Value, DriverError> {
    let source: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
    let mut destination = vec![0_u8; bytes];
    let plain = repeat(|| {
        destination.copy_from_slice(black_box(&source));
        black_box(&mut destination);
        Ok(())
    })?;
    // SAFETY: the allocations have the length of both host buffers, which live until the end of
    // this function; the copies are synchronous; each is freed once, after its last use.
    let ([up, down], [pinned_up, pinned_down]) = unsafe {
        let memory = result::malloc_sync(bytes)?;
        let up = repeat(|| result::memcpy_htod_sync(memory, &source))?;
        let down = repeat(|| result::memcpy_dtoh_sync(&mut destination, memory))?;
        let page_locked = result::malloc_host(bytes, 0)?;
        let pinned = std::slice::from_raw_parts_mut(page_locked.cast::<u8>(), bytes);
        pinned.copy_from_slice(&source);
        let pinned_up = repeat(|| result::memcpy_htod_sync(memory, pinned))?;
        let pinned_down = repeat(|| result::memcpy_dtoh_sync(pinned, memory))?;
        result::free_host(page_locked)?;
        result::free_sync(memory)?;
        ([up, down], [pinned_up, pinned_down])
    };
    let rate = |time: Duration| bytes as f64 / time.as_secs_f64() / 1e9;
    Ok(json!({
        "bytes": bytes,
        "equal": source == destination,
        "memcpy_gb_s": rate(plain),
        "htod_gb_s": rate(up),
        "dtoh_gb_s": rate(down),
        "pinned_htod_gb_s": rate(pinned_up),
        "pinned_dtoh_gb_s": rate(pinned_down),
        "htod_ratio": plain.as_secs_f64() / up.as_secs_f64(),
        "dtoh_ratio": plain.as_secs_f64() / down.as_secs_f64(),
        "pinned_htod_ratio": plain.as_secs_f64() / pinned_up.as_secs_f64(),
        "pinned_dtoh_ratio": plain.as_secs_f64() / pinned_down.as_secs_f64(),
    }))
}

/// Memory that no other process has, in KiB (`proc_pid_smaps(5)`).
fn private_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// Has a context and does nothing with it until standard input ends; says first how much memory
/// that added to this process.
fn idle() -> Result<Value, DriverError> {
    let before = private_kib();
    let context = CudaContext::new(0)?;
    context.synchronize()?;
    println!("{}", json!({ "memory_kib": private_kib().saturating_sub(before) }));
    let ended = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    // The host may have gone meanwhile: what is said then is the driver's number for it.
    let said = context.synchronize().err().map_or(0, |error| error.0 as u32);
    Ok(json!({ "ended": ended.is_ok(), "result": said }))
}

fn measure() -> Result<Value, DriverError> {
    let before = private_kib();
    let context = CudaContext::new(0)?;
    context.synchronize()?;
    let memory = private_kib().saturating_sub(before);
    let calls = calls(&context)?;
    let named = |name| std::env::args().find_map(|it| it.strip_prefix(name)?.parse().ok());
    let sizes = &SIZES[..named("--sizes=").unwrap_or(SIZES.len()).min(SIZES.len())];
    let copies = sizes.iter().map(|bytes| copies(*bytes)).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "device": context.name()?, "memory_kib": memory, "calls": calls, "copies": copies }))
}

fn main() -> ExitCode {
    let measured =
        if std::env::args().nth(1).as_deref() == Some("idle") { idle() } else { measure() };
    match measured {
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
