//! Over vsock: the guest connects to its host, context id 2, port 6475.

use vgpu_tests::Vgpud;
use vgpu_tests::system::Guest;
use vgpu_tests::vm::{Vm, VsockDevice};

use super::story::{Way, tell};
use super::{parts, turn};

#[test]
fn over_vsock_a_machine_gets_the_gpu_keeps_it_and_gives_every_byte_back() {
    let _turn = turn();
    let parts = parts();
    let device = VsockDevice::start().unwrap();
    let listen = format!("unix:{}", device.socket(6475).display());
    let host = || Vgpud::simulated(&parts.setting.stage, &["--listen", &listen]).unwrap();
    let options = device.options();
    let link = "vsock:2:6475";
    tell(&parts, &Way { link, options, host: &host, outlives_its_host: true, more: &over_itself });
}

/// Runs the tests of the link in the guest, over its own kernel's vsock.
fn over_itself(guest: &Guest<Vm>) {
    let said = guest.sh("modprobe vsock_loopback\n/media/parcel/vsock --skip links::").unwrap();
    assert!(said.contains("test result: ok.") && !said.contains(" 0 passed"), "{said}");
    println!("{said}");
}
