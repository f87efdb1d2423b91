#!/usr/bin/env bash
# tables 3.11.1 (PyTables; numpy 2.4.6): records that are appended to a table are stored as their bytes, whatever their
# fields, byte order and steps are, without an error.
#
# Of every second record the first ones come, those left out among them. Records in the byte order that is not the
# machine's are stored swapped, and with fields in another order as numbers of neither; int64 in a column of float64 is
# next to zero, and so is a plain array of two columns of int64. All that has to fit is the size of a record; the
# documentation says that rows are converted, or else a ValueError. `create_table` of records in the other byte order,
# and `modify_rows`, do the same. (Of the byte order it is upstream as issue 692.) Lists of tuples are converted, and so
# are arrays that go to an EArray. `rows.astype(table.dtype)`, with fields in the order of the table before, helps. Output:
#
#   every second   [(1, 0.5), (2, 1.5)]
#   big-endian     [(72057594037927936, 2.8363e-319)]
#   other order    [(4602678819172646912, 5e-324)]
#   int64          [(1, 1e-323)]
#   plain array    [(1, 1e-323), (3, 2e-323)]
#   create_table   [(72057594037927936, 2.8363e-319)]
#   modify_rows    [(72057594037927936, 2.8363e-319)]
#   other size     ValueError
#   astype         [(1, 0.5), (3, 2.5)]
#   tuples         [(1, 2.0)]
#   EArray         [1.0, 2.0]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet tables==3.11.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import tables

fields = np.dtype([("a", "<i8"), ("b", "<f8")])
three = np.array([(1, 0.5), (2, 1.5), (3, 2.5)], fields)
big = three[:1].astype(fields.newbyteorder(">"))
turned = np.array([(0.5, 1)], [("b", "<f8"), ("a", "<i8")])
whole = np.array([(1, 2)], [("a", "<i8"), ("b", "<i8")])
given = {
    "every second": three[::2],
    "big-endian": big,
    "other order": turned,
    "int64": whole,
    "plain array": np.array([[1, 2], [3, 4]]),
    "astype": three[::2].astype(fields),
    "tuples": [(1, 2)],
}
found = {}
with tables.open_file("x.h5", "w") as file:
    for i, (what, rows) in enumerate(given.items()):
        table = file.create_table("/", f"t{i}", fields)
        table.append(rows)
        table.flush()
        found[what] = table[:].tolist()
    found["create_table"] = file.create_table("/", "made", obj=big)[:].tolist()
    table = file.create_table("/", "modified", obj=three[:1])
    table.modify_rows(0, 1, 1, big)
    found["modify_rows"] = table[:].tolist()
    try:
        table.append(np.array([(1, 2)], [("a", "<i4"), ("b", "<f8")]))
    except ValueError:
        found["other size"] = "ValueError"
    numbers = file.create_earray("/", "numbers", tables.Float64Atom(), (0,))
    numbers.append(np.array([1, 2], ">i4"))
    found["EArray"] = numbers[:].tolist()


def bytes_of(rows):
    """Return the records that the bytes of others are."""
    return rows.view(fields).ravel().tolist()


seen = {
    "every second": [(1, 0.5), (2, 1.5)],
    "big-endian": bytes_of(big),
    "other order": bytes_of(turned),
    "int64": bytes_of(whole),
    "plain array": bytes_of(given["plain array"]),
    "create_table": bytes_of(big),
    "modify_rows": bytes_of(big),
    "other size": "ValueError",
    "astype": [(1, 0.5), (3, 2.5)],
    "tuples": [(1, 2)],
    "EArray": [1, 2],
}
for what in seen:
    print(f"{what:14}", found.get(what))
sys.exit(0 if found == seen and sys.byteorder == "little" else 1)
PYTHON
