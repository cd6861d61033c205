//! A machine in memory that can die at any changing step, or lose its power.
//!
//! Each inode has a live and a durable state. A killed process leaves the live state; a power cut
//! leaves, of everything, only what was synced: the strictest file system that POSIX allows.

pub mod described;
pub mod stand_in;
mod steps;
mod tree;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tree::{Kind, Node};
use vgpu_loader::Source;

use super::{Copied, CopyRun, Guard, Host, Listing, Opened, Outcome, Program, Space, User};
use crate::error::{Error, Result};
use crate::location::{Location, hex};
use crate::object::{Meta, Object, Stamp, digest};

/// What happens when the chosen step comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is gone: this step and all later ones do nothing.
    Dies,
    /// This one step fails with the given error; later ones work.
    Fails(io::ErrorKind),
    /// From this step on, the program is asked to end.
    Asked,
}

/// A machine in memory.
#[derive(Debug)]
pub struct Memory {
    root: usize,
    nodes: RefCell<Vec<Node>>,
    clock: Cell<i64>,
    steps: Cell<u64>,
    faults: RefCell<Vec<(u64, Fault)>>,
    systemd: bool,
    running: bool,
    attributes: bool,
    exchanges: bool,
    commands: RefCell<Vec<String>>,
    said: Vec<String>,
    answers: Vec<(String, Outcome)>,
}

impl Memory {
    /// Puts a file there, as somebody else would.
    pub fn place_file(&self, path: &Path, content: &[u8]) {
        self.place(path, Kind::File(content.to_vec()));
        self.settle();
    }

    /// Says that systemd is the first process, so that programs are run and recorded.
    #[must_use]
    pub fn with_systemd(mut self) -> Self {
        self.systemd = true;
        self
    }

    /// Says what a program answers whose command line holds `part`; the first such part counts.
    #[must_use]
    pub fn answering(mut self, part: &str, outcome: Outcome) -> Self {
        self.answers.push((part.into(), outcome));
        self
    }

    /// Says that this is the running machine, so that programs are asked.
    #[must_use]
    pub fn running(mut self) -> Self {
        self.running = true;
        self
    }

    /// Gives the lines that a program which is watched says.
    #[must_use]
    pub fn saying(mut self, lines: &str) -> Self {
        self.said = lines.lines().map(|line| line.trim().to_owned()).collect();
        self
    }

    /// Takes the file system's user attributes away, as some have none.
    #[must_use]
    pub fn without_attributes(mut self) -> Self {
        self.attributes = false;
        self
    }

    /// Takes the exchange of two names away, as some file systems have none.
    #[must_use]
    pub fn without_exchange(mut self) -> Self {
        self.exchanges = false;
        self
    }

    /// Lists the programs that were run.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.commands.borrow().clone()
    }
}

impl Host for Memory {
    fn inspect(&self, path: &Path) -> Result<Object> {
        let Some((id, _)) = self.walk(path, false) else { return Ok(Object::Absent) };
        let inode = &self.nodes.borrow()[id].live;
        let mtime = Stamp { seconds: inode.mtime, nanoseconds: 0 };
        // As far as anybody asks: a user's own attributes are read one by one.
        let labels = inode.marks.iter().filter(|(name, _)| name.starts_with("security."));
        let xattrs = labels.map(|(name, value)| (name.clone(), hex(value))).collect();
        let meta = Meta { mode: inode.mode, mtime, xattrs, ..Meta::default() };
        Ok(match &inode.kind {
            Kind::Dir(_) => Object::Dir { meta },
            Kind::File(content) => {
                Object::File { meta, bytes: content.len() as u64, sha256: Some(digest(content)) }
            }
            Kind::Link(target) => Object::Link { meta, target: Location::new(target.clone()) },
            Kind::Fifo => Object::Other { meta },
        })
    }

    fn list(&self, dir: &Path) -> Result<Vec<OsString>> {
        let Some((id, _)) = self.walk(dir, true) else { return Ok(Vec::new()) };
        match &self.nodes.borrow()[id].live.kind {
            Kind::Dir(entries) => Ok(entries.keys().cloned().collect()),
            _ => Ok(Vec::new()),
        }
    }

    fn search(
        &self,
        dir: &Path,
        wanted: &dyn Fn(&OsStr) -> bool,
        entries_max: usize,
    ) -> Result<Option<Listing>> {
        let Some((id, _)) = self.walk(dir, true) else { return Ok(None) };
        let Kind::Dir(entries) = &self.nodes.borrow()[id].live.kind else { return Ok(None) };
        let seen = entries.keys().take(entries_max);
        let names = seen.filter(|name| wanted(name)).cloned().collect();
        Ok(Some(Listing { names, whole: entries.len() <= entries_max }))
    }

    fn dir_identity(&self, dir: &Path) -> Result<Option<(u64, u64)>> {
        let Some((id, _)) = self.walk(dir, true) else { return Ok(None) };
        let is_dir = matches!(self.nodes.borrow()[id].live.kind, Kind::Dir(_));
        Ok(is_dir.then_some((1, id as u64)))
    }

    fn below(&self, dir: &Path) -> Result<Option<Box<dyn Host>>> {
        let Some((root, _)) = self.walk(dir, true) else { return Ok(None) };
        let view = Self {
            root,
            nodes: self.nodes.clone(),
            clock: self.clock.clone(),
            attributes: self.attributes,
            ..Self::described("")
        };
        Ok(self.dir_identity(dir)?.is_some().then(|| Box::new(view) as Box<dyn Host>))
    }

    fn seen_from_outside(&self, path: &Path) -> PathBuf {
        path.to_path_buf()
    }

    fn open(&self, path: &Path) -> Result<Option<Opened>> {
        let Some((id, _)) = self.walk(path, true) else { return Ok(None) };
        let Kind::File(content) = self.nodes.borrow()[id].live.kind.clone() else {
            return Ok(None);
        };
        let bytes = content.len() as u64;
        Ok(Some(Opened { identity: (1, id as u64), bytes, source: Box::new(Bytes(content)) }))
    }

    fn canonical(&self, path: &Path) -> Result<Option<PathBuf>> {
        Ok(self.walk(path, true).map(|(_, done)| done))
    }

    /// Plenty, but for what lies below a file `FULL` or `READONLY`, which stand for such mounts.
    fn space(&self, path: &Path) -> Result<Option<Space>> {
        if self.walk(path, true).is_none() {
            return Ok(None);
        }
        let has =
            |name: &str| path.ancestors().any(|dir| self.walk(&dir.join(name), true).is_some());
        let (bytes, inodes) = if has("FULL") { (4096, 1) } else { (1 << 40, 1 << 20) };
        Ok(Some(Space { bytes, inodes: Some(inodes), read_only: has("READONLY") }))
    }

    /// True for what carries a mark `immutable`.
    fn is_immutable(&self, path: &Path) -> Result<bool> {
        Ok(self.attribute(path, "immutable")?.is_some())
    }

    fn attribute(&self, path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
        let Some((id, _)) = self.walk(path, false) else { return Ok(None) };
        Ok(self.nodes.borrow()[id].live.marks.get(name).cloned())
    }

    fn make_dir(&self, path: &Path, mode: u32) -> Result<()> {
        self.add_new("making the directory", path, Kind::Dir(BTreeMap::new()), mode).map(drop)
    }

    fn make_file(&self, path: &Path, content: &[u8], mode: u32) -> Result<()> {
        let id = self.add_new("writing", path, Kind::File(Vec::new()), mode)?;
        self.step("writing", path)?;
        self.nodes.borrow_mut()[id].live.kind = Kind::File(content.to_vec());
        self.step("syncing", path)?;
        let node = &mut self.nodes.borrow_mut()[id];
        node.durable = Some(node.live.clone());
        Ok(())
    }

    fn make_link(&self, path: &Path, target: &Path) -> Result<()> {
        self.add_new("making the link", path, Kind::Link(target.into()), 0o777).map(drop)
    }

    fn append(&self, path: &Path, keep: u64, content: &[u8]) -> Result<()> {
        self.with_inode("appending to", path, |node| {
            if let Kind::File(bytes) = &mut node.live.kind {
                bytes.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
                bytes.extend_from_slice(content);
            }
        })?;
        self.with_inode("syncing", path, |node| node.durable = Some(node.live.clone()))
    }

    fn move_new(&self, from: &Path, to: &Path) -> Result<()> {
        if !self.inspect(to)?.is_absent() {
            return Err(Error::io("putting into place", to, io::ErrorKind::AlreadyExists.into()));
        }
        self.move_over(from, to)
    }

    fn move_over(&self, from: &Path, to: &Path) -> Result<()> {
        let (dir, id) = self.take("replacing", from)?;
        let (old, new) = (from.file_name().unwrap_or_default(), to.file_name().unwrap_or_default());
        self.change_entries(dir, |entries| {
            entries.remove(old);
            entries.insert(new.to_owned(), id);
        });
        Ok(())
    }

    fn second_name(&self, path: &Path, name: &Path) -> Result<()> {
        let (dir, id) = self.take("giving a second name to", path)?;
        let name = name.file_name().unwrap_or_default();
        if self.child(dir, name).is_some() {
            let taken = io::ErrorKind::AlreadyExists;
            return Err(Error::io("giving a second name to", path, taken.into()));
        }
        self.change_entries(dir, |entries| {
            entries.insert(name.to_owned(), id);
        });
        Ok(())
    }

    fn exchange(&self, a: &Path, b: &Path) -> Result<bool> {
        if !self.exchanges {
            return Ok(false);
        }
        let (dir, first) = self.take("exchanging", a)?;
        let (a, b) = (a.file_name().unwrap_or_default(), b.file_name().unwrap_or_default());
        let missing = || Error::io("exchanging", Path::new(b), io::ErrorKind::NotFound.into());
        let second = self.child(dir, b).ok_or_else(missing)?;
        self.change_entries(dir, |entries| {
            entries.insert(a.to_owned(), second);
            entries.insert(b.to_owned(), first);
        });
        Ok(true)
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        let (dir, _) = self.take("removing", path)?;
        self.change_entries(dir, |entries| {
            entries.remove(path.file_name().unwrap_or_default());
        });
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        if !self.list(path)?.is_empty() {
            let full = io::ErrorKind::DirectoryNotEmpty;
            return Err(Error::io("removing the directory", path, full.into()));
        }
        self.unlink(path)
    }

    fn restore_mtime(&self, path: &Path, mtime: Stamp) -> Result<()> {
        self.with_inode("restoring the time of", path, |node| node.live.mtime = mtime.seconds)
    }

    fn mark(&self, path: &Path, name: &str, value: &[u8]) -> Result<bool> {
        if !self.attributes {
            return Ok(false);
        }
        self.with_inode("marking", path, |node| {
            node.live.marks.insert(name.into(), value.to_vec());
        })?;
        Ok(true)
    }

    fn unmark(&self, path: &Path, name: &str) -> Result<()> {
        self.with_inode("unmarking", path, |node| node.live.marks.remove(name)).map(drop)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.with_inode("syncing", path, |node| node.durable = Some(node.live.clone()))
    }

    fn has_systemd(&self) -> bool {
        self.systemd
    }

    fn is_running(&self) -> bool {
        self.running
    }

    fn run(&self, program: &Program) -> Result<Outcome> {
        self.step("running", &program.path)?;
        let words: Vec<String> = std::iter::once(program.path.as_os_str())
            .chain(program.arguments.iter().map(OsString::as_os_str))
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let line = words.join(" ");
        let known = self.answers.iter().find(|(part, _)| line.contains(part));
        let outcome = known.map(|(_, outcome)| outcome.clone());
        self.commands.borrow_mut().push(line);
        Ok(outcome.unwrap_or_else(|| Outcome { status: Some(0), ..Outcome::default() }))
    }

    fn run_on_copy(&self, program: &Program, copied: &Copied<'_>) -> Result<CopyRun> {
        let mut arguments: Vec<OsString> = vec![copied.option.into(), "/copy".into()];
        arguments.extend(program.arguments.iter().cloned());
        let outcome = self.run(&Program { arguments, ..program.clone() })?;
        Ok(CopyRun { outcome, made: Vec::new() })
    }

    fn run_self(&self, _user: Option<&User>, program: &Program) -> Result<Outcome> {
        self.run(program)
    }

    fn run_as(&self, _user: Option<&User>, program: &Program) -> Result<Outcome> {
        self.run(program)
    }

    fn watch(&self, program: &Program, is_it: &dyn Fn(&str) -> bool) -> Result<Option<String>> {
        self.run(program)?;
        Ok(self.said.iter().find(|line| is_it(line)).cloned())
    }

    fn lock(&self, _wait: Duration) -> Result<Guard> {
        Ok(Guard(None))
    }

    fn is_asked_to_stop(&self) -> bool {
        let met =
            |fault: &(u64, Fault)| matches!(fault, (at, Fault::Asked) if self.steps.get() >= *at);
        self.faults.borrow().iter().any(met)
    }

    fn now(&self) -> u64 {
        self.clock.get().cast_unsigned()
    }
}

struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn read_at(&self, offset: u64, bytes: usize) -> Option<Vec<u8>> {
        self.0.as_slice().read_at(offset, bytes)
    }
}
