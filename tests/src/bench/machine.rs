use std::fs;

use serde_json::{Value, json};

/// Describes the machine as far as the figures depend on it, without its name.
pub(super) fn describe() -> Value {
    let cpu = field("/proc/cpuinfo", "model name");
    let memory = field("/proc/meminfo", "MemTotal");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    // What follows the version names who built it.
    let kernel = kernel.trim().split('-').next();
    json!({ "cpu": cpu, "cores": cores, "memory": memory, "kernel": kernel })
}

fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
}
