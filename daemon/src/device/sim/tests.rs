//! The simulated device asked by messages, as a client's worker asks it.

use std::cell::RefCell;
use std::rc::Rc;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::*;

use super::{Profile, Sim};
use crate::desk::Usage;
use crate::device::Bank;
use crate::dispatch::*;
use crate::store::{Place, Store};

const TOTAL: u64 = 80 << 30;

/// A ledger of this client alone.
#[derive(Debug, Clone)]
pub(super) struct OwnBank {
    pub total: u64,
    pub used: Rc<RefCell<u64>>,
}

impl OwnBank {
    pub fn new(total: u64) -> Self {
        Self { total, used: Rc::default() }
    }
}

impl Bank for OwnBank {
    fn reserve(&mut self, _: u32, bytes: u64) -> Result<(), Error> {
        let mut used = self.used.borrow_mut();
        let after = used.checked_add(bytes).filter(|&after| after <= self.total);
        *used = after.ok_or(Error::OUT_OF_MEMORY)?;
        Ok(())
    }

    fn release(&mut self, _: u32, bytes: u64) {
        *self.used.borrow_mut() -= bytes;
    }

    fn pin(&mut self, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn unpin(&mut self, _: u64) {}

    fn afford(&self, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn usage(&self, _: u32) -> Result<Usage, Error> {
        let (total, used) = (self.total, *self.used.borrow());
        Ok(Usage { total, free: total - used, used, processes: Vec::new() })
    }
}

/// A client with the primary context of device 0 current.
pub(super) struct Client {
    pub sim: Sim,
    pub bank: OwnBank,
    pub call: Call,
}

fn call(context: u64) -> Call {
    Call { context, thread: 0 }
}

impl Client {
    pub fn new() -> Self {
        let bank = OwnBank::new(TOTAL);
        let mut sim = Sim::new(Profile::load(2), bank.clone(), Store::open(&Place::default()));
        let context = retain(&mut sim, 0);
        Self { sim, bank, call: call(context) }
    }

    pub fn used(&self) -> u64 {
        *self.bank.used.borrow()
    }

    pub fn alloc(&mut self, bytesize: u64) -> Result<u64, Error> {
        self.sim.mem_alloc_v2(&self.call, MemAllocV2 { bytesize }).map(|reply| reply.dptr)
    }

    pub fn free(&mut self, dptr: u64) -> Result<(), Error> {
        self.sim.mem_free_v2(&self.call, MemFreeV2 { dptr })
    }

    pub fn read(&mut self, src_device: u64, byte_count: u64) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        let request = MemcpyDtoHV2 { src_device, byte_count };
        self.sim.memcpy_dto_h_v2(&self.call, request, &mut out).map(|_| out)
    }

    pub fn write(&mut self, dst_device: u64, bytes: &[u8]) -> Result<(), Error> {
        self.sim.memcpy_hto_d_v2(&self.call, MemcpyHtoDV2 { dst_device }, bytes).map(drop)
    }

    pub fn stream(&mut self) -> u64 {
        self.sim.stream_create(&self.call, StreamCreate { flags: 1 }).expect("a stream").stream
    }

    pub fn event(&mut self, flags: u32) -> Result<u64, Error> {
        self.sim.event_create(&self.call, EventCreate { flags }).map(|reply| reply.event)
    }

    pub fn record(&mut self, event: u64, stream: u64) -> Result<(), Error> {
        self.sim.event_record(&self.call, EventRecord { event, stream })
    }

    pub fn elapsed(&mut self, start: u64, end: u64) -> Result<f32, Error> {
        let request = EventElapsedTimeV2 { start, end };
        self.sim.event_elapsed_time_v2(&self.call, request).map(|reply| reply.p_milliseconds)
    }
}

fn retain(sim: &mut Sim, dev: i32) -> u64 {
    let retained = sim.device_primary_ctx_retain(&call(0), DevicePrimaryCtxRetain { dev });
    retained.expect("a device").pctx
}

#[test]
fn what_is_written_is_read_back_and_sets_set_every_element() {
    let mut client = Client::new();
    let at = client.alloc(64).expect("room");
    client.write(at, &[7; 64]).expect("in range");
    let (call, sim) = (&client.call.clone(), &mut client.sim);
    sim.memset_d8_v2(call, MemsetD8V2 { dst_device: at, uc: 1, n: 3 }).expect("set");
    let d16 = MemsetD16V2 { dst_device: at + 4, us: 0x0203, n: 2 };
    sim.memset_d16_v2(call, d16).expect("set");
    let d32 = MemsetD32V2 { dst_device: at + 8, ui: 0x0405_0607, n: 1 };
    sim.memset_d32_v2(call, d32).expect("set");
    sim.memset_d32_v2(call, MemsetD32V2 { dst_device: at + 12, ui: 0, n: 1 }).expect("set");
    let expected = [1, 1, 1, 7, 3, 2, 3, 2, 7, 6, 5, 4, 0, 0, 0, 0, 7];
    assert_eq!(client.read(at, 17), Ok(expected.to_vec()));
}

#[test]
fn a_set_of_rows_leaves_what_is_between_them() {
    let mut client = Client::new();
    let at = client.alloc(32).expect("room");
    let mut rows = |dst_pitch, width, height| {
        let request = MemsetD2D16V2 { dst_device: at, dst_pitch, us: 0x0101, width, height };
        client.sim.memset_d2_d16_v2(&client.call, request)
    };
    rows(12, 2, 3).expect("set");
    assert_eq!(rows(12, 3, 4), Err(Error::INVALID_VALUE), "the fourth row ends behind the end");
    assert_eq!(rows(2, 2, 2), Err(Error::INVALID_VALUE), "rows overlap");
    assert_eq!(rows(u64::MAX - 1, 2, u64::MAX), Err(Error::INVALID_VALUE));
    assert_eq!(rows(12, 0, 9), Ok(()));
    let row = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let expected: Vec<u8> = row.iter().cycle().take(32).copied().collect();
    assert_eq!(client.read(at, 32), Ok(expected));
}

#[test]
fn an_unaligned_set_is_refused() {
    let mut client = Client::new();
    let at = client.alloc(64).expect("room");
    let request = MemsetD32V2 { dst_device: at + 2, ui: 1, n: 1 };
    assert_eq!(client.sim.memset_d32_v2(&client.call, request), Err(Error::INVALID_VALUE));
    let request = MemsetD16V2 { dst_device: at + 1, us: 1, n: 1 };
    assert_eq!(client.sim.memset_d16_v2(&client.call, request), Err(Error::INVALID_VALUE));
}

#[test]
fn a_freed_pointer_is_refused_by_memcpy() {
    let mut client = Client::new();
    let at = client.alloc(64).expect("room");
    assert_eq!(client.free(at + 1), Err(Error::INVALID_VALUE), "not the first address");
    client.free(at).expect("it is there");
    assert_eq!(client.free(at), Err(Error::INVALID_VALUE));
    assert_eq!(client.read(at, 1), Err(Error::INVALID_VALUE));
    assert_eq!(client.write(at, &[0]), Err(Error::INVALID_VALUE));
    assert_eq!(client.free(0), Ok(()));
}

#[test]
fn memory_ends_where_the_device_does_and_is_accounted() {
    let mut client = Client::new();
    assert_eq!(client.alloc(0), Err(Error::INVALID_VALUE));
    assert_eq!(client.alloc(TOTAL + 1), Err(Error::OUT_OF_MEMORY));
    assert_eq!(client.alloc(u64::MAX), Err(Error::OUT_OF_MEMORY));
    let all = client.alloc(TOTAL).expect("all of it");
    assert_eq!(client.alloc(1), Err(Error::OUT_OF_MEMORY));
    client.free(all).expect("it is there");
    client.alloc(1).expect("room again");
    assert_eq!(client.used(), 512);
    let info = client.sim.mem_get_info_v2(&client.call, MemGetInfoV2).expect("a context");
    assert_eq!((info.free, info.total), (TOTAL - 512, TOTAL));
}

#[test]
fn a_pitch_is_wide_enough_and_every_row_is_there() {
    let mut client = Client::new();
    let mut pitched = |width_in_bytes, height, element_size_bytes| {
        let request = MemAllocPitchV2 { width_in_bytes, height, element_size_bytes };
        client.sim.mem_alloc_pitch_v2(&client.call, request)
    };
    assert_eq!(pitched(100, 10, 3).map(|reply| reply.p_pitch), Err(Error::INVALID_VALUE));
    assert_eq!(pitched(u64::MAX, 10, 4).map(|reply| reply.p_pitch), Err(Error::OUT_OF_MEMORY));
    let reply = pitched(1000, 10, 4).expect("room");
    assert_eq!(reply.p_pitch, 1024);
    client.read(reply.dptr + 9 * 1024, 1024).expect("the last row");
}

#[test]
fn memory_streams_and_events_end_with_their_context() {
    let mut client = Client::new();
    let create = CtxCreateV2 { flags: 0, dev: 1 };
    let own = client.sim.ctx_create_v2(&client.call, create).expect("a context").pctx;
    let primary = std::mem::replace(&mut client.call, call(own));
    let (at, stream) = (client.alloc(100).expect("room"), client.stream());
    let event = client.event(0).expect("an event");
    client.call = primary;
    assert_eq!(client.used(), 512);
    client.read(at, 100).expect("any context of the client may read it");
    client.sim.ctx_destroy_v2(&client.call, CtxDestroyV2 { ctx: own }).expect("it lives");
    assert_eq!(client.used(), 0);
    assert_eq!(client.read(at, 1), Err(Error::INVALID_VALUE));
    assert_eq!(client.record(event, 0), Err(Error::INVALID_HANDLE));
    let query = StreamQuery { stream };
    assert_eq!(client.sim.stream_query(&client.call, query), Err(Error::INVALID_HANDLE));
    let synchronise = CtxSynchronize;
    let gone = client.sim.ctx_synchronize(&call(own), synchronise);
    assert_eq!(gone.map(drop), Err(Error::CONTEXT_IS_DESTROYED));
    let again = client.sim.ctx_destroy_v2(&client.call, CtxDestroyV2 { ctx: own });
    assert_eq!(again, Err(Error::CONTEXT_IS_DESTROYED));
}

#[test]
fn a_primary_context_lives_until_its_last_release_and_keeps_its_handle() {
    let mut client = Client::new();
    let handle = client.call.context;
    assert_eq!(retain(&mut client.sim, 0), handle);
    assert_ne!(retain(&mut client.sim, 1), handle);
    client.alloc(1).expect("room");
    let release = |client: &mut Client| {
        let request = DevicePrimaryCtxReleaseV2 { dev: 0 };
        client.sim.device_primary_ctx_release_v2(&call(0), request)
    };
    release(&mut client).expect("retained twice");
    client.alloc(1).expect("it still lives");
    release(&mut client).expect("the last time");
    assert_eq!(client.used(), 0);
    assert_eq!(client.alloc(1), Err(Error::CONTEXT_IS_DESTROYED));
    assert_eq!(release(&mut client), Err(Error::INVALID_CONTEXT));
    assert_eq!(retain(&mut client.sim, 0), handle);
    client.alloc(1).expect("it lives again");
    let reset = DevicePrimaryCtxResetV2 { dev: 0 };
    client.sim.device_primary_ctx_reset_v2(&call(0), reset).expect("a device");
    assert_eq!(client.used(), 0);
    let destroy = CtxDestroyV2 { ctx: retain(&mut client.sim, 0) };
    let refused = client.sim.ctx_destroy_v2(&call(0), destroy);
    assert_eq!(refused, Err(Error::INVALID_CONTEXT), "a primary context is released");
}

#[test]
fn forged_stale_and_wrong_handles_are_refused_by_kind() {
    let mut client = Client::new();
    let (stream, event) = (client.stream(), client.event(0).expect("an event"));
    for context in [0, 3, stream, event, u64::MAX, 1 << 56 | 99] {
        client.call = call(context);
        assert_eq!(client.alloc(1), Err(Error::INVALID_CONTEXT), "{context:#x}");
        assert_eq!(client.record(event, 0), Err(Error::INVALID_CONTEXT), "{context:#x}");
    }
    client.call = call(retain(&mut client.sim, 0));
    for forged in [3, event, client.call.context, u64::MAX] {
        let query = StreamQuery { stream: forged };
        assert_eq!(client.sim.stream_query(&client.call, query), Err(Error::INVALID_HANDLE));
        assert_eq!(client.record(event, forged), Err(Error::INVALID_HANDLE), "{forged:#x}");
    }
    for forged in [0, 2, stream, client.call.context] {
        let query = EventQuery { event: forged };
        assert_eq!(client.sim.event_query(&client.call, query), Err(Error::INVALID_HANDLE));
    }
    let destroy = || StreamDestroyV2 { stream };
    client.sim.stream_destroy_v2(&client.call, destroy()).expect("it lives");
    assert_eq!(client.sim.stream_destroy_v2(&client.call, destroy()), Err(Error::INVALID_HANDLE));
    let default = StreamDestroyV2 { stream: 1 };
    assert_eq!(client.sim.stream_destroy_v2(&client.call, default), Err(Error::INVALID_HANDLE));
}

#[test]
fn the_default_streams_work_by_all_their_names() {
    let mut client = Client::new();
    let event = client.event(0).expect("an event");
    for stream in 0..3 {
        client.record(event, stream).expect("a default stream");
        let wait = StreamWaitEvent { stream, event, flags: 0 };
        client.sim.stream_wait_event(&client.call, wait).expect("a default stream");
        let synchronise = StreamSynchronize { stream };
        client.sim.stream_synchronize(&client.call, synchronise).expect("a default stream");
    }
    let external = StreamWaitEvent { stream: 0, event, flags: 1 };
    assert_eq!(client.sim.stream_wait_event(&client.call, external), Err(Error::INVALID_VALUE));
}

#[test]
fn events_tell_the_time_between_them() {
    let mut client = Client::new();
    let (start, end) = (client.event(0).expect("an event"), client.event(0).expect("an event"));
    assert_eq!(client.elapsed(start, end), Err(Error::INVALID_HANDLE), "not recorded yet");
    client.sim.event_query(&client.call, EventQuery { event: end }).expect("nothing to wait for");
    client.record(start, 0).expect("recorded");
    let before = std::time::Instant::now();
    while before.elapsed().as_micros() < 2000 {
        std::hint::spin_loop();
    }
    client.record(end, 0).expect("recorded");
    let ms = client.elapsed(start, end).expect("both are recorded");
    let least = 2.0;
    assert!(ms >= least, "{ms}");
    assert_eq!(client.elapsed(end, start), Ok(-ms));
    let untimed = client.event(2).expect("an event");
    client.record(untimed, 0).expect("recorded");
    assert_eq!(client.elapsed(start, untimed), Err(Error::INVALID_HANDLE));
    assert_eq!(client.event(8), Err(Error::INVALID_VALUE));
    assert_eq!(client.event(6), Err(Error::NOT_SUPPORTED), "events between processes");
}

#[test]
fn an_event_is_recorded_in_streams_of_its_own_context_only() {
    let mut client = Client::new();
    let event = client.event(0).expect("an event");
    client.call = call(retain(&mut client.sim, 1));
    let other = client.stream();
    assert_eq!(client.record(event, other), Err(Error::INVALID_HANDLE));
    let wait = StreamWaitEvent { stream: other, event, flags: 0 };
    client.sim.stream_wait_event(&client.call, wait).expect("waiting across devices is allowed");
}

#[test]
fn limits_priorities_and_cache_configuration_are_kept_per_context() {
    let mut client = Client::new();
    let (call, sim) = (&client.call.clone(), &mut client.sim);
    let get = |sim: &mut Sim, limit| sim.ctx_get_limit(call, CtxGetLimit { limit });
    assert_eq!(get(sim, 0).map(|reply| reply.pvalue), Ok(1024));
    sim.ctx_set_limit(call, CtxSetLimit { limit: 0, value: 4096 }).expect("a limit");
    assert_eq!(get(sim, 0).map(|reply| reply.pvalue), Ok(4096));
    assert_eq!(get(sim, 6).map(|reply| reply.pvalue), Err(Error::UNSUPPORTED_LIMIT));
    sim.ctx_set_cache_config(call, CtxSetCacheConfig { config: 3 }).expect("a configuration");
    let wrong = sim.ctx_set_cache_config(call, CtxSetCacheConfig { config: 4 });
    assert_eq!(wrong, Err(Error::INVALID_VALUE));
    let config = sim.ctx_get_cache_config(call, CtxGetCacheConfig).map(|reply| reply.pconfig);
    assert_eq!(config, Ok(3));
    let create = StreamCreateWithPriority { flags: 0, priority: -99 };
    let stream = sim.stream_create_with_priority(call, create).expect("a stream").stream;
    let priority = sim.stream_get_priority(call, StreamGetPriority { stream });
    assert_eq!(priority.map(|reply| reply.priority), Ok(-5));
}

#[test]
fn more_than_a_frame_is_not_read_at_once() {
    let mut client = Client::new();
    let bytes = vgpu_link::wire::header::BULK_BYTES_MAX as u64;
    let at = client.alloc(2 * bytes).expect("room");
    assert_eq!(client.read(at, bytes).map(|out| out.len() as u64), Ok(bytes));
    assert_eq!(client.read(at, bytes + 1), Err(Error::INVALID_VALUE));
}
