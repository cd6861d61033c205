//! Checks of what ld.so gives to the service.

mod cache;
mod inventory;
mod preload;
mod running;
mod secure;
mod symbols;
mod winner;

use super::{Check, Scene};
use crate::error::Result;
use crate::facts::{Copy, Kind};
use crate::location::hex;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "loader.winner",
        establishes: "ld.so gives our file for each name that Ollama's runner asks for",
        rows: &[
            "F01", "F02", "F21", "F28", "F75", "F82", "U01", "U07", "U33", "U34", "U40", "P09",
            "P41",
        ],
        run: winner::check,
    },
    Check {
        id: "loader.inventory",
        establishes: "no copy of a library lies where it can be taken for another",
        rows: &["F22", "U35", "P02", "P03", "P52"],
        run: inventory::check,
    },
    Check {
        id: "loader.cache",
        establishes: "ld.so.cache says what lies in the directories",
        rows: &["P01", "P05", "P06", "P12", "P13", "P40"],
        run: cache::check,
    },
    Check {
        id: "loader.symbols",
        establishes: "our files have every symbol that the backends want, under its version node",
        rows: &["F23", "F24", "F25", "F26", "F27", "U12", "U22"],
        run: symbols::check,
    },
    Check {
        id: "loader.rpath",
        establishes: "no RPATH outranks the service's environment",
        rows: &["P07"],
        run: secure::rpath,
    },
    Check {
        id: "loader.preload",
        establishes: "LD_PRELOAD names our files by their paths, and reaches the runners",
        rows: &["F04", "F08", "F09", "P43"],
        run: preload::check,
    },
    Check {
        id: "loader.secure",
        establishes: "Ollama's programs take LD_LIBRARY_PATH and LD_PRELOAD from the environment",
        rows: &["F30", "P10", "P11"],
        run: secure::check,
    },
    Check {
        id: "loader.dup",
        establishes: "no process has two files for one library",
        rows: &["F11", "F12", "P08"],
        run: running::duplicates,
    },
];

/// A file of a machine, told by what it is and not by its name.
struct Told {
    /// What it is for.
    kind: Kind,
    /// The file in words: device, inode, SONAME, build id, kind.
    words: String,
    /// The name it gives itself.
    soname: Option<String>,
}

/// Tells what the file at a path is; none if there is none.
fn told(scene: &Scene<'_>, path: &std::path::Path) -> Result<Option<Told>> {
    let Some(file) = scene.host.open(path)? else { return Ok(None) };
    let binary = vgpu_loader::Binary::read(file.source.as_ref()).unwrap_or_default();
    let id = binary.build_id.map(|id| hex(&id));
    let soname = binary.soname.map(|name| String::from_utf8_lossy(&name).into_owned());
    let known = |copy: &&Copy| copy.identity == file.identity;
    let mut kind = scene.facts.libraries.iter().find(known).map_or(Kind::Unknown, |copy| copy.kind);
    for shim in crate::facts::SHIMS {
        let ours = scene.host.open(&scene.facts.shims.dir.join(shim))?;
        if ours.is_some_and(|ours| ours.identity == file.identity) {
            kind = Kind::Ours;
        }
    }
    let (dev, inode) = file.identity;
    let name = soname.as_deref().unwrap_or("none");
    let id = id.as_deref().unwrap_or("none");
    let words = format!("({dev:x}:{inode}), SONAME {name}, build id {id}, {}", kind.word());
    Ok(Some(Told { kind, words, soname }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::host::memory::Memory;

    const SHIMS: &str = "/usr/lib/x86_64-linux-gnu/vgpu";
    const BUNDLE: &str = "/usr/local/lib/ollama/cuda_v13";

    /// A library of no content under this name, linked by the system's compiler.
    pub(super) fn library(name: &str, source: &str, arguments: &[&str]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path(), name, source, &[&["-shared"], arguments].concat())
    }

    /// Runs the compiler; the result is the content of the file `name`.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test makes real files for a machine in memory"
    )]
    pub(super) fn build(dir: &Path, name: &str, source: &str, arguments: &[&str]) -> Vec<u8> {
        std::fs::write(dir.join("a.c"), source).unwrap();
        let mut command = std::process::Command::new("gcc");
        command.current_dir(dir).args(["-nostdlib", "-Wl,--no-as-needed", "-o", name, "a.c"]);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(dir.join(name)).unwrap()
    }

    /// A machine with a runner and a backend that ld.so would load, our drop-in, and our files.
    pub(super) fn machine(backend: &[u8], shims: &[(&str, &[u8])]) -> Memory {
        let drop_in = format!(
            "[Service]\nEnvironment=LD_LIBRARY_PATH={SHIMS}\n\
             Environment=LD_PRELOAD={SHIMS}/libcudart.so.13\n"
        );
        let machine = Memory::described(
            "dir /var/lib
             file /lib64/ld-linux-x86-64.so.2 elf
             file /etc/systemd/system/ollama.service [Service]\\nExecStart=/usr/local/bin/ollama",
        );
        machine.place_file(
            Path::new("/etc/systemd/system/ollama.service.d/50-vgpu.conf"),
            drop_in.as_bytes(),
        );
        let dir = tempfile::tempdir().unwrap();
        let program = build(
            dir.path(),
            "p",
            "void _start(void) {}",
            &["-pie", "-fPIE", "-Wl,-dynamic-linker,/lib64/ld-linux-x86-64.so.2"],
        );
        for path in ["/usr/local/bin/ollama", "/usr/local/lib/ollama/llama-server"] {
            machine.place_file(Path::new(path), &program);
        }
        machine.place_file(&Path::new(BUNDLE).join("libggml-cuda.so"), backend);
        for (name, content) in shims {
            machine.place_file(&Path::new(SHIMS).join(name), content);
        }
        machine
    }
}
