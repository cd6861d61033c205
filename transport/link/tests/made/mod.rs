//! Certificates made for a test, and a pair of streams that use them.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use vgpu_link::tls::{Credentials, Files, TENANT_URI, TlsStream};
use vgpu_link::{Access, HostPort, Listener, Uri};

/// A CA that lives as long as a test.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    /// Makes one.
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, "a CA for tests");
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    /// Writes what one side has, its certificate changed by `change`, and trusts `ca`.
    pub fn issue(
        &self,
        directory: &Path,
        name: &str,
        ca: &Ca,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Files {
        let mut params = CertificateParams::new([]).expect("no names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let write = |end: &str, text: String| -> PathBuf {
            let path = directory.join(format!("{name}.{end}"));
            std::fs::write(&path, text).expect("written");
            path
        };
        Files {
            ca: write("ca.pem", ca.issuer.pem()),
            certificate: write("pem", certificate.pem()),
            key: write("key", key.serialize_pem()),
        }
    }

    /// As [`Ca::issue`], for the host at 127.0.0.1 and ::1.
    pub fn host(&self, directory: &Path) -> Files {
        self.issue(directory, "host", self, for_host)
    }

    /// As [`Ca::issue`], for a guest of a tenant.
    pub fn guest(&self, directory: &Path, tenant: &str) -> Files {
        self.issue(directory, "guest", self, |params| for_guest(params, tenant))
    }
}

/// Makes a certificate one for this machine as a host.
pub fn for_host(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for address in ["127.0.0.1", "::1"] {
        params.subject_alt_names.push(SanType::IpAddress(address.parse().expect("an address")));
    }
}

/// Makes a certificate one for a guest of a tenant.
pub fn for_guest(params: &mut CertificateParams, tenant: &str) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let uri = format!("{TENANT_URI}{tenant}").try_into().expect("ASCII");
    params.subject_alt_names.push(SanType::URI(uri));
}

/// Listens at a free port of this machine.
pub fn listen() -> (Listener, HostPort) {
    let any = Uri::Tls(HostPort { host: "127.0.0.1".into(), port: 0 });
    let listener = Listener::bind(&any, Access { mode: 0o600, group: None }).expect("bound");
    let Ok(Uri::Tls(at)) = listener.address().parse() else { panic!("{}", listener.address()) };
    (listener, at)
}

/// Waits for a connection.
pub fn accept(listener: &Listener) -> OwnedFd {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    let came = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&limit));
    assert_eq!(came, Ok(1), "somebody connects");
    listener.accept().expect("no error").expect("a connection").socket
}

/// A limit that no test meets unless it fails.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Makes two ends of a connection: the guest's and the host's.
pub fn pair() -> (TlsStream, TlsStream) {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = Ca::new();
    let (host, guest) = (ca.host(directory.path()), ca.guest(directory.path(), "test"));
    let credentials = Credentials::read(&host).expect("they were just written");
    let (listener, at) = listen();
    let guest = thread::spawn(move || TlsStream::connect(&at, &guest, soon()));
    let host = TlsStream::accept(accept(&listener), &credentials, soon());
    let (host, tenant) = host.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(tenant.as_deref(), Some("test"));
    (guest.join().expect("no panic").unwrap_or_else(|error| panic!("{error}")), host)
}
