use std::fmt::Write as _;

use serde_json::Value;

/// Renders the document as Markdown: one row for each figure, with what it stands beside.
pub(super) fn render(document: &Value) -> String {
    let mut text = String::new();
    let machine = &document["machine"];
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} cores of {}, {}, Linux {}; link {}, device {}.\n",
        machine["cores"],
        word(&machine["cpu"]),
        word(&machine["memory"]),
        word(&machine["kernel"]),
        word(&document["link"]),
        word(&document["client"]["device"]),
    );
    text.push_str("| what | figure | beside it |\n|---|---|---|\n");
    let calls = &document["client"]["calls"];
    row(&mut text, "sync call, median", us(&calls["sync_call_ns"]), "");
    for (name, key) in [
        ("call that the worker answers, median", "worker_call_ns"),
        ("call that the worker answers, p99", "worker_call_p99_ns"),
    ] {
        row(&mut text, name, us(&calls[key]), "target 1.5 µs");
    }
    row(&mut text, "async submit, median", us(&calls["async_submit_ns"]), "");
    for (name, key) in [
        ("1,000 launches, submitted and done", "launches_1000_ns"),
        ("one graph of 1,000 launches", "graph_1000_ns"),
    ] {
        row(&mut text, name, us(&calls[key]), "");
    }
    let memory = &document["memory"];
    let waiting = format!("{} of one that waits for a client", kib(&memory["waiting_worker_kib"]));
    row(&mut text, "memory added to a process of the guest", kib(&memory["guest_kib"]), "");
    row(&mut text, "memory of an idle client's worker", kib(&memory["worker_kib"]), &waiting);
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
            row(&mut text, &format!("copy {size}, {name}"), figure, &plain);
        }
    }
    let discovery = &document["discovery"];
    let bare = format!("{} without the CUDA backend", ms(&discovery["without_cuda_backend_ms"]));
    row(&mut text, "discovery, one process", ms(&discovery["one_process_ms"]), &bare);
    let many = &discovery["processes"];
    let serial = format!("discovery, {many} processes one after the other");
    row(&mut text, &serial, ms(&discovery["serial_ms"]), "");
    row(&mut text, &format!("discovery, {many} at once"), ms(&discovery["parallel_ms"]), "");
    for figures in document["links"].as_array().into_iter().flatten() {
        link(&mut text, figures);
    }
    install(&mut text, &document["install"]);
    text
}

/// What one link costs.
fn link(text: &mut String, figures: &Value) {
    let name = word(&figures["link"]);
    for (what, key) in [("sync call", "sync"), ("async submit", "submit")] {
        let quantiles = &figures[key];
        let figure = format!("{}, p99 {}", us(&quantiles["p50_ns"]), us(&quantiles["p99_ns"]));
        row(text, &format!("{name}: {what}, p50"), figure, "");
    }
    for (what, key) in
        [("random bytes", "noise"), ("zeroes", "zeroes"), ("pinned memory", "pinned")]
    {
        let copy = &figures[key];
        let rates = format!("{}, back {}", rate(&copy["htod_gb_s"]), rate(&copy["dtoh_gb_s"]));
        let plain = format!("plain memcpy {}", rate(&copy["memcpy_gb_s"]));
        row(text, &format!("{name}: copy 16 MiB of {what}, host to device"), rates, &plain);
    }
    for crowd in figures["crowds"].as_array().into_iter().flatten() {
        let number = |key: &str| crowd[key].as_f64().unwrap_or(f64::NAN);
        let calls = format!("{:.0} calls/s", number("calls_per_second"));
        let fair = format!("the least had {:.2} of the mean", number("least_to_mean"));
        row(text, &format!("{name}: {} clients at once", crowd["clients"]), calls, &fair);
    }
    let percent = |key: &str| figures["idle"][key].as_f64().unwrap_or(f64::NAN) * 100.0;
    let idle = format!("{:.3} % guest, {:.3} % worker", percent("guest"), percent("worker"));
    let host = format!("{:.3} % the host process", percent("host"));
    row(text, &format!("{name}: processor of an idle client"), idle, &host);
    let memory = &figures["idle"]["memory"];
    let held =
        format!("{} guest, {} worker", kib(&memory["guest_kib"]), kib(&memory["worker_kib"]));
    let host = format!("{} the host process", kib(&memory["host_kib"]));
    row(text, &format!("{name}: memory of an idle client"), held, &host);
    let start = ms(&figures["welcome_after_start_ms"]);
    row(text, &format!("{name}: a client's welcome after the host's start"), start, "");
    let gone = &figures["gone_after_kill"];
    let took = format!("{}, at most {}", ms(&gone["median_ms"]), ms(&gone["most_ms"]));
    row(text, &format!("{name}: a killed client's worker is collected"), took, "target 1 s");
}

/// What the installer takes, with what it may take, beside `ldconfig` on the same root.
fn install(text: &mut String, install: &Value) {
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
        row(text, name, format!("{took:.1} ms"), &beside);
    }
    let peak = kib(&install["scan_peak_kib"]);
    row(text, "memory of a scan at its peak", peak, "target 16 MiB");
}

fn row(text: &mut String, what: &str, figure: String, beside: &str) {
    let _ = writeln!(text, "| {what} | {figure} | {beside} |");
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
    format!("{:.2} GB/s", gigabytes.as_f64().unwrap_or(f64::NAN))
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
        let text = render(&document);
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
        let text = render(&json!({ "links": [link] }));
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
    fn the_installers_figures_stand_beside_their_targets_and_ldconfig() {
        let install = json!({
            "scan_ms": 2.0, "plan_ms": 4.0, "apply_ms": 12.0, "rollback_ms": 3.0,
            "ldconfig_ms": 4.0, "ldconfig_p_ms": 1.0, "scan_peak_kib": 5120,
        });
        let text = render(&json!({ "install": install }));
        for row in [
            "| scan and plan | 4.0 ms | target 10 ms; ldconfig 4.0 ms (× 1.0), ldconfig -p 1.0 ms \
             (× 4.0) |",
            "| memory of a scan at its peak | 5.0 MiB | target 16 MiB |",
        ] {
            assert!(text.lines().any(|line| line == row), "{text}");
        }
    }
}
