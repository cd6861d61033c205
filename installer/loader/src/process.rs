//! Which file a process gets for a name, and why: the search of glibc's ld.so, step by step.
//!
//! The rules are those of ld.so(8) and `dl-load.c`: what is loaded already, the RPATH of the
//! requester and of its loaders, `LD_LIBRARY_PATH`, the RUNPATH of the requester, the cache, the
//! default directories. Auditors (`LD_AUDIT`) and musl are not modelled.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::Cache;
use crate::elf::Binary;

/// A way to look at files; the caller decides below which root.
pub trait Files {
    /// Looks at the file at an absolute path, following links.
    fn look(&self, path: &Path) -> Found;
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing that can be opened.
    Nothing,
    /// A file of another machine or class: ld.so goes on searching.
    Foreign,
    /// A file that is no ELF file: ld.so gives up with "invalid ELF header".
    Damaged,
    /// A library or program.
    Elf {
        /// Device and inode: two paths with the same pair are one object for ld.so.
        identity: (u64, u64),
        /// What the file says about itself.
        binary: Arc<Binary>,
    },
}

/// What the machine adds to the search.
#[derive(Debug, Clone, Default)]
pub struct Platform {
    /// The built-in directories, in order.
    pub default_dirs: Vec<PathBuf>,
    /// What `$LIB` stands for, such as `lib/x86_64-linux-gnu`.
    pub lib_token: Vec<u8>,
    /// What `$PLATFORM` stands for.
    pub platform_token: Vec<u8>,
    /// The glibc-hwcaps directories that the processor supports, best first.
    pub hwcaps: Vec<Vec<u8>>,
    /// The kind of library in the cache that fits the machine (`0x303` on x86-64).
    pub cache_flags: i32,
    /// The cache, if there is one.
    pub cache: Option<Cache>,
}

/// What the environment adds to the search.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The value of `LD_LIBRARY_PATH`.
    pub library_path: OsString,
    /// The value of `LD_PRELOAD`.
    pub preload: OsString,
    /// True for set-user-id programs and those with file capabilities: both values are ignored.
    pub secure: bool,
}

/// Where a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is the program itself.
    Program,
    /// An object of that name was loaded before.
    Loaded,
    /// The name was a path.
    Path,
    /// The RPATH of the requester or of one of its loaders.
    Rpath,
    /// `LD_LIBRARY_PATH`.
    LibraryPath,
    /// The RUNPATH of the requester.
    Runpath,
    /// `/etc/ld.so.cache`.
    Cache,
    /// A built-in directory.
    DefaultDirs,
}

impl Reason {
    /// The rule in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Program => "being the program",
            Self::Loaded => "having been loaded before",
            Self::Path => "its path",
            Self::Rpath => "RPATH",
            Self::LibraryPath => "LD_LIBRARY_PATH",
            Self::Runpath => "RUNPATH",
            Self::Cache => "ld.so.cache",
            Self::DefaultDirs => "the default directories",
        }
    }
}

/// One place that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The rule by which it was tried.
    pub reason: Reason,
    /// The file that was tried.
    pub path: PathBuf,
    /// True if it was taken.
    pub taken: bool,
}

/// The answer for one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The name that was asked for.
    pub name: Vec<u8>,
    /// The object that asked, as an index into [`Process::objects`].
    pub requester: Option<usize>,
    /// The object that answers, as an index into [`Process::objects`]; none if it is missing.
    pub object: Option<usize>,
    /// The rule that decided.
    pub reason: Option<Reason>,
    /// Every place that was tried, in order.
    pub attempts: Vec<Attempt>,
}

/// One object of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The path by which it was found.
    pub path: PathBuf,
    /// Device and inode.
    pub identity: (u64, u64),
    /// What the file says about itself.
    pub binary: Arc<Binary>,
    /// The names under which it answers.
    names: Vec<Vec<u8>>,
    /// The object that loaded it first.
    loader: Option<usize>,
}

/// A process as ld.so would build it.
pub struct Process<'a, F> {
    files: &'a F,
    platform: &'a Platform,
    environment: Environment,
    objects: Vec<Object>,
    resolutions: Vec<Resolution>,
}

impl<'a, F: Files> Process<'a, F> {
    /// Starts a program: itself, its preloaded libraries, then all needs breadth first.
    ///
    /// Nothing is loaded where `program` is no ELF file.
    #[must_use]
    pub fn start(
        program: &Path,
        files: &'a F,
        platform: &'a Platform,
        environment: Environment,
    ) -> Self {
        let (objects, resolutions) = (Vec::new(), Vec::new());
        let mut process = Self { files, platform, environment, objects, resolutions };
        if let Found::Elf { identity, binary } = files.look(program) {
            let path = program.to_path_buf();
            process.objects.push(Object { path, identity, binary, names: vec![], loader: None });
            if !process.environment.secure {
                let preload = process.environment.preload.clone();
                for name in split(preload.as_bytes(), b": ").filter(|name| !name.is_empty()) {
                    process.resolve(name, Some(0));
                }
            }
            process.load_needs(0);
        }
        process
    }

    /// Loads a library at run time as `dlopen` called from `requester` would, with its needs.
    pub fn open(&mut self, name: &OsStr, requester: usize) -> Resolution {
        let first_new = self.objects.len();
        let resolution = self.resolve(name.as_bytes(), Some(requester));
        self.load_needs(first_new);
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

    fn load_needs(&mut self, first: usize) {
        let mut next = first;
        while next < self.objects.len() {
            for name in self.objects[next].binary.needed.clone() {
                self.resolve(&name, Some(next));
            }
            next += 1;
        }
    }

    fn resolve(&mut self, name: &[u8], requester: Option<usize>) -> Resolution {
        let mut search =
            Search { name, attempts: Vec::new(), found: None, hwcaps: &self.platform.hwcaps };
        let mut reason = None;
        let mut object = self.objects.iter().position(|object| {
            object.names.iter().any(|known| known == name)
                || object.binary.soname.as_deref() == Some(name)
        });
        if object.is_some() {
            reason = Some(Reason::Loaded);
        } else {
            self.search(&mut search, requester);
            if let Some(hit) = search.found.take() {
                reason = Some(hit.reason);
                object = Some(self.adopt(name, hit, requester));
            }
        }
        let attempts = search.attempts;
        let resolution = Resolution { name: name.to_vec(), requester, object, reason, attempts };
        self.resolutions.push(resolution.clone());
        resolution
    }

    /// Adds an object, or a name to the object that is the same file.
    fn adopt(&mut self, name: &[u8], hit: Hit, loader: Option<usize>) -> usize {
        let Hit { path, identity, binary, .. } = hit;
        if let Some(same) = self.objects.iter().position(|object| object.identity == identity) {
            self.objects[same].names.push(name.to_vec());
            return same;
        }
        let names = vec![name.to_vec()];
        self.objects.push(Object { path, identity, binary, names, loader });
        self.objects.len() - 1
    }

    fn search(&self, search: &mut Search<'_>, requester: Option<usize>) {
        if search.name.contains(&b'/') {
            let text = self.expand(search.name, requester);
            search.try_file(self.files, Path::new(OsStr::from_bytes(&text)), Reason::Path);
            return;
        }
        let runpath = requester.and_then(|index| self.objects[index].binary.runpath.as_deref());
        if runpath.is_none() {
            for index in self.loaders(requester) {
                if let Some(rpath) = self.objects[index].binary.rpath.clone() {
                    self.try_list(search, &rpath, b":", Some(index), Reason::Rpath);
                }
            }
        }
        if !self.environment.secure && !self.environment.library_path.is_empty() {
            let list = self.environment.library_path.clone();
            let origin = (!self.objects.is_empty()).then_some(0);
            self.try_list(search, list.as_bytes(), b":;", origin, Reason::LibraryPath);
        }
        if let Some(runpath) = runpath {
            self.try_list(search, runpath, b":", requester, Reason::Runpath);
        }
        self.try_system(search, requester);
    }

    fn try_system(&self, search: &mut Search<'_>, requester: Option<usize>) {
        let bare = requester.is_some_and(|index| self.objects[index].binary.no_default_dirs);
        let platform = self.platform;
        let cached = platform
            .cache
            .as_ref()
            .and_then(|cache| cache.find(search.name, platform.cache_flags, &platform.hwcaps))
            .map(|path| Path::new(OsStr::from_bytes(path)));
        if let Some(path) = cached {
            let in_default = path.parent().is_some_and(|dir| {
                platform.default_dirs.iter().any(|default| dir.starts_with(default))
            });
            if !(bare && in_default) {
                search.try_file(self.files, path, Reason::Cache);
            }
        }
        if !bare {
            for dir in &platform.default_dirs {
                search.try_dir(self.files, dir, Reason::DefaultDirs);
            }
        }
    }

    /// The requester, its loader, and so on; the program comes last even where it loaded nothing.
    fn loaders(&self, requester: Option<usize>) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut next = requester;
        while let Some(index) = next.filter(|index| !chain.contains(index)) {
            chain.push(index);
            next = self.objects[index].loader;
        }
        if !self.objects.is_empty() && !chain.contains(&0) {
            chain.push(0);
        }
        chain
    }

    fn try_list(
        &self,
        search: &mut Search<'_>,
        list: &[u8],
        separators: &[u8],
        origin: Option<usize>,
        reason: Reason,
    ) {
        for entry in split(list, separators) {
            // An empty entry is the working directory, which no service has a say in: `/`.
            let text = self.expand(if entry.is_empty() { b"/" } else { entry }, origin);
            search.try_dir(self.files, Path::new(OsStr::from_bytes(&text)), reason);
        }
    }

    /// Replaces `$ORIGIN`, `$LIB` and `$PLATFORM`, with or without braces.
    fn expand(&self, text: &[u8], origin: Option<usize>) -> Vec<u8> {
        let directory = origin
            .and_then(|index| self.objects[index].path.parent())
            .map_or(&b""[..], |dir| dir.as_os_str().as_bytes());
        let tokens: [(&[u8], &[u8]); 3] = [
            (b"ORIGIN", directory),
            (b"LIB", &self.platform.lib_token),
            (b"PLATFORM", &self.platform.platform_token),
        ];
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((&byte, tail)) = rest.split_first() {
            let token = (byte == b'$').then(|| {
                tokens.iter().find_map(|(name, value)| {
                    let braced = tail.strip_prefix(b"{").and_then(|t| t.strip_prefix(*name));
                    let after = braced.and_then(|t| t.strip_prefix(b"}"));
                    after.or_else(|| tail.strip_prefix(*name)).map(|after| (*value, after))
                })
            });
            if let Some(Some((value, after))) = token {
                out.extend_from_slice(value);
                rest = after;
            } else {
                out.push(byte);
                rest = tail;
            }
        }
        out
    }
}

struct Search<'a> {
    name: &'a [u8],
    attempts: Vec<Attempt>,
    found: Option<Hit>,
    hwcaps: &'a [Vec<u8>],
}

struct Hit {
    path: PathBuf,
    identity: (u64, u64),
    binary: Arc<Binary>,
    reason: Reason,
}

impl Search<'_> {
    fn try_dir(&mut self, files: &impl Files, dir: &Path, reason: Reason) {
        for hwcaps in self.hwcaps {
            let dir = dir.join("glibc-hwcaps").join(OsStr::from_bytes(hwcaps));
            self.try_file(files, &dir.join(OsStr::from_bytes(self.name)), reason);
        }
        self.try_file(files, &dir.join(OsStr::from_bytes(self.name)), reason);
    }

    fn try_file(&mut self, files: &impl Files, path: &Path, reason: Reason) {
        let stopped = self.attempts.last().is_some_and(|last| last.taken);
        if self.found.is_some() || stopped {
            return;
        }
        let found = files.look(path);
        // A damaged file ends the search as well: ld.so reports it instead of going on.
        let taken = matches!(found, Found::Elf { .. } | Found::Damaged);
        let path = path.to_path_buf();
        if let Found::Elf { identity, binary } = found {
            self.found = Some(Hit { path: path.clone(), identity, binary, reason });
        }
        self.attempts.push(Attempt { reason, path, taken });
    }
}

fn split<'a>(list: &'a [u8], separators: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    list.split(move |byte| separators.contains(byte))
}
