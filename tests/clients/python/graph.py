"""NVIDIA's own Python bindings capture, update and launch graphs; what they saw, printed as JSON.

Every call's result is checked: an error ends the program with the error's name.
"""

import array
import ctypes
import json
import sys

from cuda.bindings import driver as cuda

# y[i] = a * x[i] + y[i], for one block.
SAXPY = b"""
.version 7.0
.target sm_70
.address_size 64

.visible .entry saxpy(.param .f32 a, .param .u64 x, .param .u64 y)
{
    .reg .b32 %r<1>;
    .reg .f32 %f<4>;
    .reg .b64 %d<7>;
    ld.param.f32 %f0, [a];
    ld.param.u64 %d0, [x];
    ld.param.u64 %d1, [y];
    mov.u32 %r0, %tid.x;
    mul.wide.u32 %d2, %r0, 4;
    cvta.to.global.u64 %d3, %d0;
    cvta.to.global.u64 %d4, %d1;
    add.s64 %d5, %d3, %d2;
    add.s64 %d6, %d4, %d2;
    ld.global.f32 %f1, [%d5];
    ld.global.f32 %f2, [%d6];
    fma.rn.f32 %f3, %f0, %f1, %f2;
    st.global.f32 [%d6], %f3;
    ret;
}
\0"""

THREADS = 64
BYTES = 4 * THREADS
LAUNCHES = 1000


def check(answer):
    """Returns what a call answered beside its result, which must be success."""
    result, *rest = answer if isinstance(answer, tuple) else (answer,)
    if result != cuda.CUresult.CUDA_SUCCESS:
        sys.exit(f"cuda-bindings: {result.name}")
    return rest[0] if len(rest) == 1 else rest


class Story:
    """Two vectors on the device, one of the program, and what is captured with them."""

    def __init__(self):
        check(cuda.cuInit(0))
        device = check(cuda.cuDeviceGet(0))
        check(cuda.cuCtxSetCurrent(check(cuda.cuDevicePrimaryCtxRetain(device))))
        self.stream = check(cuda.cuStreamCreate(cuda.CUstream_flags.CU_STREAM_NON_BLOCKING))
        self.x, self.y = check(cuda.cuMemAlloc(BYTES)), check(cuda.cuMemAlloc(BYTES))
        self.saxpy = check(cuda.cuModuleGetFunction(check(cuda.cuModuleLoadData(SAXPY)), b"saxpy"))
        self.sent = array.array("f", range(THREADS))
        self.back = array.array("f", [0.0] * THREADS)

    def captured(self, factor, *, with_copies):
        """A graph of: y = 0; x = what the program has; y = factor * x + y; back to the program."""
        mode = cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        check(cuda.cuStreamBeginCapture(self.stream, mode))
        if with_copies:
            check(cuda.cuMemsetD8Async(self.y, 0, BYTES, self.stream))
            sent = self.sent.buffer_info()[0]
            check(cuda.cuMemcpyHtoDAsync(self.x, sent, BYTES, self.stream))
        values = (factor, self.x, self.y)
        kinds = (ctypes.c_float, None, None)
        check(cuda.cuLaunchKernel(
            self.saxpy, 1, 1, 1, THREADS, 1, 1, 0, self.stream, (values, kinds), 0))
        if with_copies:
            back = self.back.buffer_info()[0]
            check(cuda.cuMemcpyDtoHAsync(back, self.y, BYTES, self.stream))
        return check(cuda.cuStreamEndCapture(self.stream))

    def launch(self, executable):
        check(cuda.cuGraphLaunch(executable, self.stream))

    def wait(self):
        check(cuda.cuStreamSynchronize(self.stream))


def main():
    story = Story()
    # Copies in and out: the program's memory is other at each launch.
    executable = check(cuda.cuGraphInstantiate(story.captured(2.0, with_copies=True), 0))
    trips_equal = True
    for round in range(20):
        story.sent[0] = round
        story.launch(executable)
        story.wait()
        expected = [2.0 * value for value in story.sent]
        trips_equal = trips_equal and list(story.back) == expected
    # One kernel, a thousand times, without waiting in between.
    check(cuda.cuMemsetD8(story.y, 0, BYTES))
    graph = story.captured(1.0, with_copies=False)
    executable = check(cuda.cuGraphInstantiate(graph, 0))
    for _ in range(LAUNCHES):
        story.launch(executable)
    story.wait()
    check(cuda.cuMemcpyDtoH(story.back.buffer_info()[0], story.y, BYTES))
    thousand_equal = list(story.back) == [float(LAUNCHES) * value for value in story.sent]
    # Another factor by an update; then a graph of another shape, which is refused.
    updated = check(cuda.cuGraphExecUpdate(executable, story.captured(-1000.0, with_copies=False)))
    story.launch(executable)
    story.wait()
    check(cuda.cuMemcpyDtoH(story.back.buffer_info()[0], story.y, BYTES))
    refused, _ = cuda.cuGraphExecUpdate(executable, story.captured(1.0, with_copies=True))
    nodes = check(cuda.cuGraphGetNodes(graph))
    print(json.dumps({
        "trips_equal": trips_equal,
        "thousand_equal": thousand_equal,
        "updated": updated.result.name,
        "zero_again": all(value == 0.0 for value in story.back),
        "refused": refused.name,
        "nodes": nodes[1] if isinstance(nodes, list) else len(nodes),
    }))


main()
