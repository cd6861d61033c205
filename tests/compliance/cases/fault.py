"""Errors that stay: a kernel that faults ends its context."""

import ctypes
import threading
from ctypes import byref, c_int, c_uint32, c_uint64, c_void_p

import kernels
from rules import case


def fault(world):
    """Launches a kernel that writes where nothing is; the launch itself succeeds."""
    function = world.function(world.module(kernels.ALL), b"vgpu_test_fill")
    world.ok(world.launch(function, [c_uint64(0x100), c_uint32(1), c_uint32(1)], block=1))


@case
def a_fault_is_reported_by_the_next_synchronisation(world):
    """cuCtxSynchronize: ILLEGAL_ADDRESS."""
    world.primary()
    fault(world)
    world.expect("ILLEGAL_ADDRESS", world.cu.cuCtxSynchronize())


@case
def a_fault_is_reported_by_its_stream(world):
    """cuStreamSynchronize: ILLEGAL_ADDRESS."""
    world.primary()
    fault(world)
    world.expect("ILLEGAL_ADDRESS", world.cu.cuStreamSynchronize(None))


@case
def a_fault_stays(world):
    """CUDA_ERROR_ILLEGAL_ADDRESS: leaves the process in an inconsistent state; same error after."""
    world.primary()
    place = world.memory()
    fault(world)
    for _ in range(3):
        world.expect("ILLEGAL_ADDRESS", world.cu.cuCtxSynchronize())
    again = c_uint64()
    world.expect("ILLEGAL_ADDRESS", world.cu.cuMemAlloc_v2(byref(again), 16))
    world.expect("ILLEGAL_ADDRESS", world.cu.cuMemsetD8_v2(place, 1, 16))


@case
def a_fault_refuses_launches(world):
    """CUDA_ERROR_ILLEGAL_ADDRESS: any further CUDA work returns the same error."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_multiply")
    fault(world)
    world.expect("ILLEGAL_ADDRESS", world.cu.cuCtxSynchronize())
    world.expect("ILLEGAL_ADDRESS", world.launch(function, [], block=1))


@case
def a_misaligned_access_is_told_apart(world):
    """CUDA_ERROR_MISALIGNED_ADDRESS."""
    world.primary()
    place = world.memory()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_fill")
    world.ok(world.launch(function, [c_uint64(place + 1), c_uint32(1), c_uint32(1)], block=1))
    world.expect("MISALIGNED_ADDRESS", world.cu.cuCtxSynchronize())


@case
def an_error_of_the_arguments_does_not_stay(world):
    """cuLaunchKernel: INVALID_VALUE is the call's own."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_multiply")
    world.expect("INVALID_VALUE", world.launch(function, [], block=4096))
    world.ok(world.launch(function, [], block=1))
    world.ok(world.cu.cuCtxSynchronize())


@case
def a_bad_image_does_not_stay(world):
    """cuModuleLoadData."""
    world.primary()
    module = c_void_p()
    world.true(world.cu.cuModuleLoadData(byref(module), b"nothing\0") != 0, "it was loaded")
    world.module(kernels.ALL)
    world.ok(world.cu.cuCtxSynchronize())


@case
def a_fault_is_told_to_callbacks(world):
    """cuStreamAddCallback: with the error; cuLaunchHostFunc: not called in the event of one."""
    world.primary()
    seen, told = [], threading.Event()

    def called(stream, status, data):
        seen.append(status)
        told.set()

    callback = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_void_p)(called)
    function = ctypes.CFUNCTYPE(None, c_void_p)(lambda data: seen.append("a function"))
    fault(world)
    launched = world.cu.cuLaunchHostFunc(None, function, None)
    added = world.cu.cuStreamAddCallback(None, callback, None, 0)
    world.expect("ILLEGAL_ADDRESS", world.cu.cuCtxSynchronize())
    # A driver that knows of the fault already refuses them.
    for answer in (launched, added):
        world.true(answer in (0, 700), f"answered {answer}")
    if added == 0:
        world.true(told.wait(20), "the callback was not called within 20 s")
    world.equal(seen, [700] if added == 0 else [])
