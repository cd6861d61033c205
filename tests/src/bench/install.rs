use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::{LIMIT, median_ms};
use crate::client::clean;
use crate::system::{Layout, Parts, Release, Result, at, tarball};
use crate::{Stage, run, stage};

/// Rounds behind each median.
const ROUNDS: usize = 9;

/// Times the installer on an unpacked Debian root with an Ollama in it, warm, without restarting
/// anything; and `ldconfig -p` on the same root, which reads the same cache and does nothing else.
pub(super) fn measure(stage: &Stage) -> Result<Value> {
    let tarball = tarball(&stage::cache(), &Release::of_this_machine()?)?;
    let directory = tempfile::tempdir().map_err(at("creating", "a temporary directory"))?;
    let root = directory.path();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--numeric-owner", "--file"]).arg(&tarball);
    run(tar.arg("--directory").arg(root), LIMIT)?.success()?;
    let layout = Layout { prefix: "/usr/local", environment: &[], settings: &[] };
    layout.lay(root, &Parts::of_this_checkout(stage))?;
    let mut copy = Command::new("cp");
    copy.arg("--archive").arg(stage.package("vgpu-ollama").join("."));
    run(copy.arg(root), LIMIT)?.success()?;

    let installer = stage.installer();
    let time = |words: &[&str]| time(&installer, words, root);
    let (mut apply, mut rollback) = (Vec::new(), Vec::new());
    let scan = rounds(|| time(&["scan", "--json"]))?;
    let plan = rounds(|| time(&["plan", "--json"]))?;
    for _ in 0..ROUNDS {
        apply.push(time(&["apply", "--no-restart", "--yes"])?);
        rollback.push(time(&["--rollback", "--no-restart", "--yes"])?);
    }
    let ldconfig = rounds(|| {
        let mut ldconfig = Command::new("ldconfig");
        let done = run(ldconfig.arg("-p").arg("-C").arg(root.join("etc/ld.so.cache")), LIMIT)?;
        let took = done.took;
        done.success().map(|_| took)
    })?;
    Ok(json!({
        "scan_ms": median_ms(scan),
        "plan_ms": median_ms(plan),
        "apply_ms": median_ms(apply),
        "rollback_ms": median_ms(rollback),
        "ldconfig_p_ms": median_ms(ldconfig),
    }))
}

fn rounds(mut one: impl FnMut() -> Result<Duration>) -> Result<Vec<Duration>> {
    one()?; // Warms the caches; not counted.
    (0..ROUNDS).map(|_| one()).collect()
}

/// The time from the start of the process to its end; a failure is no measurement.
fn time(installer: &Path, words: &[&str], root: &Path) -> Result<Duration> {
    let done = run(clean(installer).args(words).arg("--root").arg(root), LIMIT)?;
    let took = done.took;
    done.success().map(|_| took)
}
