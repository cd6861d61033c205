//! Finds the headers below a directory of unpacked packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Deepest directory that is searched: packages hold their headers four or five levels down.
const DEPTH_MAX: usize = 7;

/// Include directories by major version.
#[derive(Debug, Default)]
pub(super) struct Headers {
    root: PathBuf,
    cuda: BTreeMap<u32, PathBuf>,
    nvml: BTreeMap<u32, PathBuf>,
}

impl Headers {
    /// Returns the directory with `cuda.h` of a major version.
    pub(super) fn cuda(&self, major: u32) -> Result<&Path> {
        self.one(&self.cuda, major, "cuda.h", "nvidia-cuda-runtime")
    }

    /// Returns the directory with `nvml.h` of a major version.
    pub(super) fn nvml(&self, major: u32) -> Result<&Path> {
        self.one(&self.nvml, major, "nvml.h", "nvidia-nvml-dev")
    }

    fn one<'a>(
        &self,
        found: &'a BTreeMap<u32, PathBuf>,
        major: u32,
        header: &'static str,
        package: &'static str,
    ) -> Result<&'a Path> {
        found.get(&major).map(PathBuf::as_path).ok_or_else(|| Error::NoHeader {
            header,
            major,
            package,
            directory: self.root.clone(),
        })
    }
}

/// Searches `root`.
pub(super) fn headers(root: &Path) -> Result<Headers> {
    let mut found = Headers { root: root.into(), ..Default::default() };
    search(root, 0, &mut found)?;
    Ok(found)
}

fn search(directory: &Path, depth: usize, found: &mut Headers) -> Result<()> {
    let failed = |source| Error::File { verb: "searching", path: directory.into(), source };
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() && depth < DEPTH_MAX {
            search(&path, depth + 1, found)?;
        } else if entry.file_name() == "cuda.h" {
            if let Some(version) = number(&path, "#define CUDA_VERSION ")? {
                found.cuda.insert(version / 1000, directory.into());
            }
        } else if entry.file_name() == "nvml.h"
            && let Some(version) = number(&path, "#define NVML_API_VERSION ")?
        {
            found.nvml.insert(version, directory.into());
        }
    }
    Ok(())
}

fn number(path: &Path, define: &str) -> Result<Option<u32>> {
    let text = std::fs::read(path).map_err(|source| Error::File {
        verb: "reading",
        path: path.into(),
        source,
    })?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix(define));
    Ok(line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()))
}
