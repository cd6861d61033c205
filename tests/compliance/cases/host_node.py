"""Functions of the program in graphs, and what goes on beside one that runs."""

import ctypes
import threading
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p

from cases.capture import GLOBAL, RELAXED, begin, end, instantiate
from cases.graph_memory import FlatCopy, fill, launch, pinned
from cases.host_function import CALLBACK, FUNCTION
from rules import case

# CU_GRAPH_NODE_TYPE_HOST, CU_GRAPH_NODE_TYPE_GRAPH.
HOST, CHILD = 3, 4

# Far more than any of this takes.
SECONDS = 20


class Call(ctypes.Structure):
    """CUDA_HOST_NODE_PARAMS."""

    _fields_ = [("function", c_void_p), ("data", c_void_p)]


def call(function, data=None):
    """Says what a host node is to call."""
    return Call(ctypes.cast(function, c_void_p), data)


def add_host(world, graph, before, what):
    """Adds a host node behind some others."""
    node, dependencies = c_void_p(), (c_void_p * len(before))(*before)
    places = dependencies if before else None
    world.ok(world.cu.cuGraphAddHostNode(byref(node), graph, places, len(before), byref(what)))
    return node


def new_graph(world):
    """Makes an empty graph."""
    graph = c_void_p()
    world.ok(world.cu.cuGraphCreate(byref(graph), 0))
    return graph


@case
def a_captured_function_is_called_at_each_launch(world):
    """cuLaunchHostFunc in a capture: the host node calls it, not the capture."""
    world.primary()
    stream, seen = world.stream(), []
    function = FUNCTION(seen.append)
    world.ok(world.cu.cuStreamBeginCapture_v2(stream, RELAXED))
    world.ok(world.cu.cuLaunchHostFunc(stream, function, 5))
    graph = end(world, stream)
    world.equal(seen, [])
    executable = instantiate(world, graph)
    for count in range(1, 5):
        launch(world, executable, stream)
        world.equal(seen, [5] * count)


@case
def a_captured_function_sees_what_was_copied_before_it(world):
    """CUDA C++ Programming Guide, CUDA Graphs: a node begins when those before it are done."""
    world.primary()
    place, stream, target, seen = world.memory(), world.stream(), pinned(world), []
    function = FUNCTION(lambda data: seen.append(target[0]))
    world.ok(world.cu.cuStreamBeginCapture_v2(stream, RELAXED))
    world.ok(world.cu.cuMemcpyDtoHAsync_v2(target, place, 16, stream))
    world.ok(world.cu.cuLaunchHostFunc(stream, function, None))
    executable = instantiate(world, end(world, stream))
    for value in range(1, 5):
        world.ok(world.cu.cuMemsetD8Async(place, value, 16, stream))
        world.ok(world.cu.cuGraphLaunch(executable, stream))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(seen, [1, 2, 3, 4])


@case
def a_captured_function_computes_between_two_copies(world):
    """The same memory is read, changed by the program in its place, and sent on."""
    world.primary()
    place, result, stream, buffer = world.memory(), world.memory(), world.stream(), pinned(world)

    def double(_):
        for at, value in enumerate(buffer):
            buffer[at] = 2 * value

    function = FUNCTION(double)
    world.ok(world.cu.cuStreamBeginCapture_v2(stream, RELAXED))
    world.ok(world.cu.cuMemcpyDtoHAsync_v2(buffer, place, 16, stream))
    world.ok(world.cu.cuLaunchHostFunc(stream, function, None))
    world.ok(world.cu.cuMemcpyHtoDAsync_v2(result, buffer, 16, stream))
    world.ok(world.cu.cuLaunchHostFunc(stream, function, None))
    executable = instantiate(world, end(world, stream))
    for value in range(1, 5):
        world.ok(world.cu.cuMemsetD8_v2(place, value, 16))
        launch(world, executable, stream)
        world.equal(world.read(result, 16), bytes([2 * value]) * 16)
        world.equal(bytes(buffer), bytes([4 * value]) * 16)


@case
def host_nodes_are_called_between_their_neighbours(world):
    """cuGraphAddHostNode; cuGraphNodeGetType; cuGraphHostNodeGetParams."""
    world.primary()
    graph, stream, seen = new_graph(world), world.stream(), []
    function = FUNCTION(seen.append)
    first = add_host(world, graph, [], call(function, 1))
    second = add_host(world, graph, [first], call(function, 2))
    add_host(world, graph, [first, second], call(function, 3))
    kind, told = c_int(), Call()
    world.ok(world.cu.cuGraphNodeGetType(second, byref(kind)))
    world.equal(kind.value, HOST)
    world.ok(world.cu.cuGraphHostNodeGetParams(second, byref(told)))
    world.equal((told.function, told.data), (call(function).function, 2))
    executable = instantiate(world, graph)
    launch(world, executable, stream)
    launch(world, executable, stream)
    world.equal(seen, [1, 2, 3, 1, 2, 3])


@case
def a_host_node_must_call_something(world):
    """cuGraphAddHostNode: INVALID_VALUE."""
    world.primary()
    node, what = c_void_p(), Call()
    answer = world.cu.cuGraphAddHostNode(byref(node), new_graph(world), None, 0, byref(what))
    world.expect("INVALID_VALUE", answer)


@case
def a_host_node_may_call_something_else(world):
    """cuGraphHostNodeSetParams; cuGraphExecHostNodeSetParams, which leaves the graph as it is."""
    world.primary()
    graph, stream, seen = new_graph(world), world.stream(), []
    function = FUNCTION(seen.append)
    node = add_host(world, graph, [], call(function, 1))
    first = instantiate(world, graph)
    world.ok(world.cu.cuGraphHostNodeSetParams(node, byref(call(function, 2))))
    second = instantiate(world, graph)
    world.ok(world.cu.cuGraphExecHostNodeSetParams(second, node, byref(call(function, 3))))
    third = instantiate(world, graph)
    for executable in (first, second, third):
        launch(world, executable, stream)
    world.equal(seen, [1, 3, 2])


@case
def an_update_takes_up_other_functions(world):
    """cuGraphExecUpdate with a graph that calls something else."""
    world.primary()
    stream, seen = world.stream(), []
    function = FUNCTION(seen.append)
    graphs = [new_graph(world), new_graph(world)]
    for data, graph in enumerate(graphs, 1):
        add_host(world, graph, [], call(function, data))
    executable, info = instantiate(world, graphs[0]), (c_uint64 * 3)()
    launch(world, executable, stream)
    world.ok(world.cu.cuGraphExecUpdate_v2(executable, graphs[1], info))
    for graph in graphs:
        world.ok(world.cu.cuGraphDestroy(graph))
    launch(world, executable, stream)
    world.equal(seen, [1, 2])


@case
def a_launch_that_is_under_way_outlives_its_graph(world):
    """cuGraphExecDestroy: the resources are kept until the launch is done."""
    world.primary()
    graph, stream, seen, go_on = new_graph(world), world.stream(), [], threading.Event()
    waits = FUNCTION(lambda data: seen.append(go_on.wait(SECONDS)))
    function = FUNCTION(seen.append)
    first = add_host(world, graph, [], call(waits))
    add_host(world, graph, [first], call(function, 2))
    executable = instantiate(world, graph)
    world.ok(world.cu.cuGraphLaunch(executable, stream))
    world.ok(world.cu.cuGraphExecDestroy(executable))
    world.ok(world.cu.cuGraphDestroy(graph))
    world.expect("NOT_READY", world.cu.cuStreamQuery(stream))
    go_on.set()
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(seen, [True, 2])


@case
def copies_of_a_graph_call_its_functions(world):
    """cuGraphClone; cuGraphAddChildGraphNode; a launch that is captured."""
    world.primary()
    graph, clone, around = new_graph(world), c_void_p(), new_graph(world)
    stream, seen, child = world.stream(), [], c_void_p()
    function = FUNCTION(seen.append)
    add_host(world, graph, [], call(function, 1))
    world.ok(world.cu.cuGraphClone(byref(clone), graph))
    world.ok(world.cu.cuGraphAddChildGraphNode(byref(child), around, None, 0, clone))
    add_host(world, around, [child], call(function, 2))
    for one in (graph, clone):
        world.ok(world.cu.cuGraphDestroy(one))
    executable = instantiate(world, around)
    world.ok(world.cu.cuStreamBeginCapture_v2(stream, RELAXED))
    world.ok(world.cu.cuGraphLaunch(executable, stream))
    world.ok(world.cu.cuLaunchHostFunc(stream, function, 3))
    outer = instantiate(world, end(world, stream))
    world.ok(world.cu.cuGraphExecDestroy(executable))
    launch(world, outer, stream)
    world.equal(seen, [1, 2, 3])


@case
def a_callback_is_not_captured(world):
    """cuStreamAddCallback: not supported in a capture, which it invalidates."""
    world.primary()
    stream, graph = world.stream(), c_void_p()
    function = CALLBACK(lambda stream, status, data: None)
    world.ok(world.cu.cuStreamBeginCapture_v2(stream, RELAXED))
    answer = world.cu.cuStreamAddCallback(stream, function, None, 0)
    world.expect("STREAM_CAPTURE_UNSUPPORTED", answer)
    answer = world.cu.cuStreamEndCapture(stream, byref(graph))
    world.expect("STREAM_CAPTURE_INVALIDATED", answer)


@case
def other_streams_go_on_while_a_function_runs(world):
    """cuLaunchHostFunc: what is behind it in its stream waits, and nothing else."""
    world.primary()
    first, second, place = world.stream(), world.stream(), world.memory()
    target, seen, go_on = pinned(world), [], threading.Event()
    function = FUNCTION(lambda data: seen.append(go_on.wait(SECONDS)))
    world.ok(world.cu.cuLaunchHostFunc(first, function, None))
    world.ok(world.cu.cuMemsetD8Async(place + 16, 9, 16, first))
    world.ok(world.cu.cuMemsetD8Async(place, 7, 16, second))
    world.ok(world.cu.cuMemcpyDtoHAsync_v2(target, place, 16, second))
    world.ok(world.cu.cuStreamSynchronize(second))
    world.equal(bytes(target), b"\7" * 16)
    world.expect("NOT_READY", world.cu.cuStreamQuery(first))
    world.equal(seen, [])
    go_on.set()
    world.ok(world.cu.cuStreamSynchronize(first))
    world.equal(seen, [True])
    world.equal(world.read(place + 16, 16), b"\x09" * 16)


@case
def a_stream_that_waits_for_an_event_waits_for_the_function_before_it(world):
    """cuStreamWaitEvent: all work before the event, functions included."""
    world.primary()
    first, second, event, seen = world.stream(), world.stream(), world.event(), []
    go_on = threading.Event()
    waits = FUNCTION(lambda data: seen.append(go_on.wait(SECONDS)))
    function = FUNCTION(seen.append)
    world.ok(world.cu.cuLaunchHostFunc(first, waits, None))
    world.ok(world.cu.cuEventRecord(event, first))
    world.ok(world.cu.cuStreamWaitEvent(second, event, 0))
    world.ok(world.cu.cuLaunchHostFunc(second, function, 2))
    world.expect("NOT_READY", world.cu.cuStreamQuery(second))
    world.expect("NOT_READY", world.cu.cuEventQuery(event))
    go_on.set()
    world.ok(world.cu.cuStreamSynchronize(second))
    world.equal(seen, [True, 2])


@case
def a_copy_behind_a_function_reads_what_it_wrote(world):
    """cuMemcpyHtoDAsync from pinned memory: read in stream order."""
    world.primary()
    place, stream, source = world.memory(), world.stream(), pinned(world)
    fill(source, 1)
    function = FUNCTION(lambda data: fill(source, 2))
    world.ok(world.cu.cuLaunchHostFunc(stream, function, None))
    world.ok(world.cu.cuMemcpyHtoDAsync_v2(place, source, 16, stream))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(world.read(place, 16), b"\2" * 16)


@case
def a_node_of_any_kind_may_be_one_that_calls(world):
    """cuGraphAddNode with CU_GRAPH_NODE_TYPE_HOST."""
    world.primary()
    graph, node, stream, seen = new_graph(world), c_void_p(), world.stream(), []
    function = FUNCTION(seen.append)
    params = (c_uint64 * 32)()
    params[0], params[2], params[3] = HOST, call(function).function, 6
    world.ok(world.cu.cuGraphAddNode(byref(node), graph, None, 0, params))
    told, count = Call(), c_size_t()
    world.ok(world.cu.cuGraphHostNodeGetParams(node, byref(told)))
    world.equal(told.data, 6)
    world.ok(world.cu.cuGraphGetNodes(graph, None, byref(count)))
    world.equal(count.value, 1)
    launch(world, instantiate(world, graph), stream)
    world.equal(seen, [6])


def add_child(world, graph, before, inner):
    """Adds a node that does all of a graph, behind some others."""
    node, dependencies = c_void_p(), (c_void_p * len(before))(*before)
    places = dependencies if before else None
    added = world.cu.cuGraphAddChildGraphNode(byref(node), graph, places, len(before), inner)
    world.ok(added)
    return node


@case
def a_function_is_called_once_for_each_time_that_a_launch_comes_to_it(world):
    """cuGraphLaunch: "each launch is ordered behind" the graph's earlier ones, in any streams."""
    world.primary()
    inner, around, seen = new_graph(world), new_graph(world), []
    function = FUNCTION(seen.append)
    add_host(world, inner, [], call(function, 1))
    first = add_child(world, around, [], inner)
    second = add_child(world, around, [first], inner)
    add_host(world, around, [second], call(function, 2))
    executable = instantiate(world, around)
    for stream in [world.stream() for _ in range(3)]:
        world.ok(world.cu.cuGraphLaunch(executable, stream))
    world.ok(world.cu.cuCtxSynchronize())
    world.equal(seen, [1, 1, 2] * 3)


@case
def a_child_graph_may_call_something_else(world):
    """cuGraphExecNodeSetParams with CU_GRAPH_NODE_TYPE_GRAPH: what the graph says then."""
    world.primary()
    stream, around, seen = world.stream(), new_graph(world), []
    function = FUNCTION(seen.append)
    graphs = [new_graph(world), new_graph(world)]
    for data, graph in enumerate(graphs, 1):
        add_host(world, graph, [], call(function, data))
    node = add_child(world, around, [], graphs[0])
    executable = instantiate(world, around)
    params = (c_uint64 * 32)()
    params[0], params[2] = CHILD, graphs[1].value
    world.ok(world.cu.cuGraphExecNodeSetParams(executable, node, params))
    for graph in [around, *graphs]:
        world.ok(world.cu.cuGraphDestroy(graph))
    launch(world, executable, stream)
    world.equal(seen, [2])


@case
def a_synchronous_copy_of_rows_behind_a_function_reads_what_it_wrote(world):
    """cuMemcpy2D: behind what blocking streams do already."""
    world.primary()
    place, stream, source = world.memory(), world.stream(0), pinned(world, 64)
    fill(source, 1)
    function = FUNCTION(lambda data: fill(source, 2))
    copy = FlatCopy(from_kind=1, from_host=ctypes.addressof(source), from_pitch=16,
                    to_kind=2, to_device=place, to_pitch=32, width=4, rows=4)
    world.ok(world.cu.cuLaunchHostFunc(stream, function, None))
    world.ok(world.cu.cuMemcpy2D_v2(byref(copy)))
    world.equal(world.read(place, 4), b"\2" * 4)


@case
def a_copy_behind_a_function_leaves_a_capture_elsewhere_alone(world):
    """cuThreadExchangeStreamCaptureMode: asynchronous copies are no unsafe calls."""
    world.primary()
    place, other, source = world.memory(), world.stream(), pinned(world)
    function = FUNCTION(lambda data: fill(source, 2))
    stream = begin(world, GLOBAL)
    world.ok(world.cu.cuLaunchHostFunc(other, function, None))
    world.ok(world.cu.cuMemcpyHtoDAsync_v2(place, source, 16, other))
    end(world, stream)
    world.ok(world.cu.cuStreamSynchronize(other))
    world.equal(world.read(place, 16), b"\2" * 16)


@case
def a_captured_copy_of_nothing_does_nothing(world):
    """cuMemcpyHtoDAsync, cuMemcpyDtoHAsync of 0 bytes."""
    world.primary()
    place, source, stream = world.memory(), pinned(world), begin(world)
    world.ok(world.cu.cuMemcpyHtoDAsync_v2(place, source, 0, stream))
    world.ok(world.cu.cuMemcpyDtoHAsync_v2(source, place, 0, stream))
    launch(world, instantiate(world, end(world, stream)), stream)
