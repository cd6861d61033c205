//! Finds who answers to the name `nvidia-smi`.

use std::path::Path;

use crate::error::Result;
use crate::facts::{NVIDIA_SMI, SMI, Smi};
use crate::host::Host;

/// Where shells and services look for programs (Debian's and Fedora's default PATH, snap's
/// directory, and the one that WSL mounts).
const PATH: [&str; 7] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/snap/bin"];
const WSL: &str = "/usr/lib/wsl/lib";

pub(super) fn smi(host: &dyn Host) -> Result<Smi> {
    let own = Path::new(NVIDIA_SMI).parent().unwrap_or(Path::new("/"));
    let mut smi = Smi {
        program: host.open(Path::new(SMI))?.is_some(),
        link: host.inspect(Path::new(NVIDIA_SMI))?,
        missing_dirs: super::units::missing_dirs(host, own)?,
        others: Vec::new(),
    };
    let mut seen = Vec::new();
    for dir in PATH.into_iter().chain([WSL]) {
        // Two spellings of one directory are one: Fedora's /usr/local/sbin is a link to bin.
        let Some(dir) = host.canonical(Path::new(dir))? else { continue };
        let path = dir.join("nvidia-smi");
        let is_ours = smi.is_linked() && host.canonical(own)?.as_ref() == Some(&dir);
        if !is_ours && !seen.contains(&dir) && host.canonical(&path)?.is_some() {
            smi.others.push(path.into());
        }
        seen.push(dir);
    }
    Ok(smi)
}
