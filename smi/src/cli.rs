//! The command line: the part of `nvidia-smi`'s that people and scripts use.

use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

/// Shows the GPUs that this machine has the use of.
#[derive(Debug, Parser)]
#[command(
    name = "vgpu-smi",
    version,
    about,
    after_help = "Exit codes are nvidia-smi's: 0 fine, 2 wrong argument or top without a \
                  terminal, 6 no such GPU, 9 no GPU of a host within reach, 12 no NVML library, \
                  255 anything else.",
    max_term_width = 100
)]
pub struct Line {
    /// With `top`: the first screen on the whole terminal, until q is pressed.
    #[arg(conflicts_with_all = ["list_gpus", "query_gpu", "query_compute_apps", "json"])]
    pub what: Option<What>,
    /// List the GPUs, a line each.
    #[arg(short = 'L', long, conflicts_with_all = ["query_gpu", "query_compute_apps", "json"])]
    pub list_gpus: bool,
    /// Print these fields of each GPU; --help-query-gpu lists them.
    #[arg(
        long,
        value_name = "FIELDS",
        value_delimiter = ',',
        requires = "format",
        conflicts_with_all = ["query_compute_apps", "json"]
    )]
    pub query_gpu: Option<Vec<String>>,
    /// Print these fields of each process that computes: pid, process_name, gpu_uuid, used_memory.
    #[arg(
        long,
        visible_alias = "query-compute-applications",
        value_name = "FIELDS",
        value_delimiter = ',',
        requires = "format",
        conflicts_with = "json"
    )]
    pub query_compute_apps: Option<Vec<String>>,
    /// How to print the fields: csv, and with it noheader, nounits.
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    pub format: Option<Vec<String>>,
    /// Show only these GPUs: by index, UUID or PCI bus id.
    #[arg(short, long, value_name = "ID", value_delimiter = ',')]
    pub id: Option<Vec<String>>,
    /// How often to show it.
    #[command(flatten)]
    pub again: Again,
    /// Print everything as one JSON document.
    #[arg(long)]
    pub json: bool,
    /// List the fields that --query-gpu knows.
    #[arg(long)]
    pub help_query_gpu: bool,
}

/// How often to show it; `vgpud smi` has the same option.
#[derive(Debug, Args)]
pub struct Again {
    /// Print again every SECONDS, until stopped.
    #[arg(
        short = 'l',
        long = "loop",
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "5",
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub every: Option<u64>,
}

impl Again {
    /// Returns the pause between two screens of `top`: 2 s unless it was said.
    pub fn of_top(&self) -> Duration {
        Duration::from_secs(self.every.unwrap_or(2))
    }

    /// Waits until it is time to show it again; `false` if once was enough.
    pub fn pause(&self) -> bool {
        let pause = self.every.map(Duration::from_secs);
        pause.map(std::thread::sleep).is_some()
    }
}

/// What else there is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// The first screen, drawn anew until q is pressed.
    Top,
}
