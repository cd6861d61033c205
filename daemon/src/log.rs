//! Logs: one event at a time, to the journal with its fields where standard error leads there
//! (systemd.exec(5), `JOURNAL_STREAM`), else one line on standard error: `event key=value …`.

mod journal;

use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::sync::OnceLock;

use crate::error::DaemonError;
use journal::{Journal, Priority};

/// Found at the first event.
static JOURNAL: OnceLock<Option<Journal>> = OnceLock::new();

/// What the daemon goes on in spite of, but not well.
const ERRORS: [&str; 5] =
    ["cannot-accept", "miscounted", "no-ledger", "no-worker", "worker-failed"];

/// What an operator may want to look into.
const WARNINGS: [&str; 18] = [
    "cut",
    "driver-lacks",
    "function-refused",
    "idle-worker-gone",
    "image-not-kept",
    "image-refused",
    "image-unusable",
    "kernel-failed",
    "launch-refused",
    "machine-refused",
    "no-cublas",
    "no-image-store",
    "not-confined",
    "not-counted",
    "not-paced",
    "not-recorded",
    "not-reloaded",
    "refused",
];

/// Finds where to log. A worker that reaches no socket any more has to have done it before.
pub(crate) fn open() {
    JOURNAL.get_or_init(Journal::find);
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
    tell(priority(name), &line, &own);
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
    tell(Priority::Error, &text, &[("event", "failed".to_owned())]);
}

fn tell(priority: Priority, text: &str, fields: &[(&str, String)]) {
    if cfg!(fuzzing) {
        // A fuzzer makes thousands of events in a second, and its own lines are to be seen.
        return;
    }
    let journal = JOURNAL.get_or_init(Journal::find);
    if journal.as_ref().is_some_and(|journal| journal.send(priority, text, fields).is_ok()) {
        return;
    }
    // One write per event, so that the lines of several workers do not mix; a closed standard
    // error must not end a daemon.
    let _ = std::io::stderr().write_all(format!("vgpud: {text}\n").as_bytes());
}
