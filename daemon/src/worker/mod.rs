//! A worker process: serves one client, then ends, and all that the client held ends with it.

mod bank;
mod confine;
mod deaf;
mod deferred;
mod held;
mod ration;
mod replay;
mod replies;
mod session;
mod stop;
mod tally;
mod touch;
mod waiters;
mod watch;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};
use vgpu_link::pci::ivshmem;
use vgpu_link::tls::{self, TlsStream};
use vgpu_link::wire::Text;
use vgpu_link::wire::control::{Hello, Reason, Welcome};
use vgpu_link::wire::limits::EXE_BYTES_MAX;
use vgpu_link::{
    GRAIN_BYTES, Link, LinkError, Receiver, Sender, StreamLink, handshake, socket_link,
};

use crate::cli::WorkerOptions;
use crate::desk::{Ask, Desk, Share, Tell, Way, sheet};
use crate::device::Lent;
use crate::error::DaemonError;
use crate::log::{self, Allowance};
use crate::recording::{Player, Tape, TapedReceiver, TapedSender};
use crate::store::Store;
use bank::HostBank;
use ration::Ration;
use replies::Replies;
use session::Session;
use tally::{CountedReceiver, CountedSender, Reporter, Tally, Waits};
use watch::Watch;

/// How long a client may take to introduce itself (design: links).
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(1);

/// Most lines at once that a client may cause in its worker.
const LINES: u32 = 12;

/// How long until it may cause one more.
const LINES_TURN: Duration = Duration::from_secs(10);

/// Waits for a client, serves it, and returns when it is gone.
///
/// # Errors
/// [`DaemonError`] if the host process cannot be heard. What a client does wrong is no error of
/// ours: it is logged, and the worker ends all the same.
pub(crate) fn run(options: &WorkerOptions) -> Result<(), DaemonError> {
    deaf::ignore_reload_and_drain();
    // With the host process gone nobody keeps the ledger, so no client may go on.
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(DaemonError::system("binding the worker to the host process"))?;
    // Makes its directory, which is all that the worker may write to from then on.
    let images = Store::open(&options.images());
    log::open();
    let memory = confine::confine(options)?;
    let stop = stop::Stop::watch()?;
    let desk = Desk::from_stdin()?;
    // All of the device that does not need a client, so that a client need not wait for it.
    let Some(opened) = open_devices(&desk, options)? else { return Ok(()) };
    let Some((Tell::Serve { session, way, is_told }, handed)) = desk.receive_all()? else {
        return Ok(());
    };
    let Some((client, handed)) = begin(is_told, handed) else { return Ok(()) };
    stop.cut_off(&client)?;
    // What is recorded is recorded to its end.
    let watch =
        options.record.is_none().then(|| Watch::start(&client, session, &stop)).transpose()?;
    let limit = Instant::now() + HANDSHAKE_LIMIT;
    let (mut link, certificate) = match open(way, client, handed, limit) {
        Ok(opened) => opened,
        Err(error) => {
            parted(session, &error);
            return Ok(());
        }
    };
    let tally = options.counts.then(Arc::<Tally>::default);
    let counting = tally.as_ref().map(|tally| Reporter::start(&desk, tally)).transpose()?;
    // Kept to the end: the host process ends and collects a worker whose desk is closed.
    let mut device = None;
    let met = handshake::meet(&mut *link, limit).map_err(Into::into);
    let met = met.and_then(|hello| {
        introduced(session, &hello, certificate.as_ref());
        let Hello { pid, exe, .. } = hello;
        let tape = options.record.clone().map(|path| Tape::new(path, session, exe.to_string()));
        let program = exe.to_string();
        let (bank, share, timer) = HostBank::open(desk, pid, exe, certificate)?;
        confine::limit_memory(&opened, &share, memory)?;
        let ration = share.rate.zip(timer).map(|(rate, timer)| Ration::new(timer, rate));
        grant(&*link, bulk_bytes(options, &share), session);
        let lent = device.insert(opened.lend(&share.gpus, link.area(), bank, images));
        welcome(&mut *link, options.epoch, session)?;
        Ok::<_, DaemonError>((lent, program, tape, ration))
    });
    let tape = met.as_ref().ok().and_then(|(_, _, tape, _)| tape.clone());
    let waits = Waits(tally.clone());
    let (sender, receiver) = overheard(link, tape.as_ref(), tally);
    let replies = Arc::new(Replies::new(sender));
    let ended = match met {
        Ok((Lent::Devices(device), .., ration)) => {
            let session = Session::new(receiver, Arc::clone(&replies), &mut **device, ration);
            session.counting(waits).serve()
        }
        Ok((Lent::Recording { sections, .. }, program, ..)) => {
            let player = Player::new(std::mem::take(sections), &program);
            replay::serve(receiver, &replies, player, session)?
        }
        Err(DaemonError::Link(error)) => Err(error),
        Err(DaemonError::TurnedAway { refusal, text }) => {
            replies.turn_away(refusal, &text);
            Ok(())
        }
        Err(error) => return Err(error),
    };
    drop(watch);
    part(ended, &stop, &replies, session);
    // The last of its report.
    drop(counting);
    if let Some(tape) = tape {
        tape.finish();
    }
    // It has the connection, which the end of this process closes: to do so here may take as long
    // as its client likes, by what it left unread.
    std::mem::forget(replies);
    Ok(())
}

/// Opens the devices by what the host process knows of them, and tells it what it does not; `None`
/// if it is gone.
fn open_devices(
    desk: &Desk,
    options: &WorkerOptions,
) -> Result<Option<crate::device::Opened>, DaemonError> {
    let Some((Tell::Known, sheet)) = desk.receive()? else { return Ok(None) };
    let known = sheet.map(sheet::read).transpose()?;
    let opened = options.source().open(known.as_ref())?;
    let found = opened.snapshot().filter(|found| Some(found) != known.as_ref());
    let sheet = found.as_ref().map(sheet::written).transpose()?;
    desk.send(&Ask::Open, sheet.as_ref().map(AsFd::as_fd))?;
    Ok(Some(opened))
}

/// Begins with a client: takes its connection apart from what else was handed over, and limits what
/// it may cause in the log.
fn begin(is_told: bool, handed: Vec<OwnedFd>) -> Option<(OwnedFd, impl Iterator<Item = OwnedFd>)> {
    log::limit(Allowance::new(if is_told { LINES } else { 0 }, LINES_TURN, Instant::now()));
    let mut handed = handed.into_iter();
    Some((handed.next()?, handed))
}

/// Says who the client is.
fn introduced(session: u64, hello: &Hello, certificate: Option<&Text<EXE_BYTES_MAX>>) {
    log::event("hello", &[("session", &session), ("pid", &hello.pid), ("exe", &hello.exe)]);
    if let Some(certificate) = certificate {
        log::event("certified", &[("session", &session), ("tenant", certificate)]);
    }
}

/// Says how much memory is shared with the client for what it pins: at most what its worker may
/// take. What lies there is in no frame, so none where frames are recorded, or come of a recording.
fn bulk_bytes(options: &WorkerOptions, share: &Share) -> u64 {
    if options.record.is_some() || options.replay.is_some() {
        return 0;
    }
    let bytes =
        share.host_memory.map_or(options.pinned_bytes, |most| most.min(options.pinned_bytes));
    bytes - bytes % GRAIN_BYTES
}

/// Agrees with a client on the quickest way that the link has. Without shared memory it goes on,
/// only slower.
fn grant(link: &dyn Link, bulk_bytes: u64, session: u64) {
    if let Err(error) = link.grant(bulk_bytes) {
        log::event("no-ring", &[("session", &session), ("because", &log::chain(&error))]);
    }
}

/// Accepts a client.
fn welcome(link: &mut dyn Link, epoch: u64, session: u64) -> Result<(), LinkError> {
    let host_version = Text::cut(env!("CARGO_PKG_VERSION"));
    handshake::welcome(link, &Welcome { host_version, epoch, session })?;
    link.settle()
}

/// Says why the conversation ended: to the client if the host ends it, to the log if nobody did.
fn part(ended: Result<(), LinkError>, stop: &stop::Stop, replies: &Replies, session: u64) {
    match ended {
        Err(LinkError::Closed) if stop.is_asked() => {
            replies.goodbye(Reason::Stopping, "the host is being stopped");
        }
        Err(LinkError::Closed) | Ok(()) => {}
        Err(error) => parted(session, &error),
    }
}

/// Says why a connection ended that did not just close.
fn parted(session: u64, error: &LinkError) {
    log::event("parted", &[("session", &session), ("because", &log::chain(error))]);
}

/// Takes a link apart for the threads of a session, with those between that write down and count.
fn overheard(
    link: Box<dyn Link>,
    tape: Option<&Arc<Tape>>,
    tally: Option<Arc<Tally>>,
) -> (Box<dyn Sender>, Box<dyn Receiver>) {
    let (mut sender, mut receiver) = link.split();
    if let Some(tape) = tape {
        sender = Box::new(TapedSender { inner: sender, tape: Arc::clone(tape) });
        receiver = Box::new(TapedReceiver::new(receiver, Arc::clone(tape)));
    }
    if let Some(tally) = tally {
        sender = Box::new(CountedSender { inner: sender, tally: Arc::clone(&tally) });
        receiver = Box::new(CountedReceiver { inner: receiver, tally });
    }
    (sender, receiver)
}

/// A link to a client, and the tenant that its certificate names.
type Opened = (Box<dyn Link>, Option<Text<EXE_BYTES_MAX>>);

/// Makes a link of a connection, and of what was handed over with it.
fn open(
    way: Way,
    client: OwnedFd,
    mut handed: impl Iterator<Item = OwnedFd>,
    limit: Instant,
) -> Result<Opened, LinkError> {
    match way {
        Way::Plain => Ok((Box::new(socket_link(client)), None)),
        Way::Slot(place) => {
            let memory = handed.next().ok_or(LinkError::Closed)?;
            let slot = ivshmem::serve(&place, &memory, handed.next(), client)?;
            Ok((Box::new(StreamLink::new(slot)), None))
        }
        Way::Tls(credentials) => {
            let (stream, tenant) = TlsStream::accept(client, &credentials, limit)?;
            // A name too long to be one of the configuration is none of a tenant's.
            let tenant = tenant.filter(|name| name.len() <= EXE_BYTES_MAX);
            Ok((Box::new(tls::link(stream)), tenant.map(|name| Text::cut(&name))))
        }
    }
}
