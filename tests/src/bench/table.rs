//! The table of docs/benchmarks.md.

use std::fmt::Write as _;

use serde_json::Value;

/// One figure: what it is of, itself, and what it stands beside.
struct Row {
    what: String,
    figure: String,
    beside: String,
}

/// Renders the documents of one run or more as Markdown: one row for each figure, with a column for
/// each run. Of a figure that not every run has, the others' places stay empty.
pub(super) fn render(documents: &[Value]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if let Some(document) = documents.first() {
        let machine = &document["machine"];
        let _ = writeln!(
            text,
            "{} cores of {}, {}, Linux {}; device {}.\n",
            machine["cores"],
            word(&machine["cpu"]),
            word(&machine["memory"]),
            word(&machine["kernel"]),
            word(&document["client"]["device"]),
        );
    }
    let heads = match documents.len() {
        1 => "figure".to_owned(),
        runs => (1..=runs).map(|run| format!("run {run}")).collect::<Vec<_>>().join(" | "),
    };
    let rule = "---|".repeat(documents.len());
    let _ = writeln!(text, "| what | {heads} | beside it |\n|---|{rule}---|");
    let mut runs: Vec<Vec<Row>> = documents.iter().map(rows).collect();
    while let Some(what) = runs.iter().find_map(|run| Some(run.first()?.what.clone())) {
        let take = |run: &mut Vec<Row>| {
            run.iter().position(|row| row.what == what).map(|at| run.remove(at))
        };
        let row: Vec<Option<Row>> = runs.iter_mut().map(take).collect();
        let figures = row.iter().map(|row| row.as_ref().map_or("", |row| &row.figure));
        let figures = figures.collect::<Vec<_>>().join(" | ");
        let beside: Vec<&str> = row.iter().flatten().map(|row| &*row.beside).collect();
        let _ = writeln!(text, "| {what} | {figures} | {} |", together(&beside));
    }
    text
}

/// Writes texts as one: where they differ, one after the other between what they share.
fn together(texts: &[&str]) -> String {
    let Some((first, others)) = texts.split_first() else { return String::new() };
    if others.iter().all(|other| other == first) {
        return (*first).to_owned();
    }
    let words: Vec<Vec<&str>> = texts.iter().map(|text| text.split(' ').collect()).collect();
    let least = words.iter().map(Vec::len).min().unwrap_or(0);
    let last = |it: &Vec<&str>, at: usize| it.len() - 1 - at;
    let all = |same: &dyn Fn(&Vec<&str>) -> bool| words.iter().all(same);
    let before = (0..least).take_while(|&at| all(&|it| it[at] == words[0][at])).count();
    let after = (0..least - before)
        .take_while(|&at| all(&|it| it[last(it, at)] == words[0][last(&words[0], at)]))
        .count();
    let middle: Vec<String> =
        words.iter().map(|words| words[before..words.len() - after].join(" ")).collect();
    let ends = [&words[0][..before], &words[0][words[0].len() - after..]].map(|it| it.join(" "));
    [&ends[0], &middle.join(" / "), &ends[1]].map(String::as_str).join(" ").trim().to_owned()
}

/// The rows of one run.
fn rows(document: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    let calls = &document["client"]["calls"];
    row(&mut rows, "sync call, median", us(&calls["sync_call_ns"]), "");
    for (name, key) in [
        ("call that the worker answers, median", "worker_call_ns"),
        ("call that the worker answers, p99", "worker_call_p99_ns"),
    ] {
        row(&mut rows, name, us(&calls[key]), "target 1.5 µs");
    }
    row(&mut rows, "async submit, median", us(&calls["async_submit_ns"]), "");
    for (name, key) in [
        ("1,000 launches, submitted and done", "launches_1000_ns"),
        ("one graph of 1,000 launches", "graph_1000_ns"),
    ] {
        row(&mut rows, name, us(&calls[key]), "");
    }
    let memory = &document["memory"];
    let waiting = format!("{} of one that waits for a client", kib(&memory["waiting_worker_kib"]));
    row(&mut rows, "memory added to a process of the guest", kib(&memory["guest_kib"]), "");
    row(&mut rows, "memory of an idle client's worker", kib(&memory["worker_kib"]), &waiting);
    for copy in document["client"]["copies"].as_array().into_iter().flatten() {
        let size = size(copy["bytes"].as_u64().unwrap_or_default());
        let plain = format!("plain memcpy {}", rate(&copy["memcpy_gb_s"]));
        for (way, name) in [
            ("htod", "host to device"),
            ("dtoh", "device to host"),
            ("pinned_htod", "pinned host to device"),
            ("pinned_dtoh", "device to pinned host"),
        ] {
            let share = copy[format!("{way}_ratio")].as_f64().unwrap_or(f64::NAN) * 100.0;
            let figure = format!("{} ({share:.0} %)", rate(&copy[format!("{way}_gb_s")]));
            row(&mut rows, &format!("copy {size}, {name}"), figure, &plain);
        }
    }
    let discovery = &document["discovery"];
    let bare = format!("{} without the CUDA backend", ms(&discovery["without_cuda_backend_ms"]));
    row(&mut rows, "discovery, one process", ms(&discovery["one_process_ms"]), &bare);
    let many = &discovery["processes"];
    let serial = format!("discovery, {many} processes one after the other");
    row(&mut rows, &serial, ms(&discovery["serial_ms"]), "");
    row(&mut rows, &format!("discovery, {many} at once"), ms(&discovery["parallel_ms"]), "");
    for figures in document["links"].as_array().into_iter().flatten() {
        link(&mut rows, figures);
    }
    install(&mut rows, &document["install"]);
    rows
}

/// What one link costs.
fn link(rows: &mut Vec<Row>, figures: &Value) {
    let name = word(&figures["link"]);
    if let Some(why) = figures["not_measured"].as_str() {
        return row(rows, name, "not measured".into(), why);
    }
    for (what, key) in [("sync call", "sync"), ("async submit", "submit")] {
        let quantiles = &figures[key];
        let figure = format!("{}, p99 {}", us(&quantiles["p50_ns"]), us(&quantiles["p99_ns"]));
        row(rows, &format!("{name}: {what}, p50"), figure, "");
    }
    for (what, key) in
        [("random bytes", "noise"), ("zeroes", "zeroes"), ("pinned memory", "pinned")]
    {
        let copy = &figures[key];
        let rates = format!("{}, back {}", rate(&copy["htod_gb_s"]), rate(&copy["dtoh_gb_s"]));
        let plain = format!("plain memcpy {}", rate(&copy["memcpy_gb_s"]));
        let size = size(figures["copied_bytes"].as_u64().unwrap_or_default());
        row(rows, &format!("{name}: copy {size} of {what}, host to device"), rates, &plain);
    }
    for crowd in figures["crowds"].as_array().into_iter().flatten() {
        let number = |key: &str| crowd[key].as_f64().unwrap_or(f64::NAN);
        let calls = format!("{:.0} calls/s", number("calls_per_second"));
        let fair = format!("the least had {:.2} of the mean", number("least_to_mean"));
        row(rows, &format!("{name}: {} clients at once", crowd["clients"]), calls, &fair);
    }
    let percent = |key: &str| figures["idle"][key].as_f64().unwrap_or(f64::NAN) * 100.0;
    let idle = format!("{:.3} % guest, {:.3} % worker", percent("guest"), percent("worker"));
    let host = format!("{:.3} % the host process", percent("host"));
    row(rows, &format!("{name}: processor of an idle client"), idle, &host);
    let memory = &figures["idle"]["memory"];
    let held =
        format!("{} guest, {} worker", kib(&memory["guest_kib"]), kib(&memory["worker_kib"]));
    let host = format!("{} the host process", kib(&memory["host_kib"]));
    row(rows, &format!("{name}: memory of an idle client"), held, &host);
    let start = ms(&figures["welcome_after_start_ms"]);
    row(rows, &format!("{name}: a client's welcome after the host's start"), start, "");
    let first = &figures["first_copy"];
    let took = format!("{}, at most {}", ms(&first["after_return_ms"]), ms(&first["most_ms"]));
    let there = format!("{} where the host was there", ms(&first["host_there_ms"]));
    let there = match first["processes_most"].as_u64() {
        Some(2..) => format!("{there}; at most {} processes tried", first["processes_most"]),
        _ => there,
    };
    row(rows, &format!("{name}: a new process's first copy after the host's return"), took, &there);
    let gone = &figures["gone_after_kill"];
    let took = format!("{}, at most {}", ms(&gone["median_ms"]), ms(&gone["most_ms"]));
    row(rows, &format!("{name}: a killed client's worker is collected"), took, "target 1 s");
}

/// What the installer takes, with what it may take, beside `ldconfig` on the same root.
fn install(rows: &mut Vec<Row>, install: &Value) {
    let number = |key: &str| install[key].as_f64().unwrap_or(f64::NAN);
    for (name, key, target) in [
        ("scan, which asks dpkg for owners too", "scan_ms", ""),
        ("scan and plan", "plan_ms", "target 10 ms; "),
        ("apply", "apply_ms", "target 100 ms; "),
        ("rollback", "rollback_ms", "target 50 ms; "),
    ] {
        let took = number(key);
        let beside = |key: &str| format!("{:.1} ms (× {:.1})", number(key), took / number(key));
        let (build, print) = (beside("ldconfig_ms"), beside("ldconfig_p_ms"));
        let beside = format!("{target}ldconfig {build}, ldconfig -p {print}");
        row(rows, name, format!("{took:.1} ms"), &beside);
    }
    let peak = kib(&install["scan_peak_kib"]);
    row(rows, "memory of a scan at its peak", peak, "target 16 MiB");
}

fn row(rows: &mut Vec<Row>, what: &str, figure: String, beside: &str) {
    rows.push(Row { what: what.into(), figure, beside: beside.into() });
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

fn us(nanoseconds: &Value) -> String {
    format!("{:.2} µs", nanoseconds.as_f64().unwrap_or(f64::NAN) / 1e3)
}

fn ms(milliseconds: &Value) -> String {
    format!("{:.1} ms", milliseconds.as_f64().unwrap_or(f64::NAN))
}

fn kib(kib: &Value) -> String {
    format!("{:.1} MiB", kib.as_f64().unwrap_or(f64::NAN) / 1024.0)
}

fn rate(gigabytes: &Value) -> String {
    match gigabytes.as_f64().unwrap_or(f64::NAN) {
        little if little < 0.1 => format!("{:.1} MB/s", little * 1e3),
        much => format!("{much:.2} GB/s"),
    }
}

fn size(bytes: u64) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_figure_stands_in_a_row_beside_the_machines_own() {
        let copy = json!({
            "bytes": 1 << 20, "memcpy_gb_s": 10.0, "htod_gb_s": 5.0, "dtoh_gb_s": 2.5,
            "htod_ratio": 0.5, "dtoh_ratio": 0.25,
            "pinned_htod_gb_s": 9.8, "pinned_htod_ratio": 0.98,
        });
        let document = json!({ "client": { "copies": [copy] } });
        let text = render(&[document]);
        let up = "| copy 1 MiB, host to device | 5.00 GB/s (50 %) | plain memcpy 10.00 GB/s |";
        let down = "| copy 1 MiB, device to host | 2.50 GB/s (25 %) | plain memcpy 10.00 GB/s |";
        let pinned = "| copy 1 MiB, pinned host to device | 9.80 GB/s (98 %) | plain memcpy 10.00 \
                      GB/s |";
        assert!(text.lines().any(|line| line == up), "{text}");
        assert!(text.lines().any(|line| line == pinned), "{text}");
        assert!(text.lines().any(|line| line == down), "{text}");
    }

    #[test]
    fn each_link_has_its_rows() {
        let quantiles = json!({ "p50_ns": 1500, "p99_ns": 20_000 });
        let crowd = json!({ "clients": 8, "calls_per_second": 1000.4, "least_to_mean": 0.5 });
        let link = json!({
            "link": "tls", "sync": quantiles, "crowds": [crowd],
            "idle": {
                "guest": 0.0, "worker": 0.0001, "host": 0.0,
                "memory": { "guest_kib": 1024, "worker_kib": 2048, "host_kib": 512 },
            },
            "gone_after_kill": { "median_ms": 1.25, "most_ms": 30.0 },
        });
        let text = render(&[json!({ "links": [link] })]);
        for row in [
            "| tls: sync call, p50 | 1.50 µs, p99 20.00 µs |  |",
            "| tls: 8 clients at once | 1000 calls/s | the least had 0.50 of the mean |",
            "| tls: a killed client's worker is collected | 1.2 ms, at most 30.0 ms | target 1 s |",
            "| tls: processor of an idle client | 0.000 % guest, 0.010 % worker | \
             0.000 % the host process |",
            "| tls: memory of an idle client | 1.0 MiB guest, 2.0 MiB worker | \
             0.5 MiB the host process |",
        ] {
            assert!(text.lines().any(|line| line == row), "{text}");
        }
    }

    #[test]
    fn a_link_that_this_machine_lacks_is_named_with_the_reason() {
        let link = json!({ "link": "vsock", "not_measured": "no such kernel" });
        let text = render(&[json!({ "links": [link] })]);
        assert!(text.contains("| vsock | not measured | no such kernel |\n"), "{text}");
    }

    #[test]
    fn each_run_has_a_column_and_what_they_stand_beside_is_told_once() {
        let run = |ms: f64, ldconfig: f64| {
            json!({ "links": [
            { "link": "unix", "sync": { "p50_ns": 1000.0 * ms, "p99_ns": 9000 } },
            { "link": "vsock", "not_measured": "no such kernel" },
        ], "install": { "apply_ms": ms, "ldconfig_ms": ldconfig, "ldconfig_p_ms": 1.0 } })
        };
        let text = render(&[run(2.0, 4.0), run(3.0, 6.0), run(2.0, 4.0)]);
        for row in [
            "| what | run 1 | run 2 | run 3 | beside it |",
            "|---|---|---|---|---|",
            "| unix: sync call, p50 | 2.00 µs, p99 9.00 µs | 3.00 µs, p99 9.00 µs | 2.00 µs, p99 \
             9.00 µs |  |",
            "| vsock | not measured | not measured | not measured | no such kernel |",
            "| apply | 2.0 ms | 3.0 ms | 2.0 ms | target 100 ms; ldconfig 4.0 ms (× 0.5), ldconfig \
             -p 1.0 ms (× 2.0) / 6.0 ms (× 0.5), ldconfig -p 1.0 ms (× 3.0) / 4.0 ms (× 0.5), \
             ldconfig -p 1.0 ms (× 2.0) |",
        ] {
            assert!(text.lines().any(|line| line == row), "{row}\n{text}");
        }
        let gone = render(&[run(2.0, 4.0), json!({})]);
        assert!(gone.contains("| vsock | not measured |  | no such kernel |"), "{gone}");
    }

    #[test]
    fn the_installers_figures_stand_beside_their_targets_and_ldconfig() {
        let install = json!({
            "scan_ms": 2.0, "plan_ms": 4.0, "apply_ms": 12.0, "rollback_ms": 3.0,
            "ldconfig_ms": 4.0, "ldconfig_p_ms": 1.0, "scan_peak_kib": 5120,
        });
        let text = render(&[json!({ "install": install })]);
        for row in [
            "| scan and plan | 4.0 ms | target 10 ms; ldconfig 4.0 ms (× 1.0), ldconfig -p 1.0 ms \
             (× 4.0) |",
            "| memory of a scan at its peak | 5.0 MiB | target 16 MiB |",
        ] {
            assert!(text.lines().any(|line| line == row), "{text}");
        }
    }
}
