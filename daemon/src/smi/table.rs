//! What the daemon says of itself, as tables for a terminal of 100 columns.

use std::fmt::Write as _;

use crate::figures::{Figures, Memory, SessionFigures, TenantFigures};

/// Draws everything.
pub(super) fn screen(figures: &Figures) -> String {
    let Figures { version, device, clients, clients_max, .. } = figures;
    let state = if figures.draining { ", takes no more" } else { "" };
    let up = time(figures.seconds);
    let mut out = format!(
        "vgpud {version}, device {device}, up {up}: {clients} of {clients_max} clients{state}\n"
    );
    let mut gpus = Table::new(&[("GPU", true), ("Name", false), ("Memory", true), ("UUID", false)]);
    for (ordinal, gpu) in figures.gpus.iter().enumerate() {
        let memory = of(gpu.memory_used_bytes, gpu.memory_bytes);
        gpus.row([ordinal.to_string(), gpu.name.clone(), memory, gpu.uuid.clone()]);
    }
    gpus.draw(&mut out);
    let heads = [("Tenant", false), ("Clients", true), ("GPU", true), ("Memory", true)];
    let heads = [&heads[..], &MESSAGES].concat();
    let mut tenants = Table::new(&heads);
    figures.tenants.iter().for_each(|tenant| self::tenant(&mut tenants, tenant, figures.counting));
    tenants.draw(&mut out);
    if figures.sessions.is_empty() {
        out.push_str("\nNo clients.\n");
        return out;
    }
    let heads = [("Session", true), ("Tenant", false), ("PID", true), ("Program", false)];
    let more = [("Since", true), ("Memory", true), ("Calls", true), ("Peer", false)];
    let mut sessions = Table::new(&[heads, more].concat());
    for session in &figures.sessions {
        sessions.row(self::session(session, figures.counting));
    }
    sessions.draw(&mut out);
    out
}

/// Columns of what passed between clients and workers.
const MESSAGES: [(&str, bool); 5] =
    [("Calls", true), ("Errors", true), ("Waits", true), ("Received", true), ("Sent", true)];

fn tenant(table: &mut Table, tenant: &TenantFigures, counting: bool) {
    let counts = &tenant.counts;
    let clients = match tenant.clients_max {
        Some(most) => format!("{} / {most}", tenant.clients),
        None => tenant.clients.to_string(),
    };
    let waits: u64 = counts.waits.iter().sum();
    let passed = [counts.calls.to_string(), counts.errors.to_string(), waits.to_string()]
        .into_iter()
        .chain([bytes(counts.received_bytes), bytes(counts.sent_bytes)]);
    let mut passed: Vec<String> =
        if counting { passed.collect() } else { vec!["-".into(); MESSAGES.len()] };
    let mut first = [tenant.name.clone(), clients];
    // A line for each of its GPUs; what is not the GPU's stands in the first.
    for Memory { gpu, share_bytes, used_bytes } in &tenant.memory {
        let [name, clients] = std::mem::take(&mut first);
        let row = vec![name, clients, gpu.to_string(), of(*used_bytes, *share_bytes)];
        table.row([row, std::mem::take(&mut passed)].concat());
    }
}

fn session(session: &SessionFigures, counting: bool) -> [String; 8] {
    let used: u64 = session.memory.iter().map(|memory| memory.used_bytes).sum();
    [
        session.session.to_string(),
        session.tenant.clone().unwrap_or_else(|| "?".into()),
        session.pid.to_string(),
        session.program.clone(),
        time(session.seconds),
        bytes(used),
        if counting { session.counts.calls.to_string() } else { "-".into() },
        session.peer.clone(),
    ]
}

fn of(part: u64, whole: u64) -> String {
    format!("{} / {}", bytes(part), bytes(whole))
}

/// Bytes in the largest unit of which there are some.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..0x10_0000 => format!("{}KiB", bytes >> 10),
        0x10_0000..0x280_0000_0000 => format!("{}MiB", bytes >> 20),
        _ => format!("{}GiB", bytes >> 30),
    }
}

fn time(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (hours / 24, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{:02}m", minutes % 60),
        (days, ..) => format!("{days}d{:02}h", hours % 24),
    }
}

/// Columns as wide as what stands in them.
struct Table {
    /// Whether each is of numbers, which end where the column does.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(columns: &[(&str, bool)]) -> Self {
        let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self { right: columns.iter().map(|(_, right)| *right).collect(), rows: vec![head] }
    }

    fn row(&mut self, row: impl IntoIterator<Item = String>) {
        // Guests choose what their programs are called: nothing of it reaches the terminal as a
        // command.
        self.rows.push(row.into_iter().map(|text| text.replace(char::is_control, "?")).collect());
    }

    fn draw(&self, out: &mut String) {
        let chars = |text: &String| text.chars().count();
        let width = |column| self.rows.iter().filter_map(|row| row.get(column)).map(chars).max();
        let widths: Vec<usize> =
            (0..self.right.len()).map(|column| width(column).unwrap_or(0)).collect();
        out.push('\n');
        for row in &self.rows {
            let mut line = String::new();
            for ((text, width), right) in row.iter().zip(&widths).zip(&self.right) {
                // Writing to a String cannot fail.
                let _ = match right {
                    true => write!(line, "{text:>width$}  "),
                    false => write!(line, "{text:<width$}  "),
                };
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::Counts;
    use crate::figures::GpuFigures;

    fn figures() -> Figures {
        let memory = |gpu, used| Memory { gpu, share_bytes: 16 << 30, used_bytes: used };
        let counts = Counts { calls: 12, waits: [1, 2, 3], sent_bytes: 2048, ..Counts::default() };
        let one = TenantFigures {
            name: "one".into(),
            clients: 1,
            clients_max: Some(8),
            memory: vec![memory(1, 64 << 20), memory(0, 0)],
            counts,
            ..TenantFigures::default()
        };
        let session = SessionFigures {
            session: 7,
            peer: "uid:1 gid:1 pid:9".into(),
            tenant: Some("one".into()),
            pid: 9,
            program: "evil\x1b[2Jname".into(),
            seconds: 3_725,
            memory: vec![memory(1, 64 << 20)],
            ..SessionFigures::default()
        };
        let gpu = GpuFigures {
            name: "A GPU".into(),
            uuid: "GPU-1".into(),
            memory_bytes: 80 << 30,
            memory_used_bytes: 64 << 20,
        };
        Figures {
            version: "9.9.9".into(),
            device: "sim".into(),
            seconds: 200_000,
            clients: 1,
            clients_max: 64,
            counting: true,
            gpus: vec![gpu],
            tenants: vec![one],
            sessions: vec![session],
            ..Figures::default()
        }
    }

    #[test]
    fn the_screen_shows_gpus_tenants_and_clients() {
        let expected = "\
vgpud 9.9.9, device sim, up 2d07h: 1 of 64 clients

GPU  Name              Memory  UUID
  0  A GPU  64MiB / 81920MiB  GPU-1

Tenant  Clients  GPU            Memory  Calls  Errors  Waits  Received  Sent
one       1 / 8    1  64MiB / 16384MiB     12       0      6        0B  2KiB
                   0     0B / 16384MiB

Session  Tenant  PID  Program         Since  Memory  Calls  Peer
      7  one       9  evil?[2Jname  1h02m   64MiB      0  uid:1 gid:1 pid:9
";
        // Whatever a guest is called, no more of it than text comes out.
        let shown = screen(&figures());
        let squeezed = |text: &str| {
            let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            text.lines().map(line).collect::<Vec<_>>()
        };
        assert_eq!(squeezed(&shown), squeezed(expected));
        assert!(!shown.contains('\x1b'));
    }

    #[test]
    fn what_is_not_counted_is_no_zero() {
        let shown = screen(&Figures { counting: false, ..figures() });
        let line = shown.lines().find(|line| line.starts_with("one")).expect("the tenant");
        assert!(line.ends_with("-       -      -         -     -"), "{line}");
    }
}
