//! The one connection of this library in this process.
//!
//! It is made by the first call that needs the host, by no thread of its own. All threads share
//! it: one that waits for its answer does not hold up the others.
//!
//! - **No host**: the attempt ends within [`CONNECT_TIME_MAX`], one line says why and what to do,
//!   and the call is answered [`Failure::NoHost`]. The next call tries again, but not before a
//!   pause that grows with each failure: a host that was early or late is still found, and a
//!   program that asks in a loop is not held up.
//! - **A lost connection** stays lost: the host has freed what this process had on its devices,
//!   so every later call is answered [`Failure::Lost`]. Only a library that keeps nothing there
//!   may begin anew ([`forget_lost`]).

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use vgpu_link::wire::Request;
use vgpu_link::wire::control::{Collect, SnapshotReply};

use crate::boundary::Fault;
use crate::connect::connect;
use crate::conversation::Conversation;
use crate::current::Caller;
use crate::destination::Destination;
use crate::shared::Shared;
use crate::{current, fork, log};

/// Longest time that an attempt to reach the host may take, all links together: 0.9 s, so that
/// `cuInit` answers within the second that the design promises.
pub const CONNECT_TIME_MAX: Duration = Duration::from_millis(900);

/// First pause after a failed attempt; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Longest pause between two attempts: a host that comes up is found within this time.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Says why the host did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The host did not do it and gave the library's own result code.
    #[error("the host refused with code {code}")]
    Refused {
        /// Code in the numbers of the library that was called, never 0.
        code: u16,
    },
    /// There is no host, or it turned us away; the log says why.
    #[error("no host can be reached")]
    NoHost,
    /// The connection ended, or the peer broke the protocol.
    #[error("the connection to the host is lost")]
    Lost,
}

impl Failure {
    /// Names the failure in the numbers of a library.
    pub fn fault<E: Fault>(self) -> E {
        match self {
            Self::Refused { code } => E::from_code(u32::from(code)),
            Self::NoHost => E::NO_HOST,
            Self::Lost => E::LOST,
        }
    }
}

enum State {
    Down { pause: Duration, not_before: Option<Instant> },
    Up(Arc<Conversation>),
    Lost,
}

const FRESH: State = State::Down { pause: PAUSE_MIN, not_before: None };

static STATE: Mutex<State> = Mutex::new(FRESH);

/// Returns what the host told about its devices, connecting first if need be.
pub fn snapshot() -> Result<Arc<SnapshotReply>, Failure> {
    with(|conversation, caller| conversation.snapshot(caller))
}

/// Asks, and waits for the answer.
pub fn call<R: Request>(request: &R) -> Result<R::Reply, Failure> {
    with(|conversation, caller| conversation.call(caller, request))
}

/// Asks for something that is not answered; its error comes with a later synchronising call.
pub fn post<R: Request>(request: &R) -> Result<(), Failure> {
    with(|conversation, caller| conversation.post(caller, request, &[]))
}

/// Asks for a copy into the program's memory behind what a stream does; a later [`call`] that
/// synchronises brings its contents. `request` is made with the number of the copy. `false` if too
/// much is under way: then some of it has to be waited for.
pub fn post_copy<R: Request>(
    place: Destination,
    request: impl FnOnce(u64) -> R,
) -> Result<bool, Failure> {
    with(|conversation, caller| conversation.post_copy(caller, place, request))
}

/// Says whether copies into the program's memory are under way.
pub fn has_copies() -> Result<bool, Failure> {
    with(|conversation, _| Ok(conversation.copies_bytes().is_some()))
}

/// Says whether a copy is under way into any of `bytes` bytes from `address`.
pub fn has_copies_into(address: u64, bytes: u64) -> Result<bool, Failure> {
    with(|conversation, _| Ok(conversation.copies_into(address, bytes)))
}

/// Drops what copies bring for any of `bytes` bytes from `address`, because that memory goes now.
pub fn give_up_copies_into(address: u64, bytes: u64) -> Result<(), Failure> {
    with(|conversation, _| {
        conversation.give_up_copies_into(address, bytes);
        Ok(())
    })
}

/// Asks for what synchronises with earlier work, and waits for the answer and for the contents of
/// the copies that are complete then: one wait for both.
pub fn call_and_collect<R: Request>(request: &R) -> Result<R::Reply, Failure> {
    with(|conversation, caller| match conversation.copies_bytes() {
        None => conversation.call(caller, request),
        Some(_) => conversation.collect(caller, Some(request))?.ok_or(Failure::Lost),
    })
}

/// Waits for the contents of the copies that are complete, if any are under way.
pub fn collect() -> Result<(), Failure> {
    with(|conversation, caller| match conversation.copies_bytes() {
        None => Ok(()),
        Some(_) => conversation.collect::<Collect>(caller, None).map(drop),
    })
}

/// Sends memory contents with requests that are not answered, one for each part.
///
/// The contents are sent, or copied, when this returns: the caller may change them.
pub fn post_parts<'a, R: Request>(
    parts: impl Iterator<Item = (R, &'a [u8])>,
) -> Result<(), Failure> {
    with(|conversation, caller| {
        for (request, bulk) in parts {
            conversation.post(caller, &request, bulk)?;
        }
        Ok(())
    })
}

/// Sends memory contents, one request for each part, and waits until the host has done them all.
///
/// Each part holds at most [`vgpu_link::wire::header::BULK_BYTES_MAX`] bytes. After the first
/// refusal no further part is sent.
pub fn send_parts<'a, R: Request>(
    parts: impl Iterator<Item = (R, &'a [u8])>,
) -> Result<(), Failure> {
    with(|conversation, caller| conversation.send_parts(caller, parts))
}

/// Fetches memory contents, one request for each part, into the given places.
///
/// Each part holds at most [`vgpu_link::wire::header::BULK_BYTES_MAX`] bytes. After the first
/// refusal no further part is asked for; what was fetched until then is in its place.
pub fn fetch_parts<'a, R: Request>(
    parts: impl Iterator<Item = (R, &'a mut [u8])>,
) -> Result<(), Failure> {
    with(|conversation, caller| conversation.fetch_parts(caller, parts))
}

/// Returns the memory that the host sees, too; none where the link shares none.
pub fn shared() -> Result<Option<Arc<Shared>>, Failure> {
    with(|conversation, _| Ok(conversation.shared().cloned()))
}

/// Lets the next call connect anew after the connection was lost.
///
/// Only for a library whose calls leave nothing on the host, such as NVML.
pub fn forget_lost() {
    if let Some(mut state) = lock()
        && matches!(*state, State::Lost)
    {
        *state = FRESH;
    }
}

/// Says whether this process was forked from one that has a connection.
pub fn is_forked_child() -> bool {
    fork::is_forked_child()
}

/// Lets a forked child make a connection of its own; its parent keeps the one that it has.
///
/// Only for a library whose calls leave nothing on the host, such as NVML. `false` if another
/// thread of the parent was using the connection at the moment of the fork: what that thread held
/// is held for ever in the child.
pub fn begin_anew_after_fork() -> bool {
    if !fork::is_forked_child() {
        return true;
    }
    let Ok(mut state) = STATE.try_lock() else { return false };
    if let State::Up(conversation) = &*state
        && Arc::strong_count(conversation) > 1
    {
        return false;
    }
    *state = FRESH;
    fork::release();
    true
}

fn lock() -> Option<MutexGuard<'static, State>> {
    // Nothing panics while it is held, but for a bug in connecting: no conversation then.
    STATE.lock().ok()
}

fn with<T>(work: impl FnOnce(&Conversation, Caller) -> Result<T, Failure>) -> Result<T, Failure> {
    let conversation = conversation()?;
    let outcome = work(&conversation, current::caller());
    if matches!(outcome, Err(Failure::Lost))
        && let Some(mut state) = lock()
        && matches!(&*state, State::Up(current) if Arc::ptr_eq(current, &conversation))
    {
        *state = State::Lost;
    }
    outcome
}

/// Returns the conversation with the host, beginning it if need be.
fn conversation() -> Result<Arc<Conversation>, Failure> {
    let mut state = lock().ok_or(Failure::Lost)?;
    if let State::Down { pause, not_before } = &*state {
        let wait = not_before.is_some_and(|not_before| Instant::now() < not_before);
        *state = if wait { return Err(Failure::NoHost) } else { attempt(*pause) };
    }
    match &*state {
        State::Up(conversation) => Ok(Arc::clone(conversation)),
        State::Down { .. } => Err(Failure::NoHost),
        State::Lost => Err(Failure::Lost),
    }
}

fn attempt(pause: Duration) -> State {
    static SAID: log::Once = log::Once::new();
    // Claimed before the attempt: a child that another thread forks meanwhile inherits the lock
    // that we hold, and must be turned away before it waits for it.
    fork::claim();
    match connect(Instant::now() + CONNECT_TIME_MAX) {
        Ok(conversation) => State::Up(Arc::new(conversation)),
        Err(error) => {
            fork::release();
            SAID.warn(format_args!("{}", error.line()));
            let not_before = Some(Instant::now() + pause);
            State::Down { pause: (pause * 2).min(PAUSE_MAX), not_before }
        }
    }
}
