"""numba-cuda, unmodified: kernels written in Python, compiled to PTX in this process, linked by the
driver and run on the device. Prints what they computed as JSON.

The first argument is the directory of the packages.
"""

import json
import site
import sys

# numba-cuda takes its place in numba by a .pth file, which PYTHONPATH alone does not read.
site.addsitedir(sys.argv[1])

import numpy as np  # noqa: E402
from numba import cuda  # noqa: E402


@cuda.jit
def saxpy(y, x, a):
    at = cuda.grid(1)
    if at < y.size:
        y[at] = a * x[at] + y[at]


@cuda.jit
def reversed_rows(out, table):
    row, column = cuda.grid(2)
    if row < table.shape[0] and column < table.shape[1]:
        out[row, table.shape[1] - 1 - column] = table[row, column]


@cuda.jit
def sums(totals, x):
    shared = cuda.shared.array(128, np.int32)
    lane, at = cuda.threadIdx.x, cuda.grid(1)
    shared[lane] = x[at] if at < x.size else 0
    cuda.syncthreads()
    half = cuda.blockDim.x // 2
    while half > 0:
        if lane < half:
            shared[lane] += shared[lane + half]
        cuda.syncthreads()
        half //= 2
    if lane == 0:
        cuda.atomic.add(totals, 0, shared[0])


def main():
    x = np.arange(1000, dtype=np.float32)
    y = np.ones(1000, dtype=np.float32)
    on_device = cuda.to_device(y)
    saxpy[8, 128](on_device, cuda.to_device(x), np.float32(2.0))

    table = np.arange(7 * 33, dtype=np.int32).reshape(7, 33)
    turned = cuda.device_array_like(table)
    reversed_rows[(1, 5), (8, 8)](turned, cuda.to_device(table))

    totals = cuda.to_device(np.zeros(1, dtype=np.int32))
    stream = cuda.stream()
    sums[8, 128, stream](totals, cuda.to_device(x.astype(np.int32), stream))
    stream.synchronize()

    print(json.dumps({
        "device": cuda.get_current_device().name,
        "saxpy": np.array_equal(on_device.copy_to_host(), 2 * x + 1),
        "reversed": np.array_equal(turned.copy_to_host(), table[:, ::-1]),
        "sum": int(totals.copy_to_host()[0]),
    }))


main()
