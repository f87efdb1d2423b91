"""The kinds of files that ``import`` and ``export`` know, and what can be said of each."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Choice(NamedTuple):
    """Something that can be said of files of a kind.

    Attributes
    ----------
    flag : str
        Of the command.
    text : str
        Of its help.
    keyword : str
        Of the function that it is given to; the flag itself if empty.
    settings : dict
        More for `argparse`. Without any, it is there or not.
    opposite : bool
        Whether the flag stands for False.
    """

    flag: str
    text: str
    keyword: str = ""
    settings: Mapping[str, Any] = MappingProxyType({"action": "store_true", "default": None})
    opposite: bool = False

    @property
    def name(self) -> str:
        """The keyword of the function."""
        return self.keyword or self.flag.removeprefix("--").replace("-", "_")

    def given(self, options: Any) -> dict[str, Any]:
        """Return it as an argument of the function; none if nothing was said."""
        value = getattr(options, self.flag.removeprefix("--").replace("-", "_"))
        if value is None:
            return {}
        return {self.name: not value if self.opposite else value}


class KindOfFile(NamedTuple):
    """A kind of files: what the help says of it, and what can be said beside what all know.

    What goes out and `is_beside` the data file of a store needs no place.
    """

    about: str
    choices: tuple[Choice, ...] = ()
    is_beside: bool = False


def row_shape(text: str) -> tuple[int, ...] | None:
    """Return a row shape as it is said in arguments; None for any."""
    return None if text == "any" else _shape(text, ", or 'any'")


def _shape(text: str, more: str = "") -> tuple[int, ...]:
    try:
        return tuple(int(length) for length in text.strip("(),").split(",") if length)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no row shape: expected numbers as 80 or 4,4{more}"
        ) from None


def _with_value(flag: str, metavar: str, text: str, keyword: str = "", **settings: Any) -> Choice:
    return Choice(flag, text, keyword, {"metavar": metavar, **settings})


def _several(flag: str, metavar: str, text: str, keyword: str = "") -> Choice:
    """Return what is said once for each; NAME would be completed as the name of an array."""
    return _with_value(flag, metavar, text, keyword, action="append")


def _one_of(flag: str, text: str, *choices: str) -> Choice:
    return Choice(flag, text, settings={"choices": choices})


_INDEX = Choice(
    "--drop-index",
    "do not keep the index of Series and frames",
    keyword="keep_index",
    opposite=True,
)
_TRUST = Choice(
    "--trust-pickle",
    "let the files run any code: only if you trust whoever wrote them",
    keyword="trust",
)
_ATTRIBUTES = Choice(
    "--attributes", "read instances of any class by what they hold, as NAME/x, and run nothing"
)
_REMOVE = Choice("--remove-source", "verify, and remove each file that is in the store as it is")
_ROOT = _with_value(
    "--root", "DIR", "where relative paths in an .scp begin; by default where you are"
)
_TEXT_DTYPE = _one_of(
    "--text-dtype",
    "of numbers that are written as text: f4, as kaldi means them, or f8",
    *("f4", "f8"),
)
_HOW = _one_of(
    "--how",
    "copy the arrays, or make the .bin the data file: by one more name of it, or by a rename",
    *("copy", "link", "move"),
)
_BY = _one_of("--by", "what becomes an array", "sequence", "document")
_ORIGIN = _one_of(
    "--origin",
    "whose dtype codes the files have, where that cannot be seen",
    *("megatron", "fairseq"),
)
_COLUMNS = (
    _with_value(
        "--names", "COLUMN", "column of names, '' for numbers; by default name, if there is one"
    ),
    _several(
        "--values",
        "COLUMN",
        "column of arrays, once for each; by default values beside name, else all",
    ),
    _several("--meta", "COLUMN", "column of metadata, once for each; by default all others"),
)

IMPORTS = {
    "pickles": KindOfFile(
        "pickles of arrays, pandas Series, DataFrames, and dicts of those",
        (_INDEX, _TRUST, _ATTRIBUTES, _REMOVE),
    ),
    "npy": KindOfFile(".npy files, one array each"),
    "npz": KindOfFile("the arrays of .npz files"),
    "joblib": KindOfFile("files of joblib.dump", (_INDEX, _TRUST, _ATTRIBUTES)),
    "mmappickle": KindOfFile("the entries of mmappickle's dicts", (_INDEX, _TRUST)),
    "tar": KindOfFile(
        "pickles and .npy files in tar archives, compressed or not", (_INDEX, _TRUST, _ATTRIBUTES)
    ),
    "h5": KindOfFile("the data sets of HDF5 files"),
    "kaldi": KindOfFile(
        "the matrices and vectors of kaldi's archives, by .scp or .ark", (_ROOT, _TEXT_DTYPE)
    ),
    "megatron": KindOfFile(
        "token files of Megatron-LM and fairseq, by their .idx", (_HOW, _BY, _ORIGIN)
    ),
    "mmap_ninja": KindOfFile("folders of mmap_ninja's RaggedMmap"),
    "safetensors": KindOfFile("the tensors of safetensors files, and of checkpoints in several"),
    "lmdb": KindOfFile(
        "databases of LMDB whose values are the plain bytes of arrays",
        (
            _with_value("--values", "DTYPE", "dtype of the values, as '<f4'", required=True),
            _with_value("--values-shape", "N,N", "shape of one row of a value", type=_shape),
            _with_value("--database", "DATABASE", "a named database; by default the one without"),
            _several("--skip", "KEY", "key that is no array, once for each"),
        ),
    ),
    "webdataset": KindOfFile("the arrays of webdataset's tar archives, with metadata beside them"),
    "arrow": KindOfFile("lists in files of Arrow's IPC format and Feather", _COLUMNS),
    "parquet": KindOfFile("lists in Parquet files", _COLUMNS),
    "datasets": KindOfFile("folders of Hugging Face datasets, as saved to disk", _COLUMNS),
    "netcdf": KindOfFile(
        "the ragged arrays of netCDF files, as CF has them",
        (
            _several(
                "--variable",
                "VARIABLE",
                "variable to import, once for each; by default all",
                "variables",
            ),
            _with_value("--names", "VARIABLE", "the variable of the ids"),
            _with_value(
                "--counts",
                "VARIABLE",
                "the variable that counts, as rowsize, if it has no attribute sample_dimension",
            ),
            _with_value("--sample", "DIMENSION", "the dimension that it counts"),
        ),
    ),
    "nwb": KindOfFile(
        "the ragged columns of tables in NWB files",
        (
            _several(
                "--table",
                "TABLE",
                "table to import, as units, once for each; by default all",
                "tables",
            ),
            _several(
                "--column",
                "COLUMN",
                "column to import, as spike_times, once for each; by default all",
                "columns",
            ),
        ),
    ),
}

EXPORTS = {
    "npz": KindOfFile("one file of numpy.savez"),
    "npy": KindOfFile("a folder of .npy files"),
    "pickles": KindOfFile("a folder of pickles"),
    "h5": KindOfFile("a file of HDF5", (Choice("--flat", "all arrays in one data set"),)),
    "kaldi": KindOfFile("a folder with an .ark and an .scp of kaldi"),
    "megatron": KindOfFile(
        "an .idx for Megatron beside the data file, inside STORE", is_beside=True
    ),
    "safetensors": KindOfFile("a file of safetensors"),
    "webdataset": KindOfFile(
        "a tar archive of webdataset",
        (_with_value("--shard-size", "SIZE", "a folder of archives of about that, as 1GB"),),
    ),
    "parquet": KindOfFile("a file of Parquet"),
    "arrow": KindOfFile(
        "a file of Arrow's IPC format",
        (Choice("--stream", "one stream without a footer, as datasets reads it"),),
    ),
    "netcdf": KindOfFile(
        "a file of netCDF with CF's contiguous ragged arrays",
        (
            _several(
                "--variable",
                "VARIABLE",
                "variable, once for each: arrays are called NAME/VARIABLE",
                "variables",
            ),
        ),
    ),
}
