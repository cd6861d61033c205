//! What the virtual machine is given besides the packages: the tests of links, as programs.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::error::Error;
use crate::paths::Paths;
use crate::process::capture;

/// The tests that run in the guest. `cargo test` leaves them out: a machine of its own is where
/// vsock leads back to itself, and where the devices are.
const TESTS: [&str; 2] = ["across", "vsock"];

/// Compiles them into target/link-tests.
pub(crate) fn link_tests(paths: &Paths) -> Result<(), Error> {
    let directory = paths.link_tests();
    let file = |verb, path| move |source| Error::File { verb, path, source };
    std::fs::create_dir_all(&directory).map_err(file("creating", directory.clone()))?;
    for name in TESTS {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&paths.root);
        cargo.args(["test", "--package", "vgpu-link", "--test", name, "--no-run"]);
        let said = capture("compiling a test", cargo.arg("--message-format=json"))?;
        let made = executable(&String::from_utf8_lossy(&said))
            .ok_or_else(|| Error::NoProgram { name: name.to_owned() })?;
        let to = directory.join(name);
        std::fs::copy(&made, &to).map_err(file("copying", made))?;
    }
    Ok(())
}

/// Finds the program among cargo's messages ("External tools" of the Cargo Book).
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?))).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_the_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/vsock-1\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/vsock-1")));
        assert_eq!(executable("{\"reason\":\"build-finished\"}"), None);
    }
}
