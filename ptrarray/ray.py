"""The arrays of a store as a data set of Ray Data.

::

    import ray
    from ptrarray.ray import PtrDatasource

    dataset = ray.data.read_datasource(PtrDatasource("corpus.ptr"))

Needs Ray and pyarrow, the extra ``ray``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from ptrarray.errors import BadInputError, import_extra
from ptrarray.intake.choices import listed
from ptrarray.reader import PointerArray, open_readable, opened_of
from ptrarray.storage.shards.partition import Portion
from ptrarray.views.partition import Partition

_MISSING = "ptrarray.ray needs Ray Data, which is not installed: pip install 'ptrarray[ray]'"
ray_data = import_extra("ray.data", _MISSING)
ray_block = import_extra("ray.data.block", _MISSING)
pyarrow = import_extra("pyarrow", _MISSING)

__all__ = ["PtrDatasource"]

_Datasource: Any = ray_data.Datasource

# What is handed to Ray in one go, which copies it into memory of its own.
_BLOCK_NBYTES = 64 << 20
# What Arrow has of each array beside its values and the letters of its name.
_ARRAY_NBYTES = 16
# Names of which the average is taken for that of all.
_SAMPLE = 1000


class PtrDatasource(_Datasource):  # type: ignore[misc] # of a library that may be missing
    """The arrays of a store for ``ray.data.read_datasource``.

    Each row of the data set is an array: column ``name``, and ``values``, a
    list; what `PointerArray.arrow` gives.

    Parameters
    ----------
    path_or_store : path-like or PointerArray
        The store, or one that is open; workers open it by its path.
    names : bool
        Whether there is a column ``name``.
    meta : str or iterable of str, optional
        Keys of metadata, each of which becomes a column.

    Raises
    ------
    StoreNotFoundError, CorruptStoreError
        As from `ptrarray.open`.
    BadInputError
        As from `PointerArray.arrow`: if Arrow has no type for the arrays, they are
        of several dtypes or have different numbers of axes, or metadata of one
        key are of several types.

    Notes
    -----
    Shows the store as it was when this was made, whatever is committed later.
    If it is checkpointed, compacted or replaced before all is read, tasks fail
    with a `StoreError`: read it anew.

    Ray asks for as many tasks as it likes, or as ``override_num_blocks`` says;
    each is a partition, of about as many bytes as the others, and hands over
    blocks of some 64 MB. Arrays larger than that are a block each.

    Memory in this process: nothing for names. Where arrays have dtypes or
    shapes of their own, or with `meta`, what is kept of each array is looked at
    once, here, for all blocks have to have the same types.

    Examples
    --------
    >>> source = PtrDatasource("corpus.ptr")
    >>> source.schema.names, source.estimate_inmemory_data_size()
    (['name', 'values'], 84)
    >>> [table.num_rows for task in source.get_read_tasks(2) for table in task()]
    [1, 2]
    """

    def __init__(
        self,
        path_or_store: str | os.PathLike[str] | PointerArray,
        *,
        names: bool = True,
        meta: str | Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(path_or_store, PointerArray):
            store = path_or_store
        else:
            store = open_readable(path_or_store)
        self._names, self._meta = names, None if meta is None else listed(meta)
        self._whole = Partition(Portion(opened_of(store), 0, len(store)))
        self._name_nbytes = _name_nbytes(store) if names else 0
        self.schema = self._found_schema()

    def _found_schema(self) -> Any:
        """Return the types of the columns, which all parts can be cast to."""
        whole = self._whole
        schema = pyarrow.schema(whole.arrow(names=self._names))
        if self._meta is None:
            return schema
        # A part at a time: values of metadata are made for that.
        parts = self._blocks(whole) or [whole]
        found = (pyarrow.schema(part.arrow(names=False, meta=self._meta)) for part in parts)
        try:
            metas = pyarrow.unify_schemas([one.remove(0) for one in found])
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise BadInputError(
                f"metadata of {whole.path} are of several types: {error}; a column is of one",
                path=whole.path,
                found=str(error),
                expected="one type for each key",
            ) from error
        return pyarrow.schema([*schema, *metas])

    def get_name(self) -> str:
        """Return what Ray calls tasks that read this."""
        return "ptrarray"

    def estimate_inmemory_data_size(self) -> int:
        """Return about how many bytes all blocks have."""
        return self._nbytes(self._whole)

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: Any = None,
    ) -> list[Any]:
        """Return tasks that read a partition each: as many as asked for, if there are so many arrays.

        Of a store without arrays one, whose block has none.
        """
        parts = self._whole.partitions(max(1, parallelism)) or [self._whole]
        return [
            ray_data.ReadTask(
                partial(_tables, self._blocks(part), self._names, self._meta, self.schema),
                ray_block.BlockMetadata(
                    num_rows=len(part),
                    size_bytes=self._nbytes(part),
                    input_files=None,
                    exec_stats=None,
                ),
                schema=self.schema,
                per_task_row_limit=per_task_row_limit,
            )
            for part in parts
        ]

    def _nbytes(self, part: Partition) -> int:
        return part.nbytes + len(part) * (_ARRAY_NBYTES + self._name_nbytes)

    def _blocks(self, part: Partition) -> list[Partition]:
        return part.partitions(max(1, -(-self._nbytes(part) // _BLOCK_NBYTES)))


def _name_nbytes(store: PointerArray) -> int:
    """Return about how long names are."""
    some = [len(name.encode()) for name in islice(store, _SAMPLE)]
    return round(sum(some) / len(some)) if some else 0


def _tables(
    parts: list[Partition], names: bool, meta: list[str] | None, schema: Any
) -> Iterator[Any]:
    """Yield the blocks of a task."""
    if not parts:
        yield schema.empty_table()
    for part in parts:
        table = pyarrow.table(part.arrow(names=names, meta=meta))
        yield table if table.schema == schema else table.cast(schema)
