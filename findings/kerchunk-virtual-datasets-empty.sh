#!/usr/bin/env bash
# kerchunk 0.2.10 and virtualizarr 2.5.1 (zarr 3.1.6, h5py 3.16.0, numpy 2.4.6): data sets of HDF5 whose values are not
# in chunks of the file itself come as zeros, or another fill value, without an error or a warning.
#
# References say in which bytes of a file the chunks are; a chunk without one is all fill value. Of a virtual data set,
# as detectors and `h5py.VirtualLayout` make them of many files, of one whose values are in a file beside it (external)
# and of one that is kept within its header (compact) HDF5 names no such bytes, and both libraries make an array without
# a single chunk of it. kerchunk keeps the values of compact ones itself where they have less than 500 bytes, and loses
# larger ones; of virtualizarr that is upstream as issue 527. `error="raise"` of kerchunk changes nothing. h5py reads all
# of them. Output, the first three values of each:
#
#                   h5py          kerchunk      virtualizarr
#   chunked         [1, 2, 3]     [1, 2, 3]     [1, 2, 3]
#   contiguous      [1, 2, 3]     [1, 2, 3]     [1, 2, 3]
#   virtual         [1, 2, 3]     [-1, -1, -1]  [-1, -1, -1]
#   external        [1, 2, 3]     [0, 0, 0]     [0, 0, 0]
#   compact, small  [1, 2, 3]     [1, 2, 3]     [0, 0, 0]
#   compact, large  [1, 2, 3]     [0, 0, 0]     [0, 0, 0]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet kerchunk==0.2.10 virtualizarr==2.5.1 zarr==3.1.6 h5py==3.16.0 numpy==2.4.6 \
    fsspec==2026.9.0 obstore==0.12.1 obspec-utils==0.9.0 xarray==2026.9.0
venv/bin/python - <<'PYTHON'
import os
import sys
import warnings

import fsspec
import h5py
import numpy as np
import zarr
from kerchunk.hdf import SingleHdf5ToZarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from virtualizarr.parsers import HDFParser

small, large = np.arange(1, 5), np.arange(1, 101)


def compact(file, name, values):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    space, kind = h5py.h5s.create_simple(values.shape), h5py.h5t.py_create(values.dtype)
    h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, plist))[...] = values


with h5py.File("source.h5", "w") as file:
    file["values"] = small
large.tofile("values.bin")
with h5py.File("x.h5", "w") as file:
    file.create_dataset("chunked", data=small, chunks=(2,), compression="gzip")
    file["contiguous"] = small
    layout = h5py.VirtualLayout(small.shape, small.dtype)
    layout[:] = h5py.VirtualSource("source.h5", "values", small.shape)
    file.create_virtual_dataset("virtual", layout, fillvalue=-1)
    outside = [("values.bin", 0, large.nbytes)]
    file.create_dataset("external", large.shape, large.dtype, external=outside)
    compact(file, "compact, small", small)
    compact(file, "compact, large", large)

found = {}
with h5py.File("x.h5") as file:
    for name in file:
        found[name] = [file[name][:3].tolist()]
path = os.path.abspath("x.h5")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    references = SingleHdf5ToZarr(path, error="raise").translate()
    files = fsspec.filesystem("reference", fo=references, asynchronous=True)
    stores = [
        (zarr.storage.FsspecStore(files, read_only=True, path=""), 2),
        (HDFParser()(f"file://{path}", registry=ObjectStoreRegistry({"file://": LocalStore()})), 3),
    ]
    for store, version in stores:
        group = zarr.open_group(store, mode="r", zarr_format=version)
        for name in found:
            found[name].append(group[name][:3].tolist())
said = [str(one.message) for one in caught if any(name in str(one.message) for name in found)]
right, lost, zeros = [1, 2, 3], [-1, -1, -1], [0, 0, 0]
seen = {
    "chunked": [right, right, right],
    "contiguous": [right, right, right],
    "virtual": [right, lost, lost],
    "external": [right, zeros, zeros],
    "compact, small": [right, right, zeros],
    "compact, large": [right, zeros, zeros],
}
print(f"{'':15} {'h5py':13} {'kerchunk':13} virtualizarr")
for name in seen:
    print(f"{name:15}", *(f"{values!s:13}" for values in found[name]))
sys.stdout.flush()
os._exit(0 if found == seen and not said else 1)
PYTHON
