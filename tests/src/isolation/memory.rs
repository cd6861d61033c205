//! Memory that one client had and another one gets: nothing is found in it.

use vgpu_link::wire::cuda;
use vgpu_link::{LinkError, Uri};

use super::peer::{Peer, Refused};
use super::scene::{BYTES, image, launch};
use super::{SECRET, holds_secret};

/// Copies what lies in a block's shared memory, as the launch finds it, to global memory, then
/// fills it with the secret; and the same for a thread's local memory.
const LEFT: &[u8] = include_bytes!("left.ptx");

/// Bytes of shared and of local memory that the kernel looks at.
const LEFT_BYTES: u64 = 1024;

/// A way to memory of the device.
struct Way {
    name: &'static str,
    /// Gets [`BYTES`] of it and returns where they lie.
    get: fn(&mut Peer) -> Result<u64, Refused>,
    /// Gives them back; `None` where the client's end has to.
    give: Option<Give>,
}

type Give = fn(&mut Peer, u64) -> Result<(), Refused>;

const WAYS: &[Way] = &[
    Way {
        name: "cuMemAlloc",
        get: |peer| Ok(peer.call(&cuda::MemAllocV2 { bytesize: BYTES })?.dptr),
        give: Some(|peer, dptr| peer.call(&cuda::MemFreeV2 { dptr })),
    },
    Way {
        name: "cuMemAllocAsync",
        get: |peer| Ok(peer.call(&cuda::MemAllocAsync { bytesize: BYTES, stream: 0 })?.dptr),
        give: Some(|peer, dptr| peer.call(&cuda::MemFreeAsync { dptr, stream: 0 })),
    },
    Way {
        name: "a pool",
        get: |peer| {
            let pool = peer.call(&cuda::PoolCreate { device: 0, bytes_max: 0 })?.pool;
            let asked = cuda::MemAllocFromPoolAsync { bytesize: BYTES, pool, stream: 0 };
            Ok(peer.call(&asked)?.dptr)
        },
        give: None,
    },
    Way { name: "cuMemCreate", get: map, give: None },
];

fn map(peer: &mut Peer) -> Result<u64, Refused> {
    let handle = peer.call(&cuda::MemCreate { bytes: BYTES, device: 0 })?.handle;
    let reserve = cuda::MemAddressReserve { size: BYTES, alignment: BYTES, addr: 0, flags: 0 };
    let ptr = peer.call(&reserve)?.ptr;
    peer.call(&cuda::MemMap { ptr, size: BYTES, offset: 0, handle, flags: 0 })?;
    /// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`.
    const READ_WRITE: u32 = 3;
    let access = vec![cuda::DeviceAccess { device: 0, flags: READ_WRITE }];
    peer.call(&cuda::MemSetAccess { start: ptr, bytes: BYTES, access })?;
    Ok(ptr)
}

/// Alice fills memory of every kind and gives it back, or goes; Bob gets as much in every way and
/// looks. Returns what he found.
///
/// # Errors
/// [`LinkError`] if an honest client is not served.
///
/// # Panics
/// If the device does not do what an honest client asks.
pub fn leaks(host: &Uri) -> Result<Vec<String>, LinkError> {
    let mut found = Vec::new();
    for (way, goes) in WAYS.iter().flat_map(|way| [(way, false), (way, true)]) {
        let mut alice = Peer::connect(host)?;
        let had = fill(&mut alice, way).map_err(Refused::link)?;
        let held = match way.give {
            _ if goes => None,
            Some(give) => {
                for at in had {
                    give(&mut alice, at).map_err(Refused::link)?;
                }
                Some(alice)
            }
            None => continue,
        };
        for other in WAYS {
            let mut bob = Peer::connect(host)?;
            if look(&mut bob, other).map_err(Refused::link)? {
                let when = if goes { "who went" } else { "who freed it" };
                found.push(format!(
                    "{} gave Bob what Alice, {when}, had by {}",
                    other.name, way.name
                ));
            }
        }
        drop(held);
    }
    let mut alice = Peer::connect(host)?;
    left(&mut alice).map_err(Refused::link)?;
    drop(alice);
    if left(&mut Peer::connect(host)?).map_err(Refused::link)? {
        found.push("a kernel of Bob's finds Alice's in shared or local memory".to_owned());
    }
    Ok(found)
}

/// Pieces that Alice fills, and Bob looks at.
const PIECES: usize = 8;

fn fill(alice: &mut Peer, way: &Way) -> Result<Vec<u64>, Refused> {
    let had: Vec<u64> = (0..PIECES).map(|_| (way.get)(alice)).collect::<Result<_, _>>()?;
    for &at in &had {
        alice.call(&cuda::MemsetD8V2 { dst_device: at, uc: SECRET, n: BYTES })?;
    }
    alice.synchronise()?;
    Ok(had)
}

fn look(bob: &mut Peer, way: &Way) -> Result<bool, Refused> {
    let got: Vec<u64> = (0..PIECES).map(|_| (way.get)(bob)).collect::<Result<_, _>>()?;
    bob.synchronise()?;
    for at in got {
        if holds_secret(&bob.read(at, BYTES as usize)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Runs the kernel that looks at what its blocks find, and leaves the secret there.
fn left(peer: &mut Peer) -> Result<bool, Refused> {
    let image = image(peer, LEFT)?;
    let module = peer.call(&cuda::ModuleLoad { image, options: vec![] })?.module;
    let name = b"left".to_vec();
    let function = peer.call(&cuda::ModuleGetFunction { module, name })?.function;
    let out = peer.call(&cuda::MemAllocV2 { bytesize: 2 * LEFT_BYTES })?.dptr;
    peer.call(&cuda::MemsetD8V2 { dst_device: out, uc: 0, n: 2 * LEFT_BYTES })?;
    let launch = cuda::KernelLaunch { arguments: out.to_le_bytes().to_vec(), ..launch(function) };
    peer.call(&cuda::LaunchKernel { stream: 0, launch })?;
    peer.synchronise()?;
    Ok(holds_secret(&peer.read(out, 2 * LEFT_BYTES as usize)?))
}
