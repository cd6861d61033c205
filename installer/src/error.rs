//! Everything that can go wrong, with its exit code and its remedy.

mod hint;

use std::io;
use std::path::Path;

use crate::location::Location;

/// What an operation of the installer answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a unit's sandbox shuts out.
#[derive(Debug, thiserror::Error)]
pub enum Shut {
    /// The service's root is another one.
    #[error("the service sees another root than the one that our libraries and the link are in")]
    OtherRoot,
    /// Something that we need is not to be seen.
    #[error("it hides {what} {path}")]
    Hidden {
        /// What it is.
        what: &'static str,
        /// Where it is.
        path: Location,
    },
    /// There is no network for a link that is a connection.
    #[error("it leaves the service no network, and the link is {link}")]
    NoNetwork {
        /// The link.
        link: String,
    },
    /// Addresses are filtered, and the link has a name.
    #[error("it lets chosen addresses pass, and the link has the name {host}")]
    NoAddress {
        /// The name of the host.
        host: String,
    },
}

impl Shut {
    fn hint(&self) -> &'static str {
        match self {
            Self::OtherRoot => "run Ollama without that root, or install vgpu-ollama inside of it",
            Self::Hidden { what: "the link's socket", .. } => {
                "let vgpud listen elsewhere and name that place by --link, or change the setting"
            }
            Self::Hidden { .. } => "change the setting, then run vgpu-install again",
            Self::NoNetwork { .. } => "use a link of another kind, or give the service its network",
            Self::NoAddress { .. } => "name the host by its address: --link tls:ADDRESS:PORT",
        }
    }
}

/// Why the installer did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine refused an operation on a path.
    #[error("{verb} {path}")]
    Io {
        /// What was being done: "reading", "replacing".
        verb: &'static str,
        /// To what.
        path: Location,
        /// The machine's answer.
        #[source]
        source: io::Error,
    },
    /// A file is longer than any sound one.
    #[error("reading {path}: it is longer than {bytes_max} bytes")]
    TooLong {
        /// The file.
        path: Location,
        /// The most that is read.
        bytes_max: u64,
    },
    /// Another installer is at work.
    #[error("taking the installer's lock {path}: {} holds it", process(*holder))]
    Locked {
        /// What is locked.
        path: Location,
        /// The process that holds it, where the kernel says which.
        holder: Option<u32>,
    },
    /// An earlier run was interrupted.
    #[error("starting: an earlier run was interrupted ({what})")]
    RecoveryNeeded {
        /// What was found.
        what: &'static str,
    },
    /// This kind of machine is not served.
    #[error("looking at the platform: {what}")]
    Unsupported {
        /// What is missing or different.
        what: String,
    },
    /// Our libraries are not where the package puts them.
    #[error("looking for our libraries in {dir}: {missing} is missing")]
    ShimsMissing {
        /// The private directory.
        dir: Location,
        /// The first file that is not there.
        missing: String,
    },
    /// Something that outranks our change would undo its effect.
    #[error("planning for {unit}: {path} sets {variable} after our drop-in and would undo it")]
    Overridden {
        /// The unit.
        unit: String,
        /// The file that outranks ours.
        path: Location,
        /// The variable that it sets.
        variable: String,
    },
    /// Two units share a drop-in's path and need different texts in it.
    #[error("planning: {} and {} need different texts in {path}", units[0], units[1])]
    Shared {
        /// The drop-in's path.
        path: Location,
        /// The units, each with its user.
        units: [String; 2],
    },
    /// A unit's sandbox shuts our libraries or the link out, and no drop-in may open it.
    #[error("planning for {unit}: {setting} in {path} keeps it from the GPU")]
    Unserved {
        /// The unit.
        unit: String,
        /// The assignment.
        setting: String,
        /// The file that holds it.
        path: Location,
        /// What it shuts out.
        #[source]
        because: Shut,
    },
    /// A library comes before ours in ld.so's cache.
    #[error("planning scope system: {name} would still be {path}{}", before(conf.as_ref()))]
    Outranked {
        /// The name that programs ask for.
        name: String,
        /// What they would get.
        path: Location,
        /// The file whose line comes before ours; none for a `glibc-hwcaps` directory.
        conf: Option<Location>,
    },
    /// ldconfig does not read the directory of our file.
    #[error("planning scope system: /etc/ld.so.conf includes no {path}")]
    NotIncluded {
        /// Our file.
        path: Location,
    },
    /// This machine has a GPU of its own that NVIDIA's driver serves.
    #[error("planning: NVIDIA's driver serves the PCI device {device} of this machine")]
    RealDriver {
        /// The device's address.
        device: String,
    },
    /// A path changed between planning and doing.
    #[error("changing {path}: expected {expected}, found {found}")]
    Changed {
        /// The path.
        path: Location,
        /// What the plan was made for.
        expected: String,
        /// What lies there.
        found: String,
    },
    /// A journal, manifest or facts file cannot be understood.
    #[error("reading {path}: {what}")]
    Record {
        /// The file.
        path: Location,
        /// What is wrong with it.
        what: String,
    },
    /// A program that we started failed.
    #[error("running {program}: {because}")]
    Program {
        /// The program and its arguments.
        program: String,
        /// Its answer.
        because: String,
    },
    /// What was installed does not work.
    #[error("verifying, check {check}: {because}")]
    Verification {
        /// The name of the check.
        check: &'static str,
        /// What it saw.
        because: String,
    },
    /// The change failed and was undone.
    #[error("applying; {}", undone(left))]
    Undone {
        /// What others changed meanwhile and was left, and services that did not start again.
        left: Vec<String>,
        /// Why it failed.
        #[source]
        source: Box<Error>,
    },
    /// The change failed, and undoing it failed too.
    #[error("undoing after a failure ({first})")]
    UndoFailed {
        /// Why the change failed.
        first: Box<Error>,
        /// Why undoing failed.
        #[source]
        source: Box<Error>,
    },
    /// A signal asked the program to end.
    #[error("going on: a signal asked this program to end")]
    Stopped,
    /// Something stopped on its way and can be taken up again.
    #[error("{what} stopped on its way")]
    Interrupted {
        /// What stopped.
        what: &'static str,
    },
    /// A generation that does not exist was named.
    #[error("rolling back to generation {wanted}: {}", generations(there))]
    NoGeneration {
        /// What was asked for.
        wanted: u64,
        /// Those that are there.
        there: Vec<u64>,
    },
    /// A path is marked as never to be changed.
    #[error("changing {path}: it has the immutable or append-only attribute (lsattr)")]
    Immutable {
        /// The path.
        path: Location,
    },
    /// A journal is so damaged that it does not say everything that was done.
    #[error("recovering: {path} is damaged at byte {at}; what it still says was undone")]
    JournalDamaged {
        /// The journal.
        path: Location,
        /// Where the damage begins.
        at: u64,
    },
    /// No process has this number.
    #[error("explaining process {pid}: there is no such process")]
    NoProcess {
        /// The number.
        pid: u32,
    },
    /// No unit of Ollama has this name.
    #[error("explaining the unit {name}: it starts no Ollama; those that do: {known}")]
    NoUnit {
        /// What was asked for.
        name: String,
        /// The units of Ollama.
        known: String,
    },
    /// A program that no loader starts.
    #[error("explaining {path}")]
    NoLoader {
        /// The program.
        path: Location,
        /// Why.
        #[source]
        source: vgpu_loader::StartError,
    },
    /// Something that has no libraries to explain.
    #[error("explaining {path}: {what}")]
    Unexplained {
        /// What was asked about.
        path: Location,
        /// Why there is nothing to explain.
        what: String,
    },
    /// The command line does not fit together.
    #[error("{what}")]
    Usage {
        /// What does not fit.
        what: String,
    },
}

impl Error {
    /// Wraps the machine's answer to an operation on a path.
    pub fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { verb, path: path.into(), source }
    }

    /// The exit code that stands for this error (design: 1 failed and undone, 4 recovery needed,
    /// 5 locked, 6 unsupported platform, 64 usage).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::RecoveryNeeded { .. } | Self::UndoFailed { .. } | Self::JournalDamaged { .. } => {
                4
            }
            // Of another version: whoever wrote it must recover it.
            Self::Record { path, .. } if path.as_ref() == Path::new(crate::journal::PATH) => 4,
            Self::Locked { .. } => 5,
            Self::Unsupported { .. } => 6,
            Self::Usage { .. } => 64,
            _ => 1,
        }
    }

    /// True if it ended half-way, so that something is changed by now.
    #[must_use]
    pub fn is_half_way(&self) -> bool {
        match self {
            Self::UndoFailed { .. } => true,
            Self::Undone { left, .. } => !left.is_empty(),
            _ => false,
        }
    }

    /// A short name for the kind of error, for programs that read the JSON answer.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::TooLong { .. } => "too_long",
            Self::Locked { .. } => "locked",
            Self::RecoveryNeeded { .. } => "recovery_needed",
            Self::Unsupported { .. } => "unsupported_platform",
            Self::ShimsMissing { .. } => "shims_missing",
            Self::Overridden { .. } => "overridden",
            Self::Shared { .. } => "shared_drop_in",
            Self::Unserved { .. } => "unserved",
            Self::Outranked { .. } => "outranked",
            Self::NotIncluded { .. } => "not_included",
            Self::RealDriver { .. } => "real_driver",
            Self::Changed { .. } => "changed",
            Self::Record { .. } => "record",
            Self::Program { .. } => "program",
            Self::Verification { .. } => "verification",
            Self::Undone { source, .. } => source.code(),
            Self::UndoFailed { .. } => "undo_failed",
            Self::Stopped => "stopped",
            Self::Interrupted { .. } => "interrupted",
            Self::NoGeneration { .. } => "no_generation",
            Self::JournalDamaged { .. } => "journal_damaged",
            Self::Immutable { .. } => "immutable",
            Self::NoProcess { .. } => "no_process",
            Self::NoUnit { .. } => "no_unit",
            Self::NoLoader { .. } => "no_loader",
            Self::Unexplained { .. } => "unexplained",
            Self::Usage { .. } => "usage",
        }
    }
}

fn process(holder: Option<u32>) -> String {
    let holder = holder.map_or_else(String::new, |holder| format!(" (process {holder})"));
    format!("another vgpu-install{holder}")
}

fn before(conf: Option<&Location>) -> String {
    match conf {
        Some(conf) => format!(", by a line of {conf} that comes before ours"),
        None => ", as copies for newer processors come before all others".into(),
    }
}

fn undone(left: &[String]) -> String {
    match left {
        [] => "every step was undone, nothing is changed".into(),
        left => format!("its steps were undone, except: {}", left.join("; ")),
    }
}

fn generations(there: &[u64]) -> String {
    match there {
        [] => "none is in force".into(),
        there => {
            let there: Vec<String> = there.iter().map(u64::to_string).collect();
            format!("there are 0 (the start) and {}", there.join(", "))
        }
    }
}
