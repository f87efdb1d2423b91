#!/usr/bin/env bash
# Python 3.11 to 3.13, pyarrow 26.0.1: who hands out Arrow's C interface with callbacks of ctypes loses exceptions.
#
# Consumers call what lets go of an array when their own object goes, and that may be while an
# exception is on its way: here, the array is a temporary of a call whose next argument fails. A
# callback of ctypes runs Python code then, with the exception set. The first call in it takes that
# for its own failure, so the exception is lost, the array is not let go of, and pyarrow ends the
# process. Compiled code that only drops a reference, as nanoarrow has it, is not concerned. Output:
#
#   SystemError: <class '__main__.LP_Array'> returned a result with an exception set
#   ArrowArrayRelease did not cleanup release callback
#   ended with 134
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet pyarrow==26.0.1
cat >program.py <<'PYTHON'
import ctypes
from ctypes import POINTER, c_char_p, c_int64, c_void_p

import pyarrow as pa


class Array(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("length", "null_count", "offset", "n_buffers", "n_children")),
        *((name, c_void_p) for name in ("buffers", "children", "dictionary", "release", "private")),
    ]


class Schema(ctypes.Structure):
    _fields_ = [
        *((name, c_char_p) for name in ("format", "name", "metadata")),
        *((name, c_int64) for name in ("flags", "n_children")),
        *((name, c_void_p) for name in ("children", "dictionary", "release", "private")),
    ]


@ctypes.CFUNCTYPE(None, POINTER(Array))
def let_go(array):
    array.contents.release = None


@ctypes.CFUNCTYPE(None, POINTER(Schema))
def let_go_of_schema(schema):
    schema.contents.release = None


def address(function):
    return c_void_p.from_buffer(function).value


values = (c_int64 * 3)(1, 2, 3)
buffers = (c_void_p * 2)(None, ctypes.addressof(values))
schema = Schema(b"l", b"", None, 2, 0, None, None, address(let_go_of_schema), None)
array = Array(3, 0, 0, 2, 0, ctypes.addressof(buffers), None, None, address(let_go), None)
try:
    print(pa.Array._import_from_c(ctypes.addressof(array), ctypes.addressof(schema)), 1 / 0)
except ZeroDivisionError:
    print("ZeroDivisionError, as it should be")
PYTHON
status=0
venv/bin/python program.py >output 2>&1 || status=$?
grep -o "SystemError: .*\|ArrowArrayRelease did not cleanup release callback\|Zero.* be" output || true
echo "ended with $status"
grep -q "returned a result with an exception set" output && test "$status" -ne 0
