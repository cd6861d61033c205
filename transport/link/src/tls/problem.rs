//! What can be wrong with certificates, and what helps.

use std::io;
use std::path::Path;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use crate::LinkError;

/// A problem and its remedy.
pub(super) type Problem = (&'static str, &'static str);

pub(super) const NOT_PEM: Problem =
    ("it holds none in the form PEM", "Copy the file anew that vgpud ca issue wrote.");
pub(super) const NOT_A_CA: Problem =
    ("it is no certificate of a CA", "Copy ca.pem anew that vgpud ca init wrote.");
pub(super) const TOO_LONG: Problem =
    ("it is longer than 16 KiB", "Name the file that vgpud ca wrote.");
pub(super) const OTHER_KEY: Problem = (
    "it is the key of another certificate",
    "Copy certificate and key of one vgpud ca issue together.",
);
pub(super) const UNKNOWN_KEY: Problem =
    ("it is no key that TLS can use", "Issue certificate and key anew with vgpud ca issue.");
pub(super) const EXPIRED: Problem = (
    "it has expired",
    "Issue a new one with vgpud ca issue; if it is new, set this machine's clock.",
);
pub(super) const NOT_YET: Problem =
    ("it is not valid yet", "Set this machine's clock: timedatectl shows it.");
pub(super) const WRONG_USE: Problem = (
    "it is of the other kind",
    "A host needs one of vgpud ca issue --host, a guest one of vgpud ca issue --tenant.",
);

const NO_TLS: Problem = (
    "it does not speak TLS, or the connection was altered",
    "Check address and port: vgpud listens at a tls: address for such links.",
);
const NO_TLS13: Problem =
    ("it has no TLS 1.3", "Install the same version of vgpu-ollama in the guest and on the host.");
const NO_CERTIFICATE: Problem = (
    "it showed no certificate",
    "Name the guest's certificate and key in [tls] of its guest.toml.",
);
const PEER_EXPIRED: Problem = (
    "its certificate has expired",
    "Issue it a new one with vgpud ca issue; if it is new, set this machine's clock.",
);
const PEER_NOT_YET: Problem = (
    "its certificate is not valid yet",
    "Set this machine's clock and the peer's: timedatectl shows it.",
);
const PEER_OTHER_CA: Problem = (
    "its certificate is of another CA",
    "Issue it one with the CA whose ca.pem lies here, or copy the ca.pem of its CA here.",
);
const PEER_OTHER_NAME: Problem = (
    "its certificate is for another name",
    "Use a name of the certificate in the link, or issue one with --host for this name.",
);
const PEER_UNUSABLE: Problem =
    ("its certificate cannot be used", "Issue it a new one with vgpud ca issue.");
const NEEDS_OURS: Problem =
    ("it asked for a certificate and got none", "Name certificate and key in [tls] of guest.toml.");
const REFUSED_CA: Problem = (
    "it refused our certificate, which is of another CA",
    "Issue one with the CA that clients_ca of the host names: vgpud ca issue --tenant.",
);
const REFUSED_EXPIRED: Problem = (
    "it refused our certificate, which has expired by its clock",
    "Issue a new one with vgpud ca issue --tenant, or set the host's clock.",
);
const REFUSED: Problem =
    ("it refused our certificate", "Look at the log of vgpud on the host: it says why.");

/// Says what is wrong with a file of ours.
pub(super) fn credential(what: &'static str, path: &Path, problem: Problem) -> LinkError {
    let (problem, remedy) = problem;
    LinkError::Credential { what, path: path.to_owned(), problem, remedy }
}

/// Says why a peer is not trusted, or does not trust us.
pub(super) fn distrust(peer: String, error: &Error) -> LinkError {
    let (problem, remedy) = match error {
        Error::NoCertificatesPresented => NO_CERTIFICATE,
        Error::InvalidCertificate(error) => certificate(error),
        Error::PeerIncompatible(PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon) => {
            PEER_UNUSABLE
        }
        Error::PeerIncompatible(_) => NO_TLS13,
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => NEEDS_OURS,
            AlertDescription::UnknownCA | AlertDescription::DecryptError => REFUSED_CA,
            AlertDescription::CertificateExpired => REFUSED_EXPIRED,
            AlertDescription::ProtocolVersion => NO_TLS13,
            _ => REFUSED,
        },
        _ => NO_TLS,
    };
    LinkError::Distrust { peer, problem, remedy }
}

fn certificate(error: &CertificateError) -> Problem {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => PEER_EXPIRED,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => PEER_NOT_YET,
        // A CA made anew has its name still, and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => PEER_OTHER_CA,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            PEER_OTHER_NAME
        }
        _ => PEER_UNUSABLE,
    }
}

/// Finds the error of TLS that a stream's error carries, after the handshake: a host refuses a
/// guest's certificate when the guest has already begun to speak.
pub(crate) fn told(error: &io::Error) -> Option<LinkError> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(distrust("the peer".to_owned(), error))
}
