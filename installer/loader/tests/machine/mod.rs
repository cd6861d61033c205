//! This machine as its own ld.so describes it.

use std::path::PathBuf;
use std::process::Command;

use vgpu_loader::{Legacy, Platform};

/// glibc's loader on x86-64.
pub const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// Kind of library for x86-64 in the cache.
const CACHE_FLAGS: i32 = 0x303;

/// This machine's ld.so in its own words.
pub fn platform() -> Platform {
    let output = Command::new(LOADER).arg("--list-diagnostics").output().expect("glibc 2.33");
    let text = String::from_utf8(output.stdout).expect("text");
    let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    let dirs = text.lines().filter(|line| line.starts_with("path.system_dirs["));
    let default_dirs =
        dirs.map(|line| quoted(line).trim_end_matches('/').to_owned()).map(PathBuf::from).collect();
    let help = Command::new(LOADER).arg("--help").output().expect("runs");
    let help = String::from_utf8(help.stdout).expect("text");
    let supported = help.lines().filter(|line| line.contains("(supported, searched)"));
    let hwcaps = supported
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("x86-64-v"))
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let platform = text.lines().find(|line| line.starts_with("dl_platform=")).map(quoted);
    let legacy = legacy(&help);
    Platform {
        default_dirs,
        lib_token: b"lib/x86_64-linux-gnu".to_vec(),
        platform_token: platform.unwrap_or_default().into_bytes(),
        hwcaps,
        legacy,
        cache_flags: CACHE_FLAGS,
        ..Platform::default()
    }
}

/// The legacy directories of glibc before 2.37, as its own search tells them.
fn legacy(help: &str) -> Legacy {
    if !help.contains("Legacy HWCAP subdirectories") {
        return Legacy::default();
    }
    let output = Command::new(LOADER)
        .env_clear()
        .env("LD_DEBUG", "libs")
        .args(["--inhibit-cache", "--library-path", "/x", "--list"])
        .arg(std::env::current_exe().expect("this test"))
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("search path=/x/")).expect("a search");
    let list = line.split("search path=").nth(1).expect("a list").split_whitespace().next();
    let mut dirs: Vec<Vec<u8>> = Vec::new();
    for dir in list.expect("a list").split(':').filter_map(|dir| dir.strip_prefix("/x/")) {
        let dir = dir.as_bytes().to_vec();
        if !dir.starts_with(b"glibc-hwcaps") && !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    Legacy { dirs, bits: 1 << 63 | 1 << 1 }
}
