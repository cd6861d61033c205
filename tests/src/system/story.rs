use std::path::Path;

use crate::stage::LIBRARIES;

use super::{
    Change, Discovery, Except, Files, Finished, Guest, Layout, Result, Setting, Speeches, Tree,
    guest::APT,
};

/// What the story itself does to the disk besides calling the installer.
const BY_THE_STORY: &[Except] = &[
    Except { path: "etc/ld.so.cache", because: "the story runs ldconfig, as any package would" },
    Except { path: "var/cache/ldconfig", because: "the same" },
];

/// What is different between one telling and another.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    /// Where Ollama lies.
    pub layout: Layout,
    /// How our files come.
    pub files: Files,
    /// The scope for vgpu-install; the deb always takes the service's.
    pub scope: &'static str,
}

/// Holds everything that was seen, for the test to judge and for the demo to show.
#[derive(Debug)]
pub struct Story {
    /// What Ollama found before.
    pub without: Discovery,
    /// What Ollama found after the installation, and after a later ldconfig.
    pub with: Discovery,
    /// What the installer said on its standard output, apt's and dpkg's lines left out.
    pub installer: Vec<String>,
    /// What Ollama found after the rollback.
    pub afterwards: Discovery,
    /// What a model said, where the environment of the service is what leads to us.
    pub speeches: Option<Speeches>,
    /// The user of the service, and its environment while installed.
    pub service: (String, String),
    /// What the doctor said of the installed system.
    pub doctor: Finished,
    /// The disk before the installation.
    pub before: Tree,
    /// The disk while installed.
    pub installed: Tree,
    /// What the doctor and the second run of the installer changed on the disk.
    pub second: Vec<Change>,
    /// The disk after the rollback; with the deb, after its removal and purge.
    pub after: Tree,
}

/// Tells the whole story once. `tell` gets one line before each step.
///
/// # Errors
/// If a step fails; what the steps led to is for the caller to judge.
pub fn story(
    setting: &Setting,
    plot: Plot,
    host: Option<&Path>,
    tell: &mut dyn FnMut(&str),
) -> Result<Story> {
    let Plot { layout, files, scope } = plot;
    tell("boot a Debian with systemd and Ollama, and no GPU");
    let guest = Guest::boot(setting, layout, files, host)?;
    let without = guest.restart_ollama()?;
    let exceptions = exceptions(files);
    let tree = || {
        let tree = guest.tree(&exceptions)?;
        // dpkg unpacks into directories that others use too, and their times move on.
        Ok(if files == Files::Deb { tree.without_directory_times() } else { tree })
    };
    let before = tree()?;
    let said = if files == Files::Deb {
        tell("apt install ./vgpu-ollama.deb");
        guest.install_deb()?
    } else {
        tell(&format!("vgpu-install apply --scope {scope}"));
        guest.vgpu_install(&["apply", "--scope", scope])?.success()?
    };
    // Its lines are indented, except for the last.
    let its = |line: &&str| line.starts_with("  ") || line.starts_with("generation ");
    let skipped = said.find("Setting up ").unwrap_or(0);
    let installer = said[skipped..].lines().filter(its).map(str::to_owned).collect();
    tell("systemctl restart ollama; ldconfig; systemctl restart ollama");
    guest.restart_ollama()?;
    guest.ldconfig()?;
    let with = guest.restart_ollama()?;
    let service = (guest.user()?, guest.environment()?);
    let speeches = if scope == "service" {
        tell("compute a language model in the service's environment, on the CPU and on the GPU");
        Some(guest.speeches(&setting.speaker)?)
    } else {
        None
    };
    let installed = tree()?;
    tell("vgpu-install doctor");
    let doctor = guest.vgpu_install(&["doctor"])?;
    tell("vgpu-install, a second time");
    let again: &[&str] =
        if files == Files::Deb { &["apply"] } else { &["apply", "--scope", scope] };
    guest.vgpu_install(again)?.success()?;
    let second = installed.changes(&tree()?);
    tell("vgpu-install --rollback");
    guest.vgpu_install(&["--rollback"])?.success()?;
    if files == Files::Deb {
        tell("apt purge vgpu-ollama");
        guest.apt(&["purge", "vgpu-ollama"])?.success()?;
    }
    let afterwards = guest.restart_ollama()?;
    let after = tree()?;
    Ok(Story {
        without,
        with,
        installer,
        afterwards,
        speeches,
        service,
        doctor,
        before,
        installed,
        second,
        after,
    })
}

/// The card that the simulated host shows, as the backend prints it.
const CARD: &str = "NVIDIA H100 80GB HBM3 (Simulated)";

/// Our private directory in the guest.
const PRIVATE: &str = "/usr/lib/x86_64-linux-gnu/vgpu";

impl Story {
    /// Lists what is not as it has to be; nothing, if the story went well.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |right: bool, fault: String| {
            if !right {
                faults.push(fault);
            }
        };
        let Self { without, with, afterwards, second, .. } = self;
        for (when, found) in [("before", without), ("after the rollback", afterwards)] {
            let line = &found.compute;
            check(
                line.contains("library=cpu"),
                format!("{when}, Ollama did not use the CPU: {line}"),
            );
        }
        for part in ["library=CUDA", "compute=9.0", "driver=13.0", CARD, "total=\"80.0 GiB\""] {
            let line = &with.compute;
            check(line.contains(part), format!("Ollama's line has no {part}: {line}"));
        }
        let found = !with.backend_lines().is_empty();
        check(found, format!("the backend found nothing:\n    {}", with.lines.join("\n    ")));
        for directory in ["cuda_v12", "cuda_v13"] {
            let loaded = format!("{directory}/libggml-cuda.so\" libdir=");
            let loads = |line: &String| line.contains("loaded CUDA") && line.contains(&loaded);
            check(with.lines.iter().any(loads), format!("the backend of {directory} did not load"));
        }
        let mapped = with.mapped();
        for name in LIBRARIES.into_iter().filter(|name| name.starts_with("libcu")) {
            let ours = format!("{PRIVATE}/{name}");
            check(mapped.contains(&ours.as_str()), format!("{ours} was not loaded: {mapped:#?}"));
        }
        for path in mapped.iter().filter(|path| path.contains("libcu")) {
            check(path.starts_with(PRIVATE), format!("{path} was loaded, and is not ours"));
        }
        let (user, _) = &self.service;
        check(user == "ollama", format!("the service runs as {user}"));
        for fault in self.speeches.iter().flat_map(Speeches::faults) {
            check(false, fault);
        }
        let said = &self.doctor;
        check(said.status.success(), format!("the doctor found a fault:\n{}", said.stdout));
        for change in second {
            check(false, format!("the doctor or the second run changed the disk: {change}"));
        }
        for change in self.before.changes(&self.after) {
            check(false, format!("the rollback left a trace: {change}"));
        }
        faults
    }
}

fn exceptions(files: Files) -> Vec<&'static [Except]> {
    match files {
        Files::Laid | Files::Rpm => vec![BY_THE_STORY],
        Files::Deb => vec![BY_THE_STORY, APT],
    }
}
