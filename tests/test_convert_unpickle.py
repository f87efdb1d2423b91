"""Reading pickles that nobody vouches for: right values, or a refusal, and never a call."""

from __future__ import annotations

import array
import io
import pickle
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptrarray.convert.formats.pickles import read
from ptrarray.convert.unpickle.inert import ALLOWED, InertUnpickler, Record, stand_in
from ptrarray.convert.unpickle.rebuild import Unreadable, rebuild
from ptrarray.errors import BadInputError

pytestmark = pytest.mark.usefixtures("limits")


def loads(raw: bytes) -> Any:
    return rebuild(InertUnpickler(io.BytesIO(raw)).load())


def same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if expected is np.ma.masked:
        assert found is expected
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
    else:
        assert found == expected


# Right values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.asfortranarray(np.array([[1, "a", None], [2.5, b"b", True]], object)),
        np.arange(3, dtype=">i2"),
        np.array([], "f4"),
        np.zeros((2, 0, 3), "u1"),
        np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
        np.arange(24, dtype=">i2").reshape(2, 3, 4).transpose(2, 0, 1),
        np.zeros((2, 0, 3), "m8[s]").transpose(1, 2, 0),
        np.arange(6).reshape(2, 3)[:, ::-2],
        np.array(3.5),
        np.array(["ab", ""]),
        np.array([b"ab", b""]),
        np.array([b"", b""], "S0"),
        np.array([True, False]),
        np.array([1 + 2j], "c8"),
        np.array(["2020-01-01", "NaT"], "M8[D]"),
        np.array([1, 2], "m8[25us]"),
        np.array([(1, 2.5), (3, 4.5)], [("x", "i4"), ("y", ">f8")]),
        np.array([(1, [[2, 3]])], [("x", "i4"), ("y", "u1", (1, 2))]),
        np.array([((1,),)], [("x", [("y", "i2")])]),
        np.array(
            [(1, 2)], np.dtype({"names": ["a", "b"], "formats": ["u1", "u4"], "offsets": [0, 8]})
        ),
        np.ma.MaskedArray([1, 2, 3], [False, True, False]),
        np.ma.MaskedArray([1.5, 2.5]),
        np.ma.masked,
        np.float32(1.5),
        np.datetime64("2020-01-01T00", "h"),
        np.str_("ab"),
        True,
        None,
        2**70,
        1.5,
        1 + 2j,
        b"ab\xff",
        b"",
        "zwölf",
        (1, (2,)),
        range(1, 9, 2),
        slice(1, None),
        timedelta(1, 2, 3),
        timezone(timedelta(hours=2)),
        {"a": [1, {"b": 2}]},
    ],
    ids=repr,
)
def test_values_as_pickle_gives_them(value: Any, protocol: int) -> None:
    same(loads(pickle.dumps(value, protocol)), value)


def test_fill_value_and_order_are_kept() -> None:
    masked = np.ma.MaskedArray(np.asfortranarray(np.eye(2)), np.eye(2) > 0, fill_value=-9)
    found = loads(pickle.dumps(masked))
    assert found.fill_value == -9
    assert found.data.flags.f_contiguous
    same(found, masked)


def test_shared_objects_stay_shared() -> None:
    array = np.arange(3)
    found = loads(pickle.dumps([array, {"again": array}]))
    assert found[0] is found[1]["again"]


@pytest.mark.parametrize(
    "value",
    [OrderedDict(a=1, b=2), defaultdict(int, {"a": 1, "b": 2})],
    ids=["ordered", "default"],
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_other_dicts_become_dicts(value: Any, protocol: int) -> None:
    same(loads(pickle.dumps(value, protocol)), {"a": 1, "b": 2})


@pytest.mark.parametrize("value", [{1, 2}, frozenset([1, 2])], ids=["set", "frozenset"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_sets_become_lists(value: Any, protocol: int) -> None:
    assert sorted(loads(pickle.dumps(value, protocol))) == [1, 2]


def test_arrays_are_writable_as_from_pickle() -> None:
    loads(pickle.dumps(np.arange(3), 4))[0] = 7


def test_a_pickle_of_python_2() -> None:
    # array([1, 2], int16), as Python 2.7 and numpy 1.16 wrote it
    raw = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02i2K\0K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\0tb\x89U\x04\x01\0\x02\0tb."
    )
    same(loads(raw), np.array([1, 2], "i2"))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("typecode", "bBhHiIlLqQfd")
def test_arrays_of_the_standard_library(typecode: str, protocol: int) -> None:
    for items in ([], [1, 2, 100]):
        value = array.array(typecode, items)
        same(loads(pickle.dumps(value, protocol)), np.asarray(value))


@pytest.mark.parametrize("protocol", range(6))
def test_other_containers_of_the_standard_library(protocol: int) -> None:
    assert loads(pickle.dumps(deque([1, 2], maxlen=5), protocol)) == [1, 2]
    assert loads(pickle.dumps(deque(), protocol)) == []
    assert loads(pickle.dumps(Counter("aab"), protocol)) == {"a": 2, "b": 1}


# Attacks ------------------------------------------------------------------------------------------


def call(module: str, name: str, *args: Any, protocol: int = 2) -> bytes:
    """Return a pickle that calls what it names."""
    packed = pickle.dumps(args, protocol)[2:-1]
    if protocol < 4:
        return b"\x80\x02c" + f"{module}\n{name}\n".encode() + packed + b"R."
    packed = pickle.dumps(args, protocol)
    packed = packed[11 if packed[2:3] == b"\x95" else 2 : -1]
    names = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    return b"\x80\x04" + names + b"\x93" + packed + b"R."


GADGETS: list[tuple[str, str]] = [
    *(("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen")),
    *(("builtins", "eval"), ("builtins", "exec"), ("__builtin__", "eval"), ("builtins", "open")),
    *(
        ("builtins", "__import__"),
        ("builtins", "compile"),
        ("builtins", "type"),
        ("builtins", "map"),
    ),
    *(("functools", "partial"), ("functools", "reduce"), ("operator", "attrgetter")),
    *(("operator", "methodcaller"), ("importlib", "import_module"), ("runpy", "run_path")),
    *(("copyreg", "add_extension"), ("copyreg", "__newobj__"), ("copyreg", "pickle")),
    *(("numpy.testing", "runstring"), ("numpy.testing._private.utils", "runstring")),
    *(("numpy", "load"), ("numpy", "fromfile"), ("numpy", "save"), ("numpy", "memmap.tofile")),
    *(("numpy.f2py.crackfortran", "myeval"), ("numpy.distutils.exec_command", "exec_command")),
    *(("numpy.lib.npyio", "load"), ("numpy.ctypeslib", "load_library"), ("numpy", "frompyfunc")),
    *(("pandas", "eval"), ("pandas", "read_pickle"), ("pandas.io.pickle", "read_pickle")),
    *(("pandas.core.computation.eval", "eval"), ("pandas", "Series.to_pickle")),
    *(
        ("pandas.compat.pickle_compat", "loads"),
        ("pandas", "DataFrame.eval"),
        ("pandas", "HDFStore"),
    ),
    *(
        ("joblib", "load"),
        ("joblib.numpy_pickle", "load"),
        ("pickle", "loads"),
        ("_pickle", "loads"),
    ),
    *(("sys", "modules"), ("sys", "setprofile"), ("types", "FunctionType"), ("types", "CodeType")),
    *(("ptrarray.convert.unpickle.inert", "stand_in"), ("ptrarray.storage.system.files", "remove")),
    *(("collections", "namedtuple"), ("zoneinfo", "ZoneInfo.from_file"), ("pytz", "open_resource")),
    *(("pyarrow.lib", "memory_map"), ("ctypes", "CDLL"), ("code", "InteractiveInterpreter")),
]


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("gadget", GADGETS, ids=".".join)
def test_gadgets_are_refused_by_name(gadget: tuple[str, str], protocol: int) -> None:
    with pytest.raises(BadInputError, match="without trust") as caught:
        loads(call(*gadget, "touch canary", protocol=protocol))
    assert caught.value.found == ".".join(gadget)


class Model:
    """A class of the user's."""

    def __init__(self) -> None:
        self.weights = [1.0]


class Table(dict[str, int]):
    """A dict of the user's."""


class Rows(list[int]):
    """A list of the user's."""


@pytest.mark.parametrize("protocol", range(6))
def test_what_is_refused_of_a_container_leaves_the_rest(protocol: int) -> None:
    strangers = [Model(), Table(a=1), Rows([1]), timedelta, partial(max, 1), Path("x")]
    array = np.arange(3)
    found = loads(pickle.dumps({"a": array, "deep": [(array, *strangers)]}, protocol))
    assert found["a"].tolist() == [0, 1, 2]
    first, *rest = found["deep"][0]
    assert first.tolist() == [0, 1, 2]
    problems = [item.problem.split(",")[0] for item in rest if isinstance(item, Unreadable)]
    here = __name__
    assert problems[:3] == [f"it uses {here}.{kind}" for kind in ("Model", "Table", "Rows")]
    assert len(problems) == len(strangers)


def test_a_value_that_is_shared_a_billion_times() -> None:
    """What goes through all of it would not end; of a few thousand, each is the same object."""
    values: list[Any] = [[np.arange(3)]]
    for _ in range(40):
        values.append([values[-1], values[-1]])
    found = loads(pickle.dumps(values[12]))
    assert found[0] is found[1]
    with pytest.raises(BadInputError, match="again and again"):
        loads(pickle.dumps(values[40]))


def test_what_a_gadget_would_do_is_not_done(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    raw = call("posix", "system", f"touch {canary}")
    with pytest.raises(BadInputError, match=r"posix\.system"):
        loads(raw)
    assert not canary.exists()
    pickle.loads(raw)  # so it would be
    assert canary.exists()


def test_nothing_on_the_list_is_a_function_or_a_class_of_others() -> None:
    for module, name in ALLOWED:
        kind = stand_in(module, name)
        assert kind.__module__ == "ptrarray.convert.unpickle.inert"
        instance = kind()
        assert isinstance(instance, Record | dict | list)
        # All that a pickle can call are those, and what stands for getattr.
        assert callable(instance) == (name == "getattr")


@pytest.mark.parametrize(
    "raw",
    [
        call("builtins", "getattr", "x", "__class__"),
        b"\x80\x02cbuiltins\ngetattr\ncnumpy\ndtype\nX\x03\0\0\0mro\x86R)R.",
        b"\x80\x02cbuiltins\ngetattr\nczoneinfo\nZoneInfo\nX\x09\0\0\0from_file\x86R(X\x01\0\0\0xtR.",
    ],
    ids=["alone", "of numpy", "of a zone"],
)
def test_getattr_gets_nothing(raw: bytes) -> None:
    with pytest.raises(BadInputError, match=r"attribute|where none can be|call is malformed"):
        loads(raw)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "", "a\0b", "..", "a/../b"])
def test_time_zones_are_no_paths(name: str) -> None:
    with pytest.raises(BadInputError, match="time zone"):
        loads(call("pytz", "_p", name))


def test_an_attribute_set_on_a_stand_in_changes_nothing() -> None:
    before = {place: dict(vars(stand_in(*place))) for place in ALLOWED}
    for target in ("cnumpy\ndtype\n", "ccollections\nOrderedDict\n", "cbuiltins\ngetattr\n"):
        for state in ("}X\x08\0\0\0__call__K\x01s", "N}X\x07\0\0\0__new__K\x01s\x86"):
            with pytest.raises((TypeError, AttributeError, pickle.UnpicklingError, BadInputError)):
                loads(f"\x80\x02{target}{state}b.".encode("latin1"))
    assert {place: dict(vars(stand_in(*place))) for place in ALLOWED} == before


@pytest.mark.parametrize("raw", [b"\x80\x02\x82\x01.", b"\x80\x02K\x01Q.", b"P1\n."], ids=repr)
def test_extensions_and_persistent_ids(raw: bytes) -> None:
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        loads(raw)


# States that would make an array read memory that is not its own ------------------------------------


def dtype_record(spec: str, state: Any) -> Record:
    record: Record = stand_in("numpy", "dtype")(spec, False, True)
    record.state = state
    return record


def array_of(dtype: Any, shape: Any, raw: Any) -> Record:
    make_array = stand_in("numpy._core.numeric", "_frombuffer")
    record: Record = make_array(raw, dtype, shape, "C")
    return record


F8 = (3, "<", None, None, None, -1, -1, 0)


def test_forged_flags_do_not_make_pointers_of_bytes() -> None:
    """A field of Python objects, and flags that deny it: numpy's own pickling believes them."""
    objects = dtype_record("O8", (3, "|", None, None, None, -1, -1, 63))
    forged = dtype_record("V8", (3, "|", None, ("a",), {"a": (objects, 0)}, 8, 1, 0))
    with pytest.raises(BadInputError, match="with Python objects in them"):
        rebuild(array_of(forged, (1,), struct.pack("<q", 0xDEADBEEF)))


@pytest.mark.parametrize(
    ("names", "fields", "width"),
    [
        (("a",), {"a": ("f8", 4)}, 8),
        (("a",), {"a": ("f8", -4)}, 8),
        (("a", "b"), {"a": ("f8", 0)}, 8),
        (("a", "a"), {"a": ("i4", 0)}, 8),
        (("a",), {"a": ("f8", 0)}, 4),
        (("a",), {"a": ("f8", 0)}, 2**40),
    ],
    ids=["past the end", "before it", "missing", "twice", "too narrow", "too wide"],
)
def test_fields_must_lie_inside(names: Any, fields: Any, width: int) -> None:
    inner = {key: (dtype_record(spec, F8), at) for key, (spec, at) in fields.items()}
    dtype = dtype_record("V8", (3, "|", None, names, inner, width, 1, 0))
    with pytest.raises(BadInputError, match="malformed"):
        rebuild(array_of(dtype, (1,), bytes(8)))


@pytest.mark.parametrize(
    ("shape", "raw"),
    [
        ((2,), bytes(8)),
        ((1,), bytes(16)),
        ((-1,), bytes(8)),
        ((-1, -1), bytes(8)),
        ((2**62, 4), b""),
        ((2**70,), bytes(8)),
        (("1",), 8),
        (None, bytes(8)),
        ((1,), [1.0]),
        ((1,), None),
    ],
    ids=repr,
)
def test_bytes_must_be_as_many_as_the_shape_says(shape: Any, raw: Any) -> None:
    with pytest.raises(BadInputError, match="malformed"):
        rebuild(array_of(dtype_record("f8", F8), shape, raw))


@pytest.mark.parametrize(
    "axes", [None, (0,), (0, 0), (0, 2), (1, 0, 2), ("a", "b"), 7, (2**70, 0)], ids=repr
)
def test_axes_must_be_an_order(axes: Any) -> None:
    make_array = stand_in("numpy._core.numeric", "_frombuffer")
    raw = bytes(48)
    good = make_array(raw, dtype_record("f8", F8), (2, 3), "K", (1, 0))
    assert rebuild(good).shape == (3, 2)
    bad = make_array(raw, dtype_record("f8", F8), (2, 3), "K", axes)
    if axes is None:  # what numpy makes of it
        assert rebuild(bad).shape == (3, 2)
        return
    with pytest.raises(BadInputError, match="malformed"):
        rebuild(bad)


@pytest.mark.parametrize(
    "spec", ["i4,O", "O", "(1000000,)f8", "numpy.object_", "f8\0", "V" + "9" * 20, 7, None, ["f8"]]
)
def test_dtypes_must_be_plain(spec: Any) -> None:
    with pytest.raises(BadInputError):
        rebuild(array_of(dtype_record(spec, None), (1,), bytes(8)))


def test_objects_in_an_array_must_be_as_many_as_it_has_places() -> None:
    objects = dtype_record("O8", (3, "|", None, None, None, -1, -1, 63))
    assert rebuild(array_of(objects, (2,), ["a", "b"])).tolist() == ["a", "b"]
    with pytest.raises(BadInputError, match="malformed"):
        rebuild(array_of(objects, (3,), ["a", "b"]))


def test_masks_must_be_as_long_as_the_data() -> None:
    record: Record = stand_in("numpy.ma.core", "_mareconstruct")(None, None, (0,), b"b")
    record.state = (1, (2,), dtype_record("f8", F8), False, bytes(16), bytes(1), None)
    with pytest.raises(BadInputError, match="malformed"):
        rebuild(record)


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ((None, "d", 14, bytes(7)), "malformed"),
        ((None, "d", -1, bytes(8)), "malformed"),
        ((None, "d", 99, bytes(8)), "malformed"),
        ((None, "d", "x", bytes(8)), "malformed"),
        ((None, "u", 20, bytes(8)), "no numbers"),
        ((None, "O", 14, bytes(8)), "no numbers"),
        ((None, "dd", 14, bytes(8)), "no numbers"),
        ((), "malformed"),
    ],
    ids=repr,
)
def test_arrays_of_the_standard_library_that_are_none(args: Any, problem: str) -> None:
    with pytest.raises(BadInputError, match=problem):
        rebuild(stand_in("array", "_array_reconstructor")(*args))


def in_itself() -> Any:
    value: list[Any] = []
    value.append(value)
    return stand_in("builtins", "frozenset")(value)


def deep() -> Any:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("value", [in_itself, deep], ids=["itself", "deep"])
def test_what_cannot_be_walked(value: Callable[[], Any]) -> None:
    with pytest.raises(BadInputError, match=r"contains itself|too deeply"):
        rebuild(value())


def test_a_list_in_itself_leaves_the_rest() -> None:
    value: list[Any] = [1]
    value.append(value)
    one, itself = loads(pickle.dumps(value))
    assert one == 1
    assert itself.problem == "it contains itself"


@pytest.mark.parametrize("stop", range(1, 300, 7))
def test_a_pickle_that_is_cut_off(stop: int, tmp_path: Path) -> None:
    raw = pickle.dumps({"a": np.arange(30.0), "b": [1, 2]}, 4)
    (tmp_path / "x.pkl").write_bytes(raw[:stop])
    with pytest.raises(BadInputError, match="damaged"):
        read(str(tmp_path / "x.pkl"), trust=False)


def test_a_name_is_known_in_any_module_of_its_package() -> None:
    """pandas and numpy moved them more than once."""
    series = stand_in("pandas.core.series", "Series")
    assert stand_in("pandas", "Series") is stand_in("pandas.api.yet.another", "Series") is series
    assert stand_in("numpy._core.multiarray", "scalar") is stand_in(
        "numpy.core.multiarray", "scalar"
    )
    for module in ("pandas_like", "series", "numpy", "pandaspandas.core", ""):
        with pytest.raises(BadInputError, match="without trust"):
            rebuild(stand_in(module, "Series")())
