"""All targets of fuzzing, by name."""

from __future__ import annotations

from tests.support.fuzz_formats import FORMATS
from tests.support.fuzz_importers import IMPORTERS
from tests.support.fuzz_native import NATIVE
from tests.support.fuzz_objects import OBJECTS
from tests.support.fuzz_stores import STORE_TARGETS
from tests.support.fuzzing import Target

TARGETS: dict[str, Target] = {**FORMATS, **STORE_TARGETS, **OBJECTS, **IMPORTERS, **NATIVE}
