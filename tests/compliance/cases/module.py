"""Modules, kernels, launches."""

import ctypes
from ctypes import byref, c_double, c_float, c_int, c_size_t, c_uint, c_uint8, c_uint16, c_uint32
from ctypes import c_uint64, c_void_p
import struct

import kernels
from rules import case


def filled(world, stream=None, count=100, value=42):
    """Launches the fill kernel and returns the place and the code."""
    function = world.function(world.module(kernels.ALL), b"vgpu_test_fill")
    place = world.memory(4096)
    world.ok(world.cu.cuMemsetD8_v2(place, 0, 4096))
    code = world.launch(function, [c_uint64(place), c_uint32(value), c_uint32(count)], grid=4,
                        stream=stream)
    return place, code


@case
def ptx_is_loaded_and_unloaded(world):
    """cuModuleLoadData, cuModuleUnload."""
    world.primary()
    world.ok(world.cu.cuModuleUnload(world.module(kernels.ALL)))


@case
def a_module_needs_a_place(world):
    """cuModuleLoadData: INVALID_VALUE."""
    world.primary()
    world.expect("INVALID_VALUE", world.cu.cuModuleLoadData(None, kernels.ALL))


@case
def a_module_needs_an_image(world):
    """cuModuleLoadData: INVALID_VALUE."""
    world.primary()
    module = c_void_p()
    world.expect("INVALID_VALUE", world.cu.cuModuleLoadData(byref(module), None))


@case
def a_module_needs_a_context(world):
    """cuModuleLoadData: INVALID_CONTEXT."""
    world.device()
    module = c_void_p()
    world.expect("INVALID_CONTEXT", world.cu.cuModuleLoadData(byref(module), kernels.ALL))


@case
def ptx_that_does_not_parse_is_refused(world):
    """cuModuleLoadData: INVALID_PTX."""
    world.primary()
    module = c_void_p()
    image = kernels.HEAD + b".visible .entry broken( { ret; }\0"
    world.expect("INVALID_PTX", world.cu.cuModuleLoadData(byref(module), image))


@case
def what_is_no_image_is_refused(world):
    """cuModuleLoadData: INVALID_IMAGE (or INVALID_PTX, as it may be text)."""
    world.primary()
    module = c_void_p()
    answer = world.cu.cuModuleLoadData(byref(module), b"this is no image at all\0")
    world.expect_any(["INVALID_IMAGE", "INVALID_PTX"], answer)


@case
def ptx_for_a_later_device_is_refused(world):
    """cuModuleLoadData: INVALID_PTX, NO_BINARY_FOR_GPU or UNSUPPORTED_PTX_VERSION (222)."""
    world.primary()
    module = c_void_p()
    image = b".version 99.0\n.target sm_75\n.address_size 64\n\0"
    answer = world.cu.cuModuleLoadData(byref(module), image)
    world.true(answer in (218, 222), f"got {answer}")


@case
def a_file_that_is_missing_is_not_found(world):
    """cuModuleLoad: FILE_NOT_FOUND."""
    world.primary()
    module = c_void_p()
    world.expect("FILE_NOT_FOUND", world.cu.cuModuleLoad(byref(module), b"/nonexistent/file"))


@case
def a_kernel_is_found_by_its_name(world):
    """cuModuleGetFunction."""
    world.primary()
    world.function(world.module(kernels.ALL), b"vgpu_test_fill")


@case
def a_name_of_no_kernel_is_not_found(world):
    """cuModuleGetFunction: NOT_FOUND."""
    world.primary()
    function = c_void_p()
    answer = world.cu.cuModuleGetFunction(byref(function), world.module(kernels.ALL), b"nobody")
    world.expect("NOT_FOUND", answer)


@case
def a_kernel_needs_a_name(world):
    """cuModuleGetFunction: INVALID_VALUE."""
    world.primary()
    function = c_void_p()
    answer = world.cu.cuModuleGetFunction(byref(function), world.module(kernels.ALL), None)
    world.expect("INVALID_VALUE", answer)


@case
def a_variable_is_found_with_its_size(world):
    """cuModuleGetGlobal."""
    world.primary()
    place, size = c_uint64(), c_size_t()
    module = world.module(kernels.ALL)
    answer = world.cu.cuModuleGetGlobal_v2(byref(place), byref(size), module, b"vgpu_test_counter")
    world.ok(answer)
    world.equal(size.value, 4)
    world.equal(world.read(place.value, 4), struct.pack("<I", 7))


@case
def a_variable_that_is_not_there_is_not_found(world):
    """cuModuleGetGlobal: NOT_FOUND."""
    world.primary()
    place, size = c_uint64(), c_size_t()
    module = world.module(kernels.ALL)
    answer = world.cu.cuModuleGetGlobal_v2(byref(place), byref(size), module, b"nobody")
    world.expect("NOT_FOUND", answer)


@case
def a_kernel_computes(world):
    """cuLaunchKernel."""
    world.primary()
    place, code = filled(world)
    world.ok(code)
    world.ok(world.cu.cuCtxSynchronize())
    world.equal(world.read(place, 404), struct.pack("<I", 42) * 100 + b"\0" * 4)


@case
def a_kernel_computes_in_a_stream(world):
    """cuLaunchKernel."""
    world.primary()
    stream = world.stream()
    place, code = filled(world, stream=stream)
    world.ok(code)
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(world.read(place, 400), struct.pack("<I", 42) * 100)


@case
def kernels_in_one_stream_are_in_order(world):
    """CUDA C++ Programming Guide, Streams."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_add")
    stream, place = world.stream(), world.memory()
    world.ok(world.cu.cuMemsetD32Async(place, 0, 1, stream))
    for value in range(200):
        world.ok(world.launch(function, [c_uint64(place), c_uint32(value)], block=1, stream=stream))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(world.read(place, 4), struct.pack("<I", sum(range(200))))


@case
def parameters_of_every_size_arrive(world):
    """cuLaunchKernel, kernelParams."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_mixed")
    place = world.memory()
    arguments = [c_uint8(200), c_uint64(place), c_uint16(60000), c_double(0.5), c_uint32(1 << 31),
                 c_float(-2.25)]
    world.ok(world.launch(function, arguments, block=1))
    expected = 200 + 60000 + 0.5 + (1 << 31) - 2.25
    world.equal(struct.unpack("<d", world.read(place, 8))[0], expected)


@case
def parameters_may_come_in_one_buffer(world):
    """cuLaunchKernel, extra: CU_LAUNCH_PARAM_BUFFER_POINTER, _SIZE, _END."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_fill")
    place = world.memory()
    buffer = ctypes.create_string_buffer(struct.pack("<QII", place, 9, 10), 16)
    size = c_size_t(16)
    extra = (c_void_p * 5)(1, ctypes.addressof(buffer), 2, ctypes.addressof(size), 0)
    world.ok(world.cu.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, None, None, extra))
    world.equal(world.read(place, 40), struct.pack("<I", 9) * 10)


@case
def parameters_come_one_way_only(world):
    """cuLaunchKernel: INVALID_VALUE for kernelParams and extra."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_multiply")
    extra = (c_void_p * 1)(0)
    places = (c_void_p * 1)(0)
    answer = world.cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, places, extra)
    world.expect("INVALID_VALUE", answer)


@case
def the_arguments_may_change_after_the_launch(world):
    """cuLaunchKernel: parameters are copied before it returns."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_fill")
    place, value = world.memory(), c_uint32(11)
    arguments = [c_uint64(place), value, c_uint32(10)]
    world.ok(world.launch(function, arguments))
    value.value = 99
    arguments[0].value = 0
    world.ok(world.cu.cuCtxSynchronize())
    world.equal(world.read(place, 40), struct.pack("<I", 11) * 10)


@case
def a_grid_of_nothing_is_refused(world):
    """cuLaunchKernel: INVALID_VALUE."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_multiply")
    world.expect("INVALID_VALUE", world.launch(function, [], grid=0))


@case
def a_block_of_nothing_is_refused(world):
    """cuLaunchKernel: INVALID_VALUE."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_multiply")
    world.expect("INVALID_VALUE", world.launch(function, [], block=0))


@case
def a_block_of_too_many_threads_is_refused(world):
    """cuLaunchKernel: INVALID_VALUE (the limit of 1,024 threads)."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_multiply")
    world.expect("INVALID_VALUE", world.launch(function, [], block=2048))


@case
def a_block_above_the_kernels_own_limit_is_refused(world):
    """cuLaunchKernel, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: INVALID_VALUE or _OUT_OF_RESOURCES."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_bounded")
    world.ok(world.launch(function, [], block=128))
    answer = world.launch(function, [], block=256)
    world.expect_any(["INVALID_VALUE", "LAUNCH_OUT_OF_RESOURCES"], answer)


@case
def too_much_shared_memory_is_refused(world):
    """cuLaunchKernel: above 48 KiB needs CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_multiply")
    world.expect("INVALID_VALUE", world.launch(function, [], shared=100 << 10))


@case
def more_shared_memory_is_allowed_on_request(world):
    """cuFuncSetAttribute: MAX_DYNAMIC_SHARED_SIZE_BYTES (8), up to attribute 97."""
    world.primary()
    most = world.attribute(97)
    function = world.function(world.module(kernels.ALL), b"vgpu_test_multiply")
    world.ok(world.cu.cuFuncSetAttribute(function, 8, most))
    world.ok(world.launch(function, [], shared=most))
    world.ok(world.cu.cuCtxSynchronize())


@case
def no_more_shared_memory_than_there_is_is_allowed(world):
    """cuFuncSetAttribute: INVALID_VALUE."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_multiply")
    answer = world.cu.cuFuncSetAttribute(function, 8, world.attribute(97) + 1)
    world.expect("INVALID_VALUE", answer)


@case
def null_is_no_kernel(world):
    """cuLaunchKernel: INVALID_HANDLE (or INVALID_VALUE)."""
    world.primary()
    world.expect_any(["INVALID_HANDLE", "INVALID_VALUE"], world.launch(None, []))


@case
def a_kernel_knows_its_limits(world):
    """cuFuncGetAttribute: MAX_THREADS_PER_BLOCK (0), SHARED_SIZE_BYTES (1)."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_bounded")
    value = c_int()
    world.ok(world.cu.cuFuncGetAttribute(byref(value), 0, function))
    world.equal(value.value, 128)
    world.ok(world.cu.cuFuncGetAttribute(byref(value), 1, function))
    world.equal(value.value, 64)


@case
def a_kernel_knows_its_registers(world):
    """cuFuncGetAttribute: NUM_REGS (4)."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_fill")
    value = c_int()
    world.ok(world.cu.cuFuncGetAttribute(byref(value), 4, function))
    world.true(1 <= value.value <= 255, f"{value.value} registers")


@case
def an_unknown_function_attribute_is_refused(world):
    """cuFuncGetAttribute: INVALID_VALUE."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_fill")
    value = c_int()
    world.expect("INVALID_VALUE", world.cu.cuFuncGetAttribute(byref(value), 999, function))


@case
def the_number_of_registers_is_not_changed(world):
    """cuFuncSetAttribute: only the settable attributes."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_fill")
    world.expect("INVALID_VALUE", world.cu.cuFuncSetAttribute(function, 4, 8))


@case
def the_layout_of_parameters_is_told(world):
    """cuFuncGetParamInfo: offset and size of each; INVALID_VALUE beyond the last."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_mixed")
    layout = []
    offset, size = c_size_t(), c_size_t()
    for index in range(6):
        world.ok(world.cu.cuFuncGetParamInfo(function, index, byref(offset), byref(size)))
        layout.append((offset.value, size.value))
    world.equal(layout, [(0, 1), (8, 8), (16, 2), (24, 8), (32, 4), (36, 4)])
    answer = world.cu.cuFuncGetParamInfo(function, 6, byref(offset), byref(size))
    world.expect("INVALID_VALUE", answer)


@case
def a_variable_is_shared_by_host_and_kernel(world):
    """cuModuleGetGlobal, cuMemcpyHtoD."""
    world.primary()
    module = world.module(kernels.ALL)
    place, size = c_uint64(), c_size_t()
    world.ok(world.cu.cuModuleGetGlobal_v2(byref(place), byref(size), module, b"vgpu_test_counter"))
    world.ok(world.cu.cuMemcpyHtoD_v2(place.value, struct.pack("<I", 5), 4))
    world.ok(world.launch(world.function(module, b"vgpu_test_multiply"), [], block=1))
    world.equal(world.read(place.value, 4), struct.pack("<I", 15))


@case
def two_modules_of_one_image_have_their_own_variables(world):
    """CUDA Driver API, Module management."""
    world.primary()
    places = []
    for _ in range(2):
        place, size = c_uint64(), c_size_t()
        module = world.module(kernels.ALL)
        name = b"vgpu_test_counter"
        world.ok(world.cu.cuModuleGetGlobal_v2(byref(place), byref(size), module, name))
        places.append(place.value)
    world.true(places[0] != places[1], "one place for both")


@case
def a_library_is_independent_of_contexts(world):
    """cuLibraryLoadData: lazily loaded, before any context is current."""
    world.device()
    library = c_void_p()
    world.ok(world.cu.cuLibraryLoadData(byref(library), kernels.ALL, None, None, 0, None, None, 0))
    kernel = c_void_p()
    world.ok(world.cu.cuLibraryGetKernel(byref(kernel), library, b"vgpu_test_fill"))
    world.ok(world.cu.cuLibraryUnload(library))


@case
def a_variable_of_a_library_is_reached_after_a_reset(world):
    """cuLibraryGetGlobal, cuDevicePrimaryCtxReset: a library outlives a context."""
    library, place, size = c_void_p(), c_uint64(), c_size_t()
    world.primary()
    world.ok(world.cu.cuLibraryLoadData(byref(library), kernels.ALL, None, None, 0, None, None, 0))
    name = b"vgpu_test_counter"
    for _ in range(2):
        world.ok(world.cu.cuLibraryGetGlobal(byref(place), byref(size), library, name))
        world.equal(world.read(place.value, 4), struct.pack("<I", 7))
        world.ok(world.cu.cuDevicePrimaryCtxReset_v2(world.device()))
        world.primary()
    places = [world.memory(4) for _ in range(4)]
    for place in places:
        world.ok(world.cu.cuMemFree_v2(place))


@case
def a_kernel_of_a_library_computes(world):
    """cuKernelGetFunction, and a CUkernel in place of a CUfunction."""
    world.primary()
    library, kernel, function = c_void_p(), c_void_p(), c_void_p()
    world.ok(world.cu.cuLibraryLoadData(byref(library), kernels.ALL, None, None, 0, None, None, 0))
    world.ok(world.cu.cuLibraryGetKernel(byref(kernel), library, b"vgpu_test_add"))
    world.ok(world.cu.cuKernelGetFunction(byref(function), kernel))
    place = world.memory()
    world.ok(world.cu.cuMemsetD32_v2(place, 0, 1))
    for what in (function, kernel):
        world.ok(world.launch(what, [c_uint64(place), c_uint32(21)], block=1))
    world.equal(world.read(place, 4), struct.pack("<I", 42))


@case
def a_library_has_no_kernel_of_an_unknown_name(world):
    """cuLibraryGetKernel: NOT_FOUND."""
    world.primary()
    library, kernel = c_void_p(), c_void_p()
    world.ok(world.cu.cuLibraryLoadData(byref(library), kernels.ALL, None, None, 0, None, None, 0))
    world.expect("NOT_FOUND", world.cu.cuLibraryGetKernel(byref(kernel), library, b"nobody"))


@case
def occupancy_is_positive_for_a_small_block(world):
    """cuOccupancyMaxActiveBlocksPerMultiprocessor."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_fill")
    blocks = c_int()
    answer = world.cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(byref(blocks), function, 128, 0)
    world.ok(answer)
    most = world.attribute(39) // 128
    world.true(1 <= blocks.value <= most, f"{blocks.value} blocks, at most {most}")


@case
def occupancy_of_no_threads_is_refused(world):
    """cuOccupancyMaxActiveBlocksPerMultiprocessor: INVALID_VALUE."""
    world.primary()
    function = world.function(world.module(kernels.ALL), b"vgpu_test_fill")
    blocks = c_int()
    answer = world.cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(byref(blocks), function, 0, 0)
    world.expect("INVALID_VALUE", answer)
