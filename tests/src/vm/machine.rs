//! The machine: QEMU, and what goes in and out of it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::channel::Channel;
use super::image::PORT;
use super::monitor::Monitor;
use super::{Disk, Image};
use crate::system::{Error, Finished, Machine, Result, at, wait};

/// Longest time for a boot: measured 48 s on 2 cores under a load of 5.
const BOOT: Duration = Duration::from_secs(400);

/// How much slower than this machine an emulated one may be: limits of programs are for the former.
const SLOWER: u32 = 6;

/// How long QEMU may take to be gone after its end was asked for.
const END: Duration = Duration::from_secs(20);

/// Longest time in which the guest goes to sleep: its kernel stops every device before.
const SLEEP: Duration = Duration::from_secs(120);

/// The file of QEMU's monitor.
const MONITOR: &str = "monitor";

/// The machine's memory.
const MEMORY: &str = "1G";

/// Is a running virtual machine. Dropping it is pulling its plug.
#[derive(Debug)]
pub struct Vm {
    qemu: Child,
    channel: Mutex<Channel>,
    directory: TempDir,
}

impl Vm {
    /// Boots `image`, whose disk stays as it is, with `disk` beside it and these further options
    /// of QEMU; waits until systemd has started everything.
    ///
    /// # Errors
    /// `Boot`, with the console and QEMU's own words, if it does not come up.
    pub fn boot(image: &Image, disk: &Disk, options: &[OsString]) -> Result<Self> {
        let directory = tempfile::tempdir().map_err(at("creating", "a temporary directory"))?;
        let (ours, theirs) = UnixStream::pair().map_err(at("creating", "a socket pair"))?;
        let log = directory.path().join("qemu.log");
        let mut command = qemu(image, disk, directory.path());
        let qemu = command
            .args(options)
            .stdin(Stdio::from(OwnedFd::from(
                theirs.try_clone().map_err(at("copying", "a socket"))?,
            )))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(File::create(&log).map_err(at("creating", &log))?)
            .spawn()
            .map_err(|source| Error::Start { program: "qemu-system-x86_64".to_owned(), source })?;
        // The socket's other end stays with QEMU alone: its end is the channel's.
        drop(command);
        let vm = Self { qemu, channel: Mutex::new(Channel(ours)), directory };
        vm.await_boot()?;
        Ok(vm)
    }

    /// Lets the guest boot anew, in order; QEMU stays.
    ///
    /// # Errors
    /// As [`Vm::boot`].
    pub fn reboot(&mut self) -> Result<()> {
        self.channel().send("systemctl reboot", END)?;
        self.await_boot()
    }

    /// Lets the machine stand still for a time, as a host does that saves it or sleeps itself.
    ///
    /// # Errors
    /// If QEMU does not do it, or lets it go on before.
    pub fn stand_still(&self, time: Duration) -> Result<()> {
        let path = self.monitor();
        let mut monitor = Monitor::connect(&path).map_err(at("speaking with", &path))?;
        monitor.command("stop").map_err(at("stopping qemu by", &path))?;
        match monitor.await_event("RESUME", time) {
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
            ended => {
                let source = ended.err().unwrap_or_else(|| std::io::Error::other("it goes on"));
                return Err(at("watching qemu by", path)(source));
            }
        }
        monitor.command("cont").map_err(at("continuing qemu by", path))
    }

    /// Lets the guest's kernel put the machine to sleep (ACPI S3), and wakes it.
    ///
    /// # Errors
    /// If it does not fall asleep or wake up in time.
    pub fn sleep(&self) -> Result<()> {
        let path = self.monitor();
        let mut monitor = Monitor::connect(&path).map_err(at("speaking with", &path))?;
        self.channel().run("systemd-run --quiet --collect systemctl suspend", END)?.success()?;
        monitor
            .await_event("SUSPEND", SLEEP)
            .map_err(at("waiting for the guest's sleep by", &path))?;
        monitor.command("system_wakeup").map_err(at("waking the guest by", &path))?;
        monitor.await_event("WAKEUP", SLEEP).map_err(at("waiting for the guest by", &path))
    }

    /// Ends QEMU at once, and with it the guest, which is told nothing.
    ///
    /// # Errors
    /// If it cannot be ended.
    pub fn kill(&mut self) -> Result<()> {
        self.end().map_err(at("ending", "qemu"))
    }

    fn await_boot(&self) -> Result<()> {
        let deadline = Instant::now() + BOOT;
        let mut channel = self.channel();
        let ready = loop {
            // Answers of scripts that the end of the last boot cut off come before.
            match channel.await_ready(deadline) {
                Err(error) if error.kind() == std::io::ErrorKind::Other => {}
                ready => break ready,
            }
        };
        let log = || {
            let read = |name| fs::read_to_string(self.directory.path().join(name));
            ["qemu.log", "console"].map(|name| read(name).unwrap_or_default()).concat()
        };
        ready.map_err(|source| Error::Boot { limit: BOOT, log: log(), source })?;
        let state = channel.run("systemctl is-system-running --wait", BOOT)?;
        if state.stdout.trim() == "running" {
            return Ok(());
        }
        let output = channel.run("systemctl --failed; journalctl -b -p err", BOOT)?.stdout;
        let what = "a system without failed units".to_owned();
        Err(Error::Missing { what, place: "the guest".to_owned(), output: output + &log() })
    }

    fn channel(&self) -> std::sync::MutexGuard<'_, Channel> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn monitor(&self) -> PathBuf {
        self.directory.path().join(MONITOR)
    }

    fn end(&mut self) -> std::io::Result<()> {
        if self.qemu.try_wait()?.is_none() {
            self.qemu.kill()?;
            wait(&mut self.qemu, END)?;
        }
        Ok(())
    }
}

impl Machine for Vm {
    fn run(&self, words: &[&str], limit: Duration) -> Result<Finished> {
        let script = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let mut done = self.channel().run(&script, limit * SLOWER)?;
        done.command = words.join(" ");
        Ok(done)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("ending qemu: {error}");
        }
    }
}

/// Is a word as a shell reads it unchanged.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// QEMU with the devices that every machine has.
///
/// The memory is shared with the processes that imitate devices. `maxcpus=2` makes QEMU translate
/// the guest's atomic instructions as such, which it leaves out where no second processor can see
/// them; other processes of this machine can.
fn qemu(image: &Image, disk: &Disk, directory: &Path) -> Command {
    // If this program is killed, the machine ends.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    let memory = format!("memory-backend-memfd,id=memory,size={MEMORY},share=on");
    command.args(["-machine", "q35,accel=tcg,memory-backend=memory", "-cpu", "max"]);
    command.args(["-object", &memory, "-m", MEMORY, "-smp", "1,maxcpus=2"]);
    command.args(["-nodefaults", "-display", "none", "-serial"]);
    command.arg(prefixed("file:", &directory.join("console")));
    command.arg("-kernel").arg(image.kernel()).arg("-initrd").arg(image.initrd());
    // A login prompt on the console takes minutes where nobody answers it. Without KVM the kernel
    // counts the timer's interrupts for some milliseconds at its start, and panics where a busy
    // machine held QEMU up for so long ("IO-APIC + timer doesn't work").
    let kernel = "root=LABEL=guest rw console=ttyS0 quiet no_timer_check \
                  systemd.mask=serial-getty@ttyS0.service";
    command.args(["-append", kernel]);
    for (path, more) in [(image.disk(), "snapshot=on"), (disk.path(), "readonly=on")] {
        let drive = format!(",format=raw,if=virtio,{more}");
        let mut words = prefixed("file=", &path);
        words.push(drive);
        command.arg("-drive").arg(words);
    }
    let monitor = directory.join(MONITOR);
    command.args(["-qmp", &format!("unix:{},server=on,wait=off", monitor.display())]);
    command.args(["-device", "virtio-serial", "-chardev", "stdio,id=harness,signal=off"]);
    command.args(["-device", &format!("virtserialport,chardev=harness,name={PORT}")]);
    command
}

fn prefixed(prefix: &str, path: &Path) -> OsString {
    let mut word = OsString::from(prefix);
    word.push(path);
    word
}
