//! The order of glibc's search: RPATH of the requester and of its loaders, `LD_LIBRARY_PATH`,
//! RUNPATH of the requester, the cache, the default directories (ld.so(8); `_dl_map_object`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::files::{Files, Found};
use crate::process::{Hit, Process, Search, origin, split};
use crate::resolution::{Asked, Note, Outcome, Reason};
use crate::tokens::Tokens;

/// Where glibc's cache lies; it is named by attempts that it did not answer.
const CACHE: &str = "/etc/ld.so.cache";
/// Longest entry of a preload list that is looked at (`SECURE_PATH_LIMIT`).
const PRELOAD_BYTES_MAX: usize = 4096;
/// Longest name that a program with other rights preloads (`SECURE_NAME_LIMIT`).
const SECURE_NAME_BYTES_MAX: usize = 255;

impl<F: Files> Process<'_, F> {
    pub(crate) fn preload_glibc(&mut self, list: &[u8]) {
        for name in split(list, b": ").filter(|n| !n.is_empty() && n.len() < PRELOAD_BYTES_MAX) {
            let has_path = name.contains(&b'/') || name.len() >= SECURE_NAME_BYTES_MAX;
            if self.environment.secure && has_path {
                self.notes.push(Note::IgnoredPreload(name.to_vec()));
            } else {
                self.resolve(Asked::Preload, name, Some(0));
            }
        }
        let file = self.platform.preload_file.clone();
        for line in file.split(|byte| *byte == b'\n') {
            let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
            for name in split(line, b" \t:").filter(|name| !name.is_empty()) {
                self.resolve(Asked::PreloadFile, name, Some(0));
            }
        }
    }

    /// Looks for an object that answers to a name already.
    pub(crate) fn loaded_glibc(&mut self, name: &[u8]) -> Option<(usize, Reason)> {
        let known = self.objects.iter().position(|object| {
            let is_named = object.names.iter().any(|known| known == name)
                || object.binary.soname.as_deref() == Some(name);
            object.is_loaded() && is_named
        });
        let is_own =
            self.own.as_ref().is_some_and(|own| own.names.iter().any(|known| known == name));
        let index = known.or_else(|| if is_own { self.own_index() } else { None })?;
        Some((index, if index == 0 { Reason::Program } else { Reason::Loaded }))
    }

    pub(crate) fn search_glibc(&self, search: &mut Search<'_>, loader: Option<usize>) {
        if search.name.contains(&b'/') {
            let real_name = match loader {
                Some(loader) => self.expand_glibc(search.name, loader),
                None => Some(search.name.to_vec()),
            };
            match real_name {
                Some(name) => {
                    self.try_file(search, &name, Reason::Path, None);
                }
                None => search.note(
                    Reason::Path,
                    None,
                    Path::new(OsStr::from_bytes(search.name)).into(),
                    Outcome::Missing,
                ),
            }
            return;
        }
        let runpath = loader.and_then(|index| self.objects[index].binary.runpath.as_deref());
        if runpath.is_none() {
            for index in self.loaders(loader) {
                if let Some(rpath) = self.objects[index].binary.rpath.as_deref() {
                    self.try_list(search, rpath, b":", index, Reason::Rpath);
                }
            }
        }
        if !self.environment.secure && !self.environment.library_path.is_empty() {
            let list = self.environment.library_path.as_bytes();
            self.try_list(search, list, b":;", 0, Reason::LibraryPath);
        }
        if let (Some(runpath), Some(index)) = (runpath, loader) {
            self.try_list(search, runpath, b":", index, Reason::Runpath);
        }
        self.try_system(search, loader.unwrap_or(0));
    }

    fn try_system(&self, search: &mut Search<'_>, requester: usize) {
        let bare = self.objects[requester].binary.no_default_dirs;
        let is_preload = matches!(search.asked, Asked::Preload | Asked::PreloadFile);
        // A program with other rights preloads from trusted directories only.
        let is_barred = self.environment.secure && is_preload;
        let cache = self.platform.cache.as_ref().filter(|_| !search.is_over && !is_barred);
        if let Some(cache) = cache {
            let platform = self.platform;
            let flags = platform.cache_flags;
            match cache.find(search.name, flags, &platform.hwcaps, platform.legacy.bits) {
                None => {
                    search.note(Reason::Cache, None, CACHE.into(), Outcome::NotInCache);
                }
                Some(path) if bare && self.is_in_default_dirs(path) => {
                    let path = PathBuf::from(OsStr::from_bytes(path));
                    search.note(Reason::Cache, None, path, Outcome::InDefaultDirs);
                }
                Some(path) => {
                    self.try_file(search, path, Reason::Cache, None);
                }
            }
        }
        for dir in self.platform.default_dirs.iter().filter(|_| !bare) {
            if !self.try_dir(search, dir.as_os_str().as_bytes(), Reason::DefaultDirs, None) {
                break;
            }
        }
    }

    fn is_in_default_dirs(&self, path: &[u8]) -> bool {
        self.platform.default_dirs.iter().any(|dir| {
            let rest = path.strip_prefix(dir.as_os_str().as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"/"))
        })
    }

    /// The requester, its loader, and so on; the program comes last even where it loaded nothing.
    fn loaders(&self, requester: Option<usize>) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut next = requester;
        while let Some(index) = next.filter(|index| !chain.contains(index)) {
            chain.push(index);
            next = self.objects[index].loader;
        }
        if !chain.contains(&0) {
            chain.push(0);
        }
        chain
    }

    fn try_list(
        &self,
        search: &mut Search<'_>,
        list: &[u8],
        separators: &[u8],
        of: usize,
        reason: Reason,
    ) {
        if search.is_over || list.is_empty() {
            return;
        }
        let of_whom = (reason != Reason::LibraryPath).then_some(of);
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for entry in split(list, separators) {
            // An empty entry is the working directory; one whose tokens have no value is dropped.
            let Some(mut dir) = self.expand_glibc(entry, of) else { continue };
            if dir.is_empty() && !entry.is_empty() {
                continue;
            }
            while dir.len() > 1 && dir.ends_with(b"/") {
                dir.pop();
            }
            if seen.contains(&dir) {
                continue;
            }
            let goes_on = self.try_dir(search, &dir, reason, of_whom);
            seen.push(dir);
            if !goes_on {
                break;
            }
        }
    }

    /// Tries a directory with its hardware directories; false where the list ends.
    fn try_dir(
        &self,
        search: &mut Search<'_>,
        dir: &[u8],
        reason: Reason,
        of: Option<usize>,
    ) -> bool {
        if search.is_over {
            return false;
        }
        let path = self.absolute(dir);
        if !self.files.has_dir(&path) {
            search.note(reason, of, path, Outcome::NoDirectory);
            return true;
        }
        let hwcaps = self.platform.hwcaps.iter().map(|name| [b"glibc-hwcaps/", &name[..]].concat());
        let below = hwcaps.chain(self.platform.legacy.dirs.iter().cloned());
        for sub in below {
            let spelled = join(dir, &sub);
            if self.files.has_dir(&self.absolute(&spelled)) {
                let file = join(&spelled, search.name);
                self.try_file(search, &file, reason, of);
            }
            if search.is_over {
                return false;
            }
        }
        self.try_file(search, &join(dir, search.name), reason, of)
    }

    /// Tries one file; false where the list that it belongs to ends.
    fn try_file(
        &self,
        search: &mut Search<'_>,
        real_name: &[u8],
        reason: Reason,
        of: Option<usize>,
    ) -> bool {
        if search.is_over {
            return false;
        }
        let path = self.absolute(real_name);
        let is_preload = matches!(search.asked, Asked::Preload | Asked::PreloadFile);
        let in_list = !matches!(reason, Reason::Path | Reason::Cache);
        let wants_trust = self.environment.secure && is_preload && in_list;
        let outcome = match self.files.look(&path) {
            Found::Nothing => Outcome::Missing,
            Found::Unreadable => Outcome::Unreadable,
            Found::Foreign(mismatch) => Outcome::Foreign(mismatch),
            Found::Damaged(what) => Outcome::Damaged(what),
            Found::Elf { set_user_id: false, .. } if wants_trust => Outcome::NotTrusted,
            Found::Elf { identity, binary, .. } => {
                let known = |o: &crate::Object| {
                    o.is_loaded() && o.is_known_by_file && o.identity == identity
                };
                if binary.is_program && !self.objects.iter().any(known) {
                    Outcome::IsProgram
                } else {
                    let (path, real_name) = (path.clone(), real_name.to_vec());
                    search.hit = Some(Hit { path, real_name, identity, binary, reason });
                    Outcome::Taken
                }
            }
        };
        search.is_over =
            matches!(outcome, Outcome::Taken | Outcome::Damaged(_) | Outcome::IsProgram);
        let goes_on = !search.is_over && outcome != Outcome::Unreadable;
        search.note(reason, of, path, outcome);
        goes_on
    }

    /// Replaces the tokens of a path that an object names; none where the path is dropped.
    pub(crate) fn expand_glibc(&self, text: &[u8], of: usize) -> Option<Vec<u8>> {
        let tokens = self.tokens(of);
        let secure = tokens.secure;
        let expanded = tokens.expand(text)?;
        let uses_origin = Tokens { origin: None, ..tokens }.expand(text).is_none();
        let trusted = !secure || of != 0 || !uses_origin || self.is_trusted(&expanded);
        trusted.then_some(expanded)
    }

    /// What tokens stand for in what an object names.
    pub(crate) fn tokens(&self, of: usize) -> Tokens<'_> {
        Tokens {
            origin: origin(&self.objects[of].path)
                .map(|dir| if dir.is_empty() { b"/" } else { dir }),
            lib: &self.platform.lib_token,
            platform: &self.platform.platform_token,
            secure: self.environment.secure,
        }
    }

    /// True if a path, with `.` and `..` taken out of its text, lies in a default directory.
    fn is_trusted(&self, path: &[u8]) -> bool {
        let mut parts: Vec<&[u8]> = Vec::new();
        if !path.starts_with(b"/") {
            return false;
        }
        for part in path.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        let normal = [b"/", &parts.join(&b'/')[..], b"/"].concat();
        self.is_in_default_dirs(&normal)
    }
}

/// A directory and what lies in it, as the loader spells it; an empty one adds nothing.
fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if dir.is_empty() || dir.ends_with(b"/") { b"" } else { b"/" };
    [dir, slash, name].concat()
}
