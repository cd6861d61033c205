//! The npm clients: programs of others around the published backends.

use std::process::Command;

use serde_json::json;
use vgpu_tests::client::{Way, over};
use vgpu_tests::{Stage, Vgpud, profile, stage};

use crate::ggml::{Nccl, nccl_stub};
use crate::{answer, host};

fn script(way: Way, host: &Vgpud, name: &str) -> Command {
    let mut node = over(&Stage::dev(), way, &host.link(), stage::node());
    node.arg(stage::repository().join("tests/clients/node").join(name));
    node.env("VGPU_NODE_CLIENTS", stage::node_clients());
    node
}

#[test]
fn node_llama_cpp_reports_cuda_with_the_device_and_its_80_gib() {
    let host = host();
    for way in Way::ALL {
        let seen = answer(&mut script(way, &host, "llama.mjs"), &host);
        assert_eq!(seen["gpu"], "cuda", "{way:?}: {seen}");
        assert_eq!(seen["names"], json!([profile::NAME]), "{way:?}: {seen}");
        assert_eq!(seen["vram"]["total"], profile::TOTAL_MEMORY, "{way:?}: {seen}");
    }
}

/// A script for an addon that needs NCCL.
fn script_with(nccl: &Nccl, way: Way, host: &Vgpud, name: &str) -> Command {
    let mut node = script(way, host, name);
    let search = match way {
        Way::SearchPath => {
            let ours = Stage::dev().libraries();
            std::env::join_paths([nccl.directory(), &ours]).expect("no colon in these paths")
        }
        Way::Preload => nccl.directory().as_os_str().to_owned(),
    };
    node.env("LD_LIBRARY_PATH", search);
    node
}

#[test]
fn the_addon_for_cuda_12_lists_the_device_inside_node() {
    let host = host();
    let nccl = nccl_stub();
    for way in Way::ALL {
        let seen = answer(&mut script_with(&nccl, way, &host, "fugood.mjs"), &host);
        let devices = seen["devices"].as_array().expect("a list of devices");
        let expected = json!({
            "backend": "CUDA",
            "type": "gpu",
            "deviceName": "CUDA0",
            "maxMemorySize": profile::TOTAL_MEMORY,
        });
        assert!(devices.contains(&expected), "{way:?}: {seen}");
    }
}

#[test]
fn whisper_cpp_takes_the_device_and_its_memory_inside_node() {
    let host = host();
    let nccl = nccl_stub();
    for way in Way::ALL {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut node = script_with(&nccl, way, &host, "whisper.mjs");
        let seen = answer(node.arg(directory.path()), &host);
        let said = seen["said"].as_array().expect("lines");
        let says = |text: &str| said.iter().any(|line| line.as_str().unwrap_or("").contains(text));
        // Its sizes are those of the weights, in single precision, and of what one pass needs.
        for text in [profile::NAME, "using CUDA0 backend", "CUDA0 total size", "(encode)"] {
            assert!(says(text), "{way:?}: {text} in {seen}");
        }
    }
}

#[test]
fn whisper_cpp_hears_on_the_device_what_it_hears_on_the_cpu() {
    let host = host();
    let nccl = nccl_stub();
    let hear = |way, place| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut node = script_with(&nccl, way, &host, "transcribe.mjs");
        answer(node.arg(directory.path()).arg(place), &host)["heard"].clone()
    };
    let expected = hear(Way::SearchPath, "cpu");
    let words = expected["result"].as_str().expect("a text");
    assert!(words.starts_with(" w"), "words of the model: {expected}");
    for way in Way::ALL {
        // The words and the times between which they are said.
        assert_eq!(hear(way, "gpu"), expected, "{way:?}");
    }
    assert!(!host.log().contains("launch-not-run"), "{}", host.log());
}
