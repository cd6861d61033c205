//! Which file a process gets for a name, and why, step by step.
//!
//! What both loaders have in common stands here: the objects, the order in which names are asked
//! for, and de-duplication. The order of the search is each loader's own: `glibc.rs` follows
//! ld.so(8) and `musl.rs` musl's dynamic linker. Auditors (`LD_AUDIT`) and filters (DT_FILTER,
//! DT_AUXILIARY) are not modelled, and a [`Note`] says where there are some. Namespaces of their
//! own (`dlmopen`) are not modelled either: no file tells of them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::elf::Binary;
use crate::files::{Files, Found};
use crate::platform::{Environment, Family, Platform};
use crate::resolution::{Asked, Attempt, Note, Object, Outcome, Reason, Resolution};

/// Why there is no process to look at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Nothing that can be opened lies at the program's path.
    #[error("there is no file that can be read")]
    Missing,
    /// The file is no program for any machine.
    #[error("it is no ELF program: {what}")]
    NoProgram {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file is for another machine.
    #[error("it is {what}, not for this machine")]
    Foreign {
        /// The machine in words.
        what: String,
    },
    /// The program is linked statically, so no loader ever runs for it.
    #[error("it is linked statically: no loader runs for it, and LD_* mean nothing to it")]
    Static,
}

/// A process as the loader would build it.
pub struct Process<'a, F> {
    pub(crate) files: &'a F,
    pub(crate) platform: &'a Platform,
    pub(crate) environment: Environment,
    pub(crate) objects: Vec<Object>,
    resolutions: Vec<Resolution>,
    pub(crate) notes: Vec<Note>,
    /// The loader itself, until a name leads to it.
    pub(crate) own: Option<Object>,
}

impl<'a, F: Files> Process<'a, F> {
    /// Starts a program: itself, its preloaded libraries, then all needs breadth first.
    ///
    /// `program` is the file behind all links, as the kernel gives it: `$ORIGIN` is its directory.
    ///
    /// # Errors
    /// [`StartError`] where no loader would run.
    pub fn start(
        program: &Path,
        files: &'a F,
        platform: &'a Platform,
        environment: Environment,
    ) -> Result<Self, StartError> {
        let (identity, binary) = match files.look(program) {
            Found::Elf { identity, binary, .. } => (identity, binary),
            Found::Nothing | Found::Unreadable => return Err(StartError::Missing),
            Found::Foreign(mismatch) => {
                return Err(StartError::Foreign { what: mismatch.words() });
            }
            Found::Damaged("no dynamic section") => return Err(StartError::Static),
            Found::Damaged(what) => return Err(StartError::NoProgram { what }),
        };
        let Some(interpreter) = binary.interpreter.clone() else {
            return Err(StartError::Static);
        };
        let mut process = Self {
            files,
            platform,
            environment,
            objects: Vec::new(),
            resolutions: Vec::new(),
            notes: Vec::new(),
            own: None,
        };
        process.own = Some(process.loader_itself(&interpreter));
        process.objects.push(Object {
            path: program.to_path_buf(),
            identity,
            binary,
            names: vec![Vec::new()],
            loader: None,
            is_known_by_file: false,
            is_gone: false,
        });
        process.note_environment();
        process.note_filters(0);
        process.preload();
        process.load_needs(0, false);
        Ok(process)
    }

    /// Loads a library at run time as `dlopen` called from `requester` would, with its needs. If
    /// one of them is missing nothing of it stays loaded, as [`Object::is_loaded`] tells.
    pub fn open(&mut self, name: &OsStr, requester: usize) -> Resolution {
        let first_new = self.objects.len();
        let name = name.as_bytes();
        let loader = match self.platform.family {
            // musl takes every dlopen for one of the program.
            Family::Musl => Some(0),
            Family::Glibc => Some(requester),
        };
        let mut resolution = self.resolve(Asked::Open, name, loader);
        resolution.requester = Some(requester);
        if let Some(last) = self.resolutions.last_mut() {
            last.requester = Some(requester);
        }
        if !self.load_needs(first_new, true) {
            for object in &mut self.objects[first_new..] {
                // The loader itself stays.
                object.is_gone = object.is_known_by_file;
            }
        }
        resolution
    }

    /// Lists the objects in the order in which they were loaded; the program comes first.
    #[must_use]
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Lists every answer in the order in which the names were asked for.
    #[must_use]
    pub fn resolutions(&self) -> &[Resolution] {
        &self.resolutions
    }

    /// Lists what a person should know about the search as a whole.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The first need that was not met: the program would not start, or `dlopen` would fail.
    #[must_use]
    pub fn failure(&self) -> Option<&Resolution> {
        self.resolutions
            .iter()
            .find(|answer| answer.asked == Asked::Need && answer.object.is_none())
    }

    fn loader_itself(&self, interpreter: &[u8]) -> Object {
        let path = self.absolute(interpreter);
        let mut names = vec![interpreter.to_vec()];
        let (mut identity, mut binary) = ((0, 0), Arc::new(Binary::default()));
        if let Found::Elf { identity: file, binary: read, .. } = self.files.look(&path) {
            (identity, binary) = (file, read);
        }
        if self.platform.family == Family::Glibc {
            names.extend(binary.soname.clone());
        }
        // Whether the kernel's copy of the loader counts as the file differs between versions.
        Object {
            path,
            identity,
            binary,
            names,
            loader: None,
            is_known_by_file: false,
            is_gone: false,
        }
    }

    fn note_environment(&mut self) {
        let environment = &self.environment;
        if environment.secure {
            let set =
                [("LD_LIBRARY_PATH", &environment.library_path), ("LD_AUDIT", &environment.audit)];
            for (variable, _) in set.into_iter().filter(|(_, value)| !value.is_empty()) {
                self.notes.push(Note::Ignored(variable));
            }
        } else if !environment.audit.is_empty() && self.platform.family == Family::Glibc {
            self.notes.push(Note::Audit(environment.audit.as_bytes().to_vec()));
        }
    }

    /// musl knows no filters.
    fn note_filters(&mut self, index: usize) {
        let Object { binary, path, .. } = &self.objects[index];
        let first = binary.filters.first().filter(|_| self.platform.family == Family::Glibc);
        self.notes.extend(first.map(|name| Note::Filter(name.clone(), path.clone())));
    }

    fn preload(&mut self) {
        let list = self.environment.preload.clone();
        match self.platform.family {
            Family::Glibc => self.preload_glibc(list.as_bytes()),
            Family::Musl => self.preload_musl(list.as_bytes()),
        }
    }

    /// Loads the needs of objects, breadth first, until one is missing if that ends it; false then.
    fn load_needs(&mut self, first: usize, a_missing_one_ends_it: bool) -> bool {
        let mut next = first;
        while next < self.objects.len() {
            let binary = Arc::clone(&self.objects[next].binary);
            for name in &binary.needed {
                let is_met = match self.need(name, next) {
                    Some(name) => self.resolve(Asked::Need, &name, Some(next)).object.is_some(),
                    None => {
                        let path = PathBuf::from(OsStr::from_bytes(name));
                        let (reason, outcome) = (Reason::Path, Outcome::Token);
                        let refused = Attempt { reason, of: Some(next), path, outcome };
                        self.record(Asked::Need, name, Some(next), vec![refused]);
                        false
                    }
                };
                if a_missing_one_ends_it && !is_met {
                    return false;
                }
            }
            next += 1;
        }
        true
    }

    /// The name behind a DT_NEEDED; none where the loader refuses it.
    fn need(&self, name: &[u8], requester: usize) -> Option<Vec<u8>> {
        if self.platform.family == Family::Musl || !name.contains(&b'$') {
            return Some(name.to_vec());
        }
        let forbidden = self.environment.secure && self.tokens(requester).is_in(name);
        let expanded = self.expand_glibc(name, requester).filter(|name| !name.is_empty());
        expanded.filter(|_| !forbidden)
    }

    fn record(
        &mut self,
        asked: Asked,
        name: &[u8],
        requester: Option<usize>,
        attempts: Vec<Attempt>,
    ) -> &mut Resolution {
        self.resolutions.push(Resolution {
            name: name.to_vec(),
            asked,
            requester,
            object: None,
            reason: None,
            is_same_file: false,
            attempts,
        });
        let last = self.resolutions.len() - 1;
        &mut self.resolutions[last]
    }

    pub(crate) fn resolve(
        &mut self,
        asked: Asked,
        name: &[u8],
        loader: Option<usize>,
    ) -> Resolution {
        let known = match self.platform.family {
            Family::Glibc => self.loaded_glibc(name),
            Family::Musl => self.loaded_musl(name),
        };
        if let Some((object, reason)) = known {
            let answer = self.record(asked, name, loader, Vec::new());
            (answer.object, answer.reason) = (Some(object), Some(reason));
            return answer.clone();
        }
        let mut search = Search::new(name, asked);
        match self.platform.family {
            Family::Glibc => self.search_glibc(&mut search, loader),
            Family::Musl => self.search_musl(&mut search, loader),
        }
        let hit = search.hit.take();
        let reason = hit.as_ref().map(|hit| hit.reason);
        // glibc asks who called dlopen for the search alone: needs inherit nothing from there.
        let is_glibc_open = asked == Asked::Open && self.platform.family == Family::Glibc;
        let heir_of = loader.filter(|_| !is_glibc_open);
        let adopted = hit.map(|hit| self.adopt(&search, hit, heir_of));
        let answer = self.record(asked, name, loader, search.attempts);
        answer.reason = reason;
        if let Some((object, is_same_file)) = adopted {
            (answer.object, answer.is_same_file) = (Some(object), is_same_file);
        }
        answer.clone()
    }

    /// Adds an object, or a name to the object that is the same file; true for the latter.
    fn adopt(&mut self, search: &Search<'_>, hit: Hit, loader: Option<usize>) -> (usize, bool) {
        let by_path = search.name.contains(&b'/');
        let is_musl = self.platform.family == Family::Musl;
        let same = self
            .objects
            .iter()
            .position(|o| o.is_loaded() && o.is_known_by_file && o.identity == hit.identity);
        if let Some(same) = same {
            let names = &mut self.objects[same].names;
            if !is_musl {
                names.push(search.name.to_vec());
            } else if names.is_empty() && !by_path {
                // musl then remembers the last part of the path it was loaded by.
                let path = self.objects[same].path.clone();
                self.objects[same].names.extend(file_name(&path));
            }
            return (same, true);
        }
        let names = match (is_musl, by_path) {
            (false, _) => vec![search.name.to_vec(), hit.real_name],
            (true, true) => Vec::new(),
            (true, false) => file_name(&hit.path).into_iter().collect(),
        };
        let Hit { path, identity, binary, .. } = hit;
        let (is_known_by_file, is_gone) = (true, false);
        let object = Object { path, identity, binary, names, loader, is_known_by_file, is_gone };
        self.objects.push(object);
        let index = self.objects.len() - 1;
        self.note_filters(index);
        (index, false)
    }

    /// Gives the loader itself a place among the objects, as soon as a name leads to it.
    pub(crate) fn own_index(&mut self) -> Option<usize> {
        if let Some(own) = self.own.take() {
            self.objects.push(own);
            return Some(self.objects.len() - 1);
        }
        None
    }

    /// A path as the process would open it.
    pub(crate) fn absolute(&self, path: &[u8]) -> PathBuf {
        let dir = &self.environment.working_dir;
        let dir = if dir.as_os_str().is_empty() { Path::new("/") } else { dir };
        dir.join(OsStr::from_bytes(path))
    }
}

/// The directory of an object as the loaders cut it off its path: a doubled slash stays one.
pub(crate) fn origin(path: &Path) -> Option<&[u8]> {
    let path = path.as_os_str().as_bytes();
    path.iter().rposition(|byte| *byte == b'/').map(|end| &path[..end])
}

fn file_name(path: &Path) -> Option<Vec<u8>> {
    path.file_name().map(|name| name.as_bytes().to_vec())
}

/// One search on its way.
pub(crate) struct Search<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) asked: Asked,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) hit: Option<Hit>,
    /// True once nothing further is tried: found, or given up.
    pub(crate) is_over: bool,
}

/// A file that was found.
pub(crate) struct Hit {
    pub(crate) path: PathBuf,
    /// The path as the loader spells it.
    pub(crate) real_name: Vec<u8>,
    pub(crate) identity: (u64, u64),
    pub(crate) binary: Arc<Binary>,
    pub(crate) reason: Reason,
}

impl<'a> Search<'a> {
    fn new(name: &'a [u8], asked: Asked) -> Self {
        Self { name, asked, attempts: Vec::new(), hit: None, is_over: false }
    }

    pub(crate) fn note(
        &mut self,
        reason: Reason,
        of: Option<usize>,
        path: PathBuf,
        outcome: Outcome,
    ) {
        self.attempts.push(Attempt { reason, of, path, outcome });
    }
}

pub(crate) fn split<'a>(
    list: &'a [u8],
    separators: &'a [u8],
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    list.split(move |byte| separators.contains(byte))
}
