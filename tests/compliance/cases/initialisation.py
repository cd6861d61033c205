"""Initialisation, version, entry points, error texts."""

import ctypes
from ctypes import byref, c_char_p, c_int, c_void_p

from rules import case


@case
def nothing_works_before_init(world):
    """CUDA Driver API, Initialization: any function before cuInit returns NOT_INITIALIZED."""
    count = c_int()
    world.expect("NOT_INITIALIZED", world.cu.cuDeviceGetCount(byref(count)))
    world.expect("NOT_INITIALIZED", world.cu.cuDeviceGet(byref(count), 0))


@case
def memory_is_refused_before_init(world):
    """CUDA Driver API, Initialization."""
    place = ctypes.c_uint64()
    world.expect("NOT_INITIALIZED", world.cu.cuMemAlloc_v2(byref(place), 16))


@case
def init_takes_no_flags(world):
    """cuInit: the flags parameter must be 0."""
    world.expect("INVALID_VALUE", world.cu.cuInit(1))


@case
def init_may_be_called_twice(world):
    """cuInit."""
    world.ok(world.cu.cuInit(0))
    world.ok(world.cu.cuInit(0))


@case
def the_version_is_known_before_init(world):
    """cuDriverGetVersion: returns 1000 * major + 10 * minor."""
    version = c_int()
    world.ok(world.cu.cuDriverGetVersion(byref(version)))
    world.true(version.value >= 12000, f"version {version.value}")


@case
def the_version_needs_a_place(world):
    """cuDriverGetVersion: INVALID_VALUE for NULL."""
    world.expect("INVALID_VALUE", world.cu.cuDriverGetVersion(None))


@case
def errors_have_names(world):
    """cuGetErrorName."""
    for code, expected in [(0, b"CUDA_SUCCESS"), (1, b"CUDA_ERROR_INVALID_VALUE"),
                           (700, b"CUDA_ERROR_ILLEGAL_ADDRESS")]:
        text = c_char_p()
        world.ok(world.cu.cuGetErrorName(code, byref(text)))
        world.equal(text.value, expected)


@case
def errors_have_texts(world):
    """cuGetErrorString."""
    for code, expected in [(0, b"no error"), (2, b"out of memory"), (1, b"invalid argument")]:
        text = c_char_p()
        world.ok(world.cu.cuGetErrorString(code, byref(text)))
        world.equal(text.value, expected)


@case
def an_unknown_error_has_no_name(world):
    """cuGetErrorName: INVALID_VALUE and a NULL text."""
    text = c_char_p(b"before")
    world.expect("INVALID_VALUE", world.cu.cuGetErrorName(12345, byref(text)))
    world.equal(text.value, None)


@case
def an_unknown_error_has_no_text(world):
    """cuGetErrorString: INVALID_VALUE and a NULL text."""
    text = c_char_p(b"before")
    world.expect("INVALID_VALUE", world.cu.cuGetErrorString(-5, byref(text)))
    world.equal(text.value, None)


@case
def an_entry_point_is_found_by_name(world):
    """cuGetProcAddress: SUCCESS and a pointer for a known symbol."""
    pointer, status = c_void_p(), c_int(-1)
    answer = world.cu.cuGetProcAddress_v2(b"cuMemAlloc", byref(pointer), 12000, 0, byref(status))
    world.ok(answer)
    world.true(pointer.value, "no pointer")
    world.equal(status.value, 0)


@case
def an_unknown_entry_point_is_not_found(world):
    """cuGetProcAddress: CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND."""
    pointer, status = c_void_p(), c_int(-1)
    world.cu.cuInit(0)
    world.cu.cuGetProcAddress_v2(b"cuNoSuchName", byref(pointer), 12000, 0, byref(status))
    world.equal(pointer.value, None)
    world.equal(status.value, 1)


@case
def an_entry_point_newer_than_asked_for_is_not_given(world):
    """cuGetProcAddress: CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT."""
    pointer, status = c_void_p(), c_int(-1)
    world.cu.cuInit(0)
    # cuLaunchKernelEx came with 11.8 (11060 in its declarations).
    world.cu.cuGetProcAddress_v2(b"cuLaunchKernelEx", byref(pointer), 9000, 0, byref(status))
    world.equal(pointer.value, None)
    world.equal(status.value, 2)


@case
def an_entry_point_needs_a_name(world):
    """cuGetProcAddress: INVALID_VALUE for NULL."""
    pointer = c_void_p()
    world.expect("INVALID_VALUE", world.cu.cuGetProcAddress_v2(None, byref(pointer), 12000, 0, None))
