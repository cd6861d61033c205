//! The records of Docker and Podman: containers, images, and units of Podman's own kind.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{confined, json};
use crate::discover::units::Account;
use crate::discover::{readable, text};
use crate::error::Result;
use crate::facts::{Confined, Guest, SHIMS, Source};
use crate::host::Host;
use crate::unit_file::assignments;

/// Most confined Ollamas that are told of.
pub(super) const FOUND_MAX: usize = 64;
/// Most containers whose records are read; a large server has hundreds.
const CONTAINERS_MAX: usize = 1024;
/// The directory that the image's own `LD_LIBRARY_PATH` names.
const INSIDE: &str = "/usr/local/nvidia/lib64";
/// The home directory in the image, below which Ollama keeps its models.
const HOME: &str = "/root";
const DOCKER: [&str; 2] = ["/var/lib/docker", "/var/snap/docker/common/var-lib-docker"];
const QUADLETS: [&str; 3] =
    ["/etc/containers/systemd", "/run/containers/systemd", "/usr/share/containers/systemd"];

pub(super) fn all(
    host: &dyn Host,
    accounts: &[Account],
    shims: &Path,
    guest: &Guest,
) -> Result<Vec<Confined>> {
    let mut found = Vec::new();
    let mut roots: Vec<PathBuf> = DOCKER.iter().map(PathBuf::from).collect();
    if let Some(daemon) = json(host, Path::new("/etc/docker/daemon.json"))?
        && let Some(root) = daemon["data-root"].as_str().filter(|root| root.starts_with('/'))
    {
        roots.insert(0, root.into());
    }
    roots.extend(accounts.iter().map(|account| account.home.join(".local/share/docker")));
    for root in roots {
        docker(host, &root, &mut found)?;
    }
    let mut roots = vec![PathBuf::from("/var/lib/containers/storage")];
    let below = ".local/share/containers/storage";
    roots.extend(accounts.iter().map(|account| account.home.join(below)));
    for root in roots {
        podman(host, &root, &mut found)?;
    }
    let mut dirs: Vec<PathBuf> = QUADLETS.iter().map(PathBuf::from).collect();
    dirs.extend(accounts.iter().map(|account| account.home.join(".config/containers/systemd")));
    for dir in dirs {
        quadlets(host, &dir, &mut found)?;
    }
    for one in &mut found {
        one.version = one.image.as_deref().and_then(tag).map(str::to_owned);
        one.advice = advice(one, shims, guest);
    }
    Ok(found)
}

/// True for `ollama/ollama`, from whatever registry and with whatever tag.
fn is_ollama(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    let last = last.split(':').next().unwrap_or_default();
    last == "ollama"
}

/// The version that a tag names: `ollama/ollama:0.5.7` does, `latest` and `rocm` do not.
fn tag(image: &str) -> Option<&str> {
    let (_, tag) = image.split('@').next()?.rsplit_once(':')?;
    tag.starts_with(|letter: char| letter.is_ascii_digit() && !tag.contains('/')).then_some(tag)
}

fn docker(host: &dyn Host, root: &Path, found: &mut Vec<Confined>) -> Result<()> {
    let before = found.len();
    let dir = root.join("containers");
    for id in readable(host.list(&dir))?.unwrap_or_default().into_iter().take(CONTAINERS_MAX) {
        let path = dir.join(id);
        let Some(config) = json(host, &path.join("config.v2.json"))? else { continue };
        let Some(image) = config["Config"]["Image"].as_str().filter(|image| is_ollama(image))
        else {
            continue;
        };
        let own = json(host, &path.join("hostconfig.json"))?.unwrap_or_default();
        let has_requests = own["DeviceRequests"].as_array().is_some_and(|list| !list.is_empty());
        found.push(Confined {
            source: Source::Docker,
            name: config["Name"].as_str().unwrap_or_default().trim_start_matches('/').into(),
            image: Some(image.into()),
            running: config["State"]["Running"].as_bool(),
            wants_nvidia: has_requests || own["Runtime"].as_str() == Some("nvidia"),
            ..confined(path)
        });
    }
    if found.len() > before {
        return Ok(());
    }
    let dir = root.join("image");
    for driver in readable(host.list(&dir))?.unwrap_or_default() {
        let path = dir.join(driver).join("repositories.json");
        let repositories = json(host, &path)?.unwrap_or_default();
        let images = repositories["Repositories"].as_object().into_iter().flatten();
        let names = images.filter(|(name, _)| is_ollama(name)).map(|(name, tags)| {
            let tags = tags.as_object().into_iter().flatten().map(|(tag, _)| tag);
            tags.into_iter().find(|tag| !tag.contains('@')).unwrap_or(name).clone()
        });
        found.extend(names.map(|name| image(Source::Docker, name, &path)));
    }
    Ok(())
}

/// An image that no container runs.
fn image(source: Source, name: String, path: &Path) -> Confined {
    Confined { source, image: Some(name.clone()), name, ..confined(path.to_path_buf()) }
}

fn podman(host: &dyn Host, root: &Path, found: &mut Vec<Confined>) -> Result<()> {
    let before = found.len();
    let names = readable(host.list(root))?.unwrap_or_default();
    let named = |end: &str| {
        let dirs = names.iter().filter(|name| name.to_string_lossy().ends_with(end));
        dirs.map(|name| root.join(name)).collect::<Vec<_>>()
    };
    for dir in named("-containers") {
        let path = dir.join("containers.json");
        let list = json(host, &path)?.unwrap_or_default();
        for one in list.as_array().into_iter().flatten().take(CONTAINERS_MAX) {
            let inner = one["metadata"].as_str().and_then(|text| serde_json::from_str(text).ok());
            let inner: Value = inner.unwrap_or_default();
            let Some(name) = inner["image-name"].as_str().filter(|name| is_ollama(name)) else {
                continue;
            };
            let own = one["names"][0].as_str().or(inner["name"].as_str()).unwrap_or_default();
            found.push(Confined {
                source: Source::Podman,
                name: own.into(),
                image: Some(name.into()),
                ..confined(path.clone())
            });
        }
    }
    if found.len() > before {
        return Ok(());
    }
    for dir in named("-images") {
        let path = dir.join("images.json");
        let list = json(host, &path)?.unwrap_or_default();
        let names = list.as_array().into_iter().flatten().filter_map(|one| {
            let mut names = one["names"].as_array()?.iter().filter_map(Value::as_str);
            names.find(|name| is_ollama(name)).map(str::to_owned)
        });
        found.extend(names.map(|name| image(Source::Podman, name, &path)));
    }
    Ok(())
}

/// Podman's unit files, from which systemd's are made at each start.
fn quadlets(host: &dyn Host, dir: &Path, found: &mut Vec<Confined>) -> Result<()> {
    for name in readable(host.list(dir))?.unwrap_or_default().into_iter().take(CONTAINERS_MAX) {
        let path = dir.join(&name);
        if path.extension().is_none_or(|end| end != "container") {
            continue;
        }
        let lines = assignments(&text(host, &path)?);
        let of = |key: &str| {
            let lines = lines.iter().filter(|line| line.section == "Container");
            lines.filter(|line| line.key == key).map(|line| line.value.clone()).collect::<Vec<_>>()
        };
        let Some(image) = of("Image").pop().filter(|image| is_ollama(image)) else { continue };
        let devices = [of("AddDevice"), of("PodmanArgs")].concat();
        let asks = |word: &String| word.contains("nvidia.com/gpu") || word.contains("--gpus");
        found.push(Confined {
            source: Source::Podman,
            name: name.to_string_lossy().into_owned(),
            image: Some(image),
            wants_nvidia: devices.iter().any(asks),
            ..confined(path)
        });
    }
    Ok(())
}

/// The command that starts the container with our libraries: mounted where the image looks for
/// libcuda, and preloaded where it has copies of its own.
fn advice(one: &Confined, shims: &Path, guest: &Guest) -> String {
    let preload: Vec<String> = SHIMS
        .iter()
        .filter(|name| name.contains("cudart") || name.contains("cublas"))
        .map(|name| format!("{INSIDE}/{name}"))
        .collect();
    let image = one.image.as_deref().unwrap_or("ollama/ollama");
    let engine = if one.source == Source::Docker { "docker" } else { "podman" };
    let way = match guest.link.as_deref() {
        // What our libraries look for themselves. The directory, so that a socket that the host's
        // service makes anew is seen as well.
        None => " -v /run/vgpu:/run/vgpu".into(),
        Some(link) => {
            let socket = link
                .strip_prefix("unix:")
                .map_or(String::new(), |path| format!(" -v {path}:{path}"));
            format!("{socket} -e VGPU_LINK={link}")
        }
    };
    // Docker refuses AF_VSOCK to containers since version 23.
    let vsock = guest.link.as_deref().is_some_and(|link| link.starts_with("vsock:"));
    let seccomp = if vsock { " --security-opt seccomp=unconfined" } else { "" };
    let hook =
        if one.wants_nvidia { "without --gpus, whose hook fails where no driver is: " } else { "" };
    format!(
        "make the container anew, {hook}{engine} run -d --name ollama -v ollama:{HOME}/.ollama \
         -p 11434:11434 -v {}:{INSIDE}:ro{way}{seccomp} -e LD_PRELOAD={} {image}",
        shims.display(),
        preload.join(":"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_apart_by_name_and_tag() {
        let cases = [
            ("ollama/ollama", true, None),
            ("ollama/ollama:0.5.7", true, Some("0.5.7")),
            ("docker.io/ollama/ollama:latest", true, None),
            ("registry:5000/ollama/ollama@sha256:00", true, None),
            ("localhost/ollama:1.0", true, Some("1.0")),
            ("ollama", true, None),
            ("open-webui/open-webui:ollama", false, None),
            ("x/ollama-webui", false, None),
        ];
        for (image, expected, version) in cases {
            assert_eq!(is_ollama(image), expected, "{image}");
            assert_eq!(tag(image).filter(|_| expected), version, "{image}");
        }
    }
}
