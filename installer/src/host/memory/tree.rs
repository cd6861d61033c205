//! The tree of a machine in memory: inodes, names, and the way along links.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::Memory;
use super::described::{Line, Thing, lines};

/// The root directory's inode.
const ROOT: usize = 0;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Dir(BTreeMap<OsString, usize>),
    File(Vec<u8>),
    Link(PathBuf),
    Fifo,
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
    /// Makes a machine from lines of text, see [`super::described`]; everything is on the disk.
    #[must_use]
    pub fn described(text: &str) -> Self {
        Self::of(lines(text))
    }

    /// Makes a machine of the lines of a description.
    ///
    /// # Panics
    /// Where a line speaks of a path that is not there yet.
    #[must_use]
    pub fn of(lines: Vec<Line>) -> Self {
        let root = Inode {
            kind: Kind::Dir(BTreeMap::new()),
            mode: 0o755,
            mtime: 1,
            marks: BTreeMap::new(),
        };
        let memory = Self {
            root: ROOT,
            nodes: RefCell::new(vec![Node { live: root, durable: None }]),
            clock: Cell::new(1000),
            steps: Cell::new(0),
            faults: RefCell::new(Vec::new()),
            systemd: false,
            attributes: true,
            exchanges: true,
            commands: RefCell::new(Vec::new()),
            said: Vec::new(),
            answers: Vec::new(),
            running: false,
        };
        for line in lines {
            let path = line.path.as_path();
            match line.thing {
                Thing::Dir if memory.walk(path, true).is_some() => {}
                Thing::Dir => memory.place(path, Kind::Dir(BTreeMap::new())),
                Thing::File(content) => memory.place(path, Kind::File(content)),
                Thing::Link(target) => memory.place(path, Kind::Link(target)),
                Thing::Fifo => memory.place(path, Kind::Fifo),
                Thing::Hard(other) => {
                    let (id, _) = memory.walk(&other, false).expect("hard links what is there");
                    memory.place(path, Kind::Fifo);
                    let (dir, name) = memory.parent("linking", path).expect("its directory");
                    memory.change_entries(dir, |entries| {
                        entries.insert(name.to_owned(), id);
                    });
                }
                Thing::Mode(mode) => {
                    let (id, _) = memory.walk(path, false).expect("mode is for what is there");
                    memory.nodes.borrow_mut()[id].live.mode = mode;
                }
            }
        }
        memory.settle();
        memory
    }

    /// Writes the whole tree as text, with modes, times and marks: equal text, equal machine.
    #[must_use]
    pub fn tree(&self) -> String {
        let mut out = String::new();
        self.write_tree(self.root, Path::new("/"), &mut out);
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
            Kind::Fifo => out.push_str(&format!("fifo {head}\n")),
        }
    }

    pub(super) fn settle(&self) {
        for node in self.nodes.borrow_mut().iter_mut() {
            node.durable = Some(node.live.clone());
        }
    }

    /// Puts a thing at a path; the way there may lead over links, and is made where it ends.
    pub(super) fn place(&self, path: &Path, kind: Kind) {
        let mut dir = self.root;
        let names: Vec<&OsStr> = path.iter().skip(1).collect();
        let mut way = PathBuf::from("/");
        for (index, name) in names.iter().enumerate() {
            way.push(name);
            let last = index + 1 == names.len();
            let known =
                if last { self.child(dir, name) } else { self.walk(&way, true).map(|(id, _)| id) };
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
        let mut ids = vec![self.root];
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
                    // A directory may be huge: only a link's text is taken out.
                    let target = match &self.nodes.borrow()[id].live.kind {
                        Kind::Link(target) => Some(target.clone()),
                        _ => None,
                    };
                    match target {
                        Some(target) if follow || !left.is_empty() => {
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
