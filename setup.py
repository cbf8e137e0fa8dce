"""The compiled modules; all else is in setup.cfg.

All but one are ordinary Python files with C types in a .pxd beside them. Where they cannot be
compiled, for want of a compiler or of Cython, the same files run as they are, only slower. The one
is the binding to libnghttp2, without which the h2 library speaks HTTP/2.
"""

import os
import shlex
import subprocess
from glob import glob

from setuptools import Extension, setup
from setuptools.errors import CompileError

# Together or not at all: they use each other's C types.
MODULES = [
    "gserver.clock",
    "gserver.fields",
    "gserver.request",
    "gserver.exchange",
    "gserver.stream",
    "gserver.handler",
    "gserver.transport",
    "gserver.turn",
    "gserver.http1.parser",
    "gserver.http1.stream",
    "gserver.http1.protocol",
    "gserver.http1.tunnel",
    "gserver.http2.defence",
    "gserver.http2.request",
    "gserver.http2.stream",
    "gserver.http2.protocol",
    "gserver.http2.tunnel",
    "gserver.websocket.blocking",
    "gserver.websocket.frames",
    "gserver.websocket.offer",
    "gserver.websocket.session",
]


TYPES = sorted(glob("gserver/**/*.pxd", recursive=True))


def extensions() -> list[Extension]:
    """Return what is to be compiled, if it can be."""
    sources = [name.replace(".", "/") + ".py" for name in MODULES]
    sources += ["gserver/syscalls.pyx", "gserver/websocket/masking.pyx"]
    modules = [
        Extension(
            os.path.splitext(source)[0].replace("/", "."),
            [source],
            depends=TYPES,
            # Without the tables for a debugger: half the time and a fifth of the size.
            extra_compile_args=["-g0"],
            optional=True,
        )
        for source in sources
    ]
    return [*modules, nghttp2()]


def nghttp2() -> Extension:
    """Return the binding to libnghttp2, where pkg-config says that it is, or at the usual place."""
    try:
        found = subprocess.run(
            ["pkg-config", "--cflags", "--libs", "libnghttp2"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        found = "-lnghttp2"
    flags = shlex.split(found)
    link = [flag for flag in flags if flag.startswith(("-l", "-L", "-Wl"))]
    return Extension(
        "gserver.http2.nghttp2",
        ["gserver/http2/nghttp2.pyx"],
        depends=TYPES,
        extra_compile_args=["-g0", *(flag for flag in flags if flag not in link)],
        extra_link_args=link,
        optional=True,
    )


try:
    # Not cythonize(): that forgets which extensions are optional.
    from Cython.Compiler.Errors import CompileError as CythonError
    from Cython.Distutils import build_ext
except ImportError:
    setup()
else:

    class BuildOptional(build_ext):  # type: ignore[misc]
        """Takes what Cython cannot do for what the compiler cannot do: a reason to go without."""

        def build_extension(self, ext: Extension) -> None:
            """Compile one module."""
            try:
                super().build_extension(ext)
            except CythonError as exc:
                raise CompileError(str(exc)) from exc

    if os.environ.get("GSERVER_PURE"):
        setup()
    else:
        setup(ext_modules=extensions(), cmdclass={"build_ext": BuildOptional})
