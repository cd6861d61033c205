"""What waits for the host and what does not, one story per run.

`waits.py STORY` prints what the story saw, as JSON. Calls and waits are counted by the library itself (VGPU_STATS).
"""

import ctypes
import json
import sys
import threading

cuda = ctypes.CDLL("libcuda.so.1")
PER_THREAD = ctypes.c_void_p(2)
MIB = 1 << 20


def check(code):
    """Ends the program unless a call succeeded."""
    if code != 0:
        sys.exit(f"waits: a call answered {code}")


def begin():
    """Makes the first device's primary context current, and returns it."""
    check(cuda.cuInit(0))
    context = ctypes.c_void_p()
    check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
    check(cuda.cuCtxSetCurrent(context))
    return context


def allocate(count):
    """Allocates device memory."""
    address = ctypes.c_uint64()
    check(cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(count)))
    return address


def stream():
    """Makes a stream that does not block."""
    made = ctypes.c_void_p()
    check(cuda.cuStreamCreate(ctypes.byref(made), 1))
    return made


def pattern(seed, count):
    """Makes bytes that differ from those of another seed."""
    return bytes((at * 7 + seed) % 251 for at in range(997)) * (count // 997) + bytes([seed % 251]) * (count % 997)


def write(target, contents, where):
    check(cuda.cuMemcpyHtoDAsync_v2(target, contents, ctypes.c_size_t(len(contents)), where))


def read(place, source, where):
    check(cuda.cuMemcpyDtoHAsync_v2(place, source, ctypes.c_size_t(len(place)), where))


def load():
    """Tensors are loaded as ggml does: a copy and a synchronisation each."""
    begin()
    contents = [pattern(seed, 40_000) for seed in range(50)]
    target = allocate(50 * 40_000)
    for at, part in enumerate(contents):
        write(ctypes.c_uint64(target.value + at * 40_000), part, PER_THREAD)
        check(cuda.cuStreamSynchronize(PER_THREAD))
    small = allocate(65_536)
    check(cuda.cuMemsetD8_v2(small, 9, ctypes.c_size_t(65_536)))
    check(cuda.cuStreamSynchronize(None))
    check(cuda.cuMemcpyHtoD_v2(small, pattern(3, 65_536), ctypes.c_size_t(65_536)))
    back = ctypes.create_string_buffer(50 * 40_000)
    check(cuda.cuMemcpyDtoH_v2(back, target, ctypes.c_size_t(len(back))))
    first = ctypes.create_string_buffer(65_536)
    check(cuda.cuMemcpyDtoH_v2(first, small, ctypes.c_size_t(len(first))))
    return {"same": back.raw == b"".join(contents) and first.raw == pattern(3, 65_536)}


def decode():
    """Ten steps of a model: inputs, work, outputs, and one synchronisation."""
    begin()
    where = stream()
    inputs, work, outputs = allocate(4096), allocate(MIB), allocate(MIB)
    same = []
    for step in range(10):
        write(inputs, pattern(step, 4096), PER_THREAD)
        check(cuda.cuStreamSynchronize(PER_THREAD))
        write(work, pattern(step, MIB), where)
        check(cuda.cuMemcpyDtoDAsync_v2(outputs, work, ctypes.c_size_t(MIB), where))
        large, small = ctypes.create_string_buffer(MIB), ctypes.create_string_buffer(3)
        read(large, outputs, where)
        read(small, inputs, where)
        check(cuda.cuStreamSynchronize(where))
        same.append(large.raw == pattern(step, MIB) and small.raw == pattern(step, 4096)[:3])
    return {"same": all(same)}


def events():
    """A copy is there when an event behind it has happened."""
    begin()
    where, event = stream(), ctypes.c_void_p()
    check(cuda.cuEventCreate(ctypes.byref(event), 2))
    source = allocate(1000)
    write(source, pattern(5, 1000), where)
    seen = []
    for wait in (cuda.cuEventSynchronize, cuda.cuEventQuery, lambda _: cuda.cuCtxSynchronize()):
        place = ctypes.create_string_buffer(1000)
        read(place, source, where)
        check(cuda.cuEventRecord(event, where))
        check(wait(event))
        seen.append(place.raw == pattern(5, 1000))
    return {"seen": seen}


def large():
    """More than may be under way, and memory that goes while a copy into it is under way."""
    begin()
    where = stream()
    source = allocate(80 * MIB)
    contents = pattern(9, 80 * MIB)
    write(source, contents, where)
    place = ctypes.create_string_buffer(80 * MIB)
    read(place, source, where)
    at_once = place.raw == contents
    parts = [ctypes.create_string_buffer(9 * MIB) for _ in range(6)]
    for part in parts:
        read(part, source, where)
    check(cuda.cuStreamSynchronize(where))
    pinned = ctypes.c_void_p()
    check(cuda.cuMemAllocHost_v2(ctypes.byref(pinned), ctypes.c_size_t(5000)))
    check(cuda.cuMemcpyDtoHAsync_v2(pinned, source, ctypes.c_size_t(5000), where))
    freed = cuda.cuMemFreeHost(pinned)
    check(cuda.cuCtxSynchronize())
    return {
        "at_once": at_once,
        "together": all(part.raw == contents[: 9 * MIB] for part in parts),
        "freed": freed,
    }


def threads():
    """Eight threads work on streams of their own, all at once."""
    context = begin()
    same = []

    def work(seed):
        check(cuda.cuCtxSetCurrent(context))
        where, target, copy = stream(), allocate(300_000), allocate(300_000)
        for turn in range(20):
            contents = pattern(seed * 31 + turn, 300_000)
            write(target, contents, where)
            check(cuda.cuMemcpyDtoDAsync_v2(copy, target, ctypes.c_size_t(300_000), where))
            place = ctypes.create_string_buffer(300_000)
            read(place, copy, where)
            check(cuda.cuStreamSynchronize(where))
            same.append(place.raw == contents)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"rounds": len(same), "same": all(same)}


def functions():
    """Functions of the program run in stream order, and the stream waits for them."""
    context = begin()
    where = stream()
    source = allocate(8)
    seen, go, began = [], threading.Event(), threading.Event()
    place = ctypes.create_string_buffer(8)

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def first(data):
        began.set()
        # Another thread of the program goes on meanwhile, and lets this one go.
        named = cuda.cuCtxSynchronize_v2(context), cuda.cuDevicePrimaryCtxReset_v2(0)
        seen.append(["first", data, go.wait(60), cuda.cuCtxSynchronize(), *named])

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p)
    def second(stream_, status, data):
        seen.append(["second", stream_ == where.value, status, data])

    write(source, b"before!!", where)
    check(cuda.cuLaunchHostFunc(where, first, ctypes.c_void_p(7)))
    write(source, b"between!", where)
    check(cuda.cuStreamAddCallback(where, second, ctypes.c_void_p(8), 0))
    read(place, source, where)
    began.wait(60)
    query = cuda.cuStreamQuery(where)

    def other():
        check(cuda.cuCtxSetCurrent(context))
        allocate(100)
        go.set()

    helper = threading.Thread(target=other)
    helper.start()
    check(cuda.cuStreamSynchronize(where))
    helper.join()
    return {
        "seen": seen,
        "query": query,
        "place": place.raw.decode(),
        "null": cuda.cuLaunchHostFunc(where, None, None),
        "flags": cuda.cuStreamAddCallback(where, second, None, 1),
    }


STORIES = (load, decode, events, large, threads, functions)
print(json.dumps({story.__name__: story for story in STORIES}[sys.argv[1]]()))
