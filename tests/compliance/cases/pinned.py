"""Pinned memory of the program: read and written when a stream comes to it."""

import ctypes
import threading
from ctypes import byref, c_void_p

from cases.graph_memory import fill, pinned
from rules import case

# What a driver may read at once, and what it does not.
SIZES = [16, 1 << 20, (9 << 20) + 5]

FUNCTION = ctypes.CFUNCTYPE(None, c_void_p)


def held(world, stream):
    """Has a stream wait for a function; returns what lets it go on."""
    gate = threading.Event()
    function = FUNCTION(lambda _: gate.wait(30))
    world.ok(world.cu.cuLaunchHostFunc(stream, function, None))
    # The library keeps no reference that Python knows of.
    gate.function = function
    return gate


@case
def a_pinned_source_is_read_when_the_stream_comes_to_it(world):
    """API synchronization behavior, Memcpy: from pinned memory the copy is asynchronous."""
    world.primary()
    for size in SIZES:
        place, stream, source = world.memory(size), world.stream(), pinned(world, size)
        fill(source, 1)

        def write(_):
            fill(source, 2)

        function = FUNCTION(write)
        world.ok(world.cu.cuLaunchHostFunc(stream, function, None))
        world.ok(world.cu.cuMemcpyHtoDAsync_v2(place, source, size, stream))
        world.ok(world.cu.cuStreamSynchronize(stream))
        world.equal(world.read(place, size), b"\2" * size)


@case
def a_copy_reads_what_an_earlier_one_of_its_stream_wrote(world):
    """Stream order: pinned memory that one copy writes and the next one reads."""
    world.primary()
    for size in SIZES:
        first, second = world.memory(size), world.memory(size)
        stream, between = world.stream(), pinned(world, size)
        fill(between, 9)
        world.ok(world.cu.cuMemsetD8_v2(first, 7, size))
        world.ok(world.cu.cuMemcpyDtoHAsync_v2(between, first, size, stream))
        world.ok(world.cu.cuMemcpyHtoDAsync_v2(second, between, size, stream))
        world.ok(world.cu.cuStreamSynchronize(stream))
        world.equal(bytes(between), b"\7" * size)
        world.equal(world.read(second, size), b"\7" * size)


@case
def a_held_stream_writes_to_pinned_memory_when_it_goes_on(world):
    """cuMemcpyDtoHAsync behind a function: nothing is there before, all is there after."""
    world.primary()
    for size in SIZES:
        place, stream, target = world.memory(size), world.stream(), pinned(world, size)
        fill(target, 5)
        world.ok(world.cu.cuMemsetD8_v2(place, 6, size))
        gate = held(world, stream)
        world.ok(world.cu.cuMemcpyDtoHAsync_v2(target, place, size, stream))
        world.expect("NOT_READY", world.cu.cuStreamQuery(stream))
        world.equal(bytes(target), b"\5" * size)
        gate.set()
        world.ok(world.cu.cuStreamSynchronize(stream))
        world.equal(bytes(target), b"\6" * size)


@case
def parts_of_pinned_memory_are_copied_both_ways(world):
    """cuMemcpyHtoD, cuMemcpyDtoH and their asynchronous forms, from any byte to any byte."""
    world.primary()
    size = 3 << 20
    place, stream = world.memory(size), world.stream()
    source, target = pinned(world, size), pinned(world, size)
    pattern = bytes(at * 7 % 251 for at in range(4096)) * (size // 4096)
    ctypes.memmove(source, pattern, size)
    cu = world.cu
    for first, length in [(0, size), (1, 1), (4095, 2), (77, 70_000), (size - 1, 1), (5, size - 9)]:
        start, end = ctypes.addressof(source) + first, ctypes.addressof(target) + first
        for asynchronous in (False, True):
            fill(target, 0)
            world.ok(cu.cuMemsetD8_v2(place, 0, size))
            if asynchronous:
                world.ok(cu.cuMemcpyHtoDAsync_v2(place + first, start, length, stream))
                world.ok(cu.cuMemcpyDtoHAsync_v2(end, place + first, length, stream))
                world.ok(cu.cuStreamSynchronize(stream))
            else:
                world.ok(cu.cuMemcpyHtoD_v2(place + first, start, length))
                world.ok(cu.cuMemcpyDtoH_v2(end, place + first, length))
            expected = bytes(first) + pattern[first : first + length]
            world.true(bytes(target) == expected.ljust(size, b"\0"), f"{first} {length}")


@case
def pinned_memory_is_freed_while_copies_are_under_way(world):
    """cuMemFreeHost: what other memory holds is not touched by copies from and to what is freed."""
    world.primary()
    size = 2 << 20
    place, other, stream = world.memory(size), world.memory(size), world.stream()
    world.ok(world.cu.cuMemsetD8_v2(other, 3, size))
    for value in range(20):
        source, target = pinned(world, size), pinned(world, size)
        fill(source, value)
        world.ok(world.cu.cuMemcpyHtoDAsync_v2(place, source, size, stream))
        world.ok(world.cu.cuMemcpyDtoHAsync_v2(target, other, size, stream))
        world.ok(world.cu.cuMemFreeHost(source))
        world.ok(world.cu.cuMemFreeHost(target))
        fresh = pinned(world, size)
        fill(fresh, 77)
        world.ok(world.cu.cuStreamSynchronize(stream))
        world.equal(bytes(fresh), b"\x4d" * size)
        world.equal(world.read(place, size), bytes([value]) * size)
        world.ok(world.cu.cuMemFreeHost(fresh))


@case
def a_pinned_address_that_was_freed_is_freed_no_more(world):
    """cuMemFreeHost, cuMemHostGetFlags: INVALID_VALUE."""
    world.primary()
    place = pinned(world, 1 << 20)
    world.ok(world.cu.cuMemFreeHost(place))
    world.expect("INVALID_VALUE", world.cu.cuMemFreeHost(place))
    flags = ctypes.c_uint()
    world.expect("INVALID_VALUE", world.cu.cuMemHostGetFlags(byref(flags), place))


@case
def a_thousand_pieces_of_pinned_memory_lie_apart(world):
    """cuMemHostAlloc: every piece is the program's own."""
    world.primary()
    pieces = [pinned(world, 5000) for _ in range(1000)]
    for value, piece in enumerate(pieces):
        fill(piece, value % 251)
    for value, piece in enumerate(pieces):
        world.equal(bytes(piece), bytes([value % 251]) * 5000)
    for piece in pieces[::2]:
        world.ok(world.cu.cuMemFreeHost(piece))
    for value, piece in list(enumerate(pieces))[1::2]:
        world.equal(bytes(piece), bytes([value % 251]) * 5000)
