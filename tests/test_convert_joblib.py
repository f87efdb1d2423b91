"""Importing what joblib wrote: of every protocol, object arrays, and versions of long ago."""

from __future__ import annotations

import base64
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptrarray import convert
from ptrarray.convert import Report
from tests.support.convert_workers import dump
from tests.support.imports import check_content, import_pickles

pytestmark = pytest.mark.usefixtures("limits")

joblib = pytest.importorskip("joblib")

# {"a": np.arange(3.0), "b": [1, 2]}, as joblib 0.9.4 wrote it: plain, its array in a file of its
# own, and compressed.
PLAIN = (
    "gASVkAAAAAAAAAB9lCiMAWGUjBNqb2JsaWIubnVtcHlfcGlja2xllIwOTkRBcnJheVdyYXBwZXKUk5QpgZR9lCiMCGZp"
    "bGVuYW1llIwPb2xkMC5wa2xfMDEubnB5lIwIc3ViY2xhc3OUjAVudW1weZSMB25kYXJyYXmUk5SMCmFsbG93X21tYXCU"
    "iHVijAFilF2UKEsBSwJldS4="
)
SQUEEZED = (
    "WkYweGJmICAgICAgICAgICAgICAgeF5rYJm6hQECaqdo9DAmTukRzSvNLajUS84vStXLLc0pyUwsKkqsnNLDE1+UmpyfV1xS"
    "VJpcMmXylB5WsMIpPex5KRAlk6d4M7ROcWZMmtI+JWiKhjejN3PrlAzWHtaUksqCVJAWpjSLKZ0dEFnmHkabKX5+fl7/gQBM"
    "eDOUTEnqdJaAOghKfbCHMhymAKV7gKbHgs1mSi3VAwCeGkQI"
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def import_joblib(paths: Any, store: Path, **options: Any) -> Report:
    return convert.from_joblib(paths, store, progress=False, **options)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("compress", [0, 3])
def test_every_protocol(folder: Path, store: Path, protocol: int, compress: int) -> None:
    expected = {
        "plain": np.arange(3.0),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "axes": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        "empty": np.zeros((0, 3), "f4"),
        "number": np.array(3),
        "dates": np.array(["2020", "NaT"], "M8[s]"),
        "records": np.zeros(2, [("a", "i4"), ("b", "f8")]),
        "text": np.array(["a", "bb"]),
        "large": np.arange(100_000),
    }
    value = {**expected, "list": [np.arange(2)] * 2, "n": 7}
    joblib.dump(value, folder / "x.joblib", compress=compress, protocol=protocol)
    assert import_joblib(folder, store).failures == []
    more = {"list/0": np.arange(2), "list/1": np.arange(2), "n": np.array(7)}
    check_content(store, {f"x/{name}": array for name, array in (expected | more).items()})


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_object_arrays(folder: Path, store: Path, trust: bool, protocol: int) -> None:
    ragged = np.empty(2, object)
    ragged[:] = [np.arange(2), np.arange(3)]
    joblib.dump({"r": ragged, "d": np.array({"a": 1.5}, object), "after": np.arange(4)},
                folder / "x.joblib", protocol=protocol)  # fmt: skip
    assert import_joblib(folder, store, trust=trust).failures == []
    check_content(
        store,
        {
            "x/r/0": np.arange(2),
            "x/r/1": np.arange(3),
            "x/d/a": np.array(1.5),
            "x/after": np.arange(4),
        },
    )


def test_records_with_objects_leave_the_rest(folder: Path, store: Path) -> None:
    joblib.dump({"r": np.array([(1, "a")], "i4,O"), "after": np.arange(4)}, folder / "x.joblib")
    (failure,) = import_joblib(folder, store).failures
    assert "returns the fields of numbers" in failure.problem
    check_content(store, {"x/after": np.arange(4)})


@pytest.mark.parametrize("raw", [PLAIN, SQUEEZED], ids=["plain", "squeezed"])
def test_files_of_joblib_of_long_ago(folder: Path, store: Path, raw: str) -> None:
    (folder / "x.joblib").write_bytes(base64.b64decode(raw))
    np.save(folder / "old0.pkl_01.npy", np.arange(3.0))
    (failure,) = import_joblib(folder, store).failures
    assert "joblib before 0.10: if you trust whoever wrote it, pass trust=True" in failure.problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is old
        assert import_joblib(folder, store, trust=True).failures == []
    check_content(store, {"x/a": np.arange(3.0), "x/b": np.array([1, 2])})


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_file_of_joblib_is_no_pickle(folder: Path, store: Path, protocol: int) -> None:
    joblib.dump({"a": np.arange(3)}, folder / "x.pkl", protocol=protocol)
    (failure,) = import_pickles(folder, store).failures
    assert failure.problem.startswith("it is a file of joblib: import it as such")


class Model:
    """A class of the user's."""


def test_a_class_of_the_users_leads_to_a_function_that_takes_its_arrays(
    folder: Path, store: Path
) -> None:
    dump(folder / "x.pkl", Model())
    joblib.dump(Model(), folder / "y.joblib")
    for importing, path in ((import_pickles, "x.pkl"), (import_joblib, "y.joblib")):
        (failure,) = importing(folder / path, store).failures
        assert (
            "trust=True (--trust-pickle), and from Python convert=vars or a function that"
            in str(failure)
        )
        (failure,) = importing(folder / path, store, trust=True).failures
        assert failure.problem == (
            "a Model is no array: from Python, pass convert=vars or a function that returns its arrays"
        )


def test_a_class_of_a_program_itself(folder: Path, store: Path) -> None:
    code = (
        "import pickle, sys, joblib\n"
        "class Model: pass\n"
        "pickle.dump(Model(), open(sys.argv[1], 'wb'))\n"
        "joblib.dump(Model(), sys.argv[2])"
    )
    paths = [str(folder / "x.pkl"), str(folder / "y.joblib")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True)
    for importing, path in zip((import_pickles, import_joblib), paths, strict=True):
        (failure,) = importing(path, store, trust=True).failures
        assert failure.problem.startswith("AttributeError: Can't get attribute 'Model'")
        assert "not in the program itself (__main__)" in failure.problem
    with pytest.raises(AttributeError):
        pickle.loads(Path(paths[0]).read_bytes())


def test_a_length_that_is_a_lie(folder: Path, store: Path) -> None:
    lie = (1 << 34).to_bytes(8, "little")
    (folder / "x.joblib").write_bytes(b"\x80\x05" + pickle.BYTEARRAY8 + lie + bytes(80) + b".")
    (failure,) = import_joblib(folder, store).failures
    assert "81 bytes of an array, expected 17179869184" in failure.problem


def test_arrays_that_are_pickled_as_bytes_that_can_be_changed(folder: Path, store: Path) -> None:
    arrays = np.array([np.arange(3), np.arange(9000)], object)
    joblib.dump(arrays, folder / "x.joblib", protocol=5)
    assert pickle.BYTEARRAY8 in (folder / "x.joblib").read_bytes()
    assert import_joblib(folder, store).failures == []
    check_content(store, {"x/0": np.arange(3), "x/1": np.arange(9000)})


def test_what_is_no_file_of_joblib(folder: Path, store: Path) -> None:
    (folder / "a.joblib").write_bytes(b"x = 1\n")
    (failure,) = convert.from_joblib(folder, store, progress=False).failures
    assert failure.problem == (
        "it is no file of joblib, or a damaged one: 120 is no instruction of a pickle"
    )
