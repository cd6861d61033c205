//! Certificates and keys: files, and what TLS makes of them.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, ConfigBuilder, ConfigSide, RootCertStore, ServerConfig, WantsVerifier};
use serde::Deserialize;
use webpki::{EndEntityCert, KeyUsage};

use super::{TENANT_URI, problem};
use crate::LinkError;

/// Largest file of certificates: 16 KiB, ten of a private CA.
pub const FILE_BYTES_MAX: usize = 16 << 10;

/// What our certificate is called where it is of no use.
const CERTIFICATE: &str = "certificate";

/// After the last moment that a certificate can name, the end of the year 9999 (RFC 5280, 4.1.2.5).
const NEVER: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(300_000_000_000));

/// A chain of certificates, and what is wrong with its first.
type Examined = (Vec<CertificateDer<'static>>, Option<webpki::Error>);

/// Names the files of one side.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// Certificates of the CA whose certificates the other side may have.
    pub ca: PathBuf,
    /// Our certificate, and those between it and its CA.
    pub certificate: PathBuf,
    /// Our key.
    pub key: PathBuf,
}

impl Default for Files {
    /// Those of a guest.
    fn default() -> Self {
        Self {
            ca: "/etc/vgpu/tls/ca.pem".into(),
            certificate: "/etc/vgpu/tls/guest.pem".into(),
            key: "/etc/vgpu/tls/guest.key".into(),
        }
    }
}

/// A file's path and what it held.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// Where it was read.
    pub path: PathBuf,
    /// What it held.
    pub text: Vec<u8>,
}

impl fmt::Debug for Pem {
    /// Leaves the contents out: one of them is the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pem").field(&self.path).finish()
    }
}

/// The contents of one side's files, read but not yet understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The CA of the other side.
    pub ca: Pem,
    /// Our certificate.
    pub certificate: Pem,
    /// Our key.
    pub key: Pem,
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// [`LinkError::File`], which names the one that cannot be read.
    pub fn read(files: &Files) -> Result<Self, LinkError> {
        Ok(Self {
            ca: read("certificate of the CA", &files.ca)?,
            certificate: read("certificate", &files.certificate)?,
            key: read("key", &files.key)?,
        })
    }

    /// Prepares the guest's side.
    pub(super) fn client(&self) -> Result<ClientConfig, LinkError> {
        let chain = self.dated_chain(KeyUsage::client_auth())?;
        let provider = Arc::new(provider());
        let builder = tls13(ClientConfig::builder_with_provider(Arc::clone(&provider)));
        let mut config = builder
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(chain, self.key()?)
            .map_err(|error| self.unusable_key(&error))?;
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// Prepares the host's side. Whether its certificate is out of date, guests see for themselves,
    /// and say with the remedy: other links need none.
    ///
    /// # Errors
    /// [`LinkError::Credential`], which names the file and what is wrong with it.
    pub(super) fn server(&self) -> Result<ServerConfig, LinkError> {
        let chain = self.chain(KeyUsage::server_auth())?;
        let provider = Arc::new(provider());
        let roots = Arc::new(self.roots()?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|_| self.ca_problem())?;
        let mut config = tls13(ServerConfig::builder_with_provider(provider))
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, self.key()?)
            .map_err(|error| self.unusable_key(&error))?;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    /// Checks whether a host can serve with them, dates aside.
    ///
    /// # Errors
    /// [`LinkError::Credential`], which names the file and what is wrong with it.
    pub fn check_host(&self) -> Result<(), LinkError> {
        self.server().map(drop)
    }

    /// Checks whether a host's certificate is valid today.
    ///
    /// # Errors
    /// [`LinkError::Credential`] if it has expired or is not valid yet, or as
    /// [`Credentials::check_host`].
    pub fn check_date(&self) -> Result<(), LinkError> {
        self.dated_chain(KeyUsage::server_auth()).map(drop)
    }

    /// Says until when a host's certificate is valid, in seconds since 1970; `None` if it never
    /// ends, or is none.
    pub fn not_after(&self) -> Option<u64> {
        let (_, problem) = self.examined(KeyUsage::server_auth(), NEVER).ok()?;
        match problem {
            Some(webpki::Error::CertExpired { not_after, .. }) => Some(not_after.as_secs()),
            _ => None,
        }
    }

    fn roots(&self) -> Result<RootCertStore, LinkError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca, "certificate of the CA")? {
            roots.add(certificate).map_err(|_| self.ca_problem())?;
        }
        Ok(roots)
    }

    fn ca_problem(&self) -> LinkError {
        problem::credential("certificate of the CA", &self.ca.path, problem::NOT_A_CA)
    }

    /// Reads our certificate, and checks what the peer would refuse it for, dates aside.
    fn chain(&self, usage: KeyUsage) -> Result<Vec<CertificateDer<'static>>, LinkError> {
        match self.examined(usage, UnixTime::now())? {
            (_, Some(webpki::Error::RequiredEkuNotFoundContext(_))) => {
                Err(self.unusable(problem::WRONG_USE))
            }
            (chain, _) => Ok(chain),
        }
    }

    /// Reads our certificate, and checks what the peer would refuse it for.
    fn dated_chain(&self, usage: KeyUsage) -> Result<Vec<CertificateDer<'static>>, LinkError> {
        match self.examined(usage, UnixTime::now())? {
            (_, Some(webpki::Error::CertExpired { .. })) => Err(self.unusable(problem::EXPIRED)),
            (_, Some(webpki::Error::CertNotValidYet { .. })) => {
                Err(self.unusable(problem::NOT_YET))
            }
            _ => self.chain(usage),
        }
    }

    /// Reads our certificate, and what is wrong with it at a time. Whether the peer's CA is the one
    /// that made it, the peer knows.
    fn examined(&self, usage: KeyUsage, at: UnixTime) -> Result<Examined, LinkError> {
        let chain = certificates(&self.certificate, CERTIFICATE)?;
        let ours = EndEntityCert::try_from(&chain[0]);
        let ours = ours.map_err(|_| self.unusable(problem::NOT_PEM))?;
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        let problem = ours.verify_for_usage(algorithms, &[], &[], at, usage, None, None).err();
        Ok((chain, problem))
    }

    fn unusable(&self, problem: problem::Problem) -> LinkError {
        problem::credential(CERTIFICATE, &self.certificate.path, problem)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, LinkError> {
        PrivateKeyDer::from_pem_slice(&self.key.text)
            .map_err(|_| problem::credential("key", &self.key.path, problem::NOT_PEM))
    }

    fn unusable_key(&self, error: &rustls::Error) -> LinkError {
        let problem = match error {
            rustls::Error::InconsistentKeys(_) => problem::OTHER_KEY,
            _ => problem::UNKNOWN_KEY,
        };
        problem::credential("key", &self.key.path, problem)
    }
}

/// What TLS computes with: AES-GCM first, which processors have instructions for.
fn provider() -> CryptoProvider {
    use ring::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_128_GCM_SHA256,
            TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..ring::default_provider()
    }
}

fn tls13<S: ConfigSide>(
    builder: ConfigBuilder<S, rustls::WantsVersions>,
) -> ConfigBuilder<S, WantsVerifier> {
    builder.with_protocol_versions(&[&TLS13]).expect("the suites above are of TLS 1.3")
}

fn read(what: &'static str, path: &Path) -> Result<Pem, LinkError> {
    let failed = |source| LinkError::File { what, path: path.to_owned(), source };
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() > FILE_BYTES_MAX {
        return Err(problem::credential(what, path, problem::TOO_LONG));
    }
    Ok(Pem { path: path.to_owned(), text })
}

fn certificates(pem: &Pem, what: &'static str) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(problem::credential(what, &pem.path, problem::NOT_PEM)),
    }
}

/// Finds the tenant that a certificate names, the first of its chain.
pub(super) fn tenant(chain: &[CertificateDer<'_>]) -> Option<String> {
    let certificate = EndEntityCert::try_from(chain.first()?).ok()?;
    let mut names = certificate.valid_uri_names().filter_map(|uri| uri.strip_prefix(TENANT_URI));
    let name = names.next()?;
    // Which of two would be meant?
    names.next().is_none().then(|| name.to_owned())
}
