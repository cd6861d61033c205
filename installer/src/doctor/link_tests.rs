//! What the checks of link and host make of what a child saw.

use super::guest::{
    api, connected, device, guest, json, link, logging, of, reached, refusal, said, seeing,
    unreached,
};
use super::tests::examine_host;
use crate::host::memory::Memory;
use crate::probe::link::{Connected, Failed, LinkSeen, Outcome, StateSeen, Trouble};
use crate::probe::pci::Candidate;

fn over(link: &LinkSeen) -> Memory {
    seeing(link, &api())
}

fn met(change: impl FnOnce(&mut Connected)) -> Memory {
    let mut host = connected();
    change(&mut host);
    over(&link(Outcome::Connected(Box::new(host))))
}

fn stub() -> Candidate {
    Candidate {
        address: "0000:00:05.0".into(),
        kind: "the original device".into(),
        driver: None,
        refused: Some("memory decoding is off".into()),
        hint: Some("Switch it on.".into()),
    }
}

#[test]
fn a_link_that_works_is_fine_by_every_check() {
    for check in ["transport.present", "transport.access", "transport.handshake"] {
        assert_eq!(of(check, &over(&reached())), ["ok"], "{check}");
    }
    assert_eq!(of("transport.latency", &over(&reached())), ["ok", "ok"]);
    assert_eq!(of("host.driver", &over(&reached())), ["ok"]);
    assert_eq!(of("host.worker", &over(&reached())), ["ok"]);
}

/// Without a configuration there are several ways, of which one is enough.
#[test]
fn a_way_that_leads_to_a_host_makes_up_for_those_before_it() {
    for before in [Trouble::Absent, Trouble::Denied, Trouble::Silent, Trouble::Blocked] {
        let mut seen = unreached(before);
        seen.tries.extend(reached().tries);
        for check in ["transport.present", "transport.access", "transport.handshake"] {
            assert_eq!(of(check, &over(&seen)), ["ok"], "{check}, {before:?}");
        }
    }
}

#[test]
fn a_way_that_is_not_there_is_told_with_every_candidate() {
    assert_eq!(of("transport.present", &over(&unreached(Trouble::Absent))), ["fail F49"]);
    let with_stub = |trouble| LinkSeen { pci: vec![stub()], ..unreached(trouble) };
    assert_eq!(of("transport.present", &over(&with_stub(Trouble::Absent))), ["fail F49 F50"]);
    let found = examine_host("transport.present", &over(&with_stub(Trouble::NotBuilt)));
    assert_eq!(found[0].rows, ["F49", "F50", "F56"]);
    let told = found[0].evidence.join("\n");
    assert!(told.contains("PCI 0000:00:05.0, the original device, driver none: refused"), "{told}");
    let config_error = Some("understanding /etc/vgpu/guest.toml: line 2".into());
    let wrong = LinkSeen { config_error, ..LinkSeen::default() };
    assert_eq!(of("transport.present", &over(&wrong)), ["fail F49"]);
}

#[test]
fn each_thing_that_keeps_a_pci_device_from_us_is_told_with_its_own_row_and_remedy() {
    for (trouble, check, row) in [
        (Trouble::Blocked, "transport.present", "F56"),
        (Trouble::Denied, "transport.access", "F52"),
        (Trouble::Shut, "transport.access", "F53"),
        (Trouble::LockedDown, "transport.access", "F55"),
    ] {
        let mut seen = unreached(trouble);
        let one = &mut seen.tries[0];
        (one.uri, one.socket) = ("pci:auto".into(), None);
        let Outcome::Failed(failed) = &mut one.outcome else { panic!("it failed") };
        failed.hint = Some("Do what helps.".into());
        let found = examine_host(check, &over(&seen));
        assert_eq!(found[0].rows, [row], "{trouble:?}");
        assert_eq!(found[0].remedy.as_deref(), Some("Do what helps."));
    }
}

#[test]
fn a_user_who_may_not_open_the_link_is_told_which_group_can() {
    let found = examine_host("transport.access", &over(&unreached(Trouble::Denied)));
    assert_eq!(found[0].rows, ["F52", "U37"]);
    let remedy = found[0].remedy.as_deref().unwrap();
    assert_eq!(remedy, "usermod -aG vgpu ollama && systemctl restart ollama.service");
    assert!(found[0].evidence.iter().any(|line| line.contains("errno 13")), "{found:?}");
    let mut private = unreached(Trouble::Denied);
    private.tries[0].socket = Some((0o600, 0, 900));
    assert_eq!(of("transport.access", &over(&private)), ["fail F52"]);
    assert_eq!(of("transport.access", &over(&unreached(Trouble::Absent))), ["skipped"]);
}

/// Each failure of TLS has the remedy that the link itself knows; who may not read the key is told
/// how it is given to Ollama alone.
#[test]
fn what_is_wrong_with_certificates_is_told_with_its_own_remedy() {
    let failing = |trouble, errno, file: &str| {
        let (error, hint) = ("agreeing on TLS".into(), Some("Issue it a new one.".into()));
        let file = Some(file.to_owned());
        link(Outcome::Failed(Failed { trouble, error, errno, file, hint }))
    };
    let key = "/etc/vgpu/tls/guest.key";
    for (check, trouble, errno, remedy) in [
        ("transport.handshake", Trouble::Distrust, None, "Issue it a new one."),
        ("transport.access", Trouble::Credential, None, "Issue it a new one."),
        ("transport.access", Trouble::Credential, Some(2), "Issue it a new one."),
        (
            "transport.access",
            Trouble::Credential,
            Some(13),
            "chgrp $(id -gn ollama) /etc/vgpu/tls/guest.key && chmod 640 /etc/vgpu/tls/guest.key",
        ),
    ] {
        let found = examine_host(check, &over(&failing(trouble, errno, key)));
        assert_eq!(found[0].rows, ["F52"], "{check} {errno:?}");
        assert_eq!(found[0].remedy.as_deref(), Some(remedy), "{check} {errno:?}");
        assert!(found[0].evidence.iter().any(|line| line.contains("agreeing on TLS")));
    }
}

#[test]
fn in_a_container_a_lost_device_is_named_as_such() {
    let host = over(&unreached(Trouble::Denied));
    host.place_file("/.dockerenv".as_ref(), b"");
    assert_eq!(of("transport.access", &host), ["fail F52 U37 U04"]);
}

#[test]
fn who_answers_and_how_is_told_by_the_handshake() {
    for (trouble, row) in [
        (Trouble::Silent, "fail F58"),
        (Trouble::NobodyListens, "fail F58"),
        (Trouble::Version, "fail F88"),
        (Trouble::Broken, "fail F57"),
        (Trouble::Unreachable, "fail F58"),
        (Trouble::Distrust, "fail F52"),
        (Trouble::Credential, "skipped"),
        (Trouble::Absent, "skipped"),
    ] {
        assert_eq!(of("transport.handshake", &over(&unreached(trouble))), [row]);
    }
    let older = met(|host| host.host_version = "0.0.9".into());
    assert_eq!(of("transport.handshake", &older), ["warn F88"]);
    let mixed = met(|host| host.sessions = (3, Some(3)));
    assert_eq!(of("transport.handshake", &mixed), ["fail F64"]);
}

#[test]
fn a_slow_link_is_told_with_its_figures() {
    let late = met(|host| host.round_trip_ns = (6_000_000, 7_000_000));
    assert_eq!(of("transport.latency", &late), ["warn F60", "ok"]);
    let mut slow = api();
    slow.pace.as_mut().unwrap().bytes_per_second = (9_000_000, 999_000_000);
    let found = examine_host("transport.latency", &seeing(&reached(), &slow));
    assert_eq!(found[1].rows, ["F61", "F63", "U24"]);
    assert!(found[1].evidence.iter().any(|line| line.contains("9 MB/s to the device")));
    assert_eq!(of("transport.latency", &over(&unreached(Trouble::Absent))), ["skipped"]);
}

#[test]
fn a_driver_that_is_too_old_is_told_with_the_one_that_is_needed() {
    let told = |change: fn(&mut crate::probe::link::HostSeen)| {
        of("host.driver", &met(|host| change(host.host.as_mut().unwrap())))
    };
    assert_eq!(told(|host| host.driver = "535.99".into()), ["fail U06 U38"]);
    assert_eq!(
        told(|host| {
            host.driver = "560.1".into();
            host.devices[0].attributes = vec![(41, 1), (75, 6), (76, 1)];
        }),
        ["fail U06 U38"]
    );
    assert_eq!(told(|host| host.devices[0].attributes = vec![(41, 0)]), ["fail U11"]);
    assert_eq!(told(|host| host.devices.clear()), ["fail U11"]);
    let versions = told(|host| host.cuda_version = 12020);
    assert_eq!(versions, ["warn F85", "fail F67"], "and a program was told 13000");
    assert_eq!(of("host.driver", &over(&unreached(Trouble::Full))), ["skipped"]);
}

#[test]
fn what_the_host_refuses_and_holds_is_told() {
    assert_eq!(of("host.worker", &over(&unreached(Trouble::Full))), ["fail F66"]);
    assert_eq!(of("host.worker", &over(&unreached(Trouble::Stranger))), ["fail F66"]);
    assert_eq!(of("host.worker", &over(&unreached(Trouble::NoDevice))), ["fail F80"]);
    let clients = vec![(999, "llama-server".to_owned(), 5 << 20)];
    let mut busy = device();
    busy.state = Ok(StateSeen { used_bytes: 5 << 20, free_bytes: 0, clients });
    let host = met(|host| host.host.as_mut().unwrap().devices = vec![busy]);
    assert_eq!(of("host.worker", &host), ["warn F65 U19"]);
    host.place_file("/proc/999/maps".as_ref(), b"");
    assert_eq!(of("host.worker", &host), ["ok"], "its program is here");
}

#[test]
fn a_host_that_was_lost_is_found_in_the_log() {
    let lost = "vgpu: the connection to the GPU host is lost (closed); this process cannot\n";
    assert_eq!(of("host.worker", &logging(over(&reached()), lost)), ["warn F59 U02"]);
    let missed = "vgpu: no GPU: reaching the GPU host failed\n";
    assert_eq!(of("host.worker", &logging(over(&reached()), missed)), ["warn F39"]);
    let still_away = logging(over(&unreached(Trouble::Absent)), missed);
    assert_eq!(of("host.worker", &still_away), ["skipped"]);
    let fault = "CUDA error: an illegal memory access was encountered\n";
    assert_eq!(of("host.worker", &logging(over(&reached()), fault)), ["warn F89"]);
}

#[test]
fn a_child_that_gives_no_answer_is_no_verdict() {
    let mut died = said("", "something broke");
    died.status = None;
    died.signal = Some(11);
    let host = guest().answering("examine link", died);
    let found = examine_host("transport.present", &host);
    assert_eq!(found[0].verdict.word(), "skipped");
    assert!(found[0].cause.contains("signal 11") && found[0].cause.contains("something broke"));
}

#[test]
fn a_foreign_root_starts_no_child() {
    let host = Memory::described("dir /usr");
    for check in ["transport.present", "host.driver", "api.memory", "ollama.discovery"] {
        let found = examine_host(check, &host);
        assert_eq!(found[0].verdict.word(), "skipped", "{check}");
        assert!(found[0].cause.contains("running machine"), "{found:?}");
    }
    assert_eq!(host.commands(), [""; 0]);
}

#[test]
fn without_an_ollama_the_link_is_looked_at_as_this_user() {
    let host = Memory::described("dir /usr").running().answering("examine link", json(&reached()));
    assert_eq!(of("transport.present", &host), ["ok"]);
    assert_eq!(of("api.memory", &host), ["skipped"]);
}

#[test]
fn a_host_without_a_device_leaves_the_api_unjudged() {
    let mut away = api();
    away.driver = Err(refusal("cuInit", 100));
    assert_eq!(of("api.memory", &seeing(&reached(), &away)), ["skipped"]);
}
