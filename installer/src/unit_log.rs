//! What a unit wrote to the journal since it was last started.

use crate::error::Result;
use crate::facts::Manager;
use crate::host::Host;
use crate::systemd;

/// Most lines that are read: Ollama writes some hundred from its start to its first model.
const LINES_MAX: &str = "2000";

/// The lines since a unit's last start, with their times and without the machine's name; in the
/// inner error why there are none. Of a user's units, only journals of systemd 245 or newer tell
/// the starts apart.
///
/// # Errors
/// [`crate::Error::Io`] if the machine cannot be looked at.
pub fn since_start(
    host: &dyn Host,
    unit: &str,
    manager: &Manager,
) -> Result<std::result::Result<Vec<String>, String>> {
    let shown = match systemd::show(host, unit, manager, "InvocationID")? {
        Ok(shown) => shown,
        Err(needs) => return Ok(Err(needs)),
    };
    let started = shown.text("InvocationID");
    if started.is_empty() || !started.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Err(format!("{unit} was not started since the machine was")));
    }
    let start = format!("_SYSTEMD_INVOCATION_ID={started}");
    let arguments =
        ["--no-pager", "--no-hostname", "--quiet", "--output=short-iso", "-n", LINES_MAX, &start];
    Ok(systemd::tool(host, "journalctl", &arguments)?.and_then(|outcome| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Outcome;
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
            .answering("systemctl show", said("InvocationID=99aa\n", ""))
            .answering("_SYSTEMD_INVOCATION_ID=99aa", said("one\ntwo\n", ""));
        let lines = since_start(&host, "ollama.service", &Manager::System).unwrap().unwrap();
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn why_there_are_none_is_told() {
        let started = || Memory::described(TOOLS).with_systemd();
        let shown =
            |host: Memory| host.answering("systemctl show", said("InvocationID=99aa\n", ""));
        let refused =
            Outcome { status: Some(1), stderr: b"no bus\n".to_vec(), ..Outcome::default() };
        for (host, why) in [
            (Memory::described(TOOLS), "needs systemd as the first process"),
            (Memory::described("dir /usr").with_systemd(), "needs systemctl"),
            (started(), "was not started since"),
            (started().answering("systemctl", refused), "failed and said: no bus"),
            (shown(started()), "has no line of"),
            (shown(started()).answering("journalctl", said("", "Hint: groups")), "needs the right"),
        ] {
            let told = since_start(&host, "ollama.service", &Manager::System).unwrap().unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
