"""NVML's rules, by its C interface: `nvml_behaviour.py PID` (of vgpud) prints what calls answered."""

import ctypes
import json
import os
import signal
import sys
import time

import pynvml

LIBRARY = ctypes.CDLL("libnvidia-ml.so.1")
NAMES = {
    value: name.removeprefix("NVML_").removeprefix("ERROR_")
    for name, value in vars(pynvml).items()
    if name.startswith("NVML_ERROR_") or name == "NVML_SUCCESS"
}


def call(function, *arguments):
    """Names what a call answered."""
    return NAMES[getattr(LIBRARY, "nvml" + function)(*arguments)]


def structure(function, device, size):
    """Says whether a call left alone what lies behind the first bytes of a structure."""
    place = ctypes.create_string_buffer(b"\x55" * 100, 100)
    result = call(function, device, place)
    written = place.raw[:size]
    return result == "SUCCESS" and place.raw[size:] == b"\x55" * (100 - size) and written[0] != 0x55


def main():
    number, device = ctypes.c_uint(), ctypes.c_void_p()
    small, room = ctypes.create_string_buffer(4), ctypes.create_string_buffer(96)
    seen = {"before_init": call("DeviceGetCount_v2", ctypes.byref(number))}
    call("Init_v2")
    call("DeviceGetHandleByIndex_v2", 0, ctypes.byref(device))
    other = ctypes.c_void_p()
    memory = ctypes.create_string_buffer(40)
    seen |= {
        "wrong_index": call("DeviceGetHandleByIndex_v2", 9, ctypes.byref(other)),
        "wrong_handle": call("DeviceGetIndex", ctypes.c_void_p(77), ctypes.byref(number)),
        "unknown_uuid": call("DeviceGetHandleByUUID", b"GPU-0", ctypes.byref(other)),
        "unknown_place": call("DeviceGetHandleByPciBusId_v2", b"99:00.0", ctypes.byref(other)),
        "no_place": call("DeviceGetHandleByPciBusId_v2", b"here", ctypes.byref(other)),
        "name_too_small": call("DeviceGetName", device, small, 4),
        "name_nowhere": call("DeviceGetName", device, None, 96),
        "name_fits": call("DeviceGetName", device, room, 96),
        "wrong_structure": call("DeviceGetMemoryInfo_v2", device, memory),
        # The first two forms of nvmlPciInfo_t end after 32 and after 36 bytes.
        "old_pci_untouched": structure("DeviceGetPciInfo", device, 32),
        "old_pci_v2_untouched": structure("DeviceGetPciInfo_v2", device, 36),
        "not_told": call("DeviceGetFanSpeed", device, ctypes.byref(number)),
        "second_user": call("Init_v2"),
    }
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = [call("DeviceGetMemoryInfo", device, memory), call("Init_v2")]
        said.append(call("DeviceGetMemoryInfo", device, memory))
        os.write(write, json.dumps(said).encode())
        os._exit(0)
    os.waitpid(child, 0)
    seen["child"] = json.loads(os.read(read, 4096))
    seen["parent"] = call("DeviceGetMemoryInfo", device, memory)
    call("Shutdown")
    seen["still_open"] = call("DeviceGetCount_v2", ctypes.byref(number))
    os.kill(int(sys.argv[1]), signal.SIGTERM)
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        seen["lost"] = call("DeviceGetMemoryInfo", device, memory)
        if seen["lost"] != "SUCCESS":
            break
    seen["known_after_loss"] = call("DeviceGetName", device, room, 96)
    call("Shutdown")
    seen["closed"] = call("DeviceGetName", device, room, 96)
    seen["again_without_host"] = call("Init_v2")
    seen["one_too_many"] = call("Shutdown")
    print(json.dumps(seen))


main()
