"""Operations of ggml on its CPU backend and on its CUDA backend, through ggml's public C interface.

`ggml_operations.py DIRECTORY` (that of the published CUDA 13 build) prints, as JSON, for each
operation how far the two results are apart: the squared difference over the squared result.
"""

import array
import ctypes
import json
import math
import pathlib
import random
import struct
import sys

DIRECTORY = pathlib.Path(sys.argv[1])
BASE = ctypes.CDLL(str(DIRECTORY / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
GGML = ctypes.CDLL(str(DIRECTORY / "libggml.cuda.v0.5.0.so"), mode=ctypes.RTLD_GLOBAL)

POINTER, INT, LONG, SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t
FLOAT, BOOL, TEXT = ctypes.c_float, ctypes.c_bool, ctypes.c_char_p

# Of the kinds of numbers, those that are named in more than one place.
F32, F16, I32 = 0, 1, 26
QUANTISED = {
    "bf16": 30, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q8_0": 8, "q2_K": 10, "q3_K": 11, "q4_K": 12,
    "q5_K": 13, "q6_K": 14, "iq4_nl": 20,
}


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", SIZE), ("mem_buffer", POINTER), ("no_alloc", BOOL)]


def function(library, name, result, *arguments):
    """Finds a function and says what it takes."""
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found


def operation(name, *arguments):
    """Finds a function that adds an operation to a context."""
    return function(BASE, f"ggml_{name}", POINTER, POINTER, *arguments)


load = function(GGML, "ggml_backend_load", POINTER, TEXT)
device_by_name = function(GGML, "ggml_backend_dev_by_name", POINTER, TEXT)
device_init = function(BASE, "ggml_backend_dev_init", POINTER, POINTER, TEXT)
supports = function(BASE, "ggml_backend_dev_supports_op", BOOL, POINTER, POINTER)
init = function(BASE, "ggml_init", POINTER, InitParams)
free = function(BASE, "ggml_free", None, POINTER)
new_tensor = operation("new_tensor_4d", INT, LONG, LONG, LONG, LONG)
new_graph = operation("new_graph")
expand = function(BASE, "ggml_build_forward_expand", None, POINTER, POINTER)
allocate = function(BASE, "ggml_backend_alloc_ctx_tensors", POINTER, POINTER, POINTER)
free_buffer = function(BASE, "ggml_backend_buffer_free", None, POINTER)
write = function(BASE, "ggml_backend_tensor_set", None, POINTER, POINTER, SIZE, SIZE)
read = function(BASE, "ggml_backend_tensor_get", None, POINTER, POINTER, SIZE, SIZE)
compute = function(BASE, "ggml_backend_graph_compute", INT, POINTER, POINTER)
bytes_of = function(BASE, "ggml_nbytes", SIZE, POINTER)
quantise = function(
    BASE, "ggml_quantize_chunk", SIZE, INT, POINTER, POINTER, LONG, LONG, LONG, POINTER
)


def contents(kind, shape, seed, below):
    """Makes the same numbers each time: between -1 and 1, or whole ones below a bound."""
    numbers, count = random.Random(seed), math.prod(shape)
    if kind == I32:
        return array.array("i", [numbers.randrange(below) for _ in range(count)]).tobytes()
    floats = array.array("f", [numbers.uniform(-1.0, 1.0) for _ in range(count)])
    if kind == F32:
        return floats.tobytes()
    if kind == F16:
        return struct.pack(f"<{count}e", *floats)
    source, target = floats.tobytes(), ctypes.create_string_buffer(4 * count)
    size = quantise(kind, source, ctypes.addressof(target), 0, count // shape[0], shape[0], None)
    return target.raw[:size]


def run(backend, device, inputs, build):
    """Computes one operation; returns the result's bytes, or nothing if it is not supported."""
    context = init(InitParams(1 << 22, None, True))
    tensors = []
    for kind, shape, *_ in inputs:
        tensors.append(new_tensor(context, kind, *(list(shape) + [1, 1, 1])[:4]))
    result = build(context, *tensors)
    if not supports(device, result):
        return None
    graph = new_graph(context)
    expand(graph, result)
    buffer = allocate(context, backend)
    for seed, (tensor, (kind, shape, *below)) in enumerate(zip(tensors, inputs)):
        data = contents(kind, shape, seed + 1, *(below or [0]))
        write(tensor, data, 0, len(data))
    status = compute(backend, graph)
    if status != 0:
        sys.exit(f"ggml_operations: computing ended with {status}")
    bytes_out = ctypes.create_string_buffer(bytes_of(result))
    read(result, ctypes.addressof(bytes_out), 0, len(bytes_out))
    free_buffer(buffer)
    free(context)
    return bytes_out.raw


def numbers(data, kind):
    """Takes numbers out of bytes."""
    form = {F32: "f", F16: "e", I32: "i"}[kind]
    return struct.unpack(f"<{len(data) // struct.calcsize(form)}{form}", data)


def operations():
    """Lists operations: name, inputs, how to build it, what its numbers are."""
    row, rows = (F32, (64, 5)), (F32, (256, 4))
    binary = [(F32, (64, 5, 3)), (F32, (64, 1, 3))]
    for name in ("add", "sub", "mul"):
        yield name, binary, operation(name, POINTER, POINTER), F32
    for name in ("silu", "gelu", "tanh", "sqr", "sum_rows"):
        yield name, [row], operation(name, POINTER), F32
    yield "argmax", [row], operation("argmax", POINTER), I32
    yield "argsort", [row], lambda c, x: operation("argsort", POINTER, INT)(c, x, 1), I32
    yield "swiglu", [row, row], operation("swiglu_split", POINTER, POINTER), F32
    for name in ("rms_norm", "norm", "l2_norm"):
        norm = operation(name, POINTER, FLOAT)
        yield name, [rows], lambda c, x, norm=norm: norm(c, x, 1e-5), F32
    yield "scale", [row], lambda c, x: operation("scale", POINTER, FLOAT)(c, x, 2.5), F32
    concat = operation("concat", POINTER, POINTER, INT)
    yield "concat", [row, row], lambda c, x, y: concat(c, x, y, 1), F32
    yield "cpy f32 f16", [row, (F16, (64, 5))], operation("cpy", POINTER, POINTER), F16
    permute, cont = operation("permute", POINTER, INT, INT, INT, INT), operation("cont", POINTER)
    turned = [(F32, (16, 5, 7))]
    yield "cont", turned, lambda c, x: cont(c, permute(c, x, 1, 0, 2, 3)), F32
    softmax = operation("soft_max_ext", POINTER, POINTER, FLOAT, FLOAT)
    masked = [(F32, (70, 3, 2)), (F16, (70, 3))]
    yield "soft_max", masked, lambda c, x, mask: softmax(c, x, mask, 0.5, 0.0), F32
    rope = operation("rope_ext", POINTER, POINTER, POINTER, *[INT] * 3, *[FLOAT] * 6)
    placed = [(F32, (64, 4, 3)), (I32, (3,), 50)]
    for mode in (0, 2):
        numbers_of_rope = (64, mode, 0, 10000.0, 1.0, 0.0, 1.0, 32.0, 1.0)
        yield f"rope {mode}", placed, (
            lambda c, x, places, given=numbers_of_rope: rope(c, x, places, None, *given)
        ), F32
    get_rows = operation("get_rows", POINTER, POINTER)
    for name in ("f32", "f16", "q4_0", "q8_0"):
        kind = {"f32": F32, "f16": F16}.get(name) or QUANTISED.get(name, F32)
        yield f"get_rows {name}", [(kind, (64, 20)), (I32, (7,), 20)], get_rows, F32
    multiply = operation("mul_mat", POINTER, POINTER)
    for name, kind in {"f32": F32, "f16": F16, **QUANTISED}.items():
        # One column as in decoding, some as in speculation, many as in reading a prompt.
        for columns in (1, 4, 20):
            inputs = [(kind, (256, 48)), (F32, (256, columns))]
            yield f"mul_mat {name} {columns}", inputs, multiply, F32
    chosen = [(QUANTISED["q4_0"], (256, 32, 4)), (F32, (256, 2, 3)), (I32, (2, 3), 4)]
    yield "mul_mat_id", chosen, operation("mul_mat_id", *[POINTER] * 3), F32
    attention = operation("flash_attn_ext", *[POINTER] * 4, *[FLOAT] * 3)
    for queries in (1, 4, 20):
        inputs = [(F32, (64, queries, 4)), (F16, (64, 256, 2)), (F16, (64, 256, 2))]
        inputs.append((F16, (256, 64)))
        yield f"flash_attn {queries}", inputs, (
            lambda c, q, k, v, mask: attention(c, q, k, v, mask, 0.125, 0.0, 0.0)
        ), F32


def main():
    for library in ("libggml-cuda.so", "libggml-cpu-x64.so"):
        if not load(str(DIRECTORY / library).encode()):
            sys.exit(f"ggml_operations: {library} does not load")
    device = device_by_name(b"CUDA0")
    cpu, cuda = (device_init(device_by_name(name), None) for name in (b"CPU", b"CUDA0"))
    apart = {}
    for name, inputs, build, kind in operations():
        found = run(cuda, device, inputs, build)
        if found is None:
            apart[name] = "not supported"
            continue
        found = numbers(found, kind)
        expected = numbers(run(cpu, device, inputs, build), kind)
        squares = sum(x * x for x in expected)
        apart[name] = sum((x - y) ** 2 for x, y in zip(expected, found)) / (squares or 1.0)
    print(json.dumps(apart))


main()
