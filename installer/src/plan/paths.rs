//! What a unit sees of the file system: the settings that hide paths, make them read-only or take
//! the right to execute, each over a whole tree, the deepest one deciding (systemd.exec(5),
//! "Sandboxing" and "Paths").

use std::path::{Path, PathBuf};

use crate::discover::units::is_yes;
use crate::facts::{Unit, Variable};
use crate::unit_file::{has_specifier, without_percent_pairs, words};

/// What a unit may do with a path, as far as its mounts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// What the file's mode allows.
    ReadWrite,
    /// Nothing is changed there.
    ReadOnly,
    /// Something else, or nothing, is seen there.
    Hidden,
}

/// The rules of one unit.
#[derive(Debug, Default)]
pub struct Paths {
    access: Vec<(PathBuf, Access, Variable)>,
    executable: Vec<(PathBuf, bool)>,
}

impl Paths {
    /// Reads a unit's settings.
    pub fn of(unit: &Unit) -> Self {
        let mut paths = Self::default();
        for setting in &unit.settings {
            paths.take(setting);
        }
        paths
    }

    fn take(&mut self, setting: &Variable) {
        use Access::{Hidden, ReadOnly, ReadWrite};
        let yes = is_yes(&setting.value);
        match (setting.name.as_str(), setting.value.as_str()) {
            ("ReadOnlyPaths", _) => self.list(setting, ReadOnly, source),
            ("ReadWritePaths", _) => self.list(setting, ReadWrite, source),
            ("InaccessiblePaths", _) => self.list(setting, Hidden, source),
            ("TemporaryFileSystem", _) => self.list(setting, Hidden, source),
            ("BindPaths", _) => self.list(setting, ReadWrite, destination),
            ("BindReadOnlyPaths", _) => self.list(setting, ReadOnly, destination),
            ("ProtectHome", "read-only") => self.homes(setting, ReadOnly),
            ("ProtectHome", "tmpfs") => self.homes(setting, Hidden),
            ("ProtectHome", _) if yes => self.homes(setting, Hidden),
            ("PrivateTmp", _) if yes => self.add(setting, &["/tmp", "/var/tmp"], Hidden),
            ("ProtectKernelTunables", _) if yes => {
                self.add(setting, &["/sys", "/proc/sys"], ReadOnly);
            }
            // It implies more, of which this can hide a socket.
            ("DynamicUser", _) if yes => {
                self.homes(setting, ReadOnly);
                self.add(setting, &["/tmp", "/var/tmp"], Hidden);
            }
            ("NoExecPaths", _) => self.code(&setting.value, false),
            ("ExecPaths", _) => self.code(&setting.value, true),
            _ => {}
        }
    }

    fn list(&mut self, setting: &Variable, access: Access, part: fn(&str) -> &str) {
        for word in words(&setting.value) {
            self.add(setting, &[part(&word)], access);
        }
    }

    fn homes(&mut self, setting: &Variable, access: Access) {
        self.add(setting, &["/home", "/root", "/run/user"], access);
    }

    fn add(&mut self, setting: &Variable, paths: &[&str], access: Access) {
        for path in paths.iter().filter_map(|path| known(path)) {
            self.access.push((path, access, setting.clone()));
        }
    }

    fn code(&mut self, value: &str, executable: bool) {
        for word in words(value) {
            self.executable.extend(known(&word).map(|path| (path, executable)));
        }
    }

    /// What the unit may do with a path, and the setting that decided it. Of rules for the same
    /// tree the strictest decides; of what is hidden, only a bind mount shows a part.
    pub fn access(&self, path: impl AsRef<Path>) -> (Access, Option<&Variable>) {
        let deciding = |wanted: &dyn Fn(&Access, &Variable) -> bool| {
            let over = self.access.iter().filter(|(tree, access, setting)| {
                path.as_ref().starts_with(tree) && wanted(access, setting)
            });
            over.max_by_key(|(tree, access, _)| (tree.components().count(), *access as u8))
        };
        let shown = deciding(&|access, setting| {
            *access == Access::Hidden || setting.name.starts_with("Bind")
        });
        if let Some((_, Access::Hidden, setting)) = shown {
            return (Access::Hidden, Some(setting));
        }
        match deciding(&|access, _| *access != Access::Hidden) {
            Some((_, access, setting)) => (*access, Some(setting)),
            None => (Access::ReadWrite, None),
        }
    }

    /// True if code in a tree may be mapped.
    pub fn is_executable(&self, path: &Path) -> bool {
        let over = self.executable.iter().filter(|(tree, _)| path.starts_with(tree));
        let deciding =
            over.max_by_key(|(tree, executable)| (tree.components().count(), *executable));
        deciding.is_none_or(|(_, executable)| *executable)
    }
}

/// The path of a word; none for one that only systemd can complete.
fn known(word: &str) -> Option<PathBuf> {
    let path = without_percent_pairs(word.trim_start_matches(['-', '+']));
    (path.starts_with('/') && !has_specifier(word)).then(|| PathBuf::from(path))
}

/// The part before options: `/run:ro`.
fn source(word: &str) -> &str {
    word.split(':').next().unwrap_or(word)
}

/// Where a bound path appears: `source:destination:options`.
fn destination(word: &str) -> &str {
    let mut parts = word.split(':');
    let source = parts.next().unwrap_or(word);
    parts.next().filter(|path| !path.is_empty()).unwrap_or(source)
}
