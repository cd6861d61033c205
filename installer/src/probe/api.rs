//! What the API is like for a process with the environment of Ollama's children: the device as
//! three libraries describe it, memory, a kernel, a product of matrices, a graph, and the pace.
//!
//! Only documented functions are called, all of them harmless: what is allocated is freed, and the
//! process ends when it has said what it saw.

use std::ffi::{CStr, OsStr};
use std::time::Instant;

use libloading::os::unix::Library;
use serde::{Deserialize, Serialize};

use super::calls::{self, Answer, Card, Driver, Module, NvmlSeen, Refusal, Stream};
use super::link::uuid;

/// Sizes that are copied both ways: within one message, many pages, and more than one frame holds.
pub const SIZES: [usize; 3] = [64, 64 << 10, 64 << 20];
/// Highest number of `CUdevice_attribute` that is asked about: 160, above those of CUDA 13.
const ATTRIBUTES_MAX: u32 = 160;
/// What is marked with a number of its own in what is copied: a page of memory.
const PAGE_BYTES: usize = 4096;
/// How many calls the pace is measured by.
const CALLS: usize = 200;
/// Threads of the kernel's one block, and words that it writes.
const THREADS: u32 = 64;
/// Side of the matrices.
const SIDE: usize = 16;
/// A function attribute: CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK.
const MAX_THREADS_PER_BLOCK: u32 = 0;

/// Writes `thread² + seed` for each thread.
const PTX: &CStr = c"
.version 6.0
.target sm_50
.address_size 64
.visible .entry vgpu_doctor(.param .u64 out, .param .u32 seed)
{
    .reg .b32 %r<4>;
    .reg .b64 %d<5>;
    ld.param.u64 %d1, [out];
    ld.param.u32 %r1, [seed];
    mov.u32 %r2, %tid.x;
    mad.lo.s32 %r3, %r2, %r2, %r1;
    cvta.to.global.u64 %d2, %d1;
    mul.wide.u32 %d3, %r2, 4;
    add.s64 %d4, %d2, %d3;
    st.global.u32 [%d4], %r3;
    ret;
}
";

/// Everything seen of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiSeen {
    /// What `cuDriverGetVersion` answers, and how many devices there are.
    pub driver: Answer<(i32, i32)>,
    /// The first device as the driver API describes it.
    pub card: Answer<Card>,
    /// NVML's words.
    pub nvml: Answer<NvmlSeen>,
    /// The runtime's words: bus id, name, UUID, memory, and what else its properties say.
    pub runtime: Answer<Properties>,
    /// `(CUdevice_attribute, value)` of the first device.
    pub attributes: Vec<(u32, i32)>,
    /// Memory.
    pub memory: Answer<Memory>,
    /// A kernel.
    pub kernel: Answer<Kernel>,
    /// Largest difference between a product of matrices and the processor's, in millionths.
    pub blas: Answer<u64>,
    /// Whether a graph of a recorded kernel gave what the kernel gives.
    pub graph: Answer<bool>,
    /// How fast it is.
    pub pace: Answer<Pace>,
}

/// What `cudaDeviceProp` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// The device.
    pub card: Card,
    /// `(CUdevice_attribute, value)` of the fields that have one.
    pub attributes: Vec<(u32, i64)>,
}

/// What memory is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes free before and after, and in all.
    pub free_before: u64,
    /// Bytes free afterwards.
    pub free_after: u64,
    /// Bytes in all.
    pub total: u64,
    /// For each of [`SIZES`]: the device address, and the first byte that came back different.
    pub copies: Vec<(u64, Option<usize>)>,
}

/// What a kernel is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The first wrong word: thread, expected, found.
    pub wrong: Option<(u32, u32, u32)>,
    /// Most threads of a block that it may have.
    pub threads_max: i32,
    /// What is answered for a kernel that the module does not have; none if it was "found".
    pub missing_kernel: Option<u32>,
    /// What is answered for freeing what was never allocated; none if it was "freed".
    pub wild_free: Option<u32>,
}

/// How fast it is. Times in nanoseconds: median and 99th percentile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// A call that waits for the host.
    pub call_ns: (u64, u64),
    /// A call that does not.
    pub submit_ns: (u64, u64),
    /// Bytes per second to the device and back, pageable, of the largest of [`SIZES`].
    pub bytes_per_second: (u64, u64),
}

/// Looks at the API of this CUDA line.
#[must_use]
pub fn look(major: u32) -> ApiSeen {
    let missing = |name: &str| Refusal { function: name.to_owned(), code: None };
    let library = |name: String| open(&name).ok_or_else(|| missing(&name));
    let cuda = library("libcuda.so.1".into());
    let driver = cuda.as_ref().map_err(Clone::clone).and_then(Driver::begin);
    let driver = driver.as_ref().map_err(Clone::clone);
    let nvml = library("libnvidia-ml.so.1".into()).and_then(|nvml| calls::nvml(keep(nvml)));
    let runtime = library(format!("libcudart.so.{major}"))
        .and_then(|runtime| calls::runtime(keep(runtime), major))
        .map(|(pci, bytes)| properties(major, pci, &bytes));
    let seen = ApiSeen {
        driver: driver.clone().and_then(|driver| Ok((driver.version()?, driver.count()?))),
        card: driver.clone().and_then(card),
        nvml,
        runtime,
        attributes: driver.clone().map(attributes).unwrap_or_default(),
        memory: driver.clone().and_then(memory),
        kernel: driver.clone().and_then(kernel),
        blas: driver
            .clone()
            .and_then(|driver| blas(driver, keep(library(format!("libcublas.so.{major}"))?))),
        graph: driver.clone().and_then(graph),
        pace: driver.and_then(pace),
    };
    // Libraries like these are made to stay until the process ends.
    std::mem::forget(cuda);
    seen
}

fn open(name: &str) -> Option<Library> {
    let mut libraries = Vec::new();
    super::open(OsStr::new(name), &mut libraries);
    libraries.pop().map(|(_, library)| library)
}

fn keep(library: Library) -> &'static Library {
    Box::leak(Box::new(library))
}

fn card(driver: &Driver<'_>) -> Answer<Card> {
    let device = driver.device(0)?;
    Ok(Card {
        name: driver.name(device)?,
        uuid: uuid(&driver.uuid(device)?),
        pci: driver.pci(device)?,
        total_bytes: driver.total_bytes(device)?,
    })
}

fn attributes(driver: &Driver<'_>) -> Vec<(u32, i32)> {
    let Ok(device) = driver.device(0) else { return Vec::new() };
    // A number that the driver does not know is no attribute of its.
    let value = |number| Some((number, driver.attribute(number, device).ok()?));
    (1..=ATTRIBUTES_MAX).filter_map(value).collect()
}

/// Reads the fields of `cudaDeviceProp` that name a device or equal an attribute. The offsets are
/// those of the public headers of each CUDA line, which differ behind the field `major`.
fn properties(major: u32, pci: String, bytes: &[u8]) -> Properties {
    let (processors, opt_in) = if major == 12 { (388, 696) } else { (384, 672) };
    let int = |at: usize| {
        let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
        i64::from(i32::from_ne_bytes(word.unwrap_or_default()))
    };
    let long = |at: usize| {
        let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
        u64::from_ne_bytes(word.unwrap_or_default())
    };
    let size = |at: usize| i64::try_from(long(at)).unwrap_or(i64::MAX);
    let name = CStr::from_bytes_until_nul(&bytes[..256]).unwrap_or_default();
    let id: [u8; 16] = bytes[256..272].try_into().unwrap_or_default();
    let card = Card {
        name: name.to_string_lossy().into_owned(),
        uuid: uuid(&id),
        pci,
        total_bytes: long(288),
    };
    let attributes = vec![
        (8, size(296)),
        (10, int(308)),
        (16, int(processors)),
        (75, int(360)),
        (76, int(364)),
        (97, size(opt_in)),
    ];
    Properties { card, attributes }
}

fn memory(driver: &Driver<'_>) -> Answer<Memory> {
    let (free_before, total) = driver.memory()?;
    let mut copies = Vec::new();
    for size in SIZES {
        let sent = pattern(size);
        let mut back = vec![0; size];
        let pointer = driver.allocate(size)?;
        let copied = driver.write(pointer, &sent).and_then(|()| driver.read(pointer, &mut back));
        driver.free(pointer)?;
        copied?;
        copies.push((pointer, first_difference(&sent, &back)));
    }
    Ok(Memory { free_before, free_after: driver.memory()?.0, total, copies })
}

/// Bytes of which each page differs from every other: a repeated or swapped one is seen.
fn pattern(bytes: usize) -> Vec<u8> {
    let mut page: Vec<u8> = (0..PAGE_BYTES).map(|at| (at % 251) as u8).collect();
    let mut all = Vec::with_capacity(bytes + PAGE_BYTES);
    for number in 0..bytes.div_ceil(PAGE_BYTES) as u64 {
        page[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_ne_bytes());
        all.extend_from_slice(&page);
    }
    all.truncate(bytes);
    all
}

/// The first byte that came back different.
fn first_difference(sent: &[u8], back: &[u8]) -> Option<usize> {
    if sent == back {
        return None;
    }
    sent.iter().zip(back).position(|(sent, back)| sent != back)
}

fn module<'a>(driver: &Driver<'a>) -> Answer<(Module<'a>, calls::Kernel)> {
    let module = driver.load(PTX)?;
    let kernel = module.kernel(c"vgpu_doctor")?;
    Ok((module, kernel))
}

fn kernel(driver: &Driver<'_>) -> Answer<Kernel> {
    const SEED: u32 = 999;
    let (module, kernel) = module(driver)?;
    let missing_kernel = module.kernel(c"vgpu_doctor_has_no_such_kernel").err();
    let out = driver.allocate(THREADS as usize * 4)?;
    let run = driver
        .launch(kernel, THREADS, (out, SEED), Stream::DEFAULT)
        .and_then(|()| driver.synchronise())
        .and_then(|()| wrong(driver, out, SEED));
    driver.free(out)?;
    Ok(Kernel {
        wrong: run?,
        threads_max: driver.kernel_attribute(MAX_THREADS_PER_BLOCK, kernel)?,
        missing_kernel: missing_kernel.and_then(|refusal| refusal.code),
        wild_free: driver.free(0x9990).err().and_then(|refusal| refusal.code),
    })
}

/// The first word that is not what the kernel computes.
fn wrong(driver: &Driver<'_>, out: u64, seed: u32) -> Answer<Option<(u32, u32, u32)>> {
    let mut bytes = vec![0; THREADS as usize * 4];
    driver.read(out, &mut bytes)?;
    let found = bytes.chunks_exact(4).map(|word| word.try_into().map(u32::from_ne_bytes));
    let mut compared = (0..).zip(found.map(Result::unwrap_or_default));
    let expected = |thread: u32| thread * thread + seed;
    let first = compared.find(|(thread, word)| *word != expected(*thread));
    Ok(first.map(|(thread, word)| (thread, expected(thread), word)))
}

fn graph(driver: &Driver<'_>) -> Answer<bool> {
    const SEED: u32 = 9990;
    let (_module, kernel) = module(driver)?;
    let stream = driver.stream()?;
    let out = driver.allocate(THREADS as usize * 4)?;
    let run = driver
        .through_graph(stream, || {
            driver.set(out, 0, THREADS as usize, stream)?;
            driver.launch(kernel, THREADS, (out, SEED), stream)
        })
        .and_then(|()| wrong(driver, out, SEED));
    driver.free(out)?;
    Ok(run?.is_none())
}

fn blas(driver: &Driver<'_>, library: &Library) -> Answer<u64> {
    // Small whole numbers: every partial sum is exact in any order and any unit of a GPU.
    let value = |index: usize, step: usize| ((index * step) % 7) as f32 - 3.0;
    let a: Vec<f32> = (0..SIDE * SIDE).map(|index| value(index, 3)).collect();
    let b: Vec<f32> = (0..SIDE * SIDE).map(|index| value(index, 5)).collect();
    let bytes = |matrix: &[f32]| matrix.iter().flat_map(|x| x.to_ne_bytes()).collect::<Vec<u8>>();
    let each = SIDE * SIDE * 4;
    let place = driver.allocate(3 * each)?;
    let (at_b, at_c) = (place + each as u64, place + 2 * each as u64);
    let mut back = vec![0; each];
    let done = driver
        .write(place, &bytes(&a))
        .and_then(|()| driver.write(at_b, &bytes(&b)))
        .and_then(|()| calls::product(library, SIDE as i32, (place, at_b, at_c)))
        .and_then(|()| driver.read(at_c, &mut back));
    driver.free(place)?;
    done?;
    let found = back.chunks_exact(4).map(|word| word.try_into().map(f32::from_ne_bytes));
    let mut largest = 0.0_f32;
    for (index, found) in found.map(Result::unwrap_or_default).enumerate() {
        let (row, column) = (index % SIDE, index / SIDE);
        let expected: f32 = (0..SIDE).map(|k| a[k * SIDE + row] * b[column * SIDE + k]).sum();
        largest = largest.max((found - expected).abs());
    }
    Ok((f64::from(largest) * 1e6) as u64)
}

fn pace(driver: &Driver<'_>) -> Answer<Pace> {
    let call_ns = timed(|| driver.memory().map(drop))?;
    let size = SIZES[SIZES.len() - 1];
    let place = driver.allocate(size)?;
    let measured = timed(|| driver.set(place, 0, 1, Stream::DEFAULT)).and_then(|submit_ns| {
        let mut data = pattern(size);
        driver.synchronise()?;
        let there = rate(size, || driver.write(place, &data))?;
        let back = rate(size, || driver.read(place, &mut data))?;
        Ok(Pace { call_ns, submit_ns, bytes_per_second: (there, back) })
    });
    driver.free(place)?;
    measured
}

fn timed(mut call: impl FnMut() -> Answer<()>) -> Answer<(u64, u64)> {
    let mut taken = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let began = Instant::now();
        call()?;
        taken.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    taken.sort_unstable();
    Ok((taken[CALLS / 2], taken[CALLS * 99 / 100]))
}

fn rate(bytes: usize, call: impl FnOnce() -> Answer<()>) -> Answer<u64> {
    let began = Instant::now();
    call()?;
    Ok((bytes as f64 / began.elapsed().as_secs_f64()) as u64)
}
