"""Streams and events."""

import threading
from ctypes import byref, c_int, c_uint, c_void_p

from rules import case

LEGACY, PER_THREAD = 1, 2


@case
def a_stream_is_made_and_ended(world):
    """cuStreamCreate, cuStreamDestroy."""
    world.primary()
    world.ok(world.cu.cuStreamDestroy_v2(world.stream()))


@case
def a_stream_needs_a_place(world):
    """cuStreamCreate: INVALID_VALUE."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuStreamCreate(None, 0))


@case
def a_stream_takes_known_flags_only(world):
    """cuStreamCreate: INVALID_VALUE."""
    world.primary()
    stream = c_void_p()
    world.expect("INVALID_VALUE", world.cu.cuStreamCreate(byref(stream), 0x80))


@case
def a_stream_needs_a_context(world):
    """cuStreamCreate: INVALID_CONTEXT."""
    world.device()
    stream = c_void_p()
    world.expect("INVALID_CONTEXT", world.cu.cuStreamCreate(byref(stream), 0))


@case
def the_flags_of_a_stream_are_told(world):
    """cuStreamGetFlags."""
    world.primary()
    flags = c_uint(9)
    world.ok(world.cu.cuStreamGetFlags(world.stream(1), byref(flags)))
    world.equal(flags.value, 1)
    world.ok(world.cu.cuStreamGetFlags(world.stream(0), byref(flags)))
    world.equal(flags.value, 0)


@case
def a_priority_outside_the_range_is_clamped(world):
    """cuStreamCreateWithPriority."""
    world.primary()
    least, greatest, told = c_int(), c_int(), c_int()
    world.ok(world.cu.cuCtxGetStreamPriorityRange(byref(least), byref(greatest)))
    stream = c_void_p()
    world.ok(world.cu.cuStreamCreateWithPriority(byref(stream), 0, -1000))
    world.ok(world.cu.cuStreamGetPriority(stream, byref(told)))
    world.equal(told.value, greatest.value)


@case
def a_stream_knows_its_context(world):
    """cuStreamGetCtx."""
    context, found = world.primary(), c_void_p()
    world.ok(world.cu.cuStreamGetCtx(world.stream(), byref(found)))
    world.equal(found.value, context.value)


@case
def the_default_streams_can_be_waited_for(world):
    """CUDA Driver API, Stream synchronization behavior: NULL, CU_STREAM_LEGACY, _PER_THREAD."""
    world.primary()
    for stream in (None, LEGACY, PER_THREAD):
        world.ok(world.cu.cuStreamSynchronize(stream))
        world.ok(world.cu.cuStreamQuery(stream))


@case
def the_default_streams_are_not_destroyed(world):
    """cuStreamDestroy: one of INVALID_HANDLE, INVALID_VALUE, INVALID_CONTEXT."""
    world.primary()
    for stream in (None, LEGACY, PER_THREAD):
        answer = world.cu.cuStreamDestroy_v2(stream)
        world.expect_any(["INVALID_HANDLE", "INVALID_VALUE", "INVALID_CONTEXT"], answer)


@case
def an_idle_stream_is_ready(world):
    """cuStreamQuery: SUCCESS when all work is done."""
    world.primary()
    stream = world.stream()
    world.ok(world.cu.cuStreamQuery(stream))


@case
def work_in_one_stream_is_in_order(world):
    """CUDA C++ Programming Guide, Streams."""
    world.primary()
    stream, place = world.stream(), world.memory(1 << 20)
    for value in range(50):
        world.ok(world.cu.cuMemsetD8Async(place, value, 1 << 20, stream))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(world.read(place + (1 << 20) - 1, 1), bytes([49]))


@case
def a_stream_waits_for_an_event_of_another(world):
    """cuStreamWaitEvent."""
    world.primary()
    one, two, event, place = world.stream(), world.stream(), world.event(2), world.memory(1 << 20)
    world.ok(world.cu.cuMemsetD8Async(place, 1, 1 << 20, one))
    world.ok(world.cu.cuEventRecord(event, one))
    world.ok(world.cu.cuStreamWaitEvent(two, event, 0))
    world.ok(world.cu.cuMemsetD8Async(place, 2, 1 << 20, two))
    world.ok(world.cu.cuStreamSynchronize(two))
    world.equal(world.read(place, 1), b"\2")


@case
def waiting_for_an_event_that_was_never_recorded_is_nothing(world):
    """cuStreamWaitEvent: has no effect."""
    world.primary()
    stream = world.stream()
    world.ok(world.cu.cuStreamWaitEvent(stream, world.event(), 0))
    world.ok(world.cu.cuStreamSynchronize(stream))


@case
def a_stream_may_end_with_work_in_it(world):
    """cuStreamDestroy: returns at once; the work is finished."""
    world.primary()
    stream, place = world.stream(), world.memory(4 << 20)
    world.ok(world.cu.cuMemsetD8Async(place, 3, 4 << 20, stream))
    world.ok(world.cu.cuStreamDestroy_v2(stream))
    world.ok(world.cu.cuCtxSynchronize())
    world.equal(world.read(place + (4 << 20) - 1, 1), b"\3")


@case
def each_thread_has_its_own_default_stream(world):
    """CUDA C++ Programming Guide, Per-thread default stream."""
    context = world.primary()
    place, codes = world.memory(1 << 16), []

    def work(value):
        codes.append(world.cu.cuCtxSetCurrent(context))
        for _ in range(20):
            codes.append(world.cu.cuMemsetD8Async(place + value * 256, value, 256, PER_THREAD))
        codes.append(world.cu.cuStreamSynchronize(PER_THREAD))

    threads = [threading.Thread(target=work, args=(value,)) for value in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.equal(set(codes), {0})
    world.equal(world.read(place, 2048), b"".join(bytes([value]) * 256 for value in range(8)))


@case
def an_event_is_made_and_ended(world):
    """cuEventCreate, cuEventDestroy."""
    world.primary()
    world.ok(world.cu.cuEventDestroy_v2(world.event()))


@case
def an_event_needs_a_place(world):
    """cuEventCreate: INVALID_VALUE."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuEventCreate(None, 0))


@case
def an_event_takes_known_flags_only(world):
    """cuEventCreate: INVALID_VALUE."""
    world.primary()
    event = c_void_p()
    world.expect("INVALID_VALUE", world.cu.cuEventCreate(byref(event), 0x100))


@case
def an_interprocess_event_has_no_timing(world):
    """cuEventCreate: CU_EVENT_INTERPROCESS needs CU_EVENT_DISABLE_TIMING."""
    world.primary()
    event = c_void_p()
    answer = world.cu.cuEventCreate(byref(event), 4)
    world.expect_any(["INVALID_VALUE", "NOT_SUPPORTED"], answer)


@case
def an_event_that_was_never_recorded_has_happened(world):
    """cuEventQuery, cuEventSynchronize: SUCCESS."""
    world.primary()
    event = world.event()
    world.ok(world.cu.cuEventQuery(event))
    world.ok(world.cu.cuEventSynchronize(event))


@case
def null_is_no_event(world):
    """cuEventRecord: INVALID_HANDLE (or INVALID_VALUE)."""
    world.primary()
    world.expect_any(["INVALID_HANDLE", "INVALID_VALUE"], world.cu.cuEventRecord(None, None))


@case
def null_is_no_event_to_wait_for(world):
    """cuEventSynchronize: INVALID_HANDLE (or INVALID_VALUE)."""
    world.primary()
    world.expect_any(["INVALID_HANDLE", "INVALID_VALUE"], world.cu.cuEventSynchronize(None))


@case
def time_passes_between_events(world):
    """cuEventElapsedTime."""
    world.primary()
    start, end, place = world.event(), world.event(), world.memory(16 << 20)
    world.ok(world.cu.cuEventRecord(start, None))
    world.ok(world.cu.cuMemsetD8Async(place, 1, 16 << 20, None))
    world.ok(world.cu.cuEventRecord(end, None))
    world.ok(world.cu.cuEventSynchronize(end))
    code, ms = world.elapsed(start, end)
    world.ok(code)
    world.true(ms >= 0, f"{ms} ms")


@case
def an_unrecorded_event_has_no_time(world):
    """cuEventElapsedTime: INVALID_HANDLE."""
    world.primary()
    start, end = world.event(), world.event()
    world.ok(world.cu.cuEventRecord(start, None))
    world.expect("INVALID_HANDLE", world.elapsed(start, end)[0])


@case
def an_event_without_timing_has_no_time(world):
    """cuEventElapsedTime: INVALID_HANDLE for CU_EVENT_DISABLE_TIMING."""
    world.primary()
    start, end = world.event(2), world.event(2)
    for event in (start, end):
        world.ok(world.cu.cuEventRecord(event, None))
        world.ok(world.cu.cuEventSynchronize(event))
    world.expect("INVALID_HANDLE", world.elapsed(start, end)[0])


@case
def an_event_of_another_context_is_not_recorded(world):
    """cuEventRecord: event and stream must be of one context."""
    world.context()
    event = world.event()
    world.context()
    stream = world.stream()
    world.expect("INVALID_HANDLE", world.cu.cuEventRecord(event, stream))
