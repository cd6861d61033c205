//! Virtual memory management, asked by messages.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::*;

use super::physical::GRANULARITY as SIZE;
use super::tests::Client;
use crate::dispatch::*;

const READWRITE: u32 = 3;

/// A pool as ggml has one: reserve much, map piece by piece, unmap all at once.
impl Client {
    fn reserve(&mut self, size: u64, alignment: u64, addr: u64) -> Result<u64, Error> {
        let request = MemAddressReserve { size, alignment, addr, flags: 0 };
        self.sim.mem_address_reserve(&self.call, request).map(|reply| reply.ptr)
    }

    fn end_reservation(&mut self, ptr: u64, size: u64) -> Result<(), Error> {
        self.sim.mem_address_free(&self.call, MemAddressFree { ptr, size })
    }

    fn create(&mut self, bytes: u64) -> Result<u64, Error> {
        let request = MemCreate { bytes, device: 0 };
        self.sim.mem_create(&self.call, request).map(|reply| reply.handle)
    }

    fn map(&mut self, ptr: u64, size: u64, handle: u64) -> Result<(), Error> {
        let request = MemMap { ptr, size, offset: 0, handle, flags: 0 };
        self.sim.mem_map(&self.call, request)
    }

    fn unmap(&mut self, ptr: u64, size: u64) -> Result<(), Error> {
        self.sim.mem_unmap(&self.call, MemUnmap { ptr, size })
    }

    fn release(&mut self, handle: u64) -> Result<(), Error> {
        self.sim.mem_release(&self.call, MemRelease { handle })
    }

    fn allow(&mut self, start: u64, bytes: u64, flags: u32) -> Result<(), Error> {
        let access = vec![DeviceAccess { device: 0, flags }];
        self.sim.mem_set_access(&self.call, MemSetAccess { start, bytes, access })
    }

    fn access(&mut self, address: u64) -> Result<u32, Error> {
        let request = MemGetAccess { address, device: 0 };
        self.sim.mem_get_access(&self.call, request).map(|reply| reply.flags)
    }
}

#[test]
fn a_pool_grows_by_mapping_and_is_one_memory_over_all_its_pieces() {
    let mut client = Client::new();
    let pool = client.reserve(32 << 30, 0, 0).expect("addresses");
    assert_eq!(pool % SIZE, 0);
    assert_eq!(client.used(), 0, "addresses are no memory");
    for piece in 0..4 {
        let handle = client.create(SIZE).expect("room");
        client.map(pool + piece * SIZE, SIZE, handle).expect("free addresses");
        client.release(handle).expect("the mapping keeps it");
        client.allow(pool + piece * SIZE, SIZE, READWRITE).expect("mapped");
    }
    assert_eq!(client.used(), 4 * SIZE);
    let across: Vec<u8> = (0..200_000_u32).map(|at| (at * 7) as u8).collect();
    let at = pool + SIZE - 100_000;
    client.write(at, &across).expect("over the edge of two pieces");
    assert_eq!(client.read(at, 200_000), Ok(across));
    assert_eq!(client.read(pool + 4 * SIZE - 1, 2), Err(Error::ILLEGAL_ADDRESS));
    client.unmap(pool, 4 * SIZE).expect("whole mappings, several at once");
    assert_eq!(client.used(), 0);
    assert_eq!(client.read(pool, 1), Err(Error::ILLEGAL_ADDRESS));
    client.end_reservation(pool, 32 << 30).expect("nothing is mapped");
    assert_eq!(client.read(pool, 1), Err(Error::INVALID_VALUE));
}

#[test]
fn memory_is_not_touched_before_access_is_given_nor_beyond_it() {
    let mut client = Client::new();
    let at = client.reserve(SIZE, 0, 0).expect("addresses");
    let handle = client.create(SIZE).expect("room");
    assert_eq!(client.access(at), Err(Error::INVALID_VALUE), "nothing is mapped");
    client.map(at, SIZE, handle).expect("free addresses");
    assert_eq!(client.access(at), Ok(0));
    assert_eq!(client.read(at, 1), Err(Error::ILLEGAL_ADDRESS));
    client.allow(at, SIZE, 1).expect("mapped");
    assert_eq!((client.access(at), client.read(at, 1)), (Ok(1), Ok(vec![0])));
    assert_eq!(client.write(at, &[1]), Err(Error::ILLEGAL_ADDRESS), "reading only");
    client.allow(at, SIZE, READWRITE).expect("mapped");
    client.write(at, &[1]).expect("writing too");
    client.allow(at, SIZE, 0).expect("mapped");
    assert_eq!(client.read(at, 1), Err(Error::ILLEGAL_ADDRESS));
    assert_eq!(client.allow(at, SIZE, 2), Err(Error::INVALID_VALUE), "no such access");
    assert_eq!(client.allow(at, SIZE / 2, 1), Err(Error::INVALID_VALUE), "half a mapping");
}

#[test]
fn sizes_places_and_parts_that_do_not_fit_are_refused() {
    let mut client = Client::new();
    for (size, alignment) in [(0, 0), (SIZE + 1, 0), (SIZE, 3), (SIZE, u64::MAX)] {
        assert_eq!(client.reserve(size, alignment, 0), Err(Error::INVALID_VALUE), "{size}");
    }
    assert_eq!(client.reserve(1 << 60, 0, 0), Err(Error::OUT_OF_MEMORY));
    assert_eq!(client.create(SIZE - 1), Err(Error::INVALID_VALUE));
    assert_eq!(client.create(0), Err(Error::INVALID_VALUE));
    assert_eq!(client.create(1 << 50), Err(Error::OUT_OF_MEMORY));
    let at = client.reserve(4 * SIZE, 0, 0).expect("addresses");
    let (one, two) = (client.create(SIZE).expect("room"), client.create(2 * SIZE).expect("room"));
    assert_eq!(client.map(at, SIZE, two), Err(Error::INVALID_VALUE), "a part of a handle");
    assert_eq!(client.map(at + 1, SIZE, one), Err(Error::INVALID_VALUE), "not aligned");
    assert_eq!(client.map(at + 4 * SIZE, SIZE, one), Err(Error::INVALID_VALUE), "not reserved");
    assert_eq!(client.map(at + 3 * SIZE, 2 * SIZE, two), Err(Error::INVALID_VALUE), "over the end");
    client.map(at + SIZE, 2 * SIZE, two).expect("free addresses");
    for taken in [at, at + SIZE, at + 2 * SIZE] {
        let size = if taken == at { 2 * SIZE } else { SIZE };
        let handle = if taken == at { two } else { one };
        assert_eq!(client.map(taken, size, handle), Err(Error::INVALID_VALUE), "mapped already");
    }
    client.map(at, SIZE, one).expect("free addresses beside it");
    assert_eq!(client.unmap(at + SIZE, SIZE), Err(Error::INVALID_VALUE), "half a mapping");
    assert_eq!(client.unmap(at, 2 * SIZE), Err(Error::INVALID_VALUE), "one and a half");
    assert_eq!(client.unmap(at, 4 * SIZE), Err(Error::INVALID_VALUE), "a hole at the end");
    assert_eq!(client.end_reservation(at, 4 * SIZE), Err(Error::INVALID_VALUE), "still mapped");
    client.unmap(at, 3 * SIZE).expect("both");
    assert_eq!(client.end_reservation(at, 2 * SIZE), Err(Error::INVALID_VALUE), "not the size");
    assert_eq!(client.end_reservation(at + SIZE, 4 * SIZE), Err(Error::INVALID_VALUE));
    client.end_reservation(at, 4 * SIZE).expect("by what it was");
    assert_eq!(client.end_reservation(at, 4 * SIZE), Err(Error::INVALID_VALUE));
    client.release(one).and(client.release(two)).expect("they live");
    assert_eq!(client.release(one), Err(Error::INVALID_VALUE));
    assert_eq!(client.used(), 0);
}

#[test]
fn a_handle_mapped_twice_is_the_same_memory_and_lives_as_long_as_a_mapping() {
    let mut client = Client::new();
    let (one, other) =
        (client.reserve(SIZE, 0, 0).expect("room"), client.reserve(SIZE, 0, 0).expect("room"));
    let handle = client.create(SIZE).expect("room");
    for at in [one, other] {
        client.map(at, SIZE, handle).expect("free addresses");
        client.allow(at, SIZE, READWRITE).expect("mapped");
    }
    client.write(one + 5, b"same").expect("in range");
    assert_eq!(client.read(other + 5, 4), Ok(b"same".to_vec()));
    let copy = MemcpyDtoDV2 { dst_device: one + 105, src_device: other + 5, byte_count: 4 };
    client.sim.memcpy_dto_d_v2(&client.call, copy).expect("in range");
    assert_eq!(client.read(other + 105, 4), Ok(b"same".to_vec()));
    client.release(handle).expect("named once");
    assert_eq!(client.map(one, SIZE, handle), Err(Error::INVALID_VALUE), "nobody names it");
    let named = MemRetainHandle { address: other + 77 };
    let again = client.sim.mem_retain_handle(&client.call, named).expect("mapped").handle;
    assert_eq!(again, handle);
    client.unmap(one, SIZE).and(client.unmap(other, SIZE)).expect("whole mappings");
    assert_eq!(client.used(), SIZE, "it is named");
    client.map(one, SIZE, handle).and(client.allow(one, SIZE, 1)).expect("free addresses");
    assert_eq!(client.read(one + 5, 4), Ok(b"same".to_vec()), "what is unmapped is kept");
    client.release(handle).and(client.unmap(one, SIZE)).expect("the last of both");
    assert_eq!(client.used(), 0);
}

#[test]
fn a_wish_for_an_address_is_granted_where_it_is_free() {
    let mut client = Client::new();
    let first = client.reserve(4 * SIZE, 0, 0).expect("addresses");
    let wished = first + 64 * SIZE;
    assert_eq!(client.reserve(SIZE, 0, wished), Ok(wished));
    assert_ne!(client.reserve(SIZE, 0, first + SIZE), Ok(first + SIZE), "taken");
    assert_ne!(client.reserve(SIZE, 0, wished + 3), Ok(wished + 3), "not aligned");
    let aligned = client.reserve(SIZE, 1 << 30, 0).expect("addresses");
    assert_eq!(aligned % (1 << 30), 0);
}
