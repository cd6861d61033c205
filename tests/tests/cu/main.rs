//! Programs with kernels: compiled by NVIDIA's public compiler with `-cudart shared`, for the
//! headers of CUDA 12 and 13, and run over our runtime, our driver and a simulated device.
//!
//! Each test below names a case of a program in `tests/cu` and runs it for both majors. A program
//! ends well only if its numbers are right; what it expects stands there.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::process::Command;

use vgpu_tests::client::{Way, assert_passed, over};
use vgpu_tests::cu::{NAMES, Streams, machine_code, program};
use vgpu_tests::{Major, Stage, Vgpud};

fn check(name: &str, case: &str, streams: Streams) {
    let stage = Stage::dev();
    for major in Major::ALL {
        let host = Vgpud::start(&stage).expect("a host");
        let output = over(&stage, Way::SearchPath, &host.link(), program(name, major, streams))
            .arg(case)
            .output()
            .expect("the program starts");
        assert_passed(&format!("{name} {case} with {major:?}, {streams:?}"), &output, &host.log());
    }
}

macro_rules! cases {
    ($($program:literal: $($case:ident,)*;)*) => {
        $($(
            #[test]
            fn $case() {
                check($program, stringify!($case), Streams::Legacy);
            }
        )*)*

        const CASES: &[(&str, &[&str])] = &[$(($program, &[$(stringify!($case)),*])),*];
    };
}

cases! {
    "compute":
        a_block_sums_in_shared_memory,
        dynamic_shared_memory_is_as_large_as_asked_for,
        the_threads_of_a_warp_exchange_values,
        atomics_lose_nothing,
        matrices_are_multiplied,
        matrices_of_halves_are_multiplied,
        functions_of_numbers_are_right,
        whole_numbers_are_divided,
    ;
    "function":
        attributes_are_those_of_the_kernel,
        more_shared_memory_than_usual_must_be_asked_for,
        a_block_that_the_kernel_was_not_made_for_is_refused,
        occupancy_falls_with_what_a_block_uses,
        the_blocks_of_a_cooperative_launch_wait_for_each_other,
        a_fault_is_told_and_stays,
    ;
    "graph":
        what_is_captured_is_done_when_it_is_launched,
        streams_that_join_a_capture_become_part_of_it,
        a_graph_of_the_same_shape_updates_an_executable_one,
        a_graph_of_another_shape_does_not,
        a_kernel_node_says_and_takes_what_it_launches,
        a_graph_is_built_node_by_node,
        a_captured_function_computes_between_kernels,
        a_host_node_sees_the_result_that_was_copied_before_it,
        what_breaks_a_capture_is_told_at_its_end,
    ;
    "launch":
        two_vectors_are_added,
        a_grid_strides_over_more_than_it_has_threads,
        parameters_of_every_size_arrive,
        blocks_and_threads_have_three_dimensions,
        the_functions_behind_the_brackets_launch_too,
        a_kernel_handle_is_launched_like_its_stub,
        the_driver_launches_the_function_behind_a_stub,
        kernels_of_a_library_are_found_listed_and_launched,
        launches_of_one_stream_come_one_after_the_other,
        arguments_are_taken_before_the_launch_returns,
        a_shape_that_no_kernel_can_have_is_refused,
        kernels_work_after_a_reset,
    ;
    "memory":
        rows_are_copied_and_set_with_the_pitch_of_each_side,
        a_part_of_a_volume_is_copied_to_a_part_of_another,
        a_pageable_source_may_change_once_the_call_has_returned,
        registered_memory_is_registered_once,
        an_address_says_whose_it_is,
        memory_is_freed_once_and_nothing_is_freed_with_success,
        wrong_arguments_have_their_codes_and_stay_the_last_error,
    ;
    "order":
        a_stream_keeps_its_order,
        a_stream_waits_for_the_event_of_another,
        the_legacy_stream_waits_for_blocking_streams_and_they_for_it,
        host_functions_are_called_in_stream_order,
        events_measure_time_that_passes,
        threads_with_streams_of_their_own_do_not_mix,
        memory_is_allocated_in_stream_order,
        a_function_of_the_program_is_called_between_kernels,
    ;
    "symbol":
        constants_have_their_first_values_and_then_those_that_are_copied,
        a_variable_of_the_device_is_read_and_written,
        the_address_of_a_variable_is_ordinary_device_memory,
        symbols_are_copied_in_stream_order,
        a_copy_beyond_a_variable_is_refused,
    ;
}

#[test]
fn programs_with_per_thread_default_streams_compute_the_same() {
    for (name, cases) in CASES.iter().filter(|(name, _)| !matches!(*name, "compute" | "function")) {
        cases.iter().for_each(|case| check(name, case, Streams::PerThread));
    }
}

/// Such a kernel was once launched with success and not run.
#[test]
fn machine_code_alone_is_refused_and_the_host_says_why() {
    let (stage, case) = (Stage::dev(), "two_vectors_are_added");
    let host = Vgpud::start(&stage).expect("a host");
    let program = machine_code("launch", Major::Thirteen);
    let output = over(&stage, Way::SearchPath, &host.link(), program).arg(case).output();
    let output = output.expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("cudaErrorNoKernelImageForDevice"), "{said}");
    let log = host.log();
    assert!(log.contains("launch-refused") && log.contains("without PTX"), "{log}");
}

#[test]
fn every_case_of_every_program_is_run() {
    let tested: BTreeSet<&str> = CASES.iter().map(|(name, _)| *name).collect();
    assert_eq!(tested, NAMES.into_iter().collect(), "the programs of tests/cu");
    for (name, tested) in CASES {
        let list = Command::new(program(name, Major::Thirteen, Streams::Legacy))
            .arg("--list")
            .env("LD_LIBRARY_PATH", Stage::dev().libraries())
            .output()
            .expect("it starts");
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        let offered: BTreeSet<&str> = list.lines().collect();
        assert_eq!(offered, tested.iter().copied().collect(), "the cases of {name}.cu");
    }
}
