use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{Error, Parts, Release, Result, tarball};

/// Knows where `cargo xtask` has put what the story needs.
#[derive(Debug)]
pub struct Setting {
    /// The staged packages, one directory for each.
    pub stage: PathBuf,
    /// The guest's deb.
    pub deb: PathBuf,
    /// Where containers are unpacked.
    pub containers: PathBuf,
    /// The root of the containers.
    pub tarball: PathBuf,
    /// The release that the root is of.
    pub suite: String,
    /// What makes up an Ollama.
    pub parts: Parts,
}

impl Setting {
    /// Reads the environment that `cargo xtask test` and `cargo xtask demo` give, and makes the
    /// container's root if there is none yet.
    ///
    /// # Errors
    /// `Environment` without one of the variables; whatever making the root fails with.
    pub fn from_environment() -> Result<Self> {
        let stage = PathBuf::from(variable("VGPU_STAGE_RELEASE")?);
        let cache = PathBuf::from(variable("VGPU_CACHE")?);
        let headers = PathBuf::from(variable("VGPU_HEADERS")?);
        let npm = Path::new(&variable("VGPU_NODE_CLIENTS")?).join("node_modules");
        let programs = stage.join("vgpu-tests/usr/lib/vgpu-tests");
        let release = Release::of_this_machine()?;
        Ok(Self {
            deb: PathBuf::from(variable("VGPU_DEB")?),
            containers: cache.with_file_name("containers"),
            tarball: tarball(&cache, &release)?,
            suite: release.suite().to_owned(),
            parts: Parts {
                ollama: programs.join("ollama-stand-in"),
                llama_server: programs.join("llama-server-stand-in"),
                ggml: npm.join("@node-llama-cpp/linux-x64-cuda/bins/linux-x64-cuda"),
                ggml_12: npm.join("@fugood/node-llama-linux-x64-cuda/index.node"),
                cudart_13: headers.join("nvidia/cu13/lib/libcudart.so.13"),
                cudart_12: headers.join("nvidia/cuda_runtime/lib/libcudart.so.12"),
            },
            stage,
        })
    }
}

fn variable(name: &'static str) -> Result<OsString> {
    env::var_os(name).ok_or(Error::Environment { name })
}
