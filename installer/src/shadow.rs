//! What taking steps back would leave, without taking one.
//!
//! The inverses themselves run, on a [`Shadow`] of the machine that keeps their effects in memory:
//! what `--rollback --check` foresees is what a rollback then does, by construction.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::object::{Object, Stamp};

/// What an inverse needs of a machine; each is as the operation of [`Host`] of its name.
pub trait Ground {
    /// Looks at what lies at a path.
    fn inspect(&self, path: &Path) -> Result<Object>;
    /// Lists a directory's names.
    fn list(&self, dir: &Path) -> Result<Vec<OsString>>;
    /// Reads a whole file.
    fn read(&self, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>>;
    /// Resolves every link of a path.
    fn canonical(&self, path: &Path) -> Result<Option<PathBuf>>;
    /// Renames to a name that does not exist.
    fn move_new(&self, from: &Path, to: &Path) -> Result<()>;
    /// Renames, replacing what is there.
    fn move_over(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes a file or link.
    fn unlink(&self, path: &Path) -> Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> Result<()>;
    /// Gives a directory a time.
    fn restore_mtime(&self, path: &Path, mtime: Stamp) -> Result<()>;
    /// Puts a directory on the disk.
    fn sync_dir(&self, path: &Path) -> Result<()>;
}

impl<H: Host + ?Sized> Ground for H {
    fn inspect(&self, path: &Path) -> Result<Object> {
        Host::inspect(self, path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<OsString>> {
        Host::list(self, dir)
    }

    fn read(&self, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        Host::read(self, path, bytes_max)
    }

    fn canonical(&self, path: &Path) -> Result<Option<PathBuf>> {
        Host::canonical(self, path)
    }

    fn move_new(&self, from: &Path, to: &Path) -> Result<()> {
        Host::move_new(self, from, to)
    }

    fn move_over(&self, from: &Path, to: &Path) -> Result<()> {
        Host::move_over(self, from, to)
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        Host::unlink(self, path)
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        Host::remove_dir(self, path)
    }

    fn restore_mtime(&self, path: &Path, mtime: Stamp) -> Result<()> {
        Host::restore_mtime(self, path, mtime)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        Host::sync_dir(self, path)
    }
}

/// What lies at a path by now: nothing, or what lay at another.
#[derive(Debug, Clone)]
enum Now {
    Gone,
    Moved { object: Object, from: PathBuf },
}

/// A machine as it would be after some inverses; the machine itself stays as it is.
pub struct Shadow<'a> {
    host: &'a dyn Host,
    changed: RefCell<BTreeMap<PathBuf, Now>>,
}

impl<'a> Shadow<'a> {
    /// The machine as it is.
    #[must_use]
    pub fn of(host: &'a dyn Host) -> Self {
        Self { host, changed: RefCell::default() }
    }

    /// The one name of a path, links on the way to it resolved.
    fn key(&self, path: &Path) -> Result<PathBuf> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(path.into());
        };
        Ok(self.host.canonical(dir)?.unwrap_or_else(|| dir.into()).join(name))
    }

    fn now(&self, path: &Path) -> Result<Option<Now>> {
        Ok(self.changed.borrow().get(&self.key(path)?).cloned())
    }

    fn becomes(&self, path: &Path, now: Now) -> Result<()> {
        let key = self.key(path)?;
        self.changed.borrow_mut().insert(key, now);
        Ok(())
    }
}

impl Ground for Shadow<'_> {
    fn inspect(&self, path: &Path) -> Result<Object> {
        match self.now(path)? {
            Some(Now::Gone) => Ok(Object::Absent),
            Some(Now::Moved { object, .. }) => Ok(object),
            None => self.host.inspect(path),
        }
    }

    fn list(&self, dir: &Path) -> Result<Vec<OsString>> {
        let mut names = self.host.list(dir)?;
        let dir = self.host.canonical(dir)?.unwrap_or_else(|| dir.into());
        for (path, now) in self.changed.borrow().iter() {
            let Some(name) = path.file_name().filter(|_| path.parent() == Some(&dir)) else {
                continue;
            };
            names.retain(|known| known != name);
            if matches!(now, Now::Moved { .. }) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        match self.now(path)? {
            Some(Now::Gone) => Ok(None),
            Some(Now::Moved { from, .. }) => self.host.read(&from, bytes_max),
            None => self.host.read(path, bytes_max),
        }
    }

    fn canonical(&self, path: &Path) -> Result<Option<PathBuf>> {
        let found = self.host.canonical(path)?;
        let gone = |path: &PathBuf| matches!(self.changed.borrow().get(path), Some(Now::Gone));
        Ok(found.filter(|path| !gone(path)))
    }

    fn move_new(&self, from: &Path, to: &Path) -> Result<()> {
        if !Ground::inspect(self, to)?.is_absent() {
            let exists = std::io::ErrorKind::AlreadyExists.into();
            return Err(Error::io("putting into place", to, exists));
        }
        self.move_over(from, to)
    }

    fn move_over(&self, from: &Path, to: &Path) -> Result<()> {
        let object = self.inspect(from)?;
        let origin = match self.now(from)? {
            Some(Now::Moved { from, .. }) => from,
            _ => from.into(),
        };
        self.becomes(from, Now::Gone)?;
        self.becomes(to, Now::Moved { object, from: origin })
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        self.becomes(path, Now::Gone)
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        self.becomes(path, Now::Gone)
    }

    fn restore_mtime(&self, _path: &Path, _mtime: Stamp) -> Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::memory::Memory;

    #[test]
    fn a_shadow_shows_what_became_of_each_path_and_leaves_the_machine_alone() {
        let host = Memory::described("file /d/a one\nfile /d/b two\nlink /l -> /d\ndir /e");
        let before = host.tree();
        let shadow = Shadow::of(&host);
        let text = |path: &str| shadow.read(Path::new(path), 9).unwrap();
        shadow.move_over(Path::new("/l/a"), Path::new("/l/b")).unwrap();
        assert!(shadow.move_new(Path::new("/d/b"), Path::new("/l/b")).is_err(), "it is there");
        shadow.move_new(Path::new("/d/b"), Path::new("/d/c")).unwrap();
        assert_eq!(shadow.list(Path::new("/l")).unwrap(), ["c"]);
        assert_eq!((text("/d/c"), text("/d/a")), (Some(b"one".to_vec()), None));
        let was = Host::inspect(&host, Path::new("/d/a")).unwrap();
        assert_eq!(shadow.inspect(Path::new("/l/c")).unwrap(), was);
        shadow.unlink(Path::new("/d/c")).unwrap();
        shadow.remove_dir(Path::new("/d")).unwrap();
        shadow.remove_dir(Path::new("/e")).unwrap();
        assert_eq!(shadow.canonical(Path::new("/l")).unwrap(), None);
        assert!(shadow.inspect(Path::new("/e")).unwrap().is_absent());
        assert_eq!(host.tree(), before);
    }
}
