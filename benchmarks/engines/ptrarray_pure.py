"""The store of this repository without its core in C, whether or not that is built."""

from __future__ import annotations

import os
from typing import ClassVar
from unittest.mock import patch

from benchmarks.engines.beside import imported_anew
from benchmarks.engines.ptrarray import PtrArray


class Pure(PtrArray):
    """The `ptrarray` of this checkout as it is where no compiler is."""

    name = "ptrarray_pure"
    environment: ClassVar = {"PTRARRAY_PURE": "1", "PTRARRAY_REQUIRE_NATIVE": ""}

    def __init__(self) -> None:
        if (
            self.environment.items() <= os.environ.items()
        ):  # a process of its own, with workers of its own
            super().__init__()
            return
        with patch.dict("os.environ", self.environment), imported_anew():
            super().__init__()
