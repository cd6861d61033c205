//! The language of the `.root` files: that of [`vgpu_install::host::memory::described`], and a
//! line each for what many systems have.
//!
//! ```text
//! merged                          /lib and so on are links into /usr
//! glibc [aarch64]                 ld.so
//! os ID VERSION NAME...           os-release
//! shims DIR [aarch64]             our six libraries in DIR/vgpu
//! driver DIR VERSION              NVIDIA's libcuda and libnvidia-ml with their links
//! bundle DIR MAJOR VERSION        a backend with its own runtime libraries
//! ollama PREFIX                   the program and the directory of its libraries
//! unit PROGRAM                    the unit that Ollama's install script writes
//! cache NAME=PATH ...             /etc/ld.so.cache, in the order of ldconfig
//! driver-root DIR                 as --driver-root DIR
//! memory-only                     too large to be laid out on a disk as well
//! ```

use std::path::PathBuf;

use vgpu_install::facts::SHIMS;
use vgpu_install::host::memory::described::{Line, Thing, lines};

/// A root as its file describes it.
pub struct Root {
    /// The file's name without `.root`.
    pub name: String,
    /// What lies where, in order.
    pub lines: Vec<Line>,
    /// As `--driver-root` names it.
    pub driver_root: Option<PathBuf>,
    /// True if it is too large for a disk.
    pub memory_only: bool,
}

impl Root {
    /// Reads a description. Every system has `/var/lib`, where the installer keeps its state.
    pub fn read(name: &str, text: &str) -> Self {
        let lines = lines("dir /var/lib");
        let mut root = Self { name: name.into(), lines, driver_root: None, memory_only: false };
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["driver-root", dir] => root.driver_root = Some(dir.into()),
                ["memory-only"] => root.memory_only = true,
                ["cache", entries @ ..] => root.lines.push(Line {
                    path: "/etc/ld.so.cache".into(),
                    thing: Thing::File(cache(entries)),
                }),
                words => root.lines.extend(lines_of(words, line)),
            }
        }
        root
    }
}

fn lines_of(words: &[&str], line: &str) -> Vec<Line> {
    let machine = |words: &[&str]| if words.contains(&"aarch64") { "machine=183" } else { "" };
    let text = match words {
        ["merged"] => ["bin", "sbin", "lib", "lib64"]
            .map(|name| format!("dir /usr/{name}\nlink /{name} -> usr/{name}\n"))
            .concat(),
        ["glibc"] => "elf /lib64/ld-linux-x86-64.so.2 soname=ld-linux-x86-64.so.2".into(),
        ["glibc", "aarch64"] => {
            "elf /lib/ld-linux-aarch64.so.1 soname=ld-linux-aarch64.so.1 machine=183".into()
        }
        ["os", id, version, name @ ..] => format!(
            "file /etc/os-release ID={id}\\nVERSION_ID=\"{version}\"\\nPRETTY_NAME=\"{}\"\\n",
            name.join(" ")
        ),
        ["shims", dir, rest @ ..] => (0..)
            .zip(SHIMS)
            .map(|(index, name)| {
                let words = format!("soname={name} note=vgpu build=99990{index} image=2M");
                format!("elf {dir}/vgpu/{name} {words} {}\n", machine(rest))
            })
            .collect(),
        ["driver", dir, version, rest @ ..] => driver(dir, version, machine(rest)),
        ["bundle", dir, major, version, rest @ ..] => bundle(dir, major, version, machine(rest)),
        ["ollama", prefix, rest @ ..] => format!(
            "elf {prefix}/bin/ollama interp=/lib64/ld-linux-x86-64.so.2 needs=libc.so.6 {}
             dir {prefix}/lib/ollama",
            machine(rest)
        ),
        ["unit", program] => format!(
            "file /etc/systemd/system/ollama.service [Unit]\\nDescription=Ollama Service\\n\
             After=network-online.target\\n[Service]\\nExecStart={program} serve\\nUser=ollama\\n\
             Group=ollama\\nRestart=always\\nRestartSec=3\\nEnvironment=\"PATH=/usr/bin:/bin\"\\n\
             [Install]\\nWantedBy=default.target\\n"
        ),
        _ => line.to_owned(),
    };
    lines(&text)
}

fn driver(dir: &str, version: &str, machine: &str) -> String {
    let one = |name: &str, image: &str| {
        let build = version.replace('.', "");
        // A build id has whole bytes.
        let build = format!("{}{build}", if build.len() % 2 == 1 { "0" } else { "" });
        format!(
            "elf {dir}/{name}.{version} soname={name}.1 needs=libm.so.6,libdl.so.2,libc.so.6 \
             build={build} image={image} {machine}
             link {dir}/{name}.1 -> {name}.{version}
             link {dir}/{name} -> {name}.1\n"
        )
    };
    one("libcuda.so", "30M") + &one("libnvidia-ml.so", "2M")
}

fn bundle(dir: &str, major: &str, version: &str, machine: &str) -> String {
    let mut text = format!(
        "elf {dir}/libggml-cuda.so needs=libggml-base.so,libcudart.so.{major},\
         libcublas.so.{major},libcuda.so.1,libc.so.6 runpath=$ORIGIN image=1M {machine}\n"
    );
    for name in ["libcudart.so", "libcublas.so", "libcublasLt.so"] {
        text.push_str(&format!(
            "elf {dir}/{name}.{version} soname={name}.{major} versions={name}.{major} {machine}
             link {dir}/{name}.{major} -> {name}.{version}\n"
        ));
    }
    text
}

/// A cache in the format of glibc 2.32 and later (`dl-cache.h`): a header of 48 bytes, an entry
/// of 24 for each library, and the strings. What stands before `=` may carry a `32:` for a library
/// of 32-bit x86.
fn cache(entries: &[&str]) -> Vec<u8> {
    const HEADER_BYTES: usize = 48;
    const ENTRY_BYTES: usize = 24;
    let mut strings = Vec::new();
    let mut table = Vec::new();
    for entry in entries {
        let (name, path) = entry.split_once('=').expect("cache NAME=PATH ...");
        let (flags, name) = match name.strip_prefix("32:") {
            Some(name) => (3_u32, name),
            None => (0x303, name),
        };
        let start = HEADER_BYTES + entries.len() * ENTRY_BYTES;
        let mut string = |text: &str| {
            let at = u32::try_from(start + strings.len()).unwrap();
            strings.extend(text.as_bytes());
            strings.push(0);
            at
        };
        for word in [flags, string(name), string(path), 0, 0, 0] {
            table.extend(word.to_le_bytes());
        }
    }
    let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
    bytes.extend(u32::try_from(entries.len()).unwrap().to_le_bytes());
    bytes.extend(u32::try_from(strings.len()).unwrap().to_le_bytes());
    // 2: little-endian.
    bytes.push(2);
    bytes.resize(HEADER_BYTES, 0);
    bytes.extend(table);
    bytes.extend(strings);
    bytes
}
