//! The directory of images: one file each, named by the hash.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Hash, IMAGE_BYTES_MAX, accounted};
use crate::error::DaemonError;

/// Begins the names of files that are being written.
const UNFINISHED: &str = "unfinished-";

/// A file that is being written for longer was left by a worker that ended.
const UNFINISHED_TIME_MAX: Duration = Duration::from_secs(600);

/// The directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    bytes_max: u64,
}

impl Directory {
    /// Opens a directory, making it (for us alone) if need be.
    pub fn open(path: &Path, bytes_max: u64) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::File { verb: "making", path: path.into(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        Ok(Self { path: path.into(), bytes_max })
    }

    /// Most bytes that it holds.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Reads an image of a known length and marks it as used; one whose contents are not what its
    /// name says is removed.
    pub fn read(&mut self, hash: &Hash, bytes: u64) -> Option<Vec<u8>> {
        let path = self.path.join(name(hash));
        let file = File::open(&path).ok()?;
        if file.metadata().ok()?.len() != bytes || bytes > IMAGE_BYTES_MAX {
            return None;
        }
        let mut contents = Vec::with_capacity(bytes as usize);
        (&file).take(bytes).read_to_end(&mut contents).ok()?;
        if blake3::hash(&contents).as_bytes() != hash {
            // Another worker may have removed it already.
            let _ = fs::remove_file(&path);
            return None;
        }
        // A read-only store works as well; its images only look older than they are.
        let _ = file.set_modified(SystemTime::now());
        Some(contents)
    }

    /// Keeps an image, and makes room for it.
    pub fn write(&mut self, hash: &Hash, contents: &[u8]) -> Result<(), DaemonError> {
        self.make_room(contents.len() as u64);
        let (from, to) = (self.path.join(unfinished()), self.path.join(name(hash)));
        let written = File::create_new(&from)
            .and_then(|mut file| file.write_all(contents))
            .and_then(|()| fs::rename(&from, &to));
        written.map_err(|source| {
            // What is left of it only takes room, and goes with the next that is kept.
            let _ = fs::remove_file(&from);
            DaemonError::File { verb: "writing", path: to, source }
        })
    }

    /// Removes what was not used for longest until there is room, and what was left unfinished.
    fn make_room(&self, bytes: u64) {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = self.list().unwrap_or_default();
        files.sort();
        let bytes = accounted(bytes);
        let mut held: u64 = files.iter().map(|(_, bytes, _)| accounted(*bytes)).sum();
        let now = SystemTime::now();
        for (used, size, path) in files {
            let is_unfinished =
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED));
            let is_left = now.duration_since(used).is_ok_and(|age| age > UNFINISHED_TIME_MAX);
            let in_the_way = held.saturating_add(bytes) > self.bytes_max && !is_unfinished;
            // Several workers may do this at once: the file may be gone.
            if (in_the_way || (is_unfinished && is_left)) && fs::remove_file(path).is_ok() {
                held -= accounted(size);
            }
        }
    }

    fn list(&self) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let one = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.ok()?;
            let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
            Some((metadata.modified().ok()?, metadata.len(), entry.path()))
        };
        Ok(fs::read_dir(&self.path)?.filter_map(one).collect())
    }
}

/// A name that no other file of any worker has.
fn unfinished() -> String {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{UNFINISHED}{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed))
}

fn name(hash: &Hash) -> String {
    let mut name = String::with_capacity(64);
    for byte in hash {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}
