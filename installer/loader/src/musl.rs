//! The order of musl's search: `LD_LIBRARY_PATH`, the RPATH or RUNPATH of the requester and of
//! its loaders, the directories of `/etc/ld-musl-ARCH.path` or the built-in ones.
//!
//! musl passes nothing over: the first file of the name is taken, and loading fails if it is not
//! fit. It has no cache, no hardware directories, and no token but `$ORIGIN`.

use std::os::unix::ffi::OsStrExt;

use crate::files::{Files, Found};
use crate::process::{Hit, Process, Search, origin, split};
use crate::resolution::{Asked, Note, Outcome, Reason};

/// Names of libraries that are part of the loader, between `lib` and the dot.
const RESERVED: [&[u8]; 7] = [b"c", b"pthread", b"rt", b"m", b"dl", b"util", b"xnet"];
/// Longest file name that is searched for (`NAME_MAX`).
const NAME_BYTES_MAX: usize = 255;
/// Length of the buffer that a directory with the name must fit into, with its end mark.
const PATH_BUFFER_BYTES: usize = 2 * NAME_BYTES_MAX + 2;

impl<F: Files> Process<'_, F> {
    pub(crate) fn preload_musl(&mut self, list: &[u8]) {
        if self.environment.secure {
            if !list.is_empty() {
                self.notes.push(Note::Ignored("LD_PRELOAD"));
            }
            return;
        }
        for name in split(list, b": \t\n\r\x0b\x0c").filter(|name| !name.is_empty()) {
            self.resolve(Asked::Preload, name, None);
        }
    }

    /// Looks for an object that answers to a name already.
    pub(crate) fn loaded_musl(&mut self, name: &[u8]) -> Option<(usize, Reason)> {
        let interpreter = self.objects[0].binary.interpreter.as_deref();
        if is_reserved(name) || interpreter == Some(name) {
            return self.itself().map(|index| (index, Reason::Itself));
        }
        if name.contains(&b'/') {
            return None;
        }
        let known = |object: &crate::Object| {
            object.is_loaded() && object.names.iter().any(|known| known == name)
        };
        // The program itself answers to no name.
        let index = self.objects.iter().skip(1).position(known)? + 1;
        Some((index, Reason::Loaded))
    }

    /// The loader itself among the objects.
    fn itself(&mut self) -> Option<usize> {
        let interpreter = self.objects[0].binary.interpreter.clone()?;
        let path = self.absolute(&interpreter);
        let known = self.objects.iter().position(|o| !o.is_known_by_file && o.path == path);
        known.or_else(|| self.own_index())
    }

    pub(crate) fn search_musl(&self, search: &mut Search<'_>, loader: Option<usize>) {
        if search.name.is_empty() {
            return;
        }
        if search.name.contains(&b'/') {
            self.try_file_musl(search, search.name, Reason::Path, None);
            return;
        }
        if search.name.len() > NAME_BYTES_MAX {
            return;
        }
        if !self.environment.secure {
            let list = self.environment.library_path.as_bytes();
            if !self.try_list_musl(search, list, Reason::LibraryPath, None) {
                return;
            }
        }
        let mut next = loader;
        while let Some(index) = next {
            if let Some(list) = self.rpath_musl(index) {
                let reason = match self.objects[index].binary.runpath {
                    Some(_) => Reason::Runpath,
                    None => Reason::Rpath,
                };
                if !self.try_list_musl(search, &list, reason, Some(index)) {
                    return;
                }
            }
            next = self.objects[index].loader;
        }
        let dirs: Vec<&[u8]> =
            self.platform.default_dirs.iter().map(|dir| dir.as_os_str().as_bytes()).collect();
        self.try_list_musl(search, &dirs.join(&b':'), Reason::DefaultDirs, None);
    }

    /// An object's search path with `$ORIGIN` replaced; none where musl ignores it as a whole.
    fn rpath_musl(&self, index: usize) -> Option<Vec<u8>> {
        let object = &self.objects[index];
        let text = object.binary.runpath.as_ref().or(object.binary.rpath.as_ref())?;
        if !text.contains(&b'$') {
            return Some(text.clone());
        }
        if self.environment.secure && index == 0 {
            return None;
        }
        // musl cuts the last part off with its slash: the root itself becomes nothing.
        let origin = origin(&object.path)?;
        let mut out = Vec::with_capacity(text.len());
        let mut parts = text.split(|byte| *byte == b'$');
        out.extend_from_slice(parts.next().unwrap_or_default());
        for part in parts {
            let rest = part.strip_prefix(b"ORIGIN").or_else(|| part.strip_prefix(b"{ORIGIN}"))?;
            out.extend_from_slice(origin);
            out.extend_from_slice(rest);
        }
        Some(out)
    }

    /// Tries a list; false where the search is over.
    fn try_list_musl(
        &self,
        search: &mut Search<'_>,
        list: &[u8],
        reason: Reason,
        of: Option<usize>,
    ) -> bool {
        for dir in split(list, b":\n").filter(|dir| !dir.is_empty()) {
            let file = [dir, b"/", search.name].concat();
            if file.len() >= PATH_BUFFER_BYTES {
                continue;
            }
            if !self.files.has_dir(&self.absolute(dir)) {
                search.note(reason, of, self.absolute(dir), Outcome::NoDirectory);
                continue;
            }
            if !self.try_file_musl(search, &file, reason, of) {
                return false;
            }
        }
        true
    }

    /// Tries one file; false where the search is over.
    fn try_file_musl(
        &self,
        search: &mut Search<'_>,
        real_name: &[u8],
        reason: Reason,
        of: Option<usize>,
    ) -> bool {
        let path = self.absolute(real_name);
        let outcome = match self.files.look(&path) {
            Found::Nothing => Outcome::Missing,
            Found::Unreadable => Outcome::Unreadable,
            Found::Foreign(_) => Outcome::Damaged("a library of another machine"),
            Found::Damaged(what) => Outcome::Damaged(what),
            Found::Elf { identity, binary, .. } => {
                let (path, real_name) = (path.clone(), real_name.to_vec());
                search.hit = Some(Hit { path, real_name, identity, binary, reason });
                Outcome::Taken
            }
        };
        search.is_over = outcome != Outcome::Missing;
        search.note(reason, of, path, outcome);
        !search.is_over
    }
}

/// True for `libc.`, `libm.` and the others that musl answers itself, whatever follows.
fn is_reserved(name: &[u8]) -> bool {
    name.strip_prefix(b"lib").is_some_and(|rest| {
        let is_word = |word: &&[u8]| {
            rest.strip_prefix(*word).is_some_and(|after| after.first() == Some(&b'.'))
        };
        RESERVED.iter().any(is_word)
    })
}
