//! What Prometheus hears, and what it costs those who are served.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Instant;

use crate::process::{LIMIT, Vgpud};

/// Starts a daemon with metrics at a port that the system chooses.
fn measured(arguments: &[&str]) -> (Vgpud, SocketAddr) {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = format!("unix:{}", directory.path().join("vgpud.sock").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
    command.args(["--device", "sim", "--listen", &socket, "--metrics", "127.0.0.1:0"]);
    command.args(arguments);
    let daemon = Vgpud::launch(command, directory);
    let address = address(&daemon);
    daemon.wait_for(&["vgpud: ready"]);
    (daemon, address)
}

fn address(daemon: &Vgpud) -> SocketAddr {
    let line = daemon.wait_for(&["vgpud: metrics address="]);
    line.rsplit('=').next().expect("an address").parse().expect("an address")
}

/// Sends bytes and reads what comes, to the end.
fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut client = TcpStream::connect(address).expect("somebody listens");
    client.set_read_timeout(Some(LIMIT)).expect("a limit");
    // One that is cut off in the middle of a long request sees it here or when it reads.
    let _ = client.write_all(request);
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer);
    answer
}

/// What Prometheus is told.
pub fn scrape(address: SocketAddr) -> String {
    let answer = ask(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a header");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    body.to_owned()
}

/// The value of a sample.
pub fn value(text: &str, sample: &str) -> f64 {
    let line =
        text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == sample));
    let line = line.unwrap_or_else(|| panic!("no {sample} in\n{text}"));
    line.rsplit(' ').next().expect("a value").parse().expect("a number")
}

#[test]
fn a_scrape_tells_clients_memory_refusals_and_messages() {
    let (daemon, address) = measured(&["--clients-max", "1", "--sim-gpus", "2"]);
    let mut client = daemon.client();
    crate::life::hold(&mut client, 64 << 20);
    drop(daemon.try_client().map(drop).expect_err("one too many"));
    let during = scrape(address);
    for (sample, expected) in [
        ("vgpud_clients", 1.0),
        ("vgpud_clients_max", 1.0),
        ("vgpud_draining", 0.0),
        ("vgpud_connections_total", 2.0),
        ("vgpud_refused_total{reason=\"full\"}", 1.0),
        ("vgpud_refused_total{reason=\"stopping\"}", 0.0),
        ("vgpud_gpu_memory_used_bytes{gpu=\"0\"}", f64::from(64 << 20)),
        ("vgpud_gpu_memory_used_bytes{gpu=\"1\"}", 0.0),
        ("vgpud_tenant_clients{tenant=\"all\"}", 1.0),
        ("vgpud_tenant_gpu_memory_used_bytes{tenant=\"all\",gpu=\"0\"}", f64::from(64 << 20)),
    ] {
        assert!((value(&during, sample) - expected).abs() < 0.5, "{sample} in\n{during}");
    }
    client.call(&vgpu_link::wire::cuda::MemAllocV2 { bytesize: u64::MAX }).expect_err("no room");
    drop(client);
    // Its worker reports the rest before it goes.
    daemon.wait_for(&["vgpud: gone"]);
    let after = scrape(address);
    assert!((value(&after, "vgpud_clients")).abs() < 0.5);
    for (sample, expected) in [
        ("vgpud_messages_total{tenant=\"all\",kind=\"call\"}", 3.0),
        ("vgpud_call_errors_total{tenant=\"all\"}", 1.0),
        ("vgpud_call_seconds_count{tenant=\"all\"}", 3.0),
        ("vgpud_call_seconds_bucket{tenant=\"all\",le=\"+Inf\"}", 3.0),
    ] {
        assert!((value(&after, sample) - expected).abs() < 0.5, "{sample} in\n{after}");
    }
    assert!(
        value(&after, "vgpud_bytes_total{tenant=\"all\",direction=\"received\"}") >= 3.0 * 32.0
    );
    assert!(value(&after, "vgpud_call_seconds_sum{tenant=\"all\"}") > 0.0);
}

#[test]
fn what_is_no_scrape_is_answered_shortly_and_holds_up_nobody() {
    let (daemon, address) = measured(&[]);
    for (request, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (b"\xff\xff\r\n\r\n", "405"),
        (b"GET", "400"),
    ] {
        let answer = ask(address, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
    // Without an end: cut off at 8 KiB.
    ask(address, &vec![b'x'; 1 << 20]);
    // Silent ones wait in a row, and are turned out one after the other.
    let _silent = TcpStream::connect(address).expect("somebody listens");
    daemon.client().snapshot();
    scrape(address);
}

#[test]
fn a_reload_turns_metrics_on_and_off_and_refuses_an_address_in_use() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("host.toml");
    let socket = directory.path().join("vgpud.sock");
    let write = |lines: &str| {
        let text = format!("device = \"sim\"\nlisten = [\"unix:{}\"]\n{lines}\n", socket.display());
        std::fs::write(&file, text).expect("written");
    };
    write("");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
    command.arg("--config").arg(&file);
    let daemon = Vgpud::spawn(command, directory);
    let other = TcpListener::bind("127.0.0.1:0").expect("bound");
    let taken = other.local_addr().expect("an address");
    write(&format!("metrics = \"{taken}\"\nclients_max = 1"));
    daemon.signal("HUP");
    daemon.wait_for(&["vgpud: not-reloaded", &taken.to_string()]);
    drop(other);
    write("metrics = \"127.0.0.1:0\"");
    daemon.signal("HUP");
    let address = address(&daemon);
    daemon.wait_for(&["vgpud: reloaded"]);
    assert!((value(&scrape(address), "vgpud_clients_max") - 64.0).abs() < 0.5);
    drop(daemon.client());
    daemon.wait_for(&["vgpud: gone"]);
    write("");
    daemon.signal("HUP");
    daemon.wait_for(&["vgpud: reloaded"]);
    let limit = Instant::now() + LIMIT;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < limit, "the server ends with the setting");
        std::thread::yield_now();
    }
}

/// Every name of a metric in a text.
fn names(text: &str) -> std::collections::BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    text.split(word).filter(|word| word.starts_with("vgpud_")).map(str::to_owned).collect()
}

#[test]
fn the_dashboard_and_the_alerts_use_only_metrics_that_are_exported() {
    let (_daemon, address) = measured(&[]);
    let exported = names(&scrape(address));
    for text in [
        include_str!("../../../packaging/monitoring/dashboard.json"),
        include_str!("../../../packaging/monitoring/alerts.yml"),
    ] {
        let used = names(text);
        assert!(used.len() > 3, "{used:?}");
        assert_eq!(used.difference(&exported).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_the_operators_chapter_explains_it() {
    let (_daemon, address) = measured(&[]);
    let text = scrape(address);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let families: std::collections::BTreeSet<String> = types.map(str::to_owned).collect();
    let shown = names(include_str!("../../../packaging/monitoring/dashboard.json"));
    for family in &families {
        // A histogram is shown by its buckets.
        let is_shown = shown.contains(family) || shown.contains(&format!("{family}_bucket"));
        assert!(is_shown, "{family} is on no panel of dashboard.json");
    }
    assert_eq!(names(include_str!("../../../docs/operate.md")), families);
}

/// They go through memory that both sides see, and are in no message.
#[test]
fn bytes_of_pinned_copies_are_counted_by_direction_and_refused_ones_are_not() {
    use vgpu_link::wire::cuda;
    const BYTES: u64 = 1 << 20;
    let (daemon, address) = measured(&[]);
    let mut client = daemon.client();
    let retain = cuda::DevicePrimaryCtxRetain { dev: 0 };
    client.context = client.call(&retain).expect("a device").pctx;
    client.call(&cuda::SpanPin { offset: 0, bytes: BYTES }).expect("in the area");
    let at = client.call(&cuda::MemAllocV2 { bytesize: BYTES }).expect("room").dptr;
    let end = |kind, address| cuda::NodeCopyEnd {
        kind,
        address,
        x_bytes: 0,
        y: 0,
        z: 0,
        level: 0,
        pitch: 1000,
        height: 4,
    };
    let (host, device) = (end(1, 0), end(2, at));
    let line = |from: &cuda::NodeCopyEnd, to: &cuda::NodeCopyEnd, width_bytes| {
        let (from, to) = (from.clone(), to.clone());
        cuda::NodeCopy { from, to, width_bytes, height: 1, depth: 1 }
    };
    client.call(&cuda::SpanCopy { copy: line(&host, &device, BYTES) }).expect("pinned");
    // 900 bytes of each of 4 rows of 2 slices.
    let rows = cuda::NodeCopy { height: 4, depth: 2, ..line(&device, &host, 900) };
    client.post_with(&cuda::SpanCopyAsync { copy: rows, stream: 0 }, &[]);
    client.call(&cuda::StreamSynchronize { stream: 0 }).expect("it is done");
    let too_long = line(&device, &host, BYTES + 1);
    client.call(&cuda::SpanCopy { copy: too_long }).expect_err("not pinned");
    drop(client);
    daemon.wait_for(&["vgpud: gone"]);
    let text = scrape(address);
    for (direction, expected) in [("received", BYTES), ("sent", 900 * 4 * 2)] {
        let sample =
            format!("vgpud_pinned_bytes_total{{tenant=\"all\",direction=\"{direction}\"}}");
        assert_eq!(value(&text, &sample) as u64, expected, "{direction}");
    }
    let messages = value(&text, "vgpud_bytes_total{tenant=\"all\",direction=\"received\"}");
    assert!(messages < 10_000.0, "{messages}");
}

/// Reads what the operator hears, at a status socket.
pub fn status(socket: &std::path::Path) -> String {
    let mut client = std::os::unix::net::UnixStream::connect(socket).expect("somebody listens");
    client.write_all(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("text");
    answer
}

/// What a client waits for is not the same as what it asks for: each has its counter.
#[test]
fn what_messages_wait_for_is_counted_by_tenant() {
    use vgpu_link::wire::cuda;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("host.toml");
    let user = rustix::process::getuid().as_raw();
    let text = format!(
        "device = \"sim\"\nmetrics = \"127.0.0.1:0\"\n\
         [[tenant]]\nname = \"us\"\nusers = [{user}]\nclients = 5\nmessages_per_second = 100\n\
         [[tenant]]\nname = \"others\"\nusers = [{}]\n",
        user + 1
    );
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
    let socket = format!("unix:{}", directory.path().join("vgpud.sock").display());
    command.arg("--config").arg(&file).args(["--listen", &socket]);
    let daemon = Vgpud::launch(command, directory);
    let address = address(&daemon);
    daemon.wait_for(&["vgpud: ready"]);
    let mut client = daemon.client();
    let retain = cuda::DevicePrimaryCtxRetain { dev: 0 };
    client.context = client.call(&retain).expect("a device").pctx;
    for _ in 0..20 {
        client.call(&cuda::CtxSynchronizeV2 { ctx: 0 }).expect("a context");
    }
    drop(client);
    daemon.wait_for(&["vgpud: gone"]);
    let text = scrape(address);
    let at_least = |sample: &str, least: f64| {
        assert!(value(&text, sample) >= least, "{sample} in\n{text}");
    };
    // The first ones are of the tenth of a second that may gather.
    at_least("vgpud_waits_total{tenant=\"us\",for=\"rate\"}", 5.0);
    at_least("vgpud_wait_seconds_total{tenant=\"us\",for=\"rate\"}", 0.04);
    at_least("vgpud_messages_total{tenant=\"us\",kind=\"call\"}", 21.0);
    for (sample, expected) in [
        ("vgpud_messages_total{tenant=\"others\",kind=\"call\"}", 0.0),
        ("vgpud_tenant_clients{tenant=\"us\"}", 0.0),
        ("vgpud_tenant_clients_max{tenant=\"us\"}", 5.0),
    ] {
        assert!((value(&text, sample) - expected).abs() < 0.5, "{sample} in\n{text}");
    }
}

#[test]
fn the_operator_is_told_of_every_client_and_nobody_else_may_ask() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = tempfile::tempdir().expect("a directory");
    let socket = place.path().join("status.sock");
    let (daemon, address) = measured(&["--status", socket.to_str().expect("UTF-8")]);
    let mode = std::fs::metadata(&socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut client = daemon.client();
    crate::life::hold(&mut client, 64 << 20);
    let answer = status(&socket);
    for part in [
        "HTTP/1.1 200 OK\r\n",
        "\"schema_version\":1,",
        "\"device\":\"sim\"",
        "NVIDIA H100 80GB HBM3 (Simulated)",
        "\"program\":\"test client\"",
        "\"used_bytes\":67108864",
    ] {
        assert!(answer.contains(part), "{part} in\n{answer}");
    }
    // What is about single clients is not for the network.
    let answer = ask(address, b"GET /status HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let smi = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
        command.arg("smi").args(arguments).output().expect("vgpud starts")
    };
    let place = socket.to_str().expect("UTF-8");
    let shown = smi(&["--status", place]);
    let text = String::from_utf8_lossy(&shown.stdout);
    for part in ["1 of 64 clients", "GPU-", "64MiB / ", "all ", "uid:"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let json = smi(&["--json", "--status", place]);
    assert!(
        json.status.success() && json.stdout.starts_with(b"{") && json.stdout.ends_with(b"}\n")
    );
    for arguments in [&["top", "--status", place][..], &["--status", "/nonexistent/status.sock"]] {
        let failed = smi(arguments);
        let words = String::from_utf8_lossy(&failed.stderr);
        assert_eq!(failed.status.code(), Some(1), "{words}");
        assert!(words.contains("try:     "), "{words}");
    }
}
