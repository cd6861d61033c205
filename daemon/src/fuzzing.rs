//! Doors for the fuzzer (`fuzz`): the daemon's readers, which nobody else calls from outside.

use std::error::Error;
use std::path::Path;
use std::sync::OnceLock;

use clap::Parser as _;

use crate::cli::Arguments;
use crate::config::Config;
use crate::device;
use crate::{image, recording};

pub use crate::host::Room;

/// Devices of some compute capabilities that images have code for.
const CAPABILITIES: [(u32, u32); 3] = [(9, 0), (12, 0), (7, 5)];

/// Reads the bytes as an image, for several devices.
///
/// # Panics
/// If what was read contradicts itself.
pub fn image(bytes: &[u8]) {
    for capability in CAPABILITIES {
        let Ok(image) = image::read(bytes, capability) else { continue };
        for kernel in &image.kernels {
            for parameter in &kernel.parameters {
                let end = parameter.offset.checked_add(parameter.bytes);
                assert!(end.is_some_and(|end| end <= kernel.parameter_bytes), "{kernel:?}");
            }
        }
        for variable in &image.variables {
            let initial = variable.initial.as_ref().map_or(0, Vec::len) as u64;
            assert!(initial <= variable.bytes, "{variable:?}");
        }
    }
}

/// Reads the bytes as PTX and runs whatever of it can be run, for a moment.
pub fn program(bytes: &[u8]) {
    device::run_for_a_moment(bytes);
}

/// Reads the bytes as a recording, and prepares to play what is in it.
pub fn recording(bytes: &[u8]) {
    let Ok(sections) = recording::parse(Path::new("fuzzed"), bytes) else { return };
    let _ = recording::snapshot(&sections);
}

/// Reads the text as host.toml.
///
/// # Errors
/// What is wrong with it, and the remedy.
///
/// # Panics
/// Never: the arguments are right.
pub fn configuration(text: &str) -> Result<(), (Box<dyn Error>, String)> {
    static ARGUMENTS: OnceLock<Arguments> = OnceLock::new();
    // The simulated device on the command line: no driver of this machine's is looked for.
    let words = ["vgpud", "--device", "sim"];
    let arguments =
        ARGUMENTS.get_or_init(|| Arguments::try_parse_from(words).expect("right usage"));
    match Config::join(arguments, Path::new("/etc/vgpu/host.toml"), text) {
        Ok(_) => Ok(()),
        Err(error) => {
            let hint = error.hint().unwrap_or_default().to_string();
            Err((Box::new(error), hint))
        }
    }
}
