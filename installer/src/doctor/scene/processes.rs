//! The processes of Ollama, as `/proc` shows them (proc(5)).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Scene;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::object::Object;

/// Ticks of a process's start time in a second: the same on all machines that are served.
const TICKS_PER_SECOND: u64 = 100;
/// The programs of an Ollama, wherever they lie.
const PROGRAMS: [&str; 2] = ["ollama", "llama-server"];
/// What the kernel adds to the name of a file that has no name any more.
const DELETED: &str = " (deleted)";

/// One running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The process that started it.
    pub parent: u32,
    /// Its program.
    pub executable: PathBuf,
    /// True if the program's file was removed or replaced since.
    pub is_deleted: bool,
    /// When it started, in seconds since 1970.
    pub started: u64,
}

/// The processes of Ollama that could be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processes {
    /// The processes, by number.
    pub all: Vec<Process>,
    /// How many processes did not show their program.
    pub refused: usize,
}

/// One file that is mapped into a process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapped {
    /// Its path.
    pub path: PathBuf,
    /// Device, as the kernel writes it, and inode.
    pub identity: (String, u64),
    /// True if the file was removed or replaced since.
    pub is_deleted: bool,
}

impl Process {
    /// Its environment as it was when it started.
    pub fn environment(&self, host: &dyn Host) -> Result<Option<Vec<(String, String)>>> {
        let text = host.kernel_text(&self.file("environ"))?;
        let pairs = |text: String| {
            let words = text.split('\0').filter_map(|word| word.split_once('='));
            words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        Ok(text.map(pairs))
    }

    /// The files that are mapped into it, each once.
    pub fn maps(&self, host: &dyn Host) -> Result<Vec<Mapped>> {
        let text = host.kernel_text(&self.file("maps"))?.unwrap_or_default();
        let mut files: Vec<Mapped> = text.lines().filter_map(mapped).collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// The process in words.
    pub fn words(&self) -> String {
        format!("process {} ({})", self.pid, self.executable.display())
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join(name)
    }
}

fn mapped(line: &str) -> Option<Mapped> {
    let mut fields = line.splitn(6, ' ');
    let (_range, _rights, _offset) = (fields.next()?, fields.next()?, fields.next()?);
    let (device, inode) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
    let path = fields.next()?.trim_start();
    let is_deleted = path.ends_with(DELETED);
    let path = path.strip_suffix(DELETED).unwrap_or(path);
    path.starts_with('/').then(|| Mapped {
        path: path.into(),
        identity: (device, inode),
        is_deleted,
    })
}

impl Scene<'_> {
    /// The processes of every Ollama: the server, its runners and its children for discovery.
    pub(in super::super) fn processes(&self) -> Result<&Processes> {
        if let Some(known) = self.processes.get() {
            return Ok(known);
        }
        let found = self.look_for_processes()?;
        Ok(self.processes.get_or_init(|| found))
    }

    fn look_for_processes(&self) -> Result<Processes> {
        let mut found = Processes::default();
        let boot = self.host.kernel_text(Path::new("/proc/stat"))?.unwrap_or_default();
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
        for name in self.host.list(Path::new("/proc"))? {
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            match self.process(pid, boot.unwrap_or(0)) {
                Ok(Some(process)) => found.all.push(process),
                Ok(None) => {}
                Err(error) => match kind(&error) {
                    Some(ErrorKind::PermissionDenied) => found.refused += 1,
                    // A thread of the kernel has no program, and others end meanwhile.
                    Some(ErrorKind::NotFound) => {}
                    _ => return Err(error),
                },
            }
        }
        found.all.sort_by_key(|process| process.pid);
        Ok(found)
    }

    fn process(&self, pid: u32, boot: u64) -> Result<Option<Process>> {
        let dir = Path::new("/proc").join(pid.to_string());
        let Object::Link { target, .. } = self.host.inspect(&dir.join("exe"))? else {
            return Ok(None);
        };
        let text = target.to_string();
        let is_deleted = text.ends_with(DELETED);
        let executable = PathBuf::from(text.strip_suffix(DELETED).unwrap_or(&text));
        let is_known = self.facts.ollamas.iter().any(|ollama| {
            executable == *ollama.executable || executable.starts_with(&*ollama.library_dir)
        });
        let is_named = executable.file_name().is_some_and(|n| PROGRAMS.iter().any(|p| n == *p));
        if !(is_known || is_named) {
            return Ok(None);
        }
        let stat = self.host.kernel_text(&dir.join("stat"))?.unwrap_or_default();
        // The name in brackets may hold anything; the fields after it are numbers.
        let fields: Vec<&str> =
            stat.rsplit_once(") ").map_or(vec![], |(_, rest)| rest.split(' ').collect());
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
        let parent = number(1).and_then(|parent| u32::try_from(parent).ok()).unwrap_or(0);
        let started = boot + number(19).unwrap_or(0) / TICKS_PER_SECOND;
        Ok(Some(Process { pid, parent, executable, is_deleted, started }))
    }
}

fn kind(error: &Error) -> Option<ErrorKind> {
    match error {
        Error::Io { source, .. } => Some(source.kind()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_maps_gives_its_file_and_whether_it_is_still_there() {
        let line = "7f-80 r-xp 00000000 fd:01 999    /usr/lib/lib a.so.1 (deleted)";
        let found = mapped(line).unwrap();
        assert_eq!(found.path, Path::new("/usr/lib/lib a.so.1"));
        assert_eq!((found.identity, found.is_deleted), (("fd:01".into(), 999), true));
        assert_eq!(mapped("7f-80 rw-p 00000000 00:00 0 "), None);
        assert_eq!(mapped("7f-80 rw-p 00000000 00:00 0 [heap]"), None);
    }
}
