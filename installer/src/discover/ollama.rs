//! Finds every Ollama that its install script laid out, and its CUDA backends.

use std::path::{Path, PathBuf};

use vgpu_loader::Binary;

use super::lossy;
use crate::error::Result;
use crate::facts::{Bundle, Entry, Layout, Ollama, SHIMS, Unit};
use crate::host::Host;
use crate::object::Object;

/// Where the install script puts Ollama: the first of these whose `bin` is in its PATH.
const PREFIXES: [&str; 3] = ["/usr/local", "/usr", "/"];
/// The CUDA backend, whatever the version.
pub const BACKEND: &str = "libggml-cuda.so";

/// Finds every Ollama, those that units start first.
pub fn all(host: &dyn Host, units: &[Unit]) -> Result<Vec<Ollama>> {
    let named = units.iter().filter_map(|unit| unit.executable.as_ref());
    let mut candidates: Vec<PathBuf> = named.map(|path| path.to_path_buf()).collect();
    candidates.extend(PREFIXES.iter().map(|prefix| Path::new(prefix).join("bin/ollama")));
    let mut found: Vec<Ollama> = Vec::new();
    for candidate in candidates {
        let Some(executable) = host.canonical(&candidate)? else { continue };
        if found.iter().any(|known| known.executable.as_ref() == executable) {
            continue;
        }
        found.extend(one(host, &executable)?);
    }
    Ok(found)
}

/// Ollama takes `../lib/ollama` beside its own program, links resolved.
fn one(host: &dyn Host, executable: &Path) -> Result<Option<Ollama>> {
    let Some(prefix) = executable.parent().and_then(Path::parent) else { return Ok(None) };
    let wanted = prefix.join("lib/ollama");
    let Some(library_dir) = host.canonical(&wanted)? else { return Ok(None) };
    let mut bundles = Vec::new();
    let mut layout = Layout::None;
    if let Some(bundle) = bundle(host, &library_dir)? {
        bundles.push(bundle);
        layout = Layout::Flat;
    }
    for name in host.list(&library_dir)? {
        let dir = library_dir.join(&name);
        // A link to a sibling directory would be the same bundle twice.
        if matches!(host.inspect(&dir)?, Object::Dir { .. })
            && let Some(bundle) = bundle(host, &dir)?
        {
            bundles.push(bundle);
            layout = Layout::Directories;
        }
    }
    Ok(Some(Ollama {
        prefix: prefix.into(),
        executable: executable.into(),
        library_dir: library_dir.into(),
        layout,
        bundles,
    }))
}

fn bundle(host: &dyn Host, dir: &Path) -> Result<Option<Bundle>> {
    let Some(opened) = host.open(&dir.join(BACKEND))? else { return Ok(None) };
    let binary = Binary::read(opened.source.as_ref()).unwrap_or_default();
    let needed: Vec<String> = binary.needed.iter().map(|name| lossy(name)).collect();
    let cuda_major = cuda_major(host, dir, &needed)?;
    let mut entries = Vec::new();
    // Of all lines: a link of ours may be left from when this was another line's directory.
    for name in SHIMS {
        let object = host.inspect(&dir.join(name))?;
        entries.push(Entry { name: name.into(), object });
    }
    Ok(Some(Bundle { dir: dir.into(), cuda_major, needed, entries }))
}

/// The CUDA line: what the backend asks for; else the directory's name; else what lies there.
fn cuda_major(host: &dyn Host, dir: &Path, needed: &[String]) -> Result<Option<u32>> {
    let of_name = |name: &str| name.strip_prefix("libcudart.so.")?.split('.').next()?.parse().ok();
    if let Some(major) = needed.iter().find_map(|name| of_name(name)) {
        return Ok(Some(major));
    }
    let of_dir = dir.file_name().and_then(|name| name.to_str()?.strip_prefix("cuda_v"));
    if let Some(major) = of_dir.and_then(|text| text.parse().ok()) {
        return Ok(Some(major));
    }
    let names = host.list(dir)?;
    Ok(names.iter().filter_map(|name| of_name(name.to_str()?)).next())
}
