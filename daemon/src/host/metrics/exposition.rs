//! The figures as text (Prometheus documentation, "Exposition formats", version 0.0.4).

use std::fmt::{Display, Write as _};

use super::Figures;
use crate::counts::BOUNDS_MICROS;

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
    let reasons = ["full", "stopping", "no_worker", "stranger"];
    for (reason, count) in reasons.into_iter().zip(totals.refused) {
        page.sample("vgpud_refused_total", &[("reason", reason)], count);
    }
    let help = "Workers of clients that ended badly.";
    page.one("vgpud_failed_workers_total", "counter", help, totals.failed_workers);
    let help = "Configurations that were refused when they were read again.";
    page.one("vgpud_failed_reloads_total", "counter", help, totals.failed_reloads);
    gpus(&mut page, figures);
    messages(&mut page, figures);
    page.0
}

fn gpus(page: &mut Page, figures: &Figures) {
    let gpus = |page: &mut Page, name: &str, bytes: fn(&(u64, u64)) -> u64| {
        for (ordinal, gpu) in figures.gpus.iter().enumerate() {
            page.sample(name, &[("gpu", &ordinal.to_string())], bytes(gpu));
        }
    };
    page.family("vgpud_gpu_memory_bytes", "gauge", "Memory of a GPU.");
    gpus(page, "vgpud_gpu_memory_bytes", |gpu| gpu.0);
    page.family("vgpud_gpu_memory_used_bytes", "gauge", "Memory that clients hold.");
    gpus(page, "vgpud_gpu_memory_used_bytes", |gpu| gpu.1);
}

fn messages(page: &mut Page, figures: &Figures) {
    let counts = &figures.totals.counts;
    page.family("vgpud_messages_total", "counter", "Messages of clients, by kind.");
    page.sample("vgpud_messages_total", &[("kind", "call")], counts.calls);
    page.sample("vgpud_messages_total", &[("kind", "post")], counts.posts);
    let help = "Calls that were answered by an error.";
    page.one("vgpud_call_errors_total", "counter", help, counts.errors);
    page.family("vgpud_bytes_total", "counter", "Bytes of messages, by direction.");
    page.sample("vgpud_bytes_total", &[("direction", "received")], counts.received_bytes);
    page.sample("vgpud_bytes_total", &[("direction", "sent")], counts.sent_bytes);
    page.family("vgpud_call_seconds", "histogram", "How long calls took on the host.");
    let mut sum = 0;
    let bounds = BOUNDS_MICROS.iter().map(|bound| seconds(*bound)).chain(["+Inf".into()]);
    for (bound, count) in bounds.zip(counts.latencies) {
        sum += count;
        page.sample("vgpud_call_seconds_bucket", &[("le", &bound)], sum);
    }
    page.sample("vgpud_call_seconds_sum", &[], seconds(counts.latency_micros));
    page.sample("vgpud_call_seconds_count", &[], sum);
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
    use crate::host::metrics::{Reason, Totals};

    #[test]
    fn figures_become_lines_of_the_format() {
        let mut totals = Totals { connections: 3, ..Totals::default() };
        totals.refuse(Reason::Stopping);
        totals.counts.latencies[0] = 2;
        totals.counts.latencies[13] = 1;
        totals.counts.latency_micros = 20_000_030;
        let figures = Figures { gpus: vec![(80, 0), (81, 7)], totals, ..Figures::default() };
        let text = text(&figures);
        for line in [
            "# TYPE vgpud_connections_total counter",
            "vgpud_connections_total 3",
            "vgpud_refused_total{reason=\"stopping\"} 1",
            "vgpud_refused_total{reason=\"full\"} 0",
            "vgpud_gpu_memory_used_bytes{gpu=\"1\"} 7",
            "vgpud_call_seconds_bucket{le=\"0.00001\"} 2",
            "vgpud_call_seconds_bucket{le=\"10\"} 2",
            "vgpud_call_seconds_bucket{le=\"+Inf\"} 3",
            "vgpud_call_seconds_sum 20.00003",
            "vgpud_call_seconds_count 3",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} in\n{text}");
        }
        assert!(text.ends_with('\n'));
    }

    /// Every sample belongs to the family that was announced last, and no family comes twice.
    #[test]
    fn samples_stand_below_the_type_of_their_metric() {
        let text = text(&Figures { gpus: vec![(1, 1)], ..Figures::default() });
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
