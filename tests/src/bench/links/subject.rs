//! The links that are measured: the host of each, and what its guest finds around it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;
use vgpu_link::tls::Files;
use vgpu_link::{Access, Listener, Uri};

use super::device::{Model, Polled, show};
use super::machine::Machine;
use super::qemu::Qemu;
use super::{CROWDS, LIMIT};
use crate::client::{Way, over};
use crate::system::{Result, at};
use crate::{Stage, Vgpud, run};

/// The links, and how each is laid.
pub(super) const LINKS: [(&str, Lay); 6] = [
    ("unix", unix),
    ("tls", tls),
    ("vsock", vsock),
    ("pci, with a doorbell", doorbell),
    ("pci, without a doorbell", plain),
    ("the original device", original),
];

type Lay = for<'a> fn(&'a Stage, &'static str) -> Result<Laid<'a>>;

/// A link that was laid.
pub(super) enum Laid<'a> {
    Ready(Box<Subject<'a>>),
    /// This machine cannot have it with itself.
    Missing {
        why: String,
    },
}

/// Where files of sockets and memory lie: in memory, as those in `/run` do.
const MEMORY: &str = "/dev/shm";

/// Memory of a machine: 2 GiB, of which each of 64 clients can pin 16 MiB.
const MACHINE_BYTES: u64 = 2 << 30;

/// Slots of such a memory.
const SLOTS: usize = 64;

/// What is copied: 16 MiB, and 1 MiB where 16 would take a minute.
const COPIED_BYTES: usize = 16 << 20;
const COPIED_BYTES_SLOWLY: usize = 1 << 20;

/// The machine itself (VMADDR_CID_LOCAL of vsock(7)).
const LOCAL: u32 = 1;

/// What a guest finds that this machine has not.
pub(super) enum Around {
    Nothing,
    /// Directories of an overlay over `/etc`, with `vgpu/guest.toml` in it.
    Etc([PathBuf; 2]),
    /// A PCI device whose memory is a file.
    Plain(Machine),
    /// The device of a QEMU that comes to a socket, once it has come: one view of it for each of
    /// the clients.
    Doorbell {
        socket: PathBuf,
        came: Option<(Qemu, Vec<Machine>)>,
    },
    /// The original device, as long as its model is held.
    Original {
        sysfs: PathBuf,
        _model: Polled,
    },
}

impl Around {
    /// Where the client of a number finds a PCI device, if that is how it finds its host.
    pub fn sysfs(&self, seat: usize) -> Option<&Path> {
        match self {
            Self::Nothing | Self::Etc(_) => None,
            Self::Plain(machine) => Some(machine.sysfs()),
            Self::Doorbell { came, .. } => came.as_ref()?.1.get(seat).map(Machine::sysfs),
            Self::Original { sysfs, .. } => Some(sysfs),
        }
    }
}

/// One link to a host, and what a guest needs for it.
pub(super) struct Subject<'a> {
    stage: &'a Stage,
    pub name: &'static str,
    pub uri: String,
    pub files: Files,
    pub around: Around,
    /// What its host is started with.
    arguments: Vec<String>,
    /// How much a copy has.
    pub copied_bytes: usize,
    /// Held: all its files lie there.
    _directory: tempfile::TempDir,
}

impl<'a> Subject<'a> {
    /// A link whose host has a file of this content.
    fn new(
        stage: &'a Stage,
        name: &'static str,
        directory: tempfile::TempDir,
        config: &str,
    ) -> Result<Self> {
        let file = directory.path().join("host.toml");
        write(&file, config)?;
        let file = file.to_string_lossy();
        let arguments = ["--config", &file, "--clients-max", "200"].map(str::to_owned).to_vec();
        let (uri, files, around) = ("pci:auto".into(), Files::default(), Around::Nothing);
        let (copied_bytes, _directory) = (COPIED_BYTES, directory);
        Ok(Self { stage, name, uri, files, around, arguments, copied_bytes, _directory })
    }

    /// Has the host listen there, and the guest connect.
    fn at(mut self, uri: String) -> Self {
        self.arguments.extend(["--listen".to_owned(), uri.clone()]);
        Self { uri, ..self }
    }

    fn ready(self) -> Laid<'a> {
        Laid::Ready(Box::new(self))
    }

    /// Starts its host, which ends with what is returned.
    pub fn start(&self) -> Result<Vgpud> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        Vgpud::simulated(self.stage, &arguments)
    }

    /// Lets a QEMU come to the host that runs, if the link has one. It does not come again to the
    /// next host: no QEMU does.
    pub fn attach(&mut self) -> Result<()> {
        let Around::Doorbell { socket, came } = &mut self.around else { return Ok(()) };
        let connection = UnixStream::connect(&*socket).map_err(at("connecting to", &*socket))?;
        let qemu = Qemu::start(connection, SLOTS, MACHINE_BYTES);
        // Where the host keeps it (docs/pci.md): by this name every user's guest reaches it.
        let memory = PathBuf::from(format!("{}.memory", socket.display()));
        let most = CROWDS.into_iter().max().unwrap_or(1);
        let shown = (0..most).map(|_| qemu.show(&memory)).collect();
        *came = Some((qemu, shown));
        Ok(())
    }

    /// The client of a number, in a machine that shows what this link needs.
    pub fn command(&self, seat: usize, arguments: &[&str]) -> Command {
        let program = self.stage.test_program("link-client");
        let (mount, places) = match (&self.around, self.around.sysfs(seat)) {
            (Around::Etc([upper, work]), _) => {
                let overlay = "mount -t overlay overlay -o \
                               lowerdir=/etc,upperdir=\"$1\",workdir=\"$2\" /etc";
                (overlay, [upper.clone(), work.clone()])
            }
            (_, Some(sysfs)) => {
                ("mount --bind \"$1\" \"$2\"", [sysfs.join("bus/pci"), "/sys/bus/pci".into()])
            }
            (_, None) => {
                let mut command = over(self.stage, Way::SearchPath, &self.uri, program);
                command.args(arguments);
                return command;
            }
        };
        let mut command = over(self.stage, Way::SearchPath, &self.uri, "unshare");
        command.args(["--mount", "--map-root-user"].iter().take(match geteuid().is_root() {
            true => 1,
            false => 2,
        }));
        let script = format!("{mount} && shift 2 && exec \"$@\"");
        command.args(["sh", "-c", &script, "sh"]).args(places).arg(program).args(arguments);
        command
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(at("writing", path))
}

fn unix<'a>(stage: &'a Stage, name: &'static str) -> Result<Laid<'a>> {
    let directory = tempfile::tempdir_in(MEMORY).map_err(at("creating a directory in", MEMORY))?;
    let uri = format!("unix:{}", directory.path().join("bench.sock").display());
    Ok(Subject::new(stage, name, directory, "")?.at(uri).ready())
}

/// Makes a CA, certificates, and the configurations of both sides.
fn tls<'a>(stage: &'a Stage, name: &'static str) -> Result<Laid<'a>> {
    let directory = tempfile::tempdir().map_err(at("creating", "a temporary directory"))?;
    let ca = directory.path().join("ca");
    let make = |arguments: &[&str]| {
        let mut vgpud = Command::new(stage.vgpud());
        vgpud.arg("ca").args(arguments).arg("--directory").arg(&ca);
        run(&mut vgpud, LIMIT)?.success()
    };
    make(&["init"])?;
    make(&["issue", "--host", "127.0.0.1"])?;
    make(&["issue", "--tenant", "bench"])?;
    let issued = |side: &str, name: &str| {
        let out = ca.join("issued").join(format!("{side}-{name}"));
        let file = |name: String| out.join(name);
        Files {
            ca: file("ca.pem".into()),
            certificate: file(format!("{side}.pem")),
            key: file(format!("{side}.key")),
        }
    };
    let overlay = ["etc", "work"].map(|name| directory.path().join(name));
    for path in [&overlay[0].join("vgpu"), &overlay[1]] {
        fs::create_dir_all(path).map_err(at("creating", path))?;
    }
    let files = issued("guest", "bench");
    let Files { ca: hosts, certificate, key } = &files;
    let text = format!("[tls]\nca = {hosts:?}\ncertificate = {certificate:?}\nkey = {key:?}\n");
    write(&overlay[0].join("vgpu/guest.toml"), &text)?;
    let Files { ca: clients, certificate, key } = issued("host", "127.0.0.1");
    let text =
        format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\nclients_ca = {clients:?}\n");
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr());
    let uri = format!("tls:127.0.0.1:{}", port.map_err(at("binding", "a port"))?.port());
    let subject = Subject::new(stage, name, directory, &text)?.at(uri);
    Ok(Subject { files, around: Around::Etc(overlay), ..subject }.ready())
}

/// Goes by the kernel's vsock_loopback. Where that is not, a machine has no vsock with itself: a
/// connection to it would leave by the device to the machine's own host.
fn vsock<'a>(stage: &'a Stage, name: &'static str) -> Result<Laid<'a>> {
    let uri = Uri::Vsock { cid: LOCAL, port: std::process::id() };
    let access = Access { mode: 0o600, group: None };
    if let Err(error) = Listener::bind(&uri, access) {
        let mut why = format!("this kernel has no vsock_loopback ({error}");
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            why += &format!(": {error}");
            source = error.source();
        }
        return Ok(Laid::Missing { why: why + ")" });
    }
    let directory = tempfile::tempdir().map_err(at("creating", "a temporary directory"))?;
    Ok(Subject::new(stage, name, directory, "")?.at(uri.to_string()).ready())
}

/// Goes by the memory that a model of QEMU with ivshmem-doorbell gets of the host.
fn doorbell<'a>(stage: &'a Stage, name: &'static str) -> Result<Laid<'a>> {
    let directory = tempfile::tempdir_in(MEMORY).map_err(at("creating a directory in", MEMORY))?;
    let socket = directory.path().join("qemu.sock");
    let mib = MACHINE_BYTES >> 20;
    let text = format!("[[machine]]\nname = \"bench\"\nivshmem = {socket:?}\nmib = {mib}\n");
    let subject = Subject::new(stage, name, directory, &text)?;
    Ok(Subject { around: Around::Doorbell { socket, came: None }, ..subject }.ready())
}

/// Goes by a file, as ivshmem-plain shows it.
fn plain<'a>(stage: &'a Stage, name: &'static str) -> Result<Laid<'a>> {
    let directory = tempfile::tempdir_in(MEMORY).map_err(at("creating a directory in", MEMORY))?;
    let memory = directory.path().join("machine");
    let made = fs::File::create(&memory).and_then(|file| file.set_len(MACHINE_BYTES));
    made.map_err(at("creating", &memory))?;
    let text = format!("[[machine]]\nname = \"bench\"\nmemory = {memory:?}\n");
    let around = Around::Plain(Machine::new(&memory, MACHINE_BYTES));
    Ok(Subject { around, ..Subject::new(stage, name, directory, &text)? }.ready())
}

/// Goes by a model of the original device, register by register.
fn original<'a>(stage: &'a Stage, name: &'static str) -> Result<Laid<'a>> {
    let directory = tempfile::tempdir_in(MEMORY).map_err(at("creating a directory in", MEMORY))?;
    let socket = directory.path().join("mediator.sock");
    let text = format!("[[machine]]\nname = \"bench\"\nstub = {socket:?}\n");
    let sysfs = directory.path().join("sys");
    let model = Polled::show(Model::new(socket), &show(&sysfs));
    let around =
        Around::Original { _model: model.map_err(at("showing a device in", &sysfs))?, sysfs };
    let subject = Subject::new(stage, name, directory, &text)?;
    Ok(Subject { around, copied_bytes: COPIED_BYTES_SLOWLY, ..subject }.ready())
}
