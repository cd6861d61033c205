//! Finds out what kind of system lies below the root.

use std::ffi::OsString;
use std::path::Path;

use super::{is_dir, text};
use crate::error::Result;
use crate::facts::{Init, Libc, Platform};
use crate::host::Host;
use crate::unit_file::words;

/// The machines that Ollama ships CUDA backends for, with Debian's name for their directories.
const ARCHES: [(&str, &str, &str); 2] = [
    ("x86_64", "x86_64-linux-gnu", "/lib64/ld-linux-x86-64.so.2"),
    ("aarch64", "aarch64-linux-gnu", "/lib/ld-linux-aarch64.so.1"),
];
/// Where systemd's own program lies.
const SYSTEMD: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
/// Where OpenRC's own program lies.
const OPENRC: [&str; 3] = ["/sbin/openrc", "/usr/sbin/openrc", "/usr/bin/openrc"];
/// Where the first process is looked for when no other name is given (kernel, `init/main.c`).
const INITS: [&str; 3] = ["/sbin/init", "/etc/init", "/bin/init"];

/// Looks at the system as a whole.
pub fn platform(host: &dyn Host) -> Result<Platform> {
    let mut platform = Platform { systemd: host.has_systemd(), ..release(host)? };
    machine(host, &mut platform)?;
    platform.wsl = is_wsl(host)?;
    platform.container = container(host)?;
    platform.init = init(host, &platform)?;
    platform.store =
        if is_dir(host, Path::new("/nix/store"))? { Some("/nix/store".into()) } else { None };
    let ostree = ["/run/ostree-booted", "/sysroot/ostree", "/ostree"];
    platform.immutable =
        any(host, &ostree)? || (platform.store.is_some() && any(host, &["/etc/NIXOS"])?);
    Ok(platform)
}

/// Reads os-release(5): assignments as a shell would read them.
fn release(host: &dyn Host) -> Result<Platform> {
    let mut content = text(host, Path::new("/etc/os-release"))?;
    if content.is_empty() {
        content = text(host, Path::new("/usr/lib/os-release"))?;
    }
    let mut platform = Platform::default();
    for line in content.lines() {
        let Some((name, value)) = line.trim().split_once('=') else { continue };
        let value = words(value).join(" ");
        match name {
            "PRETTY_NAME" => platform.os = value,
            "ID" => platform.id = value,
            "ID_LIKE" => {
                platform.id_like = value.split_whitespace().map(str::to_owned).collect();
            }
            "VERSION_ID" => platform.version_id = value,
            _ => {}
        }
    }
    Ok(platform)
}

/// Finds the processor, the C library and the directory of the system's libraries.
fn machine(host: &dyn Host, platform: &mut Platform) -> Result<()> {
    for (arch, triplet, interpreter) in ARCHES {
        let multiarch = Path::new("/usr/lib").join(triplet);
        let plain = Path::new("/usr/lib64");
        let has = |dir: &Path| is_dir(host, dir);
        let ours = [multiarch.join("vgpu"), plain.join("vgpu")];
        let glibc = host.open(Path::new(interpreter))?.is_some();
        if !(glibc || has(&ours[0])? || has(&multiarch)? || has(&ours[1])?) {
            continue;
        }
        platform.arch = arch.into();
        platform.libc = if glibc { Libc::Glibc } else { Libc::Unknown };
        let debian = has(&ours[0])? || (has(&multiarch)? && !has(&ours[1])?);
        platform.library_dir = if debian { multiarch.into() } else { plain.into() };
        break;
    }
    let is_musl = |name: &OsString| name.to_string_lossy().starts_with("ld-musl-");
    if platform.libc == Libc::Unknown && host.list(Path::new("/lib"))?.iter().any(is_musl) {
        platform.libc = Libc::Musl;
    }
    Ok(())
}

/// Windows mounts its driver below `/usr/lib/wsl`, and registers itself as an interpreter.
fn is_wsl(host: &dyn Host) -> Result<bool> {
    if any(host, &["/proc/sys/fs/binfmt_misc/WSLInterop", "/run/WSL"])? {
        return Ok(true);
    }
    is_dir(host, Path::new("/usr/lib/wsl/lib"))
}

/// The manager of containers that this system runs below, by what it leaves for that purpose
/// (systemd's Container Interface; Docker and Podman have files of their own).
fn container(host: &dyn Host) -> Result<Option<String>> {
    for path in ["/run/host/container-manager", "/run/systemd/container"] {
        let name = text(host, Path::new(path))?.trim().to_owned();
        if !name.is_empty() {
            return Ok(Some(name));
        }
    }
    for (path, name) in [("/run/.containerenv", "podman"), ("/.dockerenv", "docker")] {
        if any(host, &[path])? {
            return Ok(Some(name.into()));
        }
    }
    Ok(None)
}

fn init(host: &dyn Host, platform: &Platform) -> Result<Init> {
    if platform.systemd {
        return Ok(Init::Systemd);
    }
    if host.is_running() && any(host, &["/run/openrc/softlevel"])? {
        return Ok(Init::Openrc);
    }
    // Of a running machine it is known that systemd is not its first process.
    if !host.is_running() && any(host, &SYSTEMD)? {
        return Ok(Init::Systemd);
    }
    if !host.is_running() && any(host, &OPENRC)? {
        return Ok(Init::Openrc);
    }
    if platform.container.is_some() || !any(host, &INITS)? {
        return Ok(Init::None);
    }
    Ok(Init::Unknown)
}

/// True if something lies at one of the paths.
fn any(host: &dyn Host, paths: &[&str]) -> Result<bool> {
    for path in paths {
        if host.canonical(Path::new(path))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
