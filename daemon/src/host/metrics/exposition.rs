//! The figures as text (Prometheus documentation, "Exposition formats", version 0.0.4).

use std::fmt::{Display, Write as _};

use crate::counts::{BOUNDS_MICROS, Counts, Wait};
use crate::figures::{Figures, GpuFigures, Memory, TenantFigures};

/// What the text is, for the header of the answer.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes the figures.
pub(super) fn text(figures: &Figures) -> String {
    let mut page = Page::default();
    let totals = &figures.totals;
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    page.family("vgpud_build_info", "gauge", "The version that runs.");
    page.sample("vgpud_build_info", &version, 1);
    page.one("vgpud_clients", "gauge", "Clients that are served.", figures.clients);
    page.one("vgpud_clients_max", "gauge", "Most clients at a time.", figures.clients_max);
    page.one(
        "vgpud_draining",
        "gauge",
        "1 if no more clients are taken.",
        u8::from(figures.draining),
    );
    page.one(
        "vgpud_waiting_workers",
        "gauge",
        "Workers that wait for a client.",
        figures.waiting_workers,
    );
    let help = "Connections that came.";
    page.one("vgpud_connections_total", "counter", help, totals.connections);
    page.family("vgpud_refused_total", "counter", "Connections that were refused.");
    let refused = &totals.refused;
    for (reason, count) in [
        ("full", refused.full),
        ("stopping", refused.stopping),
        ("no_worker", refused.no_worker),
        ("stranger", refused.stranger),
    ] {
        page.sample("vgpud_refused_total", &[("reason", reason)], count);
    }
    let help = "Workers of clients that ended badly.";
    page.one("vgpud_failed_workers_total", "counter", help, totals.failed_workers);
    let help = "Configurations that were refused when they were read again.";
    page.one("vgpud_failed_reloads_total", "counter", help, totals.failed_reloads);
    let help = "Lines of the host process that the log lacks.";
    page.one("vgpud_lost_lines_total", "counter", help, totals.lost_lines);
    let (name, help) = ("vgpud_certificate_not_after_seconds", "When the host's certificate ends.");
    page.family(name, "gauge", help);
    if let Some(seconds) = figures.certificate_not_after_seconds {
        page.sample(name, &[], seconds);
    }
    gpus(&mut page, figures);
    shares(&mut page, &figures.tenants);
    messages(&mut page, &figures.tenants);
    latencies(&mut page, &figures.tenants);
    page.0
}

fn gpus(page: &mut Page, figures: &Figures) {
    let gpus = |page: &mut Page, name: &str, bytes: fn(&GpuFigures) -> u64| {
        for (ordinal, gpu) in figures.gpus.iter().enumerate() {
            page.sample(name, &[("gpu", &ordinal.to_string())], bytes(gpu));
        }
    };
    page.family("vgpud_gpu_memory_bytes", "gauge", "Memory of a GPU.");
    gpus(page, "vgpud_gpu_memory_bytes", |gpu| gpu.memory_bytes);
    page.family("vgpud_gpu_memory_used_bytes", "gauge", "Memory that clients hold.");
    gpus(page, "vgpud_gpu_memory_used_bytes", |gpu| gpu.memory_used_bytes);
}

/// What each tenant may have, and has.
fn shares(page: &mut Page, tenants: &[TenantFigures]) {
    page.family("vgpud_tenant_clients", "gauge", "Clients of a tenant that are served.");
    for tenant in tenants {
        page.sample("vgpud_tenant_clients", &[("tenant", &tenant.name)], tenant.clients);
    }
    page.family("vgpud_tenant_clients_max", "gauge", "Most clients of a tenant, if limited.");
    for tenant in tenants {
        if let Some(most) = tenant.clients_max {
            page.sample("vgpud_tenant_clients_max", &[("tenant", &tenant.name)], most);
        }
    }
    let memory = |page: &mut Page, name: &str, bytes: fn(&Memory) -> u64| {
        for tenant in tenants {
            for memory in &tenant.memory {
                let labels = [("tenant", &tenant.name[..]), ("gpu", &memory.gpu.to_string())];
                page.sample(name, &labels, bytes(memory));
            }
        }
    };
    let name = "vgpud_tenant_gpu_memory_bytes";
    page.family(name, "gauge", "Memory of a GPU that a tenant may have.");
    memory(page, name, |memory| memory.share_bytes);
    let name = "vgpud_tenant_gpu_memory_used_bytes";
    page.family(name, "gauge", "Memory of a GPU that a tenant's clients hold.");
    memory(page, name, |memory| memory.used_bytes);
    let name = "vgpud_tenant_host_memory_bytes";
    page.family(name, "gauge", "Memory of this machine that a tenant may have, if limited.");
    for tenant in tenants {
        if let Some(bytes) = tenant.host_memory_bytes {
            page.sample(name, &[("tenant", &tenant.name)], bytes);
        }
    }
    let name = "vgpud_tenant_host_memory_used_bytes";
    let help = "Memory of this machine that a tenant's clients and their workers have.";
    page.family(name, "gauge", help);
    for tenant in tenants {
        page.sample(name, &[("tenant", &tenant.name)], tenant.host_memory_used_bytes);
    }
}

/// One metric that has a sample for each tenant, or several with another label.
struct Each<'a> {
    name: &'a str,
    help: &'a str,
    /// The other label, with its values.
    label: (&'a str, &'a [&'a str]),
    value: fn(&Counts, usize) -> String,
}

fn messages(page: &mut Page, tenants: &[TenantFigures]) {
    for Each { name, help, label: (label, values), value } in [
        Each {
            name: "vgpud_messages_total",
            help: "Messages of clients, by kind.",
            label: ("kind", &["call", "post"]),
            value: |counts, kind| [counts.calls, counts.posts][kind].to_string(),
        },
        Each {
            name: "vgpud_call_errors_total",
            help: "Calls that were answered by an error.",
            label: ("", &[""]),
            value: |counts, _| counts.errors.to_string(),
        },
        Each {
            name: "vgpud_bytes_total",
            help: "Bytes of messages, by direction.",
            label: ("direction", &["received", "sent"]),
            value: |counts, way| [counts.received_bytes, counts.sent_bytes][way].to_string(),
        },
        Each {
            name: "vgpud_pinned_bytes_total",
            help: "Bytes of copies of pinned memory that is shared with clients, by direction.",
            label: ("direction", &["received", "sent"]),
            value: |counts, way| {
                [counts.pinned_received_bytes, counts.pinned_sent_bytes][way].to_string()
            },
        },
        Each {
            name: "vgpud_waits_total",
            help: "Messages that had to wait, by what for.",
            label: ("for", &Wait::NAMES),
            value: |counts, what| counts.waits[what].to_string(),
        },
        Each {
            name: "vgpud_wait_seconds_total",
            help: "How long they waited.",
            label: ("for", &Wait::NAMES),
            value: |counts, what| seconds(counts.wait_micros[what]),
        },
    ] {
        page.family(name, "counter", help);
        for tenant in tenants {
            for (index, text) in values.iter().enumerate() {
                let labels = [("tenant", &tenant.name[..]), (label, text)];
                let labels = if label.is_empty() { &labels[..1] } else { &labels[..] };
                page.sample(name, labels, value(&tenant.counts, index));
            }
        }
    }
}

fn latencies(page: &mut Page, tenants: &[TenantFigures]) {
    page.family("vgpud_call_seconds", "histogram", "How long calls took on the host.");
    for TenantFigures { name, counts, .. } in tenants {
        let (tenant, mut sum) = (("tenant", &name[..]), 0);
        let bounds = BOUNDS_MICROS.iter().map(|bound| seconds(*bound)).chain(["+Inf".into()]);
        for (bound, count) in bounds.zip(counts.latencies) {
            sum += count;
            page.sample("vgpud_call_seconds_bucket", &[tenant, ("le", &bound)], sum);
        }
        page.sample("vgpud_call_seconds_sum", &[tenant], seconds(counts.latency_micros));
        page.sample("vgpud_call_seconds_count", &[tenant], sum);
    }
}

/// Spells microseconds as seconds, exactly.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[derive(Default)]
struct Page(String);

impl Page {
    /// Begins a metric.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes one of its numbers. Names and values of labels are ours and need no escapes.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let _ = match labels.is_empty() {
            true => writeln!(self.0, "{name} {value}"),
            false => writeln!(self.0, "{name}{{{}}} {value}", labels.join(",")),
        };
    }

    /// Writes a metric of one number.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Refused, Totals};

    #[test]
    fn figures_become_lines_of_the_format() {
        let refused = Refused { stopping: 1, ..Refused::default() };
        let totals = Totals { connections: 3, refused, ..Totals::default() };
        let mut counts = Counts { waits: [0, 0, 4], wait_micros: [0, 0, 5], ..Counts::default() };
        (counts.latencies[0], counts.latencies[13]) = (2, 1);
        counts.latency_micros = 20_000_030;
        let gpu = |used| GpuFigures { memory_used_bytes: used, ..GpuFigures::default() };
        let memory = vec![Memory { gpu: 1, share_bytes: 8, used_bytes: 7 }];
        let one = TenantFigures { name: "one".into(), memory, counts, ..Default::default() };
        let two = TenantFigures { name: "two".into(), clients_max: Some(3), ..Default::default() };
        let (gpus, tenants) = (vec![gpu(0), gpu(7)], vec![one, two]);
        let figures = Figures { gpus, totals, tenants, ..Figures::default() };
        let text = text(&figures);
        for line in [
            "# TYPE vgpud_connections_total counter",
            "vgpud_connections_total 3",
            "vgpud_refused_total{reason=\"stopping\"} 1",
            "vgpud_refused_total{reason=\"full\"} 0",
            "vgpud_gpu_memory_used_bytes{gpu=\"1\"} 7",
            "vgpud_tenant_gpu_memory_bytes{tenant=\"one\",gpu=\"1\"} 8",
            "vgpud_tenant_gpu_memory_used_bytes{tenant=\"one\",gpu=\"1\"} 7",
            "vgpud_tenant_clients_max{tenant=\"two\"} 3",
            "vgpud_call_errors_total{tenant=\"two\"} 0",
            "vgpud_waits_total{tenant=\"one\",for=\"rate\"} 4",
            "vgpud_wait_seconds_total{tenant=\"one\",for=\"rate\"} 0.000005",
            "vgpud_call_seconds_bucket{tenant=\"one\",le=\"0.00001\"} 2",
            "vgpud_call_seconds_bucket{tenant=\"one\",le=\"10\"} 2",
            "vgpud_call_seconds_bucket{tenant=\"one\",le=\"+Inf\"} 3",
            "vgpud_call_seconds_sum{tenant=\"one\"} 20.00003",
            "vgpud_call_seconds_count{tenant=\"one\"} 3",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} in\n{text}");
        }
        assert!(text.ends_with('\n'));
    }

    /// Every sample belongs to the family that was announced last, and no family comes twice.
    #[test]
    fn samples_stand_below_the_type_of_their_metric() {
        let text = text(&Figures {
            gpus: vec![GpuFigures::default()],
            tenants: vec![TenantFigures::default()],
            ..Figures::default()
        });
        let (mut family, mut seen) = ("", std::collections::HashSet::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().expect("a name");
                assert!(seen.insert(family), "{family} twice");
            } else if !line.starts_with("# HELP ") {
                let end = line.find(['{', ' ']).expect("a value");
                let name = &line[..end];
                let suffix = name.strip_prefix(family).expect(line);
                assert!(["", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
                let value = line.rsplit(' ').next().expect("a value");
                value.parse::<f64>().expect(line);
            }
        }
    }
}
