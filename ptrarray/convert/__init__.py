"""Importing from the files of others, and exporting to them.

Each function reads or writes one kind of files and returns a `Report`. What cannot be converted is
reported there, file by file; all else is. An import can be run again, and does what is missing.

Memory: one file or array of a file at a time in each process, and 16 MB.
"""

from ptrarray.convert.bigarray import from_bigarray
from ptrarray.convert.formats.arrow import from_arrow, to_arrow
from ptrarray.convert.formats.datasets import from_datasets
from ptrarray.convert.formats.h5 import from_h5, to_h5
from ptrarray.convert.formats.joblib import from_joblib
from ptrarray.convert.formats.kaldi import from_kaldi, to_kaldi
from ptrarray.convert.formats.lmdb import from_lmdb
from ptrarray.convert.formats.megatron import from_megatron, to_megatron
from ptrarray.convert.formats.mmap_ninja import from_mmap_ninja
from ptrarray.convert.formats.mmappickle import from_mmappickle
from ptrarray.convert.formats.netcdf import from_netcdf, to_netcdf
from ptrarray.convert.formats.npy import from_npy, from_npz, to_npy, to_npz
from ptrarray.convert.formats.nwb import from_nwb
from ptrarray.convert.formats.parquet import from_parquet, to_parquet
from ptrarray.convert.formats.pickles import from_pickles, to_pickles
from ptrarray.convert.formats.safetensors import from_safetensors, to_safetensors
from ptrarray.convert.formats.tar import from_tar
from ptrarray.convert.formats.webdataset import from_webdataset, to_webdataset
from ptrarray.convert.instances import to_instance
from ptrarray.convert.report import Failure, Report
from ptrarray.frames.reading import to_frame, to_pandas, to_series

__all__ = [
    "Failure",
    "Report",
    "from_arrow",
    "from_bigarray",
    "from_datasets",
    "from_h5",
    "from_joblib",
    "from_kaldi",
    "from_lmdb",
    "from_megatron",
    "from_mmap_ninja",
    "from_mmappickle",
    "from_netcdf",
    "from_npy",
    "from_npz",
    "from_nwb",
    "from_parquet",
    "from_pickles",
    "from_safetensors",
    "from_tar",
    "from_webdataset",
    "to_arrow",
    "to_frame",
    "to_h5",
    "to_instance",
    "to_kaldi",
    "to_megatron",
    "to_netcdf",
    "to_npy",
    "to_npz",
    "to_pandas",
    "to_parquet",
    "to_pickles",
    "to_safetensors",
    "to_series",
    "to_webdataset",
]
