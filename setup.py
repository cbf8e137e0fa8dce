"""The compiled modules; all else is in setup.cfg.

They are ordinary Python files with C types in a .pxd beside them. Where they cannot be compiled,
for want of a compiler or of Cython, the same files run as they are, only slower.
"""

import os

from setuptools import Extension, setup

# Together or not at all: they use each other's C types.
MODULES = [
    "gserver.clock",
    "gserver.stream",
    "gserver.transport",
    "gserver.http1.parser",
    "gserver.http1.stream",
    "gserver.http1.protocol",
]


def extensions() -> list[Extension]:
    """Return what is to be compiled, if it can be."""
    return [Extension(name, [name.replace(".", "/") + ".py"], optional=True) for name in MODULES]


try:
    # Not cythonize(): that forgets which extensions are optional.
    from Cython.Distutils import build_ext
except ImportError:
    setup()
else:
    if os.environ.get("GSERVER_PURE"):
        setup()
    else:
        setup(ext_modules=extensions(), cmdclass={"build_ext": build_ext})
