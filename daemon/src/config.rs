//! What the command line and the configuration file say together.

pub(crate) mod account;
pub(crate) mod machine;
pub(crate) mod name;
mod systemd;
pub(crate) mod tenant;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use vgpu_link::tls::Files;
use vgpu_link::{Access, Uri};

use crate::cli::Arguments;
use crate::device::{Source, nvidia};
use crate::error::DaemonError;
use crate::store::Place;
use machine::Machine;
use tenant::{Problem, Tenant, TenantError};

/// Read when no other file is named, if it is there.
const DEFAULT_FILE: &str = "/etc/vgpu/host.toml";

/// Where guests look first (design: links).
const DEFAULT_SOCKET: &str = "/run/vgpu/vgpud.sock";

/// Owner and group may connect; packages give the socket to the group `vgpu`.
const DEFAULT_MODE: u32 = 0o660;

/// Each client is one process of about 5 MiB; 64 of them hold every guest of a large machine.
const DEFAULT_CLIENTS_MAX: u32 = 64;

/// The limit of `clients_max`: each client takes two file descriptors of the host's 1,024 or more.
const CLIENTS_MAX: u32 = 400;

/// The limit of `drain_seconds`: one hour, below the 71 minutes that can be asked of systemd.
const DRAIN_SECONDS_MAX: u32 = 3600;

/// The wire's limit of devices in a snapshot.
const SIM_GPUS_MAX: u32 = 64;

/// Room for images: 4 GiB, twice all that the largest published builds of ggml bring.
const DEFAULT_IMAGES_MIB: u32 = 4096;

/// The limit of `images_mib`: 1 TiB.
const IMAGES_MIB_MAX: u32 = 1 << 20;

/// Room for pinned memory: 16 GiB, what a client pins of a model that stays with it. Address space,
/// of which pages become memory when they are first used.
const DEFAULT_PINNED_MIB: u32 = 16 << 10;

/// The limit of `pinned_mib`: 256 GiB, the longest bulk area.
const PINNED_MIB_MAX: u32 = 256 << 10;

/// Everything that can be configured, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// Addresses to listen at; empty: ours by default, unless systemd hands over others.
    pub listen: Vec<Uri>,
    /// Who may connect.
    pub access: Access,
    /// Most clients at a time.
    pub clients_max: usize,
    /// How long clients may stay when the daemon is stopped.
    pub drain: Duration,
    /// Where Prometheus is answered.
    pub metrics: Option<SocketAddr>,
    /// Where the operator is answered (`vgpud smi`).
    pub status: Option<PathBuf>,
    /// The devices to serve.
    pub device: Source,
    /// Where images of code are kept.
    pub images: Place,
    /// Most bytes of a client's pinned memory that is shared with its worker.
    pub pinned_bytes: u64,
    /// Whether the driver may connect to services of this machine.
    pub driver_connects: bool,
    /// Where to record the conversations.
    pub record: Option<PathBuf>,
    /// Certificate, key and the clients' CA, for addresses of the network.
    pub tls: Files,
    /// Who may use what; empty: everybody all of it.
    pub tenants: Vec<Tenant>,
    /// Virtual machines that share memory with this host.
    pub machines: Vec<Machine>,
    /// The configuration file, for messages.
    pub file: PathBuf,
}

/// The file's layout.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    device: Option<String>,
    driver_dir: Option<PathBuf>,
    cublas_dir: Option<PathBuf>,
    #[serde(default)]
    driver_connects: bool,
    #[serde(default)]
    listen: Vec<String>,
    mode: Option<String>,
    group: Option<String>,
    clients_max: Option<u32>,
    drain_seconds: Option<u32>,
    metrics: Option<String>,
    status: Option<PathBuf>,
    sim_gpus: Option<u32>,
    sim_driver: Option<String>,
    images: Option<PathBuf>,
    images_mib: Option<u32>,
    pinned_mib: Option<u32>,
    #[serde(default)]
    tls: tls::Entry,
    #[serde(default)]
    tenant: Vec<tenant::Entry>,
    #[serde(default)]
    machine: Vec<machine::Entry>,
}

impl Config {
    /// Joins command line and file; the command line wins.
    ///
    /// # Errors
    /// [`DaemonError`] that names the file or option, what is wrong with it, and the remedy.
    pub fn load(arguments: &Arguments) -> Result<Self, DaemonError> {
        let path = arguments.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
        Self::join(arguments, path, &read(path, arguments.config.is_some())?)
    }

    /// Joins the command line and a file of that text.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn join(arguments: &Arguments, path: &Path, text: &str) -> Result<Self, DaemonError> {
        let file = File::parse(path, text)?;
        let listen = if arguments.listen.is_empty() { &file.listen } else { &arguments.listen };
        let mode = arguments.mode.as_ref().or(file.mode.as_ref());
        let group = arguments.group.as_ref().or(file.group.as_ref());
        let clients_max = arguments.clients_max.or(file.clients_max);
        let drain = arguments.drain_seconds.or(file.drain_seconds).unwrap_or(0);
        let metrics = arguments.metrics.as_deref().or(file.metrics.as_deref());
        let sim_gpus = arguments.sim_gpus.or(file.sim_gpus).unwrap_or(1);
        let sim_gpus = within("sim_gpus", sim_gpus, SIM_GPUS_MAX)?;
        let sim_driver = arguments.sim_driver.as_deref().or(file.sim_driver.as_deref());
        let sim = Source::Sim { gpus: sim_gpus, driver: sim_driver.map(cuda_version).transpose()? };
        let driver_dir = arguments.driver_dir.as_ref().or(file.driver_dir.as_ref());
        let cublas_dir = arguments.cublas_dir.as_deref().or(file.cublas_dir.as_deref());
        let cublas_dir = cublas_dir.map(absolute).transpose()?;
        let images = arguments.images.as_deref().or(file.images.as_deref());
        let images_mib = arguments.images_mib.or(file.images_mib).unwrap_or(DEFAULT_IMAGES_MIB);
        let images_mib = within("images_mib", images_mib, IMAGES_MIB_MAX)?;
        let pinned_mib = match arguments.pinned_mib.or(file.pinned_mib) {
            None => DEFAULT_PINNED_MIB,
            Some(0) => 0,
            Some(mib) => within("pinned_mib", mib, PINNED_MIB_MAX)?,
        };
        let device = arguments.device.as_deref().or(file.device.as_deref());
        let device = source(device, sim, driver_dir.map(PathBuf::as_path), cublas_dir)?;
        let tenants = tenant::check(path, file.tenant)?;
        let machines = machine::check(path, file.machine)?;
        tenant::check_machines(path, &tenants, &machines)?;
        if let (Source::Replay { .. }, Some(tenant)) = (&device, tenants.first()) {
            let (tenant, source) = (tenant.name.clone(), Problem::Replay);
            return Err(TenantError { path: path.into(), tenant, key: "name", source }.into());
        }
        Ok(Self {
            listen: listen
                .iter()
                .map(|address| address.parse::<Uri>())
                .collect::<Result<_, _>>()
                .map_err(|source| DaemonError::Listen { path: path.into(), source })?,
            access: Access {
                mode: mode.map_or(Ok(DEFAULT_MODE), |mode| parse_mode(mode))?,
                group: group.map(|group| find_group(group)).transpose()?,
            },
            clients_max: within(
                "clients_max",
                clients_max.unwrap_or(DEFAULT_CLIENTS_MAX),
                CLIENTS_MAX,
            )? as usize,
            drain: Duration::from_secs(match drain {
                0 => 0,
                drain => within("drain_seconds", drain, DRAIN_SECONDS_MAX)?.into(),
            }),
            metrics: metrics.map(parse_address).transpose()?,
            status: systemd::status(arguments.status.as_deref().or(file.status.as_deref()))?,
            device,
            images: Place {
                directory: images.map(absolute).transpose()?.or_else(systemd::images),
                bytes_max: u64::from(images_mib) << 20,
            },
            pinned_bytes: u64::from(pinned_mib) << 20,
            driver_connects: arguments.driver_connects || file.driver_connects,
            record: arguments.record.as_deref().map(absolute).transpose()?,
            tls: file.tls.files(),
            tenants,
            machines,
            file: path.into(),
        })
    }

    /// Files and directories that are the host process's: its configuration with the keys beside
    /// it, its sockets, memory of machines, and where there are tenants what the driver compiled
    /// for any of them. A directory that others share is not among them.
    pub fn own_files(&self) -> Vec<PathBuf> {
        let own = |directory: &str| PathBuf::from(directory);
        let tls = [&self.tls.certificate, &self.tls.key, &self.tls.ca].map(PathBuf::clone);
        let memory = self.machines.iter().filter_map(|machine| match &machine.device {
            machine::Device::Doorbell { socket, .. } => Some(machine::kept(socket)),
            // Devices come and go below /dev, so all of that stays a worker's.
            machine::Device::Plain { memory } if !memory.starts_with("/dev") => {
                Some(memory.clone())
            }
            machine::Device::Plain { .. } | machine::Device::Stub { .. } => None,
        });
        let compiled = std::env::var_os("CUDA_CACHE_PATH").filter(|_| self.keeps_tenants_apart());
        let files = tls.into_iter().chain(memory).chain(self.status.clone());
        let files = files.chain(compiled.map(PathBuf::from));
        let directories = ["/etc/vgpu", "/run/vgpu", "/run/vgpud"].map(own);
        directories.into_iter().chain([self.file.clone()]).chain(files).collect()
    }

    /// Says whether clients are of tenants, and what one of these leaves must not reach another.
    pub fn keeps_tenants_apart(&self) -> bool {
        !self.tenants.is_empty()
    }

    /// Where the daemon of this machine answers its operator, as far as its configuration says.
    pub fn named_status() -> Result<Option<PathBuf>, DaemonError> {
        let path = Path::new(DEFAULT_FILE);
        let file = File::parse(path, &read(path, false)?)?;
        file.status.as_deref().map(absolute).transpose()
    }

    /// The address where nothing else is configured.
    pub fn default_address() -> Uri {
        Uri::Unix(DEFAULT_SOCKET.into())
    }
}

impl File {
    fn parse(path: &Path, text: &str) -> Result<Self, DaemonError> {
        let wrong = |source| DaemonError::Config { path: path.into(), source: Box::new(source) };
        toml::from_str(text).map_err(wrong)
    }
}

/// Reads the file; only one that nobody named may be missing.
fn read(path: &Path, is_named: bool) -> Result<String, DaemonError> {
    match std::fs::read_to_string(path) {
        Err(error) if !is_named && error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(DaemonError::File { verb: "reading", path: path.into(), source }),
        Ok(text) => Ok(text),
    }
}

/// Finds the device to serve: the named one, else the driver's, and never the simulated one by
/// itself.
fn source(
    device: Option<&str>,
    sim: Source,
    driver_dir: Option<&Path>,
    cublas: Option<PathBuf>,
) -> Result<Source, DaemonError> {
    let genuine = || {
        let [cuda, nvml] = nvidia::find::find(driver_dir)?;
        Ok(Source::Nvidia { cuda, nvml, cublas: cublas.clone() })
    };
    let Some(device) = device else {
        return genuine().map_err(|error| match error {
            missing @ DaemonError::DriverMissing { .. } => {
                DaemonError::NoDevice { source: Box::new(missing) }
            }
            error => error,
        });
    };
    match device.split_once('=') {
        None if device == "nvidia" => genuine(),
        None if device == "sim" => Ok(sim),
        Some(("replay", file)) => Ok(Source::Replay { file: absolute(Path::new(file))? }),
        _ => Err(DaemonError::UnknownDevice { device: device.to_owned() }),
    }
}

/// Makes a path that a worker understands as we do.
fn absolute(path: &Path) -> Result<PathBuf, DaemonError> {
    std::path::absolute(path).map_err(|source| DaemonError::File {
        verb: "finding",
        path: path.into(),
        source,
    })
}

fn parse_mode(mode: &str) -> Result<u32, DaemonError> {
    let plain = !mode.is_empty() && mode.bytes().all(|byte| byte.is_ascii_digit());
    plain
        .then(|| u32::from_str_radix(mode, 8).ok().filter(|&bits| bits <= 0o777))
        .flatten()
        .ok_or_else(|| DaemonError::Value { name: "mode", value: mode.to_owned(), asks: "0660" })
}

fn parse_address(address: &str) -> Result<SocketAddr, DaemonError> {
    address.parse().map_err(|_| DaemonError::Value {
        name: "metrics",
        value: address.to_owned(),
        asks: "an address with a port, such as 127.0.0.1:9475",
    })
}

fn within(name: &'static str, value: u32, max: u32) -> Result<u32, DaemonError> {
    if (1..=max).contains(&value) {
        return Ok(value);
    }
    let asks = match name {
        "sim_gpus" => "1 to 64",
        "drain_seconds" => "0 to 3600",
        "images_mib" => "1 to 1048576",
        "pinned_mib" => "0 to 262144",
        _ => "1 to 400",
    };
    Err(DaemonError::Value { name, value: value.to_string(), asks })
}

/// Reads a version of CUDA; returns it as `cuDriverGetVersion` does.
fn cuda_version(version: &str) -> Result<i32, DaemonError> {
    let number = |text: &str| text.parse::<u8>().ok().filter(|&number| number < 100);
    let parts = version.split_once('.').and_then(|(major, minor)| {
        let (major, minor) = (number(major)?, number(minor)?);
        (major > 0).then(|| i32::from(major) * 1000 + i32::from(minor) * 10)
    });
    parts.ok_or_else(|| DaemonError::Value {
        name: "sim_driver",
        value: version.to_owned(),
        asks: "a version of CUDA, such as 12.8",
    })
}

/// Finds a group by number or by its line in /etc/group, where packages make theirs.
fn find_group(group: &str) -> Result<u32, DaemonError> {
    let found = group.parse().ok().or_else(|| account::find(account::GROUPS, group));
    found.ok_or_else(|| DaemonError::NoGroup { group: group.to_owned() })
}

#[cfg(test)]
mod tests;
