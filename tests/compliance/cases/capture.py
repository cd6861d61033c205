"""Stream capture and graphs."""

import ctypes
import struct
import threading
from ctypes import byref, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p

import kernels
from rules import case

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2


class MemsetNode(ctypes.Structure):
    """CUDA_MEMSET_NODE_PARAMS."""

    _fields_ = [("dst", c_uint64), ("pitch", c_size_t), ("value", c_uint), ("element_size", c_uint),
                ("width", c_size_t), ("height", c_size_t)]


def begin(world, mode=RELAXED, stream=None):
    """Begins a capture in a stream."""
    stream = stream or world.stream()
    world.ok(world.cu.cuStreamBeginCapture_v2(stream, mode))
    return stream


def end(world, stream):
    """Ends a capture that must succeed."""
    graph = c_void_p()
    world.ok(world.cu.cuStreamEndCapture(stream, byref(graph)))
    return graph


def instantiate(world, graph):
    """Makes an executable graph."""
    executable = c_void_p()
    world.ok(world.cu.cuGraphInstantiateWithFlags(byref(executable), graph, 0))
    return executable


def nodes(world, graph):
    """Counts the nodes of a graph."""
    count = c_size_t()
    world.ok(world.cu.cuGraphGetNodes(graph, None, byref(count)))
    return count.value


def status(world, stream):
    """Tells the capture status of a stream."""
    value = c_int(-1)
    world.ok(world.cu.cuStreamIsCapturing(stream, byref(value)))
    return value.value


@case
def a_stream_does_not_capture_at_first(world):
    """cuStreamIsCapturing: NONE."""
    world.primary()
    world.equal(status(world, world.stream()), 0)


@case
def a_stream_captures_between_begin_and_end(world):
    """cuStreamIsCapturing: ACTIVE."""
    world.primary()
    stream = begin(world)
    world.equal(status(world, stream), 1)
    end(world, stream)
    world.equal(status(world, stream), 0)


@case
def the_legacy_stream_does_not_capture(world):
    """cuStreamBeginCapture: STREAM_CAPTURE_UNSUPPORTED."""
    world.primary()
    world.expect("STREAM_CAPTURE_UNSUPPORTED", world.cu.cuStreamBeginCapture_v2(None, RELAXED))


@case
def the_per_thread_stream_captures(world):
    """cuStreamBeginCapture: only the legacy stream cannot."""
    world.primary()
    world.ok(world.cu.cuStreamBeginCapture_v2(2, RELAXED))
    graph = c_void_p()
    world.ok(world.cu.cuStreamEndCapture(2, byref(graph)))


@case
def a_capture_mode_must_be_known(world):
    """cuStreamBeginCapture: INVALID_VALUE."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuStreamBeginCapture_v2(world.stream(), 7))


@case
def a_stream_captures_once_at_a_time(world):
    """cuStreamBeginCapture: ILLEGAL_STATE."""
    world.primary()
    stream = begin(world)
    world.expect("ILLEGAL_STATE", world.cu.cuStreamBeginCapture_v2(stream, RELAXED))


@case
def a_capture_that_was_not_begun_is_not_ended(world):
    """cuStreamEndCapture: ILLEGAL_STATE."""
    world.primary()
    graph = c_void_p()
    world.expect("ILLEGAL_STATE", world.cu.cuStreamEndCapture(world.stream(), byref(graph)))


@case
def nothing_runs_while_it_is_captured(world):
    """CUDA C++ Programming Guide, Stream capture."""
    world.primary()
    place, stream = world.memory(), world.stream()
    world.ok(world.cu.cuMemsetD8_v2(place, 1, 16))
    begin(world, stream=stream)
    world.ok(world.cu.cuMemsetD8Async(place, 2, 16, stream))
    graph = end(world, stream)
    world.equal(world.read(place, 16), b"\1" * 16)
    world.equal(nodes(world, graph), 1)


@case
def a_captured_set_runs_at_each_launch(world):
    """cuGraphInstantiate, cuGraphLaunch."""
    world.primary()
    place, stream = world.memory(), world.stream()
    begin(world, stream=stream)
    world.ok(world.cu.cuMemsetD8Async(place, 2, 16, stream))
    executable = instantiate(world, end(world, stream))
    for _ in range(3):
        world.ok(world.cu.cuMemsetD8_v2(place, 0, 16))
        world.ok(world.cu.cuGraphLaunch(executable, stream))
        world.ok(world.cu.cuStreamSynchronize(stream))
        world.equal(world.read(place, 16), b"\2" * 16)


@case
def captured_kernels_run_in_order(world):
    """CUDA C++ Programming Guide, Stream capture."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_add")
    place, stream = world.memory(), world.stream()
    begin(world, stream=stream)
    world.ok(world.cu.cuMemsetD32Async(place, 0, 1, stream))
    for value in range(10):
        world.ok(world.launch(function, [c_uint64(place), c_uint32(value)], block=1, stream=stream))
    graph = end(world, stream)
    world.equal(nodes(world, graph), 11)
    world.ok(world.cu.cuGraphLaunch(instantiate(world, graph), stream))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(world.read(place, 4), struct.pack("<I", 45))


@case
def a_graph_launched_often_runs_as_often(world):
    """cuGraphLaunch: launches of one graph are ordered."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_add")
    place, stream = world.memory(), world.stream()
    world.ok(world.cu.cuMemsetD32_v2(place, 0, 1))
    begin(world, stream=stream)
    world.ok(world.launch(function, [c_uint64(place), c_uint32(1)], block=1, stream=stream))
    executable = instantiate(world, end(world, stream))
    for _ in range(500):
        world.ok(world.cu.cuGraphLaunch(executable, stream))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(world.read(place, 4), struct.pack("<I", 500))


@case
def a_stream_that_captures_is_not_synchronised(world):
    """cuStreamSynchronize: STREAM_CAPTURE_UNSUPPORTED, and the capture is invalidated."""
    world.primary()
    stream = begin(world)
    world.expect("STREAM_CAPTURE_UNSUPPORTED", world.cu.cuStreamSynchronize(stream))
    world.equal(status(world, stream), 2)
    graph = c_void_p(1)
    world.expect("STREAM_CAPTURE_INVALIDATED", world.cu.cuStreamEndCapture(stream, byref(graph)))
    world.equal(graph.value, None)
    world.equal(status(world, stream), 0)


@case
def a_stream_that_captures_is_not_queried(world):
    """cuStreamQuery: STREAM_CAPTURE_UNSUPPORTED."""
    world.primary()
    stream = begin(world)
    world.expect("STREAM_CAPTURE_UNSUPPORTED", world.cu.cuStreamQuery(stream))


@case
def an_invalidated_capture_takes_no_more_work(world):
    """CUDA C++ Programming Guide, Invalidation."""
    world.primary()
    stream, place = begin(world), world.memory()
    world.expect("STREAM_CAPTURE_UNSUPPORTED", world.cu.cuStreamSynchronize(stream))
    answer = world.cu.cuMemsetD8Async(place, 1, 16, stream)
    world.expect("STREAM_CAPTURE_INVALIDATED", answer)


@case
def an_event_that_was_captured_is_not_waited_for(world):
    """cuEventSynchronize: CAPTURED_EVENT."""
    world.primary()
    event = world.event(2)
    stream = begin(world)
    world.ok(world.cu.cuEventRecord(event, stream))
    answer = world.cu.cuEventSynchronize(event)
    world.expect_any(["CAPTURED_EVENT", "STREAM_CAPTURE_UNSUPPORTED"], answer)


@case
def an_event_that_was_captured_is_not_queried(world):
    """cuEventQuery: CAPTURED_EVENT."""
    world.primary()
    event = world.event(2)
    stream = begin(world)
    world.ok(world.cu.cuEventRecord(event, stream))
    answer = world.cu.cuEventQuery(event)
    world.expect_any(["CAPTURED_EVENT", "STREAM_CAPTURE_UNSUPPORTED"], answer)


@case
def an_event_joins_another_stream_to_the_capture(world):
    """CUDA C++ Programming Guide, Cross-stream dependencies and events."""
    world.primary()
    one, two, fork, join = world.stream(), world.stream(), world.event(2), world.event(2)
    places = [world.memory(), world.memory()]
    begin(world, stream=one)
    world.ok(world.cu.cuEventRecord(fork, one))
    world.ok(world.cu.cuStreamWaitEvent(two, fork, 0))
    world.equal(status(world, two), 1)
    world.ok(world.cu.cuMemsetD8Async(places[0], 1, 16, one))
    world.ok(world.cu.cuMemsetD8Async(places[1], 2, 16, two))
    world.ok(world.cu.cuEventRecord(join, two))
    world.ok(world.cu.cuStreamWaitEvent(one, join, 0))
    graph = end(world, one)
    world.equal(nodes(world, graph), 2)
    world.equal(status(world, two), 0)
    world.ok(world.cu.cuGraphLaunch(instantiate(world, graph), one))
    world.ok(world.cu.cuStreamSynchronize(one))
    world.equal(world.read(places[0], 1) + world.read(places[1], 1), b"\1\2")


@case
def a_stream_that_was_not_joined_ends_the_capture_badly(world):
    """cuStreamEndCapture: STREAM_CAPTURE_UNJOINED."""
    world.primary()
    one, two, fork, place = world.stream(), world.stream(), world.event(2), world.memory()
    begin(world, stream=one)
    world.ok(world.cu.cuEventRecord(fork, one))
    world.ok(world.cu.cuStreamWaitEvent(two, fork, 0))
    world.ok(world.cu.cuMemsetD8Async(place, 2, 16, two))
    graph = c_void_p()
    world.expect("STREAM_CAPTURE_UNJOINED", world.cu.cuStreamEndCapture(one, byref(graph)))


@case
def a_capture_ends_in_the_stream_where_it_began(world):
    """cuStreamEndCapture: STREAM_CAPTURE_UNMATCHED."""
    world.primary()
    one, two, fork = world.stream(), world.stream(), world.event(2)
    begin(world, stream=one)
    world.ok(world.cu.cuEventRecord(fork, one))
    world.ok(world.cu.cuStreamWaitEvent(two, fork, 0))
    graph = c_void_p()
    world.expect("STREAM_CAPTURE_UNMATCHED", world.cu.cuStreamEndCapture(two, byref(graph)))


@case
def two_captures_are_not_merged(world):
    """cuStreamWaitEvent: STREAM_CAPTURE_MERGE."""
    world.primary()
    one, two, event = world.stream(), world.stream(), world.event(2)
    begin(world, stream=one)
    begin(world, stream=two)
    world.ok(world.cu.cuEventRecord(event, one))
    world.expect("STREAM_CAPTURE_MERGE", world.cu.cuStreamWaitEvent(two, event, 0))


@case
def a_capture_depends_on_no_work_before_it(world):
    """cuStreamWaitEvent: STREAM_CAPTURE_ISOLATION."""
    world.primary()
    one, two, event = world.stream(), world.stream(), world.event(2)
    world.ok(world.cu.cuEventRecord(event, one))
    begin(world, stream=two)
    world.expect("STREAM_CAPTURE_ISOLATION", world.cu.cuStreamWaitEvent(two, event, 0))


@case
def the_legacy_stream_would_depend_on_a_blocking_capture(world):
    """cuLaunchKernel in the legacy stream: STREAM_CAPTURE_IMPLICIT."""
    world.primary()
    place = world.memory()
    begin(world, stream=world.stream(0))
    answer = world.cu.cuMemsetD8Async(place, 1, 16, None)
    world.expect("STREAM_CAPTURE_IMPLICIT", answer)


@case
def the_legacy_stream_works_beside_a_non_blocking_capture(world):
    """CUDA C++ Programming Guide, Prohibited operations: non-blocking streams do not depend on it."""
    world.primary()
    place = world.memory()
    stream = begin(world, RELAXED)
    world.ok(world.cu.cuMemsetD8Async(place, 4, 16, None))
    world.equal(status(world, stream), 1)
    end(world, stream)


@case
def a_global_capture_forbids_allocation(world):
    """cuStreamBeginCapture, mode GLOBAL: potentially unsafe calls are STREAM_CAPTURE_UNSUPPORTED."""
    world.primary()
    stream = begin(world, GLOBAL)
    place = c_uint64()
    answer = world.cu.cuMemAlloc_v2(byref(place), 4096)
    world.expect("STREAM_CAPTURE_UNSUPPORTED", answer)
    graph = c_void_p()
    world.expect("STREAM_CAPTURE_INVALIDATED", world.cu.cuStreamEndCapture(stream, byref(graph)))


@case
def memory_that_a_capture_kept_is_freed_after_it(world):
    """cuStreamBeginCapture, mode GLOBAL: what was refused was not done."""
    world.primary()
    place = world.memory()
    stream = begin(world, GLOBAL)
    world.expect("STREAM_CAPTURE_UNSUPPORTED", world.cu.cuMemFree_v2(place))
    graph = c_void_p()
    world.expect("STREAM_CAPTURE_INVALIDATED", world.cu.cuStreamEndCapture(stream, byref(graph)))
    world.ok(world.cu.cuMemsetD8_v2(place, 1, 16))
    world.ok(world.cu.cuMemFree_v2(place))


@case
def a_relaxed_capture_allows_allocation(world):
    """cuStreamBeginCapture, mode RELAXED."""
    world.primary()
    stream = begin(world, RELAXED)
    world.memory()
    end(world, stream)


@case
def a_thread_may_relax_its_mode(world):
    """cuThreadExchangeStreamCaptureMode."""
    world.primary()
    stream = begin(world, GLOBAL)
    mode = c_int(RELAXED)
    world.ok(world.cu.cuThreadExchangeStreamCaptureMode(byref(mode)))
    world.equal(mode.value, GLOBAL)
    world.memory()
    world.ok(world.cu.cuThreadExchangeStreamCaptureMode(byref(mode)))
    world.equal(mode.value, RELAXED)
    end(world, stream)


def in_a_thread(world, context, work):
    """Runs work in another thread with the context current, and returns what it returned."""
    seen = []

    def run():
        seen.append(world.cu.cuCtxSetCurrent(context))
        seen.append(work())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    world.equal(seen[0], 0)
    return seen[1]


@case
def a_global_capture_forbids_allocation_in_other_threads(world):
    """cuStreamBeginCapture, mode GLOBAL."""
    context = world.primary()
    begin(world, GLOBAL)
    place = c_uint64()
    answer = in_a_thread(world, context, lambda: world.cu.cuMemAlloc_v2(byref(place), 4096))
    world.expect("STREAM_CAPTURE_UNSUPPORTED", answer)


@case
def a_thread_local_capture_leaves_other_threads_alone(world):
    """cuStreamBeginCapture, mode THREAD_LOCAL."""
    context = world.primary()
    stream = begin(world, THREAD_LOCAL)
    place = c_uint64()
    answer = in_a_thread(world, context, lambda: world.cu.cuMemAlloc_v2(byref(place), 4096))
    world.ok(answer)
    end(world, stream)


@case
def a_strict_capture_ends_in_the_thread_that_began_it(world):
    """cuStreamEndCapture: STREAM_CAPTURE_WRONG_THREAD."""
    context = world.primary()
    stream = begin(world, THREAD_LOCAL)
    graph = c_void_p()
    answer = in_a_thread(world, context, lambda: world.cu.cuStreamEndCapture(stream, byref(graph)))
    world.expect("STREAM_CAPTURE_WRONG_THREAD", answer)


@case
def a_relaxed_capture_may_end_in_any_thread(world):
    """cuStreamEndCapture: unless the mode was RELAXED."""
    context = world.primary()
    stream = begin(world, RELAXED)
    graph = c_void_p()
    world.ok(in_a_thread(world, context, lambda: world.cu.cuStreamEndCapture(stream, byref(graph))))


@case
def a_copy_within_the_device_is_captured(world):
    """cuMemcpyDtoDAsync in a capture."""
    world.primary()
    one, two, stream = world.memory(), world.memory(), world.stream()
    begin(world, stream=stream)
    world.ok(world.cu.cuMemcpyDtoDAsync_v2(two, one, 16, stream))
    executable = instantiate(world, end(world, stream))
    world.ok(world.cu.cuMemsetD8_v2(one, 8, 16))
    world.ok(world.cu.cuGraphLaunch(executable, stream))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(world.read(two, 16), b"\x08" * 16)


@case
def a_synchronous_copy_is_unsafe_in_a_strict_capture(world):
    """cuMemcpyHtoD: STREAM_CAPTURE_UNSUPPORTED or _IMPLICIT while the thread captures."""
    world.primary()
    place = world.memory()
    begin(world, GLOBAL, world.stream(0))
    answer = world.cu.cuMemcpyHtoD_v2(place, b"1234", 4)
    world.expect_any(["STREAM_CAPTURE_UNSUPPORTED", "STREAM_CAPTURE_IMPLICIT"], answer)


@case
def an_empty_graph_can_be_launched(world):
    """cuGraphCreate, cuGraphInstantiate, cuGraphLaunch."""
    world.primary()
    graph, stream = c_void_p(), world.stream()
    world.ok(world.cu.cuGraphCreate(byref(graph), 0))
    world.ok(world.cu.cuGraphLaunch(instantiate(world, graph), stream))
    world.ok(world.cu.cuStreamSynchronize(stream))


@case
def a_graph_takes_no_flags(world):
    """cuGraphCreate: must be 0."""
    world.primary()
    graph = c_void_p()
    world.expect("INVALID_VALUE", world.cu.cuGraphCreate(byref(graph), 5))


@case
def nodes_know_their_kind(world):
    """cuGraphNodeGetType: EMPTY is 5."""
    world.primary()
    graph, node, kind = c_void_p(), c_void_p(), c_int(-1)
    world.ok(world.cu.cuGraphCreate(byref(graph), 0))
    world.ok(world.cu.cuGraphAddEmptyNode(byref(node), graph, None, 0))
    world.ok(world.cu.cuGraphNodeGetType(node, byref(kind)))
    world.equal(kind.value, 5)


@case
def a_circle_is_no_graph(world):
    """cuGraphAddDependencies, cuGraphInstantiate: INVALID_VALUE for a cycle."""
    world.primary()
    graph, one, two = c_void_p(), c_void_p(), c_void_p()
    world.ok(world.cu.cuGraphCreate(byref(graph), 0))
    world.ok(world.cu.cuGraphAddEmptyNode(byref(one), graph, None, 0))
    world.ok(world.cu.cuGraphAddEmptyNode(byref(two), graph, byref(one), 1))
    added = world.cu.cuGraphAddDependencies(graph, byref(two), byref(one), 1)
    if added == 0:
        executable = c_void_p()
        answer = world.cu.cuGraphInstantiateWithFlags(byref(executable), graph, 0)
        world.expect("INVALID_VALUE", answer)
    else:
        world.expect("INVALID_VALUE", added)


@case
def a_destroyed_node_leaves_its_graph(world):
    """cuGraphDestroyNode."""
    world.primary()
    graph, node = c_void_p(), c_void_p()
    world.ok(world.cu.cuGraphCreate(byref(graph), 0))
    world.ok(world.cu.cuGraphAddEmptyNode(byref(node), graph, None, 0))
    world.ok(world.cu.cuGraphDestroyNode(node))
    world.equal(nodes(world, graph), 0)


@case
def an_executable_outlives_its_graph(world):
    """cuGraphDestroy: does not destroy executable graphs."""
    world.primary()
    place, stream = world.memory(), world.stream()
    begin(world, stream=stream)
    world.ok(world.cu.cuMemsetD8Async(place, 3, 16, stream))
    graph = end(world, stream)
    executable = instantiate(world, graph)
    world.ok(world.cu.cuGraphDestroy(graph))
    world.ok(world.cu.cuGraphLaunch(executable, stream))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(world.read(place, 16), b"\3" * 16)


@case
def a_clone_has_the_same_nodes(world):
    """cuGraphClone."""
    world.primary()
    graph, node, clone = c_void_p(), c_void_p(), c_void_p()
    world.ok(world.cu.cuGraphCreate(byref(graph), 0))
    world.ok(world.cu.cuGraphAddEmptyNode(byref(node), graph, None, 0))
    world.ok(world.cu.cuGraphClone(byref(clone), graph))
    world.ok(world.cu.cuGraphDestroyNode(node))
    world.equal(nodes(world, clone), 1)


def set_graph(world, stream, place, value, times=1):
    """Captures so many sets of one value."""
    begin(world, stream=stream)
    for _ in range(times):
        world.ok(world.cu.cuMemsetD8Async(place, value, 16, stream))
    return end(world, stream)


@case
def an_executable_is_updated_from_a_like_graph(world):
    """cuGraphExecUpdate: SUCCESS when only parameters differ."""
    world.primary()
    place, stream = world.memory(), world.stream()
    executable = instantiate(world, set_graph(world, stream, place, 1))
    info = ctypes.create_string_buffer(64)
    updated = world.cu.cuGraphExecUpdate_v2(executable, set_graph(world, stream, place, 9), info)
    world.ok(updated)
    world.ok(world.cu.cuGraphLaunch(executable, stream))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(world.read(place, 16), b"\x09" * 16)


@case
def an_executable_is_not_updated_from_another_shape(world):
    """cuGraphExecUpdate: GRAPH_EXEC_UPDATE_FAILURE, result TOPOLOGY_CHANGED (2); it still runs."""
    world.primary()
    place, stream = world.memory(), world.stream()
    executable = instantiate(world, set_graph(world, stream, place, 1))
    info = (c_int * 16)()
    other = set_graph(world, stream, place, 9, times=3)
    answer = world.cu.cuGraphExecUpdate_v2(executable, other, info)
    world.expect("GRAPH_EXEC_UPDATE_FAILURE", answer)
    world.equal(info[0], 2)
    world.ok(world.cu.cuGraphLaunch(executable, stream))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(world.read(place, 16), b"\1" * 16)


@case
def a_memset_node_needs_known_element_sizes(world):
    """cuGraphAddMemsetNode: 1, 2 or 4 bytes."""
    context = world.primary()
    graph, node, place = c_void_p(), c_void_p(), world.memory()
    world.ok(world.cu.cuGraphCreate(byref(graph), 0))
    parameters = MemsetNode(dst=place, value=1, element_size=3, width=1, height=1)
    answer = world.cu.cuGraphAddMemsetNode(byref(node), graph, None, 0, byref(parameters), context)
    world.expect("INVALID_VALUE", answer)


@case
def a_graph_of_null_is_refused(world):
    """cuGraphInstantiate: INVALID_VALUE."""
    world.primary()
    executable = c_void_p()
    answer = world.cu.cuGraphInstantiateWithFlags(byref(executable), None, 0)
    world.expect("INVALID_VALUE", answer)


@case
def null_is_not_launched(world):
    """cuGraphLaunch: INVALID_VALUE."""
    world.primary()
    world.expect_any(["INVALID_VALUE", "INVALID_HANDLE"], world.cu.cuGraphLaunch(None, None))
