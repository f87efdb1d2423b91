"""An exception at the n-th step of Python code, as the handler of a signal may raise it.

Python runs handlers when a function begins or a generator goes on, after a call has returned, and
where it jumps back. An exception of a handler is raised there: nowhere in between, and never
before a call was made whose arguments are ready. These are the steps that are counted here, in
the code of the package and of what it calls that is written in Python.
"""

from __future__ import annotations

import dis
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import ptrarray

PACKAGE = str(Path(ptrarray.__file__).parent)
# Of Python itself, what stands between two functions of the package.
OTHERS = ("contextlib.py", "_weakrefset.py", "functools.py")
_IS_STEP = [name.startswith("CALL") or "JUMP_BACKWARD" in name for name in dis.opname]


class Interrupt(KeyboardInterrupt):
    """What the handler raises."""


class Interrupts:
    """Counts steps while a call is made, and raises at some of them."""

    def __init__(self, *at: int) -> None:
        self.at = set(at)
        self.n_steps = 0
        self.where: list[str] = []
        self._first: dict[tuple[CodeType, int], int] = {}
        self._last: dict[tuple[CodeType, int], int] = {}

    def places(self, modules: tuple[str, ...] = ("",)) -> set[int]:
        """Return of each place in the code, or in some modules, the first step and the last one."""
        steps = [*self._first.items(), *self._last.items()]
        return {step for (code, _), step in steps if code.co_filename.endswith(modules)}

    def run(self, call: Callable[[], object]) -> bool:
        """Make a call; return whether it was interrupted."""
        before = sys.gettrace()
        hook, sys.unraisablehook = sys.unraisablehook, self._ignore
        sys.settrace(self._enter)
        try:
            call()
        except Interrupt as error:
            error.__traceback__ = None
            return True
        finally:
            sys.settrace(before)
            sys.unraisablehook = hook
        return False

    @staticmethod
    def _ignore(unraisable: Any) -> None:
        """Take it that Python drops what is raised while an object goes."""
        assert isinstance(unraisable.exc_value, Interrupt)

    def _enter(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        path = frame.f_code.co_filename
        if not path.startswith(PACKAGE) and os.path.basename(path) not in OTHERS:  # noqa: PTH119
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        self._step(frame)
        code, is_next = frame.f_code.co_code, False

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal is_next
            if event == "opcode":
                if is_next:
                    self._step(frame)
                is_next = _IS_STEP[code[frame.f_lasti]]
            elif event == "exception":  # the call has raised: Python goes on at once
                is_next = False
            return trace

        return trace

    def _step(self, frame: FrameType) -> None:
        self.n_steps += 1
        place = frame.f_code, frame.f_lasti
        self._first.setdefault(place, self.n_steps)
        self._last[place] = self.n_steps
        if self.n_steps in self.at:
            code = frame.f_code
            self.where.append(f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}")
            raise Interrupt
