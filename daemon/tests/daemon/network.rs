//! Clients of the network: TLS, and the certificates that `vgpud ca` makes.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use vgpu_link::tls::Files;
use vgpu_link::wire::control::{Reason, Refusal};
use vgpu_link::{HostPort, LinkError, Uri};

use crate::life::{hold, keep_busy};
use crate::process::{Client, Vgpud, kill, pid_in};

const MIB: u64 = 1 << 20;

/// A host on this machine's loopback address, and a CA.
pub struct Network {
    pub daemon: Vgpud,
    pub at: Uri,
    ca: PathBuf,
}

fn vgpud(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vgpud")).args(arguments).output().expect("vgpud starts")
}

/// Finds an address to listen at. It was free a moment ago, and nobody else on this machine takes
/// ports by number.
fn free() -> Uri {
    let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = free.local_addr().expect("an address").port();
    Uri::Tls(HostPort { host: "127.0.0.1".into(), port })
}

/// Makes a CA in a directory.
#[track_caller]
fn make_ca(directory: &Path) {
    let made = vgpud(&["ca", "init", "--directory", directory.to_str().expect("UTF-8")]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Issues a certificate; returns what its side has.
#[track_caller]
pub fn issue(directory: &Path, side: &str, option: &str, name: &str) -> Files {
    let ca = directory.to_str().expect("UTF-8");
    let issued = vgpud(&["ca", "issue", "--directory", ca, option, name]);
    assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
    let out = directory.join("issued").join(format!("{side}-{name}"));
    Files {
        ca: out.join("ca.pem"),
        certificate: out.join(format!("{side}.pem")),
        key: out.join(format!("{side}.key")),
    }
}

/// Makes a CA, a certificate for a host of this name, and a `host.toml` with these lines before and
/// behind; returns the CA's directory and the file.
pub fn secure(directory: &Path, name: &str, before: &str, behind: &str) -> (PathBuf, PathBuf) {
    let ca = directory.join("ca");
    make_ca(&ca);
    let host = issue(&ca, "host", "--host", name);
    let config = directory.join("host.toml");
    let text = format!(
        "{before}\n[tls]\ncertificate = {:?}\nkey = {:?}\nclients_ca = {:?}\n{behind}\n",
        host.certificate, host.key, host.ca
    );
    std::fs::write(&config, text).expect("written");
    (ca, config)
}

impl Network {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with("", arguments)
    }

    /// Starts a host with these lines at the end of its file.
    fn start_with(lines: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (ca, config) = secure(directory.path(), "127.0.0.1", "", lines);
        let at = free();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
        let local = format!("unix:{}", directory.path().join("vgpud.sock").display());
        command.args(["--device", "sim", "--listen", &at.to_string(), "--listen", &local]);
        command.arg("--config").arg(config).args(arguments);
        Self { daemon: Vgpud::spawn(command, directory), at, ca }
    }

    pub fn guest(&self, tenant: &str) -> Files {
        issue(&self.ca, "guest", "--tenant", tenant)
    }

    fn client(&self, files: &Files) -> Client {
        Client::at(&self.at, files).unwrap_or_else(|error| panic!("{error}"))
    }
}

#[test]
fn a_guest_with_a_certificate_is_served_as_any_other() {
    let network = Network::start(&[]);
    let files = network.guest("team-a");
    let mut client = network.client(&files);
    network.daemon.wait_for(&["vgpud: client", "peer=127.0.0.1:"]);
    network.daemon.wait_for(&["vgpud: certified", "tenant=team-a"]);
    assert_eq!(client.snapshot().devices.len(), 1);
    hold(&mut client, 64 * MIB);
    let mut observer = network.client(&files);
    assert_eq!(observer.state(0).memory_used, 64 * MIB);
    drop(client);
    network.daemon.wait_for(&["vgpud: gone", "freed=67108864"]);
    assert_eq!(observer.state(0).memory_used, 0);
}

#[test]
fn who_has_no_certificate_of_the_ca_is_refused_and_logged_with_its_address() {
    let network = Network::start(&[]);
    let other = network.daemon.directory.path().join("other");
    make_ca(&other);
    let stranger = issue(&other, "guest", "--tenant", "team-a");
    // It trusts the host; the host does not trust it.
    let stranger = Files { ca: network.ca.join("ca.pem"), ..stranger };
    let Err(error) = Client::at(&network.at, &stranger) else { panic!("a stranger is served") };
    assert!(error.to_string().contains("refused our certificate"), "{error}");
    network.daemon.wait_for(&["vgpud: parted", "127.0.0.1:", "of another CA"]);
    let Uri::Tls(HostPort { host, port }) = &network.at else { panic!("{}", network.at) };
    let plain = TcpStream::connect((host.as_str(), *port)).expect("it listens");
    std::io::Write::write_all(&mut &plain, b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    network.daemon.wait_for(&["vgpud: parted", "127.0.0.1:", "does not speak TLS"]);
    network.client(&network.guest("team-a")).snapshot();
}

#[test]
fn a_full_host_says_so_to_guests_of_the_network() {
    let network = Network::start(&["--clients-max", "1"]);
    let files = network.guest("a");
    let _served = network.client(&files);
    let Err(error) = Client::at(&network.at, &files) else { panic!("two are served") };
    assert!(matches!(&error, LinkError::Refused { refusal: Refusal::Full, .. }), "{error}");
    assert!(error.is_retryable());
}

/// Each of them once had a worker, and a place, for a second.
#[test]
fn strangers_of_the_network_take_no_place_from_others() {
    let network = Network::start(&["--clients-max", "2"]);
    let Uri::Tls(HostPort { host, port }) = &network.at else { panic!("{}", network.at) };
    let silent = |_| TcpStream::connect((host.as_str(), *port)).expect("it listens");
    let _strangers: Vec<TcpStream> = (0..20).map(silent).collect();
    for _ in 0..4 {
        network.daemon.wait_for(&["vgpud: client", "peer=127.0.0.1:"]);
    }
    let (mut one, mut other) = (network.daemon.client(), network.daemon.client());
    assert!(one.state(0).memory_total > 0 && other.state(0).memory_total > 0);
    let Err(error) = network.daemon.try_client() else { panic!("three are served") };
    assert!(matches!(&error, LinkError::Refused { refusal: Refusal::Full, .. }), "{error}");
}

#[test]
fn a_worker_that_is_asked_to_stop_says_goodbye_through_tls() {
    let network = Network::start(&[]);
    let mut client = network.client(&network.guest("a"));
    let worker = pid_in(&network.daemon.wait_for(&["vgpud: client"]), "worker=");
    kill(worker, "TERM");
    let error = client.ended();
    assert!(matches!(error, LinkError::Goodbye { reason: Reason::Stopping, .. }), "{error}");
}

#[test]
fn a_guest_of_the_network_that_goes_while_its_kernel_runs_takes_its_worker_with_it() {
    let network = Network::start(&[]);
    let files = network.guest("a");
    let mut client = network.client(&files);
    hold(&mut client, 64 * MIB);
    keep_busy(&mut client);
    drop(client);
    network.daemon.wait_for(&["vgpud: gone", "freed=67108864", "signal: 9"]);
    assert_eq!(network.client(&files).state(0).memory_used, 0);
}

#[test]
fn a_host_without_its_files_does_not_start_and_names_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("host.toml");
    std::fs::write(&config, "[tls]\nclients_ca = \"/nonexistent/ca.pem\"\n").expect("written");
    let (config, at) = (config.to_str().expect("UTF-8"), free().to_string());
    let output = vgpud(&["--device", "sim", "--listen", &at, "--config", config]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in ["the CA /nonexistent/ca.pem", "try:     ", "vgpud ca issue"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// As a socket unit with `ListenStream=6475` does it; host.toml names no address.
#[test]
fn a_socket_of_the_network_that_systemd_hands_over_is_served_through_tls() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ca, config) = secure(directory.path(), "127.0.0.1", "device = \"sim\"", "");
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let mut command = crate::operating::handed(listener.into());
    command.arg("--config").arg(config);
    let daemon = Vgpud::launch(command, directory);
    daemon.wait_for(&["vgpud: listening", &format!("tls:127.0.0.1:{port}"), "by=systemd"]);
    daemon.wait_for(&["vgpud: ready"]);
    let at = Uri::Tls(HostPort { host: "127.0.0.1".into(), port });
    let files = issue(&ca, "guest", "--tenant", "team-a");
    let mut client = Client::at(&at, &files).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(client.snapshot().devices.len(), 1);
}

/// Two tenants by what their certificates name, one with a share.
const TENANTS: &str = "[[tenant]]\nname = \"research\"\ncertificates = [\"team-a\", \"team-b\"]\n\
    memory_mib = 64\nclients = 3\n\
    [[tenant]]\nname = \"teaching\"\ncertificates = [\"class\"]\n";

#[test]
fn certificates_name_the_tenant_whose_share_its_clients_have_together() {
    let network = Network::start_with(TENANTS, &[]);
    let [a, b, class] = ["team-a", "team-b", "class"].map(|tenant| network.guest(tenant));
    let (mut first, mut second) = (network.client(&a), network.client(&b));
    network.daemon.wait_for(&["vgpud: tenant", "session=1", "tenant=research"]);
    let mut other = network.client(&class);
    let total = |client: &mut Client| client.snapshot().devices[0].total_memory;
    assert_eq!(total(&mut first), 64 * MIB, "cuDeviceTotalMem");
    assert!(total(&mut other) > 64 * MIB);
    hold(&mut first, 48 * MIB);
    hold(&mut other, 96 * MIB);
    let state = second.state(0);
    let told = (state.memory_total, state.memory_used, state.memory_free);
    assert_eq!(told, (64 * MIB, 48 * MIB, 16 * MIB), "one share for both certificates");
    assert_eq!(state.processes.len(), 1, "the other tenant's process is not theirs to see");
    let retain = vgpu_link::wire::cuda::DevicePrimaryCtxRetain { dev: 0 };
    second.context = second.call(&retain).expect("a device").pctx;
    let info = second.call(&vgpu_link::wire::cuda::MemGetInfoV2).expect("a context");
    assert_eq!((info.free, info.total), (16 * MIB, 64 * MIB));
    let more = second.call(&vgpu_link::wire::cuda::MemAllocV2 { bytesize: 17 * MIB });
    assert_eq!(more.map(|reply| reply.dptr), Err(2), "OUT_OF_MEMORY");
}

#[test]
fn a_certificate_of_no_tenant_and_one_client_too_many_are_refused_with_the_reason() {
    let place = tempfile::tempdir().expect("a directory");
    let status = place.path().join("status.sock");
    let network = Network::start_with(TENANTS, &["--status", status.to_str().expect("UTF-8")]);
    let stranger = network.guest("nobody");
    let Err(error) = Client::at(&network.at, &stranger) else { panic!("a stranger is served") };
    let is_stranger = matches!(error, LinkError::Refused { refusal: Refusal::Stranger, .. });
    assert!(is_stranger && error.to_string().contains("certificate:nobody"), "{error}");
    network.daemon.wait_for(&["vgpud: refused", "certificate:nobody is of no tenant"]);
    let files = network.guest("team-a");
    let served: Vec<Client> = (0..3).map(|_| network.client(&files)).collect();
    let Err(error) = Client::at(&network.at, &files) else { panic!("a fourth client is served") };
    assert!(matches!(error, LinkError::Refused { refusal: Refusal::Full, .. }), "{error}");
    assert!(error.to_string().contains("tenant research has 3 clients"), "{error}");
    let told = crate::metrics::status(&status);
    let counted = r#""refused":{"full":1,"stopping":0,"no_worker":0,"stranger":1}"#;
    assert!(told.contains(counted), "{told}");
    drop(served);
}

/// The guest looks at its own certificate before it shows it, so no host has to refuse it.
#[test]
fn an_expired_certificate_is_named_with_the_remedy_and_the_tenant_gets_nothing_by_it() {
    let network = Network::start_with(TENANTS, &[]);
    let files = network.guest("team-a");
    expire(&network.ca, &files, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let uri = format!("{}team-a", vgpu_link::tls::TENANT_URI).try_into().expect("a name");
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
    });
    let Err(error) = Client::at(&network.at, &files) else { panic!("an expired one is served") };
    let LinkError::Credential { path, .. } = &error else { panic!("{error}") };
    assert!(*path == files.certificate && error.hint().is_some(), "{error}");
    assert!(whole(&error).contains("has expired"), "{}", whole(&error));
    network.client(&network.guest("team-b")).snapshot();
}

/// Replaces a certificate by one of the same key and CA that ended yesterday.
fn expire(ca: &Path, files: &Files, change: impl FnOnce(&mut rcgen::CertificateParams)) {
    let text = |name: &str| std::fs::read_to_string(ca.join(name)).expect("it is made");
    let key = rcgen::KeyPair::from_pem(&text("ca.key")).expect("a key");
    let issuer = rcgen::Issuer::from_ca_cert_pem(&text("ca.pem"), key).expect("a CA");
    let own = std::fs::read_to_string(&files.key).expect("it is issued");
    let own = rcgen::KeyPair::from_pem(&own).expect("a key");
    let mut params = rcgen::CertificateParams::default();
    let day = Duration::from_secs(86_400);
    params.not_before = (SystemTime::now() - 3 * day).into();
    params.not_after = (SystemTime::now() - day).into();
    change(&mut params);
    let expired = params.signed_by(&own, &issuer).expect("signed");
    std::fs::write(&files.certificate, expired.pem()).expect("written");
}

/// It once kept the whole host from starting, guests of its own machine included.
#[test]
fn a_host_whose_certificate_has_expired_serves_its_other_links_and_is_mended_by_a_reload() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ca, config) = secure(directory.path(), "127.0.0.1", "", "");
    let out = ca.join("issued/host-127.0.0.1");
    let place = |name: &str| out.join(name);
    let host =
        Files { ca: place("ca.pem"), certificate: place("host.pem"), key: place("host.key") };
    let good = std::fs::read(&host.certificate).expect("it is issued");
    expire(&ca, &host, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        params.subject_alt_names.push(rcgen::SanType::IpAddress(address));
    });
    let (at, status) = (free(), directory.path().join("status.sock"));
    let socket = format!("unix:{}", directory.path().join("vgpud.sock").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
    command.args(["--device", "sim", "--listen", &at.to_string(), "--listen", &socket]);
    command.arg("--status").arg(&status).arg("--config").arg(config);
    let daemon = Vgpud::spawn(command, directory);
    daemon.wait_for(&["vgpud: certificate-not-valid", "host.pem", "has expired", "vgpud ca issue"]);
    daemon.client().snapshot();
    let ends = || {
        let text = crate::metrics::status(&status);
        let rest = text.split("\"certificate_not_after_seconds\":").nth(1).expect("it is told");
        rest.split(',').next().expect("a value").parse::<u64>().expect("a time")
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    assert!(ends() < now.as_secs());
    let files = issue(&ca, "guest", "--tenant", "a");
    let Err(error) = Client::at(&at, &files) else { panic!("an expired one is trusted") };
    assert!(whole(&error).contains("its certificate has expired"), "{}", whole(&error));
    std::fs::write(&host.certificate, good).expect("written");
    daemon.signal("HUP");
    daemon.wait_for(&["vgpud: reloaded"]);
    Client::at(&at, &files).unwrap_or_else(|error| panic!("{error}")).snapshot();
    assert!(ends() > now.as_secs());
}

/// An error and its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
