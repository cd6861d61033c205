//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::ca::CaCommand;
use crate::device::Source;
use crate::inspect::KernelsOptions;
use crate::recording::RecordingOptions;
use crate::smi::SmiOptions;
use crate::store::Place;

/// Gives guests without a GPU the use of this machine's.
#[derive(Debug, Parser)]
#[command(name = "vgpud", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// Device to serve: nvidia (this machine's, the default where its driver is), sim (a simulated
    /// H100), or replay=FILE (what --record wrote)
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,

    /// Directory of NVIDIA's libcuda.so.1 and libnvidia-ml.so.1; without it the loader's search
    #[arg(long, value_name = "DIRECTORY")]
    pub driver_dir: Option<PathBuf>,

    /// Directory with NVIDIA's libcublas.so.12 or .13 (default: as the loader finds them)
    #[arg(long, value_name = "DIRECTORY")]
    pub cublas_dir: Option<PathBuf>,

    /// Lets the driver connect to services of this machine, such as MPS
    #[arg(long)]
    pub driver_connects: bool,

    /// Address to listen at, such as unix:/run/vgpu/vgpud.sock; may be given several times
    #[arg(long, value_name = "URI")]
    pub listen: Vec<String>,

    /// Permission bits of the sockets, octal; connecting needs write permission
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,

    /// Group of the sockets: a name of /etc/group, or a number
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,

    /// Most clients at a time
    #[arg(long, value_name = "COUNT")]
    pub clients_max: Option<u32>,

    /// How long clients may stay when the daemon is stopped, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub drain_seconds: Option<u32>,

    /// Address to tell Prometheus at, such as 127.0.0.1:9475 (default: nowhere)
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<String>,

    /// Socket to answer `vgpud smi` at (default: status.sock in systemd's last runtime directory)
    #[arg(long, value_name = "PATH")]
    pub status: Option<PathBuf>,

    /// Simulated GPUs of --device sim
    #[arg(long, value_name = "COUNT")]
    pub sim_gpus: Option<u32>,

    /// Version of CUDA that the driver of --device sim says it is for, such as 12.8
    #[arg(long, value_name = "VERSION")]
    pub sim_driver: Option<String>,

    /// Records every conversation in this file, for --device replay=FILE
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Directory where images of code are kept, for all clients
    #[arg(long, value_name = "DIRECTORY")]
    pub images: Option<PathBuf>,

    /// Most MiB of images in that directory
    #[arg(long, value_name = "MIB")]
    pub images_mib: Option<u32>,

    /// Most MiB of pinned memory of one client that lie in memory shared with its worker
    #[arg(long, value_name = "MIB")]
    pub pinned_mib: Option<u32>,

    /// Configuration file; without it /etc/vgpu/host.toml is read if it is there
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else this program can be.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves one client; started by the host process only.
    #[command(hide = true)]
    Worker(WorkerOptions),
    /// Has the connections that the host process closes; started by it only.
    #[command(hide = true)]
    Porter,
    /// Lists the kernels that a device gets from a library, fat binary, cubin or PTX file.
    Kernels(KernelsOptions),
    /// Lists the frames that were recorded, client by client.
    Recording(RecordingOptions),
    /// Shows the GPUs, tenants and clients of the daemon that runs on this machine.
    Smi(SmiOptions),
    /// Makes a small private CA, and certificates for hosts and guests of tls: links.
    #[command(subcommand)]
    Ca(CaCommand),
}

/// What the host process tells a worker at its start.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerOptions {
    /// Number that tells this run of the host from others.
    #[arg(long)]
    pub epoch: u64,

    /// Simulated GPUs.
    #[arg(long)]
    pub sim_gpus: Option<u32>,

    /// What their driver announces, as `cuDriverGetVersion` does.
    #[arg(long)]
    pub sim_driver: Option<i32>,

    /// The genuine driver and NVML.
    #[arg(long, num_args = 2)]
    pub genuine: Vec<PathBuf>,

    /// Directory of NVIDIA's libcublas.
    #[arg(long)]
    pub cublas_dir: Option<PathBuf>,

    /// Whether the driver may connect to services of this machine.
    #[arg(long)]
    pub driver_connects: bool,

    /// The recording to play.
    #[arg(long)]
    pub replay: Option<PathBuf>,

    /// Where to record.
    #[arg(long)]
    pub record: Option<PathBuf>,

    /// Directory of images.
    #[arg(long)]
    pub images: Option<PathBuf>,

    /// Most bytes in it.
    #[arg(long, default_value_t = 0)]
    pub images_bytes: u64,

    /// Most bytes of memory that is shared with the client for its pinned memory.
    #[arg(long, default_value_t = 0)]
    pub pinned_bytes: u64,

    /// Whether messages are counted.
    #[arg(long)]
    pub counts: bool,

    /// Files and directories of the host that are no worker's.
    #[arg(long)]
    pub hide: Vec<PathBuf>,
}

impl WorkerOptions {
    /// Spells the devices to open as arguments.
    pub fn arguments(source: &Source) -> Vec<OsString> {
        match source {
            Source::Sim { gpus, driver } => {
                let driver =
                    driver.map(|driver| ["--sim-driver".into(), driver.to_string().into()]);
                let gpus = ["--sim-gpus".into(), gpus.to_string().into()];
                gpus.into_iter().chain(driver.into_iter().flatten()).collect()
            }
            Source::Replay { file } => vec!["--replay".into(), file.into()],
            Source::Nvidia { cuda, nvml, cublas } => {
                let cublas = cublas.iter().flat_map(|path| ["--cublas-dir".into(), path.into()]);
                ["--genuine".into(), cuda.into(), nvml.into()].into_iter().chain(cublas).collect()
            }
        }
    }

    /// Spells where images are kept as arguments.
    pub fn images_arguments(place: &Place) -> Vec<OsString> {
        let Some(directory) = &place.directory else { return Vec::new() };
        let bytes = place.bytes_max.to_string().into();
        vec!["--images".into(), directory.into(), "--images-bytes".into(), bytes]
    }

    /// Spells what a worker is kept from as arguments.
    pub fn hide_arguments(paths: &[PathBuf]) -> Vec<OsString> {
        paths.iter().flat_map(|path| ["--hide".into(), path.into()]).collect()
    }

    /// Where images are kept.
    pub fn images(&self) -> Place {
        Place { directory: self.images.clone(), bytes_max: self.images_bytes }
    }

    /// The devices to open.
    pub fn source(&self) -> Source {
        match (&self.replay, &self.genuine[..]) {
            (Some(file), _) => Source::Replay { file: file.clone() },
            (None, [cuda, nvml]) => Source::Nvidia {
                cuda: cuda.clone(),
                nvml: nvml.clone(),
                cublas: self.cublas_dir.clone(),
            },
            (None, _) => Source::Sim { gpus: self.sim_gpus.unwrap_or(1), driver: self.sim_driver },
        }
    }
}
