//! Generated Rust is formatted like all other Rust.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Runs rustfmt over a generated file.
pub(crate) fn rustfmt(root: &Path, what: &Path, text: &str) -> Result<String> {
    let failed = |complaint: String| Error::Tool {
        tool: "rustfmt",
        what: what.display().to_string(),
        complaint,
    };
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut stdin = child.stdin.take().expect("stdin was asked for above");
    let input = text.to_owned();
    // rustfmt reads all of its input before it writes, so this thread only spares a deadlock
    // should that change.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    let written = writer.join().expect("the writer does not panic");
    if !output.status.success() || written.is_err() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
