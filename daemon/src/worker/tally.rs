//! Counts what passes between the client and its worker, for the host's metrics.
//!
//! It stands around the halves of the link, as a recording does, and only where somebody wants to
//! know: an answered call costs a lock that nobody else holds and two looks at the clock, a message
//! that is not answered three plain stores.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender as Signal, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vgpu_abi::cuda::CUmemorytype;
use vgpu_link::wire::control::NextFunction;
use vgpu_link::wire::cuda::{NodeCopy, SpanCopy, SpanCopyAsync};
use vgpu_link::wire::header::HEADER_BYTES;
use vgpu_link::wire::{Header, Kind, Payload as _, Request};
use vgpu_link::{Closer, LinkError, Receiver, Sender};

use crate::counts::{Counts, Wait};
use crate::desk::{Ask, Desk};
use crate::error::DaemonError;
use crate::log;

/// How often what is new is reported: a scrape every 15 seconds, which is usual, sees nothing
/// older than that.
const INTERVAL: Duration = Duration::from_secs(5);

/// Most calls that are timed at once. A guest has one for each of its threads; those beyond are
/// counted when they are answered, but not timed.
const TIMED_MAX: usize = 1024;

/// The numbers so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Written by the thread that reads.
    posts: AtomicU64,
    received_bytes: AtomicU64,
    /// Written by the same thread, which gives copies to the device as well.
    pinned_received_bytes: AtomicU64,
    pinned_sent_bytes: AtomicU64,
    answered: Mutex<Answered>,
}

#[derive(Debug, Default)]
struct Answered {
    /// When the calls came that are not answered yet, by thread and sequence.
    open: HashMap<(u32, u32), Instant>,
    counts: Counts,
}

impl Tally {
    fn came(&self, header: &Header) {
        let bytes =
            HEADER_BYTES as u64 + u64::from(header.payload_bytes) + u64::from(header.bulk_bytes);
        // Only one thread receives.
        self.received_bytes.store(self.received_bytes.load(Relaxed) + bytes, Relaxed);
        match header.kind {
            // It waits for what the program is to do next, for as long as that takes.
            Kind::Call if header.opcode == NextFunction::OPCODE => {}
            Kind::Call => {
                let mut answered = self.answered();
                if answered.open.len() < TIMED_MAX {
                    answered.open.insert((header.thread, header.sequence), Instant::now());
                }
            }
            _ => self.posts.store(self.posts.load(Relaxed) + 1, Relaxed),
        }
    }

    fn went(&self, header: &Header, bytes: usize) {
        let mut answered = self.answered();
        let began = answered.open.remove(&(header.thread, header.sequence));
        let counts = &mut answered.counts;
        counts.sent_bytes += (HEADER_BYTES + bytes) as u64;
        if header.kind == Kind::Reply && header.opcode != NextFunction::OPCODE {
            counts.calls += 1;
            counts.errors += u64::from(header.status != 0);
        }
        if let Some(began) = began {
            counts.answered(began.elapsed());
        }
    }

    fn counts(&self) -> Counts {
        let counts = self.answered().counts.clone();
        Counts {
            posts: self.posts.load(Relaxed),
            received_bytes: self.received_bytes.load(Relaxed),
            pinned_received_bytes: self.pinned_received_bytes.load(Relaxed),
            pinned_sent_bytes: self.pinned_sent_bytes.load(Relaxed),
            ..counts
        }
    }

    fn answered(&self) -> std::sync::MutexGuard<'_, Answered> {
        // Every number is right by itself, whatever became of a thread that held it.
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts what messages wait for and what they copy, where somebody wants to know; else not even
/// the clock is looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waits(pub(super) Option<Arc<Tally>>);

impl Waits {
    /// Counts the bytes of a message that copies pinned memory, which the device has taken on if
    /// its status is 0. Runs of graphs are not looked into.
    pub fn copied(&self, opcode: u32, payload: &[u8], status: u32) {
        let Some(tally) = self.0.as_ref().filter(|_| status == 0) else { return };
        let copy = match opcode {
            SpanCopy::OPCODE => SpanCopy::from_payload(payload).map(|r| r.copy),
            SpanCopyAsync::OPCODE => SpanCopyAsync::from_payload(payload).map(|r| r.copy),
            _ => return,
        };
        // The device has decoded the same bytes.
        let Ok(NodeCopy { from, width_bytes, height, depth, .. }) = copy else { return };
        let bytes = width_bytes.saturating_mul(height).saturating_mul(depth);
        let to_device = from.kind == CUmemorytype::HOST.0;
        let count = if to_device { &tally.pinned_received_bytes } else { &tally.pinned_sent_bytes };
        count.store(count.load(Relaxed).saturating_add(bytes), Relaxed);
    }

    /// Begins a wait.
    pub fn begin(&self) -> Option<Instant> {
        self.0.as_ref().map(|_| Instant::now())
    }

    /// Counts one that is over.
    pub fn end(&self, what: Wait, began: Option<Instant>) {
        if let (Some(tally), Some(began)) = (&self.0, began) {
            tally.answered().counts.waited(what, began.elapsed());
        }
    }
}

/// Tells the host process what was counted: in intervals while something is new, and at the end.
#[derive(Debug)]
pub(super) struct Reporter {
    end: Option<Signal<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Starts to report.
    ///
    /// # Errors
    /// [`DaemonError::System`] if the system has no more file descriptors or threads.
    pub fn start(desk: &Desk, tally: &Arc<Tally>) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::System { verb: "counting messages", source };
        let (desk, tally) = (desk.try_clone()?, Arc::clone(tally));
        let (end, ended) = channel::<()>();
        let report = move || {
            let mut told = Counts::default();
            loop {
                let waits = ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout);
                let counts = tally.counts();
                let news = counts.since(&told);
                if news != Counts::default()
                    && let Err(error) = desk.send(&Ask::Count(Box::new(news)), None)
                {
                    return log::event("not-counted", &[("because", &log::chain(&error))]);
                }
                told = counts;
                if !waits {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("counts".into());
        let thread = thread.spawn(report).map_err(failed)?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has nothing more to report.
            let _ = thread.join();
        }
    }
}

/// Sends, and counts what was sent.
pub(super) struct CountedSender {
    /// The half that sends.
    pub inner: Box<dyn Sender>,
    /// Where it is counted.
    pub tally: Arc<Tally>,
}

impl Sender for CountedSender {
    fn send(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), LinkError> {
        self.inner.send(header, payload, bulk)?;
        self.tally.went(header, payload.len() + bulk.len());
        Ok(())
    }

    fn limit_sends(&mut self, limit: Option<Instant>) {
        self.inner.limit_sends(limit);
    }

    fn closer(&self) -> Closer {
        self.inner.closer()
    }
}

/// Receives, and counts what was received.
pub(super) struct CountedReceiver {
    /// The half that receives.
    pub inner: Box<dyn Receiver>,
    /// Where it is counted.
    pub tally: Arc<Tally>,
}

impl Receiver for CountedReceiver {
    fn header(&mut self) -> Result<Header, LinkError> {
        let header = self.inner.header()?;
        self.tally.came(&header);
        Ok(header)
    }

    fn payload(&mut self, header: &Header, payload: &mut Vec<u8>) -> Result<(), LinkError> {
        self.inner.payload(header, payload)
    }

    fn bulk(&mut self, place: &mut [u8]) -> Result<(), LinkError> {
        self.inner.bulk(place)
    }

    fn limit_waits(&mut self, limit: Option<Instant>) {
        self.inner.limit_waits(limit);
    }
}
