"""Launches whose blocks are on the device together: cooperative ones, and clusters."""

import ctypes
import struct
from ctypes import byref, c_uint32, c_uint64, c_void_p

import kernels
from rules import Unfit, case

CLUSTER_DIMENSION, COOPERATIVE = 4, 2


class Attribute(ctypes.Structure):
    """CUlaunchAttribute: the value is a union of 64 bytes."""

    _fields_ = [("id", c_uint32), ("pad", c_uint32), ("value", c_uint32 * 16)]


class Config(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = [
        ("grid", c_uint32 * 3),
        ("block", c_uint32 * 3),
        ("shared", c_uint32),
        ("stream", c_void_p),
        ("attributes", ctypes.POINTER(Attribute)),
        ("count", c_uint32),
    ]


def launch(world, function, arguments, grid, *values):
    """Launches one thread a block with an attribute, and returns the code."""
    attribute = Attribute(values[0], 0, (c_uint32 * 16)(*values[1:]))
    config = Config((grid, 1, 1), (1, 1, 1), 0, None, ctypes.pointer(attribute), 1)
    places = (c_void_p * 2)(*[ctypes.addressof(argument) for argument in arguments])
    return world.cu.cuLaunchKernelEx(byref(config), function, places, None)


def cooperative(world):
    """Begins, where the device launches cooperatively (attribute 95)."""
    world.primary()
    if not world.attribute(95):
        raise Unfit("the device does not launch cooperatively")


@case
def a_cooperative_launch_that_fits_computes(world):
    """cuLaunchCooperativeKernel."""
    cooperative(world)
    function = world.function(world.module(kernels.ALL), b"vgpu_test_add")
    place = world.memory()
    world.ok(world.cu.cuMemsetD32_v2(place, 1, 1))
    arguments = [c_uint64(place), c_uint32(1)]
    places = (c_void_p * 2)(*[ctypes.addressof(argument) for argument in arguments])
    world.ok(world.cu.cuLaunchCooperativeKernel(function, 1, 1, 1, 1, 1, 1, 0, None, places))
    world.equal(world.read(place, 4), struct.pack("<I", 2))


@case
def a_cooperative_launch_that_does_not_fit_is_too_large(world):
    """cuLaunchCooperativeKernel: COOPERATIVE_LAUNCH_TOO_LARGE."""
    cooperative(world)
    function = world.function(world.module(kernels.ALL), b"vgpu_test_multiply")
    answer = world.cu.cuLaunchCooperativeKernel(function, 1 << 20, 1, 1, 1024, 1, 1, 0, None, None)
    world.expect("COOPERATIVE_LAUNCH_TOO_LARGE", answer)


@case
def a_cooperative_launch_may_be_asked_for_by_an_attribute(world):
    """cuLaunchKernelEx with COOPERATIVE: the same limit."""
    cooperative(world)
    function = world.function(world.module(kernels.ALL), b"vgpu_test_add")
    place = world.memory()
    world.ok(world.cu.cuMemsetD32_v2(place, 1, 1))
    arguments = [c_uint64(place), c_uint32(1)]
    world.ok(launch(world, function, arguments, 1, COOPERATIVE, 1))
    world.equal(world.read(place, 4), struct.pack("<I", 2))
    answer = launch(world, function, arguments, 1 << 20, COOPERATIVE, 1)
    world.expect("COOPERATIVE_LAUNCH_TOO_LARGE", answer)


def cluster(world):
    """Begins, where the device launches clusters (attribute 120), and finds a kernel for them."""
    world.primary()
    if not world.attribute(120):
        raise Unfit("the device does not launch clusters")
    return world.function(world.module(kernels.CLUSTER), b"vgpu_test_neighbour")


@case
def blocks_of_a_cluster_read_each_others_shared_memory(world):
    """cuLaunchKernelEx with CLUSTER_DIMENSION."""
    function = cluster(world)
    place = world.memory()
    world.ok(launch(world, function, [c_uint64(place)], 8, CLUSTER_DIMENSION, 4, 1, 1))
    # Each block reads what the next one of its cluster has there: its number in the grid.
    expected = [block // 4 * 4 + (block + 1) % 4 for block in range(8)]
    world.equal(world.read(place, 32), struct.pack("<8I", *expected))


@case
def a_grid_that_is_no_whole_number_of_clusters_is_refused(world):
    """cuLaunchKernelEx: INVALID_CLUSTER_SIZE ("cluster misconfiguration"), or INVALID_VALUE."""
    function = cluster(world)
    place = c_uint64(world.memory())
    for grid, size in ((6, 4), (8, 0), (32, 32)):
        answer = launch(world, function, [place], grid, CLUSTER_DIMENSION, size, 1, 1)
        world.expect_any(["INVALID_CLUSTER_SIZE", "INVALID_VALUE"], answer)
