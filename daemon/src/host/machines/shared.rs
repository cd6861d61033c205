//! One machine's memory, its bells, and who is served there.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::fs::{fstat, stat};
use vgpu_link::pci::ivshmem::{Keeper, Place};

/// How long a bell is not listened to after it rang: 1 ms, or a guest that rings without end would
/// keep the host from everybody else.
pub(super) const DEAF: Duration = Duration::from_millis(1);

/// How often a path is looked at for another file.
const RECHECK: Duration = Duration::from_secs(1);

/// Memory that a machine and this host share.
#[derive(Debug)]
pub(super) struct Shared {
    pub keeper: Keeper,
    /// Eventfds that the guest rings: for a claim, then one for each slot. They are never read
    /// ([`vgpu_ring`'s `EventBell`](vgpu_link::pci::ivshmem::HostBell) says why).
    bells: Vec<Arc<OwnedFd>>,
    /// Tells the edges of the first bell.
    edges: Option<OwnedFd>,
    heard: Instant,
    checked: Instant,
    served: HashMap<usize, Served>,
}

/// A client with a worker.
#[derive(Debug)]
struct Served {
    session: u64,
    /// The worker's connection hangs up when this is gone.
    life: Option<OwnedFd>,
}

/// What a worker gets, and what stays here: the place, its connection, the other end, and what goes
/// along.
type Prepared = (Place, OwnedFd, OwnedFd, Vec<OwnedFd>);

impl Shared {
    /// Takes over a file whose guest rings nobody, divided into so many slots at most.
    pub fn of(memory: OwnedFd, slots_max: usize) -> io::Result<Self> {
        Self::with(Keeper::divide(memory, None, slots_max)?, Vec::new())
    }

    /// Makes bells for a memory.
    pub fn rung(keeper: Keeper) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let bell = |_| Ok(Arc::new(eventfd(0, flags)?));
        let bells = (0..=keeper.board().slots).map(bell).collect::<io::Result<_>>()?;
        Self::with(keeper, bells)
    }

    fn with(keeper: Keeper, bells: Vec<Arc<OwnedFd>>) -> io::Result<Self> {
        let listen = |bell: &Arc<OwnedFd>| {
            let edges = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&edges, &**bell, epoll::EventData::new_u64(0), flags)?;
            io::Result::Ok(edges)
        };
        let edges = bells.first().map(listen).transpose()?;
        let now = Instant::now();
        Ok(Self { keeper, bells, edges, heard: now, checked: now, served: HashMap::new() })
    }

    /// The eventfds, in the order of their numbers.
    pub fn bells(&self) -> &[Arc<OwnedFd>] {
        &self.bells
    }

    /// Ends all that goes on in the memory, and leaves the memory.
    pub fn into_keeper(self) -> Keeper {
        self.keeper
    }

    /// Says whether the guest rings for a claim.
    pub fn is_rung(&self) -> bool {
        self.edges.is_some()
    }

    /// What is readable when the guest rang, while we listen.
    pub fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.edges.as_ref().filter(|_| self.heard.elapsed() >= DEAF).map(AsFd::as_fd)
    }

    /// Takes note of a ring.
    pub fn hear(&mut self, now: Instant) {
        let Some(edges) = &self.edges else { return };
        let mut events = [MaybeUninit::uninit(); 1];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let heard = epoll::wait(edges, &mut events, Some(&at_once));
        if heard.is_ok_and(|(heard, _)| !heard.is_empty()) {
            self.heard = now;
        }
    }

    /// Says whether a path still names this memory.
    pub fn is_still(&mut self, path: &Path) -> bool {
        if self.checked.elapsed() < RECHECK {
            return true;
        }
        self.checked = Instant::now();
        let (Ok(ours), Ok(named)) = (fstat(&self.keeper), stat(path)) else { return false };
        (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)
    }

    /// Makes a slot ready for a worker.
    pub fn prepare(&mut self, slot: usize) -> io::Result<Prepared> {
        let place = self.keeper.prepare(slot)?;
        let (ours, theirs) = UnixStream::pair()?;
        let mut handed = vec![self.keeper.as_fd().try_clone_to_owned()?];
        if let Some(bell) = self.bells.get(1 + slot) {
            handed.push(bell.try_clone()?);
        }
        Ok((place, theirs.into(), ours.into(), handed))
    }

    /// Lets a client begin.
    pub fn grant(&mut self, slot: usize, life: OwnedFd, session: u64) -> io::Result<()> {
        self.served.insert(slot, Served { session, life: Some(life) });
        self.keeper.grant(slot)
    }

    /// Lets the worker of a slot know that its client is gone.
    pub fn hang_up(&mut self, slot: usize) {
        if let Some(served) = self.served.get_mut(&slot) {
            served.life = None;
        }
    }

    /// Takes back the slot of a session; says whether it had one here.
    pub fn ended(&mut self, session: u64) -> io::Result<bool> {
        let slot = self.served.iter().find(|(_, served)| served.session == session);
        let Some((&slot, _)) = slot else { return Ok(false) };
        self.served.remove(&slot);
        self.keeper.end(slot).map(|()| true)
    }
}

/// Says whether the other end of a connection is gone.
pub(super) fn hung_up(connection: &OwnedFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut watched = [PollFd::new(connection, PollFlags::RDHUP)];
    poll(&mut watched, Some(&at_once)).is_ok_and(|woken| woken > 0)
}
