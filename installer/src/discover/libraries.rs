//! Finds the copies of the libraries that ours stand in for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use vgpu_loader::{Binary, Cache};

use super::{default_dirs, lossy};
use crate::error::Result;
use crate::facts::{Asked, Copy, Elf, Kind, Platform, Shims};
use crate::host::{Host, Opened};
use crate::location::{Location, hex};

/// Owner of the note that all our libraries carry (`shims/guest/src/mark.rs`).
const MARK: &[u8] = b"vgpu";

/// Finds every copy.
pub fn all(
    host: &dyn Host,
    platform: &Platform,
    shims: &Shims,
    cache: &Cache,
) -> Result<Vec<Copy>> {
    let mut found: Vec<Copy> = Vec::new();
    for soname in ["libcuda.so.1", "libnvidia-ml.so.1"] {
        let cached = cache.entries().iter().filter(|entry| entry.name == soname.as_bytes());
        let cached = cached.map(|entry| (PathBuf::from(OsStr::from_bytes(&entry.path)), true));
        let mut paths: Vec<(PathBuf, bool)> = cached.collect();
        paths.extend(default_dirs(platform).iter().map(|dir| (dir.join(soname), false)));
        let mut first = true;
        for (path, cached) in paths {
            let Some(file) = host.canonical(&path)? else { continue };
            let Some(opened) = host.open(&file)? else { continue };
            if let Some(known) = found.iter_mut().find(|known| known.identity == opened.identity) {
                known.aliases.push(path.into());
                continue;
            }
            let asked = match (first, cached) {
                (false, _) => Asked::Later,
                (true, true) => Asked::Cache,
                (true, false) => Asked::DefaultDir,
            };
            first = false;
            found.push(copy(path, file, &opened, shims, asked));
        }
    }
    Ok(found)
}

fn copy(path: PathBuf, file: PathBuf, opened: &Opened, shims: &Shims, asked: Asked) -> Copy {
    let binary = Binary::read(opened.source.as_ref()).ok();
    let elf = binary.as_ref().map(|binary| Elf { class: 64, machine: binary.machine });
    let marked =
        binary.as_ref().is_some_and(|binary| binary.note_owners.iter().any(|owner| owner == MARK));
    let ours = marked || (elf.is_none() && file.starts_with(&shims.dir));
    let binary = binary.unwrap_or_default();
    let soname = binary.soname.map(|name| lossy(&name));
    let base = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Copy {
        name: soname.clone().or(base).unwrap_or_default(),
        links: if path == file { Vec::new() } else { vec![path.clone().into()] },
        path: path.into(),
        version: version(&file),
        kind: if ours { Kind::Ours } else { Kind::Driver },
        file: file.into(),
        aliases: Vec::<Location>::new(),
        identity: opened.identity,
        soname,
        build_id: binary.build_id.map(|id| hex(&id)),
        elf,
        owner: None,
        ours,
        asked: Some(asked),
    }
}

/// The version in a file's name: what follows `.so.`, if it is more than the SONAME's number.
fn version(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let version = name.split_once(".so.")?.1;
    version.contains('.').then(|| version.to_owned())
}
