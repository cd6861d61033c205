//! Kernels are run, and their results compared with what Rust computes.

mod edges;
mod faults;
mod kernels;
mod matrices;
mod numbers;
mod threads;
mod together;
mod wmma;

use std::collections::BTreeMap;

use super::{Fault, GlobalMemory, Launch, Program};

/// Memory of a test: buffers at addresses far apart.
#[derive(Default)]
struct Buffers {
    by_address: BTreeMap<u64, Vec<u8>>,
}

impl Buffers {
    /// Adds a buffer; returns its address.
    fn add(&mut self, bytes: Vec<u8>) -> u64 {
        let address = 0x0300_0000_0000 + (self.by_address.len() as u64) * 0x1_0000_0000;
        self.by_address.insert(address, bytes);
        address
    }

    fn add_floats(&mut self, floats: &[f32]) -> u64 {
        self.add(floats.iter().flat_map(|float| float.to_le_bytes()).collect())
    }

    fn add_words(&mut self, words: &[u32]) -> u64 {
        self.add(words.iter().flat_map(|word| word.to_le_bytes()).collect())
    }

    fn words(&self, address: u64) -> Vec<u32> {
        let words = self.by_address[&address].chunks_exact(4);
        words.map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes"))).collect()
    }

    fn floats(&self, address: u64) -> Vec<f32> {
        self.words(address).into_iter().map(f32::from_bits).collect()
    }
}

impl GlobalMemory for Buffers {
    fn bytes(&mut self, address: u64, bytes: usize) -> Option<&mut [u8]> {
        let (first, buffer) = self.by_address.range_mut(..=address).next_back()?;
        let begin = usize::try_from(address - first).ok()?;
        buffer.get_mut(begin..begin.checked_add(bytes)?)
    }
}

/// A parameter of a kernel.
#[derive(Clone, Copy)]
enum Value {
    Word(u32),
    Long(u64),
    Float(f32),
}

/// Packs parameters as a guest does: each aligned to its size.
fn packed(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        match value {
            Value::Word(word) => bytes.extend(word.to_le_bytes()),
            Value::Float(float) => bytes.extend(float.to_le_bytes()),
            Value::Long(long) => {
                bytes.resize(bytes.len().next_multiple_of(8), 0);
                bytes.extend(long.to_le_bytes());
            }
        }
    }
    bytes
}

/// Runs a kernel of some PTX.
#[track_caller]
fn run(
    ptx: &str,
    kernel: &str,
    memory: &mut Buffers,
    shape: ([u32; 3], [u32; 3], u32),
    parameters: &[Value],
) -> Result<(), Fault> {
    let program = Program::parse(ptx).expect("it is PTX");
    let (grid, block, shared_bytes) = shape;
    let parameters = packed(parameters);
    let (cluster, is_cooperative) = (None, false);
    let launch =
        Launch { grid, block, cluster, is_cooperative, shared_bytes, parameters: &parameters };
    program.entry(kernel).expect("it is executable").run(&launch, memory, &|_| None)
}

/// Numbers that look random and are the same each time: between -1 and 1, in 1024ths.
fn floats(seed: u64, count: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| random.i32(-1024..=1024) as f32 / 1024.0).collect()
}
