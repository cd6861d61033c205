//! Finds what there is of the way to the host, and who would win in ld.so's cache.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vgpu_loader::Cache;

use super::text;
use crate::account;
use crate::error::Result;
use crate::facts::{GROUP, Guest, LdCache, PciDevice, Rival, SHIMS};
use crate::host::Host;
use crate::ld_conf::{self, Named};
use crate::plan::AUTOMATIC;

/// The guest's configuration, which our libraries read as well.
const FILE: &str = "/etc/vgpu/guest.toml";
const DEVICES: &str = "/sys/bus/pci/devices";
/// The makers of devices that are worth a look: NVIDIA, and Red Hat for QEMU's.
const VENDORS: [&str; 2] = ["10de", "1af4"];

/// What the file may say; its other readers refuse unknown keys as well.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration {
    link: Option<String>,
    /// Certificates, which are for our libraries.
    #[expect(dead_code, reason = "known, and not used here")]
    tls: Option<toml::Table>,
}

pub(super) fn guest(host: &dyn Host) -> Result<Guest> {
    let mut guest = Guest {
        group: account::gid(host, GROUP)?.is_some(),
        nvidia_node: !host.inspect(Path::new("/dev/nvidiactl"))?.is_absent(),
        devices: devices(host)?,
        ..Guest::default()
    };
    match toml::from_str::<Configuration>(&text(host, Path::new(FILE))?) {
        Ok(said) => guest.link = said.link.filter(|link| !link.is_empty() && link != AUTOMATIC),
        Err(error) => guest.problem = Some(error.message().to_owned()),
    }
    Ok(guest)
}

fn devices(host: &dyn Host) -> Result<Vec<PciDevice>> {
    let mut found = Vec::new();
    for name in host.list(Path::new(DEVICES))? {
        let dir = Path::new(DEVICES).join(&name);
        let Some(vendor) = number(host, &dir.join("vendor"))? else { continue };
        if !VENDORS.contains(&vendor.as_str()) {
            continue;
        }
        let read = |name: &str| Ok(number(host, &dir.join(name))?.unwrap_or_default());
        let driver = host.canonical(&dir.join("driver"))?;
        let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into()));
        let subsystem = format!("{}:{}", read("subsystem_vendor")?, read("subsystem_device")?);
        let device = read("device")?;
        // Of Red Hat's numbers only shared memory is ours to know; disks and networks have them.
        if vendor == "10de" || device == "1110" {
            found.push(PciDevice {
                address: name.to_string_lossy().into_owned(),
                path: host.canonical(&dir)?.unwrap_or(dir).into(),
                vendor,
                device,
                subsystem,
                driver,
            });
        }
    }
    Ok(found)
}

/// Reads a number of sysfs, `0x10de`. Its files claim a page and hold less, so that only what is
/// known to be there is asked for.
fn number(host: &dyn Host, path: &Path) -> Result<Option<String>> {
    let Some(opened) = host.open(path)? else { return Ok(None) };
    let bytes = opened.source.read_at(2, 4);
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
}

/// Who would win in ld.so's cache once our directory is in it.
pub(super) fn ld_cache(host: &dyn Host, shims: &Path, cache: &Cache) -> Result<LdCache> {
    let conf = Path::new(ld_conf::OURS);
    let named = ld_conf::dirs(host, shims)?;
    let ours = named.iter().position(|named| named.conf == conf);
    let mut rivals = Vec::new();
    for name in SHIMS {
        hwcaps_rival(host, shims, cache, name, &mut rivals)?;
        for earlier in &named[..ours.unwrap_or(0)] {
            conf_rival(host, shims, earlier, name, &mut rivals)?;
        }
    }
    let dir = Path::new(ld_conf::DIR);
    Ok(LdCache {
        conf: host.inspect(conf)?,
        missing_dirs: super::units::missing_dirs(host, dir)?,
        is_included: ours.is_some(),
        rivals,
        is_current: is_current(host, shims, cache)?,
        is_running: host.is_running() || host.has_systemd(),
    })
}

fn conf_rival(
    host: &dyn Host,
    shims: &Path,
    earlier: &Named,
    name: &str,
    rivals: &mut Vec<Rival>,
) -> Result<()> {
    let path = earlier.dir.join(name);
    if let Some(opened) = host.open(&path)?
        && host.open(&shims.join(name))?.is_none_or(|ours| ours.identity != opened.identity)
    {
        let conf = Some(earlier.conf.as_path().into());
        rivals.push(Rival { name: name.into(), path: path.into(), conf });
    }
    Ok(())
}

fn hwcaps_rival(
    host: &dyn Host,
    shims: &Path,
    cache: &Cache,
    name: &str,
    rivals: &mut Vec<Rival>,
) -> Result<()> {
    for entry in cache.entries() {
        let path = PathBuf::from(OsStr::from_bytes(&entry.path));
        let is_rival = entry.hwcaps.is_some() && entry.name == name.as_bytes();
        if is_rival && !path.starts_with(shims) && host.open(&path)?.is_some() {
            rivals.push(Rival { name: name.into(), path: path.into(), conf: None });
        }
    }
    Ok(())
}

/// True if the first entry of each of our names is our file.
fn is_current(host: &dyn Host, shims: &Path, cache: &Cache) -> Result<bool> {
    for name in SHIMS {
        let first = cache.entries().iter().find(|entry| entry.name == name.as_bytes());
        let Some(first) = first else { return Ok(false) };
        let ours = host.open(&shims.join(name))?.map(|opened| opened.identity);
        let there = host.open(Path::new(OsStr::from_bytes(&first.path)))?;
        if ours.is_none() || ours != there.map(|opened| opened.identity) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::memory::Memory;

    #[test]
    fn the_configured_link_is_a_fact_and_so_is_a_file_that_cannot_be_read() {
        let of = |text: &str| guest(&Memory::described(text)).unwrap();
        let said = of("file /etc/vgpu/guest.toml link = \"vsock:2:6475\"");
        assert_eq!((said.link.as_deref(), said.problem), (Some("vsock:2:6475"), None));
        let said =
            of("file /etc/vgpu/guest.toml link = \"tls:gpu:6475\"\\n[tls]\\nkey = \"/k\"\\n");
        assert_eq!((said.link.as_deref(), said.problem), (Some("tls:gpu:6475"), None));
        for nothing in ["file /etc/vgpu/guest.toml link = \"auto\"", "dir /etc"] {
            assert_eq!(of(nothing), Guest::default());
        }
        let wrong = of("file /etc/vgpu/guest.toml lnik = 1");
        assert!(wrong.problem.unwrap().contains("lnik"));
    }

    #[test]
    fn devices_of_the_link_and_nvidias_are_seen_with_their_driver() {
        let device = |address: &str, vendor: &str, device: &str, subsystem: &str| {
            let (sub_vendor, sub_device) = subsystem.split_once(':').unwrap();
            let dir = format!("/sys/devices/pci0000:00/{address}");
            format!(
                "file {dir}/vendor 0x{vendor}\nfile {dir}/device 0x{device}
                 file {dir}/subsystem_vendor 0x{sub_vendor}
                 file {dir}/subsystem_device 0x{sub_device}
                 link /sys/bus/pci/devices/{address} -> ../../../devices/pci0000:00/{address}\n"
            )
        };
        let text = device("0000:00:02.0", "1af4", "1041", "1af4:1100")
            + &device("0000:00:05.0", "1af4", "1110", "1af4:1100")
            + &device("0000:00:06.0", "10de", "2331", "10de:16c1")
            + &device("0000:00:07.0", "10de", "2331", "10de:1626")
            + &device("0000:00:08.0", "8086", "1111", "8086:0000")
            + "dir /sys/bus/pci/drivers/nvidia
               link /sys/devices/pci0000:00/0000:00:07.0/driver -> /sys/bus/pci/drivers/nvidia";
        let found = guest(&Memory::described(&text)).unwrap().devices;
        let shown: Vec<_> = found
            .iter()
            .map(|d| (d.address.as_str(), d.is_shared_memory(), d.is_stub(), d.driver.as_deref()))
            .collect();
        let expected = [
            ("0000:00:05.0", true, false, None),
            ("0000:00:06.0", false, true, None),
            ("0000:00:07.0", false, false, Some("nvidia")),
        ];
        assert_eq!(shown, expected);
        assert_eq!(found[0].path.to_string(), "/sys/devices/pci0000:00/0000:00:05.0");
    }

    #[test]
    fn a_line_before_ours_is_a_rival_if_its_directory_has_one_of_our_names() {
        let host = Memory::described(
            "file /etc/ld.so.conf include /etc/ld.so.conf.d/*.conf
             file /etc/ld.so.conf.d/00-cuda-compat.conf /usr/local/cuda/compat
             file /etc/ld.so.conf.d/zz.conf /opt/later
             file /usr/local/cuda/compat/libcuda.so.1 theirs
             file /opt/later/libcuda.so.1 theirs
             file /ours/libcuda.so.1 ours",
        );
        let found = ld_cache(&host, Path::new("/ours"), &Cache::default()).unwrap();
        let expected = Rival {
            name: "libcuda.so.1".into(),
            path: "/usr/local/cuda/compat/libcuda.so.1".into(),
            conf: Some("/etc/ld.so.conf.d/00-cuda-compat.conf".into()),
        };
        assert_eq!(found.rivals, [expected]);
        assert!(found.is_included && !found.is_current);
    }
}
