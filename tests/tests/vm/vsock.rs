//! Over vsock: the guest connects to its host, context id 2, port 6475.

use vgpu_tests::Vgpud;
use vgpu_tests::vm::VsockDevice;

use super::story::{NAMED, Way, tell};
use super::{parts, turn};

#[test]
fn over_vsock_a_machine_gets_the_gpu_keeps_it_and_gives_every_byte_back() {
    let _turn = turn();
    let parts = parts();
    let device = VsockDevice::start().unwrap();
    let listen = format!("unix:{}", device.socket(6475).display());
    let host = || Vgpud::simulated(&parts.setting.stage, &["--listen", &listen]).unwrap();
    let options = device.options();
    let link = NAMED;
    tell(&parts, &Way { link, options, host: &host, is_given_up: false });
}
