//! How Ollama looks for GPUs: short-lived children, one directory of backends after the other.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::driver;
use crate::system::{Error, run};

/// Ollama's limit for one directory of backends.
const WATCHDOG: Duration = Duration::from_secs(30);

/// Ollama's limit for `gpu-discover`.
const DISCOVER: Duration = Duration::from_secs(15);

/// Is one GPU as both children described it.
#[derive(Debug)]
pub struct Gpu {
    /// Ordinal in its backend.
    pub id: String,
    /// The backend's name for it, such as `CUDA0`.
    pub name: String,
    /// The name of the card.
    pub description: String,
    /// Total memory in MiB.
    pub total_mib: u64,
    /// Free memory in MiB.
    pub free_mib: u64,
    /// The directory whose backend found it.
    pub directory: PathBuf,
    /// What the driver API and NVML said.
    pub driver: driver::Discovery,
}

/// Is Ollama's library directory: the first candidate that exists beside the resolved program.
///
/// # Errors
/// `NotFound` if there is none.
pub fn library_directory() -> io::Result<PathBuf> {
    let program = env::current_exe()?.canonicalize()?;
    let bin = program.parent().unwrap_or(Path::new("/"));
    let candidates = [bin.join("../lib/ollama"), bin.join("lib/ollama")];
    let found = candidates.iter().find(|path| path.is_dir()).ok_or(io::ErrorKind::NotFound)?;
    found.canonicalize()
}

/// Lists the directories below `library` that hold a CUDA backend, the newest first; only one of
/// them if `OLLAMA_LLM_LIBRARY` names it.
///
/// # Errors
/// If `library` cannot be read.
pub fn backend_directories(library: &Path) -> io::Result<Vec<PathBuf>> {
    let wanted = env::var_os("OLLAMA_LLM_LIBRARY").filter(|name| !name.is_empty());
    let mut found = Vec::new();
    for entry in fs::read_dir(library)? {
        let path = entry?.path();
        let skipped = wanted.as_deref().is_some_and(|name| path.file_name() != Some(name));
        if !skipped && path.join("libggml-cuda.so").exists() {
            found.push(path);
        }
    }
    found.sort();
    found.reverse();
    Ok(found)
}

/// Asks both children about one directory; then again for each device by itself, as Ollama does
/// to drop devices that do not fully initialise. Calls `log` with what the children said.
///
/// # Errors
/// If a child does not start or outlives Ollama's limit.
pub fn probe(
    library: &Path,
    directory: &Path,
    log: &mut dyn FnMut(&str),
) -> Result<Vec<Gpu>, Error> {
    let first = list(library, directory, &[], log)?;
    let mut confirmed = Vec::new();
    for gpu in first {
        let alone = [("CUDA_VISIBLE_DEVICES", gpu.id.as_str()), ("GGML_CUDA_INIT", "1")];
        if list(library, directory, &alone, log)?.is_empty() {
            log("filtering device which didn't fully initialize");
        } else {
            confirmed.push(gpu);
        }
    }
    Ok(confirmed)
}

fn list(
    library: &Path,
    directory: &Path,
    variables: &[(&str, &str)],
    log: &mut dyn FnMut(&str),
) -> Result<Vec<Gpu>, Error> {
    let mut command = Command::new(library.join("llama-server"));
    command.args(["--list-devices", "--offline", "--verbose"]);
    environment(&mut command, library, directory, variables);
    let listed = run(&mut command, WATCHDOG)?;
    listed.stderr.lines().for_each(&mut *log);
    let mut command = Command::new(env::current_exe().unwrap_or_default());
    command.args(["gpu-discover", "--lib-dir"]).arg(library).arg("--lib-dir").arg(directory);
    environment(&mut command, library, directory, variables);
    let discovered = run(&mut command, DISCOVER)?;
    discovered.stderr.lines().for_each(&mut *log);
    let driver: driver::Discovery = serde_json::from_str(&discovered.stdout).unwrap_or_default();
    if let Some(failure) = &driver.failure {
        log(&format!("gpu-discover: {failure}"));
    }
    let devices = listed.stdout.lines().filter_map(parse);
    Ok(devices
        .map(|(name, description, total_mib, free_mib)| Gpu {
            id: name.trim_start_matches("CUDA").to_owned(),
            name,
            description,
            total_mib,
            free_mib,
            directory: directory.to_owned(),
            driver: driver.clone(),
        })
        .collect())
}

/// Gives a child Ollama's environment: all of our own, LD_LIBRARY_PATH with both directories in
/// front of what was there, and the path of the backend.
pub(super) fn environment(
    command: &mut Command,
    library: &Path,
    directory: &Path,
    more: &[(&str, &str)],
) {
    let old = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let mut paths = vec![library.to_owned(), directory.to_owned()];
    for path in env::split_paths(&old).filter(|path| !path.as_os_str().is_empty()) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    if let Ok(joined) = env::join_paths(paths) {
        command.env("LD_LIBRARY_PATH", joined);
    }
    command.env("GGML_BACKEND_PATH", directory.join("libggml-cuda.so"));
    command.envs(more.iter().copied());
}

/// Reads `  CUDA0: NAME (N MiB, M MiB free)`; other lines are not about a GPU.
fn parse(line: &str) -> Option<(String, String, u64, u64)> {
    let (name, rest) = line.strip_prefix("  ")?.split_once(": ")?;
    let (description, memory) = rest.strip_suffix(" MiB free)")?.rsplit_once(" (")?;
    let (total, free) = memory.split_once(" MiB, ")?;
    let numbers = (total.parse().ok()?, free.parse().ok()?);
    name.starts_with("CUDA")
        .then(|| (name.to_owned(), description.to_owned(), numbers.0, numbers.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_device_is_read_with_brackets_in_its_name() {
        let line = "  CUDA0: Acme X1 (Test) (81920 MiB, 81000 MiB free)";
        let expected = ("CUDA0".to_owned(), "Acme X1 (Test)".to_owned(), 81920, 81000);
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("Available devices:"), None);
        assert_eq!(parse("  Vulkan0: Acme X1 (1 MiB, 1 MiB free)"), None);
    }
}
