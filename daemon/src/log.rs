//! Logs: one line per event on standard error, `event key=value …`.

use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io::Write as _;

use crate::error::DaemonError;

/// Writes one event. Values with blanks or quotes are quoted.
pub(crate) fn event(name: &str, fields: &[(&str, &dyn Display)]) {
    let mut line = format!("vgpud: {name}");
    for (key, value) in fields {
        let value = value.to_string();
        let plain = !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && c != '"');
        // Writing to a String cannot fail.
        let _ = match plain {
            true => write!(line, " {key}={value}"),
            false => write!(line, " {key}={value:?}"),
        };
    }
    line.push('\n');
    // One write per line, so that the lines of several workers do not mix; a closed standard
    // error must not end a daemon.
    let _ = std::io::stderr().write_all(line.as_bytes());
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
    let mut text = format!("vgpud: {error}\n");
    let mut cause = error.source();
    while let Some(source) = cause {
        let _ = writeln!(text, "  because: {}", source.to_string().trim_end());
        cause = source.source();
    }
    if let Some(hint) = error.hint() {
        let _ = writeln!(text, "  try:     {hint}");
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}
