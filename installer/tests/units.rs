//! Units described as text, and what the service gets of them.

#![forbid(unsafe_code)]

use vgpu_install::discover;
use vgpu_install::facts::{EnvironmentFile, Manager, Unit, Variable};
use vgpu_install::host::memory::Memory;

fn units(text: &str) -> Vec<Unit> {
    discover::facts(&Memory::described(text)).unwrap().units
}

#[track_caller]
fn unit(text: &str) -> Unit {
    let found = units(text);
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

fn pairs(variables: &[Variable]) -> Vec<String> {
    variables.iter().map(|v| format!("{}={} ({})", v.name, v.value, v.set_by)).collect()
}

#[test]
fn settings_that_can_hinder_us_are_collected_with_their_resets() {
    let found = unit(
        "file /etc/systemd/system/ollama.service [Service]\\nExecStart=/bin/ollama serve\\n\
         PrivateDevices=yes\\nDeviceAllow=/dev/nvidia0 rw\\nDeviceAllow=char-drm r\\n\
         RestrictAddressFamilies=AF_UNIX AF_INET\\nPrivateDevices=perhaps\\nNice=5
         file /etc/systemd/system/ollama.service.d/20-more.conf [Service]\\nDeviceAllow=\\n\
         DeviceAllow=/dev/null rw\\nProtectSystem=full
         file /etc/systemd/system/ollama.service.d/50-vgpu.conf [Service]\\nPrivateDevices=no
         file /run/systemd/system/service.d/90.conf [Service]\\nProtectSystem=strict",
    );
    assert_eq!(found.manager, Manager::System);
    assert_eq!(
        pairs(&found.settings),
        [
            "PrivateDevices=yes (/etc/systemd/system/ollama.service)",
            "RestrictAddressFamilies=AF_UNIX AF_INET (/etc/systemd/system/ollama.service)",
            "DeviceAllow=/dev/null rw (/etc/systemd/system/ollama.service.d/20-more.conf)",
            "ProtectSystem=strict (/run/systemd/system/service.d/90.conf)",
        ]
    );
}

#[test]
fn environment_files_are_named_with_whether_they_were_read() {
    let found = unit(
        "file /etc/systemd/system/ollama.service [Service]\\nExecStart=/bin/ollama serve\\n\
         EnvironmentFile=/etc/gone\\nEnvironmentFile=\\n\
         EnvironmentFile=-/etc/default/ollama\\nEnvironmentFile=/etc/needed
         file /etc/default/ollama OLLAMA_HOST=::",
    );
    let file = |path: &str, optional, read| EnvironmentFile { path: path.into(), optional, read };
    let expected = [file("/etc/default/ollama", true, true), file("/etc/needed", false, false)];
    assert_eq!(found.environment_files, expected);
    assert_eq!(pairs(&found.outranking), ["OLLAMA_HOST=:: (/etc/default/ollama)"]);
}
