"""Device memory, pinned and registered memory, pointers."""

import ctypes
import mmap
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p

from rules import Unfit, case


@case
def no_bytes_are_not_allocated(world):
    """cuMemAlloc: INVALID_VALUE for 0 bytes."""
    world.primary()
    place = c_uint64()
    world.expect("INVALID_VALUE", world.cu.cuMemAlloc_v2(byref(place), 0))


@case
def more_than_there_is_is_out_of_memory(world):
    """cuMemAlloc: OUT_OF_MEMORY."""
    world.primary()
    place = c_uint64()
    world.expect("OUT_OF_MEMORY", world.cu.cuMemAlloc_v2(byref(place), 1 << 50))


@case
def out_of_memory_is_not_sticky(world):
    """CUDA C++ Programming Guide, Error checking: other calls go on."""
    world.primary()
    place = c_uint64()
    world.expect("OUT_OF_MEMORY", world.cu.cuMemAlloc_v2(byref(place), 1 << 50))
    world.memory(1 << 20)
    world.ok(world.cu.cuCtxSynchronize())


@case
def an_allocation_needs_a_place(world):
    """cuMemAlloc: INVALID_VALUE."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuMemAlloc_v2(None, 16))


@case
def allocations_are_aligned(world):
    """CUDA C++ Programming Guide: at least 256 bytes."""
    world.primary()
    for size in (1, 3, 300, 5000):
        world.equal(world.memory(size) % 256, 0)


@case
def free_memory_falls_and_rises(world):
    """cuMemGetInfo. It counts all processes, so one that ends meanwhile makes another attempt."""
    world.primary()
    for _ in range(3):
        before = world.free_memory()
        place = world.memory(256 << 20)
        during = world.free_memory()
        if during <= before - (256 << 20):
            break
        world.ok(world.cu.cuMemFree_v2(place))
    world.true(during <= before - (256 << 20), "allocated memory counts as free")
    world.ok(world.cu.cuMemFree_v2(place))
    world.true(world.free_memory() >= before - (2 << 20), "freed memory counts as used")


@case
def freeing_null_is_nothing(world):
    """cuMemFree: 0 is accepted."""
    world.primary()
    world.ok(world.cu.cuMemFree_v2(0))


@case
def a_made_up_address_is_not_freed(world):
    """cuMemFree: INVALID_VALUE."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuMemFree_v2(0x1234_5600))


@case
def memory_is_not_freed_twice(world):
    """cuMemFree: INVALID_VALUE."""
    world.primary()
    place = world.memory()
    world.ok(world.cu.cuMemFree_v2(place))
    world.expect("INVALID_VALUE", world.cu.cuMemFree_v2(place))


@case
def the_middle_of_an_allocation_is_not_freed(world):
    """cuMemFree: the pointer must be one that cuMemAlloc returned."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuMemFree_v2(world.memory() + 256))


@case
def a_pitch_is_wide_enough(world):
    """cuMemAllocPitch."""
    world.primary()
    place, pitch = c_uint64(), c_size_t()
    world.ok(world.cu.cuMemAllocPitch_v2(byref(place), byref(pitch), 1000, 10, 4))
    world.true(pitch.value >= 1000 and pitch.value % 4 == 0, f"pitch {pitch.value}")


@case
def a_pitch_is_for_elements_of_4_8_or_16_bytes(world):
    """cuMemAllocPitch: INVALID_VALUE for another element size."""
    world.primary()
    place, pitch = c_uint64(), c_size_t()
    answer = world.cu.cuMemAllocPitch_v2(byref(place), byref(pitch), 1000, 10, 3)
    world.expect("INVALID_VALUE", answer)


@case
def a_pitch_of_no_bytes_is_refused(world):
    """cuMemAllocPitch: INVALID_VALUE."""
    world.primary()
    place, pitch = c_uint64(), c_size_t()
    answer = world.cu.cuMemAllocPitch_v2(byref(place), byref(pitch), 0, 10, 4)
    world.expect("INVALID_VALUE", answer)


@case
def an_address_tells_its_allocation(world):
    """cuMemGetAddressRange."""
    world.primary()
    place = world.memory(10000)
    base, size = c_uint64(), c_size_t()
    world.ok(world.cu.cuMemGetAddressRange_v2(byref(base), byref(size), place + 5000))
    world.equal(base.value, place)
    world.true(size.value >= 10000, f"{size.value} bytes")


@case
def a_made_up_address_has_no_allocation(world):
    """cuMemGetAddressRange: NOT_FOUND (INVALID_VALUE from older drivers)."""
    world.primary()
    base, size = c_uint64(), c_size_t()
    answer = world.cu.cuMemGetAddressRange_v2(byref(base), byref(size), 0x1234_5600)
    world.expect_any(["NOT_FOUND", "INVALID_VALUE"], answer)


@case
def info_needs_both_places(world):
    """cuMemGetInfo: INVALID_VALUE."""
    world.primary()
    free = c_size_t()
    world.expect("INVALID_VALUE", world.cu.cuMemGetInfo_v2(byref(free), None))


@case
def info_needs_a_context(world):
    """cuMemGetInfo: INVALID_CONTEXT."""
    world.device()
    free, total = c_size_t(), c_size_t()
    world.expect("INVALID_CONTEXT", world.cu.cuMemGetInfo_v2(byref(free), byref(total)))


@case
def pinned_memory_can_be_written(world):
    """cuMemAllocHost."""
    world.primary()
    place = c_void_p()
    world.ok(world.cu.cuMemAllocHost_v2(byref(place), 1 << 16))
    ctypes.memset(place, 7, 1 << 16)
    world.equal(ctypes.string_at(place.value + 65535, 1), b"\7")
    world.ok(world.cu.cuMemFreeHost(place))


@case
def no_bytes_are_not_pinned(world):
    """cuMemAllocHost: INVALID_VALUE."""
    world.primary()
    place = c_void_p()
    world.expect("INVALID_VALUE", world.cu.cuMemAllocHost_v2(byref(place), 0))


@case
def pinned_memory_is_not_freed_twice(world):
    """cuMemFreeHost: INVALID_VALUE."""
    world.primary()
    place = c_void_p()
    world.ok(world.cu.cuMemAllocHost_v2(byref(place), 4096))
    world.ok(world.cu.cuMemFreeHost(place))
    world.expect("INVALID_VALUE", world.cu.cuMemFreeHost(place))


@case
def the_programs_own_memory_is_not_freed(world):
    """cuMemFreeHost: INVALID_VALUE."""
    world.primary()
    own = ctypes.create_string_buffer(4096)
    world.expect("INVALID_VALUE", world.cu.cuMemFreeHost(own))


@case
def pinned_memory_takes_known_flags_only(world):
    """cuMemHostAlloc: INVALID_VALUE."""
    world.primary()
    place = c_void_p()
    world.expect("INVALID_VALUE", world.cu.cuMemHostAlloc(byref(place), 4096, 0x100))


@case
def the_flags_of_pinned_memory_are_told(world):
    """cuMemHostGetFlags: those of cuMemHostAlloc."""
    world.primary()
    place, flags = c_void_p(), c_uint()
    world.ok(world.cu.cuMemHostAlloc(byref(place), 4096, 1))
    world.ok(world.cu.cuMemHostGetFlags(byref(flags), place))
    world.equal(flags.value & 1, 1)


@case
def memory_that_is_not_pinned_has_no_flags(world):
    """cuMemHostGetFlags: INVALID_VALUE."""
    world.primary()
    flags = c_uint()
    own = ctypes.create_string_buffer(64)
    world.expect("INVALID_VALUE", world.cu.cuMemHostGetFlags(byref(flags), own))


@case
def memory_is_not_registered_twice(world):
    """cuMemHostRegister: HOST_MEMORY_ALREADY_REGISTERED."""
    world.primary()
    pages = mmap.mmap(-1, 4 * mmap.PAGESIZE)
    place = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    first = world.cu.cuMemHostRegister_v2(place, mmap.PAGESIZE, 0)
    if first == 801:
        raise Unfit("memory cannot be registered here")
    world.ok(first)
    again = world.cu.cuMemHostRegister_v2(place, mmap.PAGESIZE, 0)
    world.expect("HOST_MEMORY_ALREADY_REGISTERED", again)


@case
def memory_that_is_not_registered_is_not_unregistered(world):
    """cuMemHostUnregister: HOST_MEMORY_NOT_REGISTERED."""
    world.primary()
    pages = mmap.mmap(-1, mmap.PAGESIZE)
    place = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    answer = world.cu.cuMemHostUnregister(place)
    world.expect_any(["HOST_MEMORY_NOT_REGISTERED", "INVALID_VALUE"], answer)


@case
def a_device_pointer_knows_what_it_is(world):
    """cuPointerGetAttribute: CU_POINTER_ATTRIBUTE_MEMORY_TYPE (2) is DEVICE (2)."""
    world.primary()
    kind = c_uint()
    world.ok(world.cu.cuPointerGetAttribute(byref(kind), 2, world.memory()))
    world.equal(kind.value, 2)


@case
def a_device_pointer_knows_its_context(world):
    """cuPointerGetAttribute: CU_POINTER_ATTRIBUTE_CONTEXT (1)."""
    context = world.primary()
    found = c_void_p()
    world.ok(world.cu.cuPointerGetAttribute(byref(found), 1, world.memory()))
    world.equal(found.value, context.value)


@case
def a_pinned_pointer_is_the_hosts(world):
    """cuPointerGetAttribute: CU_POINTER_ATTRIBUTE_MEMORY_TYPE (2) is HOST (1)."""
    world.primary()
    place, kind = c_void_p(), c_uint()
    world.ok(world.cu.cuMemAllocHost_v2(byref(place), 4096))
    world.ok(world.cu.cuPointerGetAttribute(byref(kind), 2, place.value))
    world.equal(kind.value, 1)


@case
def an_unknown_pointer_has_no_attributes(world):
    """cuPointerGetAttribute: INVALID_VALUE."""
    world.primary()
    kind = c_uint()
    own = ctypes.create_string_buffer(64)
    answer = world.cu.cuPointerGetAttribute(byref(kind), 2, ctypes.addressof(own))
    world.expect("INVALID_VALUE", answer)


@case
def an_unknown_pointer_attribute_is_refused(world):
    """cuPointerGetAttribute: INVALID_VALUE."""
    world.primary()
    value = c_uint64()
    answer = world.cu.cuPointerGetAttribute(byref(value), 9999, world.memory())
    world.expect("INVALID_VALUE", answer)


@case
def managed_memory_is_there_or_refused(world):
    """cuMemAllocManaged: NOT_SUPPORTED where CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY (83) is 0."""
    world.primary()
    place = c_uint64()
    answer = world.cu.cuMemAllocManaged(byref(place), 4096, 1)
    world.expect("SUCCESS" if world.attribute(83) else "NOT_SUPPORTED", answer)


@case
def memory_of_another_context_can_be_freed_from_this_one(world):
    """CUDA Driver API, Unified addressing: pointers are valid in all contexts of the process."""
    world.context()
    place = world.memory()
    world.context()
    world.ok(world.cu.cuMemFree_v2(place))
