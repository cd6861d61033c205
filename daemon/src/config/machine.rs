//! `[[machine]]` in host.toml: virtual machines that share memory with this host.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use vgpu_link::pci::ivshmem::{SILENCE, SLOTS_MAX};
use vgpu_link::pci::original;

use super::account::{Account, NoAccount, USERS};
use super::name::is_name;

/// Memory of a machine: 64 MiB, room for 31 clients with the best lanes.
const DEFAULT_MIB: u32 = 64;

/// The limit of `mib`: 64 GiB.
const MIB_MAX: u32 = 64 << 10;

/// The limit of `silence_seconds`: one day.
const SILENCE_SECONDS_MAX: u32 = 24 * 3600;

/// One virtual machine, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Its name, for tenants and the log.
    pub name: String,
    /// What it shares with us.
    pub device: Device,
    /// How long a client of it may seem stopped.
    pub silence: Duration,
    /// Into how many slots its memory is divided at most.
    pub slots: usize,
    /// Who its QEMU or emulator runs as, and so may connect to its socket or own its file.
    pub user: Option<u32>,
}

/// The device in the machine, from the host's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Device {
    /// ivshmem-doorbell: QEMU connects to this socket and gets so many bytes.
    Doorbell {
        /// The socket.
        socket: PathBuf,
        /// Its memory.
        bytes: u64,
    },
    /// ivshmem-plain: the file that QEMU maps.
    Plain {
        /// The file.
        memory: PathBuf,
    },
    /// The original device: its emulator connects to this socket.
    Stub {
        /// The socket.
        socket: PathBuf,
    },
}

/// Where a machine's memory lies, beside the socket by which its QEMU gets it.
pub(crate) fn kept(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".memory");
    name.into()
}

/// One table of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    name: String,
    ivshmem: Option<PathBuf>,
    memory: Option<PathBuf>,
    stub: Option<PathBuf>,
    mib: Option<u32>,
    slots: Option<u32>,
    silence_seconds: Option<u32>,
    user: Option<Account>,
}

/// What is wrong with a machine of the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}, machine \"{machine}\": {key}", path.display())]
pub(crate) struct MachineError {
    /// The configuration file.
    pub path: PathBuf,
    /// The machine's name.
    pub machine: String,
    /// The key.
    pub key: &'static str,
    /// What is wrong there.
    pub source: Problem,
}

/// What can be wrong with one key of a machine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The name is no name.
    #[error("a name has 1 to 64 letters, digits, dots, hyphens and underscores")]
    Name,
    /// Two machines are called the same.
    #[error("another machine has that name")]
    NameTaken,
    /// No device, or several.
    #[error("a machine has one of ivshmem, memory and stub")]
    OneDevice,
    /// A path that another machine has, or that is not absolute.
    #[error("{} is not an absolute path of its own", path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// The size of a region must be a power of two.
    #[error("{mib} is not a power of two from 1 to {MIB_MAX}")]
    Mib {
        /// The size.
        mib: u32,
    },
    /// The size of a file is the file's.
    #[error("the size of a memory file is what QEMU is told")]
    MibOfFile,
    /// The original device has no memory of ours.
    #[error("the original device has no memory")]
    MibOfStub,
    /// An account that this machine does not have.
    #[error(transparent)]
    NoAccount(NoAccount),
    /// A number of slots that no memory is divided into.
    #[error("{slots} is not 1 to {SLOTS_MAX}")]
    Slots {
        /// The number.
        slots: u32,
    },
    /// A time that cannot be.
    #[error("{seconds} is not 1 to {SILENCE_SECONDS_MAX}")]
    Silence {
        /// The time.
        seconds: u32,
    },
}

impl MachineError {
    /// Gives the remedy, as one whole sentence.
    pub fn hint(&self) -> &'static str {
        match &self.source {
            Problem::Name | Problem::NameTaken => "Give each [[machine]] a short name of its own.",
            Problem::OneDevice => {
                "Write ivshmem = \"/run/vgpu/NAME.sock\" for ivshmem-doorbell, or memory = \
                 \"/dev/shm/NAME\" for ivshmem-plain, or stub = with the socket of the original \
                 device's emulator."
            }
            Problem::Path { .. } => "Give each [[machine]] an absolute path that no other has.",
            Problem::Mib { .. } => "Write a power of two, such as mib = 64.",
            Problem::MibOfFile => "Leave mib out, and give size= to QEMU's memory-backend-file.",
            Problem::MibOfStub => "Leave mib and slots out.",
            Problem::NoAccount(missing) => missing.hint(),
            Problem::Slots { .. } => {
                "Write how many clients the machine has at most, or leave the key out for 64."
            }
            Problem::Silence { .. } => "Write a number of seconds, or leave the key out for 30.",
        }
    }
}

/// Checks all machines of a file.
///
/// # Errors
/// [`MachineError`] for the first that cannot be.
pub(super) fn check(path: &Path, entries: Vec<Entry>) -> Result<Vec<Machine>, MachineError> {
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    let mut machines = Vec::new();
    for entry in entries {
        let machine = entry.name.clone();
        let checked = entry.check(&mut names, &mut paths);
        machines.push(checked.map_err(|(key, source)| MachineError {
            path: path.into(),
            machine,
            key,
            source,
        })?);
    }
    Ok(machines)
}

impl Entry {
    fn check(
        self,
        names: &mut HashSet<String>,
        paths: &mut HashSet<PathBuf>,
    ) -> Result<Machine, (&'static str, Problem)> {
        if !is_name(&self.name) {
            return Err(("name", Problem::Name));
        }
        if !names.insert(self.name.clone()) {
            return Err(("name", Problem::NameTaken));
        }
        let device = match (self.ivshmem, self.memory, self.stub) {
            (Some(socket), None, None) => {
                let mib = self.mib.unwrap_or(DEFAULT_MIB);
                if !mib.is_power_of_two() || mib > MIB_MAX {
                    return Err(("mib", Problem::Mib { mib }));
                }
                Device::Doorbell { socket, bytes: u64::from(mib) << 20 }
            }
            (None, Some(_), None) if self.mib.is_some() => return Err(("mib", Problem::MibOfFile)),
            (None, Some(memory), None) => Device::Plain { memory },
            (None, None, Some(_)) if self.mib.is_some() => return Err(("mib", Problem::MibOfStub)),
            (None, None, Some(_)) if self.slots.is_some() => {
                return Err(("slots", Problem::MibOfStub));
            }
            (None, None, Some(socket)) => Device::Stub { socket },
            _ => return Err(("ivshmem", Problem::OneDevice)),
        };
        let (key, path) = match &device {
            Device::Doorbell { socket, .. } => ("ivshmem", socket),
            Device::Plain { memory } => ("memory", memory),
            Device::Stub { socket } => ("stub", socket),
        };
        if !path.is_absolute() || !paths.insert(path.clone()) {
            return Err((key, Problem::Path { path: path.clone() }));
        }
        let silence = match self.silence_seconds {
            // Nothing else tells of a death behind the original device.
            None if key == "stub" => original::SILENCE,
            None => SILENCE,
            Some(seconds @ 1..=SILENCE_SECONDS_MAX) => Duration::from_secs(seconds.into()),
            Some(seconds) => return Err(("silence_seconds", Problem::Silence { seconds })),
        };
        let slots = match self.slots.map(|slots| (slots, u64::from(slots))) {
            None => SLOTS_MAX as usize,
            Some((slots, 1..=SLOTS_MAX)) => slots as usize,
            Some((slots, _)) => return Err(("slots", Problem::Slots { slots })),
        };
        let user = match self.user {
            Some(user) => {
                Some(user.number(USERS).map_err(|missing| ("user", Problem::NoAccount(missing)))?)
            }
            None => None,
        };
        Ok(Machine { name: self.name, device, silence, slots, user })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        machine: Vec<Entry>,
    }

    fn read(text: &str) -> Result<Vec<Machine>, MachineError> {
        let file: File = toml::from_str(text).expect("it is TOML");
        check(Path::new("/host.toml"), file.machine)
    }

    #[test]
    fn a_machine_is_read_whole() {
        let text = "[[machine]]\nname = \"a\"\nivshmem = \"/a\"\nmib = 4\nsilence_seconds = 9\n\
                    slots = 8\nuser = \"root\"\n\
                    [[machine]]\nname = \"b\"\nmemory = \"/b\"\nuser = 8\n\
                    [[machine]]\nname = \"c\"\nstub = \"/c\"\nuser = 7\n";
        let machines = read(text).expect("right");
        let device = Device::Doorbell { socket: "/a".into(), bytes: 4 << 20 };
        let (silence, user) = (Duration::from_secs(9), Some(0));
        let a = Machine { name: "a".into(), device, silence, slots: 8, user };
        let device = Device::Plain { memory: "/b".into() };
        let b = Machine { name: "b".into(), device, silence: SILENCE, slots: 64, user: Some(8) };
        let device = Device::Stub { socket: "/c".into() };
        let (silence, user) = (original::SILENCE, Some(7));
        let c = Machine { name: "c".into(), device, silence, slots: 64, user };
        assert_eq!(machines, [a, b, c]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key_and_a_remedy() {
        for (text, key, words) in [
            ("name = \"a b\"\nmemory = \"/b\"", "name", "letters"),
            ("name = \"a\"", "ivshmem", "one of"),
            ("name = \"a\"\nmemory = \"/b\"\nivshmem = \"/c\"", "ivshmem", "one of"),
            ("name = \"a\"\nmemory = \"/b\"\nstub = \"/c\"", "ivshmem", "one of"),
            ("name = \"a\"\nstub = \"/c\"\nmib = 4", "mib", "no memory"),
            ("name = \"a\"\nstub = \"/c\"\nslots = 4", "slots", "no memory"),
            ("name = \"a\"\nmemory = \"/b\"\nslots = 0", "slots", "1 to 64"),
            ("name = \"a\"\nmemory = \"/b\"\nslots = 65", "slots", "1 to 64"),
            ("name = \"a\"\nstub = \"c\"", "stub", "absolute"),
            ("name = \"a\"\nmemory = \"b\"", "memory", "absolute"),
            ("name = \"a\"\nivshmem = \"/b\"\nmib = 3", "mib", "power of two"),
            ("name = \"a\"\nivshmem = \"/b\"\nmib = 0", "mib", "power of two"),
            ("name = \"a\"\nmemory = \"/b\"\nmib = 4", "mib", "what QEMU is told"),
            ("name = \"a\"\nivshmem = \"/b\"\nuser = \"no such\"", "user", "/etc/passwd"),
            ("name = \"a\"\nmemory = \"/b\"\nsilence_seconds = 0", "silence_seconds", "1 to"),
            ("name = \"a\"\nmemory = \"/b\"\n[[machine]]\nname = \"a\"", "name", "another"),
            (
                "name = \"a\"\nmemory = \"/b\"\n[[machine]]\nname = \"c\"\nivshmem = \"/b\"",
                "ivshmem",
                "of its own",
            ),
        ] {
            let error = read(&format!("[[machine]]\n{text}")).expect_err(text);
            assert_eq!(error.key, key, "{text}");
            let source = error.source.to_string();
            assert!(source.contains(words) && !error.hint().is_empty(), "{text}: {source}");
        }
    }
}
