"""Contexts: each thread's stack, primary contexts, limits."""

import threading
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p

from rules import case


@case
def without_a_context_nothing_is_allocated(world):
    """cuMemAlloc: INVALID_CONTEXT."""
    world.device()
    place = c_uint64()
    world.expect("INVALID_CONTEXT", world.cu.cuMemAlloc_v2(byref(place), 16))


@case
def without_a_context_there_is_nothing_to_synchronise(world):
    """cuCtxSynchronize: INVALID_CONTEXT."""
    world.device()
    world.expect("INVALID_CONTEXT", world.cu.cuCtxSynchronize())


@case
def no_context_is_current_at_first(world):
    """cuCtxGetCurrent: NULL and SUCCESS."""
    world.device()
    current = c_void_p(1)
    world.ok(world.cu.cuCtxGetCurrent(byref(current)))
    world.equal(current.value, None)


@case
def a_created_context_is_current(world):
    """cuCtxCreate."""
    context, current = world.context(), c_void_p()
    world.ok(world.cu.cuCtxGetCurrent(byref(current)))
    world.equal(current.value, context.value)


@case
def a_context_of_no_device_is_refused(world):
    """cuCtxCreate: INVALID_DEVICE."""
    world.device()
    context = c_void_p()
    world.expect("INVALID_DEVICE", world.cu.cuCtxCreate_v2(byref(context), 0, 99))


@case
def a_context_with_unknown_flags_is_refused(world):
    """cuCtxCreate: INVALID_VALUE."""
    device = world.device()
    context = c_void_p()
    world.expect("INVALID_VALUE", world.cu.cuCtxCreate_v2(byref(context), 0x4000_0000, device))


@case
def a_context_needs_a_place(world):
    """cuCtxCreate: INVALID_VALUE."""
    device = world.device()
    world.expect("INVALID_VALUE", world.cu.cuCtxCreate_v2(None, 0, device))


@case
def contexts_are_a_stack(world):
    """cuCtxPushCurrent, cuCtxPopCurrent."""
    first, second, popped = world.context(), world.context(), c_void_p()
    world.ok(world.cu.cuCtxPopCurrent_v2(byref(popped)))
    world.equal(popped.value, second.value)
    world.ok(world.cu.cuCtxPopCurrent_v2(byref(popped)))
    world.equal(popped.value, first.value)


@case
def an_empty_stack_has_nothing_to_pop(world):
    """cuCtxPopCurrent: INVALID_CONTEXT."""
    world.device()
    popped = c_void_p()
    world.expect("INVALID_CONTEXT", world.cu.cuCtxPopCurrent_v2(byref(popped)))


@case
def null_cannot_be_pushed(world):
    """cuCtxPushCurrent: INVALID_CONTEXT or INVALID_VALUE."""
    world.device()
    world.expect_any(["INVALID_CONTEXT", "INVALID_VALUE"], world.cu.cuCtxPushCurrent_v2(None))


@case
def setting_null_unbinds(world):
    """cuCtxSetCurrent: NULL pops the top of the stack."""
    world.context()
    world.ok(world.cu.cuCtxSetCurrent(None))
    current = c_void_p(1)
    world.ok(world.cu.cuCtxGetCurrent(byref(current)))
    world.equal(current.value, None)


@case
def null_cannot_be_destroyed(world):
    """cuCtxDestroy: INVALID_CONTEXT or INVALID_VALUE."""
    world.device()
    world.expect_any(["INVALID_CONTEXT", "INVALID_VALUE"], world.cu.cuCtxDestroy_v2(None))


@case
def memory_ends_with_its_context(world):
    """cuCtxDestroy: frees what the context held."""
    outer = world.context()
    before = world.free_memory()
    inner = world.context()
    world.memory(64 << 20)
    world.ok(world.cu.cuCtxDestroy_v2(inner))
    world.ok(world.cu.cuCtxSetCurrent(outer))
    world.true(world.free_memory() >= before - (32 << 20), "64 MiB were not given back")


@case
def the_device_of_a_context_is_known(world):
    """cuCtxGetDevice."""
    device = world.device()
    world.context()
    found = c_int(-1)
    world.ok(world.cu.cuCtxGetDevice(byref(found)))
    world.equal(found.value, device)


@case
def without_a_context_there_is_no_current_device(world):
    """cuCtxGetDevice: INVALID_CONTEXT."""
    world.device()
    found = c_int(-1)
    world.expect("INVALID_CONTEXT", world.cu.cuCtxGetDevice(byref(found)))


@case
def each_thread_has_a_stack_of_its_own(world):
    """CUDA Driver API, Context management: contexts are current to a thread."""
    world.context()
    seen = []

    def look():
        current = c_void_p(1)
        seen.append((world.cu.cuCtxGetCurrent(byref(current)), current.value))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    world.equal(seen, [(0, None)])


@case
def the_primary_context_is_one(world):
    """cuDevicePrimaryCtxRetain: the same handle each time."""
    device = world.device()
    first, second = c_void_p(), c_void_p()
    world.ok(world.cu.cuDevicePrimaryCtxRetain(byref(first), device))
    world.ok(world.cu.cuDevicePrimaryCtxRetain(byref(second), device))
    world.equal(first.value, second.value)


@case
def retaining_does_not_make_current(world):
    """cuDevicePrimaryCtxRetain: the context is not pushed."""
    device = world.device()
    context, current = c_void_p(), c_void_p(1)
    world.ok(world.cu.cuDevicePrimaryCtxRetain(byref(context), device))
    world.ok(world.cu.cuCtxGetCurrent(byref(current)))
    world.equal(current.value, None)


@case
def the_primary_context_is_inactive_at_first(world):
    """cuDevicePrimaryCtxGetState."""
    device = world.device()
    flags, active = c_uint(9), c_int(9)
    world.ok(world.cu.cuDevicePrimaryCtxGetState(device, byref(flags), byref(active)))
    world.equal(active.value, 0)


@case
def the_primary_context_is_active_while_retained(world):
    """cuDevicePrimaryCtxGetState, cuDevicePrimaryCtxRelease."""
    device = world.device()
    context, flags, active = c_void_p(), c_uint(), c_int()
    world.ok(world.cu.cuDevicePrimaryCtxRetain(byref(context), device))
    world.ok(world.cu.cuDevicePrimaryCtxGetState(device, byref(flags), byref(active)))
    world.equal(active.value, 1)
    world.ok(world.cu.cuDevicePrimaryCtxRelease_v2(device))
    world.ok(world.cu.cuDevicePrimaryCtxGetState(device, byref(flags), byref(active)))
    world.equal(active.value, 0)


@case
def a_primary_context_that_is_not_held_is_not_released(world):
    """cuDevicePrimaryCtxRelease: INVALID_CONTEXT."""
    device = world.device()
    world.expect("INVALID_CONTEXT", world.cu.cuDevicePrimaryCtxRelease_v2(device))


@case
def the_primary_context_cannot_be_destroyed(world):
    """cuCtxDestroy is for contexts of cuCtxCreate."""
    context = world.primary()
    world.true(world.cu.cuCtxDestroy_v2(context) != 0, "the primary context was destroyed")


@case
def a_primary_context_of_no_device_is_refused(world):
    """cuDevicePrimaryCtxRetain: INVALID_DEVICE."""
    world.device()
    context = c_void_p()
    world.expect("INVALID_DEVICE", world.cu.cuDevicePrimaryCtxRetain(byref(context), 99))


@case
def an_unknown_limit_is_refused(world):
    """cuCtxGetLimit: UNSUPPORTED_LIMIT (215)."""
    world.context()
    value = c_size_t()
    answer = world.cu.cuCtxGetLimit(byref(value), 1000)
    world.true(answer in (1, 215), f"got {answer}")


@case
def the_stack_limit_is_known(world):
    """cuCtxGetLimit: CU_LIMIT_STACK_SIZE (0)."""
    world.context()
    value = c_size_t()
    world.ok(world.cu.cuCtxGetLimit(byref(value), 0))
    world.true(value.value > 0, "no stack")


@case
def a_changed_limit_is_told(world):
    """cuCtxSetLimit: the value may be rounded up."""
    world.context()
    value = c_size_t()
    world.ok(world.cu.cuCtxSetLimit(0, 4096))
    world.ok(world.cu.cuCtxGetLimit(byref(value), 0))
    world.true(value.value >= 4096, f"{value.value} bytes")


@case
def stream_priorities_have_a_range(world):
    """cuCtxGetStreamPriorityRange: lower numbers are greater priorities."""
    world.context()
    least, greatest = c_int(9), c_int(9)
    world.ok(world.cu.cuCtxGetStreamPriorityRange(byref(least), byref(greatest)))
    world.equal(least.value, 0)
    world.true(greatest.value <= least.value, "greatest above least")


@case
def the_priority_range_has_optional_places(world):
    """cuCtxGetStreamPriorityRange: NULL for a value that is not wanted."""
    world.context()
    world.ok(world.cu.cuCtxGetStreamPriorityRange(None, None))


@case
def a_context_is_no_peer_of_itself(world):
    """cuCtxEnablePeerAccess: INVALID_DEVICE for the current context."""
    context = world.context()
    answer = world.cu.cuCtxEnablePeerAccess(context, 0)
    world.expect_any(["INVALID_DEVICE", "INVALID_CONTEXT", "INVALID_VALUE"], answer)


@case
def peer_access_takes_no_flags(world):
    """cuCtxEnablePeerAccess: flags must be 0."""
    context = world.context()
    world.true(world.cu.cuCtxEnablePeerAccess(context, 1) != 0, "flags were taken")
