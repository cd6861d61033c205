//! The probe alone: stand-in libraries built by gcc answer it, and it says what it saw.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use crate::guest::succeed;
use vgpu_install::probe::Seen;

/// A driver whose one device is named after the user of the process.
const CUDA: &str = r#"
#include <stdio.h>
#include <unistd.h>
int cuInit(unsigned flags) { return INIT; }
int cuDriverGetVersion(int *v) { *v = 99900; return 0; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDeviceGet(int *d, int n) { *d = n + 7; return n ? 101 : 0; }
int cuDeviceGetName(char *s, int len, int d) {
    snprintf(s, len, "user %d group %d device %d", geteuid(), getegid(), d);
    return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int d) { *bytes = 999; return 0; }
"#;

fn build(dir: &Path, name: &str, source: &str, define: &str) {
    std::fs::write(dir.join("source.c"), source).unwrap();
    succeed("gcc", &["-shared", "-fPIC", define, "-o", name, "source.c"], dir);
}

fn probe(dir: &Path, before: &[&str], arguments: &[&str]) -> Seen {
    let output = Command::new(env!("CARGO_BIN_EXE_vgpu-install"))
        .env_clear()
        .env("LD_LIBRARY_PATH", dir)
        .args(before)
        .arg("probe")
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn a_driver_with_a_device_is_described() {
    let dir = directory();
    build(dir.path(), "libcuda.so.1", CUDA, "-DINIT=0");
    let seen = probe(dir.path(), &[], &["libcuda.so.1"]);
    assert_eq!((seen.cuda.init, seen.cuda.version), (Some(0), Some(99900)));
    let device = &seen.cuda.devices[0];
    assert!(device.name.ends_with("device 7") && device.total_bytes == 999, "{device:?}");
    let mapped = std::fs::canonicalize(dir.path().join("libcuda.so.1")).unwrap();
    assert_eq!(seen.mapped.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>(), [mapped]);
}

#[test]
fn a_file_below_a_path_that_is_no_text_is_seen_as_well() {
    let dir = directory();
    let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"odd \xff"));
    std::fs::create_dir(&odd).unwrap();
    build(&odd, "libcuda.so.1", CUDA, "-DINIT=0");
    let seen = probe(&odd, &[], &["libcuda.so.1"]);
    let mapped = std::fs::canonicalize(odd.join("libcuda.so.1")).unwrap();
    assert_eq!(seen.mapped.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>(), [mapped]);
}

#[test]
fn a_driver_without_host_is_described_by_its_code() {
    let dir = directory();
    build(dir.path(), "libcuda.so.1", CUDA, "-DINIT=100");
    let seen = probe(dir.path(), &[], &["libcuda.so.1"]);
    assert_eq!((seen.cuda.init, seen.cuda.devices.len()), (Some(100), 0));
    assert_eq!(seen.nvml.init, None);
}

#[test]
fn a_missing_library_or_symbol_is_told_in_the_loaders_words() {
    let dir = directory();
    build(
        dir.path(),
        "libggml-cuda.so",
        "void gone_999(void); void f(void) { gone_999(); }",
        "-D_",
    );
    let backend = dir.path().join("libggml-cuda.so");
    let seen =
        probe(dir.path(), &[], &["--backend", backend.to_str().unwrap(), "--", "libcuda.so.999"]);
    let missing = seen.opened[0].error.as_deref().unwrap();
    assert!(missing.contains("libcuda.so.999") && missing.contains("cannot open"), "{missing}");
    let symbol = seen.backend.unwrap().error.unwrap();
    assert!(symbol.contains("gone_999"), "{symbol}");
}

#[test]
fn the_probe_runs_as_the_user_that_is_named() {
    // Not below the repository, which may lie where other users cannot go.
    let dir = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), mode).unwrap();
    build(dir.path(), "libcuda.so.1", CUDA, "-DINIT=0");
    let path = dir.path().to_str().unwrap();
    let first =
        ["become", "65534", "65533", "65532,65531", "1", "LD_LIBRARY_PATH", path, "/proc/self/exe"];
    if rustix::process::geteuid().is_root() {
        let seen = probe(dir.path(), &first, &["libcuda.so.1"]);
        assert_eq!(seen.cuda.devices[0].name, "user 65534 group 65533 device 7");
    } else {
        println!("needs root to become another user; here it is tested that others cannot");
        let output = Command::new(env!("CARGO_BIN_EXE_vgpu-install"))
            .args(first)
            .arg("probe")
            .output()
            .unwrap();
        assert!(!output.status.success(), "{output:?}");
    }
}
