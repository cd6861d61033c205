use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{Result, error::at};

/// Leaves a path, and what is below it, out of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Except {
    /// The path from the root, without the leading slash.
    pub path: &'static str,
    /// Why a difference there says nothing about us.
    pub because: &'static str,
}

/// Is everything that a directory tree shows of itself: content, kind, mode, owner, time of
/// modification in nanoseconds, link text and extended attributes (access lists among them).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    content: Content,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Directory,
    File([u8; 32]),
    Link(PathBuf),
    Other(u64),
}

/// Says how one path differs between two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is only in the second.
    Added(PathBuf),
    /// It is only in the first.
    Removed(PathBuf),
    /// It is in both, with a difference in the named properties.
    Changed(PathBuf, String),
}

impl std::fmt::Display for Change {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Added(path) => write!(out, "+ /{}", path.display()),
            Self::Removed(path) => write!(out, "- /{}", path.display()),
            Self::Changed(path, what) => write!(out, "~ /{} ({what})", path.display()),
        }
    }
}

impl Tree {
    /// Reads the tree below `root`, without the exceptions.
    ///
    /// # Errors
    /// If something cannot be read; a file that disappears meanwhile is an error too.
    pub fn read(root: &Path, exceptions: &[Except]) -> Result<Self> {
        let mut entries = BTreeMap::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(path) = waiting.pop() {
            let full = root.join(&path);
            let entry = Entry::read(&full).map_err(at("reading", &full))?;
            if entry.content == Content::Directory {
                for child in fs::read_dir(&full).map_err(at("listing", &full))? {
                    let child = path.join(child.map_err(at("listing", &full))?.file_name());
                    if exceptions.iter().all(|except| child != Path::new(except.path)) {
                        waiting.push(child);
                    }
                }
            }
            entries.insert(path, entry);
        }
        Ok(Self(entries))
    }

    /// Is the same tree with the times of its directories forgotten.
    pub fn without_directory_times(mut self) -> Self {
        for entry in self.0.values_mut().filter(|entry| entry.content == Content::Directory) {
            entry.modified = (0, 0);
        }
        self
    }

    /// Is the same tree with all times forgotten, to compare it with that of another machine.
    pub fn without_times(mut self) -> Self {
        self.0.values_mut().for_each(|entry| entry.modified = (0, 0));
        self
    }

    /// Is one number for the whole tree, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (path, entry) in &self.0 {
            hash.update(path.as_os_str().as_bytes());
            hash.update(format!("\0{entry:?}\0"));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Is the number of paths.
    pub fn paths(&self) -> usize {
        self.0.len()
    }

    /// Lists what is different in `later`, sorted by path.
    pub fn changes(&self, later: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (path, entry) in &self.0 {
            match later.0.get(path) {
                None => changes.push((path, Change::Removed(path.clone()))),
                Some(other) if other != entry => {
                    let what = entry.differences(other).join(", ");
                    changes.push((path, Change::Changed(path.clone(), what)));
                }
                Some(_) => {}
            }
        }
        let added = later.0.keys().filter(|path| !self.0.contains_key(*path));
        changes.extend(added.map(|path| (path, Change::Added(path.clone()))));
        changes.sort_by_key(|(path, _)| *path);
        changes.into_iter().map(|(_, change)| change).collect()
    }
}

impl Entry {
    fn read(path: &Path) -> io::Result<Self> {
        let data = fs::symlink_metadata(path)?;
        let kind = data.file_type();
        let content = if kind.is_dir() {
            Content::Directory
        } else if kind.is_file() {
            Content::File(hash(path)?)
        } else if kind.is_symlink() {
            Content::Link(fs::read_link(path)?)
        } else {
            Content::Other(data.rdev())
        };
        Ok(Self {
            mode: data.mode(),
            owner: (data.uid(), data.gid()),
            modified: (data.mtime(), data.mtime_nsec()),
            content,
            attributes: attributes(path)?,
        })
    }

    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let mut found = Vec::new();
        for (differs, name) in [
            (self.content != other.content, "content"),
            (self.mode != other.mode, "mode"),
            (self.owner != other.owner, "owner"),
            (self.modified != other.modified, "time"),
            (self.attributes != other.attributes, "attributes"),
        ] {
            if differs {
                found.push(name);
            }
        }
        found
    }
}

fn hash(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(&buffer[..length]),
        }
    }
}

fn attributes(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // 64 KiB is Linux's limit for the list and for one value (xattr(7)).
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, names.as_mut_slice())?;
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice())?;
        value.truncate(length);
        found.push((name.to_owned(), value));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::Permissions, os::unix::fs::PermissionsExt, os::unix::fs::symlink};

    fn sample() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        fs::write(directory.path().join("d/file"), "text").unwrap();
        fs::write(directory.path().join("log"), "noise").unwrap();
        symlink("d/file", directory.path().join("link")).unwrap();
        directory
    }

    #[test]
    fn every_property_of_a_path_changes_the_digest() {
        type Act = fn(&Path);
        let acts: [(&str, Act); 5] = [
            ("~ /d/file (content, time)", |root| fs::write(root.join("d/file"), "other").unwrap()),
            ("~ /d/file (mode)", |root| {
                fs::set_permissions(root.join("d/file"), Permissions::from_mode(0o600)).unwrap();
            }),
            ("~ /link (content, time)", |root| {
                fs::remove_file(root.join("link")).unwrap();
                symlink("d", root.join("link")).unwrap();
            }),
            ("+ /d/new", |root| fs::write(root.join("d/new"), "").unwrap()),
            ("- /d/file", |root| fs::remove_file(root.join("d/file")).unwrap()),
        ];
        for (expected, act) in acts {
            let directory = sample();
            let before = Tree::read(directory.path(), &[]).unwrap();
            act(directory.path());
            let after = Tree::read(directory.path(), &[]).unwrap();
            let changes: Vec<_> = before.changes(&after).iter().map(Change::to_string).collect();
            assert!(changes.contains(&expected.to_owned()), "{expected}: {changes:?}");
            assert_ne!(before.digest(), after.digest());
        }
    }

    #[test]
    fn an_excepted_path_is_not_looked_at() {
        let directory = sample();
        let log = [Except { path: "log", because: "it grows" }];
        let before = Tree::read(directory.path(), &log).unwrap();
        fs::write(directory.path().join("log"), "more").unwrap();
        assert_eq!(before, Tree::read(directory.path(), &log).unwrap());
    }
}
