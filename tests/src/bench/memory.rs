//! What an idle client costs in memory, in its own process and on the host.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

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
    if let Some(stdout) = client.stdout.take() {
        BufReader::new(stdout).read_line(&mut said).map_err(at("reading from", &program))?;
    }
    let workers = children(host.pid())?;
    let worker = workers.iter().map(|pid| private_kib(*pid)).collect::<Result<Vec<_>>>()?;
    // Its input ends, and so does it.
    drop(client.stdin.take());
    client.wait().map_err(at("waiting for", &program))?;
    let said: Value = super::parse("bench-client", &said)?;
    Ok(json!({
        "guest_kib": said["memory_kib"],
        // The others wait for a client.
        "worker_kib": worker.iter().max(),
        "waiting_worker_kib": worker.iter().min(),
    }))
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{pid}/task");
    let mut children = Vec::new();
    for task in fs::read_dir(&path).map_err(at("reading", &path))? {
        let path = task.map_err(at("reading", &path))?.path().join("children");
        let text = fs::read_to_string(&path).map_err(at("reading", &path))?;
        children.extend(text.split_whitespace().filter_map(|number| number.parse::<u32>().ok()));
    }
    Ok(children)
}

/// Memory that no other process has, in KiB (`proc_pid_smaps(5)`).
fn private_kib(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(at("reading", &path))?;
    let kib: Option<u64> = ["Private_Clean:", "Private_Dirty:"]
        .iter()
        .map(|key| text.lines().find_map(|line| line.strip_prefix(key)?.trim().split(' ').next()))
        .map(|word| word?.parse::<u64>().ok())
        .sum();
    kib.ok_or_else(|| Error::Missing { what: "Private_Dirty".into(), place: path, output: text })
}
