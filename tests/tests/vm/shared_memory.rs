//! Through memory that machine and host share: QEMU's ivshmem, with doorbells and without.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use vgpu_tests::Vgpud;
use vgpu_tests::chapter::{blocks, headings};

use super::story::{Way, tell};
use super::{Parts, parts, turn};

/// QEMU's options, as docs/operate.md has them.
pub(crate) const DOORBELL: &str = "-chardev socket,path=/run/vgpu/ollama-1.sock,id=vgpu \
                                   -device ivshmem-doorbell,chardev=vgpu,vectors=1";
pub(crate) const PLAIN: &str = "-object memory-backend-file,id=vgpu,share=on,\
                                mem-path=/dev/shm/ollama-1,size=64M \
                                -device ivshmem-plain,memdev=vgpu";

/// Starts a host that has one machine, which this line of host.toml describes.
fn host(parts: &Parts, directory: &Path, device: &str) -> Vgpud {
    let config = directory.join("host.toml");
    fs::write(&config, format!("[[machine]]\nname = \"ollama-1\"\n{device}\n")).unwrap();
    let config = config.to_string_lossy();
    Vgpud::simulated(&parts.setting.stage, &["--config", &config]).unwrap()
}

/// The words of a line of options, with another path in the place of the documents' own.
pub(crate) fn words(line: &str, theirs: &str, ours: &Path) -> Vec<OsString> {
    line.split(' ').map(|word| word.replace(theirs, &ours.to_string_lossy()).into()).collect()
}

#[test]
fn over_shared_memory_with_doorbells_a_machine_gets_the_gpu_keeps_it_and_gives_every_byte_back() {
    let _turn = turn();
    let parts = parts();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("machine.sock");
    // Its first host hears of the machine's end from QEMU, the next one by silence alone.
    let device = format!("ivshmem = \"{}\"\nsilence_seconds = 10", socket.display());
    let host = || host(&parts, directory.path(), &device);
    let options = words(DOORBELL, "/run/vgpu/ollama-1.sock", &socket);
    // Nobody names the device: it is found where no local socket is.
    tell(&parts, &Way { link: "auto", options, host: &host, is_given_up: true });
}

#[test]
fn over_shared_memory_in_a_file_a_machine_gets_the_gpu_keeps_it_and_gives_every_byte_back() {
    let _turn = turn();
    let parts = parts();
    let directory = tempfile::tempdir().unwrap();
    let memory = directory.path().join("memory");
    // Nobody tells that the machine was killed: its silence has to.
    let device = format!("memory = \"{}\"\nsilence_seconds = 10", memory.display());
    let host = || host(&parts, directory.path(), &device);
    let options = words(PLAIN, "/dev/shm/ollama-1", &memory);
    tell(&parts, &Way { link: "pci:auto", options, host: &host, is_given_up: true });
}

#[test]
fn the_options_of_qemu_are_those_of_the_documents() {
    let all = headings().into_iter().flat_map(|heading| blocks(&heading));
    let options: Vec<String> =
        all.filter(|block| block.text.starts_with('-')).map(|block| block.text).collect();
    assert_eq!(options, [DOORBELL, PLAIN]);
}
