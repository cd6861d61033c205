//! What the daemon says of itself, as tables. 80 columns of a terminal show all of it but the UUIDs
//! of GPUs and who is at the other end of a connection, which end their lines.

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
    let heads = [("Tenant", false), ("Clients", true), ("Host memory", true)];
    let mut tenants = Table::new(&[&heads[..], &[("GPU", true), ("Memory", true)]].concat());
    figures.tenants.iter().for_each(|tenant| self::tenant(&mut tenants, tenant));
    tenants.draw(&mut out);
    if figures.counting {
        let mut messages = Table::new(&MESSAGES);
        figures.tenants.iter().for_each(|tenant| messages.row(self::messages(tenant)));
        messages.draw(&mut out);
    }
    if figures.sessions.is_empty() {
        out.push_str("\nNo clients.\n");
        return out;
    }
    let heads = [("Session", true), ("Tenant", false), ("PID", true), ("Program", false)];
    let heads = [&heads[..], &[("Since", true), ("Memory", true), ("Host", true)]].concat();
    let mut sessions = Table::new(&[&heads[..], &[("Calls", true), ("Peer", false)]].concat());
    for session in &figures.sessions {
        sessions.row(self::session(session, figures.counting));
    }
    sessions.draw(&mut out);
    out
}

/// Columns of what passed between clients and workers, memory that they share included.
const MESSAGES: [(&str, bool); 6] = [
    ("Tenant", false),
    ("Calls", true),
    ("Errors", true),
    ("Waits", true),
    ("Received", true),
    ("Sent", true),
];

fn messages(tenant: &TenantFigures) -> [String; MESSAGES.len()] {
    let counts = &tenant.counts;
    [
        tenant.name.clone(),
        counts.calls.to_string(),
        counts.errors.to_string(),
        counts.waits.iter().sum::<u64>().to_string(),
        bytes(counts.received_bytes.saturating_add(counts.pinned_received_bytes)),
        bytes(counts.sent_bytes.saturating_add(counts.pinned_sent_bytes)),
    ]
}

fn tenant(table: &mut Table, tenant: &TenantFigures) {
    let clients = match tenant.clients_max {
        Some(most) => format!("{} / {most}", tenant.clients),
        None => tenant.clients.to_string(),
    };
    let host = match tenant.host_memory_bytes {
        Some(most) => of(tenant.host_memory_used_bytes, most),
        None => bytes(tenant.host_memory_used_bytes),
    };
    let mut first = [tenant.name.clone(), clients, host];
    // A line for each of its GPUs; what is not the GPU's stands in the first.
    for Memory { gpu, share_bytes, used_bytes } in &tenant.memory {
        let [name, clients, host] = std::mem::take(&mut first);
        table.row([name, clients, host, gpu.to_string(), of(*used_bytes, *share_bytes)]);
    }
}

fn session(session: &SessionFigures, counting: bool) -> [String; 9] {
    let used: u64 = session.memory.iter().map(|memory| memory.used_bytes).sum();
    [
        session.session.to_string(),
        session.tenant.clone().unwrap_or_else(|| "?".into()),
        session.pid.to_string(),
        session.program.clone(),
        time(session.seconds),
        bytes(used),
        bytes(session.host_memory_used_bytes),
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
        let counts = Counts { pinned_sent_bytes: 4096, pinned_received_bytes: 5 << 20, ..counts };
        let one = TenantFigures {
            name: "one".into(),
            clients: 1,
            clients_max: Some(8),
            memory: vec![memory(1, 64 << 20), memory(0, 0)],
            host_memory_bytes: Some(4 << 30),
            host_memory_used_bytes: 9 << 20,
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
            host_memory_used_bytes: 9 << 20,
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

Tenant  Clients     Host memory  GPU            Memory
one       1 / 8  9MiB / 4096MiB    1  64MiB / 16384MiB
                                   0     0B / 16384MiB

Tenant  Calls  Errors  Waits  Received  Sent
one        12       0      6      5MiB  6KiB

Session  Tenant  PID  Program         Since  Memory  Host  Calls  Peer
      7  one       9  evil?[2Jname  1h02m   64MiB  9MiB      0  uid:1 gid:1 pid:9
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
        assert!(!shown.contains("Errors"), "{shown}");
        let line = shown.lines().find(|line| line.ends_with("pid:9")).expect("the client");
        assert!(line.contains("9MiB      -  uid"), "{line}");
    }

    #[test]
    fn eighty_columns_show_all_but_uuids_and_peers() {
        let busy = Figures { gpus: vec![large_gpu(); 8], ..figures() };
        let tenant = TenantFigures {
            name: "students".into(),
            clients: 64,
            clients_max: Some(64),
            memory: vec![Memory { gpu: 63, share_bytes: 288 << 30, used_bytes: 287 << 30 }],
            host_memory_bytes: Some(1 << 40),
            host_memory_used_bytes: 1023 << 30,
            counts: Counts {
                calls: 99_999_999_999,
                errors: 999_999,
                waits: [3_333_333_333; 3],
                received_bytes: 999 << 40,
                sent_bytes: 999 << 40,
                ..Counts::default()
            },
            ..TenantFigures::default()
        };
        let session = SessionFigures {
            session: 999_999,
            peer: "the peer".into(),
            tenant: Some("students".into()),
            pid: 4_194_303,
            program: "llama-server".into(),
            seconds: 99 * 86_400,
            memory: tenant.memory.clone(),
            host_memory_used_bytes: 99 << 30,
            counts: Counts { calls: 99_999_999, ..Counts::default() },
            ..SessionFigures::default()
        };
        let shown = screen(&Figures { tenants: vec![tenant], sessions: vec![session], ..busy });
        for line in shown.lines() {
            let last = ["GPU-", "Peer", "the peer"].into_iter().find_map(|text| line.find(text));
            let end = last.unwrap_or(line.len());
            assert!(line[..end].trim_end().len() <= 80, "{}: {line}", line.len());
        }
    }

    fn large_gpu() -> GpuFigures {
        GpuFigures {
            name: "NVIDIA H100 80GB HBM3 (Simulated)".into(),
            uuid: "GPU-00000000-0000-0000-0000-000000000000".into(),
            memory_bytes: 288 << 30,
            memory_used_bytes: 287 << 30,
        }
    }
}
