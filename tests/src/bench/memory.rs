//! What an idle client costs in memory, in its own process and on the host.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::process::Stdio;

use rustix::io::Errno;
use serde_json::{Value, json};

use crate::client::{Way, over};
use crate::system::{Error, Result, at};
use crate::{Stage, Vgpud};

/// What an idle client costs in its own process, our libraries included, and in its worker's.
pub(super) fn measure(stage: &Stage, host: &Vgpud) -> Result<Value> {
    let program = stage.test_program("bench-client");
    let mut client = over(stage, Way::SearchPath, &host.link(), &program)
        .arg("idle")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(at("starting", &program))?;
    let mut said = String::new();
    // Held until it has ended: it says a last word.
    let mut stdout = client.stdout.take().map(BufReader::new);
    if let Some(stdout) = &mut stdout {
        stdout.read_line(&mut said).map_err(at("reading from", &program))?;
    }
    let mut worker = Vec::new();
    for pid in children(host.pid())? {
        worker.extend(private_kib(pid)?);
    }
    // Its input ends, and so does it.
    drop(client.stdin.take());
    let status = client.wait().map_err(at("waiting for", &program))?;
    if !status.success() {
        let command = format!("{} idle", program.display());
        return Err(Error::Failed { command, status, output: said });
    }
    let said: Value = super::parse("bench-client", &said)?;
    Ok(json!({
        "guest_kib": said["memory_kib"],
        // The others wait for a client.
        "worker_kib": worker.iter().max(),
        "waiting_worker_kib": worker.iter().min(),
    }))
}

pub(super) fn children(pid: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{pid}/task");
    let mut children = Vec::new();
    for task in fs::read_dir(&path).map_err(at("reading", &path))? {
        let path = task.map_err(at("reading", &path))?.path().join("children");
        let text = fs::read_to_string(&path).map_err(at("reading", &path))?;
        children.extend(text.split_whitespace().filter_map(|number| number.parse::<u32>().ok()));
    }
    Ok(children)
}

/// Memory that no other process has, in KiB (`proc_pid_smaps(5)`); nothing for a process that has
/// ended, as the worker of an earlier client may just now.
pub(super) fn private_kib(pid: u32) -> Result<Option<u64>> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = match fs::read_to_string(&path) {
        Err(error) if has_ended(&error) => return Ok(None),
        text => text.map_err(at("reading", &path))?,
    };
    let kib: Option<u64> = ["Private_Clean:", "Private_Dirty:"]
        .iter()
        .map(|key| text.lines().find_map(|line| line.strip_prefix(key)?.trim().split(' ').next()))
        .map(|word| word?.parse::<u64>().ok())
        .sum();
    let missing = || Error::Missing { what: "Private_Dirty".into(), place: path, output: text };
    kib.map(Some).ok_or_else(missing)
}

fn has_ended(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}
