//! `--query-gpu` and `--query-compute-apps`: chosen fields as CSV.

use jiff::Zoned;

use crate::cli::Line;
use crate::error::Error;
use crate::gpu::{Gpu, Process, Snapshot};
use crate::table::mib;

/// What a field's value is counted in, as its heading and its values say it.
type Unit = Option<&'static str>;
type OfGpu = fn(&Gpu) -> Option<String>;

/// Fields of a GPU: names (the first is the heading), unit, value.
const FIELDS: &[(&[&str], Unit, OfGpu)] = &[
    (&["index"], None, |gpu| Some(gpu.index.to_string())),
    (&["name", "gpu_name"], None, |gpu| Some(gpu.name.clone())),
    (&["uuid", "gpu_uuid"], None, |gpu| Some(gpu.uuid.clone())),
    (&["serial", "gpu_serial"], None, |gpu| gpu.serial.clone()),
    (&["vbios_version"], None, |gpu| gpu.vbios_version.clone()),
    (&["compute_cap"], None, |gpu| gpu.compute_capability.clone()),
    (&["compute_mode"], None, |gpu| gpu.compute_mode.map(str::to_owned)),
    (&["pci.bus_id", "gpu_bus_id"], None, |gpu| Some(gpu.pci_bus_id.clone())),
    (&["pci.device_id"], None, |gpu| gpu.pci_device_id.map(|id| format!("0x{id:08X}"))),
    (&["pci.sub_device_id"], None, |gpu| gpu.pci_sub_device_id.map(|id| format!("0x{id:08X}"))),
    (&["persistence_mode"], None, |gpu| enabled(gpu.persistence_mode)),
    (&["display_active"], None, |gpu| enabled(gpu.display_active)),
    (&["mig.mode.current"], None, |gpu| enabled(gpu.mig_mode)),
    (&["ecc.mode.current"], None, |gpu| enabled(gpu.ecc_mode)),
    (&["ecc.errors.uncorrected.volatile.total"], None, |gpu| text(gpu.ecc_uncorrected_volatile)),
    (&["pstate"], None, |gpu| gpu.performance_state.map(|state| format!("P{state}"))),
    (&["memory.total"], Some("MiB"), |gpu| text(Some(mib(gpu.memory_total)))),
    (&["memory.used"], Some("MiB"), |gpu| text(Some(mib(gpu.memory_used)))),
    (&["memory.free"], Some("MiB"), |gpu| text(Some(mib(gpu.memory_free)))),
    (&["memory.reserved"], Some("MiB"), |gpu| text(gpu.memory_reserved.map(mib))),
    (&["utilization.gpu"], Some("%"), |gpu| text(gpu.utilization_gpu)),
    (&["utilization.memory"], Some("%"), |gpu| text(gpu.utilization_memory)),
    (&["temperature.gpu"], None, |gpu| text(gpu.temperature)),
    (&["fan.speed"], Some("%"), |gpu| text(gpu.fan_speed)),
    (&["power.draw"], Some("W"), |gpu| watts(gpu.power_draw)),
    (&["power.limit"], Some("W"), |gpu| watts(gpu.power_limit)),
    (&["enforced.power.limit"], Some("W"), |gpu| watts(gpu.power_limit)),
    (&["clocks.current.graphics", "clocks.gr"], Some("MHz"), |gpu| text(gpu.clock_graphics)),
    (&["clocks.current.sm", "clocks.sm"], Some("MHz"), |gpu| text(gpu.clock_sm)),
    (&["clocks.current.memory", "clocks.mem"], Some("MHz"), |gpu| text(gpu.clock_memory)),
    (&["clocks.current.video", "clocks.video"], Some("MHz"), |gpu| text(gpu.clock_video)),
    (&["clocks.max.graphics", "clocks.max.gr"], Some("MHz"), |gpu| text(gpu.clock_graphics_max)),
    (&["clocks.max.sm"], Some("MHz"), |gpu| text(gpu.clock_sm_max)),
    (&["clocks.max.memory", "clocks.max.mem"], Some("MHz"), |gpu| text(gpu.clock_memory_max)),
];

/// Fields of the machine, which each GPU's line repeats.
const COMMON: [&str; 3] = ["timestamp", "driver_version", "count"];
/// Fields of a process.
const OF_PROCESS: [(&[&str], Unit); 5] = [
    (&["timestamp"], None),
    (&["pid"], None),
    (&["process_name", "name"], None),
    (&["gpu_uuid"], None),
    (&["used_gpu_memory", "used_memory"], Some("MiB")),
];

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn enabled(on: Option<bool>) -> Option<String> {
    on.map(|on| if on { "Enabled" } else { "Disabled" }.into())
}

fn watts(milliwatts: Option<u32>) -> Option<String> {
    milliwatts.map(|mw| format!("{}.{:02}", mw / 1000, mw % 1000 / 10))
}

/// What a query asks for, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    subject: Subject,
    header: bool,
    units: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Gpus(Vec<String>),
    Processes(Vec<usize>),
}

impl Wanted {
    /// Reads a query from the command line; none if it is none.
    ///
    /// # Errors
    /// [`Error::Field`] or [`Error::Format`] names what is not known.
    pub fn of(line: &Line) -> Result<Option<Self>, Error> {
        let trimmed = |names: &[String]| -> Vec<String> {
            names.iter().map(|name| name.trim().to_owned()).collect()
        };
        let subject = match (&line.query_gpu, &line.query_compute_apps) {
            (Some(names), _) => Subject::Gpus(trimmed(names)),
            (_, Some(names)) => {
                let place = |name: &String| {
                    let known = |(names, _): &(&[&str], Unit)| names.contains(&name.as_str());
                    let place = OF_PROCESS.iter().position(known);
                    place.ok_or_else(|| Error::Field { field: name.clone() })
                };
                Subject::Processes(trimmed(names).iter().map(place).collect::<Result<_, _>>()?)
            }
            (None, None) => return Ok(None),
        };
        if let Subject::Gpus(names) = &subject {
            let known = |name: &&String| COMMON.contains(&name.as_str()) || field(name).is_some();
            if let Some(field) = names.iter().find(|name| !known(name)).cloned() {
                return Err(Error::Field { field });
            }
        }
        let format = trimmed(line.format.as_deref().unwrap_or_default());
        let has = |word: &str| format.iter().any(|given| given == word);
        let known = |given: &String| ["csv", "noheader", "nounits"].contains(&given.as_str());
        if !has("csv") || !format.iter().all(known) {
            return Err(Error::Format { format: format.join(",") });
        }
        Ok(Some(Self { subject, header: !has("noheader"), units: !has("nounits") }))
    }
}

fn field(name: &str) -> Option<&'static (&'static [&'static str], Unit, OfGpu)> {
    FIELDS.iter().find(|(names, ..)| names.contains(&name))
}

/// The answer to a query.
#[must_use]
pub fn csv(snapshot: &Snapshot, wanted: &Wanted, now: &Zoned) -> String {
    let (headings, rows): (Vec<String>, Vec<Vec<String>>) = match &wanted.subject {
        Subject::Gpus(names) => (
            names.iter().map(|name| gpu_heading(name, wanted.units)).collect(),
            snapshot
                .gpus
                .iter()
                .map(|gpu| names.iter().map(|n| of_gpu(snapshot, gpu, n, wanted, now)).collect())
                .collect(),
        ),
        Subject::Processes(places) => (
            places
                .iter()
                .map(|place| heading(OF_PROCESS[*place].0[0], OF_PROCESS[*place].1, wanted.units))
                .collect(),
            snapshot
                .processes
                .iter()
                .map(|p| {
                    places.iter().map(|at| of_process(snapshot, p, *at, wanted, now)).collect()
                })
                .collect(),
        ),
    };
    let header = wanted.header.then_some(headings);
    header.into_iter().chain(rows).map(|cells| cells.join(", ") + "\n").collect()
}

fn gpu_heading(name: &str, units: bool) -> String {
    field(name).map_or(name.to_owned(), |(names, unit, _)| heading(names[0], *unit, units))
}

fn heading(name: &str, unit: Unit, units: bool) -> String {
    unit.filter(|_| units).map_or(name.to_owned(), |unit| format!("{name} [{unit}]"))
}

fn value(value: Option<String>, unit: Unit, units: bool) -> String {
    match (value, unit.filter(|_| units)) {
        (None, _) => "[N/A]".into(),
        (Some(value), Some(unit)) => format!("{value} {unit}"),
        (Some(value), None) => value,
    }
}

fn of_gpu(snapshot: &Snapshot, gpu: &Gpu, name: &str, wanted: &Wanted, now: &Zoned) -> String {
    match (name, field(name)) {
        (_, Some((_, unit, of))) => value(of(gpu), *unit, wanted.units),
        ("driver_version", _) => snapshot.driver_version.clone(),
        ("count", _) => snapshot.gpus.len().to_string(),
        _ => timestamp(now),
    }
}

fn of_process(
    snapshot: &Snapshot,
    process: &Process,
    place: usize,
    wanted: &Wanted,
    now: &Zoned,
) -> String {
    let (names, unit) = OF_PROCESS[place];
    let of = snapshot.gpus.iter().find(|gpu| gpu.index == process.gpu);
    let found = match names[0] {
        "timestamp" => Some(timestamp(now)),
        "pid" => Some(process.pid.to_string()),
        "process_name" => process.name.clone(),
        "gpu_uuid" => of.map(|gpu| gpu.uuid.clone()),
        _ => process.used_memory.map(|bytes| mib(bytes).to_string()),
    };
    value(found, unit, wanted.units)
}

fn timestamp(now: &Zoned) -> String {
    now.strftime("%Y/%m/%d %H:%M:%S%.3f").to_string()
}

/// The text of `--help-query-gpu`.
#[must_use]
pub fn help() -> String {
    let mut out = "Fields of --query-gpu:\n".to_owned();
    for name in COMMON {
        out.push_str(&format!("  {name}\n"));
    }
    for (names, unit, _) in FIELDS {
        let unit = unit.map_or(String::new(), |unit| format!(" [{unit}]"));
        out.push_str(&format!("  {}{unit}\n", names.join(" or ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::table::tests::{moment, snapshot};

    fn asked(arguments: &[&str]) -> Result<String, Error> {
        let line = Line::try_parse_from([&["vgpu-smi"], arguments].concat()).unwrap();
        Ok(csv(&snapshot(), &Wanted::of(&line)?.expect("a query"), &moment()))
    }

    #[test]
    fn fields_are_answered_in_the_order_asked_with_units_and_what_is_unknown_as_such() {
        let query = "--query-gpu=gpu_name, memory.total,power.draw,serial,timestamp,count";
        let expected = "name, memory.total [MiB], power.draw [W], serial, timestamp, count\n\
             NVIDIA H100 80GB HBM3 (Simulated), 81559 MiB, 71.64 W, [N/A], \
             2026/11/05 06:07:08.009, 2\n\
             A, 1024 MiB, [N/A], [N/A], 2026/11/05 06:07:08.009, 2\n";
        assert_eq!(asked(&[query, "--format=csv"]).unwrap(), expected);
    }

    #[test]
    fn heading_and_units_can_be_left_out() {
        let query = ["--query-gpu=memory.used,utilization.gpu", "--format=csv,noheader,nounits"];
        assert_eq!(asked(&query).unwrap(), "1, 7\n0, [N/A]\n");
        let headed = asked(&[query[0], "--format=csv,nounits"]).unwrap();
        assert!(headed.starts_with("memory.used, utilization.gpu\n"), "{headed}");
    }

    #[test]
    fn processes_have_fields_too() {
        let query = ["--query-compute-apps=pid,name,used_memory,gpu_uuid", "--format=csv"];
        let expected = "pid, process_name, used_gpu_memory [MiB], gpu_uuid\n\
                        999, /usr/bin/x, 3 MiB, GPU-00000000-0000-0000-0000-000000000999\n";
        assert_eq!(asked(&query).unwrap(), expected);
    }

    #[test]
    fn what_is_not_known_is_named_and_every_field_in_the_help_is_known() {
        let error = asked(&["--query-gpu=name,nonsense", "--format=csv"]).unwrap_err();
        assert_eq!(error.to_string(), "Field \"nonsense\" is not a valid field to query.");
        assert_eq!(error.exit_code(), 2);
        let error = asked(&["--query-gpu=name", "--format=xml"]).unwrap_err();
        assert!(error.to_string().contains("--format=xml"), "{error}");
        for line in help().lines().skip(1) {
            let name = line.trim().split(' ').next().unwrap();
            asked(&[&format!("--query-gpu={name}"), "--format=csv"]).unwrap();
        }
    }

    #[test]
    fn a_query_without_a_format_is_refused_as_by_the_usual_program() {
        Line::try_parse_from(["vgpu-smi", "--query-gpu=name"]).unwrap_err();
        Line::try_parse_from(["vgpu-smi", "-l", "0"]).unwrap_err();
    }
}
