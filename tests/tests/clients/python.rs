//! The PyPI clients: NVIDIA's own bindings of the driver API, and NVML's.

use std::process::Command;

use serde_json::{Value, json};
use vgpu_tests::client::{Way, over};
use vgpu_tests::{Stage, Vgpud, profile, stage};

use crate::{answer, host};

pub(crate) fn script(way: Way, host: &Vgpud, name: &str) -> Command {
    let mut python = over(&Stage::dev(), way, &host.link(), "python3");
    python.arg(stage::repository().join("tests/clients/python").join(name));
    python.env("PYTHONPATH", stage::python_clients()).env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

/// The text form of a UUID, as NVML gives it and `CUDA_VISIBLE_DEVICES` takes it.
pub fn uuid_text(bytes: &Value) -> String {
    let bytes: Vec<u8> = serde_json::from_value(bytes.clone()).expect("sixteen bytes");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &hex[range]);
    format!("GPU-{a}-{b}-{c}-{d}-{e}")
}

#[test]
fn cuda_bindings_allocates_copies_both_ways_and_orders_streams_by_events() {
    let host = host();
    for way in Way::ALL {
        let seen = answer(&mut script(way, &host, "driver.py"), &host);
        let expected = json!({
            "devices": 1,
            "driver": profile::CUDA_VERSION,
            "name": profile::NAME,
            "total_memory": profile::TOTAL_MEMORY,
            "total": profile::TOTAL_MEMORY,
            "major": profile::COMPUTE.0,
            "multiprocessors": profile::MULTIPROCESSORS,
            "shared_memory_optin": profile::SHARED_MEMORY_OPTIN,
            "sync_equal": true,
            "async_equal": true,
            "elapsed_is_sane": true,
            "freed_pointer": "CUDA_ERROR_INVALID_VALUE",
        });
        for (name, value) in expected.as_object().expect("an object") {
            assert_eq!(&seen[name], value, "{way:?}: {name} in {seen}");
        }
        let held = seen["held"].as_u64().expect("memory that was given back");
        assert!(held >= 2 * 3 * 1024 * 1024, "{way:?}: two allocations of 3 MiB held {held}");
    }
}

#[test]
fn nvidia_ml_py_agrees_with_cuda_about_the_device() {
    let host = host();
    for way in Way::ALL {
        let cuda = answer(&mut script(way, &host, "driver.py"), &host);
        let nvml = answer(&mut script(way, &host, "nvml.py"), &host);
        assert_eq!(nvml["devices"], cuda["devices"], "{way:?}");
        assert_eq!(nvml["name"], cuda["name"], "{way:?}");
        assert_eq!(nvml["cuda"], cuda["driver"], "{way:?}");
        assert_eq!(nvml["uuid"], uuid_text(&cuda["uuid"]), "{way:?}");
        assert_eq!(nvml["total"], profile::TOTAL_MEMORY, "{way:?}");
        let sum = nvml["free"].as_u64().zip(nvml["used"].as_u64()).map(|(free, used)| free + used);
        assert!(sum <= nvml["total"].as_u64() && sum > Some(0), "{way:?}: {nvml}");
        assert_eq!(nvml["compute"], json!([profile::COMPUTE.0, profile::COMPUTE.1]), "{way:?}");
        let (short, long) = (cuda["pci"].as_str(), nvml["pci"].as_str());
        let (short, long) = short.zip(long).expect("both PCI ids");
        // NVML writes the domain with eight digits, CUDA with four (both: domain:bus:device.0).
        assert!(long.to_lowercase().ends_with(&short.to_lowercase()), "{short} and {long}");
        assert_eq!(nvml["same_by_uuid"], true, "{way:?}");
        assert_eq!(nvml["same_by_bus"], true, "{way:?}");
        for percent in ["gpu", "memory"] {
            assert!(nvml[percent].as_u64().is_some_and(|value| value <= 100), "{way:?}: {nvml}");
        }
        let driver = nvml["driver"].as_str().unwrap_or_default();
        let major = driver.split('.').next().and_then(|major| major.parse::<u32>().ok());
        assert!(major >= Some(550), "Ollama refuses drivers before 550, this is {driver}");
    }
}

#[test]
fn numba_compiles_kernels_that_compute() {
    let host = host();
    for way in Way::ALL {
        let packages = stage::python_clients();
        let toolkit = packages.join("nvidia/cu13");
        let mut python = script(way, &host, "kernels.py");
        // Where numba-cuda finds NVIDIA's compilers. They are not in the way of our libraries.
        let ours = (way == Way::SearchPath).then(|| Stage::dev().libraries());
        let search = std::env::join_paths(ours.into_iter().chain([toolkit.join("lib")]));
        python.env("LD_LIBRARY_PATH", search.expect("no colon in these paths"));
        python.arg(&packages).env("CUDA_HOME", &toolkit);
        let expected = json!({
            "device": profile::NAME,
            "saxpy": true,
            "reversed": true,
            "sum": 999 * 1000 / 2,
        });
        assert_eq!(answer(&mut python, &host), expected, "{way:?}");
    }
}

#[test]
fn the_simulated_device_links_one_ptx_text_and_refuses_what_it_cannot() {
    let host = host();
    let ok = "CUDA_SUCCESS";
    let (gone, refused) = ("CUDA_ERROR_INVALID_HANDLE", "CUDA_ERROR_NOT_SUPPORTED");
    let (empty, no_ptx) = ("CUDA_ERROR_INVALID_VALUE", "CUDA_ERROR_INVALID_PTX");
    // The last two are those of cuLinkDestroy, done twice.
    let expected = json!({
        "one": [ok, ok, ok, ok, ok, gone],
        "two": [ok, refused, ok, ok, ok, ok, gone],
        "none": [empty, ok, gone],
        "no_ptx": [no_ptx, empty, ok, gone],
    });
    for way in Way::ALL {
        assert_eq!(answer(&mut script(way, &host, "links.py"), &host), expected, "{way:?}");
    }
}
