"""The driver API's rules, one story per run, through NVIDIA's unmodified bindings.

`behaviour.py STORY PID SOCKET` (those of vgpud) prints what the calls of the story answered, as JSON. The stories hold no
expectation: the test that runs them does.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time

from cuda.bindings import driver as cuda


def check(answer):
    """Returns what a call answered beside its result, which must be success."""
    result, *rest = answer
    if result != cuda.CUresult.CUDA_SUCCESS:
        sys.exit(f"behaviour: {result.name}")
    return rest[0] if len(rest) == 1 else rest


def name(answer):
    """Names the result of a call, without the prefix that all have."""
    return answer[0].name.removeprefix("CUDA_").removeprefix("ERROR_")


def address(buffer):
    """Tells where a bytearray lies."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def primary():
    """Makes the first device's primary context current."""
    check(cuda.cuInit(0))
    device = check(cuda.cuDeviceGet(0))
    check(cuda.cuCtxSetCurrent(check(cuda.cuDevicePrimaryCtxRetain(device))))
    return device


def order():
    """Calls before cuInit, and before there is a context."""
    answers = {"before_init": name(cuda.cuDeviceGetCount())}
    answers["wrong_flags"] = name(cuda.cuInit(1))
    answers["init"] = name(cuda.cuInit(0))
    answers["no_context"] = name(cuda.cuMemAlloc(16))
    answers["no_current_device"] = name(cuda.cuCtxGetDevice())
    answers["wrong_device"] = name(cuda.cuDeviceGet(77))
    answers["wrong_attribute"] = name(
        cuda.cuDeviceGetAttribute(cuda.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX, 0)
    )
    return answers


def contexts():
    """The stack of contexts of a thread, and who may destroy what."""
    device = primary()
    first = check(cuda.cuCtxGetCurrent())
    again = check(cuda.cuDevicePrimaryCtxRetain(device))
    second = check(cuda.cuCtxCreate(None, 0, device))
    answers = {
        "retained_is_the_same": int(first) == int(again),
        "created_is_current": int(check(cuda.cuCtxGetCurrent())) == int(second),
        "destroy_primary": name(cuda.cuCtxDestroy(first)),
    }
    elsewhere = {}

    def other_thread(ready, go):
        elsewhere["begins_without"] = int(check(cuda.cuCtxGetCurrent()))
        library = ctypes.CDLL("libcuda.so.1")
        elsewhere["waits_for_another"] = library.cuCtxSynchronize_v2(ctypes.c_void_p(int(second)))
        check(cuda.cuCtxPushCurrent(second))
        ready.set()
        go.wait(20)
        elsewhere["after_destruction"] = name(cuda.cuMemAlloc(16))

    ready, go = threading.Event(), threading.Event()
    thread = threading.Thread(target=other_thread, args=(ready, go))
    thread.start()
    ready.wait(20)
    check(cuda.cuCtxDestroy(second))
    go.set()
    thread.join()
    answers["other_thread"] = elsewhere
    answers["destroyed_is_popped"] = int(check(cuda.cuCtxGetCurrent())) == int(first)
    answers["push_destroyed"] = name(cuda.cuCtxPushCurrent(second))
    check(cuda.cuDevicePrimaryCtxRelease(device))
    answers["still_retained"] = check(cuda.cuDevicePrimaryCtxGetState(device))[1]
    check(cuda.cuDevicePrimaryCtxRelease(device))
    answers["released"] = check(cuda.cuDevicePrimaryCtxGetState(device))[1]
    answers["use_after_release"] = name(cuda.cuMemAlloc(16))
    answers["release_too_often"] = name(cuda.cuDevicePrimaryCtxRelease(device))
    return answers


def handles():
    """What is freed or destroyed is refused, at once and everywhere."""
    primary()
    memory = check(cuda.cuMemAlloc(64))
    stream = check(cuda.cuStreamCreate(0))
    event = check(cuda.cuEventCreate(0))
    contents = bytearray(64)
    answers = {
        "inside": name(cuda.cuMemcpyHtoD(int(memory) + 1, address(contents), 63)),
        "one_too_many": name(cuda.cuMemcpyHtoD(int(memory) + 1, address(contents), 64)),
        "set_too_long": name(cuda.cuMemsetD32Async(memory, 0, 17, stream)),
        "set_misaligned": name(cuda.cuMemsetD32Async(int(memory) + 2, 0, 1, stream)),
        "flag_of_captures": [
            name(cuda.cuEventRecordWithFlags(event, stream, 1)),
            name(cuda.cuStreamWaitEvent(stream, event, 1)),
        ],
        "free_inside": name(cuda.cuMemFree(int(memory) + 1)),
        "free": name(cuda.cuMemFree(memory)),
        "free_null": name(cuda.cuMemFree(0)),
        "alloc_nothing": name(cuda.cuMemAlloc(0)),
    }
    answers["free_twice"] = name(cuda.cuMemFree(memory))
    answers["copy_async"] = name(cuda.cuMemcpyDtoHAsync(address(contents), memory, 1, stream))
    answers["copy_found_by_address"] = [
        name(cuda.cuMemcpy(address(contents), memory, 1)),
        name(cuda.cuMemcpyAsync(memory, address(contents), 1, stream)),
        name(cuda.cuMemcpy(memory, memory, 0)),
    ]
    other = check(cuda.cuMemAlloc(64))
    answers["device_as_the_programs"] = [
        name(cuda.cuMemcpyHtoD(other, int(memory), 1)),
        name(cuda.cuMemcpyDtoH(int(memory), other, 1)),
    ]
    check(cuda.cuStreamDestroy(stream))
    answers["dead_stream"] = [
        name(cuda.cuStreamSynchronize(stream)),
        name(cuda.cuEventRecord(event, stream)),
        name(cuda.cuStreamDestroy(stream)),
    ]
    check(cuda.cuEventDestroy(event))
    answers["dead_event"] = [name(cuda.cuEventSynchronize(event)), name(cuda.cuEventDestroy(event))]
    answers["event_for_others"] = name(cuda.cuEventCreate(cuda.CUevent_flags.CU_EVENT_INTERPROCESS))
    return answers


def copies():
    """Copies whose direction is found by the address, in one dimension and in two."""
    primary()
    size = 9 << 20
    sent = bytearray(at * 40503 >> 7 & 0xFF for at in range(size))
    back = bytearray(size)
    memory = check(cuda.cuMemAlloc(size))
    pinned = check(cuda.cuMemAllocHost(size))
    check(cuda.cuMemcpy(pinned, address(sent), size))
    check(cuda.cuMemcpyAsync(memory, pinned, size, cuda.CUstream(2)))
    # Pinned memory is read when the stream comes to the copy.
    check(cuda.cuStreamSynchronize(cuda.CUstream(2)))
    ctypes.memset(pinned, 0, size)
    check(cuda.cuMemcpyAsync(address(back), memory, size, cuda.CUstream(2)))
    check(cuda.cuStreamSynchronize(cuda.CUstream(2)))
    answers = {"longer_than_a_frame": back == sent}

    rows, pitch = check(cuda.cuMemAllocPitch(10, 3, 4))
    copy = cuda.CUDA_MEMCPY2D()
    copy.srcMemoryType = cuda.CUmemorytype.CU_MEMORYTYPE_HOST
    copy.srcHost, copy.srcPitch = address(sent), 10
    copy.dstMemoryType = cuda.CUmemorytype.CU_MEMORYTYPE_DEVICE
    copy.dstDevice, copy.dstPitch = rows, pitch
    copy.WidthInBytes, copy.Height = 10, 3
    check(cuda.cuMemcpy2D(copy))
    out = cuda.CUDA_MEMCPY2D()
    out.srcMemoryType = cuda.CUmemorytype.CU_MEMORYTYPE_UNIFIED
    out.srcDevice, out.srcPitch, out.srcY, out.srcXInBytes = rows, pitch, 1, 2
    out.dstMemoryType = cuda.CUmemorytype.CU_MEMORYTYPE_HOST
    out.dstHost, out.dstPitch = address(back), 100
    out.WidthInBytes, out.Height = 8, 2
    back[:300] = bytes(300)
    check(cuda.cuMemcpy2DAsync(out, cuda.CUstream(0)))
    check(cuda.cuCtxSynchronize())
    answers["rows"] = back[:8] == sent[12:20] and back[100:108] == sent[22:30]
    answers["between_rows_untouched"] = back[8:100] == bytes(92)
    out.dstPitch = 7
    answers["rows_reach_into_each_other"] = name(cuda.cuMemcpy2D(out))
    out.dstPitch, out.Height = 100, 3
    answers["rows_leave_their_allocation"] = name(cuda.cuMemcpy2D(out))
    out.srcDevice, out.srcMemoryType = address(sent), cuda.CUmemorytype.CU_MEMORYTYPE_DEVICE
    answers["program_memory_as_a_devices"] = name(cuda.cuMemcpy2D(out))
    out.srcDevice, out.Height = rows, 2
    out.dstMemoryType = cuda.CUmemorytype.CU_MEMORYTYPE_ARRAY
    answers["to_no_array"] = name(cuda.cuMemcpy2D(out))
    return answers


def addresses():
    """What an address is, for device memory, pinned memory and any other."""
    device = primary()
    kind = cuda.CUpointer_attribute
    memory = check(cuda.cuMemAlloc(100))
    pinned = check(cuda.cuMemHostAlloc(100, 1))
    inside = int(memory) + 7
    ask = lambda attribute, at: cuda.cuPointerGetAttribute(attribute, at)
    own = bytearray(8)
    both = [kind.CU_POINTER_ATTRIBUTE_MEMORY_TYPE, kind.CU_POINTER_ATTRIBUTE_RANGE_SIZE]
    several = lambda at: [int(one) for one in check(cuda.cuPointerGetAttributes(2, both, at))]
    answers = {
        "device_type": check(ask(kind.CU_POINTER_ATTRIBUTE_MEMORY_TYPE, inside)),
        "device_ordinal": check(ask(kind.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, inside)) == int(device),
        "start": int(check(ask(kind.CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, inside))) == int(memory),
        "size": check(ask(kind.CU_POINTER_ATTRIBUTE_RANGE_SIZE, inside)),
        "pinned_type": check(ask(kind.CU_POINTER_ATTRIBUTE_MEMORY_TYPE, pinned)),
        "other": name(ask(kind.CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address(own))),
        "several": [several(inside), several(pinned), several(address(own))],
        "range": int(check(cuda.cuMemGetAddressRange(inside))[0]) == int(memory),
        "pinned_flags": check(cuda.cuMemHostGetFlags(pinned)),
        "aligned": pinned % 4096,
        "mapped": name(cuda.cuMemHostGetDevicePointer(pinned, 0)),
        "can_map": check(
            cuda.cuDeviceGetAttribute(
                cuda.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, device
            )
        ),
        "register": name(cuda.cuMemHostRegister(address(own), 8, 0)),
        "register_twice": name(cuda.cuMemHostRegister(address(own), 8, 0)),
        "registered_type": cuda.cuPointerGetAttribute(
            cuda.CUpointer_attribute.CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address(own)
        )[1],
        "read_only": name(cuda.cuMemHostRegister(address(own) + 4096, 8, 8)),
        "unregister": name(cuda.cuMemHostUnregister(address(own))),
        "unregister_twice": name(cuda.cuMemHostUnregister(address(own))),
        "managed": name(cuda.cuMemAllocManaged(8, 1)),
        "free_other": name(cuda.cuMemFreeHost(address(own))),
        "free_pinned": name(cuda.cuMemFreeHost(pinned)),
        "free_pinned_twice": name(cuda.cuMemFreeHost(pinned)),
    }
    return answers


def entry_points():
    """Functions by name and version, and what is not there."""
    library = ctypes.CDLL("libcuda.so.1")
    found, status = ctypes.c_void_p(1), ctypes.c_int(-1)

    def ask(symbol, version, flags=0):
        code = library.cuGetProcAddress_v2(
            symbol, ctypes.byref(found), version, ctypes.c_uint64(flags), ctypes.byref(status)
        )
        return [code, status.value, found.value is not None]

    answers = {"known": ask(b"cuDriverGetVersion", 13000)}
    version = ctypes.c_int()
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(found.value)(ctypes.addressof(version))
    answers["called"] = version.value
    newer = ask(b"cuMemAlloc", 3020), found.value
    older = ask(b"cuMemAlloc", 2000), found.value
    answers["versions_differ"] = newer[1] != older[1]
    answers["unknown"] = ask(b"cuNoSuchThing", 13000)
    answers["too_old"] = ask(b"cuMemAlloc", 1000)
    answers["wrong_flags"] = ask(b"cuInit", 13000, 9)[0]
    table = ctypes.c_void_p(1)
    code = library.cuGetExportTable(ctypes.byref(table), bytes(range(16)))
    answers["private_table"] = [code, table.value]
    answers["not_implemented"] = library.cuGLInit()
    text = ctypes.c_char_p(b"untouched")
    answers["unknown_code"] = [library.cuGetErrorName(77777, ctypes.byref(text)), text.value]
    return answers


def fork():
    """A child that is forked after the connection was made."""
    primary()
    memory = check(cuda.cuMemAlloc(64))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = [name(cuda.cuInit(0)), name(cuda.cuMemFree(memory)), name(cuda.cuMemAlloc(1))]
        said.append(cuda.cuGetErrorString(cuda.CUresult.CUDA_ERROR_NO_DEVICE)[1].decode())
        os.write(write, json.dumps(said).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return {"child": json.loads(os.read(read, 4096)), "parent": name(cuda.cuMemFree(memory))}


def lost():
    """The host ends under a program."""
    primary()
    os.kill(int(sys.argv[2]), signal.SIGTERM)
    give_up = time.monotonic() + 20
    seen = []
    while time.monotonic() < give_up:
        seen.append(name(cuda.cuCtxSynchronize()))
        if seen[-1] != "SUCCESS":
            break
    memory = name(cuda.cuMemAlloc(64))
    return {"first": seen[-1], "then": [memory, name(cuda.cuMemGetInfo()), name(cuda.cuInit(0))]}


def late():
    """The host comes after the program has asked for it once."""
    link = os.environ["VGPU_LINK"].removeprefix("unix:")
    answers = {"without": name(cuda.cuInit(0))}
    os.symlink(sys.argv[3], link)
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        answers["with"] = name(cuda.cuInit(0))
        if answers["with"] == "SUCCESS":
            break
    return answers | {"count": cuda.cuDeviceGetCount()[1]}


def devices():
    """How many devices this process sees."""
    first = cuda.cuInit(0)
    return {"init": name(first), "count": cuda.cuDeviceGetCount()[1]}


STORIES = (order, contexts, handles, copies, addresses, entry_points, fork, lost, late, devices)
print(json.dumps({story.__name__: story for story in STORIES}[sys.argv[1]]()))
