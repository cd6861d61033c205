//! Every exported function, called with zeros alone: refused or done, and never a crash.

use serde_json::json;
use vgpu_tests::client::Way;
use vgpu_tests::stage;

use crate::python::script;
use crate::{answer, host};

/// Calls every name of a list in a library, before and after the functions that start it.
#[track_caller]
fn check(library: &str, names: &str, start: &[&str]) {
    let host = host();
    let path = stage::repository().join("shims/api/names").join(names);
    let list = std::fs::read_to_string(&path).expect("the list of names");
    // One name returns a structure, for which no caller can leave out the place.
    let called = list.lines().filter(|name| !name.starts_with("cudaCreateChannelDesc")).count();
    assert!(called > 300, "{names} lists {called} names");
    let mut python = script(Way::SearchPath, &host, "nulls.py");
    python.arg(library).arg(path).args(start);
    assert_eq!(answer(&mut python, &host), json!({ "called": called }));
}

#[test]
fn every_function_of_the_driver_api_survives_zeros() {
    check("libcuda.so.1", "libcuda-names-union.txt", &["cuInit"]);
}

#[test]
fn every_function_of_nvml_survives_zeros() {
    check("libnvidia-ml.so.1", "libnvml-names-union.txt", &["nvmlInit_v2"]);
}

#[test]
fn every_function_of_the_runtime_api_survives_zeros() {
    check("libcudart.so.12", "libcudart-12.9.79-exports.txt", &["cudaGetLastError"]);
    check("libcudart.so.13", "libcudart-13.5.37-exports.txt", &["cudaGetLastError"]);
}

#[test]
fn every_function_of_cublas_survives_zeros() {
    check("libcublas.so.12", "libcublas-12.9.3.13-exports.txt", &["cublasInit"]);
    check("libcublas.so.13", "libcublas-13.10.0.20-exports.txt", &["cublasInit"]);
}
