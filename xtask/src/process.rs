//! Running other programs: always announced, never silently failed.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;

thread_local! {
    /// Where this thread's programs write, if that is not the screen.
    static LOG: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// Makes an empty log of that name.
pub(crate) fn log(directory: &Path, name: &str) -> Result<(File, PathBuf), Error> {
    let path = directory.join(name);
    let made = std::fs::create_dir_all(directory).and_then(|()| File::create(&path));
    match made {
        Ok(file) => Ok((file, path)),
        Err(source) => Err(Error::File { verb: "creating", path, source }),
    }
}

/// Does some work whose programs write to a log.
pub(crate) fn logged<T>(log: File, work: impl FnOnce() -> T) -> T {
    LOG.set(Some(log));
    let done = work();
    LOG.set(None);
    done
}

/// Runs a command whose output belongs on the screen, or in this thread's log, and fails unless it
/// succeeds.
pub(crate) fn run(step: &str, command: &mut Command) -> Result<(), Error> {
    let announced = format!("  $ {}\n", line(command));
    let failed_log = |source| Error::File { verb: "writing", path: "the log".into(), source };
    LOG.with_borrow_mut(|log| match log {
        Some(log) => {
            log.write_all(announced.as_bytes())?;
            command.stdout(log.try_clone()?).stderr(log.try_clone()?);
            Ok(())
        }
        None => std::io::stdout().write_all(announced.as_bytes()),
    })
    .map_err(failed_log)?;
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
