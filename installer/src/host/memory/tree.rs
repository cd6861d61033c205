//! The tree of a machine in memory: inodes, names, and the way along links.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::Memory;

/// The root directory's inode.
const ROOT: usize = 0;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Dir(BTreeMap<OsString, usize>),
    File(Vec<u8>),
    Link(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) mtime: i64,
    pub(super) marks: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) live: Inode,
    pub(super) durable: Option<Inode>,
}

impl Memory {
    /// Makes a machine from lines of text: `dir /a`, `link /a/b -> c`, `file /a/d content`.
    /// Parents are made by themselves; everything is on the disk.
    #[must_use]
    pub fn described(text: &str) -> Self {
        let root = Inode {
            kind: Kind::Dir(BTreeMap::new()),
            mode: 0o755,
            mtime: 1,
            marks: BTreeMap::new(),
        };
        let memory = Self {
            nodes: RefCell::new(vec![Node { live: root, durable: None }]),
            clock: Cell::new(1000),
            steps: Cell::new(0),
            faults: RefCell::new(Vec::new()),
            systemd: false,
            attributes: true,
            commands: RefCell::new(Vec::new()),
            said: Vec::new(),
            answers: Vec::new(),
            running: false,
        };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (path, content) = rest.split_once(' ').unwrap_or((rest, ""));
            let kind = match kind {
                "dir" => Kind::Dir(BTreeMap::new()),
                "link" => Kind::Link(content.trim_start_matches("-> ").into()),
                "file" => Kind::File(content.replace("\\n", "\n").into_bytes()),
                other => panic!("a machine is described by dir, link and file, not {other:?}"),
            };
            memory.place(Path::new(path), kind);
        }
        memory.settle();
        memory
    }

    /// Writes the whole tree as text, with modes, times and marks: equal text, equal machine.
    #[must_use]
    pub fn tree(&self) -> String {
        let mut out = String::new();
        self.write_tree(ROOT, Path::new("/"), &mut out);
        out
    }

    fn write_tree(&self, id: usize, path: &Path, out: &mut String) {
        let inode = self.nodes.borrow()[id].live.clone();
        let head = format!("{} {:o} {} {:?}", path.display(), inode.mode, inode.mtime, inode.marks);
        match inode.kind {
            Kind::Dir(entries) => {
                out.push_str(&format!("dir {head}\n"));
                for (name, child) in entries {
                    self.write_tree(child, &path.join(name), out);
                }
            }
            Kind::File(content) => {
                out.push_str(&format!(
                    "file {head} {}\n",
                    String::from_utf8_lossy(&content).escape_debug()
                ));
            }
            Kind::Link(target) => out.push_str(&format!("link {head} {}\n", target.display())),
        }
    }

    pub(super) fn settle(&self) {
        for node in self.nodes.borrow_mut().iter_mut() {
            node.durable = Some(node.live.clone());
        }
    }

    pub(super) fn place(&self, path: &Path, kind: Kind) {
        let mut dir = ROOT;
        let names: Vec<&OsStr> = path.iter().skip(1).collect();
        for (index, name) in names.iter().enumerate() {
            let known = self.child(dir, name);
            let last = index + 1 == names.len();
            dir = match known {
                Some(id) if !last => id,
                Some(id) => {
                    self.nodes.borrow_mut()[id].live.kind = kind.clone();
                    id
                }
                None if last => self.add(dir, name, kind.clone(), 0o644),
                None => self.add(dir, name, Kind::Dir(BTreeMap::new()), 0o755),
            };
        }
    }

    pub(super) fn add(&self, dir: usize, name: &OsStr, kind: Kind, mode: u32) -> usize {
        let mode = match kind {
            Kind::Dir(_) if mode == 0o644 => 0o755,
            Kind::Link(_) => 0o777,
            _ => mode,
        };
        let live = Inode { kind, mode, mtime: self.tick(), marks: BTreeMap::new() };
        let id = self.nodes.borrow().len();
        self.nodes.borrow_mut().push(Node { live, durable: None });
        self.change_entries(dir, |entries| {
            entries.insert(name.to_owned(), id);
        });
        id
    }

    pub(super) fn tick(&self) -> i64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    pub(super) fn change_entries(
        &self,
        dir: usize,
        change: impl FnOnce(&mut BTreeMap<OsString, usize>),
    ) {
        let now = self.tick();
        let live = &mut self.nodes.borrow_mut()[dir].live;
        if let Kind::Dir(entries) = &mut live.kind {
            change(entries);
        }
        live.mtime = now;
    }

    pub(super) fn child(&self, dir: usize, name: &OsStr) -> Option<usize> {
        match &self.nodes.borrow()[dir].live.kind {
            Kind::Dir(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    /// Walks a path; the last part is followed only if `follow` says so.
    pub(super) fn walk(&self, path: &Path, follow: bool) -> Option<(usize, PathBuf)> {
        let mut done = PathBuf::from("/");
        let mut ids = vec![ROOT];
        let mut left: Vec<PathBuf> =
            path.components().rev().map(|p| PathBuf::from(p.as_os_str())).collect();
        for _ in 0..1000 {
            let Some(part) = left.pop() else { return Some((*ids.last()?, done)) };
            match part.components().next()? {
                Component::RootDir => {
                    done = PathBuf::from("/");
                    ids.truncate(1);
                }
                Component::ParentDir => {
                    done.pop();
                    ids.truncate(ids.len().saturating_sub(1).max(1));
                }
                Component::Normal(name) => {
                    let id = self.child(*ids.last()?, name)?;
                    let kind = self.nodes.borrow()[id].live.kind.clone();
                    match kind {
                        Kind::Link(target) if follow || !left.is_empty() => {
                            left.extend(
                                target.components().rev().map(|p| PathBuf::from(p.as_os_str())),
                            );
                        }
                        _ => {
                            done.push(name);
                            ids.push(id);
                        }
                    }
                }
                _ => {}
            }
        }
        None
    }
}
