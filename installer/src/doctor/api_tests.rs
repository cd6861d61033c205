//! What the checks of the API make of what a child saw.

use super::guest::{api, device, guest, json, logging, of, reached, refusal, said, seeing};
use super::tests::examine_host;
use crate::host::memory::Memory;
use crate::probe::api::ApiSeen;
use crate::probe::calls::Refusal;

/// A guest whose API differs in one thing.
fn with(change: impl FnOnce(&mut ApiSeen)) -> Memory {
    let mut api = api();
    change(&mut api);
    seeing(&reached(), &api)
}

fn wrong() -> Refusal {
    refusal("cuSomething", 999)
}

#[test]
fn an_api_that_works_is_fine_by_every_check() {
    let checks = ["identity", "attrs", "memory", "kernel", "blas", "graph", "unimplemented"];
    for check in checks {
        assert_eq!(of(&format!("api.{check}"), &with(|_| {})), ["ok"], "{check}");
    }
}

#[test]
fn libraries_that_describe_different_devices_are_told_apart() {
    let identity = |change: fn(&mut ApiSeen)| of("api.identity", &with(change));
    assert_eq!(identity(|api| api.nvml.as_mut().unwrap().card.uuid = "GPU-1".into()), ["fail U36"]);
    assert_eq!(
        identity(|api| api.nvml.as_mut().unwrap().card.pci = "1:2:3.0".into()),
        ["fail F87"]
    );
    assert_eq!(identity(|api| api.nvml.as_mut().unwrap().cuda_version = 12080), ["fail F67"]);
    assert_eq!(identity(|api| api.runtime.as_mut().unwrap().card.name = "X".into()), ["fail F12"]);
    assert_eq!(identity(|api| api.runtime = Err(wrong())), ["fail F12"]);
    assert_eq!(identity(|api| api.driver = Err(wrong())), ["ok"], "another check's to say");
    assert_eq!(identity(|api| api.card = Err(wrong())), ["fail F12"]);
}

#[test]
fn values_that_are_not_the_hosts_are_told_with_the_first_difference() {
    let attrs = |number: u32, value: i32| {
        of(
            "api.attrs",
            &with(|api| {
                for known in api.attributes.iter_mut().filter(|known| known.0 == number) {
                    known.1 = value;
                }
                let properties = &mut api.runtime.as_mut().unwrap().attributes;
                for known in properties.iter_mut().filter(|known| known.0 == number) {
                    known.1 = value.into();
                }
            }),
        )
    };
    assert_eq!(attrs(41, 0), ["fail F51"]);
    assert_eq!(attrs(75, 8), ["fail F51 F70"]);
    assert_eq!(attrs(97, 49152), ["fail F51 F69"]);
    let shifted = with(|api| api.runtime.as_mut().unwrap().attributes = vec![(75, 0)]);
    assert_eq!(of("api.attrs", &shifted), ["fail F68 F70"]);
    let found = examine_host("api.attrs", &shifted);
    assert!(found[0].evidence[0].contains("attribute 75: the runtime 0, the driver API 9"));
}

#[test]
fn an_integrated_gpu_is_told() {
    let mut host_device = device();
    host_device.attributes[0].1 = 1;
    let mut link = reached();
    if let crate::probe::link::Outcome::Connected(connected) = &mut link.tries[0].outcome {
        connected.host.as_mut().unwrap().devices = vec![host_device];
    }
    let mut integrated = api();
    integrated.attributes[0].1 = 1;
    assert_eq!(of("api.attrs", &seeing(&link, &integrated)), ["warn U20"]);
}

#[test]
fn memory_that_changes_or_is_not_aligned_is_told() {
    let copies = |size: usize, pointer: u64, at: Option<usize>| {
        of(
            "api.memory",
            &with(|api| {
                api.memory.as_mut().unwrap().copies[size] = (pointer, at);
            }),
        )
    };
    assert_eq!(copies(2, 0x9900, Some(7)), ["fail F62"]);
    assert_eq!(copies(0, 0x9904, None), ["fail F76"]);
    let refused = with(|api| api.memory = Err(refusal("cuMemGetInfo_v2", 3)));
    assert_eq!(of("api.memory", &refused), ["fail F72"]);
}

#[test]
fn a_kernel_that_does_not_compute_and_an_error_that_is_none_are_told() {
    let kernel = |change: fn(&mut ApiSeen)| of("api.kernel", &with(change));
    let zeros = |api: &mut ApiSeen| api.kernel.as_mut().unwrap().wrong = Some((1, 1000, 0));
    assert_eq!(kernel(zeros), ["fail F73"]);
    assert_eq!(kernel(|api| api.kernel.as_mut().unwrap().wild_free = None), ["fail F74"]);
    assert_eq!(kernel(|api| api.kernel.as_mut().unwrap().missing_kernel = None), ["fail F74"]);
    assert_eq!(kernel(|api| api.kernel = Err(wrong())), ["fail F73"]);
}

#[test]
fn a_product_and_a_graph_that_fail_are_told() {
    assert_eq!(of("api.blas", &with(|api| api.blas = Ok(2000))), ["fail F75"]);
    assert_eq!(of("api.blas", &with(|api| api.blas = Err(wrong()))), ["fail F75"]);
    assert_eq!(of("api.graph", &with(|api| api.graph = Ok(false))), ["fail U28"]);
    assert_eq!(of("api.graph", &with(|api| api.graph = Err(wrong()))), ["fail U28"]);
}

#[test]
fn functions_that_were_asked_for_in_vain_are_named_with_who_asked() {
    let text = serde_json::to_string(&api()).unwrap();
    let table = "          2        2        0        0           0  cuGone (not implemented)\n";
    let host = guest().answering("examine api", said(&text, table));
    let found = examine_host("api.unimplemented", &host);
    assert_eq!(found[0].rows, ["F73", "U23"]);
    assert!(found[0].evidence[0].starts_with("cuGone: a child of the doctor, as ollama"));

    let line = "vgpu: cuAway is not implemented, answering NOT_SUPPORTED\n";
    let host = logging(guest().answering("examine api", json(&api())), line);
    assert_eq!(examine_host("api.unimplemented", &host)[0].evidence, [line.trim()]);

    let line = "vgpu: a library of NVIDIA's in this process asked for the private table 9\n";
    let host = logging(guest().answering("examine api", json(&api())), line);
    assert_eq!(of("api.unimplemented", &host), ["fail F78 U34"]);
}
