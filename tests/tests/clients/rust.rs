//! The crate cudarc with dynamic loading: the driver API from Rust.

use serde_json::json;
use vgpu_tests::client::{Way, over};
use vgpu_tests::{Stage, profile};

use crate::{answer, host};

#[test]
fn cudarc_allocates_copies_and_orders_streams_by_events() {
    let (stage, host) = (Stage::dev(), host());
    for way in Way::ALL {
        let mut client = over(&stage, way, &host.link(), env!("CARGO_BIN_EXE_cudarc-client"));
        let seen = answer(&mut client, &host);
        let expected = json!({
            "devices": 1,
            "name": profile::NAME,
            "compute": [profile::COMPUTE.0, profile::COMPUTE.1],
            "total_memory": profile::TOTAL_MEMORY,
            "total": profile::TOTAL_MEMORY,
            "copies_equal": true,
            "zeros_equal": true,
            "sevens_equal": true,
            "elapsed_is_sane": true,
        });
        for (name, value) in expected.as_object().expect("an object") {
            assert_eq!(&seen[name], value, "{way:?}: {name} in {seen}");
        }
    }
}

/// 2ab + c/2 of the column-major matrices that `cudarc-blas` multiplies: 5 × 3 of 1, 2, …, times
/// 3 × 4 of -7, -6, …, the second of a batch going on where the first ends.
fn products(batch: usize, c: f64) -> Vec<f64> {
    let (m, n, k) = (5, 4, 3);
    let entry = |of: usize, row: usize, column: usize| {
        let a = |at: usize| (1 + of * m * k + at * m + row) as f64;
        let b = |at: usize| (of * k * n + column * k + at) as f64 - 7.0;
        2.0 * (0..k).map(|at| a(at) * b(at)).sum::<f64>() + c / 2.0
    };
    let places = (0..batch * n * m).map(|at| (at / (n * m), at % m, at / m % n));
    places.map(|(of, row, column)| entry(of, row, column)).collect()
}

#[test]
fn cudarc_multiplies_by_cublas_of_either_major() {
    let (stage, host) = (Stage::dev(), host());
    let expected = json!({ "gemm": products(1, 1.0), "batch": products(2, 2.0) });
    for major in [12, 13] {
        // The crate asks for libcublas.so first, then for that of CUDA 12.
        let named = tempfile::tempdir().expect("a temporary directory");
        let library = stage.library(&format!("libcublas.so.{major}"));
        let link = named.path().join("libcublas.so");
        std::os::unix::fs::symlink(library, link).expect("a link in a new directory");
        let paths = std::env::join_paths([named.path(), &stage.libraries()]).expect("two paths");
        let program = env!("CARGO_BIN_EXE_cudarc-blas");
        let mut client = over(&stage, Way::SearchPath, &host.link(), program);
        let seen = answer(client.env("LD_LIBRARY_PATH", paths), &host);
        assert_eq!(seen, expected, "CUDA {major}");
    }
    let program = env!("CARGO_BIN_EXE_cudarc-blas");
    let seen = answer(&mut over(&stage, Way::Preload, &host.link(), program), &host);
    assert_eq!(seen, expected, "preloaded");
}
