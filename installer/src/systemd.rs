//! What systemd says of a unit that it has loaded: the system's own, or a user's.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::facts::Manager;
use crate::host::{Host, Outcome, Program};
use crate::service;

/// Where systemd's tools lie.
const DIRS: [&str; 2] = ["/usr/bin", "/bin"];
/// How long a tool may take: a journal of many gigabytes on a slow disk took some seconds.
const DEADLINE: Duration = Duration::from_secs(30);

/// Some properties of one unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown(BTreeMap<String, String>);

impl Shown {
    /// A property's text; empty if systemd does not know it.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A property that is a number other than zero.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok().filter(|number| *number != 0)
    }

    /// True if its processes are there.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.text("ActiveState"), "active" | "reloading" | "activating")
    }
}

/// Asks a unit's own systemd for properties, named as in org.freedesktop.systemd1(5) with commas
/// between them. In the inner error what asking needs.
///
/// A user's systemd is asked as `systemctl --user --machine=NAME@.host` does, which takes root or
/// that user, and systemd 248 or newer; it runs while its user is logged in or lingers.
///
/// # Errors
/// [`Error::Io`] if the machine cannot be looked at.
pub fn show(
    host: &dyn Host,
    unit: &str,
    manager: &Manager,
    properties: &str,
) -> Result<std::result::Result<Shown, String>> {
    asked(host, unit, manager, &["--property", properties])
}

/// Says when a unit's main process was started, in seconds since 1970; none if the unit is not
/// running. In the inner error what asking needs: systemd 248 or newer among it.
///
/// # Errors
/// [`Error::Io`] if the machine cannot be looked at.
pub fn started(
    host: &dyn Host,
    unit: &str,
    manager: &Manager,
) -> Result<std::result::Result<Option<u64>, String>> {
    const TIME: &str = "ExecMainStartTimestamp";
    let words = ["--timestamp=unix", "--property=ActiveState", "--property=ExecMainStartTimestamp"];
    let shown = match asked(host, unit, manager, &words)? {
        Ok(shown) => shown,
        Err(needs) => return Ok(Err(needs)),
    };
    if !shown.is_active() {
        return Ok(Ok(None));
    }
    let seconds = shown.text(TIME).strip_prefix('@').and_then(|seconds| seconds.parse().ok());
    Ok(seconds.map(Some).ok_or_else(|| format!("needs {TIME}, which systemd does not say")))
}

fn asked(
    host: &dyn Host,
    unit: &str,
    manager: &Manager,
    words: &[&str],
) -> Result<std::result::Result<Shown, String>> {
    if !host.has_systemd() {
        return Ok(Err("needs systemd as the first process here".into()));
    }
    if let Some(user) = manager.user() {
        match service::manager_runs(host, user) {
            Ok(true) => {}
            Ok(false) => return Ok(Err(format!("needs {user}'s own systemd, which does not run"))),
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
                return Ok(Err(format!("needs root, to ask {user}'s own systemd")));
            }
            Err(error) => return Err(error),
        }
    }
    let whose = manager.words();
    let mut arguments: Vec<&str> = whose.iter().map(String::as_str).collect();
    arguments.extend(["show", "--no-pager"]);
    arguments.extend(words);
    arguments.extend(["--", unit]);
    Ok(tool(host, "systemctl", &arguments)?.map(|outcome| {
        let text = String::from_utf8_lossy(&outcome.stdout);
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Shown(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }))
}

/// Runs one of systemd's tools; in the inner error what its answer needs.
///
/// # Errors
/// [`Error::Io`] if the machine cannot be looked at.
pub fn tool(
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
    let environment = [("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C.UTF-8")];
    let outcome = host.run(&Program {
        path,
        arguments: arguments.iter().map(Into::into).collect(),
        environment: environment.map(|(name, value)| (name.into(), value.into())).into(),
        deadline: DEADLINE,
    })?;
    if outcome.status == Some(0) {
        return Ok(Ok(outcome));
    }
    let said = String::from_utf8_lossy(&outcome.stderr);
    let said = said.trim().lines().last().unwrap_or("nothing");
    Ok(Err(match outcome.timed_out {
        true => format!("needs an answer of {name} within {} s", DEADLINE.as_secs()),
        false => format!("needs an answer of {name}, which failed and said: {said}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::memory::Memory;

    const ACCOUNT: &str = "file /usr/bin/systemctl x\nfile /etc/passwd ann:x:1000:1000::/x:/bin/sh";

    fn of_ann(text: &str) -> Memory {
        Memory::described(&format!("{ACCOUNT}\n{text}")).with_systemd()
    }

    fn shown(host: &Memory) -> std::result::Result<Shown, String> {
        show(host, "ollama.service", &Manager::User("ann".into()), "MainPID,ActiveState").unwrap()
    }

    #[test]
    fn a_users_own_systemd_is_asked_where_it_runs() {
        let stdout = b"MainPID=42\nActiveState=active\n".to_vec();
        let outcome = Outcome { status: Some(0), stdout, ..Outcome::default() };
        let host = of_ann("file /run/user/1000/systemd/private x").answering("show", outcome);
        let shown = shown(&host).unwrap();
        assert_eq!((shown.number("MainPID"), shown.is_active()), (Some(42), true));
        let words = "/usr/bin/systemctl --user --machine=ann@.host show --no-pager --property \
                     MainPID,ActiveState -- ollama.service";
        assert_eq!(host.commands(), [words]);
    }

    #[test]
    fn what_asking_needs_is_told() {
        let running = "file /run/user/1000/systemd/private x";
        let stderr = b"Failed to connect\nAccess denied\n".to_vec();
        let refused = Outcome { status: Some(1), stderr, ..Outcome::default() };
        let late = Outcome { timed_out: true, ..Outcome::default() };
        for (host, why) in [
            (Memory::described(ACCOUNT), "needs systemd as the first process here"),
            (of_ann(""), "needs ann's own systemd, which does not run"),
            (of_ann(running).answering("show", refused), "and said: Access denied"),
            (of_ann(running).answering("show", late), "within 30 s"),
            (Memory::described("dir /usr").with_systemd(), "needs ann's own systemd"),
        ] {
            let told = shown(&host).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        let bare = Memory::described("dir /usr").with_systemd();
        let told = show(&bare, "ollama.service", &Manager::System, "MainPID").unwrap();
        assert_eq!(told, Err("needs systemctl".into()));
    }
}
