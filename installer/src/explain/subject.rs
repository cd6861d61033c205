//! Whose libraries are explained: a running process, a program, or the service of a unit.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use vgpu_loader::{Binary, Environment};

use super::maps::Maps;
use crate::cli::Explain;
use crate::discover;
use crate::error::{Error, Result};
use crate::facts::{Facts, Unit, Variable};
use crate::host::Host;
use crate::host::real::Real;
use crate::object::Object;
use crate::plan::Scope;
use crate::unit_file::{assignments, without_percent_pairs, words};
use crate::verify;

/// Longest file of `/proc/PID` that is read: 64 MiB, half a million mappings.
const PROC_BYTES_MAX: u64 = 64 << 20;
/// The variables that the loader reads.
const VARIABLES: [&str; 3] = ["LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT"];
/// The word of auxv that says whether a program runs with other rights (getauxval(3)).
const AT_SECURE: u64 = 23;
/// Ollama's runner beside its libraries, since 0.30.
const RUNNER: &str = "llama-server";
/// What the kernel adds to the path of a program that was removed or replaced.
const DELETED: &[u8] = b" (deleted)";

/// One program with what decides about its libraries.
pub(super) struct Subject {
    /// What it is, in words.
    pub(super) words: String,
    /// The program's file, as seen in its root.
    pub(super) program: PathBuf,
    /// What its loader reads.
    pub(super) environment: Environment,
    /// What it opens before the names: a backend.
    pub(super) opens: Vec<PathBuf>,
    /// The root of the process, where it is not the host's.
    pub(super) root: Option<Box<dyn Host>>,
    /// What the process has mapped.
    pub(super) maps: Option<Maps>,
    /// What a person should know.
    pub(super) notes: Vec<String>,
}

impl Subject {
    fn new(words: String, program: PathBuf) -> Self {
        Self {
            words,
            program,
            environment: Environment::default(),
            opens: Vec::new(),
            root: None,
            maps: None,
            notes: Vec::new(),
        }
    }

    fn put(&mut self, name: &str, value: &OsStr) {
        match name {
            "LD_LIBRARY_PATH" => self.environment.library_path = value.into(),
            "LD_PRELOAD" => self.environment.preload = value.into(),
            "LD_AUDIT" => self.environment.audit = value.into(),
            _ => {}
        }
    }

    /// The variables that count, with their values.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let environment = &self.environment;
        let values = [&environment.library_path, &environment.preload, &environment.audit];
        VARIABLES
            .into_iter()
            .zip(values)
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.to_string_lossy().into_owned()))
            .collect()
    }
}

/// Lists the programs that were asked about.
pub(super) fn all(host: &dyn Host, asked: &Explain) -> Result<Vec<Subject>> {
    match (asked.pid, &asked.exe, &asked.unit) {
        (Some(pid), _, _) => Ok(vec![process(host, pid)?]),
        (_, Some(path), _) => Ok(vec![executable(host, path)?]),
        (_, _, Some(name)) => unit(host, name),
        _ => Err(Error::Usage { what: "explain needs --pid, --exe or --unit".into() }),
    }
}

/// The loader that a program names; empty where it names none, which the model judges.
pub(super) fn interpreter(host: &dyn Host, program: &Path) -> Result<Vec<u8>> {
    let Some(opened) = host.open(program)? else {
        return Err(unexplained(program, "there is no such program"));
    };
    if opened.source.read_at(0, 2).is_some_and(|head| head == b"#!") {
        let bytes = usize::try_from(opened.bytes.min(128)).unwrap_or(2);
        let line = opened.source.read_at(0, bytes).unwrap_or_default();
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).into_owned();
        let what = format!("it is a script ({line}): ask about the program that runs it");
        return Err(unexplained(program, &what));
    }
    let binary = Binary::read(opened.source.as_ref()).unwrap_or_default();
    Ok(binary.interpreter.unwrap_or_default())
}

fn unexplained(path: &Path, what: &str) -> Error {
    Error::Unexplained { path: path.into(), what: what.into() }
}

fn executable(host: &dyn Host, path: &Path) -> Result<Subject> {
    let asked = std::path::absolute(path).map_err(|source| Error::io("reading", path, source))?;
    let program = host.canonical(&asked)?.unwrap_or_else(|| asked.clone());
    let mut subject = Subject::new(format!("the program {}", path.display()), program);
    if host.is_running() {
        // The caller's own variables: what a program started from the same shell would see.
        let own = host.read_endless("/proc/self/environ".as_ref(), PROC_BYTES_MAX)?;
        take_environ(&mut subject, &own.unwrap_or_default());
    }
    subject.environment.secure = has_other_rights(host, &subject.program)?;
    if subject.environment.secure {
        let note = "its set-user-id or set-group-id bit, or its file capabilities, make it run \
                    with other rights";
        subject.notes.push(note.into());
    }
    Ok(subject)
}

/// True if the kernel would start a program with other rights: by its mode or its capabilities.
fn has_other_rights(host: &dyn Host, program: &Path) -> Result<bool> {
    let found = host.inspect(program)?;
    let Some(meta) = found.meta() else { return Ok(false) };
    // Set-group-id counts only where the group may execute the file.
    let set_ids = meta.mode & 0o4000 != 0 || meta.mode & 0o2010 == 0o2010;
    Ok(set_ids || meta.xattrs.contains_key("security.capability"))
}

fn process(host: &dyn Host, pid: u32) -> Result<Subject> {
    if !host.is_running() {
        let what = "--pid is for the machine that runs, not for --root";
        return Err(Error::Usage { what: what.into() });
    }
    let dir = PathBuf::from(format!("/proc/{pid}"));
    if host.inspect(&dir)?.is_absent() {
        return Err(Error::NoProcess { pid });
    }
    let Some(program) = link(host, &dir.join("exe"))? else {
        let what = "it has no program: it is a thread of the kernel, or has just ended";
        return Err(unexplained(&dir, what));
    };
    // The kernel tells all paths of a process as they are without its own root.
    let root_path = link(host, &dir.join("root"))?.unwrap_or_else(|| "/".into());
    let Some(program) = inside(&program, &root_path) else {
        let what = format!(
            "its program {} lies outside of its root {}: it changed its root since it started",
            program.display(),
            root_path.display()
        );
        return Err(unexplained(&dir, &what));
    };
    let bytes = program.as_os_str().as_bytes();
    let replaced = bytes.strip_suffix(DELETED).map(|path| PathBuf::from(OsStr::from_bytes(path)));
    let mut subject = Subject::new(format!("process {pid}"), replaced.clone().unwrap_or(program));
    if replaced.is_some() {
        let note = "its program was replaced since it started: what is there now is looked at";
        subject.notes.push(note.into());
    }
    let read = |name: &str| host.read_endless(&dir.join(name), PROC_BYTES_MAX);
    take_environ(&mut subject, &read("environ")?.unwrap_or_default());
    subject.environment.secure = is_secure(&read("auxv")?.unwrap_or_default());
    let working_dir = link(host, &dir.join("cwd"))?.unwrap_or_default();
    subject.environment.working_dir = inside(&working_dir, &root_path).unwrap_or_default();
    let maps = Maps::parse(&read("maps")?.unwrap_or_default());
    subject.maps = Some(maps.seen(|path| inside(path, &root_path)));
    let root = Real::open(&dir.join("root"))?;
    // The same root with other mounts on it is another system: services have such namespaces.
    let mounts = "ns/mnt";
    let own = link(host, &Path::new("/proc/self").join(mounts))?;
    let has_own_mounts = link(host, &dir.join(mounts))? != own;
    if has_own_mounts {
        subject
            .notes
            .push("it has mounts of its own: its files were looked at as it sees them".into());
    }
    let is_ours = root.is_running() && !has_own_mounts;
    subject.root = (!is_ours).then(|| Box::new(root) as Box<dyn Host>);
    Ok(subject)
}

/// A path as a process sees it whose root lies at `root`; none for what lies outside of it.
fn inside(path: &Path, root: &Path) -> Option<PathBuf> {
    path.strip_prefix(root).ok().map(|below| Path::new("/").join(below))
}

fn link(host: &dyn Host, path: &Path) -> Result<Option<PathBuf>> {
    Ok(match host.inspect(path)? {
        Object::Link { target, .. } => Some(target.to_path_buf()),
        _ => None,
    })
}

fn take_environ(subject: &mut Subject, environ: &[u8]) {
    // Of a variable that is there twice the last one counts, as ld.so takes each in turn.
    for entry in environ.split(|byte| *byte == 0) {
        if let Some(at) = entry.iter().position(|byte| *byte == b'=') {
            let value = OsString::from_vec(entry[at + 1..].to_vec());
            subject.put(&String::from_utf8_lossy(&entry[..at]), &value);
        }
    }
}

fn is_secure(auxv: &[u8]) -> bool {
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
    let mut pairs = auxv.chunks_exact(16);
    pairs.any(|pair| word(&pair[..8]) == AT_SECURE && word(&pair[8..]) != 0)
}

fn unit(host: &dyn Host, name: &str) -> Result<Vec<Subject>> {
    let facts = discover::facts(host)?;
    let full = if name.contains('.') { name.to_owned() } else { format!("{name}.service") };
    let Some(unit) = facts.units.iter().find(|unit| unit.name == full) else {
        let known: Vec<&str> = facts.units.iter().map(|unit| unit.name.as_str()).collect();
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        return Err(Error::NoUnit { name: full, known });
    };
    let Some(program) = unit.program.as_ref().or(unit.executable.as_ref()) else {
        return Err(unexplained(&unit.fragment, "it starts no program"));
    };
    let mut service = Subject::new(format!("the service of {full}"), program.to_path_buf());
    for (name, value) in effective(host, unit)? {
        service.put(&name, value.as_ref());
    }
    service.environment.secure = has_other_rights(host, &service.program)?;
    let mut subjects = vec![service];
    subjects.extend(runners(host, &facts, unit)?);
    Ok(subjects)
}

/// The variables of a unit, our drop-in included, weakest first.
fn effective(host: &dyn Host, unit: &Unit) -> Result<Vec<(String, String)>> {
    let plain = |v: &Variable| (v.name.clone(), without_percent_pairs(&v.value));
    let mut variables: Vec<(String, String)> = unit.environment.iter().map(plain).collect();
    let ours = discover::text(host, &unit.drop_in_path)?;
    for line in assignments(&ours).iter().filter(|line| line.key == "Environment") {
        for word in words(&line.value) {
            let pair = word.split_once('=');
            variables.extend(pair.map(|(name, v)| (name.into(), without_percent_pairs(v))));
        }
    }
    variables.extend(unit.outranking.iter().map(plain));
    Ok(variables)
}

/// The processes that Ollama starts for each backend: with its own directories in front of
/// `LD_LIBRARY_PATH`, and the backend as the one that asks.
fn runners(host: &dyn Host, facts: &Facts, unit: &Unit) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for child in verify::children(host, facts, Scope::Service)? {
        if child.unit != Some(unit) {
            continue;
        }
        let runner = child.ollama.library_dir.join(RUNNER);
        let has_runner = host.open(&runner)?.is_some();
        let program = if has_runner { runner } else { child.ollama.executable.to_path_buf() };
        let words = format!("a runner of {} with {}", unit.name, child.bundle.dir);
        let mut subject = Subject::new(words, program);
        for (name, value) in &child.environment {
            subject.put(&name.to_string_lossy(), value);
        }
        subject.opens.push(child.bundle.dir.join("libggml-cuda.so"));
        subjects.push(subject);
    }
    Ok(subjects)
}
