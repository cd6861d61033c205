//! Units described as text, and what the service gets of them.

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

#[test]
fn what_decides_a_variable_is_told_apart() {
    let found = unit(
        "file /etc/systemd/system/ollama.service [Service]\\nExecStart=/bin/ollama serve\\n\
         Environment=A=unit B=unit\\nPassEnvironment=P Q\\nEnvironmentFile=-%E/default/%N*\\n\
         UnsetEnvironment=LD_AUDIT A=other B=unit
         file /etc/default/ollama A=%file\\n
         file /etc/default/ollama.d C=1\\n
         file /etc/systemd/system.conf [Manager]\\nDefaultEnvironment=A=default D=default\\n\
         ManagerEnvironment=P=1 R=2\\nDefaultLimitMEMLOCK=1M
         file /usr/lib/systemd/system.conf.d/10.conf [Manager]\\nDefaultEnvironment=D=usr",
    );
    assert_eq!(
        pairs(&found.environment),
        [
            "A=unit (/etc/systemd/system/ollama.service)",
            "D=usr (/usr/lib/systemd/system.conf.d/10.conf)",
            "P=1 (/etc/systemd/system.conf)",
        ]
    );
    assert_eq!(
        pairs(&found.outranking),
        [
            "A=%file (/etc/default/ollama)",
            "C=1 (/etc/default/ollama.d)",
            "LD_AUDIT= (/etc/systemd/system/ollama.service)",
        ]
    );
    assert_eq!(pairs(&found.settings), ["LimitMEMLOCK=1M (/etc/systemd/system.conf)"]);
}

#[test]
fn units_of_users_are_found_with_their_manager() {
    let found = units(
        "file /etc/passwd root:x:0:0::/root:/bin/sh\\nann:x:1000:1000::/srv/ann:/bin/sh\\n\
         ben:x:1001:1001::/srv/ben:/bin/sh\\ncid:x:1002:1002::/srv/cid:/bin/sh\\n\
         daemon:x:2:2::/srv/ann:/bin/sh
         file /usr/lib/systemd/user/ollama.service [Service]\\nExecStart=/usr/bin/ollama serve
         file /srv/ann/.config/systemd/user/llm.service [Service]\\nExecStart=%h/ollama serve
         file /srv/ann/.config/environment.d/10.conf LD_PRELOAD=/srv/%.so
         link /srv/ben/.config/systemd/user/default.target.wants/ollama.service -> /x
         dir /srv/cid",
    );
    let shown: Vec<_> = found
        .iter()
        .map(|unit| format!("{:?} {} {:?}", unit.manager, unit.name, unit.executable))
        .collect();
    assert_eq!(
        shown,
        [
            "User(\"ann\") llm.service Some(Location(\"/srv/ann/ollama\"))",
            "User(\"ben\") ollama.service Some(Location(\"/usr/bin/ollama\"))",
        ]
    );
    assert_eq!(
        pairs(&found[0].environment),
        ["LD_PRELOAD=/srv/%%.so (/srv/ann/.config/environment.d/10.conf)"]
    );
    let path = std::path::Path::new("/etc/systemd/user/llm.service.d/50-vgpu.conf");
    assert_eq!(found[0].drop_in_path.as_ref(), path);
}

#[test]
fn units_that_only_mention_ollama_are_not_its_units() {
    let found = units(
        "file /etc/systemd/system/webui.service [Unit]\\nAfter=ollama.service\\n[Service]\\n\
         ExecStart=/usr/bin/webui --url ollama
         file /etc/systemd/system/pull.service [Service]\\nExecStart=/usr/bin/ollama pull x
         file /etc/systemd/system/box.service [Service]\\nExecStart=/usr/bin/docker run \
         ollama/ollama
         link /etc/systemd/system/ollama.service -> /dev/null",
    );
    let shown: Vec<_> =
        found.iter().map(|u| format!("{} {:?} {}", u.name, u.runs, u.masked)).collect();
    assert_eq!(shown, ["box.service Docker false", "ollama.service Unknown true"]);
}

#[test]
fn instances_stand_for_their_template() {
    let text = "file /etc/systemd/system/ollama@.service [Service]\\nExecStart=/bin/ollama serve
         file /etc/systemd/system/ollama@two.service.d/x.conf [Service]\\nEnvironment=A=2";
    let names =
        |text: &str| units(text).into_iter().map(|unit| unit.name).collect::<Vec<_>>().join(" ");
    assert_eq!(names(&text.replace("@two", "@")), "ollama@.service");
    assert_eq!(names(text), "ollama@two.service");
    let wants = "link /etc/systemd/system/multi-user.target.wants/ollama@one.service -> ../x";
    assert_eq!(names(&format!("{text}\n{wants}")), "ollama@one.service ollama@two.service");
}
