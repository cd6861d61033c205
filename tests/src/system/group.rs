use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Error, Result, error::at};

/// Is a control group of this machine for one container alone.
///
/// systemd-nspawn puts a container below the group that it was started in itself. Two containers
/// in one would share the groups of their services, and with them device rules and kills.
#[derive(Debug)]
pub(super) struct Group(PathBuf);

impl Group {
    /// Makes an empty group below the one of this process.
    pub(super) fn new(name: &str) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).map_err(at("reading", path));
        let mounts = read("/proc/self/mountinfo")?;
        let groups = read("/proc/self/cgroup")?;
        let below = below(&mounts, &groups).ok_or_else(|| Error::Missing {
            what: "a mount of cgroup2".to_owned(),
            place: "/proc/self/mountinfo".to_owned(),
            output: mounts.clone(),
        })?;
        let path = below.join(name);
        fs::create_dir(&path).map_err(at("creating", &path))?;
        Ok(Self(path))
    }

    /// Is the file that takes the numbers of the processes to be in the group.
    pub(super) fn members(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            eprintln!("removing {}: {error}", self.0.display());
        }
    }
}

/// Finds the directory of this process's own group, from what the kernel says of mounts (proc(5))
/// and of the process's groups (cgroups(7)).
fn below(mounts: &str, groups: &str) -> Option<PathBuf> {
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(mount.split(' ').nth(4)?).join(own))
}

/// Removes a group and those below it; their files go with them.
fn remove(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processs_own_group_is_found_on_one_hierarchy_and_beside_older_ones() {
        let mount = |at: &str| format!("30 24 0:26 / {at} rw,nosuid - cgroup2 cgroup2 rw\n");
        let older = "31 24 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let one = below(&mount("/sys/fs/cgroup"), "0::/user.slice/session-1.scope\n");
        assert_eq!(one, Some("/sys/fs/cgroup/user.slice/session-1.scope".into()));
        let beside = older.to_owned() + &mount("/sys/fs/cgroup/unified");
        let found = below(&beside, "8:pids:/job\n0::/\n");
        assert_eq!(found, Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(below(older, "8:pids:/job\n"), None);
    }
}
