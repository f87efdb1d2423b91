"""How the native core is built; all else about the package is in pyproject.toml.

Without a C compiler the package is built without it, and works the same. In the environment,
PTRARRAY_REQUIRE_NATIVE=1 makes that an error, and PTRARRAY_PURE=1 leaves the core out.
"""

import os
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

REQUIRED, PURE = (
    os.environ.get(name, "") not in ("", "0")
    for name in ("PTRARRAY_REQUIRE_NATIVE", "PTRARRAY_PURE")
)
# As ptrarray/native.py says of the machine that runs it.
FITS = (
    sys.implementation.name == "cpython"
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
    and sys.byteorder == "little"
    and sys.maxsize > 2**32
)

HINT = (
    "PTRARRAY_REQUIRE_NATIVE is set, but the native core of ptrarray cannot be compiled, which "
    "takes a C compiler and Python's headers (Python.h); unset it to install pure Python"
)


class BuildCore(build_ext):
    """An extension that cannot be built is none, and nothing is left of one built before."""

    def build_extension(self, ext):
        """Build it, or take away what there is of it."""
        try:
            super().build_extension(ext)
        except Exception as error:
            name = self.get_ext_filename(ext.name)
            for file in (Path(name), Path(self.build_lib, name)):
                file.unlink(missing_ok=True)
            self.distribution.ext_modules = None
            if REQUIRED:
                sys.exit(f"{HINT}: {error}")
            raise


class Wheel(bdist_wheel):
    """A wheel without the core is one for all machines: what was built decides its name."""

    def run(self):
        """Build what goes into the wheel before the wheel has a name."""
        self.run_command("build")
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()


def core():
    """Describe the core: optional, of the stable ABI, so that one wheel is for every Python."""
    import numpy as np

    return Extension(
        "ptrarray._native",
        ["ptrarray/_native.c"],
        depends=["setup.py"],
        include_dirs=[np.get_include()],
        # What every function for Python has and does not use is no matter for a warning.
        extra_compile_args=[
            *("-O3", "-Wall", "-Wextra"),
            *("-Wno-unused-parameter", "-Wno-missing-field-initializers"),
        ],
        py_limited_api=True,
        optional=not REQUIRED,
    )


built = FITS and not PURE
if REQUIRED and not built:
    why = (
        "so is PTRARRAY_PURE: unset one of them"
        if PURE
        else "this Python or machine gets the pure package"
    )
    sys.exit(f"PTRARRAY_REQUIRE_NATIVE is set, but {why}")
for file in Path("ptrarray").glob("_native*.so") if PURE else ():
    file.unlink()  # an editable install would have it all the same
setup(
    ext_modules=[core()] if built else [],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": Wheel},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if built else {},
)
