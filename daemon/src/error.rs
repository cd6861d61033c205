//! What can end the daemon.

use std::io;
use std::path::PathBuf;

use vgpu_link::LinkError;

/// Says what the daemon was doing and why it could not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    /// A file could not be read.
    #[error("{verb} {}", path.display())]
    File {
        /// What was being done.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration file is wrong.
    #[error("understanding {}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Line and problem.
        source: Box<toml::de::Error>,
    },
    /// A tenant of the configuration file cannot be.
    #[error(transparent)]
    Tenant(#[from] crate::config::tenant::TenantError),
    /// A machine of the configuration file cannot be.
    #[error(transparent)]
    Machine(#[from] crate::config::machine::MachineError),
    /// An option has a value that it cannot have.
    #[error("{name} = \"{value}\" is not {asks}")]
    Value {
        /// The option.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it should look like.
        asks: &'static str,
    },
    /// No device was named, and there is no driver.
    #[error("no device is configured, and this machine has no driver of NVIDIA's")]
    NoDevice {
        /// What was looked for.
        source: Box<DaemonError>,
    },
    /// A library of NVIDIA's driver is nowhere.
    #[error("finding {name}: it is in none of {}", list(searched))]
    DriverMissing {
        /// The library.
        name: &'static str,
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// What was found is our own library for guests: the host would talk to itself.
    #[error("{} is the library that vgpu-ollama installs for guests, not NVIDIA's", path.display())]
    DriverIsOurs {
        /// The file.
        path: PathBuf,
    },
    /// What was found is for linking only.
    #[error("{} is a stub of the CUDA toolkit, made for linking only", path.display())]
    DriverIsStub {
        /// The file.
        path: PathBuf,
    },
    /// What was found is no library of this machine.
    #[error("{} is no library for this machine", path.display())]
    DriverIsNone {
        /// The file.
        path: PathBuf,
    },
    /// The loader refused a library.
    #[error("loading {}", path.display())]
    DriverNotLoaded {
        /// The file.
        path: PathBuf,
        /// The loader's words.
        source: Box<libloading::Error>,
    },
    /// The driver answered with an error.
    #[error("{verb}")]
    Driver {
        /// What was being done.
        verb: &'static str,
        /// The driver's code.
        source: vgpu_abi::cuda::Error,
    },
    /// NVML answered with an error.
    #[error("{verb}")]
    Nvml {
        /// What was being done.
        verb: &'static str,
        /// NVML's code.
        source: vgpu_abi::nvml::Error,
    },
    /// There is no such device.
    #[error("there is no device called \"{device}\"")]
    UnknownDevice {
        /// The device as given.
        device: String,
    },
    /// No worker could open the devices.
    #[error("opening the devices: the first worker ended: {ended}")]
    NotOpened {
        /// How it ended.
        ended: String,
    },
    /// The recording cannot be used.
    #[error(transparent)]
    Recording(#[from] crate::recording::RecordingError),
    /// A client did not do what was recorded.
    #[error("playing the recording to session {session}")]
    Replay {
        /// Number of the connection.
        session: u64,
        /// What was recorded and what came.
        source: crate::recording::Difference,
    },
    /// Clients did not do what was recorded.
    #[error("{clients} client(s) did not do what was recorded")]
    Replayed {
        /// How many.
        clients: usize,
    },
    /// Nothing can listen where Prometheus is to be answered.
    #[error("listening for Prometheus at {address}")]
    Metrics {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// systemd handed over what nobody can come by.
    #[error("taking over file descriptor {} of systemd: it is no unix, vsock or TCP socket that \
             listens", index + 3)]
    Activated {
        /// Its place among those that were handed over.
        index: usize,
    },
    /// The daemon of this machine does not say how it is.
    #[error("asking vgpud at {}", path.display())]
    Status {
        /// The status socket.
        path: PathBuf,
        /// What the system, or the daemon, said.
        source: io::Error,
    },
    /// There is no terminal to draw on.
    #[error(transparent)]
    Terminal(#[from] vgpu_smi::terminal::TerminalError),
    /// A file that would be written is there.
    #[error("writing {}: it is there already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A certificate could not be made.
    #[error("{verb} {}", path.display())]
    Certificate {
        /// What was being done.
        verb: &'static str,
        /// The file of the CA, or of the certificate.
        path: PathBuf,
        /// What is wrong.
        source: rcgen::Error,
    },
    /// There is no such group.
    #[error("there is no group \"{group}\" in /etc/group")]
    NoGroup {
        /// The group as given.
        group: String,
    },
    /// An image cannot be used.
    #[error("reading the images in {}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: crate::image::ImageError,
    },
    /// An address to listen at is none.
    #[error("reading listen, of the command line or {}", path.display())]
    Listen {
        /// The configuration file.
        path: PathBuf,
        /// The address, and what is wrong with it.
        source: LinkError,
    },
    /// A link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The other process of ours went, or sent what it cannot have sent.
    #[error("{verb}: the message makes no sense")]
    Desk {
        /// What was being done.
        verb: &'static str,
        /// Where the message stopped making sense.
        source: vgpu_link::wire::Malformed,
    },
    /// A worker was started by somebody else than the host process.
    #[error("serving as a worker: standard input is not the host process's socket")]
    NotAWorker,
    /// The host process does not want the client.
    #[error("serving a client: {text}")]
    TurnedAway {
        /// The reason, for programs.
        refusal: vgpu_link::wire::control::Refusal,
        /// The reason, for people.
        text: String,
    },
    /// The system failed us.
    #[error("{verb}")]
    System {
        /// What was being done, such as "starting a worker".
        verb: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Lists paths on one line.
fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

impl DaemonError {
    /// Gives the remedy, as one whole sentence.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File { .. } => Some("Check that the file exists and that this user may read it."),
            Self::Config { .. } => {
                Some("Correct the line; docs/host.md has all keys, and none else is known.")
            }
            Self::Tenant(error) => Some(error.hint()),
            Self::Machine(error) => Some(error.hint()),
            Self::Value { .. } => Some("Run vgpud --help for what each option takes."),
            Self::UnknownDevice { .. } => {
                Some("Use --device nvidia, or --device sim, the simulated H100.")
            }
            Self::NoDevice { .. } | Self::DriverMissing { .. } => Some(
                "Install NVIDIA's driver (Debian: libcuda1 and libnvidia-ml1), name its directory \
                 with driver_dir in host.toml, or use --device sim, the simulated H100.",
            ),
            Self::DriverIsOurs { .. } | Self::DriverIsStub { .. } | Self::DriverIsNone { .. } => {
                Some("Name the directory of NVIDIA's own libraries with driver_dir in host.toml.")
            }
            Self::DriverNotLoaded { .. } | Self::Driver { .. } | Self::Nvml { .. } => Some(
                "Run nvidia-smi on this machine as the same user: what it says holds for vgpud.",
            ),
            Self::NotOpened { .. } => Some("The worker's own words above say why."),
            Self::Recording(_) => {
                Some("Name a file that vgpud --record wrote, or a new one to record in.")
            }
            Self::Replay { .. } | Self::Replayed { .. } => {
                Some("Record anew if the client or its input was meant to change.")
            }
            Self::Metrics { .. } => {
                Some("Name an address of this machine and a free port with metrics in host.toml.")
            }
            Self::Activated { .. } => Some(
                "In the socket unit, use ListenStream= with a path, vsock::6475 or a port, and no \
                 Accept=yes.",
            ),
            Self::Status { source, .. } => Some(match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "Run it as root: the socket is the daemon's own."
                }
                _ => "See that it runs (systemctl status vgpud), or name its socket with --status.",
            }),
            Self::Terminal(error) => Some(error.hint()),
            Self::NoGroup { .. } => Some("Create the group, or name another one with --group."),
            Self::Exists { .. } => Some(
                "Keep it: certificates of a CA made anew are not those of the old one. To replace \
                 it all the same, say --force.",
            ),
            Self::Certificate { .. } => {
                Some("Name the directory that vgpud ca init made with --directory.")
            }
            Self::Link(error) | Self::Listen { source: error, .. } => error.hint(),
            Self::Image { .. } => Some("Name another device's capability, or another file."),
            Self::NotAWorker => Some("Start vgpud itself: it starts its workers."),
            Self::TurnedAway { .. } | Self::Desk { .. } | Self::System { .. } => None,
        }
    }

    /// Wraps what a system call said.
    pub fn system(verb: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::System { verb, source: errno.into() }
    }
}
