//! The command line: `cargo run -p vgpu-codegen [-- --headers DIR]`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::error::{Error, Result};
use crate::{Outputs, distil, generate};

/// Writes exports, messages, dispatch and docs from shims/api.
#[derive(Debug, Parser)]
struct Arguments {
    /// The workspace to work on.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))]
    root: PathBuf,
    /// Directory with the unpacked header packages: distils them anew first.
    #[arg(long)]
    headers: Option<PathBuf>,
}

/// Runs the program; prints which files changed.
pub fn run() -> ExitCode {
    match work(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vgpu-codegen: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(reason) = cause {
                eprintln!("     because: {reason}");
                cause = reason.source();
            }
            if let Some(hint) = error.hint() {
                eprintln!("     try:     {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn work(arguments: &Arguments) -> Result<()> {
    if let Some(headers) = &arguments.headers {
        write_all(&arguments.root, distil(&arguments.root, headers)?)?;
    }
    write_all(&arguments.root, generate(&arguments.root)?)
}

fn write_all(root: &Path, outputs: Outputs) -> Result<()> {
    for (path, text) in outputs {
        if write_if_changed(&root.join(&path), &text)? {
            println!("{}", path.display());
        }
    }
    Ok(())
}

/// Writes a file unless it already holds the text; says whether it did.
pub(crate) fn write_if_changed(path: &Path, text: &str) -> Result<bool> {
    let failed = |verb| move |source| Error::File { verb, path: path.into(), source };
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed("making the directory of"))?;
    }
    std::fs::write(path, text).map_err(failed("writing"))?;
    Ok(true)
}
