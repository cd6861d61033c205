//! cuBLAS as its clients see it: the cases of `blas-client`, over `libcublas.so.12` and `.13` and a
//! simulated device, whose results are compared with plain loops.

#![forbid(unsafe_code)]

use std::process::Command;

use vgpu_tests::client::{Way, assert_passed, over};
use vgpu_tests::{Stage, Vgpud};

const CLIENT: &str = env!("CARGO_BIN_EXE_blas-client");

/// Runs a case for both majors.
fn check(case: &str) {
    let stage = Stage::dev();
    check_over(&stage, &Vgpud::start(&stage).expect("a host"), case);
}

fn check_over(stage: &Stage, host: &Vgpud, case: &str) {
    for major in ["12", "13"] {
        let output = over(stage, Way::SearchPath, &host.link(), CLIENT)
            .args([major, case])
            .output()
            .expect("the client starts");
        assert_passed(&format!("{case} with {major}"), &output, &host.log());
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
    vectors_are_changed,
    numbers_are_made_of_vectors,
    vectors_of_given_types,
    matrices_with_vectors,
    sums_of_matrices_and_scaled_lines,
    symmetric_and_hermitian_matrices,
    triangular_matrices,
    a_handle_lives_until_it_is_destroyed,
    settings_are_kept_with_a_handle,
    wrong_arguments_are_refused_at_once,
    memory_that_is_not_there_breaks_the_context,
    vectors_and_matrices_are_copied,
    a_captured_product_runs_with_its_graph,
    a_thread_without_a_context_uses_the_first_device,
}

#[test]
fn every_case_runs_through_the_library_of_a_host() {
    // The host's libcublas is ours without its mark, over a second host: every function that the
    // host calls is called, and its arguments decide what comes out.
    let stage = Stage::dev();
    let host = Vgpud::chain(&stage, &[]).expect("a chain");
    for case in CASES {
        check_over(&stage, &host, case);
    }
}

#[test]
fn every_case_of_the_client_is_run() {
    let usage = Command::new(CLIENT).output().expect("it starts");
    assert_eq!(usage.status.code(), Some(64));
    let text = String::from_utf8(usage.stderr).expect("text");
    let listed: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
    assert_eq!(listed, CASES);
}
