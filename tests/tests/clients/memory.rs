//! Memory of the driver API: copies in two and three dimensions, arrays, virtual memory
//! management, pools, several devices, and addresses where nothing is.

use serde_json::{Value, json};
use vgpu_tests::client::{Way, over};
use vgpu_tests::{Stage, Vgpud};

use crate::answer;

#[track_caller]
fn check(story: &str, expected: Value) {
    let stage = Stage::dev();
    let host = Vgpud::start_with(&stage, &["--sim-gpus", "2"]).expect("the staged vgpud starts");
    let mut client =
        over(&stage, Way::SearchPath, &host.link(), env!("CARGO_BIN_EXE_memory-client"));
    assert_eq!(answer(client.arg(story), &host), expected, "{story}");
}

#[test]
fn hundreds_of_random_copies_in_two_and_three_dimensions_move_what_they_should() {
    check("boxes", json!({ "wrong": [], "destroyed": "INVALID_HANDLE" }));
}

#[test]
fn memory_mapped_piece_by_piece_is_one_memory() {
    let expected = json!({
        "granularity": 2 << 20,
        "unmapped": "INVALID_VALUE",
        "across_pieces": true,
        "beyond": "INVALID_VALUE",
        "no_such_handle": "INVALID_VALUE",
        "half_a_piece": "INVALID_VALUE",
        "freed_as_allocated": "INVALID_VALUE",
        "range": [true, true],
        "access": 3,
        "shared": "NOT_SUPPORTED",
        "after": "INVALID_VALUE",
    });
    check("mapped", expected);
}

#[test]
fn copies_of_many_sizes_on_many_streams_bring_what_was_sent() {
    check("staged", json!({ "wrong": [0, 0, 0, 0], "waited_for": true }));
}

#[test]
fn a_copy_from_where_the_program_has_nothing_is_an_error_and_no_end() {
    let expected = json!({
        "refused": vec!["INVALID_VALUE"; 7],
        "rows": ["INVALID_VALUE", "INVALID_VALUE"],
        "goes_on": true,
    });
    check("unreachable", expected);
}

#[test]
fn memory_is_allocated_in_stream_order_and_copied_between_devices() {
    let expected = json!({
        "kept": true,
        "used": true,
        "twice": "INVALID_VALUE",
        "not_pooled": "INVALID_VALUE",
        "reaches": 1,
        "enabled": ["SUCCESS", "PEER_ACCESS_ALREADY_ENABLED", "INVALID_CONTEXT"],
        "disabled": ["SUCCESS", "PEER_ACCESS_NOT_ENABLED"],
        "over": true,
    });
    check("pooled", expected);
}
