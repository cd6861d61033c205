//! CUDA_VISIBLE_DEVICES, which Ollama sets for its children, as the CUDA Programming Guide words
//! it: ordinals and UUIDs, -1 hides everything, and nothing after an invalid entry is seen.

use vgpu_tests::client::{Way, over};
use vgpu_tests::{Stage, Vgpud};

use crate::python::uuid_text;
use crate::{answer, finish, host};

fn count(host: &Vgpud, value: &str) -> Result<u64, String> {
    let program = env!("CARGO_BIN_EXE_cudarc-client");
    let mut client = over(&Stage::dev(), Way::SearchPath, &host.link(), program);
    let done = finish(client.arg("--count-only").env("CUDA_VISIBLE_DEVICES", value));
    if !done.status.success() {
        return Err(done.stderr);
    }
    let seen: serde_json::Value = serde_json::from_str(&done.stdout).expect("one JSON object");
    Ok(seen["devices"].as_u64().expect("a number of devices"))
}

#[test]
fn visible_devices_are_chosen_by_ordinal_and_by_uuid() {
    let host = host();
    let program = env!("CARGO_BIN_EXE_cudarc-client");
    let seen = answer(&mut over(&Stage::dev(), Way::SearchPath, &host.link(), program), &host);
    let uuid = uuid_text(&seen["uuid"]);
    for value in ["0", "0,7", &uuid, &uuid[..12]] {
        assert_eq!(count(&host, value), Ok(1), "CUDA_VISIBLE_DEVICES={value}");
    }
    for value in ["-1", "7", "7,0", "GPU-00000000-ffff-0000-ffff-000000000000"] {
        let told = count(&host, value).expect_err(value);
        assert!(told.contains("CUDA_ERROR_NO_DEVICE"), "CUDA_VISIBLE_DEVICES={value}: {told}");
    }
}
