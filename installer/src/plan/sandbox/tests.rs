//! Every setting that hinders a link, with each kind of link.

use super::*;
use crate::facts::{Guest, PciDevice, Shims};

const SHIMS: &str = "/usr/lib/x86_64-linux-gnu/vgpu";

fn facts() -> Facts {
    let device = PciDevice {
        address: "0000:00:05.0".into(),
        path: "/sys/devices/pci0000:00/0000:00:05.0".into(),
        vendor: "1af4".into(),
        device: "1110".into(),
        ..PciDevice::default()
    };
    Facts {
        shims: Shims { dir: SHIMS.into(), ..Shims::default() },
        guest: Guest { devices: vec![device], ..Guest::default() },
        ..Facts::default()
    }
}

fn unit(settings: &str) -> Unit {
    let settings = settings.lines().map(str::trim).filter(|line| !line.is_empty());
    let settings = settings.map(|line| {
        let (name, value) = line.split_once('=').unwrap();
        let set_by = "/etc/systemd/system/ollama.service".into();
        Variable { name: name.into(), value: value.into(), set_by }
    });
    Unit {
        name: "ollama.service".into(),
        user: Some("ollama".into()),
        settings: settings.collect(),
        ..Unit::default()
    }
}

fn lines(settings: &str, link: &str) -> Vec<String> {
    let passage = passage(&facts(), &unit(settings), Some(link)).unwrap();
    passage.lines.into_iter().map(|line| line.text).collect()
}

const UNIX: &str = "unix:/run/vgpu/vgpud.sock";

/// The settings of the NixOS module, of `systemd-analyze security`'s best marks, and what each
/// link needs among them.
#[test]
fn each_link_is_given_what_it_needs_and_nothing_more() {
    let hard = "DevicePolicy=closed\nDeviceAllow=char-drm\nPrivateDevices=yes
        PrivateUsers=yes\nPrivateTmp=yes\nProtectSystem=strict\nProtectHome=yes
        ProtectKernelTunables=yes\nProtectProc=invisible\nProcSubset=pid
        MemoryDenyWriteExecute=yes\nNoNewPrivileges=yes\nDynamicUser=yes
        RestrictAddressFamilies=AF_INET AF_INET6
        SystemCallArchitectures=native
        SystemCallFilter=@system-service @resources\nSystemCallFilter=~@privileged";
    assert_eq!(lines(hard, UNIX), ["RestrictAddressFamilies=AF_UNIX"]);
    assert_eq!(lines(hard, "vsock:2:6475"), ["RestrictAddressFamilies=AF_VSOCK"]);
    assert_eq!(lines(hard, "tls:gpu:6475"), [""; 0]);
    let device = "ReadWritePaths=-/sys/devices/pci0000:00/0000:00:05.0";
    for link in ["pci:auto", "pci:0000:00:05.0"] {
        assert_eq!(lines(hard, link), [device]);
    }
    assert_eq!(
        lines(hard, "pci:0000:00:09.0"),
        ["ReadWritePaths=-/sys/bus/pci/devices/0000:00:09.0"]
    );
    for link in [UNIX, "vsock:2:6475", "tls:gpu:6475", "pci:auto"] {
        assert_eq!(lines("ProtectSystem=strict\nPrivateDevices=yes", link), [""; 0]);
    }
}

#[test]
fn where_no_link_is_named_the_socket_is_served_and_a_device_that_is_there() {
    let hard = "ProtectKernelTunables=yes\nRestrictAddressFamilies=AF_INET";
    let of = |facts: &Facts, settings: &str| {
        let passage = passage(facts, &unit(settings), None)?;
        Ok::<_, Error>(passage.lines.into_iter().map(|line| line.text).collect::<Vec<_>>())
    };
    let families = "RestrictAddressFamilies=AF_UNIX";
    let device = "ReadWritePaths=-/sys/devices/pci0000:00/0000:00:05.0";
    assert_eq!(of(&facts(), hard).unwrap(), [families, device]);
    let mut without = facts();
    without.guest.devices.clear();
    assert_eq!(of(&without, hard).unwrap(), [families]);
    // One way is enough.
    let socketless = "InaccessiblePaths=/run\nProtectKernelTunables=yes";
    assert_eq!(of(&facts(), socketless).unwrap(), [device]);
    assert_eq!(of(&facts(), "InaccessiblePaths=/sys").unwrap(), [""; 0]);
    of(&without, socketless).unwrap_err();
    of(&facts(), "InaccessiblePaths=/run /sys").unwrap_err();
}

#[test]
fn lists_of_families_are_merged_as_systemd_merges_them() {
    let cases = [
        ("RestrictAddressFamilies=AF_UNIX AF_INET", true),
        ("RestrictAddressFamilies=none", false),
        ("RestrictAddressFamilies=~AF_PACKET", true),
        ("RestrictAddressFamilies=~AF_UNIX AF_PACKET", false),
        ("RestrictAddressFamilies=AF_INET\nRestrictAddressFamilies=AF_UNIX", true),
        ("RestrictAddressFamilies=AF_UNIX\nRestrictAddressFamilies=~AF_UNIX", false),
        ("RestrictAddressFamilies=~AF_UNIX\nRestrictAddressFamilies=AF_UNIX", true),
    ];
    for (settings, open) in cases {
        assert_eq!(lines(settings, UNIX).is_empty(), open, "{settings}");
    }
}

#[test]
fn calls_that_a_filter_takes_away_are_given_back() {
    let filter = |text: &str| lines(&format!("SystemCallFilter={text}"), UNIX);
    assert_eq!(filter("@system-service"), [""; 0]);
    assert_eq!(filter("~@mount @swap"), [""; 0]);
    assert_eq!(filter("~@memlock:EPERM"), ["SystemCallFilter=mlock munlock"]);
    assert_eq!(filter("@system-service\nSystemCallFilter=~mlock"), ["SystemCallFilter=mlock"]);
    assert_eq!(filter("read write"), [format!("SystemCallFilter={CALLS}")]);
}

#[test]
fn libraries_must_be_executable() {
    let cases = [
        ("NoExecPaths=/", true),
        ("NoExecPaths=/\nExecPaths=/usr/bin", true),
        ("NoExecPaths=/\nExecPaths=/usr/bin /usr/lib", false),
        ("NoExecPaths=/home", false),
    ];
    for (settings, needs) in cases {
        let expected: &[String] = &[format!("ExecPaths={SHIMS}")];
        let expected = if needs { expected } else { &[] };
        assert_eq!(lines(settings, UNIX), expected, "{settings}");
    }
}

#[test]
fn what_no_line_of_ours_may_open_is_refused_with_the_reason() {
    let cases = [
        ("RootDirectory=/srv/ollama", UNIX, "another root"),
        ("RootImage=/srv/ollama.raw", UNIX, "another root"),
        ("InaccessiblePaths=-/run", UNIX, "hides the link's socket"),
        ("TemporaryFileSystem=/run:ro", UNIX, "hides the link's socket"),
        ("ProtectHome=yes", "unix:/run/user/1000/vgpu.sock", "hides the link's socket"),
        ("ProtectHome=tmpfs", "unix:/root/vgpu.sock", "hides the link's socket"),
        ("DynamicUser=yes", "unix:/tmp/vgpu.sock", "hides the link's socket"),
        ("InaccessiblePaths=/usr/lib/x86_64-linux-gnu", UNIX, "hides our libraries"),
        ("InaccessiblePaths=/sys", "pci:auto", "hides the link's device"),
        ("PrivateNetwork=yes", "tls:gpu:6475", "no network"),
        ("IPAddressDeny=any", "tls:gpu:6475", "has the name gpu"),
    ];
    for (settings, link, words) in cases {
        let error = passage(&facts(), &unit(settings), Some(link)).unwrap_err();
        let said = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(said.contains(words), "{settings}: {said}");
        assert!(said.contains("/etc/systemd/system/ollama.service"), "{said}");
    }
    let open = [
        ("RootDirectory=/", UNIX),
        ("InaccessiblePaths=/run\nBindReadOnlyPaths=/srv/vgpu:/run/vgpu", UNIX),
        ("ProtectHome=read-only", "unix:/run/user/1000/vgpu.sock"),
        ("PrivateNetwork=yes", UNIX),
        ("IPAddressDeny=any\nIPAddressAllow=any", "tls:gpu:6475"),
    ];
    for (settings, link) in open {
        assert_eq!(lines(settings, link), [""; 0], "{settings}");
    }
    assert_eq!(lines("IPAddressDeny=any", "tls:10.0.0.1:6475"), ["IPAddressAllow=10.0.0.1"]);
    assert_eq!(lines("IPAddressDeny=any", "tls:[fd00::1]:6475"), ["IPAddressAllow=fd00::1"]);
}

#[test]
fn the_group_is_given_to_services_that_are_not_in_it() {
    let mut facts = facts();
    let line = "SupplementaryGroups=vgpu";
    let texts = |facts: &Facts, unit: &Unit, link: &str| -> Vec<String> {
        let passage = passage(facts, unit, Some(link)).unwrap();
        passage.lines.into_iter().map(|line| line.text).collect()
    };
    assert_eq!(texts(&facts, &unit(""), UNIX), [""; 0], "there is no such group");
    facts.guest.group = true;
    assert_eq!(texts(&facts, &unit(""), UNIX), [line]);
    assert_eq!(texts(&facts, &unit(""), "pci:auto"), [line]);
    assert_eq!(texts(&facts, &unit(""), "vsock:2:6475"), [""; 0]);
    let root = Unit { user: None, ..unit("") };
    assert_eq!(texts(&facts, &root, UNIX), [""; 0]);
    let dynamic = Unit { user: None, ..unit("DynamicUser=yes") };
    assert_eq!(texts(&facts, &dynamic, UNIX), [line]);
    let member = Unit { supplementary_groups: vec!["vgpu".into()], ..unit("") };
    assert_eq!(texts(&facts, &member, UNIX), [""; 0]);
    let users = Unit { manager: Manager::User("ann".into()), ..unit("") };
    assert_eq!(texts(&facts, &users, UNIX), [""; 0]);
}

#[test]
fn a_configured_link_that_the_unit_cannot_read_is_named_in_its_environment() {
    let mut facts = facts();
    facts.guest.link = Some("unix:/srv/vgpu.sock".into());
    let hidden = unit("InaccessiblePaths=/etc/vgpu");
    let found = passage(&facts, &hidden, None).unwrap();
    assert_eq!(found.link.as_deref(), Some("unix:/srv/vgpu.sock"));
    assert_eq!(passage(&facts, &hidden, Some(UNIX)).unwrap().link, None);
    assert_eq!(passage(&facts, &unit(""), None).unwrap().link, None);
}
