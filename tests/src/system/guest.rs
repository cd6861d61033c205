use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{
    Bind, Container, Error, Except, Finished, Layout, Machine, Result, Rpm, Setting, Speaker,
    Speech, Speeches, Tree, error::at, machine::SCRIPT, run,
};

/// Longest time for an installation or a removal; measured below 3 s.
const INSTALL: Duration = Duration::from_secs(300);

/// Where the guest keeps the deb while apt reads it.
const DEB: &str = "/root/vgpu-ollama.deb";

/// What changes on the disk of any running Debian, with us or without.
pub const ALWAYS: &[Except] = &[
    Except { path: "proc", because: "not on the disk" },
    Except { path: "sys", because: "not on the disk" },
    Except { path: "dev", because: "not on the disk" },
    Except { path: "run", because: "not on the disk" },
    Except { path: "tmp", because: "not on the disk" },
    Except { path: "var/tmp", because: "systemd makes directories for running services there" },
    Except { path: "var/log", because: "logs grow" },
    Except { path: "var/lib/systemd", because: "timers keep when they last ran" },
];

/// What apt and dpkg keep about every package that was ever installed.
pub const APT: &[Except] = &[
    Except { path: "var/lib/dpkg", because: "dpkg's own records" },
    Except { path: "var/lib/apt", because: "apt's own records" },
    Except { path: "var/cache", because: "apt's and ldconfig's caches" },
    Except { path: "etc/group", because: "a package's group stays, as files may still have it" },
    Except { path: "etc/group-", because: "the same, as it was before" },
    Except { path: "etc/gshadow", because: "the same" },
    Except { path: "etc/gshadow-", because: "the same, as it was before" },
    Except { path: "etc/.pwd.lock", because: "the lock of those files" },
];

/// How our files get into the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// They lie there already, as a package would put them; nothing was set up.
    Laid,
    /// They come with the deb.
    Deb,
    /// They lie there already, installed by rpm into a root that has no other packages.
    Rpm,
}

/// Is a Debian with an Ollama in it: in a container, or in a virtual machine.
#[derive(Debug)]
pub struct Guest<M = Container> {
    pub(super) machine: M,
    /// Where and how Ollama was laid out.
    pub layout: Layout,
}

/// Says what Ollama found at one start of its service.
#[derive(Debug)]
pub struct Discovery {
    /// Its `inference compute` line.
    pub compute: String,
    /// All lines of this start.
    pub lines: Vec<String>,
}

impl Discovery {
    /// Lists the lines with which ggml's CUDA backend says what it found, each once.
    pub fn backend_lines(&self) -> Vec<&str> {
        let mut found = Vec::new();
        for line in &self.lines {
            let said = line.split("msg=\"").nth(1).and_then(|rest| rest.split("\" libdir=").next());
            if let Some(said) = said
                && (said.contains("ggml_cuda_init: found") || said.contains("Device 0:"))
                && !found.contains(&said)
            {
                found.push(said);
            }
        }
        found
    }

    /// Lists the CUDA libraries that the children of Ollama had loaded, each once, sorted.
    pub fn mapped(&self) -> Vec<&str> {
        let mut paths: Vec<_> = self
            .lines
            .iter()
            .filter_map(|line| line.split("msg=\"mapped ").nth(1)?.split('"').next())
            .collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }
}

impl Guest {
    /// Boots a Debian with an Ollama that is running; the host's sockets, if it is given their
    /// directory, appear in /run/vgpu.
    ///
    /// # Errors
    /// Whatever this machine or the container refuses.
    pub fn boot(
        setting: &Setting,
        layout: Layout,
        files: Files,
        host: Option<&Path>,
    ) -> Result<Self> {
        if let Some(here) = host {
            // Ollama's user has to get through it to the socket.
            fs::set_permissions(here, fs::Permissions::from_mode(0o755))
                .map_err(at("changing", here))?;
        }
        let socket = host.map(|here| Bind { here: here.to_owned(), there: "/run/vgpu".into() });
        let shown = setting.shown.iter().cloned();
        let binds = setting.speaker.binds().into_iter().chain(socket).chain(shown).collect();
        let container = Container::boot(&setting.containers, &setting.tarball, binds, |root| {
            layout.lay(root, &setting.parts)?;
            setting.speaker.lay(root)?;
            match files {
                Files::Laid => graft(&setting.stage.package("vgpu-ollama"), root),
                Files::Rpm => {
                    let parts = root.with_extension("rpm");
                    Rpm::built(&setting.stage.package("vgpu-ollama"), &parts)?.install(root)
                }
                Files::Deb => {
                    let there = root.join(DEB.trim_start_matches('/'));
                    fs::copy(&setting.deb, there).map_err(at("copying", &setting.deb)).map(drop)
                }
            }
        })?;
        Self::settle(container, layout)
    }

    /// Is the guest's root directory, seen from here.
    pub fn root(&self) -> PathBuf {
        self.machine.root()
    }

    /// Runs vgpu-install under strace with these options; its own system calls are what they are
    /// about.
    ///
    /// # Errors
    /// If it cannot be started or does not end.
    pub fn vgpu_install_under_strace(
        &self,
        options: &[&str],
        arguments: &[&str],
    ) -> Result<Finished> {
        self.under_strace(options, &[&["vgpu-install"], arguments].concat())
    }

    /// Stops the guest in order and boots it again.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn reboot(&mut self) -> Result<()> {
        self.machine.reboot()
    }

    /// Ends every process at once, as a power cut does, and boots again.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn cut_power(&mut self) -> Result<()> {
        self.machine.cut()
    }

    /// Runs a program that strace watches from outside, with these options of strace.
    ///
    /// # Errors
    /// If it cannot be started or does not end.
    pub fn under_strace(&self, options: &[&str], words: &[&str]) -> Result<Finished> {
        let watcher = [&["strace", "--follow-forks", "--output=/dev/null"], options].concat();
        self.machine.run_under(&watcher, words, INSTALL)
    }

    /// Lets a model speak in the environment of Ollama's service, on the CPU and on the GPU.
    ///
    /// # Errors
    /// With its words, if the program that computes it fails.
    pub fn speeches(&self, speaker: &Speaker) -> Result<Speeches> {
        let say = |layers| speaker.say(&self.machine, layers);
        Ok(Speeches { cpu: say(0)?, gpu: say(99)? })
    }

    /// Lets a model speak on the GPU while systemd reads its units again and again; answers how
    /// often it did.
    ///
    /// # Errors
    /// As [`Guest::speeches`].
    pub fn speech_among_reloads(&self, speaker: &Speaker) -> Result<(u64, Speech)> {
        speaker.say_among_reloads(&self.machine)
    }

    /// Reads the guest's disk, without [`ALWAYS`] and the further exceptions.
    ///
    /// # Errors
    /// If something cannot be read.
    pub fn tree(&self, exceptions: &[&[Except]]) -> Result<Tree> {
        // What is still in the page cache is seen from here too: it is the same directory.
        Tree::read(&self.root(), &[&[ALWAYS], exceptions].concat().concat())
    }
}

impl<M: Machine> Guest<M> {
    /// Does in a machine that is up what Ollama's installer does last, and waits for what Ollama
    /// finds.
    ///
    /// # Errors
    /// If a step fails inside.
    pub fn settle(machine: M, layout: Layout) -> Result<Self> {
        layout.settle(&machine)?;
        let guest = Self { machine, layout };
        // So that the first comparison does not see a cache that the second ldconfig makes.
        guest.ldconfig()?;
        guest.discovery()?;
        Ok(guest)
    }

    /// Is the machine that it runs in.
    pub fn machine(&mut self) -> &mut M {
        &mut self.machine
    }

    /// Runs a shell script that has to succeed; answers its standard output.
    ///
    /// # Errors
    /// With everything that it said, if it fails or does not end in time.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.machine.sh(script)
    }

    /// Runs vgpu-install.
    ///
    /// # Errors
    /// If it cannot be started or does not end; its own failure is in the answer.
    pub fn vgpu_install(&self, arguments: &[&str]) -> Result<Finished> {
        self.machine.run(&[&["vgpu-install"], arguments].concat(), INSTALL)
    }

    /// Runs apt-get without questions and without a network.
    ///
    /// # Errors
    /// As [`Guest::vgpu_install`].
    pub fn apt(&self, arguments: &[&str]) -> Result<Finished> {
        self.machine.run(&[&["apt-get", "--yes"], arguments].concat(), INSTALL)
    }

    /// Installs the deb as a user would.
    ///
    /// # Errors
    /// With apt's words, if it fails.
    pub fn install_deb(&self) -> Result<String> {
        self.apt(&["install", DEB])?.success()
    }

    /// Restarts Ollama's service and waits for what it finds.
    ///
    /// # Errors
    /// If there is no `inference compute` line in time.
    pub fn restart_ollama(&self) -> Result<Discovery> {
        // The story restarts it more often than systemd lets a service start in 10 s.
        self.sh("systemctl reset-failed ollama; systemctl restart ollama")?;
        self.discovery()
    }

    /// Keeps a copy of Ollama's files, for a later [`Guest::upgrade_ollama`].
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn keep_ollama(&self) -> Result<()> {
        let prefix = self.layout.prefix;
        self.sh(&format!(
            "mkdir /root/release
             cp --archive {prefix}/lib/ollama /root/release/lib
             cp --archive {prefix}/bin/ollama /root/release/ollama
             cp --archive /etc/systemd/system/ollama.service /root/release"
        ))
        .map(drop)
    }

    /// Does what Ollama's `install.sh` does over an older Ollama: wipes its libraries, lays the
    /// new ones, writes the unit again, and restarts the service.
    ///
    /// # Errors
    /// If a step fails.
    pub fn upgrade_ollama(&self) -> Result<()> {
        let prefix = self.layout.prefix;
        self.sh(&format!(
            "rm -rf {prefix}/lib/ollama
             install -o0 -g0 -m755 -d {prefix}/lib/ollama
             tar --create --directory /root/release/lib . |
                 tar --extract --directory {prefix}/lib/ollama
             install -o0 -g0 -m755 /root/release/ollama {prefix}/bin/ollama
             cat /root/release/ollama.service > /etc/systemd/system/ollama.service
             systemctl daemon-reload
             systemctl enable --quiet ollama
             systemctl reset-failed ollama
             systemctl restart ollama"
        ))
        .map(drop)
    }

    /// Waits for what Ollama's service finds at the start that it is in.
    ///
    /// # Errors
    /// If there is no `inference compute` line in time.
    pub fn discovery(&self) -> Result<Discovery> {
        self.discovery_of("systemctl", "_SYSTEMD_INVOCATION_ID")
    }

    /// As [`Guest::discovery`], of the Ollama that this systemctl knows; its journal keeps the
    /// start's number in `field`.
    ///
    /// # Errors
    /// As [`Guest::discovery`].
    pub fn discovery_of(&self, systemctl: &str, field: &str) -> Result<Discovery> {
        let script = format!(
            "id=$({systemctl} show --property=InvocationID --value ollama)
             unit={field}=$id
             grep -m1 'inference compute' < <(journalctl -o cat -f -n all $unit)
             journalctl -o cat $unit"
        );
        let said = self.machine.run(&["bash", "-ec", &script], SCRIPT)?.success()?;
        let mut lines = said.lines().map(str::to_owned);
        let compute = lines.next().ok_or_else(|| Error::Missing {
            what: "an \"inference compute\" line".to_owned(),
            place: "the journal of ollama.service".to_owned(),
            output: said.clone(),
        })?;
        Ok(Discovery { compute, lines: lines.collect() })
    }

    /// Is the environment of the running `ollama serve`, one variable in each line.
    ///
    /// # Errors
    /// If the service is not running.
    pub fn environment(&self) -> Result<String> {
        let pid = "$(systemctl show --property=MainPID --value ollama)";
        self.sh(&format!("tr '\\0' '\\n' < /proc/{pid}/environ"))
    }

    /// Names the user of the running `ollama serve`.
    ///
    /// # Errors
    /// If the service is not running.
    pub fn user(&self) -> Result<String> {
        let pid = "$(systemctl show --property=MainPID --value ollama)";
        Ok(self.sh(&format!("stat --format=%U /proc/{pid}"))?.trim().to_owned())
    }

    /// Runs ldconfig, as the installation of any library does. It renames its cache into /etc,
    /// and /etc gets its time back: what a comparison finds there is then the installer's.
    ///
    /// # Errors
    /// If it fails.
    pub fn ldconfig(&self) -> Result<()> {
        self.sh("touch --reference=/etc /run/time-of-etc
             ldconfig
             touch --reference=/run/time-of-etc /etc")
            .map(drop)
    }
}

/// Copies a staged package over a root, keeping modes and links, owned by root.
fn graft(stage: &Path, root: &Path) -> Result<()> {
    let mut cp = Command::new("cp");
    cp.args(["--recursive", "--no-dereference", "--preserve=mode,timestamps,links"]);
    cp.arg(stage.join("usr")).arg(root);
    run(&mut cp, Duration::from_secs(60))?.success().map(drop)
}
