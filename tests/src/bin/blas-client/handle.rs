//! Handles, settings, copies, and what is refused.

use crate::gpu::{Gpu, INVALID_VALUE, NOT_INITIALIZED, NOT_SUPPORTED, SUCCESS};
use crate::library::{address, place};
use crate::number::{Kind, assert_near};

/// A handle lives from its creation to its destruction, and nothing else is one.
pub fn lives(gpu: &Gpu) {
    let handle = gpu.create();
    assert_ne!(handle, gpu.handle);
    gpu.ok("cublasDestroy_v2", &[handle]);
    let mut value = [0_i64; 2];
    let somewhere = place(&mut value);
    for handle in [handle, 0, 1, 0x7fff_0000_1234] {
        for (name, arguments) in [
            ("cublasDestroy_v2", &[][..]),
            ("cublasSetStream_v2", &[0]),
            ("cublasGetStream_v2", &[somewhere]),
            ("cublasSetMathMode", &[0]),
            ("cublasGetMathMode", &[somewhere]),
            ("cublasSetWorkspace_v2", &[0, 0]),
            ("cublasSgemm_v2", &[0, 0, 1, 1, 1, somewhere, 1, 1, 1, 1, somewhere, 1, 1]),
            ("cublasSdot_v2", &[1, 1, 1, 1, 1, somewhere]),
            ("cublasSaxpy_v2", &[1, somewhere, 1, 1, 1, 1]),
        ] {
            gpu.answers(NOT_INITIALIZED, name, &[&[handle], arguments].concat());
        }
    }
    gpu.answers(INVALID_VALUE, "cublasCreate_v2", &[0]);
    assert_eq!(gpu.synchronize(), 0);
}

/// A setting is returned as it was made; one that there is none of is refused.
pub fn settings(gpu: &Gpu) {
    let get = |name: &str| {
        let mut value = [0_u64];
        gpu.run(name, &[place(&mut value)]);
        value[0]
    };
    let mut stream = [0_i64];
    gpu.driver("cuStreamCreate", &[place(&mut stream), 0]);
    gpu.run("cublasSetStream_v2", &stream);
    assert_eq!(get("cublasGetStream_v2"), stream[0] as u64);
    for (name, fine, wrong) in [
        ("PointerMode_v2", [1, 0], 2),
        ("MathMode", [3, 16 | 2], 5),
        ("AtomicsMode", [1, 0], 7),
        ("SmCountTarget", [64, 0], -1),
    ] {
        for value in fine {
            gpu.run(&format!("cublasSet{name}"), &[value]);
            assert_eq!(get(&format!("cublasGet{name}")), value as u64, "{name}");
        }
        gpu.answers(INVALID_VALUE, &format!("cublasSet{name}"), &[gpu.handle, wrong]);
        gpu.answers(INVALID_VALUE, &format!("cublasGet{name}"), &[gpu.handle, 0]);
    }
    let workspace = gpu.put_bytes(&[0; 4096]);
    gpu.run("cublasSetWorkspace_v2", &[workspace, 4096]);
    gpu.answers(INVALID_VALUE, "cublasSetWorkspace_v2", &[gpu.handle, workspace + 8, 64]);
    gpu.run("cublasSetWorkspace_v2", &[0, 0]);
    let version = get("cublasGetVersion_v2");
    let mut parts = [0_u32; 3];
    for kind in 0..3 {
        gpu.ok("cublasGetProperty", &[kind, place(&mut parts[kind as usize..])]);
    }
    assert_eq!(version, u64::from(parts[0] * 10_000 + parts[1] * 100 + parts[2]));
    gpu.answers(INVALID_VALUE, "cublasGetProperty", &[3, place(&mut parts)]);
    gpu.ok("cublasLoggerConfigure", &[0, 0, 0, 0]);
    gpu.answers(NOT_SUPPORTED, "cublasLoggerConfigure", &[1, 1, 0, 0]);
    gpu.driver("cuStreamDestroy_v2", &stream);
}

/// Arguments that the documentation calls invalid are refused before anything is sent.
pub fn arguments(gpu: &Gpu) {
    let one = 1.0_f32.to_le_bytes();
    let factor = address(&one);
    let c = gpu.put(Kind::S, &[(7.0, 0.0); 64]);
    let good = [0, 0, 4, 4, 4, factor, c, 4, c, 4, factor, c, 4];
    let sgemm = |expected, at: usize, value: i64| {
        let mut arguments = good;
        arguments[at] = value;
        gpu.answers(expected, "cublasSgemm_v2", &[&[gpu.handle], &arguments[..]].concat());
    };
    for (at, value) in [
        (0, 3),
        (1, -1),
        (2, -1),
        (3, -1),
        (4, -1),
        (5, 0),
        (7, 3),
        (9, 3),
        (10, 0),
        (11, 0),
        (12, 3),
    ] {
        sgemm(INVALID_VALUE, at, value);
    }
    // A transposed matrix of 4 rows has other leading dimensions.
    sgemm(SUCCESS, 2, 0);
    gpu.answers(
        NOT_SUPPORTED,
        "cublasGemmEx",
        &[gpu.handle, 0, 0, 4, 4, 4, factor, c, 2, 4, c, 14, 4, factor, c, 0, 4, 68, -1],
    );
    gpu.answers(
        NOT_SUPPORTED,
        "cublasGemmEx",
        &[gpu.handle, 0, 0, 4, 4, 4, factor, c, 0, 4, c, 0, 4, factor, c, 0, 4, 0, -1],
    );
    let trsm = |flags: [i64; 4]| {
        let rest = [4, 4, factor, c, 4, c, 4];
        let arguments = [&[gpu.handle], &flags[..], &rest[..]].concat();
        gpu.answers(INVALID_VALUE, "cublasStrsm_v2", &arguments);
    };
    trsm([2, 0, 0, 0]);
    trsm([0, 2, 0, 0]);
    trsm([0, 0, 3, 0]);
    trsm([0, 0, 0, 2]);
    let gemv = [gpu.handle, 0, 4, 4, factor, c, 4, c, 0, factor, c, 1];
    gpu.answers(INVALID_VALUE, "cublasSgemv_v2", &gemv);
    gpu.answers(INVALID_VALUE, "cublasSdot_v2", &[gpu.handle, 4, c, 1, c, 1, 0]);
    assert_eq!(gpu.synchronize(), 0);
    assert_near(&gpu.take(Kind::S, c, 64), &[(7.0, 0.0); 64], 0.0, "nothing was written");
}

/// Memory that is not there breaks the context, as it does with a kernel, at the next wait.
pub fn bad_memory(gpu: &Gpu) {
    const ILLEGAL_ADDRESS: u32 = 700;
    let one = 1.0_f32.to_le_bytes();
    let factor = address(&one);
    let small = gpu.put(Kind::S, &[(1.0, 0.0); 15]);
    gpu.run("cublasSgemm_v2", &[0, 0, 4, 4, 4, factor, small, 4, small, 4, factor, small, 4]);
    assert_eq!(gpu.synchronize(), ILLEGAL_ADDRESS);
    assert_eq!(gpu.synchronize(), ILLEGAL_ADDRESS);
}

/// Vectors and matrices are copied with the increments of both sides.
pub fn copies(gpu: &Gpu) {
    let host: Vec<f32> = (0..40).map(|at| at as f32).collect();
    let device = gpu.put_bytes(&[0xff; 160]);
    let mut back = vec![-1.0_f32; 40];
    gpu.ok("cublasSetVector", &[10, 4, address(&host), 3, device, 2]);
    gpu.ok("cublasGetVector_64", &[10, 4, device, 2, place(&mut back), 4]);
    let expected: Vec<f32> =
        (0..40).map(|at| if at % 4 == 0 { (at / 4 * 3) as f32 } else { -1.0 }).collect();
    assert_eq!(back, expected);
    gpu.ok("cublasSetMatrixAsync", &[3, 5, 4, address(&host), 8, device, 4, 0]);
    let mut back = vec![-1.0_f32; 40];
    gpu.ok("cublasGetMatrix", &[3, 5, 4, device, 4, place(&mut back), 3]);
    let expected: Vec<f32> =
        (0..40).map(|at| if at < 15 { (at / 3 * 8 + at % 3) as f32 } else { -1.0 }).collect();
    assert_eq!(back, expected);
    for (n, size, incx, incy) in [(-1, 4, 1, 1), (3, 0, 1, 1), (3, 4, 0, 1), (3, 4, 1, -1)] {
        let arguments = [n, size, address(&host), incx, device, incy];
        gpu.answers(INVALID_VALUE, "cublasSetVector", &arguments);
    }
    gpu.ok("cublasSetVector", &[0, 4, 0, 1, 0, 1]);
    gpu.free(device);
}

/// A product that is captured runs when its graph is launched, each time.
pub fn captured(gpu: &Gpu) {
    let one = 1.0_f32.to_le_bytes();
    let factor = address(&one);
    let identity: Vec<_> = (0..16).map(|at| (f64::from(u8::from(at % 5 == 0)), 0.0)).collect();
    let a = gpu.put(Kind::S, &identity);
    let c = gpu.put(Kind::S, &[(0.0, 0.0); 16]);
    let mut stream = [0_i64];
    gpu.driver("cuStreamCreate", &[place(&mut stream), 1]);
    gpu.run("cublasSetStream_v2", &stream);
    gpu.driver("cuStreamBeginCapture_v2", &[stream[0], 2]);
    gpu.run("cublasSgemm_v2", &[0, 0, 4, 4, 4, factor, a, 4, a, 4, factor, c, 4]);
    let (mut graph, mut ready) = ([0_i64], [0_i64]);
    gpu.driver("cuStreamEndCapture", &[stream[0], place(&mut graph)]);
    gpu.driver("cuGraphInstantiateWithFlags", &[place(&mut ready), graph[0], 0]);
    for times in 0..3 {
        gpu.driver("cuStreamSynchronize", &stream);
        let expected: Vec<_> = identity.iter().map(|one| (one.0 * f64::from(times), 0.0)).collect();
        assert_near(&gpu.fetch(Kind::S, c, 16), &expected, 0.0, "after so many launches");
        gpu.driver("cuGraphLaunch", &[ready[0], stream[0]]);
    }
    gpu.run("cublasSetStream_v2", &[0]);
    gpu.free(a);
    gpu.free(c);
}

/// A thread without a context uses the first device, as with CUDA's runtime.
pub fn other_thread(gpu: &Gpu) {
    let c = gpu.put(Kind::S, &[(3.0, 0.0); 4]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = [0.0_f32];
            gpu.run("cublasSasum_v2", &[4, c, 1, place(&mut value)]);
            assert_eq!(value, [12.0]);
        });
    });
    // The thread's own stream is another in each thread.
    gpu.run("cublasSetStream_v2", &[2]);
    let mut value = [0.0_f32];
    gpu.run("cublasSasum_v2_64", &[4, c, 1, place(&mut value)]);
    assert_eq!(value, [12.0]);
    gpu.run("cublasSetStream_v2", &[0]);
    gpu.free(c);
}
