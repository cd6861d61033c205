//! `vgpud ca`: a small private CA for `tls:` links.
//!
//! Keys are P-256, which every TLS speaks. Nothing is ever asked of the network, and the CA's key
//! is needed on the machine where certificates are issued only.

mod files;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{ArgGroup, Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use vgpu_link::tls::TENANT_URI;

use crate::config::name::is_name;
use crate::error::DaemonError;
use files::{File, Mode};

/// Where the CA lies unless another place is named.
const DIRECTORY: &str = "/etc/vgpu/ca";

const DAY: Duration = Duration::from_secs(86_400);

/// How long a CA is valid: 10 years.
const CA_DAYS: u32 = 3652;

/// How long what it issues is valid: 2 years.
const ISSUED_DAYS: u32 = 730;

/// What the CA is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Makes the CA: its certificate ca.pem and its key ca.key.
    Init(InitOptions),
    /// Issues a certificate and its key, for a host or for the guests of a tenant.
    Issue(IssueOptions),
}

/// Options of `vgpud ca init`.
#[derive(Debug, Args)]
pub(crate) struct InitOptions {
    /// Directory for the CA; made if it is not there
    #[arg(long, value_name = "DIRECTORY", default_value = DIRECTORY)]
    directory: PathBuf,

    /// Replaces a CA that is there: nothing that it issued is trusted any more
    #[arg(long)]
    force: bool,
}

/// Options of `vgpud ca issue`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whom").required(true))]
pub(crate) struct IssueOptions {
    /// Tenant whose guests the certificate is for: letters, digits, '.', '_' and '-'
    #[arg(long, value_name = "NAME", group = "whom")]
    tenant: Option<String>,

    /// Name or address that guests reach the host by; may be given several times
    #[arg(long, value_name = "NAME|ADDRESS", group = "whom")]
    host: Vec<String>,

    /// Directory of the CA
    #[arg(long, value_name = "DIRECTORY", default_value = DIRECTORY)]
    directory: PathBuf,

    /// Days that the certificate is valid, 1 to 730
    #[arg(long, value_name = "DAYS", default_value_t = ISSUED_DAYS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(ISSUED_DAYS)))]
    days: u32,

    /// Replaces a certificate that is there
    #[arg(long)]
    force: bool,
}

/// Does what was asked, and says what to do with the files.
///
/// # Errors
/// [`DaemonError`] that names the file or value, what is wrong with it, and the remedy.
pub(crate) fn run(command: &CaCommand) -> Result<(), DaemonError> {
    let told = match command {
        CaCommand::Init(options) => init(options)?,
        CaCommand::Issue(options) => issue(options)?,
    };
    print!("{told}");
    Ok(())
}

fn init(options: &InitOptions) -> Result<String, DaemonError> {
    let certificate = options.directory.join("ca.pem");
    let failed = wrong("making", &certificate);
    let key = KeyPair::generate().map_err(&failed)?;
    let mut params = valid_for(CA_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "vgpu-ollama private CA");
    let until = params.not_after.date();
    let made = params.self_signed(&key).map_err(&failed)?;
    let all = [
        File { path: options.directory.join("ca.key"), text: key.serialize_pem(), mode: Mode::Key },
        File { path: certificate, text: made.pem(), mode: Mode::Public },
    ];
    files::write(&options.directory, &all, options.force)?;
    Ok(format!(
        "{}: the CA's certificate, valid until {until}\n\
         {}: its key; keep it on this machine, and a copy offline\n\
         next: vgpud ca issue --host NAME, and vgpud ca issue --tenant NAME\n",
        all[1].path.display(),
        all[0].path.display()
    ))
}

fn issue(options: &IssueOptions) -> Result<String, DaemonError> {
    let (params, name, side) = match &options.tenant {
        Some(tenant) => (for_tenant(tenant, options.days)?, tenant.as_str(), "guest"),
        None => (for_host(&options.host, options.days)?, options.host[0].as_str(), "host"),
    };
    let ca = options.directory.join("ca.pem");
    let ca_text = read(&ca)?;
    let failed = wrong("issuing with", &ca);
    let ca_key = KeyPair::from_pem(&read(&options.directory.join("ca.key"))?).map_err(&failed)?;
    let issuer = Issuer::from_ca_cert_pem(&ca_text, ca_key).map_err(&failed)?;
    let key = KeyPair::generate().map_err(&failed)?;
    let until = params.not_after.date();
    let made = params.signed_by(&key, &issuer).map_err(&failed)?;
    let out = options.directory.join("issued").join(format!("{side}-{name}"));
    let all = [
        File { path: out.join(format!("{side}.key")), text: key.serialize_pem(), mode: Mode::Key },
        File { path: out.join(format!("{side}.pem")), text: made.pem(), mode: Mode::Public },
        File { path: out.join("ca.pem"), text: ca_text, mode: Mode::Public },
    ];
    files::write(&out, &all, options.force)?;
    let whose = if side == "host" { "vgpu" } else { "ollama" };
    let then = match side {
        "host" => "listen = [\"tls:0.0.0.0:6475\"] in its /etc/vgpu/host.toml".to_owned(),
        _ => "link = \"tls:HOST:6475\" in its /etc/vgpu/guest.toml".to_owned(),
    };
    Ok(format!(
        "{}: ca.pem, {side}.pem and {side}.key for {name}, valid until {until}\n\
         copy all three to /etc/vgpu/tls of the {side}; there: chgrp {whose} {side}.key && \
         chmod 640 {side}.key\n\
         then: {then}\n",
        out.display()
    ))
}

fn for_tenant(tenant: &str, days: u32) -> Result<CertificateParams, DaemonError> {
    // Its directory is named after it.
    if !is_name(tenant) || tenant.starts_with('.') {
        let asks = "a name of 1 to 64 letters, digits, '.', '_' and '-', not beginning with '.'";
        return Err(DaemonError::Value { name: "--tenant", value: tenant.to_owned(), asks });
    }
    let mut params = valid_for(days);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.distinguished_name.push(DnType::CommonName, tenant);
    let uri =
        format!("{TENANT_URI}{tenant}").try_into().map_err(wrong("naming", Path::new(tenant)))?;
    params.subject_alt_names.push(SanType::URI(uri));
    Ok(params)
}

fn for_host(names: &[String], days: u32) -> Result<CertificateParams, DaemonError> {
    let mut params = valid_for(days);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.distinguished_name.push(DnType::CommonName, names[0].as_str());
    for name in names {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
        params.subject_alt_names.push(match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if !name.is_empty() && name.chars().all(plain) && !name.starts_with('.') => {
                SanType::DnsName(
                    name.as_str().try_into().map_err(wrong("naming", Path::new(name)))?,
                )
            }
            Err(_) => {
                let asks = "a host's name or address, without a port";
                return Err(DaemonError::Value { name: "--host", value: name.clone(), asks });
            }
        });
    }
    Ok(params)
}

/// Prepares a certificate that is valid from yesterday, for clocks that are behind.
fn valid_for(days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * days).into();
    params.use_authority_key_identifier_extension = true;
    params
}

fn read(path: &Path) -> Result<String, DaemonError> {
    std::fs::read_to_string(path).map_err(|source| DaemonError::File {
        verb: "reading",
        path: path.into(),
        source,
    })
}

fn wrong(verb: &'static str, path: &Path) -> impl Fn(rcgen::Error) -> DaemonError + use<> {
    let path = path.to_owned();
    move |source| DaemonError::Certificate { verb, path: path.clone(), source }
}

#[cfg(test)]
mod tests;
