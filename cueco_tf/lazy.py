"""Public names of a package that import their module when they are first used.

So `import cueco_tf` costs nothing, and what needs no TensorFlow never loads it.
"""

import importlib
import sys


def names_of(package, places):
    """What a package's `__init__` assigns to `__getattr__, __dir__, __all__` (PEP 562).

    Args:
        package: the package's `__name__`.
        places: a dict from a public name to the module that holds it, from the package on; a
            module that is public itself has None.

    Returns:
        The three.
    """

    def get(name):
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if places[name] is None:
            return importlib.import_module(f"{package}.{name}")
        return getattr(importlib.import_module(f"{package}.{places[name]}"), name)

    def names():
        return sorted({*vars(sys.modules[package]), *places})

    return get, names, list(places)
