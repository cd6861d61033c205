"""What a case is, and what it may say.

A case is a function that takes a `World` and calls `world.expect(...)`. Its docstring names the
page of NVIDIA's public documentation that the rule is from. Cases are run one per process, so each
begins with a driver that was never initialised, and may leave it broken.
"""

import ctypes
from ctypes import byref, c_float, c_int, c_size_t, c_uint64, c_void_p

from subject import CODES, DRIVER, NAMES, RUNTIME, Library

CASES = {}


class Broken(Exception):
    """The subject did not do what the rule says."""


class Unfit(Exception):
    """This machine or subject cannot show the rule; says why."""


def case(function):
    """Adds a case under its function's name."""
    if function.__name__ in CASES:
        raise ValueError(f"two cases are called {function.__name__}")
    if not function.__doc__:
        raise ValueError(f"{function.__name__} does not say whose rule it is")
    CASES[function.__name__] = function
    return function


class World:
    """The libraries under test, and shorthands for what most cases begin with."""

    def __init__(self, driver, runtime):
        self.cu = Library(driver, DRIVER)
        self.runtime_path = runtime

    @property
    def cudart(self):
        """The runtime; loaded by the first case that wants it."""
        if self.runtime_path is None:
            raise Unfit("no runtime library was named (--runtime)")
        self.__dict__["cudart"] = Library(self.runtime_path, RUNTIME)
        return self.__dict__["cudart"]

    def expect(self, name, code):
        """The call whose result is `code` must answer so."""
        if code != CODES[name]:
            raise Broken(f"expected {name}, got {NAMES.get(code, code)}")

    def expect_any(self, names, code):
        """The documentation allows several answers."""
        if code not in [CODES[name] for name in names]:
            raise Broken(f"expected one of {names}, got {NAMES.get(code, code)}")

    def equal(self, actual, expected):
        """A value must be this one."""
        if actual != expected:
            raise Broken(f"expected {expected!r}, got {actual!r}")

    def true(self, condition, what):
        """Something else must hold."""
        if not condition:
            raise Broken(what)

    def ok(self, code):
        """A call that only prepares must succeed."""
        self.expect("SUCCESS", code)

    def device(self):
        """Initialises, and finds the first device."""
        self.ok(self.cu.cuInit(0))
        device = c_int()
        self.ok(self.cu.cuDeviceGet(byref(device), 0))
        return device.value

    def primary(self):
        """Makes the first device's primary context current."""
        device = self.device()
        context = c_void_p()
        self.ok(self.cu.cuDevicePrimaryCtxRetain(byref(context), device))
        self.ok(self.cu.cuCtxSetCurrent(context))
        return context

    def context(self):
        """Creates a context of its own, which becomes current."""
        context = c_void_p()
        self.ok(self.cu.cuCtxCreate_v2(byref(context), 0, self.device()))
        return context

    def attribute(self, number):
        """Reads an attribute of the first device."""
        value = c_int()
        self.ok(self.cu.cuDeviceGetAttribute(byref(value), number, self.device()))
        return value.value

    def memory(self, size=4096):
        """Allocates device memory."""
        address = c_uint64()
        self.ok(self.cu.cuMemAlloc_v2(byref(address), size))
        return address.value

    def stream(self, flags=1):
        """Creates a stream, non-blocking unless said otherwise."""
        stream = c_void_p()
        self.ok(self.cu.cuStreamCreate(byref(stream), flags))
        return stream

    def event(self, flags=0):
        """Creates an event."""
        event = c_void_p()
        self.ok(self.cu.cuEventCreate(byref(event), flags))
        return event

    def module(self, image):
        """Loads an image."""
        module = c_void_p()
        self.ok(self.cu.cuModuleLoadData(byref(module), image))
        return module

    def function(self, module, name):
        """Finds a kernel."""
        function = c_void_p()
        self.ok(self.cu.cuModuleGetFunction(byref(function), module, name))
        return function

    def launch(self, function, arguments, grid=1, block=32, stream=None, shared=0):
        """Launches a kernel with ctypes values, and returns the code."""
        places = (c_void_p * max(len(arguments), 1))(
            *[ctypes.addressof(argument) for argument in arguments]
        )
        return self.cu.cuLaunchKernel(
            function, grid, 1, 1, block, 1, 1, shared, stream, places, None
        )

    def read(self, address, size):
        """Copies device memory to the program."""
        place = (ctypes.c_ubyte * size)()
        self.ok(self.cu.cuMemcpyDtoH_v2(place, address, size))
        return bytes(place)

    def free_memory(self):
        """Tells how much device memory is free."""
        free, total = c_size_t(), c_size_t()
        self.ok(self.cu.cuMemGetInfo_v2(byref(free), byref(total)))
        return free.value

    def elapsed(self, start, end):
        """Returns the code and the time between two events."""
        ms = c_float(-1)
        return self.cu.cuEventElapsedTime(byref(ms), start, end), ms.value
