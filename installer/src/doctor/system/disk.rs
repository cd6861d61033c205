//! Room on the file systems that the installer writes to.

use std::path::{Path, PathBuf};

use super::super::{Finding, Scene};
use crate::error::Result;

/// What a run may need: journal and manifest of some kilobytes each, a drop-in, links. Sixteen
/// mebibytes leave a hundred generations of room.
const BYTES_MIN: u64 = 16 << 20;
/// A run makes at most about fifty files and directories.
const INODES_MIN: u64 = 64;
/// State, drop-ins and lock: where a run writes, or the nearest directory that exists.
const PLACES: [&str; 3] = ["/var/lib/vgpu", "/etc/systemd/system", "/run/vgpu"];

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut fine = Vec::new();
    for place in PLACES {
        let Some((dir, space)) = nearest(scene, Path::new(place))? else { continue };
        let inodes = space.inodes.map_or("no limit of".into(), |count| count.to_string());
        let mib = space.bytes >> 20;
        let line = format!("{}: {mib} MiB free, {inodes} files free", dir.display());
        if space.read_only {
            let cause = format!("{place} lies on a file system that is mounted read-only");
            let remedy = format!("mount -o remount,rw $(findmnt -no TARGET -T {})", dir.display());
            findings.push(Finding::fail(&["F47"], cause).saw(line).remedy(remedy));
        } else if space.bytes < BYTES_MIN || space.inodes.is_some_and(|count| count < INODES_MIN) {
            let cause = format!("the file system of {place} has too little room for a change");
            let remedy = format!("free space there; du -x -d 2 {} | sort -n shows who", "/");
            findings.push(Finding::fail(&["F47"], cause).saw(line).remedy(remedy));
        } else {
            fine.push(line);
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("there is room where the installer writes").saw_all(fine));
    }
    Ok(findings)
}

/// The directory that would hold the place, with what is left there.
fn nearest(scene: &Scene<'_>, place: &Path) -> Result<Option<(PathBuf, crate::host::Space)>> {
    for dir in place.ancestors() {
        if let Some(space) = scene.host.space(dir)? {
            return Ok(Some((dir.into(), space)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{examine, verdicts};

    #[test]
    fn a_full_file_system_is_named_with_what_is_left() {
        let found = examine("system.disk", "file /var/lib/FULL x\ndir /etc/systemd/system");
        assert_eq!(verdicts(&found), ["fail F47"]);
        assert_eq!(found[0].evidence, ["/var/lib: 0 MiB free, 1 files free"]);
        let found = examine("system.disk", "file /etc/READONLY x\ndir /var/lib");
        assert_eq!(verdicts(&found), ["fail F47"]);
    }

    #[test]
    fn room_everywhere_is_fine() {
        let found = examine("system.disk", "dir /var/lib\ndir /etc/systemd/system");
        assert_eq!(verdicts(&found), ["ok"]);
        assert_eq!(found[0].evidence.len(), 3);
    }
}
