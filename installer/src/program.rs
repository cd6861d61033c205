//! The program's entry: arguments in, exit code out.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::answer::{Answer, Failure};
use crate::cli::{Line, Verb};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::real::Real;
use crate::{cli, commands, discover, probe};

/// Exit code of a command line that cannot be understood (sysexits.h, EX_USAGE).
const USAGE: u8 = 64;

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == crate::host::real::BECOME) {
        let Err(error) = crate::host::real::become_user(&arguments[2..]);
        return report(&error);
    }
    let line = match Line::try_parse_from(&arguments) {
        Ok(line) => line,
        Err(error) => {
            let _ = error.print();
            if let Some(generation) = detached(&arguments) {
                let _ = writeln!(std::io::stderr(), "  try:     --rollback={generation}");
            }
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    if let Some(Verb::Probe(asked)) = &line.verb {
        return probe::main(asked);
    }
    if let Some(Verb::Examine(part)) = &line.verb {
        return probe::examine(part);
    }
    // Modes are exact in one step, whatever the caller's mask is.
    rustix::process::umask(rustix::fs::Mode::empty());
    let mut answer = Answer::of(commands::name(&line));
    let outcome = fitting(&line).and_then(|()| Real::open(&line.options.root)).and_then(|host| {
        host.note_signals()?;
        if line.verb == Some(Verb::Scan) {
            return scan(&host, &line, &mut answer);
        }
        commands::run(&host, &line, &mut answer)
    });
    let code = outcome.unwrap_or_else(|error| {
        answer.changed = error.is_half_way();
        answer.errors.push(Failure::from(&error));
        error.exit_code()
    });
    if line.verb != Some(Verb::Scan) || !answer.errors.is_empty() {
        let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
        answer.print(line.options.json, &mut out, &mut err);
    }
    ExitCode::from(code)
}

/// The generation that was given to `--rollback` as a word of its own.
fn detached(arguments: &[OsString]) -> Option<u64> {
    let at = arguments.iter().position(|argument| argument == "--rollback")?;
    arguments.get(at + 1)?.to_str()?.parse().ok()
}

fn fitting(line: &Line) -> Result<()> {
    match cli::misfit(line, commands::name(line)) {
        Some(what) => Err(Error::Usage { what }),
        None => Ok(()),
    }
}

/// `scan` answers with the facts themselves, so that `plan --facts` can read them back.
fn scan(host: &dyn Host, line: &Line, answer: &mut Answer) -> Result<u8> {
    let mut facts = discover::facts_beside(host, line.options.driver_root.as_deref())?;
    discover::ask_owners(host, &mut facts);
    let mut out = std::io::stdout().lock();
    let text = if line.options.json {
        serde_json::to_string_pretty(&facts)
            .map_err(|error| Error::Record { path: "the facts".into(), what: error.to_string() })?
    } else {
        crate::scan_text::of(&facts)
    };
    let _ = writeln!(out, "{}", text.trim_end());
    answer.changed = false;
    Ok(0)
}

fn report(error: &Error) -> ExitCode {
    let mut answer = Answer::default();
    answer.errors.push(Failure::from(error));
    answer.print(false, &mut std::io::sink(), &mut std::io::stderr().lock());
    ExitCode::from(error.exit_code())
}
