//! The runtime shims as C programs see them: compiled by gcc against the public headers of CUDA 12
//! and 13, linked with our libraries, run over a simulated device.
//!
//! Each test below names a case of a program in `tests/c` and runs it for both majors; what it
//! expects stands there.

#![forbid(unsafe_code)]

mod programs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use vgpu_tests::client::{Way, assert_passed, over};
use vgpu_tests::stage::repository;
use vgpu_tests::{Major, Stage, Vgpud, profile};

use programs::{PER_THREAD, program};

/// Runs a case of a program for both majors, each with a host of its own.
fn check(name: &str, case: &str) {
    let stage = Stage::dev();
    for major in Major::ALL {
        let host = Vgpud::start(&stage).expect("a host");
        let output = over(&stage, Way::SearchPath, &host.link(), program(name, major))
            .arg(case)
            .output()
            .expect("the program starts");
        assert_passed(&format!("{name} {case} with {major:?}"), &output, &host.log());
    }
}

macro_rules! cases {
    ($($program:literal: $($case:ident,)*;)*) => {
        $($(
            #[test]
            fn $case() {
                check($program, stringify!($case));
            }
        )*)*

        /// What the tests above run; some cases need another surrounding and have tests below.
        const CASES: &[(&str, &[&str])] = &[$(($program, &[$(stringify!($case)),*])),*];
    };
}

cases! {
    "capture":
        what_is_captured_is_not_done,
        a_capture_tells_its_graph_and_its_last_node,
        a_stream_that_waits_for_a_captured_event_joins,
        a_stream_that_did_not_join_again_spoils_the_capture,
        waiting_for_a_captured_stream_spoils_the_capture,
        what_is_not_captured_cannot_end,
        a_thread_exchanges_what_it_forbids,
        another_thread_may_not_end_a_capture_of_a_thread,
    ;
    "device":
        there_is_one_device,
        the_first_device_is_current_without_asking,
        an_ordinal_that_no_device_has_is_refused,
        null_is_refused_where_a_result_is_wanted,
        the_pci_bus_id_leads_back_to_the_device,
        versions_are_those_of_the_headers_and_of_the_driver,
        a_reset_device_is_used_again,
        a_reset_reaches_the_other_threads,
        a_new_thread_uses_the_first_device,
        a_device_is_no_peer_of_itself,
        the_greatest_stream_priority_is_the_smaller_number,
    ;
    "graph":
        nodes_are_done_in_the_order_of_their_edges,
        nodes_say_what_they_do_and_are_changed,
        edges_are_added_listed_and_removed,
        a_circle_cannot_be_launched,
        a_graph_within_a_graph_is_done_too,
        an_update_takes_what_fits_and_says_what_does_not,
        what_is_no_graph_is_refused,
    ;
    "memory":
        what_is_written_is_read_back,
        threads_that_copy_at_once_do_not_mix,
        an_asynchronous_copy_is_there_after_the_stream_is_synchronised,
        a_copy_within_the_device_keeps_the_bytes,
        the_default_kind_finds_out_where_the_places_lie,
        rows_are_copied_between_different_pitches,
        memory_is_set_to_a_byte,
        pinned_memory_is_ordinary_memory_that_can_be_freed_once,
        nothing_is_allocated_freed_copied_or_set_with_success,
        wrong_arguments_of_copies_are_refused,
        freed_memory_is_refused,
        more_than_the_device_has_is_out_of_memory,
        an_address_says_whose_memory_it_is,
    ;
    "stream":
        a_stream_lives_until_it_is_destroyed,
        the_default_streams_are_always_there,
        two_streams_have_different_numbers,
        a_stream_that_nobody_captures_says_so,
        an_event_happens_when_the_stream_reaches_it,
        an_event_without_timing_measures_nothing,
    ;
    "beside":
        a_context_made_by_the_driver_api_is_used,
        a_reset_leaves_a_context_of_the_program_alone,
        the_primary_context_is_the_drivers_own,
        driver_functions_are_found_by_name_and_version,
        a_forked_child_is_told_that_nothing_is_initialised,
        kernels_are_registered_without_the_driver,
    ;
    "error":
        the_last_error_is_kept_until_it_is_taken,
        another_thread_has_its_own_last_error,
        errors_have_names_and_texts,
        what_is_not_implemented_says_so_and_becomes_the_last_error,
        what_is_no_kernel_is_refused,
        what_is_no_variable_is_refused,
        a_node_that_copies_a_variable_the_wrong_way_is_refused,
    ;
    "volume":
        slices_are_copied_there_and_back,
        a_part_of_a_volume_is_copied,
        a_volume_that_no_memory_can_hold_is_refused_whole,
        a_copy_needs_one_place_at_each_side,
        slices_are_copied_between_devices,
        an_array_keeps_its_elements,
        memory_of_a_pool_is_allocated_in_stream_order,
    ;
}

/// The cases that need another surrounding than a host in reach.
const SPECIAL: [&str; 4] = [
    "a_genuine_runtime_refuses_our_driver",
    "an_old_driver_is_used_as_far_as_it_goes",
    "without_a_driver_it_is_insufficient",
    "without_a_host_there_is_no_device",
];

#[test]
fn every_case_of_every_program_is_run() {
    for (name, tested) in CASES {
        let usage = Command::new(program(name, Major::Thirteen))
            .env("LD_LIBRARY_PATH", Stage::dev().libraries())
            .output()
            .expect("it starts");
        let usage = String::from_utf8_lossy(&usage.stderr).into_owned();
        let offered: BTreeSet<&str> = usage.lines().skip(1).map(str::trim).collect();
        let mut tested: BTreeSet<&str> = tested.iter().copied().collect();
        if *name == "error" {
            tested.extend(SPECIAL);
        }
        assert_eq!(offered, tested, "the cases of {name}.c");
    }
}

#[test]
fn programs_with_per_thread_default_streams_see_the_same() {
    for (name, cases) in
        CASES.iter().filter(|(name, _)| matches!(*name, "graph" | "memory" | "stream" | "volume"))
    {
        for case in *cases {
            check(&format!("{name}{}", PER_THREAD), case);
        }
    }
}

/// Runs a case over what `make_driver` puts in the place of the driver: it lies beside the runtime
/// and on the search path, so no other one is found, whatever the machine has.
fn check_beside(case: &str, runtimes: &[Runtime], make_driver: impl Fn(&Path)) {
    for (major, runtime) in Major::ALL.iter().flat_map(|major| runtimes.iter().map(|r| (*major, r)))
    {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let library = match runtime {
            Runtime::Ours => Stage::dev().library(major.soname()),
            Runtime::Nvidias => major.package().join("lib").join(major.soname()),
        };
        std::fs::copy(library, directory.path().join(major.soname())).expect("a copy");
        make_driver(&directory.path().join("libcuda.so.1"));
        let output = Command::new(program("error", major))
            .arg(case)
            .env("LD_LIBRARY_PATH", directory.path())
            .output()
            .expect("the program starts");
        assert_passed(&format!("{case} with {major:?}, {runtime:?}"), &output, "");
    }
}

/// Whose runtime a case runs over. What a program can see without a driver is compared with
/// NVIDIA's own.
#[derive(Clone, Copy, Debug)]
enum Runtime {
    Ours,
    Nvidias,
}

#[test]
fn without_a_driver_it_is_insufficient() {
    let both = [Runtime::Nvidias, Runtime::Ours];
    for case in ["without_a_driver_it_is_insufficient", "errors_have_names_and_texts"] {
        check_beside(case, &both, |driver| {
            std::fs::write(driver, "no library").expect("a file");
        });
    }
}

#[test]
fn an_old_driver_is_used_as_far_as_it_goes() {
    check_beside("an_old_driver_is_used_as_far_as_it_goes", &[Runtime::Ours], |driver| {
        let output = Command::new("gcc")
            .args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"])
            .arg(driver)
            .arg(repository().join("tests/c/old_driver.c"))
            .output()
            .expect("gcc runs (Debian package gcc)");
        assert_passed("compiling old_driver.c", &output, "");
    });
}

#[test]
fn without_a_host_there_is_no_device() {
    for major in Major::ALL {
        let stage = Stage::dev();
        let nowhere = "unix:/nonexistent/vgpud.sock";
        let output = over(&stage, Way::SearchPath, nowhere, program("error", major))
            .arg("without_a_host_there_is_no_device")
            .output()
            .expect("the program starts");
        assert_passed(&format!("{major:?}"), &output, "");
        let log = String::from_utf8_lossy(&output.stderr);
        let reasons = log.lines().filter(|line| line.contains("/nonexistent/vgpud.sock")).count();
        assert_eq!(reasons, 1, "one line says why there is no host:\n{log}");
    }
}

#[test]
fn nvidias_own_runtime_fails_cleanly_over_our_driver() {
    for major in Major::ALL {
        let stage = Stage::dev();
        let host = Vgpud::start(&stage).expect("a host");
        let mut command = over(&stage, Way::SearchPath, &host.link(), program("error", major));
        let genuine = major.package().join("lib");
        let paths = std::env::join_paths([genuine, stage.libraries()]).expect("two paths");
        let output = command
            .arg("a_genuine_runtime_refuses_our_driver")
            .env("LD_LIBRARY_PATH", paths)
            .output()
            .expect("the program starts");
        assert_passed(&format!("{major:?}"), &output, &host.log());
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("operation not supported"), "{major:?} said: {said}");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(log.contains("asked for the private table"), "our driver says who is here:\n{log}");
    }
}

#[test]
fn properties_are_those_of_the_simulated_device() {
    let stage = Stage::dev();
    let host = Vgpud::start(&stage).expect("a host");
    for major in Major::ALL {
        let output = over(&stage, Way::SearchPath, &host.link(), program("properties", major))
            .output()
            .expect("the program starts");
        assert_passed(&format!("{major:?}"), &output, &host.log());
        let said = String::from_utf8(output.stdout).expect("text");
        let fields: BTreeMap<&str, &str> =
            said.lines().filter_map(|line| line.split_once(' ')).collect();
        let expected = [
            ("name", profile::NAME.to_owned()),
            ("totalGlobalMem", profile::TOTAL_MEMORY.to_string()),
            ("major", profile::COMPUTE.0.to_string()),
            ("minor", profile::COMPUTE.1.to_string()),
            ("multiProcessorCount", profile::MULTIPROCESSORS.to_string()),
            ("sharedMemPerBlockOptin", profile::SHARED_MEMORY_OPTIN.to_string()),
            ("warpSize", "32".to_owned()),
            ("integrated", "0".to_owned()),
            ("unequal", "0".to_owned()),
        ];
        for (field, value) in expected {
            assert_eq!(fields.get(field), Some(&value.as_str()), "{field} with {major:?}\n{said}");
        }
    }
}

#[test]
fn a_client_that_preloads_us_sees_the_same_device() {
    let stage = Stage::dev();
    let host = Vgpud::start(&stage).expect("a host");
    for major in Major::ALL {
        let output = over(&stage, Way::Preload, &host.link(), program("memory", major))
            .arg("what_is_written_is_read_back")
            .output()
            .expect("the program starts");
        assert_passed(&format!("{major:?}"), &output, &host.log());
    }
}

#[test]
fn cublas_without_a_host_names_its_statuses_and_is_not_initialised() {
    for soname in ["libcublas.so.12", "libcublas.so.13"] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let program = directory.path().join("cublas");
        let output = Command::new("gcc")
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&program)
            .arg(repository().join("tests/c/cublas.c"))
            .arg(Stage::dev().library(soname))
            .output()
            .expect("gcc runs (Debian package gcc)");
        assert_passed(&format!("compiling cublas.c for {soname}"), &output, "");
        let nowhere = "unix:/nonexistent/vgpud.sock";
        let output = over(&Stage::dev(), Way::SearchPath, nowhere, program).output();
        assert_passed(soname, &output.expect("the program starts"), "");
    }
}

/// Structures of which programs and we hold different declarations: theirs from the headers, ours
/// from the description (`shims/abi` asserts at build time that it is laid out as described).
#[test]
fn structures_are_laid_out_as_the_headers_say() {
    for major in Major::ALL {
        for structure in ["cudaDeviceProp", "cudaPointerAttributes"] {
            let (theirs, ours) = (measured(major, structure), described(major, structure));
            assert!(theirs.len() > 4, "{structure} of {major:?} was measured: {theirs:?}");
            for (field, at) in theirs {
                assert_eq!(ours.get(&field), Some(&at), "{structure}.{field} of {major:?}");
            }
        }
    }
}

/// Says where each field lies by our description; `size` is where the structure ends.
fn described(major: Major, structure: &str) -> BTreeMap<String, usize> {
    let file = match major {
        Major::Twelve => "shims/api/signatures/cudart12.toml",
        Major::Thirteen => "shims/api/signatures/cudart13.toml",
    };
    let text = std::fs::read_to_string(repository().join(file)).expect("the description");
    let table: toml::Table = text.parse().expect("a description in TOML");
    let layout = &table["structs"][structure];
    let number = |value: &toml::Value| {
        value.as_integer().and_then(|number| usize::try_from(number).ok()).expect("an offset")
    };
    let fields = layout["fields"].as_array().expect("fields").iter();
    fields
        .map(|field| (field[0].as_str().expect("a name").to_owned(), number(&field[2])))
        .chain([("size".to_owned(), number(&layout["size"]))])
        .collect()
}

/// Says where each field lies by the compiler and the public headers; `size` is where the
/// structure ends.
fn measured(major: Major, structure: &str) -> BTreeMap<String, usize> {
    let output = Command::new(program("layout", major))
        .env("LD_LIBRARY_PATH", Stage::dev().libraries())
        .output()
        .expect("it starts");
    let said = String::from_utf8(output.stdout).expect("text");
    let rows = said.lines().filter_map(|line| line.strip_prefix(structure)?.strip_prefix(' '));
    let fields = rows.filter_map(|row| row.split_once(' '));
    fields.map(|(field, at)| (field.to_owned(), at.parse().expect("a number"))).collect()
}
