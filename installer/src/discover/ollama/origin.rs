//! Where an Ollama came from, and what its packager's records say of it.

use std::path::{Path, PathBuf};

use super::version::Version;
use crate::discover::units::command;
use crate::discover::{readable, text};
use crate::error::Result;
use crate::facts::{Source, Unit, VersionFrom};
use crate::host::Host;

const NIX: &str = "/nix/store";
/// Where dpkg keeps what it knows of the package, should there be one.
const DPKG_LIST: &str = "/var/lib/dpkg/info/ollama.list";
const PACMAN: &str = "/var/lib/pacman/local";
/// Longest list of packages that is read; that of a large desktop has 8 MiB.
const STATUS_BYTES_MAX: u64 = 64 << 20;

/// What is known of an Ollama from outside of its program.
#[derive(Default)]
pub(super) struct Origin {
    pub(super) source: Source,
    pub(super) version: Option<Version>,
    pub(super) advice: Option<String>,
}

/// True for a path whose name is that of Ollama's program.
pub(super) fn is_program(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "ollama" || name == ".ollama-wrapped")
}

/// The program behind a wrapper of Nix, else the path itself.
pub(super) fn behind_wrapper(host: &dyn Host, path: &Path) -> Result<PathBuf> {
    if !path.starts_with(NIX) {
        return Ok(path.to_path_buf());
    }
    let words = [path.to_string_lossy().into_owned()];
    let program = command::of(host, &words)?.program.map(PathBuf::from);
    Ok(program.filter(|program| program.is_absolute()).unwrap_or_else(|| path.to_path_buf()))
}

pub(super) fn of(host: &dyn Host, program: &Path, units: &[Unit]) -> Result<Origin> {
    if let Ok(below) = program.strip_prefix(NIX) {
        let store = below.iter().next().and_then(|name| name.to_str()).unwrap_or_default();
        let version = store.rsplit_once("ollama-").map(|(_, version)| version);
        return Ok(Origin {
            source: Source::Nix,
            version: version.and_then(|text| named(text.trim_start_matches(char::is_alphabetic))),
            advice: Some(
                "Nix's store stays as it is: set LD_LIBRARY_PATH and LD_PRELOAD in \
                 services.ollama.environmentVariables, add AF_VSOCK to RestrictAddressFamilies \
                 where the link is vsock:, and choose the package ollama-cuda"
                    .into(),
            ),
        });
    }
    let path = program.to_string_lossy();
    if path.contains("/linuxbrew/") || path.contains("/Cellar/ollama/") {
        let version = path.split("/Cellar/ollama/").nth(1).and_then(|rest| rest.split('/').next());
        return Ok(Origin {
            source: Source::Brew,
            version: version.and_then(named),
            advice: Some(
                "Homebrew builds Ollama without a GPU backend: run `brew uninstall ollama`, \
                 install it with its own script, then run vgpu-install"
                    .into(),
            ),
        });
    }
    if let Some(version) = dpkg(host, program)? {
        return Ok(Origin { source: Source::Package, version, ..Origin::default() });
    }
    if let Some(version) = pacman(host, program)? {
        return Ok(Origin { source: Source::Package, version, ..Origin::default() });
    }
    Ok(Origin { source: script_or_archive(host, program, units)?, ..Origin::default() })
}

fn named(text: &str) -> Option<Version> {
    text.starts_with(|letter: char| letter.is_ascii_digit())
        .then(|| Version { text: text.into(), from: VersionFrom::Name })
}

/// A package's version without its epoch and its packager's revision; one without a revision is
/// the program's own as a whole.
pub(super) fn packaged(text: &str) -> Version {
    let text = text.split_once(':').map_or(text, |(_, rest)| rest);
    let text = text.rsplit_once('-').map_or(text, |(version, _)| version);
    Version { text: text.into(), from: VersionFrom::Package }
}

/// `Some(version)` if dpkg's package `ollama` holds the program.
fn dpkg(host: &dyn Host, program: &Path) -> Result<Option<Option<Version>>> {
    let list = text(host, Path::new(DPKG_LIST))?;
    if !list.lines().any(|line| Path::new(line) == program) {
        return Ok(None);
    }
    let status = readable(host.read(Path::new("/var/lib/dpkg/status"), STATUS_BYTES_MAX))?;
    let status = String::from_utf8_lossy(&status.flatten().unwrap_or_default()).into_owned();
    let own = status.split("\n\n").find(|entry| entry.starts_with("Package: ollama\n"));
    let version = own.and_then(|entry| entry.lines().find_map(|l| l.strip_prefix("Version: ")));
    Ok(Some(version.map(packaged)))
}

/// `Some(version)` if pacman's package `ollama` is there; its programs are all in `/usr/bin`.
fn pacman(host: &dyn Host, program: &Path) -> Result<Option<Option<Version>>> {
    if program != Path::new("/usr/bin/ollama") {
        return Ok(None);
    }
    let names = readable(host.list(Path::new(PACMAN)))?.unwrap_or_default();
    let versions = names.iter().filter_map(|name| name.to_str()?.strip_prefix("ollama-"));
    let own = versions.filter(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()));
    Ok(own.map(|text| Some(packaged(text))).next())
}

/// The script makes an account whose home is `/usr/share/ollama`, and a unit in `/etc`.
fn script_or_archive(host: &dyn Host, program: &Path, units: &[Unit]) -> Result<Source> {
    let places = ["/usr/local/bin/ollama", "/usr/bin/ollama", "/bin/ollama"];
    if !places.iter().any(|place| Path::new(place) == program) {
        return Ok(Source::Tarball);
    }
    let has_unit = units.iter().any(|unit| {
        unit.fragment.as_ref() == Path::new("/etc/systemd/system/ollama.service")
            && unit.executable.as_deref() == Some(program)
    });
    let has_account = text(host, Path::new("/etc/passwd"))?
        .lines()
        .any(|line| line.starts_with("ollama:") && line.contains(":/usr/share/ollama:"));
    Ok(if has_unit && has_account { Source::InstallScript } else { Source::Tarball })
}
