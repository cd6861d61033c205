//! The steps that are programs: systemd's and ldconfig's, run on the machine itself only.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::account;
use crate::error::{Error, Result};
use crate::host::{Host, Outcome, Program};
use crate::step::Step;

const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];
/// Where ldconfig lies. Ubuntu's plain name is a shell script that puts the work off while dpkg
/// runs; the program itself is beside it.
const LDCONFIG: [&str; 5] = [
    "/usr/sbin/ldconfig.real",
    "/sbin/ldconfig.real",
    "/usr/sbin/ldconfig",
    "/sbin/ldconfig",
    "/usr/bin/ldconfig",
];
/// How long reading the units again may take; hundreds of units take about a second.
const RELOAD_DEADLINE: Duration = Duration::from_secs(60);
/// How long a restart may take: systemd's own stop and start limits are 90 seconds each.
const RESTART_DEADLINE: Duration = Duration::from_secs(200);
/// How long ldconfig may take: reading every library of a large desktop from a cold disk took some
/// seconds.
const LDCONFIG_DEADLINE: Duration = Duration::from_secs(120);
const RESTORECON: [&str; 2] = ["/usr/sbin/restorecon", "/sbin/restorecon"];
/// There exactly while a policy is loaded.
const SELINUX: &str = "/sys/fs/selinux/enforce";
/// How long relabelling a handful of paths may take: reading the policy takes about a second.
const RELABEL_DEADLINE: Duration = Duration::from_secs(60);
/// The directory that ldconfig renames its new cache into.
const ETC: &str = "/etc";

/// Says whether a step is a program that has no meaning here: below a foreign root and, for
/// systemd's, where it is not the first process.
pub fn leaves_out(host: &dyn Host, step: &Step) -> bool {
    match step {
        Step::DaemonReload { .. } | Step::Restart { .. } => !host.has_systemd(),
        Step::Ldconfig => !(host.is_running() || host.has_systemd()),
        _ => false,
    }
}

/// Takes a step that is a program. Nothing happens, and `false` is answered, where [`leaves_out`]
/// says so.
///
/// # Errors
/// [`Error::Program`] if the program fails or is not there.
pub fn take(host: &dyn Host, step: &Step) -> Result<bool> {
    if leaves_out(host, step) {
        return Ok(false);
    }
    match step {
        Step::DaemonReload { user } => {
            systemctl(host, user.as_deref(), &["daemon-reload"], RELOAD_DEADLINE)?;
        }
        Step::Restart { unit, user } => {
            let arguments = ["--no-ask-password", "try-restart", "--", unit];
            systemctl(host, user.as_deref(), &arguments, RESTART_DEADLINE)?;
        }
        Step::Ldconfig => ldconfig(host)?,
        _ => {}
    }
    Ok(true)
}

fn systemctl(
    host: &dyn Host,
    user: Option<&str>,
    words: &[&str],
    deadline: Duration,
) -> Result<()> {
    let mut arguments: Vec<OsString> = Vec::new();
    if let Some(user) = user {
        if !manager_runs(host, user)? {
            // It reads every unit when it starts: nothing is left to be done.
            return Ok(());
        }
        arguments.extend(["--user".into(), format!("--machine={user}@.host").into()]);
    }
    arguments.extend(words.iter().map(Into::into));
    run(host, &SYSTEMCTL, arguments, deadline).map(drop)
}

/// True if the user's own systemd runs: its private socket is there exactly as long.
///
/// # Errors
/// [`Error::Io`] if the account file or the user's directory of sockets cannot be read.
pub fn manager_runs(host: &dyn Host, user: &str) -> Result<bool> {
    let Some(uid) = account::uid(host, user)? else { return Ok(false) };
    let socket = format!("/run/user/{uid}/systemd/private");
    Ok(!host.inspect(Path::new(&socket))?.is_absent())
}

/// Makes the cache anew: `-X` leaves every link alone, as links are their packages' to make.
///
/// ldconfig renames its new cache into /etc. What changed there is the cache, which says so by its
/// own time; the directory keeps its time, or no rollback could give it back.
fn ldconfig(host: &dyn Host) -> Result<()> {
    let etc = Path::new(ETC);
    let before = host.inspect(etc)?.meta().map(|meta| meta.mtime);
    let outcome = run(host, &LDCONFIG, vec!["-X".into()], LDCONFIG_DEADLINE);
    if let Some(before) = before {
        host.restore_mtime(etc, before)?;
        host.sync_dir(etc)?;
    }
    outcome.map(drop)
}

/// Gives what we made the labels that the machine's SELinux policy wants: what is made in a
/// directory has that directory's label, and the policy may want another. Nothing happens where
/// SELinux is not there.
///
/// # Errors
/// [`Error::Program`] if restorecon fails.
pub fn relabel(host: &dyn Host, steps: &[Step]) -> Result<()> {
    let made = |step: &&Step| !matches!(step, Step::RemoveFile { .. });
    let paths = steps.iter().filter(made).filter_map(Step::path);
    let mut arguments: Vec<OsString> = vec!["--".into()];
    arguments.extend(paths.map(|path| path.as_os_str().to_owned()));
    let here = host.is_running() || host.has_systemd();
    if !here || arguments.len() == 1 || host.inspect(Path::new(SELINUX))?.is_absent() {
        return Ok(());
    }
    run(host, &RESTORECON, arguments, RELABEL_DEADLINE).map(drop)
}

/// Runs the first of these programs that is there, with a plain environment.
///
/// # Errors
/// [`Error::Io`] if none is there; [`Error::Program`] if it fails or does not end in time.
pub fn run(
    host: &dyn Host,
    paths: &[&str],
    arguments: Vec<OsString>,
    deadline: Duration,
) -> Result<Outcome> {
    // The last one is where it is named if none is there.
    let mut path = PathBuf::from(paths[paths.len() - 1]);
    for known in paths.iter().rev() {
        if host.open(Path::new(known))?.is_some() {
            path = PathBuf::from(known);
        }
    }
    let program = Program {
        path,
        arguments,
        environment: vec![("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())],
        deadline,
    };
    let outcome = host.run(&program)?;
    if outcome.status == Some(0) {
        return Ok(outcome);
    }
    let because = if outcome.timed_out {
        format!("no answer within {} s", deadline.as_secs())
    } else {
        String::from_utf8_lossy(&outcome.stderr).trim().to_owned()
    };
    let words: Vec<_> = program.arguments.iter().map(|word| word.to_string_lossy()).collect();
    let program = format!("{} {}", program.path.display(), words.join(" "));
    Err(Error::Program { program, because })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::memory::Memory;

    fn machine(text: &str) -> Memory {
        Memory::described(&format!("file /bin/systemctl x\nfile /sbin/ldconfig x\n{text}"))
    }

    fn restart(user: Option<&str>) -> Step {
        Step::Restart { unit: "ollama.service".into(), user: user.map(Into::into) }
    }

    #[test]
    fn ldconfig_changes_no_link_and_leaves_the_time_of_its_directory() {
        let host = machine("dir /etc").with_systemd();
        let before = host.inspect(Path::new("/etc")).unwrap();
        assert!(take(&host, &Step::Ldconfig).unwrap());
        assert_eq!(host.commands(), ["/sbin/ldconfig -X"]);
        assert_eq!(host.inspect(Path::new("/etc")).unwrap(), before);
    }

    #[test]
    fn what_we_made_is_relabelled_where_there_is_a_policy() {
        let made = Step::MakeDir { path: "/etc/a".into(), mode: 0o755 };
        let steps = [made, Step::DaemonReload { user: None }];
        let host = machine("dir /sys/fs/selinux").with_systemd();
        relabel(&host, &steps).unwrap();
        assert_eq!(host.commands(), [""; 0], "no policy is loaded");
        let selinux = "file /sys/fs/selinux/enforce 1\nfile /sbin/restorecon x";
        let host = machine(selinux).with_systemd();
        relabel(&host, &steps[1..]).unwrap();
        assert_eq!(host.commands(), [""; 0], "nothing was made");
        relabel(&host, &steps).unwrap();
        assert_eq!(host.commands(), ["/sbin/restorecon -- /etc/a"]);
        relabel(&machine(selinux), &steps).unwrap();
    }

    #[test]
    fn no_program_is_run_below_a_foreign_root() {
        let host = machine("dir /etc");
        let reload = Step::DaemonReload { user: None };
        for step in [Step::Ldconfig, reload, restart(None)] {
            assert!(!take(&host, &step).unwrap(), "{step:?}");
        }
        assert_eq!(host.commands(), [""; 0]);
    }

    #[test]
    fn a_users_systemd_is_asked_where_it_runs() {
        let accounts = "file /etc/passwd ann:x:1000:1000::/x:/bin/sh";
        let host = machine(accounts).with_systemd();
        assert!(take(&host, &restart(Some("ann"))).unwrap());
        assert_eq!(host.commands(), [""; 0], "it does not run");
        let running = format!("{accounts}\nfile /run/user/1000/systemd/private x");
        let host = machine(&running).with_systemd();
        assert!(take(&host, &restart(Some("ann"))).unwrap());
        let words = "/bin/systemctl --user --machine=ann@.host --no-ask-password try-restart \
                     -- ollama.service";
        assert_eq!(host.commands(), [words]);
    }
}
