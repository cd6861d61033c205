//! What a unit wrote to the journal since it was last started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::host::{Host, Outcome, Program};

/// Where systemd's tools lie.
const DIRS: [&str; 2] = ["/usr/bin", "/bin"];
/// How long a tool may take: a journal of many gigabytes on a slow disk took some seconds.
const DEADLINE: Duration = Duration::from_secs(30);
/// Most lines that are read: Ollama writes some hundred from its start to its first model.
const LINES_MAX: &str = "2000";

/// The lines since a unit's last start, with their times and without the machine's name; in the
/// inner error why there are none.
///
/// # Errors
/// [`crate::Error::Io`] if the machine cannot be looked at.
pub fn since_start(
    host: &dyn Host,
    unit: &str,
) -> Result<std::result::Result<Vec<String>, String>> {
    if !host.has_systemd() {
        return Ok(Err("systemd is not the first process here, so there is no journal".into()));
    }
    let shown = tool(host, "systemctl", &["show", "-p", "InvocationID", "--value", "--", unit])?;
    let started = match shown {
        Ok(outcome) => String::from_utf8_lossy(&outcome.stdout).trim().to_owned(),
        Err(why) => return Ok(Err(why)),
    };
    if started.is_empty() || !started.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Err(format!("{unit} was not started since the machine was")));
    }
    let start = format!("_SYSTEMD_INVOCATION_ID={started}");
    let arguments =
        ["--no-pager", "--no-hostname", "--quiet", "--output=short-iso", "-n", LINES_MAX, &start];
    Ok(tool(host, "journalctl", &arguments)?.and_then(|outcome| {
        let text = String::from_utf8_lossy(&outcome.stdout);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // A journal that this user may not read is an empty one with a hint on standard error.
        let hint = String::from_utf8_lossy(&outcome.stderr);
        match (lines.is_empty(), hint.trim()) {
            (true, "") => Err(format!("the journal has no line of {unit} since its start")),
            (true, hint) => Err(format!("needs the right to read the journal: {hint}")),
            (false, _) => Ok(lines),
        }
    }))
}

/// Runs one of systemd's tools; in the inner error why it did not answer.
fn tool(
    host: &dyn Host,
    name: &str,
    arguments: &[&str],
) -> Result<std::result::Result<Outcome, String>> {
    let mut path = None;
    for candidate in DIRS.map(|dir| Path::new(dir).join(name)) {
        if path.is_none() && host.open(&candidate)?.is_some() {
            path = Some(candidate);
        }
    }
    let Some(path): Option<PathBuf> = path else { return Ok(Err(format!("needs {name}"))) };
    let outcome = host.run(&Program {
        path,
        arguments: arguments.iter().map(OsString::from).collect(),
        environment: vec![("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())],
        deadline: DEADLINE,
    })?;
    if outcome.status == Some(0) {
        return Ok(Ok(outcome));
    }
    let said = String::from_utf8_lossy(&outcome.stderr);
    let said = said.trim().lines().last().unwrap_or("nothing");
    Ok(Err(match outcome.timed_out {
        true => format!("{name} did not answer within {} s", DEADLINE.as_secs()),
        false => format!("{name} failed and said: {said}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::memory::Memory;

    const TOOLS: &str = "file /usr/bin/systemctl x\nfile /usr/bin/journalctl x";

    fn said(stdout: &str, stderr: &str) -> Outcome {
        let (stdout, stderr) = (stdout.into(), stderr.into());
        Outcome { status: Some(0), stdout, stderr, ..Outcome::default() }
    }

    #[test]
    fn the_lines_are_those_of_the_last_start() {
        let host = Memory::described(TOOLS)
            .with_systemd()
            .answering("systemctl show", said("99aa\n", ""))
            .answering("_SYSTEMD_INVOCATION_ID=99aa", said("one\ntwo\n", ""));
        let lines = since_start(&host, "ollama.service").unwrap().unwrap();
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn why_there_are_none_is_told() {
        let started = || Memory::described(TOOLS).with_systemd();
        let shown = |host: Memory| host.answering("systemctl show", said("99aa\n", ""));
        let refused =
            Outcome { status: Some(1), stderr: b"no bus\n".to_vec(), ..Outcome::default() };
        for (host, why) in [
            (Memory::described(TOOLS), "systemd is not the first process"),
            (Memory::described("dir /usr").with_systemd(), "needs systemctl"),
            (started(), "was not started since"),
            (started().answering("systemctl", refused), "failed and said: no bus"),
            (shown(started()), "has no line of"),
            (shown(started()).answering("journalctl", said("", "Hint: groups")), "needs the right"),
        ] {
            let told = since_start(&host, "ollama.service").unwrap().unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
