//! The one body of tests of all links, between a machine and its host, and of vsock with itself.

use std::ffi::OsString;
use std::time::Duration;

use vgpu_tests::system::Machine;
use vgpu_tests::vm::{Junction, Vm, VsockDevice};

use super::shared_memory::{DOORBELL, PLAIN, words};
use super::{parts, turn};

/// Where the guest finds the two devices of shared memory.
const DEVICES: [&str; 2] = ["0000:00:10.0", "0000:00:11.0"];

/// A port of the host for vsock.
const PORT: u32 = 7000;

/// Longest time for one body; measured below a minute on an idle machine.
const BODY: Duration = Duration::from_secs(200);

#[test]
fn the_links_of_a_machine_pass_the_one_body_of_tests_through_their_devices() {
    let _turn = turn();
    let parts = parts();
    let directory = tempfile::tempdir().unwrap();
    let (socket, memory) = (directory.path().join("machine.sock"), directory.path().join("memory"));
    let device = VsockDevice::start().unwrap();
    let _vsock = Junction::at_socket(&device.socket(PORT)).unwrap();
    let _doorbell = Junction::at_doorbell(&socket).unwrap();
    let _plain = Junction::at_memory(&memory).unwrap();
    let mut options = device.options();
    options.extend(placed(words(DOORBELL, "/run/vgpu/ollama-1.sock", &socket), DEVICES[0]));
    options.extend(placed(words(PLAIN, "/dev/shm/ollama-1", &memory), DEVICES[1]));

    let vm = Vm::boot(&parts.image, &parts.disk, &options).unwrap();
    // The package's udev rule does it for those who install it.
    for address in DEVICES {
        vm.sh(&format!("echo 1 > /sys/bus/pci/devices/{address}/enable")).unwrap();
    }
    let links = DEVICES.map(|address| format!("pci:{address}"));
    for link in links.into_iter().chain([format!("vsock:2:{PORT}")]) {
        passes(&vm, &link, &format!("VGPU_ACROSS={link} /media/parcel/across --skip links::"));
    }
    vm.sh("modprobe vsock_loopback").unwrap();
    passes(&vm, "vsock, of the guest's kernel alone", "/media/parcel/vsock --skip links::");
}

/// QEMU's options with a place on the bus for their device, which is the last word.
fn placed(mut options: Vec<OsString>, address: &str) -> Vec<OsString> {
    let slot = address.trim_start_matches("0000:00:").trim_end_matches(".0");
    options.last_mut().expect("a device").push(format!(",addr=0x{slot}"));
    options
}

/// Runs a program of tests in the guest, and fails unless all of them passed.
fn passes(vm: &Vm, link: &str, command: &str) {
    let done = vm.run(&["/bin/sh", "-c", command], BODY).unwrap();
    assert!(done.status.success(), "{link}: {}{}", done.stdout, done.stderr);
    let last = done.stdout.lines().rfind(|line| line.starts_with("test result: ok."));
    let last = last.unwrap_or_else(|| panic!("{link}: {}", done.stdout));
    assert!(!last.contains(" 0 passed"), "{link}: {last}");
    println!("{link}: {last}");
}
