//! Running other programs: always announced, never silently failed.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use crate::error::Error;

/// Runs a command whose output belongs on the screen, and fails unless it succeeds.
pub(crate) fn run(step: &str, command: &mut Command) -> Result<(), Error> {
    println!("  $ {}", line(command));
    let status = command.status().map_err(|source| start(command, source))?;
    if status.success() { Ok(()) } else { Err(failed(step, command, status)) }
}

/// Runs a command for its standard output; what it says on standard error is shown.
pub(crate) fn capture(step: &str, command: &mut Command) -> Result<Vec<u8>, Error> {
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|source| start(command, source))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(failed(step, command, output.status))
    }
}

/// Says whether a command can be started and succeeds; shows nothing.
pub(crate) fn succeeds(words: &[String]) -> bool {
    let Some((program, arguments)) = words.split_first() else { return false };
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn start(command: &Command, source: std::io::Error) -> Error {
    Error::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}

fn failed(step: &str, command: &Command, status: std::process::ExitStatus) -> Error {
    Error::Failed { step: step.to_owned(), command: line(command), status: status.to_string() }
}

/// The command as a person would type it, cut after a few words.
fn line(command: &Command) -> String {
    const WORDS_SHOWN: usize = 12;
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    let shown = words.iter().take(WORDS_SHOWN).map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
    if words.len() > WORDS_SHOWN { format!("{shown} ...") } else { shown }
}
