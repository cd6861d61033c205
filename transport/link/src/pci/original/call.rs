//! One call of the device: who may make it, how it is begun, and how its end is noticed.

use std::fs::File;
use std::sync::atomic::{Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::registers::{self, Registers, status};
use super::tunnel::{ARGS, Answer, BYTES_MAX, Call, RESULTS};
use super::{Fault, registers as reg};

/// Pauses between two looks at the device. It is emulated by threads of the host that also have to
/// bring the answer: looking without a pause would only keep them from it.
const PAUSES: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(1)];

/// After so many looks at STATUS, RESPONSE_LEN counts as well: guests were seen that never read
/// STATUS as done.
const LOOKS_AT_STATUS: u32 = 30;

/// Lets the programs of a guest use the device in turns, by locks that end with their holder.
///
/// Two of them: whoever has the first is the next to have the second. With one, the program that
/// just had its turn would take it again before any other has woken.
#[derive(Debug)]
pub(super) struct Turns {
    next: File,
    device: File,
}

impl Turns {
    /// Takes part, by two files that all programs of the guest open each for themselves.
    pub fn new([next, device]: [File; 2]) -> Self {
        Self { next, device }
    }

    fn wait(&self, limit: Instant) -> Result<Turn<'_>, Fault> {
        let _next = lock(&self.next, limit)?;
        lock(&self.device, limit)
    }
}

/// A lock that is held.
struct Turn<'a>(&'a File);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Fails for no lock that is held; closing the file would end it as well.
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

fn lock(file: &File, limit: Instant) -> Result<Turn<'_>, Fault> {
    until(limit, || match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Some(Ok(Turn(file))),
        Err(Errno::WOULDBLOCK | Errno::INTR) => None,
        Err(_) => Some(Err(Fault::Contradiction { what: "its files cannot be locked" })),
    })
    .unwrap_or(Err(Fault::Crowded))
}

/// Asks until there is an answer or `limit` has passed, in pauses that grow.
fn until<T>(limit: Instant, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let mut pause = PAUSES[0];
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= limit {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 3 / 2).min(PAUSES[1]);
    }
}

/// Makes calls of the device.
#[derive(Debug)]
pub(super) struct Caller<R> {
    registers: R,
    turns: Turns,
    /// How long a turn is waited for, and an answer.
    pub patience: Duration,
}

impl<R: Registers> Caller<R> {
    /// Takes up a device, after a look at whether it is one.
    pub fn new(registers: R, turns: Turns, patience: Duration) -> Result<Self, Fault> {
        match registers.read32(reg::PROTOCOL_VER) {
            reg::VERSION => {}
            reg::GONE => return Err(Fault::Gone),
            found => return Err(Fault::Version { found }),
        }
        let found = registers.read32(reg::CAPABILITIES);
        if found & reg::NEEDED != reg::NEEDED {
            return Err(Fault::Incapable { found });
        }
        let caller = Self { registers, turns, patience };
        caller.forget_shared_memory()?;
        Ok(caller)
    }

    /// Gives back memory that a program of the original system registered and left.
    ///
    /// While some is registered, the emulator may send what lies there in place of our data: it
    /// chooses by whether the first bytes are zero.
    fn forget_shared_memory(&self) -> Result<(), Fault> {
        if self.registers.read32(reg::SHMEM_CTRL) == 0 {
            return Ok(());
        }
        let _turn = self.turns.wait(self.limit())?;
        self.settled()?;
        self.registers.write32(reg::SHMEM_CTRL, 0);
        match self.registers.read32(reg::SHMEM_CTRL) {
            0 => Ok(()),
            _ => Err(Fault::Contradiction { what: "shared memory stays registered" }),
        }
    }

    /// Makes one call and waits for its answer, whose data come to lie in `answer`.
    pub fn call(
        &self,
        op: u32,
        call: Call,
        data: &[u8],
        answer: &mut Vec<u8>,
    ) -> Result<Answer, Fault> {
        assert!(data.len() <= BYTES_MAX, "callers cut their data");
        let _turn = self.turns.wait(self.limit())?;
        self.settled()?;
        self.begin(op, call, data);
        self.end()?;
        let results = self.answer(call.room, answer)?;
        Answer::from_results(results)
    }

    fn limit(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// Waits until no call is under way, such as one whose program was killed.
    fn settled(&self) -> Result<(), Fault> {
        let limit = self.limit();
        let free = until(limit, || match self.registers.read32(reg::STATUS) {
            status::BUSY => None,
            reg::GONE => Some(Err(Fault::Gone)),
            _ => Some(Ok(())),
        });
        free.unwrap_or(Err(Fault::Stuck))
    }

    fn begin(&self, op: u32, call: Call, data: &[u8]) {
        let device = &self.registers;
        if data.len() <= registers::SMALL_BYTES {
            for (at, chunk) in (reg::REQUEST_DATA..).step_by(4).zip(data.chunks(4)) {
                let mut word = [0; 4];
                word[..chunk.len()].copy_from_slice(chunk);
                device.write32(at, u32::from_le_bytes(word));
            }
        } else {
            device.put(data);
        }
        device.write32(reg::SCRATCH, std::process::id());
        device.write32(reg::OP, op);
        device.write32(reg::SEQUENCE, call.sequence);
        device.write32(reg::NUM_ARGS, ARGS as u32);
        device.write32(reg::DATA_LEN, data.len() as u32);
        for (at, value) in (reg::ARGS..).step_by(4).zip(call.to_args()) {
            device.write32(at, value);
        }
        // All of it is to be there before the bell; the read waits until it is.
        fence(Ordering::SeqCst);
        device.read32(reg::DATA_LEN);
        device.write32(reg::DOORBELL, 1);
    }

    /// Waits for the end of the call that was begun.
    fn end(&self) -> Result<(), Fault> {
        let (device, limit) = (&self.registers, self.limit());
        // Until the bell was heard, STATUS is still that of an earlier call. Always true at once
        // where a write reaches the device before the next read does.
        until(limit, || (device.read32(reg::DOORBELL) == 0).then_some(()))
            .ok_or(Fault::NoAnswer)?;
        let mut looks = 0;
        let ended = until(limit, || {
            looks += 1;
            match device.read32(reg::STATUS) {
                status::DONE => Some(Ok(())),
                status::ERROR => {
                    let code = device.read32(reg::ERROR_CODE);
                    Some(Err(Fault::of(code, device.read32(reg::RESULT_STATUS))))
                }
                reg::GONE => Some(Err(Fault::Gone)),
                _ if looks > LOOKS_AT_STATUS && device.read32(reg::RESPONSE_LEN) != 0 => {
                    match device.read32(reg::RESULT_STATUS) {
                        0 => Some(Ok(())),
                        result => Some(Err(Fault::of(5, result))),
                    }
                }
                _ => None,
            }
        });
        ended.unwrap_or_else(|| match device.read32(reg::STATUS) {
            status::IDLE => Err(Fault::Deaf),
            _ => Err(Fault::NoAnswer),
        })
    }

    /// Reads the answer of a call that succeeded.
    fn answer(&self, room: u32, data: &mut Vec<u8>) -> Result<[u64; RESULTS], Fault> {
        let device = &self.registers;
        if device.read32(reg::RESULT_NUM) != RESULTS as u32 {
            return Err(Fault::Contradiction { what: "an answer's number of results" });
        }
        let bytes = device.read32(reg::RESULT_DATA_LEN);
        if bytes > room || bytes as usize > BYTES_MAX {
            return Err(Fault::Contradiction { what: "an answer longer than was asked for" });
        }
        data.resize(bytes as usize, 0);
        if data.len() <= registers::SMALL_BYTES {
            for (at, chunk) in (reg::RESPONSE_DATA..).step_by(4).zip(data.chunks_mut(4)) {
                chunk.copy_from_slice(&device.read32(at).to_le_bytes()[..chunk.len()]);
            }
        } else {
            device.take(data);
        }
        let mut results = [0; RESULTS];
        for (at, result) in (reg::RESULTS..).step_by(8).zip(&mut results) {
            let (low, high) = (device.read32(at), device.read32(at + 4));
            *result = u64::from(high) << 32 | u64::from(low);
        }
        Ok(results)
    }
}
