//! One line to standard error, for what a person has to know.
//!
//! `VGPU_LOG` chooses how much: `off`, `error`, `warn` (without it), `info` or `debug`. A line
//! that cannot be written is dropped: standard error may be closed, and the process is not ours.

use std::fmt::Arguments;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// How much a person wants to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Off,
    /// What stopped a call that should have worked.
    Error,
    /// What the user should mend.
    Warn,
    /// What was found and chosen.
    Info,
    /// Each decision.
    Debug,
}

impl Level {
    /// Reads a level as `VGPU_LOG` names it; `None` for an unknown word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "off" | "0" => Self::Off,
            "error" => Self::Error,
            "warn" | "" => Self::Warn,
            "info" | "1" => Self::Info,
            "debug" => Self::Debug,
            _ => return None,
        })
    }
}

/// Reports what stopped a call that should have worked.
pub fn error(message: Arguments<'_>) {
    write(Level::Error, message);
}

/// Reports what the user should mend.
pub fn warn(message: Arguments<'_>) {
    write(Level::Warn, message);
}

/// Reports what was found and chosen.
pub fn info(message: Arguments<'_>) {
    write(Level::Info, message);
}

/// Reports a single decision.
pub fn debug(message: Arguments<'_>) {
    write(Level::Debug, message);
}

/// Lets one message through per process, such as the reason why no host was found.
#[derive(Debug)]
pub struct Once(AtomicBool);

impl Once {
    /// Makes a gate that is still open.
    #[expect(clippy::new_without_default, reason = "a static is never made by Default")]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Reports `message` unless this gate was passed before.
    pub fn warn(&self, message: Arguments<'_>) {
        if !self.0.swap(true, Relaxed) {
            warn(message);
        }
    }
}

fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let Ok(word) = std::env::var("VGPU_LOG") else { return Level::Warn };
        Level::parse(&word).unwrap_or_else(|| {
            print(format_args!("VGPU_LOG={word} is none of off, error, warn, info, debug"));
            Level::Warn
        })
    })
}

fn write(at: Level, message: Arguments<'_>) {
    if at <= level() {
        print(message);
    }
}

fn print(message: Arguments<'_>) {
    // One write per line, so that lines of several threads and processes do not mix.
    let _ = std::io::stderr().write_all(line(message).as_bytes());
}

/// Makes one line. Some words are the host's or the environment's: none of them ends the line, or
/// moves the cursor of a terminal.
fn line(message: Arguments<'_>) -> String {
    format!("vgpu: {}\n", message.to_string().replace(char::is_control, " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_stay_on_one_line() {
        let theirs = "gone\nvgpu: all is well\x1b[2J";
        assert_eq!(
            line(format_args!("lost: {theirs}")),
            "vgpu: lost: gone vgpu: all is well [2J\n"
        );
    }

    #[test]
    fn every_documented_level_is_understood() {
        let words = [
            ("off", Level::Off),
            ("error", Level::Error),
            ("WARN", Level::Warn),
            ("info", Level::Info),
            ("debug", Level::Debug),
        ];
        for (word, level) in words {
            assert_eq!(Level::parse(word), Some(level), "{word}");
        }
        assert_eq!(Level::parse("verbose"), None);
    }
}
