"""The runtime's own rules: the last error, implicit initialisation, its numbers."""

import ctypes
import threading
from ctypes import byref, c_float, c_int, c_size_t, c_void_p

from rules import case

# cudaError: those that differ from the driver's numbers, or are used here.
INVALID_VALUE, INVALID_PITCH, INVALID_DEVICE, NO_DEVICE_FUNCTION = 1, 12, 101, 98
INVALID_RESOURCE, NOT_READY, MEMORY_ALLOCATION = 400, 600, 2
CAPTURE_UNSUPPORTED, ILLEGAL_STATE = 900, 401
HOST_TO_DEVICE, DEVICE_TO_HOST, DEFAULT = 1, 2, 4


def memory(world, size=4096):
    """Allocates device memory through the runtime."""
    place = c_void_p()
    world.ok(world.cudart.cudaMalloc(byref(place), size))
    return place


@case
def the_runtime_initialises_itself(world):
    """CUDA Runtime API, Initialization."""
    memory(world)


@case
def the_last_error_is_cleared_when_it_is_told(world):
    """cudaGetLastError."""
    world.equal(world.cudart.cudaSetDevice(99), INVALID_DEVICE)
    world.equal(world.cudart.cudaGetLastError(), INVALID_DEVICE)
    world.equal(world.cudart.cudaGetLastError(), 0)


@case
def the_last_error_is_kept_when_it_is_peeked_at(world):
    """cudaPeekAtLastError."""
    world.equal(world.cudart.cudaSetDevice(99), INVALID_DEVICE)
    world.equal(world.cudart.cudaPeekAtLastError(), INVALID_DEVICE)
    world.equal(world.cudart.cudaPeekAtLastError(), INVALID_DEVICE)


@case
def success_does_not_clear_the_last_error(world):
    """cudaGetLastError: the last error from any runtime call."""
    world.equal(world.cudart.cudaSetDevice(99), INVALID_DEVICE)
    memory(world)
    world.equal(world.cudart.cudaGetLastError(), INVALID_DEVICE)


@case
def each_thread_has_its_own_last_error(world):
    """cudaGetLastError: in the same host thread."""
    world.equal(world.cudart.cudaSetDevice(99), INVALID_DEVICE)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(world.cudart.cudaGetLastError()))
    thread.start()
    thread.join()
    world.equal(seen, [0])


@case
def not_ready_is_not_a_last_error(world):
    """cudaStreamQuery: cudaErrorNotReady is not an error to keep."""
    stream = c_void_p()
    world.ok(world.cudart.cudaStreamCreate(byref(stream)))
    world.true(world.cudart.cudaStreamQuery(stream) in (0, NOT_READY), "an error")
    world.equal(world.cudart.cudaGetLastError(), 0)


@case
def the_current_device_is_zero_at_first(world):
    """cudaGetDevice."""
    device = c_int(-1)
    world.ok(world.cudart.cudaGetDevice(byref(device)))
    world.equal(device.value, 0)


@case
def a_malloc_of_nothing_gives_null(world):
    """cudaMalloc: a size of 0 succeeds with NULL."""
    place = c_void_p(1)
    world.ok(world.cudart.cudaMalloc(byref(place), 0))
    world.equal(place.value, None)


@case
def a_malloc_needs_a_place(world):
    """cudaMalloc: cudaErrorInvalidValue."""
    world.equal(world.cudart.cudaMalloc(None, 16), INVALID_VALUE)


@case
def a_malloc_beyond_memory_fails_and_is_not_sticky(world):
    """cudaMalloc: cudaErrorMemoryAllocation."""
    place = c_void_p()
    world.equal(world.cudart.cudaMalloc(byref(place), 1 << 50), MEMORY_ALLOCATION)
    world.equal(world.cudart.cudaGetLastError(), MEMORY_ALLOCATION)
    world.ok(world.cudart.cudaDeviceSynchronize())


@case
def a_null_is_freed(world):
    """cudaFree: no operation for NULL."""
    world.ok(world.cudart.cudaFree(None))


@case
def a_made_up_address_is_not_freed_by_the_runtime(world):
    """cudaFree: cudaErrorInvalidValue."""
    memory(world)
    world.equal(world.cudart.cudaFree(0x12345600), INVALID_VALUE)


@case
def memory_is_not_freed_twice_by_the_runtime(world):
    """cudaFree: cudaErrorInvalidValue."""
    place = memory(world)
    world.ok(world.cudart.cudaFree(place))
    world.equal(world.cudart.cudaFree(place), INVALID_VALUE)


@case
def a_copy_goes_the_way_that_its_kind_says(world):
    """cudaMemcpy."""
    place, back = memory(world), ctypes.create_string_buffer(8)
    world.ok(world.cudart.cudaMemcpy(place, b"12345678", 8, HOST_TO_DEVICE))
    world.ok(world.cudart.cudaMemcpy(back, place, 8, DEVICE_TO_HOST))
    world.equal(back.raw, b"12345678")


@case
def a_copy_finds_its_way_by_default(world):
    """cudaMemcpy: cudaMemcpyDefault with unified addressing."""
    place, back = memory(world), ctypes.create_string_buffer(8)
    world.ok(world.cudart.cudaMemcpy(place, b"abcdefgh", 8, DEFAULT))
    world.ok(world.cudart.cudaMemcpy(back, place, 8, DEFAULT))
    world.equal(back.raw, b"abcdefgh")


@case
def a_copy_of_no_known_kind_is_refused(world):
    """cudaMemcpy: cudaErrorInvalidMemcpyDirection (21)."""
    world.equal(world.cudart.cudaMemcpy(memory(world), b"1234", 4, 77), 21)


@case
def a_copy_to_null_is_refused_by_the_runtime(world):
    """cudaMemcpy: cudaErrorInvalidValue."""
    place = memory(world)
    world.equal(world.cudart.cudaMemcpy(None, place, 8, DEVICE_TO_HOST), INVALID_VALUE)


@case
def free_and_total_are_told(world):
    """cudaMemGetInfo."""
    free, total = c_size_t(), c_size_t()
    world.ok(world.cudart.cudaMemGetInfo(byref(free), byref(total)))
    world.true(0 < free.value <= total.value, f"{free.value} of {total.value}")


@case
def a_kernel_that_was_never_registered_is_no_device_function(world):
    """cudaLaunchKernel: cudaErrorInvalidDeviceFunction (98)."""
    memory(world)
    own = ctypes.create_string_buffer(16)
    one = 1 | 1 << 32
    answer = world.cudart.cudaLaunchKernel(own, one, 1, one, 1, None, 0, None)
    world.equal(answer, NO_DEVICE_FUNCTION)


@case
def the_attributes_of_no_kernel_are_not_told(world):
    """cudaFuncGetAttributes: cudaErrorInvalidDeviceFunction (98)."""
    memory(world)
    place, own = ctypes.create_string_buffer(256), ctypes.create_string_buffer(16)
    world.equal(world.cudart.cudaFuncGetAttributes(place, own), NO_DEVICE_FUNCTION)


@case
def time_between_unrecorded_events_is_refused(world):
    """cudaEventElapsedTime: cudaErrorInvalidResourceHandle."""
    one, two, ms = c_void_p(), c_void_p(), c_float()
    for event in (one, two):
        world.ok(world.cudart.cudaEventCreateWithFlags(byref(event), 0))
    answer = world.cudart.cudaEventElapsedTime(byref(ms), one, two)
    world.equal(answer, INVALID_RESOURCE)


@case
def an_event_without_timing_is_recorded(world):
    """cudaEventRecord, cudaEventSynchronize."""
    event = c_void_p()
    world.ok(world.cudart.cudaEventCreateWithFlags(byref(event), 2))
    world.ok(world.cudart.cudaEventRecord(event, None))
    world.ok(world.cudart.cudaEventSynchronize(event))
    world.ok(world.cudart.cudaEventQuery(event))


@case
def a_capture_is_told_by_the_runtime(world):
    """cudaStreamIsCapturing: cudaStreamCaptureStatusActive (1)."""
    stream, status, graph = c_void_p(), c_int(-1), c_void_p()
    world.ok(world.cudart.cudaStreamCreateWithFlags(byref(stream), 1))
    world.ok(world.cudart.cudaStreamBeginCapture(stream, 2))
    world.ok(world.cudart.cudaStreamIsCapturing(stream, byref(status)))
    world.equal(status.value, 1)
    world.ok(world.cudart.cudaStreamEndCapture(stream, byref(graph)))
    world.ok(world.cudart.cudaGraphDestroy(graph))


@case
def a_stream_that_captures_is_not_synchronised_by_the_runtime(world):
    """cudaStreamSynchronize: cudaErrorStreamCaptureUnsupported."""
    stream = c_void_p()
    world.ok(world.cudart.cudaStreamCreateWithFlags(byref(stream), 1))
    world.ok(world.cudart.cudaStreamBeginCapture(stream, 2))
    world.equal(world.cudart.cudaStreamSynchronize(stream), CAPTURE_UNSUPPORTED)


@case
def an_unknown_attribute_is_refused_by_the_runtime(world):
    """cudaDeviceGetAttribute: cudaErrorInvalidValue."""
    value = c_int()
    world.equal(world.cudart.cudaDeviceGetAttribute(byref(value), 100000, 0), INVALID_VALUE)


@case
def an_attribute_of_no_device_is_refused_by_the_runtime(world):
    """cudaDeviceGetAttribute: cudaErrorInvalidDevice."""
    value = c_int()
    world.equal(world.cudart.cudaDeviceGetAttribute(byref(value), 10, 99), INVALID_DEVICE)


@case
def a_device_is_no_peer_of_itself_for_the_runtime(world):
    """cudaDeviceEnablePeerAccess: cudaErrorInvalidDevice for the current device."""
    memory(world)
    world.equal(world.cudart.cudaDeviceEnablePeerAccess(0, 0), INVALID_DEVICE)


@case
def memory_is_gone_after_a_reset(world):
    """cudaDeviceReset: destroys all allocations."""
    place = memory(world)
    world.ok(world.cudart.cudaDeviceReset())
    # Nothing new is allocated, which might lie at the same place.
    world.ok(world.cudart.cudaFree(None))
    world.true(world.cudart.cudaMemset(place, 0, 4096) != 0, "memory outlived the reset")


@case
def pinned_memory_is_freed_as_pinned(world):
    """cudaFreeHost."""
    place = c_void_p()
    world.ok(world.cudart.cudaMallocHost(byref(place), 4096))
    ctypes.memset(place, 1, 4096)
    world.ok(world.cudart.cudaFreeHost(place))


@case
def the_programs_memory_is_not_freed_as_pinned(world):
    """cudaFreeHost: cudaErrorInvalidValue."""
    memory(world)
    own = ctypes.create_string_buffer(4096)
    world.equal(world.cudart.cudaFreeHost(own), INVALID_VALUE)
