//! Pools, peers and limits, asked by messages.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::*;

use super::tests::Client;
use crate::dispatch::*;

const USED: u32 = 7;
const USED_HIGH: u32 = 8;
const THRESHOLD: u32 = 4;

impl Client {
    fn pool(&mut self, device: i32, bytes_max: u64) -> u64 {
        let request = PoolCreate { device, bytes_max };
        self.sim.pool_create(&self.call, request).expect("a pool").pool
    }

    fn attribute(&mut self, pool: u64, attribute: u32) -> Result<u64, Error> {
        let request = PoolAttribute { pool, attribute };
        self.sim.pool_attribute(&self.call, request).map(|reply| reply.value)
    }

    fn change(&mut self, pool: u64, attribute: u32, value: u64) -> Result<(), Error> {
        self.sim.pool_change(&self.call, PoolChange { pool, attribute, value })
    }

    fn take(&mut self, pool: u64, bytesize: u64) -> Result<u64, Error> {
        let request = MemAllocFromPoolAsync { bytesize, pool, stream: 0 };
        self.sim.mem_alloc_from_pool_async(&self.call, request).map(|reply| reply.dptr)
    }

    fn give(&mut self, dptr: u64) -> Result<(), Error> {
        self.sim.mem_free_async(&self.call, MemFreeAsync { dptr, stream: 0 })
    }

    fn current_pool(&mut self) -> u64 {
        self.sim.device_get_mem_pool(&self.call, DeviceGetMemPool { dev: 0 }).expect("one").pool
    }
}

#[test]
fn a_pool_counts_what_is_used_and_ends_after_its_last_memory() {
    let mut client = Client::new();
    let pool = client.pool(0, 4096);
    let (one, two) =
        (client.take(pool, 1000).expect("room"), client.take(pool, 512).expect("room"));
    assert_eq!(client.take(pool, 4096), Err(Error::OUT_OF_MEMORY), "more than its limit");
    assert_eq!(client.take(pool, 0), Err(Error::INVALID_VALUE));
    client.write(one, b"pooled").expect("it is device memory");
    assert_eq!((client.attribute(pool, USED), client.used()), (Ok(1536), 1536));
    client.give(one).expect("it is there");
    assert_eq!(client.give(one), Err(Error::INVALID_VALUE), "twice");
    assert_eq!((client.attribute(pool, USED), client.used()), (Ok(512), 512));
    assert_eq!(client.attribute(pool, USED_HIGH), Ok(1536));
    client.change(pool, USED_HIGH, 0).expect("back to what is used");
    assert_eq!(client.attribute(pool, USED_HIGH), Ok(512));
    let destroy = MemPoolDestroy { pool };
    client.sim.mem_pool_destroy(&client.call, destroy).expect("it lives");
    assert_eq!(client.take(pool, 1), Err(Error::INVALID_VALUE));
    client.read(two, 512).expect("what was allocated stays");
    client.free(two).expect("by cuMemFree as well");
    assert_eq!(client.used(), 0);
    let plain = client.alloc(100).expect("room");
    assert_eq!(client.give(plain), Err(Error::INVALID_VALUE), "it came from no pool");
}

#[test]
fn attributes_are_checked_and_a_device_has_one_pool_chosen() {
    let mut client = Client::new();
    let default = client.current_pool();
    let same =
        client.sim.device_get_default_mem_pool(&client.call, DeviceGetDefaultMemPool { dev: 0 });
    assert_eq!(same.map(|reply| reply.pool_out), Ok(default));
    for reuse in 1..=3 {
        assert_eq!(client.attribute(default, reuse), Ok(1));
        assert_eq!(client.change(default, reuse, 2), Err(Error::INVALID_VALUE));
        assert_eq!(client.change(default, reuse, 0), Ok(()));
        assert_eq!(client.attribute(default, reuse), Ok(0));
    }
    client.change(default, THRESHOLD, u64::MAX).expect("any number");
    assert_eq!(client.attribute(default, THRESHOLD), Ok(u64::MAX));
    for (attribute, value) in [(USED, 0), (5, 0), (USED_HIGH, 1), (0, 0), (99, 0)] {
        let refused = client.change(default, attribute, value);
        assert_eq!(refused, Err(Error::INVALID_VALUE), "{attribute}");
    }
    let (own, other) = (client.pool(0, 0), client.pool(1, 0));
    let choose = |client: &mut Client, pool| {
        client.sim.device_set_mem_pool(&client.call, DeviceSetMemPool { dev: 0, pool })
    };
    assert_eq!(choose(&mut client, other), Err(Error::INVALID_VALUE), "another device's");
    choose(&mut client, own).expect("its own");
    assert_eq!(client.current_pool(), own);
    let request = MemAllocAsync { bytesize: 100, stream: 0 };
    client.sim.mem_alloc_async(&client.call, request).expect("room");
    assert_eq!(client.attribute(own, USED), Ok(512));
    client.sim.mem_pool_destroy(&client.call, MemPoolDestroy { pool: own }).expect("it lives");
    assert_eq!(client.current_pool(), default);
    let refused = client.sim.mem_pool_destroy(&client.call, MemPoolDestroy { pool: default });
    assert_eq!(refused, Err(Error::INVALID_VALUE), "the default one");
}

#[test]
fn a_pools_own_device_keeps_its_access() {
    let mut client = Client::new();
    let pool = client.pool(0, 0);
    let mut change = |device, flags| {
        let access = vec![DeviceAccess { device, flags }];
        client.sim.pool_set_access(&client.call, PoolSetAccess { pool, access })
    };
    assert_eq!(change(0, 0), Err(Error::INVALID_VALUE));
    assert_eq!(change(0, 3), Ok(()));
    assert_eq!(change(1, 1), Ok(()));
    assert_eq!(change(1, 2), Err(Error::INVALID_VALUE));
    assert_eq!(change(2, 1), Err(Error::INVALID_DEVICE));
    for (device, flags) in [(0, Ok(3)), (1, Ok(1)), (2, Err(Error::INVALID_DEVICE))] {
        let access = client.sim.pool_get_access(&client.call, PoolGetAccess { pool, device });
        assert_eq!(access.map(|reply| reply.flags), flags);
    }
}

#[test]
fn peers_are_enabled_once_and_between_devices_only() {
    let mut client = Client::new();
    let own = client.call;
    let retain = DevicePrimaryCtxRetain { dev: 1 };
    let peer = client.sim.device_primary_ctx_retain(&own, retain).expect("a device").pctx;
    let create = CtxCreateV2 { flags: 0, dev: 0 };
    let beside = client.sim.ctx_create_v2(&own, create).expect("a context").pctx;
    let mut enable = |peer_context, flags| {
        client.sim.ctx_enable_peer_access(&own, CtxEnablePeerAccess { peer_context, flags })
    };
    assert_eq!(enable(peer, 1), Err(Error::INVALID_VALUE));
    assert_eq!(enable(own.context, 0), Err(Error::INVALID_CONTEXT));
    assert_eq!(enable(77, 0), Err(Error::INVALID_CONTEXT));
    assert_eq!(enable(beside, 0), Err(Error::PEER_ACCESS_UNSUPPORTED));
    assert_eq!(enable(peer, 0), Ok(()));
    assert_eq!(enable(peer, 0), Err(Error::PEER_ACCESS_ALREADY_ENABLED));
    let mut disable = |peer_context| {
        client.sim.ctx_disable_peer_access(&own, CtxDisablePeerAccess { peer_context })
    };
    assert_eq!(disable(peer), Ok(()));
    assert_eq!(disable(peer), Err(Error::PEER_ACCESS_NOT_ENABLED));
    let enable = CtxEnablePeerAccess { peer_context: peer, flags: 0 };
    client.sim.ctx_enable_peer_access(&own, enable.clone()).expect("enabled");
    let reset = DevicePrimaryCtxResetV2 { dev: 1 };
    client.sim.device_primary_ctx_reset_v2(&own, reset).expect("ended");
    client.sim.device_primary_ctx_retain(&own, DevicePrimaryCtxRetain { dev: 1 }).expect("back");
    let again = client.sim.ctx_enable_peer_access(&own, enable);
    assert_eq!(again, Ok(()), "access ends with the context, though its handle comes back");
    let at = client.alloc(100).expect("room");
    client.write(at, b"over").expect("in range");
    client.call = Call { context: peer, thread: 0 };
    let there = client.alloc(100).expect("room");
    let copy = MemcpyDtoDV2 { dst_device: there, src_device: at, byte_count: 4 };
    client.sim.memcpy_dto_d_v2(&client.call, copy).expect("enabled or not");
    assert_eq!(client.read(there, 4), Ok(b"over".to_vec()));
}

#[test]
fn limits_beyond_the_device_are_refused() {
    let mut client = Client::new();
    let mut change =
        |limit, value| client.sim.ctx_set_limit(&client.call, CtxSetLimit { limit, value });
    assert_eq!(change(0, 512 << 10), Ok(()));
    assert_eq!(change(0, (512 << 10) + 1), Err(Error::INVALID_VALUE));
    assert_eq!(change(2, u64::MAX), Err(Error::INVALID_VALUE));
    assert_eq!(change(5, 129), Err(Error::INVALID_VALUE));
    assert_eq!(change(6, 1), Err(Error::UNSUPPORTED_LIMIT));
}
