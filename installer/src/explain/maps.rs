//! What a process has mapped (proc(5), `/proc/PID/maps`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use vgpu_loader::Binary;

use crate::error::Result;
use crate::host::Host;

/// One mapped file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapped {
    /// Device and inode, as the kernel counts them.
    identity: (u64, u64),
    /// Its path, as the kernel names it.
    pub(super) path: PathBuf,
}

/// Every file that a process has mapped, once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Maps(Vec<Mapped>);

impl Mapped {
    /// True if this is the file with that device and inode. Overlay and Btrfs count devices
    /// otherwise in maps than in stat(2): there the inode and the file name decide.
    pub(super) fn is(&self, identity: (u64, u64), file: &Path) -> bool {
        let same_name = self.path.file_name() == file.file_name();
        self.identity == identity || (self.identity.1 == identity.1 && same_name)
    }
}

impl Maps {
    /// Reads the lines; those without a file, or of another form, are left out.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut found: Vec<Mapped> = Vec::new();
        for line in text.split(|byte| *byte == b'\n') {
            if let Some(mapped) = one(line).filter(|mapped| !found.contains(mapped)) {
                found.push(mapped);
            }
        }
        Self(found)
    }

    /// The same files with their paths as somebody else sees them, where they are to be seen.
    pub(super) fn seen(mut self, by: impl Fn(&Path) -> Option<PathBuf>) -> Self {
        for mapped in &mut self.0 {
            if let Some(path) = by(&mapped.path) {
                mapped.path = path;
            }
        }
        self
    }

    /// The mapped files that answer to a name: by their file name, or by the one they give
    /// themselves.
    pub(super) fn named(&self, host: &dyn Host, name: &[u8]) -> Result<Vec<Mapped>> {
        let mut named = Vec::new();
        for mapped in &self.0 {
            let is_path = name.contains(&b'/');
            let text = mapped.path.as_os_str().as_bytes();
            let file = mapped.path.file_name().map(OsStr::as_bytes);
            let by_name = if is_path { text == name } else { file == Some(name) };
            if by_name || (!is_path && soname(host, &mapped.path)?.as_deref() == Some(name)) {
                named.push(mapped.clone());
            }
        }
        Ok(named)
    }
}

fn soname(host: &dyn Host, path: &Path) -> Result<Option<Vec<u8>>> {
    let Some(opened) = host.open(path)? else { return Ok(None) };
    Ok(Binary::read(opened.source.as_ref()).ok().and_then(|binary| binary.soname))
}

/// Reads `address perms offset major:minor inode path`, with as many spaces as it likes.
fn one(line: &[u8]) -> Option<Mapped> {
    let mut rest = line;
    let mut fields = Vec::with_capacity(5);
    for _ in 0..5 {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| *byte == b' ')?;
        fields.push(std::str::from_utf8(&rest[..end]).ok()?);
        rest = &rest[end..];
    }
    let path = rest.trim_ascii_start();
    let (major, minor) = fields[3].split_once(':')?;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let device = device(number(major)?, number(minor)?);
    let identity = (device, fields[4].parse().ok()?);
    let is_file = path.starts_with(b"/") && identity.1 != 0;
    is_file.then(|| Mapped { identity, path: PathBuf::from(OsStr::from_bytes(path)) })
}

/// The number of a device as stat(2) gives it, from its two parts (makedev(3)).
fn device(major: u32, minor: u32) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12 | minor & 0xff
}
