//! A machine in memory with an Ollama on it, for the tests that stop an installer half-way.

use vgpu_install::error::Error;
use vgpu_install::facts::SHIMS;
use vgpu_install::host::memory::Memory;
use vgpu_install::plan::{Plan, Policy, Scope, plan};
use vgpu_install::{apply, discover};

/// The drop-in of the machine's unit.
pub const DROP_IN: &str = "/etc/systemd/system/ollama.service.d/50-vgpu.conf";

/// Applies scope service with a link of its own: a generation more.
pub fn linked(host: &Memory, link: &str) {
    let facts = discover::facts(host).unwrap();
    let policy = Policy { link: Some(link.into()), ..Policy::default() };
    apply::apply(host, &plan(&facts, &policy).unwrap(), &mut || Ok(())).unwrap();
}

/// A machine with systemd, our files and an Ollama for CUDA 13.
pub fn machine() -> Memory {
    let mut text = String::from(
        "dir /var/lib
         file /etc/os-release PRETTY_NAME=\"Sim 999\"
         file /etc/systemd/system/ollama.service [Service]\\nExecStart=/usr/local/bin/ollama serve
         file /usr/local/bin/ollama program
         file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so backend
         file /usr/local/lib/ollama/cuda_v13/libcudart.so.13.999 theirs
         link /usr/local/lib/ollama/cuda_v13/libcudart.so.13 -> libcudart.so.13.999
         file /usr/local/lib/ollama/cuda_v13/libcublas.so.13 theirs, too
         link /usr/local/lib/ollama/cuda_v13/libcudart.so.12 -> /usr/lib64/vgpu/libcudart.so.12
         file /etc/ld.so.conf include /etc/ld.so.conf.d/*.conf
        ",
    );
    for name in SHIMS {
        text.push_str(&format!("file /usr/lib/x86_64-linux-gnu/vgpu/{name} ours\n"));
    }
    Memory::described(&text).with_systemd()
}

/// The plan of one scope for a machine.
pub fn planned(host: &Memory, scope: Scope) -> Plan {
    let facts = discover::facts(host).unwrap();
    plan(&facts, &Policy { scope, ..Policy::default() }).unwrap()
}

/// Applies one scope, with a verification that finds nothing wrong.
pub fn applied(host: &Memory, scope: Scope) -> Result<(), Error> {
    apply::apply(host, &planned(host, scope), &mut || Ok(())).map(drop)
}
