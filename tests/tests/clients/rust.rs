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
