#!/usr/bin/env bash
# deltalake 1.6.6 (pyarrow 26.0.1): what is written to a table that exists is cast to its types, without an error: 2.7
# becomes 2 where the table has integers, 1e300 infinite where it has float32, and 2 True where it has bools.
#
# Its guide says that `write_deltalake` raises ValueError if the schema of the data is another one than that of the table.
# An error is raised for a column that is not there, and for an integer that is too large. All else is cut or rounded, in
# lists as in plain columns: on appending, on replacing the whole table with mode="overwrite", with schema_mode="merge", and
# in `merge`. With mode="overwrite" and schema_mode="overwrite" the table takes the types of the data. Besides, Delta has no
# unsigned integers, and those above the signed ones are an error, also in lists; but in lists of a fixed size they are
# null, already when a table is made. Output:
#
#   append             list<element: int64> [[1], [2], [0]]
#   overwrite          list<element: int64> [[2], [0]]
#   merge the schema   list<element: int64> [[1], [2], [0]]
#   float32            list<element: float> [[1.5], [inf]]
#   bools              list<element: bool> [[True], [False, True]]
#   merge of rows      [1, 9]
#   2**40 into int32   Exception
#   another column     SchemaMismatchError
#   overwrite both     list<element: double> [[2.7], [0.5]]
#   bytes, lists       DeltaError
#   bytes, fixed size  list<element: int8> [[1, 127], [None, None]]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet deltalake==1.6.6 pyarrow==26.0.1
venv/bin/python - <<'PYTHON'
import shutil
import sys

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake


def column(rows, kind):
    return pa.table({"x": pa.array(rows, pa.list_(kind))})


def rows_of():
    x = DeltaTable("table").to_pyarrow_table().column("x")
    return str(x.type), x.to_pylist()


found = {}


def attempt(what, before, after, **how):
    shutil.rmtree("table", ignore_errors=True)
    try:
        if before is not None:
            write_deltalake("table", before)
        write_deltalake("table", after, **how)
        kind, rows = rows_of()
        n_new = after.num_rows  # what was appended comes first
        rows = rows[n_new:] + rows[:n_new] if len(rows) > n_new else rows
        found[what] = rows
        print(f"{what:18} {kind} {rows}")
    except Exception as error:
        found[what] = type(error).__name__
        print(f"{what:18} {found[what]}")


integers, floats = column([[1]], pa.int64()), column([[2.7], [0.5]], pa.float64())
attempt("append", integers, floats, mode="append")
attempt("overwrite", integers, floats, mode="overwrite")
attempt("merge the schema", integers, floats, mode="append", schema_mode="merge")
attempt("float32", column([[1.5]], pa.float32()), column([[1e300]], pa.float64()), mode="append")
attempt("bools", column([[True]], pa.bool_()), column([[0, 2]], pa.int64()), mode="append")

shutil.rmtree("table")
write_deltalake("table", pa.table({"x": [1]}))
names = {"source_alias": "new", "target_alias": "old", "predicate": "new.x = old.x"}
merge = DeltaTable("table").merge(pa.table({"x": [9.7]}), **names)
merge.when_not_matched_insert_all().execute()
found["merge of rows"] = sorted(rows_of()[1])
print("merge of rows     ", found["merge of rows"])

attempt("2**40 into int32", column([[1]], pa.int32()), column([[2**40]], pa.int64()), mode="append")
attempt("another column", integers, pa.table({"y": [2.7]}), mode="append")
attempt("overwrite both", integers, floats, mode="overwrite", schema_mode="overwrite")
bytes_ = [[1, 127], [128, 255]]
attempt("bytes, lists", None, column(bytes_, pa.uint8()))
fixed = pa.table({"x": pa.array(bytes_, pa.list_(pa.uint8(), 2))})
attempt("bytes, fixed size", None, fixed)

assert found["overwrite both"] == [[2.7], [0.5]]
assert found["another column"] == "SchemaMismatchError"
is_so = (
    found["append"] == found["merge the schema"] == [[1], [2], [0]]
    and found["overwrite"] == [[2], [0]]
    and found["float32"] == [[1.5], [float("inf")]]
    and found["bools"] == [[True], [False, True]]
    and found["merge of rows"] == [1, 9]
    and isinstance(found["2**40 into int32"], str)
    and isinstance(found["bytes, lists"], str)
    and found["bytes, fixed size"] == [[1, 127], [None, None]]
)
sys.exit(0 if is_so else 1)
PYTHON
