//! A virtual machine that gets its GPU from this machine: stock QEMU without KVM, a Debian with its
//! own kernel, apt and systemd, and a link through the machine's devices.
//!
//! Real: QEMU and its devices, Debian and its kernel, our deb through apt, the published CUDA
//! backends. Imitated: the GPU (`vgpud --device sim`), `ollama` and `llama-server` (see
//! `vgpu_tests::stand_in`), and for vsock the host's side of the device (vhost-device-vsock, where
//! a host with KVM has its kernel's).

#![forbid(unsafe_code)]

mod client;
mod examples;
mod links;
mod shared_memory;
mod story;
mod vsock;

use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_tests::stage;
use vgpu_tests::system::{Layout, MODELS, Result, Setting};
use vgpu_tests::vm::{Disk, Image};

/// Where Ollama lies in the guest.
const LAYOUT: Layout =
    Layout { prefix: "/usr/local", environment: &["OLLAMA_DEBUG=2", MODELS], settings: &[] };

/// One machine at a time: each takes a processor.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a machine boots from.
struct Parts {
    setting: Setting,
    image: Image,
    disk: Disk,
}

/// Finds what the tests need and makes the disks, or says what is missing and what to do.
fn parts() -> Parts {
    made().unwrap_or_else(|error| {
        panic!("{error}\n  try: {}", error.hint().unwrap_or("cargo xtask test vm"));
    })
}

fn made() -> Result<Parts> {
    let setting = Setting::of_machines()?;
    let image = Image::build(&setting.containers, &setting.tarball, |root| {
        LAYOUT.lay(root, &setting.parts)?;
        setting.speaker.lay(root)
    })?;
    let client = setting.stage.test_program("bench-client");
    let [across, vsock] = ["across", "vsock"].map(stage::link_test);
    let beside = [client, examples::example("cloud-init.yaml"), across, vsock];
    let disk = Disk::pack(&setting.containers, &[stage::deb("vgpu-ollama")], &beside)?;
    Ok(Parts { setting, image, disk })
}
