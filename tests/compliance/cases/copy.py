"""Copies and sets."""

import ctypes
from ctypes import byref, c_size_t, c_uint, c_uint64, c_void_p

from rules import case


class Copy2D(ctypes.Structure):
    """CUDA_MEMCPY2D."""

    _fields_ = [
        ("src_x", c_size_t), ("src_y", c_size_t), ("src_type", c_uint), ("src_host", c_void_p),
        ("src_device", c_uint64), ("src_array", c_void_p), ("src_pitch", c_size_t),
        ("dst_x", c_size_t), ("dst_y", c_size_t), ("dst_type", c_uint), ("dst_host", c_void_p),
        ("dst_device", c_uint64), ("dst_array", c_void_p), ("dst_pitch", c_size_t),
        ("width", c_size_t), ("height", c_size_t),
    ]


@case
def what_is_written_is_read(world):
    """cuMemcpyHtoD, cuMemcpyDtoH."""
    world.primary()
    text = bytes(range(256)) * 16
    place = world.memory(4096)
    world.ok(world.cu.cuMemcpyHtoD_v2(place, text, 4096))
    world.equal(world.read(place, 4096), text)


@case
def a_copy_of_nothing_succeeds(world):
    """cuMemcpyHtoD: a size of 0."""
    world.primary()
    world.ok(world.cu.cuMemcpyHtoD_v2(world.memory(), b"", 0))


@case
def a_copy_beyond_the_allocation_is_refused(world):
    """cuMemcpyHtoD: INVALID_VALUE."""
    world.primary()
    size = 64 << 20
    place = world.memory(4096)
    source = (ctypes.c_ubyte * size)()
    world.expect("INVALID_VALUE", world.cu.cuMemcpyHtoD_v2(place, source, size))


@case
def a_copy_to_a_made_up_address_is_refused(world):
    """cuMemcpyHtoD: INVALID_VALUE."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuMemcpyHtoD_v2(0x1234_5600, b"1234", 4))


@case
def a_copy_from_a_made_up_address_is_refused(world):
    """cuMemcpyDtoH: INVALID_VALUE."""
    world.primary()
    place = ctypes.create_string_buffer(4)
    world.expect("INVALID_VALUE", world.cu.cuMemcpyDtoH_v2(place, 0x1234_5600, 4))


@case
def a_copy_from_freed_memory_is_refused(world):
    """cuMemcpyDtoH: INVALID_VALUE."""
    world.primary()
    place = world.memory(8 << 20)
    world.ok(world.cu.cuMemFree_v2(place))
    own = ctypes.create_string_buffer(4)
    world.expect("INVALID_VALUE", world.cu.cuMemcpyDtoH_v2(own, place, 4))


@case
def a_copy_needs_a_context(world):
    """cuMemcpyHtoD: INVALID_CONTEXT."""
    world.device()
    world.expect("INVALID_CONTEXT", world.cu.cuMemcpyHtoD_v2(0x1234_5600, b"1234", 4))


@case
def a_copy_to_null_is_refused(world):
    """cuMemcpyDtoH: INVALID_VALUE."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuMemcpyDtoH_v2(None, world.memory(), 4))


@case
def device_memory_is_copied_within_the_device(world):
    """cuMemcpyDtoD."""
    world.primary()
    one, two = world.memory(), world.memory()
    world.ok(world.cu.cuMemcpyHtoD_v2(one, b"abcdefgh", 8))
    world.ok(world.cu.cuMemcpyDtoD_v2(two, one, 8))
    world.equal(world.read(two, 8), b"abcdefgh")


@case
def the_kind_of_a_copy_is_found_from_its_addresses(world):
    """cuMemcpy: unified addressing."""
    world.primary()
    place = world.memory()
    own, back = ctypes.create_string_buffer(b"unified!", 8), ctypes.create_string_buffer(8)
    world.ok(world.cu.cuMemcpy(place, ctypes.addressof(own), 8))
    world.ok(world.cu.cuMemcpy(ctypes.addressof(back), place, 8))
    world.equal(back.raw, b"unified!")


@case
def a_pageable_source_may_change_after_an_async_copy(world):
    """CUDA Runtime API, API synchronization behavior: pageable memory is staged first."""
    world.primary()
    stream, place = world.stream(), world.memory(1 << 20)
    source = ctypes.create_string_buffer(b"\1" * (1 << 20), 1 << 20)
    world.ok(world.cu.cuMemcpyHtoDAsync_v2(place, source, 1 << 20, stream))
    ctypes.memset(source, 2, 1 << 20)
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(world.read(place, 1 << 20), b"\1" * (1 << 20))


@case
def async_copies_arrive_with_the_synchronisation(world):
    """cuMemcpyDtoHAsync, cuStreamSynchronize."""
    world.primary()
    stream, place = world.stream(), world.memory(1 << 16)
    back = c_void_p()
    world.ok(world.cu.cuMemAllocHost_v2(byref(back), 1 << 16))
    world.ok(world.cu.cuMemsetD8Async(place, 9, 1 << 16, stream))
    world.ok(world.cu.cuMemcpyDtoHAsync_v2(back, place, 1 << 16, stream))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(ctypes.string_at(back, 1 << 16), b"\x09" * (1 << 16))


@case
def async_copies_arrive_with_an_event(world):
    """cuMemcpyDtoHAsync, cuEventSynchronize."""
    world.primary()
    stream, place, event = world.stream(), world.memory(4096), world.event()
    back = c_void_p()
    world.ok(world.cu.cuMemAllocHost_v2(byref(back), 4096))
    world.ok(world.cu.cuMemsetD8Async(place, 5, 4096, stream))
    world.ok(world.cu.cuMemcpyDtoHAsync_v2(back, place, 4096, stream))
    world.ok(world.cu.cuEventRecord(event, stream))
    world.ok(world.cu.cuEventSynchronize(event))
    world.equal(ctypes.string_at(back, 4096), b"\5" * 4096)


@case
def async_copies_arrive_with_the_context(world):
    """cuMemcpyDtoHAsync, cuCtxSynchronize."""
    world.primary()
    stream, place = world.stream(), world.memory(4096)
    back = ctypes.create_string_buffer(4096)
    world.ok(world.cu.cuMemsetD8Async(place, 6, 4096, stream))
    world.ok(world.cu.cuMemcpyDtoHAsync_v2(back, place, 4096, stream))
    world.ok(world.cu.cuCtxSynchronize())
    world.equal(back.raw, b"\6" * 4096)


@case
def an_async_copy_in_a_stream_that_ended_is_refused(world):
    """cuMemcpyHtoDAsync: INVALID_HANDLE (others from some drivers)."""
    world.primary()
    stream = world.stream()
    place = world.memory()
    world.ok(world.cu.cuStreamDestroy_v2(stream))
    answer = world.cu.cuMemcpyHtoDAsync_v2(place, b"1234", 4, stream)
    world.expect_any(["INVALID_HANDLE", "INVALID_CONTEXT", "CONTEXT_IS_DESTROYED"], answer)


@case
def rows_are_copied_with_their_pitches(world):
    """cuMemcpy2D."""
    world.primary()
    place = world.memory(4096)
    source = ctypes.create_string_buffer(bytes(range(64)), 64)
    copy = Copy2D(src_type=1, src_host=ctypes.addressof(source), src_pitch=16, src_x=2, src_y=1,
                  dst_type=2, dst_device=place, dst_pitch=8, width=4, height=3)
    world.ok(world.cu.cuMemsetD8_v2(place, 0xff, 64))
    world.ok(world.cu.cuMemcpy2D_v2(byref(copy)))
    rows = b"".join(bytes(range(16 * row + 2, 16 * row + 6)) + b"\xff" * 4 for row in (1, 2, 3))
    world.equal(world.read(place, 24), rows)


@case
def a_pitch_below_the_width_is_refused(world):
    """cuMemcpy2D: INVALID_VALUE."""
    world.primary()
    source = ctypes.create_string_buffer(64)
    copy = Copy2D(src_type=1, src_host=ctypes.addressof(source), src_pitch=2, dst_type=2,
                  dst_device=world.memory(), dst_pitch=8, width=4, height=3)
    world.expect("INVALID_VALUE", world.cu.cuMemcpy2D_v2(byref(copy)))


@case
def a_2d_copy_needs_a_description(world):
    """cuMemcpy2D: INVALID_VALUE."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuMemcpy2D_v2(None))


@case
def bytes_are_set(world):
    """cuMemsetD8."""
    world.primary()
    place = world.memory()
    world.ok(world.cu.cuMemsetD8_v2(place, 0xab, 100))
    world.equal(world.read(place, 100), b"\xab" * 100)


@case
def halfwords_are_set(world):
    """cuMemsetD16."""
    world.primary()
    place = world.memory()
    world.ok(world.cu.cuMemsetD16_v2(place, 0x1234, 50))
    world.equal(world.read(place, 100), b"\x34\x12" * 50)


@case
def words_are_set(world):
    """cuMemsetD32."""
    world.primary()
    place = world.memory()
    world.ok(world.cu.cuMemsetD32_v2(place, 0x12345678, 25))
    world.equal(world.read(place, 100), b"\x78\x56\x34\x12" * 25)


@case
def words_are_aligned(world):
    """cuMemsetD32: the pointer must be four-byte aligned."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuMemsetD32_v2(world.memory() + 2, 1, 1))


@case
def rows_are_set(world):
    """cuMemsetD2D8."""
    world.primary()
    place = world.memory()
    world.ok(world.cu.cuMemsetD8_v2(place, 0, 64))
    world.ok(world.cu.cuMemsetD2D8_v2(place, 16, 7, 4, 3))
    world.equal(world.read(place, 48), (b"\7" * 4 + b"\0" * 12) * 3)


@case
def a_set_beyond_the_allocation_is_refused(world):
    """cuMemsetD8: INVALID_VALUE."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuMemsetD8_v2(world.memory(4096), 1, 1 << 30))


@case
def a_set_of_a_made_up_address_is_refused(world):
    """cuMemsetD8: INVALID_VALUE."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuMemsetD8_v2(0x1234_5600, 1, 4))
