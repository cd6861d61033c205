//! Addresses of links.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::LinkError;

/// Longest path of a socket: `sun_path` has 108 bytes and ends with a NUL (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Names a link's far end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uri {
    /// `unix:/run/vgpu/vgpud.sock`: a socket in the file system.
    Unix(PathBuf),
    /// `pci:auto` (`None`) or `pci:0000:00:05.0`: a PCI device of the guest.
    Pci(Option<PciAddress>),
    /// `vsock:2:6475`: context id and port.
    Vsock {
        /// Context id; 2 is the host.
        cid: u32,
        /// Port.
        port: u32,
    },
    /// `tls:gpu-host:6475`: host name or address, and port.
    Tls(HostPort),
}

/// Names a PCI function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// Domain.
    pub domain: u32,
    /// Bus.
    pub bus: u8,
    /// Device (slot), below 32.
    pub device: u8,
    /// Function, below 8.
    pub function: u8,
}

impl PciAddress {
    /// Reads an address as the kernel writes it, such as `0000:00:05.0`.
    pub fn parse(text: &str) -> Option<Self> {
        let (domain, rest) = text.split_once(':')?;
        let (bus, rest) = rest.split_once(':')?;
        let (device, function) = rest.split_once('.')?;
        let address = Self {
            domain: hex(domain, 4)?,
            bus: u8::try_from(hex(bus, 2)?).ok()?,
            device: u8::try_from(hex(device, 2)?).ok()?,
            function: u8::try_from(hex(function, 1)?).ok()?,
        };
        (address.device < 32 && address.function < 8).then_some(address)
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = self;
        write!(formatter, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

/// Names a service on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl FromStr for Uri {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        parse(text).map_err(|problem| LinkError::Uri { uri: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<Uri, &'static str> {
    let (scheme, rest) =
        text.split_once(':').ok_or("it does not begin with unix:, pci:, vsock: or tls:")?;
    match scheme {
        "unix" => unix(rest),
        "pci" if rest == "auto" => Ok(Uri::Pci(None)),
        "pci" => PciAddress::parse(rest)
            .map(|address| Uri::Pci(Some(address)))
            .ok_or("a PCI address looks like 0000:00:05.0"),
        "vsock" => rest
            .split_once(':')
            .and_then(|(cid, port)| {
                Some(Uri::Vsock { cid: cid.parse().ok()?, port: port.parse().ok()? })
            })
            .ok_or("a vsock address is two numbers, context id and port, such as 2:6475"),
        "tls" => tls(rest).map(Uri::Tls).ok_or("a tls address is a host and a port"),
        _ => Err("there is no link of that name; there are unix:, pci:, vsock: and tls:"),
    }
}

fn unix(path: &str) -> Result<Uri, &'static str> {
    if !path.starts_with('/') {
        Err("the path of a socket begins with /")
    } else if path.len() > UNIX_PATH_BYTES_MAX {
        Err("the path of a socket has at most 107 bytes")
    } else if path.contains('\0') {
        Err("the path of a socket holds no NUL")
    } else {
        Ok(Uri::Unix(path.into()))
    }
}

fn hex(digits: &str, count: usize) -> Option<u32> {
    let plain = digits.len() == count && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(digits, 16).ok())?
}

fn tls(text: &str) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().ok().map(|_| address)?,
        None => Some(host).filter(|host| !host.is_empty() && !host.contains([':', '/', '@']))?,
    };
    Some(HostPort { host: host.to_owned(), port: port.parse().ok().filter(|&port| port != 0)? })
}

impl fmt::Display for Uri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Pci(None) => formatter.write_str("pci:auto"),
            Self::Pci(Some(address)) => write!(formatter, "pci:{address}"),
            Self::Vsock { cid, port } => write!(formatter, "vsock:{cid}:{port}"),
            Self::Tls(HostPort { host, port }) if host.contains(':') => {
                write!(formatter, "tls:[{host}]:{port}")
            }
            Self::Tls(HostPort { host, port }) => write!(formatter, "tls:{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_uri_is_read_and_written_back() {
        for text in [
            "unix:/run/vgpu/vgpud.sock",
            "pci:auto",
            "pci:0000:00:05.0",
            "vsock:2:6475",
            "tls:gpu-host:6475",
            "tls:10.0.0.1:6475",
            "tls:[fd00::1]:6475",
        ] {
            assert_eq!(text.parse::<Uri>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn a_wrong_uri_is_refused_with_its_text_and_a_hint() {
        for text in [
            "",
            "unix",
            "unix:",
            "unix:run/x",
            "unix:/a\0b",
            "udp:10.0.0.1",
            "pci:",
            "pci:1",
            "pci:0000:00:20.0",
            "pci:0000:00:05.8",
            "pci:+000:00:05.0",
            "vsock:2",
            "vsock:host:1",
            "vsock:2:-1",
            "tls:gpu-host",
            "tls::1",
            "tls:a:0",
            "tls:a:65536",
            "tls:[x]:1",
            "tls:fd00::1:1",
        ] {
            let error = text.parse::<Uri>().expect_err(text);
            assert!(error.to_string().contains(text), "{error}");
            assert!(error.hint().is_some() && !error.is_retryable(), "{error}");
        }
        let long = format!("unix:/{}", "x".repeat(UNIX_PATH_BYTES_MAX));
        assert!(long.parse::<Uri>().is_err());
    }
}
