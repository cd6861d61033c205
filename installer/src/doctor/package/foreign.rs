//! NVIDIA's packages and installers, and everything that moves a driver's libraries about.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::{Finding, Scene};
use crate::discover::text;
use crate::error::Result;
use crate::object::Object;

/// Longest `/var/lib/dpkg/status` that is read: 64 MiB, five times that of a large desktop.
const STATUS_BYTES_MAX: u64 = 64 << 20;
const RPM_DEADLINE: Duration = Duration::from_secs(60);
/// Beginnings of the names of a driver's packages.
const PACKAGES: [&str; 8] = [
    "nvidia-",
    "cuda-drivers",
    "libcuda1",
    "libnvidia-",
    "xserver-xorg-video-nvidia",
    "akmod-nvidia",
    "kmod-nvidia",
    "xorg-x11-drv-nvidia",
];
/// What NVIDIA's own installer leaves.
const RUN_INSTALLER: [&str; 3] =
    ["/var/lib/nvidia/log", "/var/log/nvidia-installer.log", "/usr/bin/nvidia-uninstall"];
const SMI: [&str; 4] =
    ["/usr/local/bin/nvidia-smi", "/usr/bin/nvidia-smi", "/bin/nvidia-smi", "/opt/bin/nvidia-smi"];

struct Package {
    name: String,
    version: String,
    /// dpkg's third word, such as `installed` or `half-configured`.
    state: String,
}

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let packages = packages(scene)?;
    let mut findings = half_done(&packages);
    findings.extend(drivers(scene, &packages)?);
    findings.extend(alternatives(scene)?);
    findings.extend(diversions(scene)?);
    let mut lines = Vec::new();
    for path in RUN_INSTALLER {
        if !scene.host.inspect(Path::new(path))?.is_absent() {
            lines.push(path.to_owned());
        }
    }
    if !lines.is_empty() {
        let cause = "NVIDIA's own installer was here; it changes libraries without any package";
        let remedy = "nvidia-uninstall, if this guest has no GPU of its own";
        findings.push(Finding::warn(&["P16"], cause).saw_all(lines).remedy(remedy));
    }
    findings.extend(smi(scene)?);
    Ok(findings)
}

/// The driver's packages, from dpkg's own file or rpm's answer.
fn packages(scene: &Scene<'_>) -> Result<Vec<Package>> {
    let is_ours = |name: &str| PACKAGES.iter().any(|start| name.starts_with(start));
    if let Some(bytes) = scene.host.read(Path::new("/var/lib/dpkg/status"), STATUS_BYTES_MAX)? {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let packages = text.split("\n\n").filter_map(|entry| {
            let field = |key: &str| {
                entry.lines().find_map(|line| line.strip_prefix(key)).map(|v| v.trim().to_owned())
            };
            let name = field("Package:").filter(|name| is_ours(name))?;
            let state = field("Status:")?.split(' ').nth(2)?.to_owned();
            let version = field("Version:").unwrap_or_default();
            // Of a package that was removed, at most its configuration is left.
            let is_gone = matches!(state.as_str(), "not-installed" | "config-files");
            (!is_gone).then_some(Package { name, version, state })
        });
        return Ok(packages.collect());
    }
    let form = ["-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\\n"];
    let Some(text) = scene.tool("/usr/bin/rpm", &form, RPM_DEADLINE)? else {
        return Ok(Vec::new());
    };
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let packages = pairs.filter(|(name, _)| is_ours(name)).map(|(name, version)| Package {
        name: name.into(),
        version: version.into(),
        state: "installed".into(),
    });
    Ok(packages.collect())
}

fn half_done(packages: &[Package]) -> Vec<Finding> {
    let half = packages.iter().filter(|package| package.state != "installed");
    let lines: Vec<String> = half
        .map(|package| format!("{} {}: {}", package.name, package.version, package.state))
        .collect();
    if lines.is_empty() {
        return Vec::new();
    }
    let cause = "a driver's package is not wholly installed, and blocks the package manager";
    let remedy = "dpkg --configure -a; or apt-get purge it, if this guest has no GPU of its own";
    vec![Finding::fail(&["F44"], cause).saw_all(lines).remedy(remedy)]
}

fn drivers(scene: &Scene<'_>, packages: &[Package]) -> Result<Vec<Finding>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let lines: Vec<String> =
        packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
    let has_gpu = scene.host.canonical(Path::new("/sys/bus/pci/drivers/nvidia"))?.is_some();
    let mut findings = vec![if has_gpu {
        let cause = "NVIDIA's driver is installed and at work: our libraries would hide its GPU";
        let remedy = "vgpu-install --rollback, if Ollama is to use that GPU";
        Finding::warn(&["P39"], cause).saw_all(lines).remedy(remedy)
    } else {
        let cause = "NVIDIA's driver is installed in a guest without a GPU of its own";
        let remedy = "apt-get purge, or dnf remove, these packages; they are of no use here";
        Finding::warn(&["U25"], cause).saw_all(lines).remedy(remedy)
    }];
    if let Some(in_force) = scene.in_force()? {
        let changed = changed_since(scene, packages, in_force.since)?;
        if !changed.is_empty() {
            let cause = "a driver's package changed since we applied";
            let remedy = "vgpu-install verify";
            findings.push(Finding::warn(&["P14"], cause).saw_all(changed).remedy(remedy));
        }
    }
    Ok(findings)
}

/// dpkg writes a package's list of files whenever it unpacks it.
fn changed_since(scene: &Scene<'_>, packages: &[Package], time: u64) -> Result<Vec<String>> {
    let info = Path::new("/var/lib/dpkg/info");
    let mut lines = Vec::new();
    for file in scene.host.list(info)? {
        let Some(name) = file.to_str().and_then(|name| name.strip_suffix(".list")) else {
            continue;
        };
        let name = name.split(':').next().unwrap_or_default();
        if !packages.iter().any(|package| package.name == name) {
            continue;
        }
        let object = scene.host.inspect(&info.join(&file))?;
        let changed = object.meta().map_or(0, |meta| meta.mtime.seconds);
        if u64::try_from(changed).is_ok_and(|changed| changed > time) {
            lines.push(format!("{name}: unpacked at {changed}, applied at {time}"));
        }
    }
    Ok(lines)
}

/// Debian's drivers are chosen by alternatives: links that change without a package.
fn alternatives(scene: &Scene<'_>) -> Result<Option<Finding>> {
    let dir = Path::new("/etc/alternatives");
    let mut lines = Vec::new();
    for name in scene.host.list(dir)? {
        let text = name.to_string_lossy();
        let is_drivers =
            text == "nvidia" || text.contains("libcuda.so") || text.contains("libnvidia-ml.so");
        if let (true, Object::Link { target, .. }) =
            (is_drivers, scene.host.inspect(&dir.join(&name))?)
        {
            lines.push(format!("{}: {target}", dir.join(&name).display()));
        }
    }
    if lines.is_empty() {
        return Ok(None);
    }
    let cause = "update-alternatives decides which driver's libraries the system has";
    let remedy =
        "update-alternatives --display nvidia shows the choice; ours does not depend on it";
    Ok(Some(Finding::warn(&["P15"], cause).saw_all(lines).remedy(remedy)))
}

/// dpkg's diversions: three lines each, from, to, and whose.
fn diversions(scene: &Scene<'_>) -> Result<Option<Finding>> {
    let text = text(scene.host, Path::new("/var/lib/dpkg/diversions"))?;
    let all: Vec<&str> = text.lines().collect();
    let lines: Vec<String> = all
        .chunks_exact(3)
        .filter(|entry| {
            ["libcuda.so", "libnvidia-ml.so"].iter().any(|name| entry[0].contains(name))
        })
        .map(|entry| format!("{} is diverted to {} by {}", entry[0], entry[1], entry[2]))
        .collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let cause = "a driver's library is diverted: two packages that do so stop each other";
    let remedy = "dpkg-divert --list shows them; remove the package that is not used";
    Ok(Some(Finding::warn(&["P47"], cause).saw_all(lines).remedy(remedy)))
}

/// NVIDIA's own nvidia-smi asks for private tables, which ours does not have.
fn smi(scene: &Scene<'_>) -> Result<Option<Finding>> {
    let mut known: Vec<PathBuf> = Vec::new();
    for path in SMI {
        let Some(file) = scene.host.canonical(Path::new(path))? else { continue };
        let is_ours = file.file_name().is_some_and(|name| name == "vgpu-smi");
        if !is_ours && !known.contains(&file) {
            known.push(file);
        }
    }
    if known.is_empty() {
        return Ok(None);
    }
    let mut lines = Vec::new();
    for file in known {
        lines.push(format!("{}: package {}", file.display(), scene.owner(&file)?));
    }
    let cause = "NVIDIA's own nvidia-smi is in the path; with our libraries it says that versions \
                 do not match";
    Ok(Some(Finding::warn(&["P55"], cause).saw_all(lines).remedy("use vgpu-smi")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::tests::{examine, examine_host, verdicts};
    use super::super::tests::applied;
    use crate::host::Outcome;
    use crate::host::memory::Memory;
    use crate::plan::Scope;

    const CHECK: &str = "package.foreign";

    fn found(machine: &str) -> Vec<String> {
        verdicts(&examine(CHECK, machine))
    }

    fn status(name: &str, state: &str) -> String {
        format!(
            "file /var/lib/dpkg/status Package: bash\\nStatus: install ok installed\\n\\n\
             Package: {name}\\nStatus: install ok {state}\\nVersion: 999.1\\n"
        )
    }

    #[test]
    fn a_system_without_anything_of_nvidias_is_fine() {
        assert_eq!(found("dir /var/lib"), ["ok"]);
        assert_eq!(found(&status("libcudd", "installed")), ["ok"]);
        assert_eq!(found(&status("libcuda1", "config-files")), ["ok"]);
    }

    #[test]
    fn drivers_are_told_by_whether_the_guest_has_a_gpu() {
        let driver = status("libcuda1", "installed");
        assert_eq!(found(&driver), ["warn U25"]);
        assert_eq!(found(&format!("{driver}\ndir /sys/bus/pci/drivers/nvidia")), ["warn P39"]);
        assert_eq!(found(&status("nvidia-dkms", "half-configured")), ["fail F44", "warn U25"]);
    }

    #[test]
    fn rpm_is_asked_where_there_is_no_dpkg() {
        let stdout = b"bash 5-1\nakmod-nvidia 999-1\n".to_vec();
        let outcome = Outcome { status: Some(0), stdout, ..Outcome::default() };
        let machine = Memory::described("file /usr/bin/rpm elf").running();
        let machine = machine.answering("rpm -qa", outcome);
        assert_eq!(verdicts(&examine_host(CHECK, &machine)), ["warn U25"]);
    }

    #[test]
    fn everything_that_moves_libraries_about_is_named() {
        let machine = "link /etc/alternatives/nvidia -> /usr/lib/nvidia/current
            file /var/lib/dpkg/diversions /usr/lib/libcuda.so.1\\n/usr/lib/x/libcuda.so.1\\npkg\\n
            file /var/lib/nvidia/log text
            file /usr/bin/nvidia-smi elf
            link /bin -> usr/bin";
        assert_eq!(found(machine), ["warn P15", "warn P47", "warn P16", "warn P55"]);
        let ours = "link /usr/local/bin/nvidia-smi -> ../../bin/vgpu-smi\nfile /usr/bin/vgpu-smi e";
        assert_eq!(found(ours), ["ok"]);
    }

    #[test]
    fn a_driver_that_was_unpacked_after_us_is_found() {
        let machine = applied(Scope::Service);
        let entry = "Package: libcuda1\nStatus: install ok installed\nVersion: 999.1\n";
        machine.place_file(Path::new("/var/lib/dpkg/status"), entry.as_bytes());
        assert_eq!(verdicts(&examine_host(CHECK, &machine)), ["warn U25"]);
        let list = Path::new("/var/lib/dpkg/info/libcuda1:amd64.list");
        machine.place_file(list, b"/usr\n");
        assert_eq!(verdicts(&examine_host(CHECK, &machine)), ["warn U25", "warn P14"]);
    }
}
