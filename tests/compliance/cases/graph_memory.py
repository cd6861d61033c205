"""Memory of the program in graphs: read at each launch, and written by the synchronisation."""

import ctypes
import struct
from ctypes import byref, c_uint32, c_uint64

import kernels
from cases.capture import RELAXED, end, instantiate
from rules import case


def pinned(world, size=16):
    """Pinned memory of the program, as bytes that can be read and written."""
    place = ctypes.c_void_p()
    world.ok(world.cu.cuMemAllocHost_v2(byref(place), size))
    return (ctypes.c_ubyte * size).from_address(place.value)


def fill(place, value):
    """Sets every byte."""
    ctypes.memset(place, value, len(place))


def launch(world, executable, stream):
    """Launches a graph and waits for it."""
    world.ok(world.cu.cuGraphLaunch(executable, stream))
    world.ok(world.cu.cuStreamSynchronize(stream))


@case
def a_captured_copy_to_the_device_reads_at_each_launch(world):
    """cuMemcpyHtoDAsync in a capture: the node reads what is there when it runs."""
    world.primary()
    place, stream, source = world.memory(), world.stream(), pinned(world)
    fill(source, 1)
    world.ok(world.cu.cuStreamBeginCapture_v2(stream, RELAXED))
    world.ok(world.cu.cuMemcpyHtoDAsync_v2(place, source, 16, stream))
    executable = instantiate(world, end(world, stream))
    for value in range(2, 6):
        fill(source, value)
        launch(world, executable, stream)
        world.equal(world.read(place, 16), bytes([value]) * 16)


@case
def a_captured_copy_to_the_program_arrives_by_the_synchronisation(world):
    """cuMemcpyDtoHAsync in a capture: the node writes at each launch."""
    world.primary()
    place, stream, target = world.memory(), world.stream(), pinned(world)
    fill(target, 99)
    world.ok(world.cu.cuStreamBeginCapture_v2(stream, RELAXED))
    world.ok(world.cu.cuMemcpyDtoHAsync_v2(target, place, 16, stream))
    graph = end(world, stream)
    executable = instantiate(world, graph)
    world.ok(world.cu.cuGraphDestroy(graph))
    world.equal(bytes(target), b"\x63" * 16)
    for value in range(1, 5):
        world.ok(world.cu.cuMemsetD8_v2(place, value, 16))
        launch(world, executable, stream)
        world.equal(bytes(target), bytes([value]) * 16)


@case
def a_captured_round_trip_computes_at_each_launch(world):
    """A copy in, a kernel and a copy out in one graph, launched a thousand times."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_add")
    place, stream = world.memory(), world.stream()
    source, target = pinned(world), pinned(world)
    world.ok(world.cu.cuStreamBeginCapture_v2(stream, RELAXED))
    world.ok(world.cu.cuMemcpyHtoDAsync_v2(place, source, 16, stream))
    world.ok(world.launch(function, [c_uint64(place), c_uint32(5)], block=1, stream=stream))
    world.ok(world.cu.cuMemcpyDtoHAsync_v2(target, place, 16, stream))
    executable = instantiate(world, end(world, stream))
    for value in range(1000):
        ctypes.memmove(source, struct.pack("<IIII", value, 1, 2, 3), 16)
        launch(world, executable, stream)
        world.equal(struct.unpack("<IIII", bytes(target)), (value + 5, 1, 2, 3))


@case
def an_update_takes_up_other_memory_of_the_program(world):
    """cuGraphExecUpdate with a graph that copies from elsewhere."""
    world.primary()
    place, stream = world.memory(), world.stream()
    sources = [pinned(world), pinned(world)]
    graphs = []
    for value, source in enumerate(sources, 1):
        fill(source, value)
        world.ok(world.cu.cuStreamBeginCapture_v2(stream, RELAXED))
        world.ok(world.cu.cuMemcpyHtoDAsync_v2(place, source, 16, stream))
        graphs.append(end(world, stream))
    executable = instantiate(world, graphs[0])
    launch(world, executable, stream)
    world.equal(world.read(place, 16), b"\1" * 16)
    info = (c_uint64 * 3)()
    world.ok(world.cu.cuGraphExecUpdate_v2(executable, graphs[1], info))
    for graph in graphs:
        world.ok(world.cu.cuGraphDestroy(graph))
    launch(world, executable, stream)
    world.equal(world.read(place, 16), b"\2" * 16)


# One end of a copy, field by field.
END = ["x", "y", "z", "level", "kind", "host", "device", "array", "reserved", "pitch", "height"]
ENDS = [f"{end}_{name}" for end in ("from", "to") for name in END]


class Copy(ctypes.Structure):
    """CUDA_MEMCPY3D."""

    _fields_ = [
        (name, c_uint32 if name.endswith("_kind") else c_uint64)
        for name in [*ENDS, "width", "rows", "slices"]
    ]


@case
def a_copy_node_of_the_program_reads_at_each_launch_and_tells_its_address(world):
    """cuGraphAddMemcpyNode with CU_MEMORYTYPE_HOST (1); cuGraphMemcpyNodeGetParams."""
    context = world.primary()
    place, stream, source = world.memory(), world.stream(), pinned(world)
    graph, node = ctypes.c_void_p(), ctypes.c_void_p()
    world.ok(world.cu.cuGraphCreate(byref(graph), 0))
    copy = Copy(from_kind=1, from_host=ctypes.addressof(source), from_pitch=16, from_height=1,
                to_kind=2, to_device=place, to_pitch=16, to_height=1, width=16, rows=1, slices=1)
    world.ok(world.cu.cuGraphAddMemcpyNode(byref(node), graph, None, 0, byref(copy), context))
    told = Copy()
    world.ok(world.cu.cuGraphMemcpyNodeGetParams(node, byref(told)))
    world.equal((told.from_kind, told.from_host), (1, ctypes.addressof(source)))
    world.equal((told.to_kind, told.to_device), (2, place))
    executable = instantiate(world, graph)
    for value in range(1, 4):
        fill(source, value)
        launch(world, executable, stream)
        world.equal(world.read(place, 16), bytes([value]) * 16)


@case
def a_copy_node_of_rows_of_the_program_reads_and_tells_them(world):
    """cuGraphAddMemcpyNode with several rows of CU_MEMORYTYPE_HOST (1)."""
    context = world.primary()
    place, stream, source = world.memory(), world.stream(), pinned(world, 64)
    graph, node = ctypes.c_void_p(), ctypes.c_void_p()
    world.ok(world.cu.cuGraphCreate(byref(graph), 0))
    copy = Copy(from_kind=1, from_host=ctypes.addressof(source), from_x=2, from_y=1, from_pitch=16,
                to_kind=2, to_device=place, to_pitch=8, width=4, rows=3, slices=1)
    world.ok(world.cu.cuGraphAddMemcpyNode(byref(node), graph, None, 0, byref(copy), context))
    told = Copy()
    world.ok(world.cu.cuGraphMemcpyNodeGetParams(node, byref(told)))
    world.equal((told.from_kind, told.from_host), (1, ctypes.addressof(source)))
    world.equal((told.from_x, told.from_y, told.from_pitch), (2, 1, 16))
    executable = instantiate(world, graph)
    for first in (0, 100):
        for at in range(64):
            source[at] = first + at
        launch(world, executable, stream)
        for row in range(3):
            expected = bytes(first + 16 * (row + 1) + 2 + at for at in range(4))
            world.equal(world.read(place + 8 * row, 4), expected)


# One end of a copy in two dimensions.
FLAT = ["x", "y", "kind", "host", "device", "array", "pitch"]


class FlatCopy(ctypes.Structure):
    """CUDA_MEMCPY2D."""

    _fields_ = [
        (f"{end}_{name}", c_uint32 if name == "kind" else c_uint64)
        for end in ("from", "to")
        for name in FLAT
    ] + [("width", c_uint64), ("rows", c_uint64)]


@case
def captured_copies_of_rows_are_done_at_each_launch(world):
    """cuMemcpy2DAsync in a capture, there and back."""
    world.primary()
    place, stream = world.memory(), world.stream()
    source, target = pinned(world, 64), pinned(world, 64)
    there = FlatCopy(from_kind=1, from_host=ctypes.addressof(source), from_pitch=16,
                     to_kind=2, to_device=place, to_pitch=32, width=4, rows=4)
    back = FlatCopy(from_kind=2, from_device=place, from_pitch=32,
                    to_kind=1, to_host=ctypes.addressof(target), to_pitch=8, width=4, rows=4)
    world.ok(world.cu.cuStreamBeginCapture_v2(stream, RELAXED))
    world.ok(world.cu.cuMemcpy2DAsync_v2(byref(there), stream))
    world.ok(world.cu.cuMemcpy2DAsync_v2(byref(back), stream))
    executable = instantiate(world, end(world, stream))
    for value in range(1, 4):
        fill(source, value)
        launch(world, executable, stream)
        world.equal(bytes(target[:32]), (bytes([value]) * 4 + b"\0" * 4) * 4)
