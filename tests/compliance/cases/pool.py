"""Stream-ordered allocation and virtual memory management."""

import ctypes
from ctypes import byref, c_int, c_size_t, c_uint64, c_ubyte, c_ushort, c_void_p

from rules import Unfit, case


class Properties(ctypes.Structure):
    """CUmemAllocationProp: pinned memory of one device."""

    _fields_ = [("type", c_int), ("handles", c_int), ("location", c_int), ("id", c_int),
                ("windows", c_void_p), ("compression", c_ubyte), ("rdma", c_ubyte),
                ("usage", c_ushort), ("reserved", c_ubyte * 4)]


class Access(ctypes.Structure):
    """CUmemAccessDesc."""

    _fields_ = [("location", c_int), ("id", c_int), ("flags", c_int)]


def pools(world):
    """Begins, where the device has memory pools (attribute 115)."""
    world.primary()
    if not world.attribute(115):
        raise Unfit("the device has no memory pools")
    return world.stream()


def virtual(world):
    """Begins, where the device has virtual memory management (attribute 102)."""
    world.primary()
    if not world.attribute(102):
        raise Unfit("the device has no virtual memory management")
    device = world.device()
    properties = Properties(type=1, location=1, id=device)
    granularity = c_size_t()
    answer = world.cu.cuMemGetAllocationGranularity(byref(granularity), byref(properties), 0)
    world.ok(answer)
    return properties, granularity.value, Access(location=1, id=device, flags=3)


@case
def memory_is_allocated_in_stream_order(world):
    """cuMemAllocAsync, cuMemFreeAsync."""
    stream, place = pools(world), c_uint64()
    world.ok(world.cu.cuMemAllocAsync(byref(place), 4096, stream))
    world.ok(world.cu.cuMemsetD8Async(place.value, 7, 4096, stream))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.equal(world.read(place.value, 4096), b"\7" * 4096)
    world.ok(world.cu.cuMemFreeAsync(place.value, stream))
    world.ok(world.cu.cuStreamSynchronize(stream))


@case
def no_bytes_are_not_allocated_in_stream_order(world):
    """cuMemAllocAsync: INVALID_VALUE (some drivers give NULL and SUCCESS)."""
    stream, place = pools(world), c_uint64()
    answer = world.cu.cuMemAllocAsync(byref(place), 0, stream)
    world.expect_any(["INVALID_VALUE", "SUCCESS"], answer)


@case
def stream_ordered_memory_may_be_freed_at_once(world):
    """cuMemFree: memory of cuMemAllocAsync is accepted."""
    stream, place = pools(world), c_uint64()
    world.ok(world.cu.cuMemAllocAsync(byref(place), 4096, stream))
    world.ok(world.cu.cuStreamSynchronize(stream))
    world.ok(world.cu.cuMemFree_v2(place.value))


@case
def a_made_up_address_is_not_freed_in_stream_order(world):
    """cuMemFreeAsync: INVALID_VALUE."""
    stream = pools(world)
    world.expect("INVALID_VALUE", world.cu.cuMemFreeAsync(0x1234_5600, stream))


@case
def a_device_has_a_default_pool(world):
    """cuDeviceGetDefaultMemPool, cuDeviceGetMemPool."""
    pools(world)
    default, current = c_void_p(), c_void_p()
    device = world.device()
    world.ok(world.cu.cuDeviceGetDefaultMemPool(byref(default), device))
    world.ok(world.cu.cuDeviceGetMemPool(byref(current), device))
    world.true(default.value, "no pool")
    world.equal(current.value, default.value)


@case
def the_default_pool_is_not_destroyed(world):
    """cuMemPoolDestroy: INVALID_VALUE for the default pool."""
    pools(world)
    default = c_void_p()
    world.ok(world.cu.cuDeviceGetDefaultMemPool(byref(default), world.device()))
    world.expect_any(["INVALID_VALUE", "NOT_PERMITTED"], world.cu.cuMemPoolDestroy(default))


@case
def a_pools_threshold_is_kept(world):
    """cuMemPoolSetAttribute: CU_MEMPOOL_ATTR_RELEASE_THRESHOLD (4)."""
    pools(world)
    pool, value, told = c_void_p(), c_uint64(1 << 30), c_uint64()
    world.ok(world.cu.cuDeviceGetDefaultMemPool(byref(pool), world.device()))
    world.ok(world.cu.cuMemPoolSetAttribute(pool, 4, byref(value)))
    world.ok(world.cu.cuMemPoolGetAttribute(pool, 4, byref(told)))
    world.equal(told.value, 1 << 30)
    world.ok(world.cu.cuMemPoolTrimTo(pool, 0))


@case
def the_granularity_is_a_power_of_two(world):
    """cuMemGetAllocationGranularity."""
    _, granularity, _ = virtual(world)
    world.equal(granularity & (granularity - 1), 0)


@case
def mapped_memory_is_memory(world):
    """cuMemAddressReserve, cuMemCreate, cuMemMap, cuMemSetAccess."""
    properties, size, access = virtual(world)
    place, handle = c_uint64(), c_uint64()
    world.ok(world.cu.cuMemAddressReserve(byref(place), 4 * size, 0, 0, 0))
    world.ok(world.cu.cuMemCreate(byref(handle), size, byref(properties), 0))
    world.ok(world.cu.cuMemMap(place.value + size, size, 0, handle, 0))
    world.ok(world.cu.cuMemSetAccess(place.value + size, size, byref(access), 1))
    world.ok(world.cu.cuMemsetD8_v2(place.value + size, 9, size))
    world.equal(world.read(place.value + 2 * size - 1, 1), b"\x09")
    world.ok(world.cu.cuMemUnmap(place.value + size, size))
    world.ok(world.cu.cuMemRelease(handle))
    world.ok(world.cu.cuMemAddressFree(place.value, 4 * size))


@case
def the_pool_of_ggml_works(world):
    """cuMemMap, cuMemUnmap: ggml reserves 32 GiB, maps it piece by piece, and unmaps it at once."""
    properties, size, access = virtual(world)
    place, handle = c_uint64(), c_uint64()
    world.ok(world.cu.cuMemAddressReserve(byref(place), 32 << 30, 0, 0, 0))
    for piece in range(4):
        world.ok(world.cu.cuMemCreate(byref(handle), size, byref(properties), 0))
        world.ok(world.cu.cuMemMap(place.value + piece * size, size, 0, handle, 0))
        world.ok(world.cu.cuMemRelease(handle))
        world.ok(world.cu.cuMemSetAccess(place.value + piece * size, size, byref(access), 1))
    world.ok(world.cu.cuMemsetD8_v2(place.value, 5, 4 * size))
    world.equal(world.read(place.value + size - 2, 4), b"\5" * 4)
    world.ok(world.cu.cuMemUnmap(place.value, 4 * size))
    world.ok(world.cu.cuMemAddressFree(place.value, 32 << 30))


@case
def a_size_off_the_granularity_is_not_created(world):
    """cuMemCreate: INVALID_VALUE."""
    properties, size, _ = virtual(world)
    handle = c_uint64()
    answer = world.cu.cuMemCreate(byref(handle), size + 1, byref(properties), 0)
    world.expect("INVALID_VALUE", answer)


@case
def a_range_off_the_granularity_is_not_reserved(world):
    """cuMemAddressReserve: INVALID_VALUE."""
    virtual(world)
    place = c_uint64()
    world.expect("INVALID_VALUE", world.cu.cuMemAddressReserve(byref(place), 12345, 0, 0, 0))


@case
def no_range_is_reserved_for_nothing(world):
    """cuMemAddressReserve: INVALID_VALUE."""
    virtual(world)
    place = c_uint64()
    world.expect("INVALID_VALUE", world.cu.cuMemAddressReserve(byref(place), 0, 0, 0, 0))


@case
def a_range_is_not_mapped_twice(world):
    """cuMemMap: INVALID_VALUE where something is mapped."""
    properties, size, _ = virtual(world)
    place, handle = c_uint64(), c_uint64()
    world.ok(world.cu.cuMemAddressReserve(byref(place), size, 0, 0, 0))
    world.ok(world.cu.cuMemCreate(byref(handle), size, byref(properties), 0))
    world.ok(world.cu.cuMemMap(place.value, size, 0, handle, 0))
    world.expect("INVALID_VALUE", world.cu.cuMemMap(place.value, size, 0, handle, 0))


@case
def memory_is_mapped_into_reserved_ranges_only(world):
    """cuMemMap: INVALID_VALUE."""
    properties, size, _ = virtual(world)
    handle = c_uint64()
    world.ok(world.cu.cuMemCreate(byref(handle), size, byref(properties), 0))
    world.expect("INVALID_VALUE", world.cu.cuMemMap(size * 8, size, 0, handle, 0))


@case
def a_range_that_is_mapped_is_not_given_back(world):
    """cuMemAddressFree: INVALID_VALUE."""
    properties, size, _ = virtual(world)
    place, handle = c_uint64(), c_uint64()
    world.ok(world.cu.cuMemAddressReserve(byref(place), size, 0, 0, 0))
    world.ok(world.cu.cuMemCreate(byref(handle), size, byref(properties), 0))
    world.ok(world.cu.cuMemMap(place.value, size, 0, handle, 0))
    world.true(world.cu.cuMemAddressFree(place.value, size) != 0, "a mapped range was freed")


@case
def what_is_not_mapped_is_not_unmapped(world):
    """cuMemUnmap: INVALID_VALUE."""
    _, size, _ = virtual(world)
    place = c_uint64()
    world.ok(world.cu.cuMemAddressReserve(byref(place), size, 0, 0, 0))
    world.expect("INVALID_VALUE", world.cu.cuMemUnmap(place.value, size))
