//! A host for the tests of links: it joins the connections of a guest two by two, so that one
//! process there has both ends of a connection whose every byte goes through this machine.
//!
//! A connection begins with a number of 8 bytes; the two of one number are joined and end together.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use vgpu_link::pci::ivshmem::{Change, FIRST_BELL, Keeper, Server, introduce, serve};
use vgpu_link::{Access, Gate, LinkError, Listener, Socket, Stream, Uri};

use crate::system::{Result, at};

/// Memory that a guest shares with this machine: what docs/operate.md gives it.
const MEMORY_BYTES: u64 = 64 << 20;

/// How often it is looked at: as `vgpud` does where nobody rings.
const TURN: Duration = Duration::from_millis(20);

/// How long a connection may take to say its number.
const NUMBER: Duration = Duration::from_secs(60);

/// Who may come: this test's user.
const ACCESS: Access = Access { mode: 0o600, group: None };

/// Is such a host on one link. Dropping it ends its connections.
#[derive(Debug)]
pub struct Junction {
    /// Hangs up for the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Junction {
    /// Joins what comes to a Unix socket: there arrive a guest's connections by vsock.
    ///
    /// # Errors
    /// If the socket cannot be had.
    pub fn at_socket(path: &Path) -> Result<Self> {
        let listener = Listener::bind(&Uri::Unix(path.to_owned()), ACCESS).map_err(io_error);
        let listener = listener.map_err(at("binding", path))?;
        Self::start(move |joints| {
            while let Some(arrival) = listener.accept().map_err(io_error)? {
                joints.take(Arc::new(Socket::from(arrival.socket)));
            }
            Ok(())
        })
    }

    /// Joins what comes by the memory of the one QEMU that connects to `socket`, for its
    /// ivshmem-doorbell.
    ///
    /// # Errors
    /// If the socket or the memory cannot be had.
    pub fn at_doorbell(socket: &Path) -> Result<Self> {
        let server = Server::bind(socket, Gate::new(None, |_| ()));
        let mut server = server.map_err(io_error).map_err(at("binding", socket))?;
        let keeper = Keeper::make(MEMORY_BYTES, Some(FIRST_BELL));
        let keeper = keeper.map_err(at("making memory for", socket))?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let bells = (0..=keeper.board().slots).map(|_| Ok(Arc::new(eventfd(0, flags)?)));
        let bells =
            bells.collect::<io::Result<Vec<_>>>().map_err(at("making bells for", socket))?;
        let mut memory = Memory { keeper, bells, served: HashMap::new() };
        let mut qemu = None;
        Self::start(move |joints| {
            if qemu.is_none()
                && let Some(Ok(came)) = server.accept()?
            {
                introduce(&came, memory.keeper.as_fd(), &memory.bells)?;
                qemu = Some(came);
            }
            memory.turn(joints)
        })
    }

    /// Joins what comes by the memory of ivshmem-plain, a file that is made here.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn at_memory(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(at("creating", path))?;
        file.set_len(MEMORY_BYTES).map_err(at("growing", path))?;
        let keeper = Keeper::adopt(file.into(), None).map_err(at("preparing", path))?;
        let mut memory = Memory { keeper, bells: Vec::new(), served: HashMap::new() };
        Self::start(move |joints| memory.turn(joints))
    }

    /// Calls `turn` again and again until this is dropped.
    fn start(mut turn: impl FnMut(&Joints) -> io::Result<()> + Send + 'static) -> Result<Self> {
        let (stop, stopped) = UnixStream::pair().map_err(at("creating", "a socket pair"))?;
        let thread = thread::spawn(move || {
            let joints = Joints::default();
            let pause = Timespec::try_from(TURN).map_err(io::Error::other)?;
            loop {
                turn(&joints)?;
                match poll(&mut [PollFd::new(&stopped, PollFlags::RDHUP)], Some(&pause)) {
                    Ok(0) | Err(Errno::INTR) => {}
                    ended => return ended.map(drop).map_err(io::Error::from),
                }
            }
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Junction {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("joining a guest's connections: {error}");
        }
    }
}

/// A guest's memory, and its connections by slots.
struct Memory {
    keeper: Keeper,
    bells: Vec<Arc<OwnedFd>>,
    served: HashMap<usize, Served>,
}

/// A slot in use: what hangs up when its client is gone, and the host's end.
struct Served {
    life: Option<OwnedFd>,
    end: Weak<dyn Stream>,
}

impl Memory {
    fn turn(&mut self, joints: &Joints) -> io::Result<()> {
        for change in self.keeper.turn(Instant::now())? {
            match change {
                Change::Came(slot) => joints.take(self.serve(slot)?),
                Change::Gone(slot) => {
                    self.served.get_mut(&slot).and_then(|served| served.life.take());
                }
            }
        }
        let Self { keeper, served, .. } = self;
        let over: Vec<usize> = served
            .iter()
            .filter(|(_, served)| served.end.strong_count() == 0)
            .map(|(slot, _)| *slot)
            .collect();
        for slot in over {
            served.remove(&slot);
            keeper.end(slot)?;
        }
        Ok(())
    }

    /// Grants a slot, as a worker would serve it.
    fn serve(&mut self, slot: usize) -> io::Result<Arc<dyn Stream>> {
        let place = self.keeper.prepare(slot)?;
        let (ours, theirs) = UnixStream::pair()?;
        let memory = self.keeper.as_fd().try_clone_to_owned()?;
        let bell = self.bells.get(1 + slot).map(|bell| bell.try_clone()).transpose()?;
        let end = serve(&place, &memory, bell, theirs.into()).map_err(io_error)?;
        let end: Arc<dyn Stream> = Arc::new(end);
        self.served.insert(slot, Served { life: Some(ours.into()), end: Arc::downgrade(&end) });
        self.keeper.grant(slot)?;
        Ok(end)
    }
}

/// Connections whose other one has not come, by their number.
#[derive(Clone, Default)]
struct Joints(Arc<Mutex<Waiting>>);

type Waiting = HashMap<[u8; 8], Arc<dyn Stream>>;

impl Joints {
    /// Hears the number of a connection, and joins it with the other of this number.
    fn take(&self, end: Arc<dyn Stream>) {
        let joints = self.clone();
        thread::spawn(move || {
            let mut number = [0; 8];
            if !fill(&*end, &mut number) {
                return;
            }
            let mut waiting = joints.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(other) = waiting.remove(&number) else {
                waiting.insert(number, end);
                return;
            };
            drop(waiting);
            let (from, to) = (Arc::clone(&end), Arc::clone(&other));
            thread::spawn(move || carry(&*from, &*to));
            carry(&*other, &*end);
        });
    }
}

fn fill(end: &dyn Stream, mut into: &mut [u8]) -> bool {
    let limit = Some(Instant::now() + NUMBER);
    while !into.is_empty() {
        match end.read(into, limit) {
            Ok(count) if count > 0 => into = &mut into[count..],
            _ => return false,
        }
    }
    true
}

/// Carries bytes until their source ends, and then ends the other. One that takes no more may still
/// have last words on their way, so its end is not told from here.
fn carry(from: &dyn Stream, to: &dyn Stream) {
    let mut bytes = vec![0; 64 << 10];
    let mut is_taken = true;
    while let Ok(read) = from.read(&mut bytes, None)
        && read > 0
    {
        is_taken = is_taken && send(to, &bytes[..read]);
    }
    to.close();
}

fn send(to: &dyn Stream, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match to.write(&[IoSlice::new(bytes)], None) {
            Ok(written) => bytes = &bytes[written..],
            Err(_) => return false,
        }
    }
    true
}

fn io_error(error: LinkError) -> io::Error {
    io::Error::other(error)
}
