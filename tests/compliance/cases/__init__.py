"""The cases, one module a noun."""

import importlib
import pkgutil


def load():
    """Imports every module of this package, in the order of their names."""
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        importlib.import_module(f"{__name__}.{module.name}")
