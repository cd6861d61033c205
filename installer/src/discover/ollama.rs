//! Finds every Ollama that has a program on this system, its libraries and its CUDA backends.

mod origin;
mod version;

use std::path::{Path, PathBuf};

use vgpu_loader::Binary;

use super::units::Account;
use super::{lossy, readable, text};
use crate::error::Result;
use crate::facts::{Bundle, Entry, Init, Layout, Ollama, Owner, Platform, SHIMS, Source, Unit};
use crate::host::Host;
use origin::Origin;
use version::Version;

/// Where programs lie that nobody's unit names, besides those below [`DIRS`].
const PROGRAMS: [&str; 6] = [
    "/usr/local/bin/ollama",
    "/usr/bin/ollama",
    "/bin/ollama",
    "/opt/ollama/bin/ollama",
    "/opt/bin/ollama",
    "/run/current-system/sw/bin/ollama",
];
/// Where people put programs below their home directory.
const IN_HOME: [&str; 5] =
    [".local/bin/ollama", "bin/ollama", "ollama/bin/ollama", ".nix-profile/bin/ollama", "ollama"];
/// Where the program's libraries lie, seen from its directory, in its own order.
const LIBRARY_DIRS: [&str; 3] = ["../lib/ollama", "lib/ollama", "build/lib/ollama"];
/// The CUDA backend of all versions since 0.5.8.
pub const BACKEND: &str = "libggml-cuda.so";
/// The prefixes that the install script and packages use.
const PREFIXES: [&str; 3] = ["/usr/local", "/usr", "/"];
/// Most programs that are looked at.
const FOUND_MAX: usize = 64;
/// Most entries of a directory of libraries that are looked at; releases have about thirty.
const ENTRIES_MAX: usize = 1024;

/// Finds every Ollama, those that units start first.
pub(super) fn all(
    host: &dyn Host,
    units: &[Unit],
    accounts: &[Account],
    platform: &Platform,
    shims: &Path,
) -> Result<Vec<Ollama>> {
    let mut found: Vec<Ollama> = Vec::new();
    let script = init_script(host)?;
    for candidate in script.clone().into_iter().chain(candidates(units, accounts)) {
        let Some(executable) = readable(host.canonical(&candidate))?.flatten() else { continue };
        let is_known = found.iter().any(|known| known.executable.as_ref() == executable);
        if !is_known && found.len() < FOUND_MAX {
            found.extend(one(host, &executable, units, platform)?);
        }
    }
    if let (Init::Openrc, Some(script)) = (platform.init, script)
        && let Some(program) = readable(host.canonical(&script))?.flatten()
        && let Some(own) = found.iter_mut().find(|one| one.executable.as_ref() == program)
    {
        own.advice.get_or_insert_with(|| for_openrc(shims));
    }
    Ok(found)
}

/// The program that OpenRC's or System V's script starts.
fn init_script(host: &dyn Host) -> Result<Option<PathBuf>> {
    let script = text(host, Path::new("/etc/init.d/ollama"))?;
    let command = script.lines().find_map(|line| line.trim().strip_prefix("command="));
    let command = command.map(|text| PathBuf::from(text.trim_matches(['"', '\''])));
    Ok(command.filter(|path| path.is_absolute() && origin::is_program(path)))
}

fn for_openrc(shims: &Path) -> String {
    let runtimes = SHIMS.iter().filter(|name| name.contains("cudart") || name.contains("cublas"));
    let preload: Vec<_> = runtimes.map(|name| shims.join(name).display().to_string()).collect();
    format!(
        "vgpu-install --scope bundle serves it; or add to /etc/conf.d/ollama the line `export \
         LD_LIBRARY_PATH={} LD_PRELOAD={}` and run `rc-service ollama restart`",
        shims.display(),
        preload.join(":")
    )
}

/// The directories of libraries that stand where Ollama's do, and that no program here takes:
/// what another install left behind.
pub(super) fn left_behind(host: &dyn Host, ollamas: &[Ollama]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for prefix in PREFIXES {
        let dir = Path::new(prefix).join("lib/ollama");
        let Some(dir) = readable(host.canonical(&dir))?.flatten() else { continue };
        let is_used = ollamas.iter().any(|ollama| ollama.library_dir.as_ref() == dir);
        if !is_used && !found.contains(&dir) {
            found.push(dir);
        }
    }
    Ok(found)
}

fn candidates(units: &[Unit], accounts: &[Account]) -> Vec<PathBuf> {
    let programs = units.iter().filter_map(|unit| unit.executable.as_ref());
    let mut all: Vec<PathBuf> = programs
        .filter(|path| path.is_absolute() && origin::is_program(path))
        .map(|path| path.to_path_buf())
        .collect();
    for variable in units.iter().flat_map(|unit| &unit.environment) {
        if variable.name == "PATH" {
            let dirs = variable.value.split(':').filter(|dir| dir.starts_with('/'));
            all.extend(dirs.map(|dir| Path::new(dir).join("ollama")));
        }
    }
    all.extend(PROGRAMS.iter().map(PathBuf::from));
    // Homebrew's place on Linux is the home of an account that it makes.
    all.push(Path::new("/home").join("linuxbrew/.linuxbrew/bin/ollama"));
    for account in accounts {
        all.extend(IN_HOME.iter().map(|below| account.home.join(below)));
    }
    all
}

fn one(
    host: &dyn Host,
    program: &Path,
    units: &[Unit],
    platform: &Platform,
) -> Result<Option<Ollama>> {
    let program = origin::behind_wrapper(host, program)?;
    let (Some(dir), Some(opened)) = (program.parent(), host.open(&program)?) else {
        return Ok(None);
    };
    let Origin { source, version, advice } = origin::of(host, &program, units)?;
    // Without any of its directories, it looks beside itself.
    let library_dir = library_dir(host, dir, platform)?.unwrap_or_else(|| dir.to_path_buf());
    let version = match version {
        Some(version) => Some(version),
        None => version::of(opened.source.as_ref()),
    };
    let Libraries { layout, bundles, mlx_dirs } = libraries(host, &library_dir)?;
    let prefix = dir.parent().unwrap_or(dir);
    let (version, version_from) = match version {
        Some(Version { text, from }) => (Some(text), Some(from)),
        None => (None, None),
    };
    Ok(Some(Ollama {
        prefix: prefix.into(),
        version,
        version_from,
        source,
        owner: None,
        advice: advice.or_else(|| missing_backend(host, source, layout)),
        llama_server: host.open(&library_dir.join("llama-server"))?.is_some(),
        library_dir: library_dir.into(),
        layout,
        mlx_dirs: mlx_dirs.into_iter().map(Into::into).collect(),
        bundles,
        executable: program.into(),
    }))
}

/// Notes the package that an Ollama's program belongs to, and what follows from it.
pub(super) fn belongs_to(host: &dyn Host, ollama: &mut Ollama, owner: Owner) {
    // A package that holds it among other things has a version of its own.
    if let Some(version) = owner.version.as_ref().filter(|_| owner.package.contains("ollama")) {
        let Version { text, from } = origin::packaged(version);
        (ollama.version, ollama.version_from) = (Some(text), Some(from));
    }
    ollama.source = Source::Package;
    let advice = missing_backend(host, ollama.source, ollama.layout);
    ollama.advice = ollama.advice.take().or(advice);
    ollama.owner = Some(owner);
}

/// The package to install where a distribution has split the backend off.
fn missing_backend(host: &dyn Host, source: Source, layout: Layout) -> Option<String> {
    let is_arch = host.open(Path::new("/etc/arch-release")).is_ok_and(|file| file.is_some());
    (source == Source::Package && layout == Layout::None).then(|| {
        if is_arch {
            "this package has no CUDA backend: run `pacman -S ollama-cuda`, then vgpu-install"
                .into()
        } else {
            "this package has no CUDA backend: install the one of your distribution that has it, \
             or Ollama by its own script, then run vgpu-install"
                .into()
        }
    })
}

/// The directory that this very program takes: the first that exists, links resolved before.
fn library_dir(host: &dyn Host, dir: &Path, platform: &Platform) -> Result<Option<PathBuf>> {
    let arch = if platform.arch == "aarch64" { "arm64" } else { "amd64" };
    let built = format!("dist/linux-{arch}/lib/ollama");
    for below in LIBRARY_DIRS.into_iter().chain([built.as_str()]) {
        if let Some(found) = readable(host.canonical(&dir.join(below)))?.flatten() {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

struct Libraries {
    layout: Layout,
    bundles: Vec<Bundle>,
    mlx_dirs: Vec<PathBuf>,
}

fn libraries(host: &dyn Host, dir: &Path) -> Result<Libraries> {
    let mut found = Libraries { layout: Layout::None, bundles: Vec::new(), mlx_dirs: Vec::new() };
    if let Some(bundle) = bundle(host, dir, &dir.join(BACKEND))? {
        found.bundles.push(bundle);
        found.layout = Layout::Flat;
    }
    for name in readable(host.list(dir))?.unwrap_or_default().into_iter().take(ENTRIES_MAX) {
        let below = dir.join(&name);
        // A link to a sibling directory would be the same bundle twice.
        if !host.is_dir(&below)? {
            continue;
        }
        if name.to_string_lossy().starts_with("mlx_") {
            found.mlx_dirs.push(below);
        } else if let Some(bundle) = bundle(host, &below, &below.join(BACKEND))? {
            found.bundles.push(bundle);
            found.layout = Layout::Directories;
        }
    }
    if found.bundles.is_empty() {
        found.bundles = runners(host, dir)?;
        if !found.bundles.is_empty() {
            found.layout = Layout::Runners;
        }
    }
    Ok(found)
}

/// The backends of 0.5.1 to 0.5.7: `runners/cuda_v12_avx/libggml_cuda_v12.so`. Their libraries lie
/// in `lib/ollama`, which comes first in the runners' search path.
fn runners(host: &dyn Host, library_dir: &Path) -> Result<Vec<Bundle>> {
    let mut found: Vec<Bundle> = Vec::new();
    let dir = library_dir.join("runners");
    for name in readable(host.list(&dir))?.unwrap_or_default().into_iter().take(ENTRIES_MAX) {
        let Some(line) = name.to_str().and_then(|name| name.strip_prefix("cuda_v")) else {
            continue;
        };
        let line = line.split('_').next().unwrap_or_default();
        let backend = dir.join(&name).join(format!("libggml_cuda_v{line}.so"));
        if let Some(bundle) = bundle(host, library_dir, &backend)?
            && !found.iter().any(|known| known.cuda_major == bundle.cuda_major)
        {
            found.push(bundle);
        }
    }
    Ok(found)
}

fn bundle(host: &dyn Host, dir: &Path, backend: &Path) -> Result<Option<Bundle>> {
    let Some(opened) = host.open(backend)? else { return Ok(None) };
    let binary = Binary::read(opened.source.as_ref()).unwrap_or_default();
    let needed: Vec<String> = binary.needed.iter().map(|name| lossy(name)).collect();
    let cuda_major = cuda_major(host, dir, backend, &needed)?;
    let mut entries = Vec::new();
    // Of all lines: a link of ours may be left from when this was another line's directory.
    for name in SHIMS {
        let object = host.inspect(&dir.join(name))?;
        entries.push(Entry { name: name.into(), object });
    }
    Ok(Some(Bundle { dir: dir.into(), backend: backend.into(), cuda_major, needed, entries }))
}

/// The CUDA line: what the backend asks for; else its directory's name; else what lies there.
fn cuda_major(
    host: &dyn Host,
    dir: &Path,
    backend: &Path,
    needed: &[String],
) -> Result<Option<u32>> {
    let of_name = |name: &str| name.strip_prefix("libcudart.so.")?.split('.').next()?.parse().ok();
    if let Some(major) = needed.iter().find_map(|name| of_name(name)) {
        return Ok(Some(major));
    }
    let own = backend.parent().and_then(Path::file_name);
    let of_dir = own.and_then(|name| name.to_str()?.strip_prefix("cuda_v"));
    let of_dir = of_dir.and_then(|text| text.split('_').next()?.parse().ok());
    if of_dir.is_some() {
        return Ok(of_dir);
    }
    let names = host.list(dir)?;
    Ok(names.iter().filter_map(|name| of_name(name.to_str()?)).next())
}
