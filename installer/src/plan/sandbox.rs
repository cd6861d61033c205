//! What a unit's sandbox forbids, and what our drop-in has to allow again so that the link works:
//! exactly that, one line for each, and a refusal where no line would be right.
//!
//! systemd.exec(5) and systemd.resource-control(5) describe the settings. Some need nothing:
//! no link opens a device node (PCI goes by sysfs), so `PrivateDevices=`, `DevicePolicy=` and
//! `DeviceAllow=` stand in nobody's way; our libraries map nothing writable and executable, so
//! `MemoryDenyWriteExecute=` does not either; a socket on a read-only mount still connects; groups
//! are compared by the kernel's numbers, whatever `PrivateUsers=` shows of them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::AUTOMATIC;
use super::paths::{Access, Paths};
use crate::error::{Error, Result, Shut};
use crate::facts::{Facts, Manager, PciDevice, Unit, Variable};
use crate::unit_file::{quoted, words};

/// The links that our libraries try where nothing names one, in their order.
const AUTOMATIC_LINKS: [&str; 2] = ["unix:/run/vgpu/vgpud.sock", "pci:auto"];
/// The guest's configuration, which our libraries read where the environment names no link.
const CONFIGURATION: &str = "/etc/vgpu/guest.toml";
/// What our libraries ask the kernel for beside what every program needs to start: traced over the
/// whole of a client's life, and read in their source. All are in systemd's `@system-service`.
const CALLS: &str = "socket connect setsockopt sendmsg recvfrom poll ppoll shutdown mmap munmap \
                     madvise mlock munlock futex getrandom";
/// Of these, the ones that programs without a network or locked memory may do without, by the set
/// of systemd that names them.
const CALLS_OF_SETS: [(&str, &str); 3] = [
    ("@memlock", "mlock munlock"),
    ("@network-io", "socket connect setsockopt sendmsg recvfrom shutdown"),
    ("@io-event", "poll ppoll"),
];

/// One line of the drop-in, with the reason that stands above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The assignment.
    pub text: String,
    /// Why it is there.
    pub why: String,
}

/// What the drop-in says beside the paths of our libraries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Passage {
    /// The lines.
    pub lines: Vec<Line>,
    /// The link to be named in the environment, where the file that names it cannot be read.
    pub link: Option<String>,
}

/// A link as far as a sandbox goes.
struct Link<'a> {
    uri: &'a str,
    way: Way,
}

enum Way {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A PCI device at an address, or whichever is there.
    Pci(String),
    /// A socket of the virtual machine.
    Vsock,
    /// A connection to a host of the network.
    Network(String),
}

impl<'a> Link<'a> {
    fn of(uri: &'a str) -> Self {
        let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
        let way = match scheme {
            "pci" => Way::Pci(rest.into()),
            "vsock" => Way::Vsock,
            "tls" => {
                let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
                Way::Network(host.trim_matches(['[', ']']).into())
            }
            _ => Way::Unix(rest.into()),
        };
        Self { uri, way }
    }

    /// The links of a unit for which nothing names one: a device is among them if there is one.
    fn automatic(facts: &Facts) -> Vec<Self> {
        let has_device = facts.guest.devices.iter().any(carries);
        AUTOMATIC_LINKS[..1 + usize::from(has_device)].iter().map(|uri| Link::of(uri)).collect()
    }

    /// The address families of its sockets (address_families(7)).
    fn families(&self) -> &'static [&'static str] {
        match self.way {
            Way::Unix(_) => &["AF_UNIX"],
            Way::Pci(_) => &[],
            Way::Vsock => &["AF_VSOCK"],
            Way::Network(_) => &["AF_INET", "AF_INET6"],
        }
    }
}

fn carries(device: &PciDevice) -> bool {
    device.is_shared_memory() || device.is_stub()
}

/// Says what a unit's drop-in has to allow. `link` is what the drop-in itself names.
///
/// # Errors
/// [`Error::Unserved`] if the sandbox shuts our libraries or every link out in a way that a line of
/// ours must not open.
pub fn passage(facts: &Facts, unit: &Unit, link: Option<&str>) -> Result<Passage> {
    let mut passage = Passage::default();
    let named = link.or(last_variable(unit, "VGPU_LINK").filter(|link| *link != AUTOMATIC));
    let configured = facts.guest.link.as_deref();
    let links = match named.or(configured) {
        Some(uri) => vec![Link::of(uri)],
        None => Link::automatic(facts),
    };
    let sandbox = Sandbox { unit, paths: Paths::of(unit) };
    sandbox.root()?;
    sandbox.libraries(facts, &mut passage)?;
    if let (None, Some(uri), Access::Hidden) =
        (named, configured, sandbox.paths.access(CONFIGURATION).0)
    {
        passage.link = Some(uri.into());
    }
    links.iter().for_each(|link| sandbox.families(link, &mut passage));
    sandbox.calls(&mut passage);
    let ways = links.iter().map(|link| sandbox.way(facts, link, &mut passage));
    let ways: Vec<Result<()>> = ways.collect();
    if ways.iter().all(Result::is_err) {
        ways.into_iter().collect::<Result<()>>()?;
    }
    sandbox.group(facts, &links, &mut passage);
    Ok(passage)
}

fn last_variable<'a>(unit: &'a Unit, name: &str) -> Option<&'a str> {
    let known = unit.environment.iter().find(|variable| variable.name == name);
    known.map(|variable| variable.value.as_str()).filter(|value| !value.is_empty())
}

struct Sandbox<'a> {
    unit: &'a Unit,
    paths: Paths,
}

impl Sandbox<'_> {
    fn settings(&self, name: &str) -> impl Iterator<Item = &Variable> {
        self.unit.settings.iter().filter(move |setting| setting.name == name)
    }

    fn is_on(&self, name: &str) -> Option<&Variable> {
        self.settings(name).last().filter(|setting| crate::discover::units::is_yes(&setting.value))
    }

    fn refused(&self, setting: &Variable, because: Shut) -> Error {
        Error::Unserved {
            unit: self.unit.name.clone(),
            setting: format!("{}={}", setting.name, setting.value),
            path: setting.set_by.clone(),
            because,
        }
    }

    /// In another root, neither our libraries nor the socket are there.
    fn root(&self) -> Result<()> {
        for name in ["RootDirectory", "RootImage"] {
            if let Some(setting) = self.settings(name).last().filter(|set| set.value != "/") {
                return Err(self.refused(setting, Shut::OtherRoot));
            }
        }
        Ok(())
    }

    fn libraries(&self, facts: &Facts, passage: &mut Passage) -> Result<()> {
        let dir = &facts.shims.dir;
        if let (Access::Hidden, Some(setting)) = self.paths.access(dir) {
            let because = Shut::Hidden { what: "our libraries in", path: dir.clone() };
            return Err(self.refused(setting, because));
        }
        if !self.paths.is_executable(dir) {
            passage.lines.push(Line {
                text: format!("ExecPaths={}", path_word(dir)),
                why: "NoExecPaths= covers our libraries, and they hold code.".into(),
            });
        }
        Ok(())
    }

    /// What keeps a link shut.
    fn way(&self, facts: &Facts, link: &Link<'_>, passage: &mut Passage) -> Result<()> {
        match &link.way {
            Way::Unix(path) => self.socket(path),
            Way::Pci(address) => self.device(facts, address, passage),
            Way::Vsock => Ok(()),
            Way::Network(host) => self.network(link.uri, host, passage),
        }
    }

    fn families(&self, link: &Link<'_>, passage: &mut Passage) {
        let lists: Vec<&str> =
            self.settings("RestrictAddressFamilies").map(|set| set.value.as_str()).collect();
        let families = link.families().iter().copied();
        let shut: Vec<&str> = families.filter(|family| !allows(&lists, &[family])).collect();
        if !shut.is_empty() {
            passage.lines.push(Line {
                text: format!("RestrictAddressFamilies={}", shut.join(" ")),
                why: format!("The link {} is a socket of this family.", link.uri),
            });
        }
    }

    fn calls(&self, passage: &mut Passage) {
        let lists: Vec<&str> =
            self.settings("SystemCallFilter").map(|set| set.value.as_str()).collect();
        let mut shut: Vec<&str> = Vec::new();
        for call in CALLS.split_whitespace() {
            let sets = CALLS_OF_SETS
                .iter()
                .filter(|(_, calls)| calls.split_whitespace().any(|known| known == call));
            let mut names = vec![call, "@system-service", "@known"];
            names.extend(sets.map(|(set, _)| *set));
            if !allows(&lists, &names) {
                shut.push(call);
            }
        }
        if !shut.is_empty() {
            passage.lines.push(Line {
                text: format!("SystemCallFilter={}", shut.join(" ")),
                why: "Our libraries speak to the host by these calls, beside what is allowed."
                    .into(),
            });
        }
    }

    fn socket(&self, path: &Path) -> Result<()> {
        match self.paths.access(path) {
            (Access::Hidden, Some(setting)) => {
                let because = Shut::Hidden { what: "the link's socket", path: path.into() };
                Err(self.refused(setting, because))
            }
            _ => Ok(()),
        }
    }

    /// A device is mapped through its files in sysfs, which must be writable.
    fn device(&self, facts: &Facts, address: &str, passage: &mut Passage) -> Result<()> {
        let mut devices = facts.guest.devices.iter();
        let found = devices.find(|it| it.address == address || (address == "auto" && carries(it)));
        // One that is not there yet is looked for where the kernel will show it.
        let path = match found {
            Some(device) => device.path.clone(),
            None => Path::new("/sys/bus/pci/devices").join(address).into(),
        };
        match self.paths.access(&path) {
            (Access::Hidden, Some(setting)) => {
                let because = Shut::Hidden { what: "the link's device", path };
                Err(self.refused(setting, because))
            }
            (Access::ReadOnly, Some(setting)) => {
                passage.lines.push(Line {
                    // With the sign, a device that is not there does not keep the unit from
                    // starting.
                    text: format!("ReadWritePaths=-{}", path_word(&path)),
                    why: format!("{}= makes the link's device read-only.", setting.name),
                });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn network(&self, uri: &str, host: &str, passage: &mut Passage) -> Result<()> {
        if let Some(setting) = self.is_on("PrivateNetwork") {
            let because = Shut::NoNetwork { link: uri.into() };
            return Err(self.refused(setting, because));
        }
        let Some(denied) = self.settings("IPAddressDeny").last() else { return Ok(()) };
        let mut allowed =
            self.settings("IPAddressAllow").flat_map(|set| set.value.split_whitespace());
        if allowed.any(|word| word == "any" || word == host) {
            return Ok(());
        }
        if host.parse::<IpAddr>().is_err() {
            let because = Shut::NoAddress { host: host.into() };
            return Err(self.refused(denied, because));
        }
        passage.lines.push(Line {
            text: format!("IPAddressAllow={host}"),
            why: "IPAddressDeny= would keep the service from the host of the link.".into(),
        });
        Ok(())
    }

    /// The socket and the device belong to the group; whoever is in it by other means is not
    /// harmed. A user's own systemd has no right to give groups.
    fn group(&self, facts: &Facts, links: &[Link<'_>], passage: &mut Passage) {
        let unit = self.unit;
        let owned = links.iter().any(|link| matches!(link.way, Way::Unix(_) | Way::Pci(_)));
        let is_root = unit.user.as_deref().is_none_or(|user| user == "root" || user == "0")
            && self.is_on("DynamicUser").is_none();
        let group = crate::facts::GROUP;
        let has = unit.group.as_deref() == Some(group)
            || unit.supplementary_groups.iter().any(|known| known == group);
        if owned && facts.guest.group && !is_root && !has && unit.manager == Manager::System {
            passage.lines.push(Line {
                text: format!("SupplementaryGroups={group}"),
                why: "What carries the link belongs to this group.".into(),
            });
        }
    }
}

/// True if systemd's lists let any of these names pass. The first list says whether it names what
/// is allowed or, with a tilde, what is not; each further one adds to it or takes away.
fn allows(lists: &[&str], names: &[&str]) -> bool {
    let Some(first) = lists.first() else { return true };
    let is_allow_list = !first.starts_with('~');
    let mut is_allowed = !is_allow_list;
    for list in lists {
        let (plain, takes_away) = match list.strip_prefix('~') {
            Some(rest) => (rest, true),
            None => (*list, false),
        };
        // A filter's name may be followed by the error to answer with: "mlock:EPERM".
        let mut entries = plain.split_whitespace().map(|word| word.split(':').next().unwrap_or(""));
        if entries.any(|entry| names.contains(&entry)) {
            is_allowed = !takes_away;
        }
    }
    is_allowed
}

/// Writes a path as a word of a list of paths, in which `%` begins a specifier.
fn path_word(path: &Path) -> String {
    let text = path.to_string_lossy().replace('%', "%%");
    if words(&text) == [text.as_str()] { text } else { quoted(&text) }
}

#[cfg(test)]
mod tests;
