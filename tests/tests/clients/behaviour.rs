//! The driver API's own rules, through NVIDIA's Python bindings: what is refused, and with what.

use serde_json::{Value, json};
use vgpu_tests::Vgpud;
use vgpu_tests::client::Way;

use crate::python::script;
use crate::{answer, host};

/// Tells a story over a host of its own and compares what its calls answered.
#[track_caller]
fn check(story: &str, expected: Value) {
    let host = host();
    check_over(&host, story, &[], expected);
}

#[track_caller]
fn check_over(host: &Vgpud, story: &str, environment: &[(&str, &str)], expected: Value) {
    let mut python = script(Way::SearchPath, host, "behaviour.py");
    python.arg(story).arg(host.pid().to_string()).arg(host.socket());
    python.envs(environment.iter().copied());
    let seen = answer(&mut python, host);
    assert_eq!(seen, expected, "{story} with {environment:?}");
}

#[test]
fn nothing_works_before_cu_init_and_little_without_a_context() {
    let expected = json!({
        "before_init": "NOT_INITIALIZED",
        "wrong_flags": "INVALID_VALUE",
        "init": "SUCCESS",
        "no_context": "INVALID_CONTEXT",
        "no_current_device": "INVALID_CONTEXT",
        "wrong_device": "INVALID_DEVICE",
        "wrong_attribute": "INVALID_VALUE",
    });
    check("order", expected);
}

#[test]
fn contexts_are_stacked_per_thread_and_a_destroyed_one_is_known_as_such() {
    let expected = json!({
        "retained_is_the_same": true,
        "created_is_current": true,
        "destroy_primary": "INVALID_CONTEXT",
        "other_thread": {
            "begins_without": 0,
            "waits_for_another": 0,
            "after_destruction": "CONTEXT_IS_DESTROYED",
        },
        "destroyed_is_popped": true,
        "push_destroyed": "INVALID_CONTEXT",
        "still_retained": 1,
        "released": 0,
        "use_after_release": "CONTEXT_IS_DESTROYED",
        "release_too_often": "INVALID_CONTEXT",
    });
    check("contexts", expected);
}

#[test]
fn a_freed_pointer_and_a_dead_handle_are_refused_everywhere() {
    let expected = json!({
        "inside": "SUCCESS",
        "one_too_many": "INVALID_VALUE",
        "set_too_long": "INVALID_VALUE",
        "set_misaligned": "INVALID_VALUE",
        "flag_of_captures": ["INVALID_VALUE", "INVALID_VALUE"],
        "free_inside": "INVALID_VALUE",
        "free": "SUCCESS",
        "free_null": "SUCCESS",
        "alloc_nothing": "INVALID_VALUE",
        "free_twice": "INVALID_VALUE",
        "copy_async": "INVALID_VALUE",
        "copy_found_by_address": ["INVALID_VALUE", "INVALID_VALUE", "SUCCESS"],
        "device_as_the_programs": ["INVALID_VALUE", "INVALID_VALUE"],
        "dead_stream": ["INVALID_HANDLE", "INVALID_HANDLE", "INVALID_HANDLE"],
        "dead_event": ["INVALID_HANDLE", "INVALID_HANDLE"],
        "event_for_others": "NOT_SUPPORTED",
    });
    check("handles", expected);
}

#[test]
fn a_copy_finds_its_direction_by_the_addresses_in_one_dimension_and_in_two() {
    let expected = json!({
        "longer_than_a_frame": true,
        "rows": true,
        "between_rows_untouched": true,
        "rows_reach_into_each_other": "INVALID_VALUE",
        "rows_leave_their_allocation": "INVALID_VALUE",
        "program_memory_as_a_devices": "INVALID_VALUE",
        "to_no_array": "INVALID_HANDLE",
    });
    check("copies", expected);
}

#[test]
fn an_address_is_known_as_device_memory_pinned_memory_or_neither() {
    let expected = json!({
        "device_type": 2,
        "device_ordinal": true,
        "start": true,
        "size": 100,
        "pinned_type": 1,
        "other": "INVALID_VALUE",
        "several": [[2, 100], [1, 100], [0, 0]],
        "range": true,
        "pinned_flags": 1,
        "aligned": 0,
        "mapped": "NOT_SUPPORTED",
        "can_map": 0,
        "register": "SUCCESS",
        "register_twice": "HOST_MEMORY_ALREADY_REGISTERED",
        "registered_type": 1,
        "read_only": "NOT_SUPPORTED",
        "unregister": "SUCCESS",
        "unregister_twice": "HOST_MEMORY_NOT_REGISTERED",
        "managed": "NOT_SUPPORTED",
        "free_other": "INVALID_VALUE",
        "free_pinned": "SUCCESS",
        "free_pinned_twice": "INVALID_VALUE",
    });
    check("addresses", expected);
}

#[test]
fn an_entry_point_follows_name_and_version_and_a_private_table_is_refused() {
    let expected = json!({
        "known": [0, 0, true],
        "called": vgpu_tests::profile::CUDA_VERSION,
        "versions_differ": true,
        "unknown": [500, 1, false],
        "too_old": [500, 2, false],
        "wrong_flags": 1,
        "private_table": [801, null],
        "not_implemented": 801,
        "unknown_code": [1, null],
    });
    check("entry_points", expected);
}

#[test]
fn a_forked_child_is_refused_and_its_parent_is_not_disturbed() {
    let text = "no CUDA-capable device is detected";
    let child = ["NOT_INITIALIZED", "NOT_INITIALIZED", "NOT_INITIALIZED", text];
    check("fork", json!({ "child": child, "parent": "SUCCESS" }));
}

#[test]
fn a_host_that_ends_under_a_program_stays_lost_for_it() {
    let then = ["DEVICE_UNAVAILABLE", "DEVICE_UNAVAILABLE", "SUCCESS"];
    check("lost", json!({ "first": "DEVICE_UNAVAILABLE", "then": then }));
}

#[test]
fn cuda_visible_devices_chooses_by_number_and_by_uuid() {
    let host = host();
    let cases = [
        ("0", true),
        ("GPU-7667", true),
        ("0,7", true),
        ("", false),
        ("-1", false),
        ("1", false),
        ("0,0", false),
        ("GPU-ffff", false),
    ];
    for (list, is_visible) in cases {
        let expected = match is_visible {
            true => json!({ "init": "SUCCESS", "count": 1 }),
            false => json!({ "init": "NO_DEVICE", "count": null }),
        };
        check_over(&host, "devices", &[("CUDA_VISIBLE_DEVICES", list)], expected);
    }
}

#[test]
fn a_host_that_comes_late_is_still_found() {
    let host = host();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let link = format!("unix:{}", directory.path().join("later.sock").display());
    let expected = json!({ "without": "NO_DEVICE", "with": "SUCCESS", "count": 1 });
    check_over(&host, "late", &[("VGPU_LINK", link.as_str())], expected);
}

#[test]
fn nvml_counts_its_users_checks_its_arguments_and_survives_its_host() {
    let host = host();
    let mut python = script(Way::SearchPath, &host, "nvml_behaviour.py");
    let seen = answer(python.arg(host.pid().to_string()), &host);
    let expected = json!({
        "before_init": "UNINITIALIZED",
        "wrong_index": "INVALID_ARGUMENT",
        "wrong_handle": "INVALID_ARGUMENT",
        "unknown_uuid": "NOT_FOUND",
        "unknown_place": "NOT_FOUND",
        "no_place": "INVALID_ARGUMENT",
        "name_too_small": "INSUFFICIENT_SIZE",
        "name_nowhere": "INVALID_ARGUMENT",
        "name_fits": "SUCCESS",
        "wrong_structure": "ARGUMENT_VERSION_MISMATCH",
        "old_pci_untouched": true,
        "old_pci_v2_untouched": true,
        "not_told": "NOT_SUPPORTED",
        "second_user": "SUCCESS",
        "child": ["UNINITIALIZED", "SUCCESS", "SUCCESS"],
        "parent": "SUCCESS",
        "still_open": "SUCCESS",
        "lost": "GPU_IS_LOST",
        "known_after_loss": "SUCCESS",
        "closed": "UNINITIALIZED",
        "again_without_host": "DRIVER_NOT_LOADED",
        "one_too_many": "UNINITIALIZED",
    });
    assert_eq!(seen, expected);
}
