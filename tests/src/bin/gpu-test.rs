//! Compares the genuine driver with ours on this machine's GPU: see `vgpu_tests::gpu`.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use vgpu_tests::Stage;
use vgpu_tests::gpu::{self, Native, Setting};

#[derive(Parser)]
struct Arguments {
    /// The checkout with the scripts and sources
    #[arg(long, value_name = "DIR", default_value = ".")]
    repository: PathBuf,

    /// Where the report and the recordings go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// The CUDA compiler; without it the one in PATH, or of /usr/local/cuda
    #[arg(long, value_name = "FILE")]
    nvcc: Option<PathBuf>,

    /// Directory with CUDA headers for a compiler that knows none; may be given several times
    #[arg(long, value_name = "DIR")]
    include: Vec<PathBuf>,

    /// Directory with genuine libraries, before the system's; may be given several times
    #[arg(long, value_name = "DIR")]
    libraries: Vec<PathBuf>,

    /// Device that vgpud serves
    #[arg(long, value_name = "DEVICE", default_value = "nvidia")]
    device: String,

    /// Without a GPU: both sides are ours, on the simulated device
    #[arg(long, conflicts_with_all = ["device", "libraries"])]
    rehearsal: bool,

    /// Only a little of each step, to see that this program works
    #[arg(long)]
    sample: bool,

    /// Steps to run; all without
    #[arg(value_name = "STEP", value_parser = PossibleValuesParser::new(gpu::steps()))]
    steps: Vec<String>,
}

fn find_nvcc() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let listed = std::env::split_paths(&path).map(|directory| directory.join("nvcc"));
    let usual = [PathBuf::from("/usr/local/cuda/bin/nvcc")];
    listed.chain(usual).find(|file| file.is_file())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = std::fs::create_dir_all(&arguments.out) {
        eprintln!("gpu-test: creating {}: {error}", arguments.out.display());
        return ExitCode::FAILURE;
    }
    let setting = Setting {
        repository: arguments.repository,
        stage: Stage::release(),
        out: arguments.out,
        nvcc: arguments.nvcc.or_else(find_nvcc),
        includes: arguments.include,
        device: if arguments.rehearsal { "sim".into() } else { arguments.device },
        native: Native { libraries: arguments.libraries, rehearsal: arguments.rehearsal },
        sample: arguments.sample,
    };
    match gpu::run(&setting, &arguments.steps) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gpu-test: {error}");
            ExitCode::FAILURE
        }
    }
}
