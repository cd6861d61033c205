//! The first view: what ld.so would load, computed by the loader crate below any root.

use std::collections::BTreeSet;

use vgpu_loader::{Environment, Process};

use super::{Child, Report, Verdict, value};
use crate::discover::cache;
use crate::error::Result;
use crate::facts::{Facts, SHIMS};
use crate::host::Host;
use crate::ldso::{self, HostFiles};

const PROGRAM: &str = "llama-server";

pub(super) fn check(
    host: &dyn Host,
    facts: &Facts,
    child: &Child<'_>,
    report: &mut Report,
) -> Result<()> {
    let environment = Environment {
        library_path: value(child, "LD_LIBRARY_PATH").into(),
        preload: value(child, "LD_PRELOAD").into(),
        ..Environment::default()
    };
    let server = child.ollama.library_dir.join(PROGRAM);
    let program =
        if host.open(&server)?.is_some() { server } else { child.ollama.executable.to_path_buf() };
    let files = HostFiles::new(host, &facts.platform, false);
    let platform =
        ldso::platform(host, &facts.platform, b"", Some(cache(host)?), host.is_running())?;
    let mut process = match Process::start(&program, &files, &platform, environment) {
        Ok(process) => process,
        Err(why) => {
            let what = format!("ld.so does not start {}: {why}", program.display());
            report.add("loader", Verdict::Skipped, what);
            return Ok(());
        }
    };
    let backend = child.bundle.dir.join("libggml-cuda.so");
    if process.open(backend.as_os_str(), 0).object.is_none() {
        report.broken(&backend, "it is no library that ld.so loads");
        return Ok(());
    }
    // ld.so gives the backend up at the first need that is nowhere; ours are asked for anyway.
    let needed = child.bundle.needed.iter().map(String::as_str);
    let needed = needed.filter(|name| SHIMS.contains(name));
    for name in needed.chain(["libcuda.so.1", "libnvidia-ml.so.1"]) {
        process.open(name.as_ref(), 0);
    }
    winners(host, facts, &process, child, report)
}

/// Each name that we serve and that the child asked for must have gone to our file.
fn winners(
    host: &dyn Host,
    facts: &Facts,
    process: &Process<'_, HostFiles<'_>>,
    child: &Child<'_>,
    report: &mut Report,
) -> Result<()> {
    let (mut count, mut failed, mut judged) = (0, false, BTreeSet::new());
    for resolution in process.resolutions() {
        let name = String::from_utf8_lossy(&resolution.name).into_owned();
        let Some(shim) = SHIMS.iter().find(|shim| **shim == name) else { continue };
        // The first answer is the one that counts.
        if !judged.insert(name.clone()) {
            continue;
        }
        let ours = host.open(&facts.shims.dir.join(shim))?.map(|opened| opened.identity);
        let found = resolution.object.map(|index| &process.objects()[index]);
        match found {
            Some(object) if Some(object.identity) == ours => count += 1,
            Some(object) => {
                failed = true;
                let why = resolution.reason.map_or("", |reason| reason.words());
                let what = format!("{name} goes to {} by {why}", object.path.display());
                report.add("loader", Verdict::Fail, what);
            }
            None => {
                failed = true;
                report.add("loader", Verdict::Fail, format!("{name} is found nowhere"));
            }
        }
    }
    if !failed {
        let what = format!("ld.so gives ours for {count} names asked from {}", child.bundle.dir);
        report.add("loader", Verdict::Ok, what);
    }
    Ok(())
}
