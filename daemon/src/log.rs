//! Logs: one event at a time, to the journal with its fields where standard error leads there
//! (systemd.exec(5), `JOURNAL_STREAM`), else one line on standard error: `event key=value …`.

mod allowance;
mod journal;
mod lost;

use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io::{ErrorKind, Write as _};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crate::error::DaemonError;
pub(crate) use allowance::Allowance;
use journal::{Journal, Priority};
use lost::Lost;

/// Found at the first event.
static JOURNAL: OnceLock<Option<Journal>> = OnceLock::new();

/// Lines that did not go.
static LOST: Lost = Lost::none();

/// How many lines this process may write, if that is limited.
static ALLOWANCE: Mutex<Option<Allowance>> = Mutex::new(None);

/// What the daemon goes on in spite of, but not well.
const ERRORS: [&str; 8] = [
    "cannot-accept",
    "certificate-not-valid",
    "miscounted",
    "no-answers",
    "no-ledger",
    "no-porter",
    "no-worker",
    "worker-failed",
];

/// What an operator may want to look into.
const WARNINGS: [&str; 29] = [
    "certificate-ends",
    "cut",
    "driver-lacks",
    "few-descriptors",
    "function-refused",
    "held-back",
    "idle-worker-gone",
    "image-not-kept",
    "image-refused",
    "image-unusable",
    "kernel-failed",
    "launch-refused",
    "lost-lines",
    "machine-lost",
    "machine-refused",
    "no-cublas",
    "no-image-store",
    "no-memory",
    "no-ring",
    "not-confined",
    "not-counted",
    "not-gone",
    "not-paced",
    "not-pinned",
    "not-recorded",
    "not-reloaded",
    "over-memory",
    "parted",
    "refused",
];

/// Finds where to log. A worker that reaches no socket any more has to have done it before.
pub(crate) fn open() {
    JOURNAL.get_or_init(Journal::find);
}

/// Limits what this process writes from here on: a worker, of whose client each line may be.
pub(crate) fn limit(allowance: Allowance) {
    *ALLOWANCE.lock().unwrap_or_else(PoisonError::into_inner) = Some(allowance);
}

/// Tells of lines that did not go, where no other will: at the end of a worker.
pub(crate) fn end() {
    let allowance = ALLOWANCE.lock().unwrap_or_else(PoisonError::into_inner);
    // Of one that is not in the log at all, the host process has counted the connection.
    if allowance.as_ref().is_none_or(|allowance| !allowance.is_nothing()) {
        LOST.confess(tell);
    }
}

/// Counts a line that its maker held back.
pub(crate) fn hold_back() {
    LOST.count();
}

/// How many lines of this process did not go.
pub(crate) fn lost() -> u64 {
    LOST.total()
}

/// Writes one event. Values with blanks or quotes are quoted.
pub(crate) fn event(name: &str, fields: &[(&str, &dyn Display)]) {
    let mut line = name.to_owned();
    for (key, value) in fields {
        let value = value.to_string();
        let plain = !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && c != '"');
        // Writing to a String cannot fail.
        let _ = match plain {
            true => write!(line, " {key}={value}"),
            false => write!(line, " {key}={value:?}"),
        };
    }
    let mut own = vec![("event", name.to_owned())];
    own.extend(fields.iter().map(|(key, value)| (*key, value.to_string())));
    let mut allowance = ALLOWANCE.lock().unwrap_or_else(PoisonError::into_inner);
    if allowance.as_mut().is_some_and(|allowance| !allowance.take(Instant::now())) {
        return LOST.count();
    }
    drop(allowance);
    LOST.tell(tell, priority(name), &line, &own);
}

fn priority(event: &str) -> Priority {
    match event {
        _ if ERRORS.contains(&event) => Priority::Error,
        _ if WARNINGS.contains(&event) => Priority::Warning,
        _ => Priority::Info,
    }
}

/// Puts an error and its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let _ = write!(text, ": {source}");
        cause = source.source();
    }
    text
}

/// Writes what ended the daemon: what, because, try.
pub(crate) fn failure(error: &DaemonError) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let _ = write!(text, "\n  because: {}", source.to_string().trim_end());
        cause = source.source();
    }
    if let Some(hint) = error.hint() {
        let _ = write!(text, "\n  try:     {hint}");
    }
    if !tell(Priority::Error, &text, &[("event", "failed".to_owned())]) {
        // Nobody is served any more, so the last words may wait for a journal.
        write(&text);
    }
}

/// Writes a line; false if the journal has no room for it now. Whoever serves somebody does not
/// wait for it, and neither for standard error, which then leads to the same journal.
fn tell(priority: Priority, text: &str, fields: &[(&str, String)]) -> bool {
    if cfg!(fuzzing) {
        // A fuzzer makes thousands of events in a second, and its own lines are to be seen.
        return true;
    }
    let journal = JOURNAL.get_or_init(Journal::find);
    match journal.as_ref().map(|journal| journal.send(priority, text, fields)) {
        Some(Ok(())) => return true,
        Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => return false,
        // None, or one that is gone or takes no line of that length.
        Some(Err(_)) | None => write(text),
    }
    true
}

fn write(text: &str) {
    // One write per event, so that the lines of several workers do not mix; a closed standard
    // error must not end a daemon.
    let _ = std::io::stderr().write_all(format!("vgpud: {text}\n").as_bytes());
}

#[cfg(test)]
mod tests;
