//! What the installer knows of a machine: plain data, gathered once, that a report can carry.
//!
//! `scan --json` prints it and `plan --facts` takes it back. Nothing here looks at a machine.

mod guest;
mod library;
mod ollama;
mod platform;
mod running;
mod smi;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::guest::{GROUP, Guest, LdCache, PciDevice, Rival};
pub use self::library::{Alternative, Asked, Choice, Copy, Elf, Kind, Owner, Unseen};
pub use self::ollama::{Bundle, Confined, Entry, Layout, Ollama, Source, VersionFrom};
pub use self::platform::{Init, Libc, Platform};
pub use self::running::Running;
pub use self::smi::{NVIDIA_SMI, SMI, Smi};
use crate::location::Location;
use crate::object::Object;

/// The version of the facts' form; another one is refused.
pub const SCHEMA_VERSION: u32 = 2;

/// The libraries that the package puts into its private directory.
pub const SHIMS: [&str; 6] = [
    "libcuda.so.1",
    "libnvidia-ml.so.1",
    "libcudart.so.12",
    "libcudart.so.13",
    "libcublas.so.12",
    "libcublas.so.13",
];

/// Everything that a plan is made from.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Facts {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The system as a whole.
    pub platform: Platform,
    /// Our own libraries.
    pub shims: Shims,
    /// Every Ollama that has its program on this system.
    pub ollamas: Vec<Ollama>,
    /// Every Ollama in a container, a snap or a sandbox.
    pub confined: Vec<Confined>,
    /// Directories of Ollama's libraries that no program here takes.
    pub left_behind: Vec<Location>,
    /// Every server that runs on this very machine.
    pub running: Vec<Running>,
    /// Every unit that runs Ollama.
    pub units: Vec<Unit>,
    /// Every copy of the libraries that ours stand in for, ours included.
    pub libraries: Vec<Copy>,
    /// The groups of alternatives that lead to one of them; read only by commands that show it.
    pub alternatives: Vec<Alternative>,
    /// What could not be looked at while they were searched for.
    pub unseen: Vec<Unseen>,
    /// The unit that brings the link to the host up, if the machine has it.
    pub guest_unit: Option<String>,
    /// The way to the host, and what stands beside it.
    pub guest: Guest,
    /// Who wins in ld.so's cache.
    pub ld_cache: LdCache,
    /// Who answers to the name `nvidia-smi`.
    pub smi: Smi,
}

/// Our own libraries.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Shims {
    /// The private directory.
    pub dir: Location,
    /// What lies there, of [`SHIMS`].
    pub libraries: Vec<Library>,
}

/// One library file.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Library {
    /// Its file name.
    pub name: String,
    /// The name it gives itself.
    pub soname: Option<String>,
    /// Its build id in hexadecimal.
    pub build_id: Option<String>,
}

/// A variable of a unit's environment.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value as the unit file has it: specifiers are not replaced. Files of variables have
    /// none, so there a percent sign is one.
    pub value: String,
    /// The file that sets it.
    pub set_by: Location,
}

/// The service manager that a unit belongs to.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Manager {
    /// The system's own.
    #[default]
    System,
    /// The one of this user, as `systemctl --user` reaches it.
    User(String),
}

impl Manager {
    /// The user whose own it is.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::System => None,
            Self::User(name) => Some(name),
        }
    }

    /// The words after `systemctl` that choose it; none for the system's own.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        self.user().map_or(vec![], |user| vec!["--user".into(), format!("--machine={user}@.host")])
    }

    /// The command that tells it something.
    #[must_use]
    pub fn command(&self, told: &str) -> String {
        [vec!["systemctl".into()], self.words(), vec![told.into()]].concat().join(" ")
    }
}

impl Unit {
    /// The command that tells its systemd something of it: `systemctl restart ollama.service`.
    #[must_use]
    pub fn command(&self, verb: &str) -> String {
        self.manager.command(&format!("{verb} {}", self.name))
    }

    /// The commands that let a change of its files take effect.
    #[must_use]
    pub fn taken_up(&self) -> String {
        format!("{} && {}", self.manager.command("daemon-reload"), self.command("restart"))
    }

    /// The user that its processes run as, as far as its files say.
    #[must_use]
    pub fn runs_as(&self) -> &str {
        self.manager.user().or(self.user.as_deref()).unwrap_or("root")
    }
}

/// What the command of a unit turns out to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runs {
    /// Ollama's own program, perhaps behind another one: a drop-in reaches it.
    #[default]
    Ollama,
    /// A container of Docker, which no environment of the unit reaches.
    Docker,
    /// A container of Podman, likewise.
    Podman,
    /// A snap, which starts with an environment of its own.
    Snap,
    /// A program in which no Ollama was seen.
    Unknown,
}

/// A file of variables that a unit names by `EnvironmentFile=`.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct EnvironmentFile {
    /// The path as the unit has it, specifiers and wildcards included.
    pub path: Location,
    /// True if the unit starts without it.
    pub optional: bool,
    /// True if a file was found and read.
    pub read: bool,
}

/// A unit that runs Ollama.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// The service manager that runs it.
    pub manager: Manager,
    /// The unit file that systemd takes.
    pub fragment: Location,
    /// The drop-ins that systemd merges, in order, ours included.
    pub drop_ins: Vec<Location>,
    /// True if it is masked and cannot be started.
    pub masked: bool,
    /// Its other names.
    pub aliases: Vec<String>,
    /// What its command runs.
    pub runs: Runs,
    /// The programs between systemd and Ollama, outermost first: a shell, `env`, a wrapper.
    pub through: Vec<String>,
    /// The program of Ollama that it starts, else the program that it names.
    pub executable: Option<Location>,
    /// That program with every link resolved; none if it is not there.
    pub program: Option<Location>,
    /// The user it runs as; root if none is named.
    pub user: Option<String>,
    /// The group it runs as.
    pub group: Option<String>,
    /// Further groups.
    pub supplementary_groups: Vec<String>,
    /// The environment without our drop-in; the last setting of each variable, those for all
    /// units of the service manager included.
    pub environment: Vec<Variable>,
    /// What ranks above our drop-in: later drop-ins, files of variables, variables that are taken
    /// away (with an empty value), and those that the unit's command sets itself.
    pub outranking: Vec<Variable>,
    /// The files of variables that it names, in order.
    pub environment_files: Vec<EnvironmentFile>,
    /// Settings that can keep our libraries or the link from working, without our drop-in, in
    /// systemd's order and with its resets: of a list every assignment, else the last one.
    pub settings: Vec<Variable>,
    /// Where our drop-in goes.
    pub drop_in_path: Location,
    /// The directories on the way to our drop-in that do not exist, outermost first.
    pub missing_dirs: Vec<Location>,
    /// What lies at our drop-in's path.
    pub drop_in: Object,
    /// The link that a drop-in of ours names by now, so that it is kept.
    pub link: Option<String>,
}
