"""NVIDIA's bindings of the driver API link a kernel, and inputs that the device refuses; printed as
JSON."""

import json

from cuda.bindings import driver as cuda

PTX = b"""
.version 8.0
.target sm_90
.address_size 64
.visible .entry nothing() { ret; }
"""


def said(result):
    return result[0].name


def link(*inputs):
    """Links PTX texts; returns what each call said, and the image."""
    _, state = cuda.cuLinkCreate(0, [], [])
    kind = cuda.CUjitInputType.CU_JIT_INPUT_PTX
    calls = []
    for text in inputs:
        text += b"\0"
        added = cuda.cuLinkAddData(state, kind, text, len(text), b"input", 0, [], [])
        calls.append(said(added))
    completed = cuda.cuLinkComplete(state)
    calls.append(said(completed))
    if completed[0] == cuda.CUresult.CUDA_SUCCESS:
        module = cuda.cuModuleLoadData(completed[1])
        calls.append(said(module))
        calls.append(said(cuda.cuModuleGetFunction(module[1], b"nothing")))
    calls.append(said(cuda.cuLinkDestroy(state)))
    calls.append(said(cuda.cuLinkDestroy(state)))
    return calls


cuda.cuInit(0)
_, context = cuda.cuDevicePrimaryCtxRetain(0)
cuda.cuCtxSetCurrent(context)
print(json.dumps({
    "one": link(PTX),
    "two": link(PTX, PTX),
    "none": link(),
    "no_ptx": link(b".version 8.0 nonsense"),
}))
