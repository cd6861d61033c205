"""Devices and their attributes."""

import ctypes
from ctypes import byref, c_int, c_size_t, create_string_buffer

from rules import case


@case
def there_is_a_device(world):
    """cuDeviceGetCount."""
    world.device()
    count = c_int()
    world.ok(world.cu.cuDeviceGetCount(byref(count)))
    world.true(count.value >= 1, "no device")


@case
def the_count_needs_a_place(world):
    """cuDeviceGetCount: INVALID_VALUE for NULL."""
    world.device()
    world.expect("INVALID_VALUE", world.cu.cuDeviceGetCount(None))


@case
def an_ordinal_beyond_the_last_is_no_device(world):
    """cuDeviceGet: INVALID_DEVICE."""
    world.device()
    device, count = c_int(), c_int()
    world.ok(world.cu.cuDeviceGetCount(byref(count)))
    world.expect("INVALID_DEVICE", world.cu.cuDeviceGet(byref(device), count.value))


@case
def a_negative_ordinal_is_no_device(world):
    """cuDeviceGet: INVALID_DEVICE."""
    world.device()
    device = c_int()
    world.expect("INVALID_DEVICE", world.cu.cuDeviceGet(byref(device), -1))


@case
def a_device_needs_a_place(world):
    """cuDeviceGet: INVALID_VALUE for NULL."""
    world.device()
    world.expect("INVALID_VALUE", world.cu.cuDeviceGet(None, 0))


@case
def a_name_is_cut_to_its_buffer(world):
    """cuDeviceGetName: at most len bytes, NUL included."""
    device = world.device()
    whole, cut = create_string_buffer(256), create_string_buffer(b"#" * 8, 8)
    world.ok(world.cu.cuDeviceGetName(whole, 256, device))
    world.ok(world.cu.cuDeviceGetName(cut, 6, device))
    world.equal(cut.raw[:6], whole.value[:5] + b"\0")
    world.equal(cut.raw[6:], b"##")


@case
def a_name_of_no_device_is_refused(world):
    """cuDeviceGetName: INVALID_DEVICE."""
    world.device()
    world.expect("INVALID_DEVICE", world.cu.cuDeviceGetName(create_string_buffer(8), 8, 99))


@case
def total_memory_needs_a_device(world):
    """cuDeviceTotalMem: INVALID_DEVICE."""
    world.device()
    total = c_size_t()
    world.expect("INVALID_DEVICE", world.cu.cuDeviceTotalMem_v2(byref(total), 99))


@case
def total_memory_needs_a_place(world):
    """cuDeviceTotalMem: INVALID_VALUE."""
    device = world.device()
    world.expect("INVALID_VALUE", world.cu.cuDeviceTotalMem_v2(None, device))


@case
def a_warp_has_32_threads(world):
    """cuDeviceGetAttribute: CU_DEVICE_ATTRIBUTE_WARP_SIZE (10)."""
    world.equal(world.attribute(10), 32)


@case
def an_unknown_attribute_is_refused(world):
    """cuDeviceGetAttribute: INVALID_VALUE."""
    device = world.device()
    value = c_int()
    world.expect("INVALID_VALUE", world.cu.cuDeviceGetAttribute(byref(value), 100000, device))


@case
def attribute_zero_is_refused(world):
    """cuDeviceGetAttribute: INVALID_VALUE."""
    device = world.device()
    value = c_int()
    world.expect("INVALID_VALUE", world.cu.cuDeviceGetAttribute(byref(value), 0, device))


@case
def an_attribute_of_no_device_is_refused(world):
    """cuDeviceGetAttribute: INVALID_DEVICE."""
    world.device()
    value = c_int()
    world.expect("INVALID_DEVICE", world.cu.cuDeviceGetAttribute(byref(value), 10, 99))


@case
def a_pci_name_finds_its_device(world):
    """cuDeviceGetPCIBusId, cuDeviceGetByPCIBusId."""
    device = world.device()
    text, found = create_string_buffer(32), c_int(-1)
    world.ok(world.cu.cuDeviceGetPCIBusId(text, 32, device))
    world.ok(world.cu.cuDeviceGetByPCIBusId(byref(found), text))
    world.equal(found.value, device)


@case
def a_pci_name_of_nothing_finds_no_device(world):
    """cuDeviceGetByPCIBusId: INVALID_DEVICE or INVALID_VALUE."""
    world.device()
    found = c_int()
    answer = world.cu.cuDeviceGetByPCIBusId(byref(found), b"ffff:ff:1f.7")
    world.expect_any(["INVALID_DEVICE", "INVALID_VALUE"], answer)


@case
def two_identities_agree(world):
    """cuDeviceGetUuid, cuDeviceGetAttribute 33-34 and 50 (PCI bus, device, domain)."""
    device = world.device()
    text = create_string_buffer(32)
    world.ok(world.cu.cuDeviceGetPCIBusId(text, 32, device))
    spelled = f"{world.attribute(50):04x}:{world.attribute(33):02x}:{world.attribute(34):02x}.0"
    world.equal(text.value.decode().lower(), spelled)


@case
def a_device_is_no_peer_of_itself(world):
    """cuDeviceCanAccessPeer: 0 for the device itself."""
    device = world.device()
    can = c_int(-1)
    answer = world.cu.cuDeviceCanAccessPeer(byref(can), device, device)
    world.ok(answer)
    world.equal(can.value, 0)


@case
def a_peer_must_be_a_device(world):
    """cuDeviceCanAccessPeer: INVALID_DEVICE."""
    device = world.device()
    can = c_int(-1)
    world.expect("INVALID_DEVICE", world.cu.cuDeviceCanAccessPeer(byref(can), device, 99))
