//! The command line.

mod fit;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use vgpu_link::{LinkError, Uri};

use crate::plan::{AUTOMATIC, Policy, Scope};

pub use fit::misfit;

/// Longest wait for the lock: a day.
const WAIT_SECONDS_MAX: u64 = 86_400;

/// Lets the Ollama of this machine use a GPU of its host, and takes every byte of that back.
#[derive(Debug, Parser)]
#[command(
    name = "vgpu-install",
    version,
    about,
    after_help = "Exit codes: 0 fine, 1 failed and undone (doctor: a check failed), 2 changed \
                  (with --detailed-exitcode), 3 something that others changed was left, 4 run \
                  vgpu-install recover, 5 another vgpu-install is at work, 6 not served here, 64 \
                  wrong command line.",
    max_term_width = 100
)]
pub struct Line {
    /// What to do; `apply` if nothing is named.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Go back to the state before the first change, or to generation GEN.
    #[arg(
        long,
        value_name = "GEN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0"
    )]
    pub rollback: Option<u64>,
    /// Options of every command.
    #[command(flatten)]
    pub options: Options,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Verb {
    /// Discover, plan, apply and verify; commit, or undo if the verification fails.
    Apply,
    /// Show what is on the machine; with --json, in the form that plan --facts reads.
    Scan,
    /// Show what apply would do.
    Plan,
    /// Check from the service's point of view that what is installed works.
    Verify,
    /// Show which generation is in force and whether anything is to be done.
    Status,
    /// List the generations.
    History,
    /// Finish or undo what an interrupted run left.
    Recover,
    /// Say what keeps Ollama from the GPU: evidence, cause, remedy.
    Doctor(Doctor),
    /// Join old generations into one and remove hidden files that nothing needs.
    Gc {
        /// How many generations to keep apart.
        #[arg(long, value_name = "N", default_value_t = crate::gc::KEPT,
              value_parser = clap::value_parser!(u64).range(1..))]
        keep: u64,
    },
    /// Say step by step which file a program gets for a library's name, and why.
    Explain(Explain),
    /// Put all that a bug report needs into one file, without secrets and addresses.
    Report(Report),
    /// Look again after Ollama or a driver changed: renew what is stale, leave what people edited.
    Refresh,
    /// What verify runs as the service's user.
    #[command(hide = true)]
    Probe(Probe),
    /// What the doctor runs as the service's user.
    #[command(hide = true, subcommand)]
    Examine(Examine),
}

/// Whose libraries are explained, and which.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[group(skip)]
#[command(group(clap::ArgGroup::new("subject").required(true).args(["pid", "exe", "unit"])))]
pub struct Explain {
    /// A running process: its environment and root count, and what it has mapped is compared.
    #[arg(long, value_name = "N")]
    pub pid: Option<u32>,
    /// A program, as it would start from here, with the LD_* of the caller.
    #[arg(long, value_name = "PATH")]
    pub exe: Option<PathBuf>,
    /// A unit of Ollama: its service, and each runner that the service starts.
    #[arg(long, value_name = "NAME")]
    pub unit: Option<String>,
    /// The names that are asked for, such as libcuda.so.1.
    #[arg(required = true, value_name = "LIBRARY")]
    pub names: Vec<OsString>,
}

/// Where the report goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Report {
    /// A file that does not exist yet; vgpu-report-TIME.json if nothing is named.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What the doctor's child is to look at.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Examine {
    /// The way to the host.
    Link,
    /// The API, through the libraries that this process gets.
    Api {
        /// The CUDA line.
        #[arg(long)]
        major: u32,
    },
    /// What a runner of Ollama's finds.
    Runner {
        /// Ollama's program.
        #[arg(long)]
        program: std::path::PathBuf,
    },
}

/// What the doctor is to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Doctor {
    /// Checks or groups, such as loader.winner or service; everything if nothing is named.
    #[arg(value_name = "CHECK")]
    pub checks: Vec<String>,
    /// Mend what can be mended safely, then look again.
    #[arg(long)]
    pub fix: bool,
    /// Also show what is fine.
    #[arg(long)]
    pub all: bool,
    /// Only list the checks.
    #[arg(long)]
    pub list: bool,
}

/// What the probe is to load.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Probe {
    /// The backend to open after its needs.
    #[arg(long)]
    pub backend: Option<PathBuf>,
    /// Names to open, in order.
    pub names: Vec<OsString>,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Change nothing, only say what would be done.
    #[arg(long, global = true)]
    pub check: bool,
    /// Show each change as a unified diff.
    #[arg(long, global = true)]
    pub diff: bool,
    /// Answer with one JSON document.
    #[arg(long, global = true)]
    pub json: bool,
    /// Work on the system below DIR.
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Look for libraries also below DIR, which holds a driver as if it were /.
    #[arg(long, global = true, value_name = "DIR", value_parser = absolute)]
    pub driver_root: Option<PathBuf>,
    /// How far the change reaches; if not given, service, or bundle where no unit starts Ollama.
    #[arg(long, global = true, value_enum)]
    pub scope: Option<ScopeName>,
    /// In plan, start from the facts that scan --json wrote on any machine.
    #[arg(long, global = true, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// The way to the host, such as unix:/run/vgpu/vgpud.sock; auto to look for it.
    #[arg(long, global = true, value_name = "URI", value_parser = link)]
    pub link: Option<String>,
    /// Restart no service: the change works from its next start.
    #[arg(long, global = true)]
    pub no_restart: bool,
    /// Wait at most this long for another vgpu-install to end.
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        default_value_t = 0,
        value_parser = clap::value_parser!(u64).range(..=WAIT_SECONDS_MAX)
    )]
    pub wait_lock: u64,
    /// Fail if no GPU of a host can be reached.
    #[arg(long, global = true)]
    pub require_gpu: bool,
    /// Apply also where a driver serves a GPU of this machine; roll back also what others changed
    /// since; recover by setting aside a journal that is too damaged to be followed.
    #[arg(long, global = true)]
    pub force: bool,
    /// Accepted for scripts; nothing is ever asked.
    #[arg(long, short = 'y', global = true)]
    pub yes: bool,
    /// Exit with 2 if something was, or would be, changed.
    #[arg(long, global = true)]
    pub detailed_exitcode: bool,
}

/// The scopes by their names on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScopeName {
    /// One drop-in of Ollama's unit.
    Service,
    /// Links in Ollama's bundle directories, for runs without systemd.
    Bundle,
    /// Each Ollama as it needs, and a line in ld.so's configuration for all other programs.
    System,
}

impl Options {
    /// What the planner is told.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let scope = match self.scope {
            None | Some(ScopeName::Service) => Scope::Service,
            Some(ScopeName::Bundle) => Scope::Bundle,
            Some(ScopeName::System) => Scope::System,
        };
        Policy {
            scope,
            may_choose: self.scope.is_none(),
            link: self.link.clone(),
            no_restart: self.no_restart,
            force: self.force,
        }
    }

    /// How long to wait for the lock.
    #[must_use]
    pub fn lock_wait(&self) -> Duration {
        Duration::from_secs(self.wait_lock)
    }
}

/// Takes a link's URI, or `auto`, as the guest reads it.
fn link(text: &str) -> Result<String, String> {
    if text.contains(char::is_control) {
        return Err("it holds a control character".into());
    }
    match text.parse::<Uri>() {
        Err(LinkError::Uri { problem, .. }) if text != AUTOMATIC => Err(problem.into()),
        _ => Ok(text.to_owned()),
    }
}

/// Takes a path that means the same in every working directory.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("it must begin with /".into()) }
}
