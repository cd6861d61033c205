use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::fcntl_setpipe_size;
use serde_json::{Value, json};

use super::{LIMIT, median_ms};
use crate::client::clean;
use crate::system::{Error, Layout, Parts, ROOT_PACKAGES, Release, Result, at, tarball, wait};
use crate::{Stage, run, stage};

/// Rounds behind each median.
const ROUNDS: usize = 9;
/// The least that a pipe can hold: one page.
const PIPE_BYTES: usize = 4096;

/// Times the installer on an unpacked Debian root with an Ollama in it, warm, without restarting
/// anything; and beside it `ldconfig`, which searches the same root for libraries, and
/// `ldconfig -p`, which only reads the cache.
pub(super) fn measure(stage: &Stage) -> Result<Value> {
    let directory = tempfile::tempdir().map_err(at("creating", "a temporary directory"))?;
    let root = directory.path();
    lay(stage, root)?;
    let installer = stage.installer();
    let ours = |words: &[&str]| time(&mut command(&installer, words, root));
    let (mut apply, mut rollback) = (Vec::new(), Vec::new());
    let scan = rounds(|| ours(&["scan", "--json"]))?;
    let plan = rounds(|| ours(&["plan", "--json"]))?;
    for _ in 0..ROUNDS {
        apply.push(ours(&["apply", "--no-restart", "--yes"])?);
        rollback.push(ours(&["--rollback", "--no-restart", "--yes"])?);
    }
    // With -r it takes the root for its own: the cache is written below it, no link is touched.
    let build = rounds(|| time(ldconfig(&["-X", "-C", "/tmp/cache", "-r"]).arg(root)))?;
    let cache = root.join("etc/ld.so.cache");
    let print = rounds(|| time(ldconfig(&["-p", "-C"]).arg(&cache)))?;
    Ok(json!({
        "scan_ms": median_ms(scan),
        "plan_ms": median_ms(plan),
        "apply_ms": median_ms(apply),
        "rollback_ms": median_ms(rollback),
        "scan_peak_kib": peak_kib(command(&installer, &["scan", "--json"], root))?,
        "ldconfig_ms": median_ms(build),
        "ldconfig_p_ms": median_ms(print),
    }))
}

/// Lays out a Debian root with an Ollama and our package in it.
fn lay(stage: &Stage, root: &Path) -> Result<()> {
    let tarball = tarball(&stage::cache(), &Release::of_this_machine()?, &ROOT_PACKAGES)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--numeric-owner", "--file"]).arg(&tarball);
    run(tar.arg("--directory").arg(root), LIMIT)?.success()?;
    let layout = Layout { prefix: "/usr/local", environment: &[], settings: &[] };
    layout.lay(root, &Parts::of_this_checkout(stage))?;
    let mut copy = Command::new("cp");
    copy.arg("--archive").arg(stage.package("vgpu-ollama").join("."));
    run(copy.arg(root), LIMIT)?.success().map(drop)
}

fn rounds(mut one: impl FnMut() -> Result<Duration>) -> Result<Vec<Duration>> {
    one()?; // Warms the caches; not counted.
    (0..ROUNDS).map(|_| one()).collect()
}

fn command(installer: &Path, words: &[&str], root: &Path) -> Command {
    let mut command = clean(installer);
    command.args(words).arg("--root").arg(root);
    command
}

fn ldconfig(words: &[&str]) -> Command {
    let mut ldconfig = Command::new("/sbin/ldconfig");
    ldconfig.args(words);
    ldconfig
}

/// The time from the start of the process to its end; a failure is no measurement.
fn time(command: &mut Command) -> Result<Duration> {
    let done = run(command, LIMIT)?;
    let took = done.took;
    done.success().map(|_| took)
}

/// The most memory that a run had resident at once, in KiB.
///
/// What `wait4` tells of a child includes what its parent had when it started it. So the run is
/// asked while it lives: its answer, the last thing that it does, does not fit into its pipe.
fn peak_kib(mut command: Command) -> Result<u64> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| Error::Start { program: program.clone(), source };
    let (mut answer, end) = io::pipe().map_err(failed)?;
    fcntl_setpipe_size(&end, PIPE_BYTES).map_err(|errno| failed(errno.into()))?;
    let mut child = command.stdin(Stdio::null()).stdout(end).spawn().map_err(failed)?;
    drop(command); // It holds the pipe's other end.
    let limit = Timespec { tv_sec: LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&answer, PollFlags::IN)], Some(&limit));
    if ready.map_err(|errno| failed(errno.into()))? == 0 {
        child.kill().map_err(failed)?;
    }
    let place = format!("/proc/{}/status", child.id());
    let output = fs::read_to_string(&place).map_err(at("reading", &place))?;
    let mut text = String::new();
    answer.read_to_string(&mut text).map_err(failed)?;
    let status = wait(&mut child, LIMIT).map_err(failed)?.filter(ExitStatus::success);
    // An answer that did fit may have been the end of the process.
    let waited = status.is_some() && text.len() > PIPE_BYTES;
    let peak =
        output.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
    let peak = peak.filter(|_| waited).and_then(|kib| kib.parse().ok());
    peak.ok_or(Error::Missing { what: "VmHWM".into(), place, output })
}
