"""Host functions in streams."""

import ctypes
import threading
from ctypes import c_int, c_uint, c_void_p

from rules import case

FUNCTION = ctypes.CFUNCTYPE(None, c_void_p)
CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_void_p)


@case
def a_host_function_is_called_in_stream_order(world):
    """cuLaunchHostFunc: after the work before it, before the work after it."""
    world.primary()
    stream, place, seen = world.stream(), world.memory(4096), []
    back = ctypes.create_string_buffer(16)
    function = FUNCTION(lambda data: seen.append((data, back.raw[0])))
    world.ok(world.cu.cuMemsetD8Async(place, 3, 16, stream))
    world.ok(world.cu.cuMemcpyDtoHAsync_v2(back, place, 16, stream))
    world.ok(world.cu.cuLaunchHostFunc(stream, function, 1234))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(seen, [(1234, 3)])


@case
def a_host_function_runs_though_nobody_waits(world):
    """cuLaunchHostFunc: the driver's own thread calls it."""
    world.primary()
    done = threading.Event()
    function = FUNCTION(lambda data: done.set())
    world.ok(world.cu.cuLaunchHostFunc(world.stream(), function, None))
    world.true(done.wait(20), "it was not called within 20 s")


@case
def a_callback_learns_its_stream(world):
    """cuStreamAddCallback."""
    world.primary()
    stream, seen = world.stream(), []
    function = CALLBACK(lambda stream, status, data: seen.append((stream, status, data)))
    world.ok(world.cu.cuStreamAddCallback(stream, function, 77, 0))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(seen, [(stream.value, 0, 77)])


@case
def a_callback_takes_no_flags(world):
    """cuStreamAddCallback: must be 0."""
    world.primary()
    function = CALLBACK(lambda stream, status, data: None)
    answer = world.cu.cuStreamAddCallback(world.stream(), function, None, 1)
    world.expect("INVALID_VALUE", answer)


@case
def a_host_function_must_be_one(world):
    """cuLaunchHostFunc: INVALID_VALUE for NULL."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuLaunchHostFunc(world.stream(), None, None))
