//! The first view: what ld.so would load, computed by the loader crate below any root.

use std::path::Path;
use std::sync::Arc;

use vgpu_loader::{Binary, ElfError, Environment, Files, Found, Platform, Process};

use super::{Child, Report, Verdict, value};
use crate::discover::{cache, default_dirs};
use crate::error::Result;
use crate::facts::{Facts, SHIMS};
use crate::host::Host;

/// `e_machine` of the machines that are served.
const X86_64: u16 = 62;
const AARCH64: u16 = 183;
/// Kinds of library in ld.so.cache: libc 6 for x86-64, and for AArch64.
const CACHE_X86_64: i32 = 0x303;
const CACHE_AARCH64: i32 = 0xa03;
const PROGRAM: &str = "llama-server";

struct HostFiles<'a> {
    host: &'a dyn Host,
    machine: u16,
}

impl Files for HostFiles<'_> {
    fn look(&self, path: &Path) -> Found {
        // What cannot be opened is not there for ld.so either.
        let Ok(Some(opened)) = self.host.open(path) else { return Found::Nothing };
        match Binary::read(opened.source.as_ref()) {
            Ok(binary) if binary.machine != self.machine => Found::Foreign,
            Ok(binary) => Found::Elf { identity: opened.identity, binary: Arc::new(binary) },
            Err(ElfError::OtherClass) => Found::Foreign,
            Err(_) => Found::Damaged,
        }
    }
}

pub(super) fn check(
    host: &dyn Host,
    facts: &Facts,
    child: &Child<'_>,
    report: &mut Report,
) -> Result<()> {
    let is_x86 = facts.platform.arch == "x86_64";
    let files = HostFiles { host, machine: if is_x86 { X86_64 } else { AARCH64 } };
    let library_dir = &facts.platform.library_dir;
    let platform = Platform {
        default_dirs: default_dirs(&facts.platform),
        lib_token: library_dir.to_string().trim_start_matches("/usr/").into(),
        platform_token: facts.platform.arch.clone().into_bytes(),
        hwcaps: if host.is_running() { hwcaps() } else { Vec::new() },
        cache_flags: if is_x86 { CACHE_X86_64 } else { CACHE_AARCH64 },
        cache: Some(cache(host)?),
    };
    let environment = Environment {
        library_path: value(child, "LD_LIBRARY_PATH").into(),
        preload: value(child, "LD_PRELOAD").into(),
        secure: false,
    };
    let server = child.ollama.library_dir.join(PROGRAM);
    let program =
        if host.open(&server)?.is_some() { server } else { child.ollama.executable.to_path_buf() };
    let mut process = Process::start(&program, &files, &platform, environment);
    if process.objects().is_empty() {
        let what = format!("{} is no program that ld.so starts", program.display());
        report.add("loader", Verdict::Skipped, what);
        return Ok(());
    }
    let backend = child.bundle.dir.join("libggml-cuda.so");
    if process.open(backend.as_os_str(), 0).object.is_none() {
        report.broken(&backend, "it is no library that ld.so loads");
        return Ok(());
    }
    process.open("libnvidia-ml.so.1".as_ref(), 0);
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
    let mut count = 0;
    for resolution in process.resolutions() {
        let name = String::from_utf8_lossy(&resolution.name).into_owned();
        let Some(shim) = SHIMS.iter().find(|shim| **shim == name) else { continue };
        let ours = host.open(&facts.shims.dir.join(shim))?.map(|opened| opened.identity);
        let found = resolution.object.map(|index| &process.objects()[index]);
        match found {
            Some(object) if Some(object.identity) == ours => count += 1,
            Some(object) => {
                let why = resolution.reason.map_or("", |reason| reason.words());
                let what = format!("{name} goes to {} by {why}", object.path.display());
                report.add("loader", Verdict::Fail, what);
            }
            None => report.add("loader", Verdict::Fail, format!("{name} is found nowhere")),
        }
    }
    if report.error().is_ok() {
        let what = format!("ld.so gives ours for {count} names asked from {}", child.bundle.dir);
        report.add("loader", Verdict::Ok, what);
    }
    Ok(())
}

/// The glibc-hwcaps directories of this processor, best first (ld.so(8), "Hardware capabilities").
fn hwcaps() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let v2 = has!("sse4.2") && has!("popcnt") && has!("ssse3") && has!("cmpxchg16b");
        let v3 = v2 && has!("avx2") && has!("bmi2") && has!("fma") && has!("movbe");
        let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512vl");
        for (level, supported) in [("x86-64-v4", v4), ("x86-64-v3", v3), ("x86-64-v2", v2)] {
            if supported {
                found.push(level.as_bytes().to_vec());
            }
        }
    }
    found
}
