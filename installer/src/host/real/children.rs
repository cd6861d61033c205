//! Children: absolute paths, an environment that is given whole, and a deadline.

use std::io::{BufRead, BufReader, Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::retry_on_intr;
use rustix::process::{Gid, Pid, Signal, Uid, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::progress;
use crate::error::{Error, Result};
use crate::host::{Outcome, Program, User};

/// Longest output that is kept of a child: 4 MiB.
const OUTPUT_BYTES_MAX: u64 = 4 << 20;
/// The hidden command by which a child changes its user before it becomes the real one.
pub const BECOME: &str = "become";
const SELF: &str = "/proc/self/exe";

pub(super) fn run(program: &Program) -> Result<Outcome> {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).env_clear().envs(program.environment.iter().cloned());
    finish(command, program)
}

/// Runs a program until it says the line that is looked for, or to its deadline.
pub(super) fn watch(program: &Program, is_it: &dyn Fn(&str) -> bool) -> Result<Option<String>> {
    let failed = |source: std::io::Error| Error::io("running", &program.path, source);
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).env_clear().envs(program.environment.iter().cloned());
    command.current_dir("/").stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
    let _shown = progress::of(program);
    let mut child = command.process_group(0).spawn().map_err(failed)?;
    let (said, line) = std::sync::mpsc::channel();
    let reader = child.stdout.take().map(|stdout| {
        std::thread::Builder::new().name("watch".into()).spawn(move || {
            let lines = BufReader::new(stdout.take(OUTPUT_BYTES_MAX)).split(b'\n');
            // Nobody listens any more when the line was met.
            lines.map_while(|line| said.send(line.ok()?).ok()).for_each(drop);
        })
    });
    let until = Instant::now() + program.deadline;
    let mut found = None;
    while found.is_none() {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(next) = line.recv_timeout(left) else { break };
        found = Some(String::from_utf8_lossy(&next).into_owned()).filter(|next| is_it(next));
    }
    end(&child);
    child.wait().map_err(failed)?;
    reader.transpose().map_err(failed)?;
    Ok(found)
}

/// Runs this program again as a user.
pub(super) fn run_self(user: Option<&User>, program: &Program) -> Result<Outcome> {
    run_as(user, &Program { path: SELF.into(), ..program.clone() })
}

/// Runs a program as a user. Where the user changes, this program is a first stage with an empty
/// environment that drops the rights and then becomes the other one, so that the libraries which
/// the environment names are loaded with the user's rights only.
pub(super) fn run_as(user: Option<&User>, program: &Program) -> Result<Outcome> {
    let Some(user) = user else { return run(program) };
    let mut command = Command::new(SELF);
    command.env_clear().arg(BECOME);
    command.arg(user.uid.to_string()).arg(user.gid.to_string());
    let groups: Vec<String> = user.groups.iter().map(u32::to_string).collect();
    command.arg(groups.join(","));
    command.arg(program.environment.len().to_string());
    for (name, value) in &program.environment {
        command.arg(name).arg(value);
    }
    command.arg(&program.path).args(&program.arguments);
    finish(command, program)
}

/// The first stage: takes the user's numbers and becomes the program that follows them. Returns
/// only if that fails.
///
/// # Errors
/// Always: [`Error::Io`] with what failed, or [`Error::Usage`].
pub fn become_user(arguments: &[std::ffi::OsString]) -> Result<std::convert::Infallible> {
    let wrong = || Error::Usage { what: "become is for vgpu-install itself".into() };
    let number = |index: usize| arguments.get(index)?.to_str()?.parse::<u32>().ok();
    let (uid, gid, count) =
        number(0).zip(number(1)).zip(number(3)).map(|((u, g), c)| (u, g, c)).ok_or_else(wrong)?;
    let groups = arguments.get(2).and_then(|text| text.to_str()).ok_or_else(wrong)?;
    let groups: Vec<Gid> = groups
        .split(',')
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().map(Gid::from_raw).map_err(|_| wrong()))
        .collect::<Result<_>>()?;
    let variables_end = 4 + 2 * count as usize;
    let variables = arguments.get(4..variables_end).ok_or_else(wrong)?;
    let refused = |errno: rustix::io::Errno| {
        Error::io("changing to the service's user for", Path::new(SELF), errno.into())
    };
    // These change one thread only, and this process has one: it becomes another two lines on.
    rustix::thread::set_thread_groups(&groups).map_err(refused)?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(refused)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(refused)?;
    let program = Path::new(arguments.get(variables_end).ok_or_else(wrong)?);
    let mut command = Command::new(program);
    command.env_clear().args(&arguments[variables_end + 1..]);
    for pair in variables.chunks_exact(2) {
        command.env(&pair[0], &pair[1]);
    }
    Err(Error::io("starting", program, command.exec()))
}

fn finish(mut command: Command, program: &Program) -> Result<Outcome> {
    let failed = |source: std::io::Error| Error::io("running", &program.path, source);
    let memory =
        || memfd_create("vgpu-install-output", MemfdFlags::CLOEXEC).map(std::fs::File::from);
    let mut stdout = memory().map_err(|errno| failed(errno.into()))?;
    let mut stderr = memory().map_err(|errno| failed(errno.into()))?;
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().map_err(failed)?)
        .stderr(stderr.try_clone().map_err(failed)?)
        // A group of its own, so that a terminal's Ctrl-C does not reach half of a transaction.
        .process_group(0);
    let _shown = progress::of(program);
    let mut child = command.spawn().map_err(failed)?;
    let timed_out = !ends_in_time(&child, program).map_err(failed)?;
    if timed_out {
        end(&child);
    }
    let status = child.wait().map_err(failed)?;
    Ok(Outcome {
        status: status.code(),
        signal: status.signal(),
        timed_out,
        stdout: output(&mut stdout).map_err(failed)?,
        stderr: output(&mut stderr).map_err(failed)?,
    })
}

/// Ends a child that was not waited for yet, with everything that it started in its group: what
/// stays would hold memory of the GPU.
fn end(child: &Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // One that has ended by itself cannot be killed, and need not be.
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
}

/// Waits for the end of the child without reaping it: a thread waits, so that the deadline needs
/// neither a polling loop nor a kernel with `pidfd_open` (Linux 5.3).
fn ends_in_time(child: &Child, program: &Program) -> std::io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(std::io::Error::from(std::io::ErrorKind::InvalidData))?;
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("child".into()).spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let outcome = retry_on_intr(|| waitid(WaitId::Pid(pid), options));
        // Nobody listens any more when the deadline passed first.
        let _ = ended.send(outcome.map(drop));
    })?;
    match end.recv_timeout(program.deadline) {
        Ok(outcome) => outcome.map(|()| true).map_err(std::io::Error::from),
        Err(_) => Ok(false),
    }
}

fn output(file: &mut std::fs::File) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(OUTPUT_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}
