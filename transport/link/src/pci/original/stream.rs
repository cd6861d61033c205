//! A stream of bytes by calls of the device.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::call::{Caller, Turns};
use super::registers::Registers;
use super::tunnel::{BYTES_MAX, CLOSE, Call, EXCHANGE, OPEN, VERSION};
use super::{BEAT, Fault};
use crate::{Stream, thread};

/// Bytes of the host that wait to be read: 256 KiB. None are fetched beyond.
const WAITING_BYTES_MAX: usize = 256 << 10;

/// Shortest and longest pause between two calls that ask for bytes. A pause is an eighth of the
/// time waited so far, so that it adds no more than that to the wait.
const PAUSES: [Duration; 2] = [Duration::from_micros(50), Duration::from_millis(10)];

/// A guest's stream by the original device.
///
/// The host has to be asked for its bytes. Who reads asks, more and more seldom; who writes is told
/// by the way; and a thread of the stream's own asks where nobody else does, so that the host can
/// tell a program that waits from one that died.
#[derive(Debug)]
pub struct Original<R: Registers> {
    shared: Arc<Shared<R>>,
}

#[derive(Debug)]
struct Shared<R> {
    device: Mutex<Device<R>>,
    inbox: Mutex<Inbox>,
    /// Told when bytes came, or the end.
    changed: Condvar,
    /// Set by the end; what the stream's own thread rests on.
    over: Mutex<bool>,
    ending: Condvar,
}

/// What makes calls, and where in the two streams it is.
#[derive(Debug)]
struct Device<R> {
    caller: Caller<R>,
    client: u64,
    sequence: u32,
    sent: u64,
    received: u64,
    /// When the host last answered.
    heard: Instant,
    /// Where answers come to lie.
    answer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Inbox {
    bytes: VecDeque<u8>,
    /// Set once no more will come, with the reason if it is none of the peer's.
    end: Option<Option<Fault>>,
}

/// What this thread can rely on after another's panic: all fields are whole at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R: Registers> Device<R> {
    /// Calls until an answer of this very call comes.
    fn call(&mut self, op: u32, room: u32, data: &[u8]) -> Result<super::tunnel::Answer, Fault> {
        // So long a call is tried again that the host had no time for, or whose answer was lost.
        let limit = Instant::now() + self.caller.patience;
        loop {
            self.sequence = self.sequence.wrapping_add(1);
            let Self { client, sequence, sent, received, .. } = *self;
            let call = Call { client, sequence, sent, received, room };
            let failed = match self.caller.call(op, call, data, &mut self.answer) {
                Ok(answer) if (answer.client, answer.sequence) == (client, sequence) => {
                    self.heard = Instant::now();
                    return Ok(answer);
                }
                // The answer of a call that was given up. Asked again, the host says the same:
                // a call names where in both streams it stands.
                Ok(_) => Fault::Contradiction { what: "another call's answer" },
                Err(fault) if fault.passes() => fault,
                Err(fault) => return Err(fault),
            };
            if Instant::now() >= limit {
                return Err(failed);
            }
            std::thread::sleep(PAUSES[1]);
        }
    }
}

impl<R: Registers> Shared<R> {
    /// Sends some of `out` and fetches what there is; returns how much was taken.
    fn exchange(&self, device: &mut Device<R>, out: &[u8]) -> Result<usize, Fault> {
        let waiting = lock(&self.inbox).bytes.len();
        let room = WAITING_BYTES_MAX.saturating_sub(waiting).min(BYTES_MAX);
        let out = &out[..out.len().min(BYTES_MAX)];
        let done = device.call(EXCHANGE, room as u32, out).and_then(|answer| {
            let taken = answer.accepted.checked_sub(device.sent);
            let taken = taken.filter(|taken| *taken <= out.len() as u64);
            let what = "more bytes taken than were sent";
            Ok((answer, taken.ok_or(Fault::Contradiction { what })?))
        });
        let mut inbox = lock(&self.inbox);
        let taken = match done {
            Ok((answer, taken)) => {
                device.sent += taken;
                device.received += device.answer.len() as u64;
                inbox.bytes.extend(&device.answer);
                if answer.ends && inbox.end.is_none() {
                    inbox.end = Some(None);
                }
                Ok(taken as usize)
            }
            Err(fault) => {
                inbox.end.get_or_insert(Some(fault));
                Err(fault)
            }
        };
        if !inbox.bytes.is_empty() || inbox.end.is_some() {
            self.changed.notify_all();
        }
        taken
    }

    /// Waits a moment, or until bytes came.
    fn rest(&self, began: Instant, limit: Option<Instant>) -> io::Result<()> {
        let now = Instant::now();
        let left = limit.map_or(PAUSES[1], |limit| limit.saturating_duration_since(now));
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let pause = ((now - began) / 8).clamp(PAUSES[0], PAUSES[1]).min(left);
        let inbox = lock(&self.inbox);
        if inbox.bytes.is_empty() && inbox.end.is_none() {
            drop(self.changed.wait_timeout(inbox, pause));
        }
        Ok(())
    }

    /// Asks where nobody else did for a while; returns whether to go on.
    fn beat(&self) -> bool {
        let over = lock(&self.over);
        let waited = self.ending.wait_timeout_while(over, BEAT, |over| !*over);
        if *waited.unwrap_or_else(PoisonError::into_inner).0 {
            return false;
        }
        let mut device = match self.device.try_lock() {
            Ok(device) => device,
            // Whoever has it asks.
            Err(TryLockError::WouldBlock) => return true,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        device.heard.elapsed() < BEAT || self.exchange(&mut device, &[]).is_ok()
    }

    /// Ends it for everybody who waits; returns false if it was over already.
    fn finish(&self) -> bool {
        let was_over = std::mem::replace(&mut *lock(&self.over), true);
        self.ending.notify_all();
        lock(&self.inbox).end.get_or_insert(None);
        self.changed.notify_all();
        !was_over
    }
}

impl<R: Registers> Original<R> {
    /// Begins a client by a device of which each program has two files open for itself, to take
    /// turns by; before `limit`, and afterwards nothing is waited for longer than `patience`.
    ///
    /// # Errors
    /// A [`Fault`] if it is no such device, or nobody behind it takes this client on; an I/O error
    /// if the system has no thread left.
    pub(super) fn open(
        registers: R,
        turns: [File; 2],
        limit: Instant,
        patience: Duration,
    ) -> io::Result<Self> {
        let opening = limit.saturating_duration_since(Instant::now());
        let caller = Caller::new(registers, Turns::new(turns), opening)?;
        let mut device = Device {
            caller,
            // Until the host has given a number. Only tells this call from others of the guest.
            client: super::random(),
            sequence: 0,
            sent: 0,
            received: 0,
            heard: Instant::now(),
            answer: Vec::new(),
        };
        device.client = device.call(OPEN, VERSION, &[])?.accepted;
        device.caller.patience = patience;
        let shared = Arc::new(Shared {
            device: Mutex::new(device),
            inbox: Mutex::default(),
            changed: Condvar::new(),
            over: Mutex::new(false),
            ending: Condvar::new(),
        });
        let beating = Arc::clone(&shared);
        // It ends with the stream, of which it keeps no half.
        thread::start_thread("vgpu-beat", move || while beating.beat() {})?;
        Ok(Self { shared })
    }
}

impl<R: Registers> Stream for Original<R> {
    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        let (shared, began) = (&self.shared, Instant::now());
        loop {
            {
                let mut inbox = lock(&shared.inbox);
                if !inbox.bytes.is_empty() {
                    return io::Read::read(&mut inbox.bytes, into);
                }
                match inbox.end {
                    None => {}
                    Some(None) => return Ok(0),
                    Some(Some(fault)) => return Err(fault.into()),
                }
            }
            let asked = match shared.device.try_lock() {
                Ok(mut device) => shared.exchange(&mut device, &[]),
                // Whoever has it asks, and tells.
                Err(_) => Ok(0),
            };
            // What failed is found in the inbox, behind the bytes that came before.
            if asked.is_ok() && lock(&shared.inbox).bytes.is_empty() {
                shared.rest(began, limit)?;
            }
        }
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        let (shared, began) = (&self.shared, Instant::now());
        let mut joined = Vec::new();
        let out = match parts.iter().find(|part| !part.is_empty()) {
            // A header with its fields fits into one call.
            Some(first) if first.len() < BYTES_MAX => {
                for part in parts {
                    let room = BYTES_MAX - joined.len();
                    joined.extend_from_slice(&part[..part.len().min(room)]);
                }
                &joined[..]
            }
            Some(first) => first,
            None => return Ok(0),
        };
        loop {
            if *lock(&shared.over) || matches!(lock(&shared.inbox).end, Some(None)) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            match shared.exchange(&mut lock(&shared.device), out)? {
                0 => shared.rest(began, limit)?,
                taken => return Ok(taken),
            }
        }
    }

    fn close(&self) {
        if self.shared.finish() {
            let mut device = lock(&self.shared.device);
            // A host that does not hear it hears no beat either.
            let _ = device.call(CLOSE, 0, &[]);
        }
    }
}

impl<R: Registers> Drop for Original<R> {
    fn drop(&mut self) {
        self.close();
    }
}
