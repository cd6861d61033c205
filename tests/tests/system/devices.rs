//! Device rules that the kernel enforces: no link of ours opens a device node, so a unit that may
//! open none finds the GPU, and still may open none.

use std::fs;

use vgpu_tests::{
    Vgpud,
    system::{Files, Guest, Layout},
};

use super::{USR_LOCAL, has_gpu, has_no_gpu, setting};

/// Nodes with every right for everybody, so that only device rules keep anyone out: FUSE's, which
/// no rule names, and one like /dev/zero, which `closed` allows and `strict` does not.
const NODES: &str = "mkdir /rig
    mknod --mode=666 /rig/fuse c 10 229
    mknod --mode=666 /rig/zero c 1 5";

/// Opens the nodes, and a socket of the virtual machine (family 40), which is no device; says what
/// is refused. With a service named, it joins that first, and is under its device rules.
const OPEN: &str = r#"use Errno;
if ($ARGV[0]) {
    open GROUP, '>', "/sys/fs/cgroup/system.slice/$ARGV[0]/cgroup.procs" or die "group: $!";
    syswrite GROUP, $$ or die "joining the group: $!";
}
for $node ('fuse', 'zero') { open NODE, '<', "/rig/$node" or print "$node: $!\n" }
socket(SOCKET, 40, 1, 0) or $!{EAFNOSUPPORT} or print "vsock: $!\n";
"#;

const FUSE: &str = "fuse: Operation not permitted\n";
const FUSE_AND_ZERO: &str = "fuse: Operation not permitted\nzero: Operation not permitted\n";

const CLOSED: Layout = Layout {
    settings: &["PrivateDevices=yes", "DevicePolicy=closed", "RestrictAddressFamilies=AF_INET"],
    ..USR_LOCAL
};

/// The devices that any service needs to start.
const STRICT: Layout = Layout {
    settings: &[
        "DevicePolicy=strict",
        "DeviceAllow=/dev/null rw",
        "DeviceAllow=/dev/urandom r",
        "RestrictAddressFamilies=AF_INET",
    ],
    ..USR_LOCAL
};

/// What is refused to a process of this service; without a name, to one that no rule holds.
fn refused(guest: &Guest, service: &str) -> String {
    guest.sh(&format!("systemd-run --wait --pipe --quiet perl /rig/open {service}")).unwrap()
}

/// The settings of our drop-in that are no variables.
fn given(guest: &Guest) -> Vec<String> {
    let drop_in = guest.sh("cat /etc/systemd/system/ollama.service.d/50-vgpu.conf").unwrap();
    let is_setting = |line: &&str| !line.starts_with(['#', '[']) && !line.starts_with("Environ");
    drop_in.lines().filter(is_setting).map(str::to_owned).collect()
}

/// Tells one service's story; `expected` is what the kernel refuses to it all along.
fn enforced(layout: Layout, expected: &str) {
    let setting = setting();
    let host = Vgpud::start_with(&setting.stage, &["--mode", "0666"]).unwrap();
    let guest = Guest::boot(&setting, layout, Files::Laid, host.socket().parent()).unwrap();
    guest.sh(NODES).unwrap();
    fs::write(guest.root().join("rig/open"), OPEN).unwrap();
    assert_eq!(refused(&guest, ""), "", "without rules");
    assert_eq!(refused(&guest, "ollama.service"), expected, "before");
    let before = guest.tree(&[]).unwrap();
    guest.vgpu_install(&["apply"]).unwrap().success().unwrap();
    has_gpu(&guest.restart_ollama().unwrap(), "applied");
    let group = "SupplementaryGroups=vgpu".to_owned();
    assert_eq!(given(&guest), ["RestrictAddressFamilies=AF_UNIX".to_owned(), group.clone()]);
    assert_eq!(refused(&guest, "ollama.service"), expected, "with the GPU");
    // The other links ask for no device either: one is a socket, one goes by files of sysfs.
    for (link, families) in [
        ("vsock:2:6475", vec!["RestrictAddressFamilies=AF_VSOCK".to_owned()]),
        ("pci:auto", vec![group]),
    ] {
        guest.vgpu_install(&["apply", "--no-restart", "--link", link]).unwrap().success().unwrap();
        assert_eq!(given(&guest), families, "{link}");
        guest.sh("systemctl restart ollama").unwrap();
        assert_eq!(refused(&guest, "ollama.service"), expected, "{link}");
    }
    guest.vgpu_install(&["--rollback=0"]).unwrap().success().unwrap();
    has_no_gpu(&guest.restart_ollama().unwrap(), "rolled back");
    assert_eq!(before.changes(&guest.tree(&[]).unwrap()), []);
}

#[test]
fn a_service_that_is_closed_to_devices_finds_the_gpu_and_stays_closed() {
    enforced(CLOSED, FUSE);
}

#[test]
fn a_service_that_is_strict_about_devices_finds_the_gpu_and_stays_strict() {
    enforced(STRICT, FUSE_AND_ZERO);
}
