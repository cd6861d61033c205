//! A worker process: serves one client, then ends, and all that the client held ends with it.

mod bank;
mod deferred;
mod held;
mod replay;
mod replies;
mod session;
mod stop;
mod tally;
mod touch;
mod waiters;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};
use vgpu_link::wire::Text;
use vgpu_link::wire::control::{Hello, Reason, Welcome};
use vgpu_link::{Link, LinkError, handshake, socket_link};

use crate::cli::WorkerOptions;
use crate::desk::{Ask, Desk, Tell};
use crate::device::Lent;
use crate::error::DaemonError;
use crate::log;
use crate::recording::{Player, Tape, TapedReceiver, TapedSender};
use crate::store::Store;
use bank::HostBank;
use replies::Replies;
use session::Session;
use tally::{CountedReceiver, CountedSender, Reporter, Tally};
use watch::Watch;

/// How long a client may take to introduce itself (design: links).
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(1);

/// Waits for a client, serves it, and returns when it is gone.
///
/// # Errors
/// [`DaemonError`] if the host process cannot be heard. What a client does wrong is no error of
/// ours: it is logged, and the worker ends all the same.
pub(crate) fn run(options: &WorkerOptions) -> Result<(), DaemonError> {
    // With the host process gone nobody keeps the ledger, so no client may go on.
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(DaemonError::system("binding the worker to the host process"))?;
    let stop = stop::Stop::watch()?;
    let desk = Desk::from_stdin()?;
    // All of the device that does not need a client, so that a client need not wait for it.
    let opened = options.source().open()?;
    desk.send(&Ask::Open { totals: opened.memory_totals() }, None)?;
    let images = Store::open(&options.images());
    let Some((Tell::Serve { session }, Some(client))) = desk.receive()? else {
        return Ok(());
    };
    stop.cut_off(&client)?;
    // What is recorded is recorded to its end.
    let watch = options.record.is_none().then(|| Watch::start(&client, session)).transpose()?;
    let mut link = Box::new(socket_link(client));
    let tally = options.counts.then(Arc::<Tally>::default);
    let counting = tally.as_ref().map(|tally| Reporter::start(&desk, tally)).transpose()?;
    // Kept to the end: the host process ends and collects a worker whose desk is closed.
    let mut device = None;
    let met = handshake::meet(&mut *link, Instant::now() + HANDSHAKE_LIMIT).map_err(Into::into);
    let met = met.and_then(|hello| {
        let Hello { pid, exe, .. } = hello;
        log::event("hello", &[("session", &session), ("pid", &pid), ("exe", &exe)]);
        let tape = options.record.clone().map(|path| Tape::new(path, session, exe.to_string()));
        let program = exe.to_string();
        let lent = device.insert(opened.lend(HostBank::open(desk, pid, exe)?, images));
        let host_version = Text::cut(env!("CARGO_PKG_VERSION"));
        let welcome = Welcome { host_version, epoch: options.epoch, session };
        // Without shared memory it goes on, only slower.
        if let Err(error) = link.grant() {
            log::event("no-ring", &[("session", &session), ("because", &log::chain(&error))]);
        }
        handshake::welcome(&mut *link, &welcome)?;
        link.settle()?;
        Ok::<_, DaemonError>((lent, program, tape))
    });
    let (mut sender, mut receiver) = link.split();
    let tape = met.as_ref().ok().and_then(|(_, _, tape)| tape.clone());
    if let Some(tape) = &tape {
        sender = Box::new(TapedSender { inner: sender, tape: Arc::clone(tape) });
        receiver = Box::new(TapedReceiver::new(receiver, Arc::clone(tape)));
    }
    if let Some(tally) = tally {
        sender = Box::new(CountedSender { inner: sender, tally: Arc::clone(&tally) });
        receiver = Box::new(CountedReceiver { inner: receiver, tally });
    }
    let replies = Arc::new(Replies::new(sender));
    let ended = match met {
        Ok((Lent::Devices(device), ..)) => {
            Session::new(receiver, Arc::clone(&replies), &mut **device).serve()
        }
        Ok((Lent::Recording { sections, .. }, program, _)) => {
            let player = Player::new(std::mem::take(sections), &program);
            replay::serve(receiver, &replies, player, session)?
        }
        Err(DaemonError::Link(error)) => Err(error),
        Err(error) => return Err(error),
    };
    drop(watch);
    match ended {
        Err(LinkError::Closed) if stop.is_asked() => {
            replies.goodbye(Reason::Stopping, "the host is being stopped");
        }
        Err(LinkError::Closed) | Ok(()) => {}
        Err(error) => {
            log::event("parted", &[("session", &session), ("because", &log::chain(&error))]);
        }
    }
    // The last of its report.
    drop(counting);
    if let Some(tape) = tape {
        tape.finish();
    }
    Ok(())
}
