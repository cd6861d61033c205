//! The first screen and the list, in the layout that `nvidia-smi` made usual.

use std::fmt::Write;

use jiff::Zoned;

use crate::gpu::{Gpu, Process, Snapshot};

/// Room for a GPU's name in its first line; the rest of a longer one goes to the third.
const NAME_CHARS: usize = 27;

/// The list of `-L`.
#[must_use]
pub fn list(snapshot: &Snapshot) -> String {
    let line = |gpu: &Gpu| format!("GPU {}: {} (UUID: {})\n", gpu.index, gpu.name, gpu.uuid);
    snapshot.gpus.iter().map(line).collect()
}

/// The first screen.
#[must_use]
pub fn screen(snapshot: &Snapshot, now: &Zoned) -> String {
    let mut out = format!("{}\n", now.strftime("%a %b %e %H:%M:%S %Y"));
    let rule = format!("+{}+\n", "-".repeat(89));
    let columns =
        |fill: &str| format!("{}+{}+{}", fill.repeat(41), fill.repeat(24), fill.repeat(22));
    out.push_str(&rule);
    let title = format!("VGPU-SMI {}", env!("CARGO_PKG_VERSION"));
    let driver = format!("Driver Version: {}", snapshot.driver_version);
    let cuda = format!("CUDA Version: {}", snapshot.cuda_version);
    row(&mut out, &[format!(" {title:<33} {driver:<30} {cuda:<23}")]);
    out.push_str(&format!("|{}|\n", columns("-")));
    for line in [
        [" GPU  Name", "Persistence-M ", " Bus-Id", "Disp.A ", " Volatile Uncorr.", "ECC "],
        [" Fan  Temp   Perf", "Pwr:Usage/Cap ", "", "Memory-Usage ", " GPU-Util", "Compute M. "],
        ["", "", "", "", "", "MIG M. "],
    ] {
        let cell = |at: usize, width: usize| {
            let (left, right) = (line[at], line[at + 1]);
            format!("{left}{right:>room$}", room = width - left.len())
        };
        row(&mut out, &[cell(0, 41), cell(2, 24), cell(4, 22)]);
    }
    out.push_str(&format!("|{}|\n", columns("=")));
    for gpu in &snapshot.gpus {
        for cells in lines(gpu) {
            row(&mut out, &cells);
        }
        out.push_str(&format!("+{}+\n", columns("-")));
    }
    processes(&mut out, &snapshot.processes, &rule);
    out
}

fn row(out: &mut String, cells: &[String]) {
    out.push_str(&format!("|{}|\n", cells.join("|")));
}

fn lines(gpu: &Gpu) -> [[String; 3]; 3] {
    let (name, rest) = split(&gpu.name);
    let switch = |on: Option<bool>| on.map_or("N/A", |on| if on { "On" } else { "Off" });
    let percent = |share: Option<u32>| share.map_or("N/A".into(), |share| format!("{share}%"));
    let watts = |mw: Option<u32>| mw.map_or("N/A".into(), |mw| format!("{}W", rounded(mw)));
    let ecc = match (gpu.ecc_mode, gpu.ecc_uncorrected_volatile) {
        (Some(true), Some(errors)) => errors.to_string(),
        (Some(false), _) => "Off".into(),
        _ => "N/A".into(),
    };
    let mig = gpu.mig_mode.map_or("N/A", |on| if on { "Enabled" } else { "Disabled" });
    let temperature = gpu.temperature.map_or("N/A".into(), |degrees| format!("{degrees}C"));
    let perf = gpu.performance_state.map_or("N/A".into(), |state| format!("P{state}"));
    let power = format!("{} / {:>5}", watts(gpu.power_draw), watts(gpu.power_limit));
    let (used, total) = (mib(gpu.memory_used), mib(gpu.memory_total));
    let fan = percent(gpu.fan_speed);
    [
        [
            format!(" {:>3}  {name:<27}{:>7} ", gpu.index, switch(gpu.persistence_mode)),
            format!(" {:>18} {:>3} ", gpu.pci_bus_id, switch(gpu.display_active)),
            format!(" {ecc:>20} "),
        ],
        [
            format!(" {fan:>3}  {temperature:>4} {perf:>5}   {power:>21} "),
            format!(" {:>22} ", format!("{used}MiB / {total:>6}MiB")),
            format!(" {:>7} {:>12} ", percent(gpu.utilization_gpu), compute(gpu)),
        ],
        [format!("      {rest:<34} "), " ".repeat(24), format!(" {mig:>20} ")],
    ]
}

/// A name in two parts, parted at a space, and cut where even two lines do not hold it.
fn split(name: &str) -> (String, String) {
    if name.chars().count() <= NAME_CHARS {
        return (name.into(), String::new());
    }
    let head: String = name.chars().take(NAME_CHARS + 1).collect();
    let at =
        head.rfind(' ').unwrap_or_else(|| name.char_indices().nth(NAME_CHARS).map_or(0, |c| c.0));
    let (first, rest) = name.split_at(at);
    (first.trim_end().into(), rest.trim_start().chars().take(34).collect())
}

fn compute(gpu: &Gpu) -> &'static str {
    match gpu.compute_mode {
        None => "N/A",
        Some("Exclusive_Process") => "E. Process",
        Some("Exclusive_Thread") => "E. Thread",
        Some(mode) => mode,
    }
}

fn processes(out: &mut String, processes: &[Process], rule: &str) {
    let line = |text: &str| format!("|{text:<89}|\n");
    out.push_str(&format!("\n{rule}"));
    out.push_str(&line(" Processes:"));
    out.push_str(&line(
        "  GPU   GI   CI              PID   Type   Process name                        GPU Memory ",
    ));
    out.push_str(&line(
        "        ID   ID                                                               Usage      ",
    ));
    out.push_str(&format!("|{}|\n", "=".repeat(89)));
    if processes.is_empty() {
        out.push_str(&line("  No running processes found"));
    }
    for process in processes {
        let name: String = process.name.as_deref().unwrap_or("N/A").chars().take(35).collect();
        let memory = process.used_memory.map_or("N/A".into(), |b| format!("{}MiB", mib(b)));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "  {:>3}   N/A  N/A{:>16}      C   {name:<35} {memory:>10} ",
            process.gpu, process.pid
        );
        out.push_str(&line(&text));
    }
    out.push_str(rule);
}

/// Bytes in whole MiB.
pub(crate) fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// Milliwatts in whole watts.
fn rounded(milliwatts: u32) -> u32 {
    (milliwatts + 500) / 1000
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A snapshot of a GPU that tells nearly everything, and one that tells the least.
    pub(crate) fn snapshot() -> Snapshot {
        let full = Gpu {
            name: "NVIDIA H100 80GB HBM3 (Simulated)".into(),
            uuid: "GPU-00000000-0000-0000-0000-000000000999".into(),
            pci_bus_id: "00000000:01:00.0".into(),
            pci_device_id: Some(0x2330_10de),
            compute_capability: Some("9.0".into()),
            compute_mode: Some("Default"),
            persistence_mode: Some(true),
            display_active: Some(false),
            mig_mode: Some(false),
            ecc_mode: Some(true),
            ecc_uncorrected_volatile: Some(0),
            performance_state: Some(0),
            memory_total: 81_559 << 20,
            memory_used: 1 << 20,
            memory_free: 81_558 << 20,
            utilization_gpu: Some(7),
            utilization_memory: Some(0),
            temperature: Some(34),
            power_draw: Some(71_640),
            power_limit: Some(700_000),
            clock_graphics: Some(1980),
            ..Gpu::default()
        };
        let bare = Gpu {
            index: 1,
            name: "A".into(),
            uuid: "GPU-1".into(),
            pci_bus_id: "00000000:02:00.0".into(),
            memory_total: 1 << 30,
            ..Gpu::default()
        };
        let process = Process {
            gpu: 0,
            pid: 999,
            name: Some("/usr/bin/x".into()),
            used_memory: Some(3 << 20),
        };
        Snapshot {
            schema_version: 1,
            driver_version: "580.65.06".into(),
            cuda_version: "13.0".into(),
            gpus: vec![full, bare],
            processes: vec![process],
        }
    }

    pub(crate) fn moment() -> Zoned {
        "2026-11-05T06:07:08.009+00:00[UTC]".parse().unwrap()
    }

    #[test]
    fn the_first_screen_is_the_usual_one() {
        let expected = include_str!("../tests/screen.txt");
        let shown = screen(&snapshot(), &moment());
        let (version, any) = (env!("CARGO_PKG_VERSION"), "9.9.9");
        assert_eq!(shown.replacen(version, any, 1), expected);
        let widths: Vec<usize> =
            shown.lines().skip(1).filter(|l| !l.is_empty()).map(|l| l.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == 91), "{widths:?}");
    }

    #[test]
    fn ollamas_install_script_finds_the_version_of_cuda_as_it_looks_for_it() {
        assert!(screen(&snapshot(), &moment()).contains("CUDA Version: 13.0 "));
    }

    #[test]
    fn a_list_has_a_line_for_each_gpu() {
        let expected = "GPU 0: NVIDIA H100 80GB HBM3 (Simulated) \
                        (UUID: GPU-00000000-0000-0000-0000-000000000999)\n\
                        GPU 1: A (UUID: GPU-1)\n";
        assert_eq!(list(&snapshot()), expected);
    }

    #[test]
    fn long_names_go_on_in_the_third_line() {
        assert_eq!(split("short"), ("short".into(), String::new()));
        assert_eq!(split(&"x".repeat(30)), ("x".repeat(27), "xxx".into()));
        assert_eq!(split(&"ä".repeat(99)), ("ä".repeat(27), "ä".repeat(34)));
        let (first, rest) = split("NVIDIA H100 80GB HBM3 (Simulated)");
        assert_eq!((first.as_str(), rest.as_str()), ("NVIDIA H100 80GB HBM3", "(Simulated)"));
    }

    #[test]
    fn gpus_are_chosen_by_index_uuid_and_bus_id() {
        for id in ["1", "GPU-1", "00000000:02:00.0", "0000:02:00.0"] {
            let mut known = snapshot();
            known.keep(&[id.into()]).unwrap();
            assert_eq!(known.gpus.len(), 1, "{id}");
            assert_eq!(known.gpus[0].index, 1, "{id}");
            assert!(known.processes.is_empty(), "{id}");
        }
        let error = snapshot().keep(&["0".into(), "2".into()]).unwrap_err();
        assert_eq!(error.exit_code(), 6);
    }
}
