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

/// How many devices a program sees, and the UUID of the first.
fn seen(host: &Vgpud, list: &str) -> (u64, String) {
    let program = env!("CARGO_BIN_EXE_cudarc-client");
    let mut client = over(&Stage::dev(), Way::SearchPath, &host.link(), program);
    let seen = answer(client.env("CUDA_VISIBLE_DEVICES", list), host);
    (seen["devices"].as_u64().expect("a number of devices"), uuid_text(&seen["uuid"]))
}

#[test]
fn several_gpus_are_numbered_as_the_list_says_within_those_of_the_tenant() {
    let host = Vgpud::start_with(&Stage::dev(), &["--sim-gpus", "3"]).expect("the staged vgpud");
    let uuids = ["0", "1", "2"].map(|one| {
        let (count, uuid) = seen(&host, one);
        assert_eq!(count, 1, "CUDA_VISIBLE_DEVICES={one}");
        uuid
    });
    assert!(uuids[0] != uuids[1] && uuids[1] != uuids[2] && uuids[0] != uuids[2], "{uuids:?}");
    for (list, count, first) in [
        ("0,1,2", 3, 0),
        ("2,0", 2, 2),
        ("1,0,2", 3, 1),
        ("2,7,0", 1, 2),
        (&format!("{},0", uuids[1]), 2, 1),
    ] {
        assert_eq!(seen(&host, list), (count, uuids[first].clone()), "{list}");
    }
    assert!(self::count(&host, "1,1").is_err(), "a device that is named twice leaves none");
    drop(host);

    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("host.toml");
    let user = rustix::process::getuid().as_raw();
    let tenant = format!("[[tenant]]\nname = \"us\"\nusers = [{user}]\ngpus = [2, 0]\n");
    std::fs::write(&config, tenant).expect("it is written");
    let config = config.to_str().expect("it is text");
    // Not in a chain, whose lower host has the same tenant: what is left of three after two choices
    // is another question.
    let host = Vgpud::simulated(&Stage::dev(), &["--sim-gpus", "3", "--config", config]);
    let host = host.expect("the staged vgpud");
    for (list, count, first) in [("0,1", 2, 2), ("1,0", 2, 0), ("1", 1, 0), ("1,2", 1, 0)] {
        assert_eq!(seen(&host, list), (count, uuids[first].clone()), "of two: {list}");
    }
    let hidden = self::count(&host, &uuids[1]).expect_err("another tenant's");
    assert!(hidden.contains("CUDA_ERROR_NO_DEVICE"), "{hidden}");
}
