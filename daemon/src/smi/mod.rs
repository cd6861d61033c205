//! `vgpud smi`: the GPUs, tenants and clients of the daemon that runs here, as it says itself at
//! its status socket. It needs no driver and no worker, so it answers when the host is full, too.

mod ask;
mod table;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use vgpu_smi::cli::Again;
use vgpu_smi::terminal;

use crate::config::Config;
use crate::error::DaemonError;
use crate::figures::Figures;

/// Where the package's service answers.
const USUAL: &str = "/run/vgpud/status.sock";

/// What to show, and how.
#[derive(Debug, Args)]
pub(crate) struct SmiOptions {
    /// With `top`: on the whole terminal, until q is pressed
    what: Option<What>,

    #[command(flatten)]
    again: Again,

    /// Print everything as one JSON document
    #[arg(long, conflicts_with = "what")]
    json: bool,

    /// The daemon's status socket (default: as host.toml says, else /run/vgpud/status.sock)
    #[arg(long, value_name = "PATH")]
    status: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Top,
}

/// Asks the daemon, and prints what it says.
///
/// # Errors
/// [`DaemonError`] that names the socket if nobody answers there, or the output if it is closed.
pub(crate) fn run(options: &SmiOptions) -> Result<(), DaemonError> {
    let socket = match &options.status {
        Some(socket) => socket.clone(),
        None => Config::named_status()?.unwrap_or_else(|| USUAL.into()),
    };
    if options.what == Some(What::Top) {
        let draw = || figures(&socket).map(|figures| table::screen(&figures));
        return terminal::top(options.again.of_top(), draw, |error| crate::log::chain(error));
    }
    loop {
        let text = match options.json {
            true => ask::status(&socket)? + "\n",
            false => table::screen(&figures(&socket)?),
        };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // A reader such as `head` has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written
                .map_err(|source| DaemonError::System { verb: "writing the answer", source })?,
        }
        if !options.again.pause() {
            return Ok(());
        }
    }
}

/// Asks for everything, and understands it.
fn figures(socket: &Path) -> Result<Figures, DaemonError> {
    let text = ask::status(socket)?;
    serde_json::from_str(&text)
        .map_err(|source| DaemonError::Status { path: socket.into(), source: source.into() })
}
