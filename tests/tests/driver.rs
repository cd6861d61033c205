//! `vgpud --device nvidia`: which file it takes for NVIDIA's driver, and that it does with it what
//! the simulated device does. No GPU is needed: the driver is our own library without its mark, in
//! front of a second host (`Vgpud::chain`). `cargo xtask test chain` runs the clients over it.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use vgpu_link::tls::Files;
use vgpu_link::wire::control::{Collect, Collected, DueFunction, Hello, NextFunction, Role};
use vgpu_link::wire::{Header, Kind, Payload, Request, Text, cuda};
use vgpu_link::{Bulk, Link, Uri, connect};
use vgpu_tests::client::{Way, over};
use vgpu_tests::host::{Chain, unmarked};
use vgpu_tests::stage::repository;
use vgpu_tests::{Stage, Vgpud, run};

const LIMIT: Duration = Duration::from_secs(120);

/// Some 300 cases, each in a process of its own, on a busy machine.
const RULES_LIMIT: Duration = Duration::from_secs(400);

/// Runs the rules that clients punish over a host; returns each case with what became of it.
#[track_caller]
fn rules_over(host: &Vgpud) -> BTreeMap<String, Value> {
    let mut python = over(&Stage::dev(), Way::SearchPath, &host.link(), "python3");
    python.arg(repository().join("tests/compliance/run.py"));
    python.args(["--driver", "libcuda.so.1", "--runtime", "libcudart.so.13"]);
    let done = run(&mut python, RULES_LIMIT).expect("all cases end");
    let lines = done.stdout.lines().map(serde_json::from_str::<Value>);
    let cases = lines.map(|case| case.expect("one JSON document a case"));
    cases.map(|case| (case["case"].as_str().expect("a name").to_owned(), case)).collect()
}

/// Starts a host that is expected not to come up; returns what it said.
#[track_caller]
fn refusal(arguments: &[&str]) -> String {
    match Vgpud::launch(&Stage::dev(), arguments, Some("unix:/nonexistent/vgpud.sock")) {
        Err(error) => error.to_string(),
        Ok(host) => panic!("it came up:\n{}", host.log()),
    }
}

#[track_caller]
fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
}

/// Compiles a library whose `cuInit` answers a code, beside an NVML that is never reached.
fn driver_that_answers(directory: &Path, code: u32) {
    let source = directory.join("driver.c");
    let text = format!("int cuInit(unsigned flags) {{ return flags ? 1 : {code}; }}\n");
    std::fs::write(&source, text).expect("a file in a new directory");
    for name in ["libcuda.so.1", "libnvidia-ml.so.1"] {
        let mut gcc = Command::new("gcc");
        gcc.args(["-shared", "-fPIC", "-o"]).arg(directory.join(name)).arg(&source);
        let done = run(&mut gcc, LIMIT).and_then(|done| done.success());
        done.expect("gcc compiles it (Debian package gcc)");
    }
}

#[test]
fn our_own_library_is_refused_as_a_driver_and_without_its_mark_it_is_not() {
    let libraries = Stage::dev().libraries();
    let path = libraries.to_str().expect("UTF-8");
    let said = refusal(&["--device", "nvidia", "--driver-dir", path]);
    let file = libraries.join("libcuda.so.1").display().to_string();
    assert_says(&said, &[&file, "vgpu-ollama installs for guests", "try:", "driver_dir"]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    for name in ["libcuda.so.1", "libnvidia-ml.so.1"] {
        unmarked(&libraries.join(name), &directory.path().join(name)).expect("it has a mark");
    }
    let path = directory.path().to_str().expect("UTF-8");
    let said = refusal(&["--device", "nvidia", "--driver-dir", path]);
    assert_says(&said, &["initialising the driver", "CUDA_ERROR_NO_DEVICE", "nvidia-smi"]);
}

#[test]
fn without_a_driver_the_simulated_device_is_named_and_not_taken() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_str().expect("UTF-8");
    let file = directory.path().join("libcuda.so.1").display().to_string();
    for arguments in [&["--driver-dir", path][..], &["--device", "nvidia", "--driver-dir", path]] {
        assert_says(&refusal(arguments), &[&file, "driver_dir", "--device sim"]);
    }
}

#[test]
fn a_library_for_linking_only_is_told_from_a_driver_by_its_answer_and_by_its_place() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let stubs = directory.path().join("stubs");
    std::fs::create_dir(&stubs).expect("a new directory");
    for (place, code) in [(directory.path(), 34), (stubs.as_path(), 0)] {
        driver_that_answers(place, code);
        let path = place.to_str().expect("UTF-8");
        let said = refusal(&["--device", "nvidia", "--driver-dir", path]);
        let file = place.join("libcuda.so.1").display().to_string();
        assert_says(&said, &[&file, "stub of the CUDA toolkit", "driver_dir"]);
    }
}

#[test]
fn the_first_worker_opens_the_driver_and_the_host_process_never_does() {
    let host = Vgpud::chain(&Stage::dev(), &["--sim-gpus", "3"]).expect("a chain starts");
    assert_says(&host.log(), &["ready device=nvidia gpus=3"]);
    let maps = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
    let pid = host.pid().to_string();
    assert!(!maps(&pid).contains("libcuda"), "the host process never loads a driver");
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("it runs");
    let loaded = children.split_whitespace().filter(|pid| maps(pid).contains("libcuda.so.1"));
    assert!(loaded.count() > 0, "workers wait with the driver loaded");
}

#[test]
fn a_client_is_answered_through_the_driver_as_by_the_simulated_device() {
    let stage = Stage::dev();
    let answers = [
        Vgpud::simulated(&stage, &[]).expect("a host"),
        Vgpud::chain(&stage, &[]).expect("a chain"),
    ]
    .map(|host| {
        let program = env!("CARGO_BIN_EXE_cudarc-client");
        let mut client = over(&stage, Way::SearchPath, &host.link(), program);
        let done = run(&mut client, LIMIT).and_then(|done| done.success());
        done.unwrap_or_else(|error| panic!("{error}\n{}", host.log()))
    });
    assert_eq!(answers[0], answers[1]);
}

/// Runs one of our clients over a host, to a good end.
#[track_caller]
fn client_over(host: &Vgpud, program: &str, story: &str) -> String {
    let mut client = over(&Stage::dev(), Way::SearchPath, &host.link(), program);
    let done = run(client.arg(story), LIMIT).and_then(|done| done.success());
    done.unwrap_or_else(|error| panic!("{story}: {error}\n{}", host.log()))
}

/// Adds up how often all clients' drivers say that a function was called.
fn calls(log: &str, function: &str) -> u64 {
    let rows = log.lines().filter(|line| line.split_whitespace().last() == Some(function));
    rows.filter_map(|row| row.split_whitespace().find_map(|word| word.parse::<u64>().ok())).sum()
}

const COPIES: &str = r#"{"waited_for":true,"wrong":[0,0,0,0]}"#;

#[test]
fn copies_go_through_memory_that_is_pinned_once_and_never_more_than_the_bound() {
    let chain = Chain { counts: true, ..Chain::default() };
    let host = Vgpud::chain_with(&Stage::dev(), &chain).expect("a chain");
    let done = client_over(&host, env!("CARGO_BIN_EXE_memory-client"), "staged");
    assert_eq!(done.trim(), COPIES);
    let log = host.end();
    let pinned = calls(&log, "cuMemHostRegister_v2");
    // 16 pieces each way, and as many for another context in the place of those.
    assert!((3..=64).contains(&pinned), "{pinned} pieces\n{log}");
    assert!(calls(&log, "cuMemcpyHtoDAsync_v2") > 5 * pinned, "{log}");
    assert!(!log.contains("not-pinned"), "{log}");
}

#[test]
fn a_driver_that_pins_nothing_copies_all_the_same_and_the_log_says_so() {
    let chain = Chain { without: &["cuMemHostRegister_v2"], ..Chain::default() };
    let host = Vgpud::chain_with(&Stage::dev(), &chain).expect("a chain");
    let done = client_over(&host, env!("CARGO_BIN_EXE_memory-client"), "staged");
    assert_eq!(done.trim(), COPIES);
    let log = host.end();
    assert_eq!(log.matches("not-pinned").count(), 1, "{log}");
}

/// Sends a message as a thread of a guest does that has this context current.
#[track_caller]
fn say<R: Request>(link: &mut dyn Link, kind: Kind, (context, thread): (u64, u32), request: &R) {
    let header = Header { context, thread, ..Header::new(kind, R::OPCODE) };
    link.send(&header, &request.to_payload(), &[]).expect("the worker reads");
}

/// Receives the answer to a call, with the memory contents that it brings.
#[track_caller]
fn answered<R: Request>(link: &mut dyn Link) -> (R::Reply, Vec<u8>) {
    let (mut payload, mut bulk) = (Vec::new(), Vec::new());
    let header = link.receive(&mut payload, Bulk::Grow(&mut bulk)).expect("an answer");
    assert_eq!((header.opcode, header.status), (R::OPCODE, 0));
    (R::Reply::from_payload(&payload).expect("it decodes"), bulk)
}

/// The thread of a guest that calls functions has no context, and nor has the host's thread that
/// waits for it. What that asked the driver about the copy before the function was refused, and
/// the copy taken for one that had failed.
#[test]
fn a_copy_is_collected_by_a_thread_that_has_no_context() {
    let host = Vgpud::chain(&Stage::dev(), &[]).expect("a chain");
    let hello = Hello { role: Role::Guest, pid: 1, exe: Text::cut("driver.rs") };
    let (mut link, _) =
        connect(&Uri::Unix(host.socket()), &Files::default(), &hello, LIMIT).expect("welcome");
    let link = &mut *link;
    link.wait_until(Some(Instant::now() + LIMIT));
    say(link, Kind::Call, (0, 1), &cuda::DevicePrimaryCtxRetain { dev: 0 });
    let program = (answered::<cuda::DevicePrimaryCtxRetain>(link).0.pctx, 1);
    say(link, Kind::Call, program, &cuda::StreamCreate { flags: 0 });
    let stream = answered::<cuda::StreamCreate>(link).0.stream;
    say(link, Kind::Call, program, &cuda::MemAllocV2 { bytesize: 16 });
    let source = answered::<cuda::MemAllocV2>(link).0.dptr;
    // Asked together, and first: so the waiting thread is the one that collects.
    let caller = (0, 2);
    say(link, Kind::Call, caller, &NextFunction { done: 0 });
    say(link, Kind::Call, caller, &Collect);
    let set = cuda::MemsetD8Async { dst_device: source, uc: 3, n: 16, stream };
    say(link, Kind::Post, program, &set);
    let copy = cuda::CopyToGuest { source, bytes: 16, stream, ticket: 7 };
    say(link, Kind::Post, program, &copy);
    say(link, Kind::Post, program, &cuda::LaunchHostFunction { stream, ticket: 5 });
    let due = answered::<NextFunction>(link).0;
    assert_eq!(due, DueFunction { ticket: 5, status: 0 });
    let (collected, contents): (Collected, _) = answered::<Collect>(link);
    assert_eq!((collected.deliveries.len(), contents), (1, vec![3; 16]));
}

/// As drivers before CUDA 12.4.
#[test]
fn a_driver_that_does_not_tell_where_parameters_lie_launches_as_one_that_does() {
    let without = &["cuFuncGetParamInfo", "cuKernelGetParamInfo"];
    let chain = Chain { without, ..Chain::default() };
    let [old, new] = [chain, Chain::default()].map(|chain| {
        let host = Vgpud::chain_with(&Stage::dev(), &chain).expect("a chain");
        client_over(&host, env!("CARGO_BIN_EXE_modules-client"), "launch")
    });
    assert_eq!(old, new);
    assert!(old.contains("by list") && !old.contains("false"), "{old}");
}

/// Numbers of attributes that a worker asks for (`daemon/src/device/nvidia/attributes.rs`).
const ATTRIBUTES: u64 = 161;

/// One client at a time, and so one worker after the other.
#[test]
fn the_first_worker_describes_the_devices_and_later_ones_only_look_whether_they_are_the_same() {
    let above = &["--clients-max", "1"];
    let chain = Chain { counts: true, above, ..Chain::default() };
    let host = Vgpud::chain_with(&Stage::dev(), &chain).expect("a chain");
    let mut served = 0;
    let mut serve = || {
        let mut python = over(&Stage::dev(), Way::SearchPath, &host.link(), "python3");
        let done = run(python.args(["-c", RUNTIME, "libcudart.so.13"]), LIMIT);
        served += 1;
        host.logged("gone", served).expect("its worker ends");
        done.expect("it ends").stdout
    };
    let answers = [serve(), serve()];
    assert_eq!(answers[0].trim(), "13000 [0, 0, 0, 0, 0, 0] 1 there and back");
    assert_eq!(answers[0], answers[1], "who was told says what who asked says");
    let pid = i32::try_from(host.pid()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::HUP).expect("it runs");
    host.logged("reloaded", 1).expect("nothing is wrong");
    // The third was started before the reload, the fourth after it.
    assert_eq!([serve(), serve()], answers);
    let log = host.end();
    assert_eq!(calls(&log, "cuDeviceGetAttribute"), 2 * ATTRIBUTES, "{log}");
    assert_eq!(calls(&log, "nvmlDeviceGetPciInfo_v3"), 2, "{log}");
    assert!(calls(&log, "cuDeviceGetUuid_v2") >= 4, "{log}");
}

/// Makes and destroys an array of 64 MiB, and tells how much more NVML calls used after each.
const ARRAY: &str = "
import ctypes
cuda, nvml = ctypes.CDLL('libcuda.so.1'), ctypes.CDLL('libnvidia-ml.so.1')
size = ctypes.c_size_t
context, device, array = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
memory = (ctypes.c_ulonglong * 3)()
codes = [
    cuda.cuInit(0),
    cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0),
    cuda.cuCtxSetCurrent(context),
    nvml.nvmlInit_v2(),
    nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)),
]
def used():
    codes.append(nvml.nvmlDeviceGetMemoryInfo(device, memory))
    return memory[2]
# Width, height, depth; format (float) and channels; flags.
descriptor = (size * 5)(4096, 4096, 0, 0x20 | 1 << 32, 0)
before = used()
codes.append(cuda.cuArray3DCreate_v2(ctypes.byref(array), descriptor))
during = used()
codes.append(cuda.cuArrayDestroy(array))
print(set(codes), during - before, used() - before)
";

#[test]
fn arrays_of_the_driver_are_on_the_hosts_account() {
    let host = Vgpud::chain(&Stage::dev(), &[]).expect("a chain");
    let mut python = over(&Stage::dev(), Way::SearchPath, &host.link(), "python3");
    let done = run(python.args(["-c", ARRAY]), LIMIT).and_then(|done| done.success());
    assert_eq!(done.expect("it ends well").trim(), format!("{{0}} {} 0", 64 << 20));
}

/// Asks a runtime for devices and for memory: version of the driver, codes, count.
const RUNTIME: &str = "
import ctypes, sys
runtime = ctypes.CDLL(sys.argv[1])
version, count, place = ctypes.c_int(), ctypes.c_int(-1), ctypes.c_void_p()
sent, got = ctypes.create_string_buffer(b'there and back'), ctypes.create_string_buffer(15)
codes = [
    runtime.cudaDriverGetVersion(ctypes.byref(version)),
    runtime.cudaGetDeviceCount(ctypes.byref(count)),
    runtime.cudaMalloc(ctypes.byref(place), ctypes.c_size_t(15)),
    runtime.cudaMemcpy(place, sent, ctypes.c_size_t(15), 1),
    runtime.cudaMemcpy(got, place, ctypes.c_size_t(15), 2),
    runtime.cudaDeviceSynchronize(),
]
print(version.value, codes, count.value, got.value.decode())
";

#[test]
fn a_program_for_cuda_13_is_refused_by_a_driver_for_12_and_one_for_12_is_not() {
    let host = Vgpud::chain(&Stage::dev(), &["--sim-driver", "12.8"]).expect("a chain");
    let [twelve, thirteen] = ["libcudart.so.12", "libcudart.so.13"].map(|runtime| {
        let mut python = over(&Stage::dev(), Way::SearchPath, &host.link(), "python3");
        run(python.args(["-c", RUNTIME, runtime]), LIMIT).expect("it ends")
    });
    assert_eq!(twelve.stdout.trim(), "12080 [0, 0, 0, 0, 0, 0] 1 there and back");
    assert_eq!(thirteen.stdout.trim(), "12080 [0, 35, 35, 35, 35, 35] -1");
    assert_says(
        &thirteen.stderr,
        &["CUDA 12.8", "runtime is 13.", "cudaErrorInsufficientDriver", "newer driver on the host"],
    );
    assert_eq!(thirteen.stderr.matches("12.8").count(), 1, "once: {}", thirteen.stderr);
    assert!(!twelve.stderr.contains("vgpu:"), "{}", twelve.stderr);
}

/// Looks at a device as ggml does when it lists devices: both tell free and total memory.
const LOOK: &str = "
import ctypes, sys
runtime, cuda = ctypes.CDLL('libcudart.so.12'), ctypes.CDLL('libcuda.so.1')
count, size, place = ctypes.c_int(), ctypes.c_size_t, ctypes.c_void_p()
free, total, value = size(), size(), ctypes.c_int()
codes = [
    runtime.cudaGetDeviceCount(ctypes.byref(count)),
    runtime.cudaSetDevice(0),
    runtime.cudaDeviceCanAccessPeer(ctypes.byref(value), 0, 1),
    cuda.cuDeviceGetP2PAttribute(ctypes.byref(value), 1, 0, 1),
    runtime.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)),
]
looked = free.value, total.value
if sys.argv[1] == 'use':
    codes += [
        runtime.cudaMalloc(ctypes.byref(place), size(64 << 20)),
        runtime.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)),
        runtime.cudaDeviceReset(),
    ]
print(set(codes), total.value == looked[1], looked[0] - free.value)
";

#[test]
fn who_only_looks_at_a_device_gets_no_context_and_who_uses_it_one() {
    let seen = ["look", "use"].map(|story| {
        let chain = Chain { counts: true, arguments: &["--sim-gpus", "2"], ..Chain::default() };
        let host = Vgpud::chain_with(&Stage::dev(), &chain).expect("a chain");
        let mut python = over(&Stage::dev(), Way::SearchPath, &host.link(), "python3");
        let done = run(python.args(["-c", LOOK, story]), LIMIT).and_then(|done| done.success());
        let said = done.unwrap_or_else(|error| panic!("{error}\n{}", host.log()));
        (said.trim().to_owned(), calls(&host.end(), "cuDevicePrimaryCtxRetain"))
    });
    assert_eq!(seen[0], ("{0} True 0".to_owned(), 0));
    assert_eq!(seen[1], (format!("{{0}} True {}", 64 << 20), 1));
}

/// Every C function that the host calls, with its arguments: what a case sees through the driver is
/// what it sees on the simulated device, be it right or not.
#[test]
fn the_rules_come_out_the_same_through_the_driver() {
    let stage = Stage::dev();
    let plain = Vgpud::simulated(&stage, &["--clients-max", "400"]).expect("a host");
    let chain = Vgpud::chain(&stage, &["--clients-max", "400"]).expect("a chain");
    let (expected, seen) = (rules_over(&plain), rules_over(&chain));
    assert!(expected.len() >= 150, "{} cases", expected.len());
    for (name, case) in &expected {
        assert_eq!(seen.get(name), Some(case), "{name}\n{}", chain.log());
    }
}
