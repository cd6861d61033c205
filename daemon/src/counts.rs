//! What is counted of a client's messages: a worker reports it, the host process adds it up.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vgpu_link::wire::{Malformed, Payload, Reader, Writer};

/// Upper bounds of the latency histogram, in microseconds; slower calls are in one more bucket.
///
/// A call over a local link takes some tens of microseconds, one that waits for a kernel
/// milliseconds, loading a model's weights seconds.
pub(crate) const BOUNDS_MICROS: [u64; 13] = [
    10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000,
    10_000_000,
];

/// What a message can wait for on the host, its turn aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The device: its answer is complete when work there is.
    Device,
    /// A function of the client's program, which its stream has come to.
    Function,
    /// Its tenant's `messages_per_second`.
    Rate,
}

impl Wait {
    /// All of them, as metrics call them, in the order of [`Counts::waits`].
    pub const NAMES: [&str; 3] = ["device", "function", "rate"];
}

/// Numbers of a time, or of all times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Messages that are answered.
    pub calls: u64,
    /// Messages that are not.
    pub posts: u64,
    /// Calls that were answered by an error.
    pub errors: u64,
    /// Bytes of frames from the client, headers included.
    pub received_bytes: u64,
    /// Bytes of frames to it.
    pub sent_bytes: u64,
    /// Bytes of copies out of memory that is shared with the client: they are in no frame.
    pub pinned_received_bytes: u64,
    /// Bytes of copies into it.
    pub pinned_sent_bytes: u64,
    /// Answered calls by how long their answers took: bucket `i` holds those of at most
    /// [`BOUNDS_MICROS`]`[i]` and more than the bound before.
    pub latencies: [u64; BOUNDS_MICROS.len() + 1],
    /// Their sum.
    pub latency_micros: u64,
    /// Messages that had to wait, by [`Wait`].
    pub waits: [u64; Wait::NAMES.len()],
    /// For how long.
    pub wait_micros: [u64; Wait::NAMES.len()],
}

impl Counts {
    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        let mut theirs = other.all();
        self.each(|own| *own = own.saturating_add(theirs.next().unwrap_or(0)));
    }

    /// Says what came since an earlier count of the same client.
    pub fn since(&self, earlier: &Self) -> Self {
        let (mut difference, mut before) = (self.clone(), earlier.all());
        difference.each(|own| *own = own.saturating_sub(before.next().unwrap_or(0)));
        difference
    }

    /// Finds the bucket of a latency.
    pub fn bucket(latency: Duration) -> usize {
        let micros = latency.as_nanos().div_ceil(1000);
        BOUNDS_MICROS.partition_point(|&bound| u128::from(bound) < micros)
    }

    /// Counts that a message has waited.
    pub fn waited(&mut self, what: Wait, took: Duration) {
        self.waits[what as usize] += 1;
        self.wait_micros[what as usize] += micros(took);
    }

    /// Counts that a call was answered after this long.
    pub fn answered(&mut self, took: Duration) {
        self.latencies[Self::bucket(took)] += 1;
        self.latency_micros += micros(took);
    }

    fn all(&self) -> impl Iterator<Item = u64> + '_ {
        let Self { calls, posts, errors, received_bytes, sent_bytes, latency_micros, .. } = self;
        let Self { pinned_received_bytes, pinned_sent_bytes, .. } = self;
        let single = [calls, posts, errors, received_bytes, sent_bytes, latency_micros];
        let single = single.into_iter().chain([pinned_received_bytes, pinned_sent_bytes]);
        let Self { latencies, waits, wait_micros, .. } = self;
        single.chain(latencies).chain(waits).chain(wait_micros).copied()
    }

    /// Changes every number, in the order of [`Counts::all`].
    fn each(&mut self, change: impl FnMut(&mut u64)) {
        let Self { calls, posts, errors, received_bytes, sent_bytes, latency_micros, .. } = self;
        let Self { pinned_received_bytes, pinned_sent_bytes, .. } = self;
        let single = [calls, posts, errors, received_bytes, sent_bytes, latency_micros];
        let single = single.into_iter().chain([pinned_received_bytes, pinned_sent_bytes]);
        let Self { latencies, waits, wait_micros, .. } = self;
        single.chain(latencies).chain(waits).chain(wait_micros).for_each(change);
    }
}

/// Whole microseconds.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Payload for Counts {
    fn write(&self, writer: &mut Writer<'_>) {
        self.all().for_each(|number| writer.u64(number));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut counts = Self::default();
        let mut read = Ok(());
        counts.each(|number| match reader.u64() {
            Ok(value) => *number = value,
            Err(error) => read = Err(error),
        });
        read.map(|()| counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_on_a_bound_is_within_it() {
        for (nanos, bucket) in
            [(0, 0), (10_000, 0), (10_001, 1), (1_000_000, 4), (10_000_000_000, 12), (1 << 60, 13)]
        {
            assert_eq!(Counts::bucket(Duration::from_nanos(nanos)), bucket, "{nanos} ns");
        }
    }

    #[test]
    fn what_came_since_adds_up_to_the_whole() {
        let mut number = 0;
        let mut whole = Counts::default();
        whole.each(|own| {
            number += 7;
            *own = number;
        });
        let part = Counts { calls: 3, latency_micros: 1, ..Counts::default() };
        let mut sum = whole.since(&part);
        assert_eq!((sum.calls, sum.posts), (4, 14));
        sum.add(&part);
        assert_eq!(sum, whole);
        assert_eq!(Counts::from_payload(&whole.to_payload()), Ok(whole));
    }
}
