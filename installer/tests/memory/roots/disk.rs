//! A described root on a real file system.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use vgpu_install::host::memory::described::{Line, Thing};
use vgpu_install::object::digest;

/// Lays a root out below a directory. As in memory, the way to a thing may lead over links.
pub fn lay(root: &Path, lines: &[Line]) {
    let root = &root.canonicalize().unwrap();
    for line in lines {
        let path = below(root, &line.path);
        let parent = path.parent().unwrap();
        std::fs::create_dir_all(parent).unwrap();
        // A link with an absolute text would lead to the directories of this machine.
        assert!(parent.canonicalize().unwrap().starts_with(root), "{}", path.display());
        match &line.thing {
            Thing::Dir => std::fs::create_dir_all(&path).unwrap(),
            Thing::File(content) => std::fs::write(&path, content).unwrap(),
            Thing::Link(target) => symlink(target, &path).unwrap(),
            Thing::Hard(other) => std::fs::hard_link(below(root, other), &path).unwrap(),
            Thing::Fifo => {
                mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
            }
            Thing::Mode(mode) => {
                std::fs::set_permissions(&path, PermissionsExt::from_mode(*mode)).unwrap();
            }
        }
    }
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap())
}

/// Every path with kind, mode, owner, time, text of a link and digest of a content.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let mut text = format!(
            "{:o} {}:{} {}.{}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        if meta.is_symlink() {
            text.push_str(&format!(" -> {:?}", std::fs::read_link(&path).unwrap()));
        } else if meta.is_file() {
            text.push_str(&format!(" {}", digest(&std::fs::read(&path).unwrap())));
        } else if meta.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path.strip_prefix(root).unwrap().to_path_buf(), text);
    }
    found
}

/// The paths at which two trees differ, with both texts.
pub fn difference(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> String {
    let paths = before.keys().chain(after.keys()).collect::<std::collections::BTreeSet<_>>();
    let nothing = String::from("nothing");
    let mut out = String::new();
    for path in paths {
        let text = |tree: &BTreeMap<PathBuf, String>| tree.get(path).unwrap_or(&nothing).clone();
        let (old, new) = (text(before), text(after));
        if old != new {
            out.push_str(&format!("{}: {old}, now {new}\n", path.display()));
        }
    }
    out
}
