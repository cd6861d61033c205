//! The second view: a process with the child's user, environment and loader path really loads the
//! libraries and asks the first questions.

use std::ffi::OsString;
use std::time::Duration;

use super::child::{Child, Environment};
use super::{Report, Verdict, same_file};
use crate::account;
use crate::error::Result;
use crate::facts::{Facts, SHIMS};
use crate::host::{Host, Outcome, Program, User};
use crate::plan::Warning;
use crate::probe::Seen;

/// How long the probe may take. Loading a backend of 600 MB from a cold disk takes some seconds,
/// and every call of ours ends within one.
const DEADLINE: Duration = Duration::from_secs(60);
const NO_DEVICE: u32 = 100;
const BACKEND: &str = crate::discover::BACKEND;

pub(super) fn check(
    host: &dyn Host,
    facts: &Facts,
    child: &Child<'_>,
    require_gpu: bool,
    report: &mut Report,
) -> Result<()> {
    let user = child.unit.map(|unit| account::of(host, unit, &child.groups)).transpose()?;
    let user = match user {
        None => None,
        Some(Ok(user)) => user,
        Some(Err(name)) => {
            let what = format!("{name} is in no account file, so no process ran as it");
            report.add("probe", Verdict::Skipped, what);
            return Ok(());
        }
    };
    if host.canonical("/proc/self/exe".as_ref())?.is_none() {
        let what = "/proc is not mounted here, so no process was started";
        report.add("probe", Verdict::Skipped, what);
        return Ok(());
    }
    let major = child.bundle.cuda_major.unwrap_or_default();
    let names = [format!("libcudart.so.{major}"), format!("libcublas.so.{major}")];
    let names = names.iter().map(String::as_str).chain(["libcuda.so.1", "libnvidia-ml.so.1"]);
    let names: Vec<&str> = names.collect();
    let outcome = probe(host, user.as_ref(), child, &child.environment, &names)?;
    let seen = match serde_json::from_slice::<Seen>(&outcome.stdout) {
        Ok(seen) if outcome.status == Some(0) => seen,
        _ => {
            report.add("probe", Verdict::Fail, ended(&outcome));
            return Ok(());
        }
    };
    let error = seen.backend.as_ref().and_then(|backend| backend.error.as_deref());
    let broken = match error {
        Some(error) if is_its_own(error) => true,
        Some(error) => {
            let plain = probe(host, user.as_ref(), child, &child.plain, &[])?;
            let plain = serde_json::from_slice::<Seen>(&plain.stdout).unwrap_or_default();
            plain.backend.and_then(|backend| backend.error).as_deref() == Some(error)
        }
        None => false,
    };
    if let (true, Some(error)) = (broken, error) {
        report.broken(&child.bundle.backend, error);
    }
    loads(&seen, broken, report);
    ours(host, facts, &seen, report)?;
    gpu(&seen, child, require_gpu, &outcome, report);
    Ok(())
}

/// Runs the probe with an environment; it opens these names and then the backend.
fn probe(
    host: &dyn Host,
    user: Option<&User>,
    child: &Child<'_>,
    environment: &Environment,
    names: &[&str],
) -> Result<Outcome> {
    let backend = child.bundle.backend.to_path_buf();
    let mut arguments: Vec<OsString> = vec!["probe".into(), "--backend".into(), backend.into()];
    arguments.push("--".into());
    arguments.extend(names.iter().map(OsString::from));
    let environment = environment.clone();
    let program = Program { path: "/".into(), arguments, environment, deadline: DEADLINE };
    host.run_self(user, &program)
}

/// True if the loader's words are about something that is not ours to bring: a library of another
/// name, a symbol of another interface, or the file itself.
fn is_its_own(error: &str) -> bool {
    const OURS: [&str; 4] = ["libcuda.so", "libnvidia-ml.so", "libcudart.so", "libcublas.so"];
    const CALLS: [&str; 5] = ["symbol: cu", "symbol: __cuda", "symbol: nvml", "GLIBC_", "/vgpu/"];
    let names = |list: &[&str]| list.iter().any(|word| error.contains(word));
    // A version of glibc that is missing is the backend's own matter where it is the one to ask.
    let asks_glibc =
        error.contains("GLIBC_") && error.contains(BACKEND) && !error.contains("/vgpu/");
    asks_glibc || !(names(&OURS) || names(&CALLS))
}

fn ended(outcome: &Outcome) -> String {
    let said = String::from_utf8_lossy(&outcome.stderr);
    let said = said.trim().lines().last().unwrap_or("nothing");
    match (outcome.timed_out, outcome.signal) {
        (true, _) => format!("the probe did not end within {} s", DEADLINE.as_secs()),
        (_, Some(signal)) => format!("signal {signal} ended the probe; it said: {said}"),
        _ => {
            let code = outcome.status.map_or("no exit code".into(), |code| format!("code {code}"));
            format!("the probe ended with {code}; it said: {said}")
        }
    }
}

fn loads(seen: &Seen, broken: bool, report: &mut Report) {
    let mut failed = broken;
    for opened in seen.opened.iter().chain(seen.backend.iter().filter(|_| !broken)) {
        if let Some(error) = &opened.error {
            failed = true;
            report.add("loads", Verdict::Fail, format!("{}: {error}", opened.name));
        }
    }
    if let (false, Some(backend)) = (failed, &seen.backend) {
        let what = format!("{} opens with every symbol resolved", backend.name);
        report.add("loads", Verdict::Ok, what);
    }
}

fn ours(host: &dyn Host, facts: &Facts, seen: &Seen, report: &mut Report) -> Result<()> {
    let mut foreign = Vec::new();
    for file in &seen.mapped {
        let mut known = false;
        for shim in SHIMS {
            known |= same_file(host, file, &facts.shims.dir.join(shim))?;
        }
        if !known {
            foreign.push(file.to_string());
        }
    }
    if seen.mapped.is_empty() {
        let what = "no file of these names was seen in the process";
        report.add("mapped", Verdict::Fail, what);
    } else if foreign.is_empty() {
        let what = format!("the {} files mapped for these names are ours", seen.mapped.len());
        report.add("mapped", Verdict::Ok, what);
    } else {
        let what = format!("not ours, but mapped: {}", foreign.join(", "));
        report.add("mapped", Verdict::Fail, what);
    }
    Ok(())
}

fn gpu(seen: &Seen, child: &Child<'_>, require_gpu: bool, outcome: &Outcome, report: &mut Report) {
    if let Some(device) = seen.cuda.devices.first() {
        let count = seen.cuda.devices.len();
        let memory = device.total_bytes >> 20;
        let driver = seen.nvml.driver.as_deref().unwrap_or("unknown to NVML");
        let what = format!(
            "{count} device(s) for {}: {}, {memory} MiB, driver {driver}",
            child.bundle.dir, device.name
        );
        report.add("gpu", Verdict::Ok, what);
        if seen.nvml.devices != Some(count as u32) {
            let counted = seen.nvml.devices.map_or("no".into(), |devices| devices.to_string());
            let what = format!("CUDA counts {count} device(s), NVML {counted}");
            report.add("nvml", Verdict::Warn, what);
        }
        return;
    }
    let said = String::from_utf8_lossy(&outcome.stderr);
    let said = said.trim().lines().last().map_or(String::new(), |line| format!(" ({line})"));
    let what = match seen.cuda.init {
        Some(0) => "the host offers no device".to_owned(),
        Some(NO_DEVICE) => format!("no host is reachable{said}"),
        Some(code) => format!("cuInit answered {code}{said}"),
        None => "libcuda.so.1 has no cuInit".to_owned(),
    };
    let verdict = if require_gpu { Verdict::Fail } else { Verdict::Warn };
    report.add("gpu", verdict, what.clone());
    let known = report.warnings.iter().any(|warning| warning.code == "no_gpu");
    if !require_gpu && !known {
        let hint = "start vgpud on the host, check --link or /etc/vgpu/guest.toml, then restart \
                    Ollama: it looks for GPUs when it starts";
        report.warnings.push(Warning::new("no_gpu", what, hint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backend_lacks_of_others_is_its_own_matter() {
        let own = [
            "libnccl.so.2: cannot open shared object file: No such file or directory",
            "/usr/lib/ollama/cuda_v13/libggml-cuda.so: file too short",
            "/usr/lib/ollama/libggml-cuda.so: undefined symbol: ggml_abort",
            "/lib/libc.so.6: version `GLIBC_2.99' not found (required by /x/libggml-cuda.so)",
        ];
        let ours = [
            "libcuda.so.1: cannot open shared object file: No such file or directory",
            "/x/libggml-cuda.so: undefined symbol: cudaMalloc, version libcudart.so.13",
            "/x/libggml-cuda.so: undefined symbol: __cudaLaunchKernel",
            "/lib/libc.so.6: version `GLIBC_2.99' not found (required by /x/vgpu/libcuda.so.1)",
        ];
        assert!(own.iter().all(|error| is_its_own(error)));
        assert!(!ours.iter().any(|error| is_its_own(error)));
    }
}
