//! cuBLAS as its clients see it: the cases of `blas-client`, over `libcublas.so.12` and `.13` and a
//! simulated device, whose results are compared with plain loops.

#![forbid(unsafe_code)]

use std::process::Command;

use vgpu_tests::client::{Way, over};
use vgpu_tests::{Stage, Vgpud};

const CLIENT: &str = env!("CARGO_BIN_EXE_blas-client");

/// Runs a case for both majors.
fn check(case: &str) {
    let stage = Stage::dev();
    let host = Vgpud::start(&stage).expect("a host");
    for major in ["12", "13"] {
        let output = over(&stage, Way::SearchPath, &host.link(), CLIENT)
            .args([major, case])
            .output()
            .expect("the client starts");
        let text = String::from_utf8_lossy(&output.stderr);
        let log = host.log();
        assert!(output.status.success(), "{case} with {major}:\n{text}\nthe host says:\n{log}");
    }
}

macro_rules! cases {
    ($($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                check(stringify!($case));
            }
        )*

        /// What the tests above run.
        const CASES: &[&str] = &[$(stringify!($case)),*];
    };
}

cases! {
    products_of_every_type,
    products_of_mixed_types,
    products_with_single_precision_factors,
    large_products,
}

#[test]
fn every_case_of_the_client_is_run() {
    let usage = Command::new(CLIENT).output().expect("it starts");
    assert_eq!(usage.status.code(), Some(64));
    let text = String::from_utf8(usage.stderr).expect("text");
    let listed: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
    assert_eq!(listed, CASES);
}
