"""NVIDIA's own Python bindings of the driver API, unmodified: one story, printed as JSON.

Every call's result is checked: an error ends the program with the error's name.
"""

import ctypes
import json
import sys

from cuda.bindings import driver as cuda


def check(answer):
    """Returns what a call answered beside its result, which must be success."""
    result, *rest = answer if isinstance(answer, tuple) else (answer,)
    if result != cuda.CUresult.CUDA_SUCCESS:
        sys.exit(f"cuda-bindings: {result.name}")
    return rest[0] if len(rest) == 1 else rest


def text(buffer):
    """Reads a C string from a buffer that may hold anything after its end mark."""
    return buffer.split(b"\0", 1)[0].decode()


def main():
    check(cuda.cuInit(0))
    count = check(cuda.cuDeviceGetCount())
    device = check(cuda.cuDeviceGet(0))
    attribute = cuda.CUdevice_attribute
    optin = attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    name = text(check(cuda.cuDeviceGetName(128, device)))
    context = check(cuda.cuDevicePrimaryCtxRetain(device))
    check(cuda.cuCtxSetCurrent(context))

    size = 3 * 1024 * 1024 + 17
    sent = bytearray((at * 2654435761 >> 11) & 0xFF for at in range(size))
    back = bytearray(size)
    pointer = lambda buffer: ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    memory = check(cuda.cuMemAlloc(size))
    copy = check(cuda.cuMemAlloc(size))
    check(cuda.cuMemcpyHtoD(memory, pointer(sent), size))
    check(cuda.cuMemcpyDtoD(copy, memory, size))
    check(cuda.cuMemcpyDtoH(pointer(back), copy, size))
    sync_equal = sent == back

    stream = check(cuda.cuStreamCreate(cuda.CUstream_flags.CU_STREAM_NON_BLOCKING))
    before = check(cuda.cuEventCreate(0))
    after = check(cuda.cuEventCreate(0))
    check(cuda.cuEventRecord(before, stream))
    check(cuda.cuMemsetD8Async(copy, 0x5A, size, stream))
    check(cuda.cuMemcpyDtoHAsync(pointer(back), copy, size, stream))
    check(cuda.cuEventRecord(after, stream))
    check(cuda.cuStreamSynchronize(stream))
    check(cuda.cuEventSynchronize(after))
    elapsed = check(cuda.cuEventElapsedTime(before, after))
    free, total = check(cuda.cuMemGetInfo())

    for event in (before, after):
        check(cuda.cuEventDestroy(event))
    check(cuda.cuStreamDestroy(stream))
    for allocation in (memory, copy):
        check(cuda.cuMemFree(allocation))
    freed = cuda.cuMemcpyDtoH(pointer(back), memory, 16)[0].name
    free_after, _ = check(cuda.cuMemGetInfo())
    uuid = bytes(check(cuda.cuDeviceGetUuid(device)).bytes)
    bus = text(check(cuda.cuDeviceGetPCIBusId(32, device)))
    answer = {
        "devices": count,
        "driver": check(cuda.cuDriverGetVersion()),
        "name": name,
        "uuid": list(uuid),
        "pci": bus,
        "total_memory": check(cuda.cuDeviceTotalMem(device)),
        "major": check(
            cuda.cuDeviceGetAttribute(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)
        ),
        "multiprocessors": check(
            cuda.cuDeviceGetAttribute(attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device)
        ),
        "shared_memory_optin": check(cuda.cuDeviceGetAttribute(optin, device)),
        "sync_equal": sync_equal,
        "async_equal": back[16:] == bytes([0x5A]) * (size - 16),
        "elapsed_is_sane": 0 <= elapsed < 60_000,
        "held": free_after - free,
        "total": total,
        "freed_pointer": freed,
    }
    check(cuda.cuDevicePrimaryCtxRelease(device))
    print(json.dumps(answer))


main()
