//! Who answers to the name `nvidia-smi`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::location::Location;
use crate::object::Object;

/// Our program for the first screen.
pub const SMI: &str = "/usr/bin/vgpu-smi";
/// The name by which people and install scripts look for it, where no package puts files.
pub const NVIDIA_SMI: &str = "/usr/local/bin/nvidia-smi";

/// What is known of the programs named `nvidia-smi`.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Smi {
    /// True if [`SMI`] is there.
    pub program: bool,
    /// What lies at [`NVIDIA_SMI`].
    pub link: Object,
    /// The directories on the way there that do not exist, outermost first.
    pub missing_dirs: Vec<Location>,
    /// Other programs of that name where a shell looks.
    pub others: Vec<Location>,
}

impl Smi {
    /// True if our link is there.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        let Object::Link { target, .. } = &self.link else { return false };
        target.as_ref() == std::path::Path::new(SMI)
    }
}
