//! `vgpu-smi`: what NVIDIA's `nvidia-smi` shows first, over the documented NVML API.
//!
//! NVIDIA's own program asks NVML for a private table and ends without it. Ollama's install script
//! takes a machine with an NVIDIA PCI device and no `nvidia-smi` for one that needs NVIDIA's driver
//! and installs it, so `vgpu-install` links this program under that name where there is none.
//!
//! [`cli`] reads the command line, [`gpu`] asks NVML once, and [`table`] and [`query`] are pure;
//! [`terminal`] draws for `top`, here and for `vgpud smi`.
#![forbid(unsafe_code)]

pub mod cli;
pub mod error;
pub mod gpu;
pub mod query;
pub mod table;
pub mod terminal;

use std::io::Write;

use jiff::Zoned;

pub use error::Error;

use crate::cli::{Line, What};
use crate::gpu::{Library, Snapshot};

/// Answers a command line on `out`.
///
/// # Errors
/// [`Error`], with `nvidia-smi`'s own exit codes.
pub fn run(line: &Line, out: &mut dyn Write) -> Result<(), Error> {
    if line.help_query_gpu {
        return write(out, &query::help());
    }
    let wanted = query::Wanted::of(line)?;
    if line.what == Some(What::Top) {
        return top(line);
    }
    let library = Library::open()?;
    loop {
        let snapshot = kept(&library, line)?;
        let now = Zoned::now();
        let text = if line.json {
            json(&snapshot)?
        } else if line.list_gpus {
            table::list(&snapshot)
        } else if let Some(wanted) = &wanted {
            query::csv(&snapshot, wanted, &now)
        } else {
            table::screen(&snapshot, &now)
        };
        write(out, &text)?;
        if !line.again.pause() {
            return Ok(());
        }
    }
}

/// Shows the first screen until somebody has seen enough.
fn top(line: &Line) -> Result<(), Error> {
    let mut library = Some(Library::open()?);
    let draw = || {
        // After a host was away, a new beginning finds it again.
        let known = match library.take() {
            Some(known) => known,
            None => Library::open()?,
        };
        let snapshot = kept(&known, line)?;
        library = Some(known);
        Ok(table::screen(&snapshot, &Zoned::now()))
    };
    terminal::top(line.again.of_top(), draw, Error::told)
}

/// Asks for the GPUs that the command line names.
fn kept(library: &Library, line: &Line) -> Result<Snapshot, Error> {
    let mut snapshot = library.snapshot()?;
    if let Some(ids) = &line.id {
        snapshot.keep(ids)?;
    }
    Ok(snapshot)
}

fn json(snapshot: &Snapshot) -> Result<String, Error> {
    let mut text = serde_json::to_string_pretty(snapshot).map_err(std::io::Error::from)?;
    text.push('\n');
    Ok(text)
}

fn write(out: &mut dyn Write, text: &str) -> Result<(), Error> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush())?;
    Ok(())
}
