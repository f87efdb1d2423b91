"""Tables of Arrow: which columns are what, and what is found in a batch of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from ptrarray.bridges import from_arrow
from ptrarray.bridges.incoming import Column, opened
from ptrarray.bridges.structures import Field
from ptrarray.convert.formats.arrow_values import Form, arrays_of, form_of, import_pyarrow
from ptrarray.convert.found import Found, Many, Noted, Refused
from ptrarray.convert.instances import WORD
from ptrarray.convert.run import Options
from ptrarray.errors import BadInputError
from ptrarray.format.helpers import KEY
from ptrarray.intake.choices import listed

NAME, VALUES = "name", "values"  # columns as stores write them
BATCH_NBYTES = 1 << 24
BATCH_ROWS = 1 << 16
JOINED_NBYTES = 1 << 22
_MEANT = (KEY, WORD)  # what metadata of Python's objects are kept under


class Columns(NamedTuple):
    """What a caller said of columns.

    Attributes
    ----------
    names : str or None
        Of the names; empty for numbers; None for what there is.
    values, meta : tuple of str or None
        Of the arrays, and of metadata; None for all that are.
    row_shape : object
        Of the arrays, for lists in lists that have none.
    """

    names: str | None = None
    values: tuple[str, ...] | None = None
    meta: tuple[str, ...] | None = None
    row_shape: Any = None


Some = str | Iterable[str] | None


def said(names: str | None, values: Some, meta: Some, options: Options) -> Columns:
    """Return what a caller said, once it is seen that it is text.

    Raises
    ------
    BadInputError
        If it is something else.
    """
    arrays, others = (None if some is None else tuple(listed(some)) for some in (values, meta))
    for name in (names or "", *(arrays or ()), *(others or ())):
        if not isinstance(name, str):
            raise BadInputError(
                f"a column is called {name!r:.80}; expected text",
                found=type(name).__name__,
                expected="text",
            )
    return Columns(names, arrays, others, options.get("row_shape", ()))


class Plan(NamedTuple):
    """Which columns of a table are what.

    Attributes
    ----------
    names : str or None
        Column of names; None for numbers.
    values : dict from str to Form
        Columns of arrays.
    metas : tuple of str
        Columns of metadata.
    notes : tuple of Noted
        What is not kept, or not as it is.
    """

    names: str | None
    values: dict[str, Form]
    metas: tuple[str, ...]
    notes: tuple[Noted, ...]

    @property
    def columns(self) -> list[str]:
        """All columns that are read."""
        return [*([] if self.names is None else [self.names]), *self.values, *self.metas]


def planned(schema: Any, columns: Columns) -> Plan:
    """Decide which columns of a table are what.

    Raises
    ------
    BadInputError
        If one that was asked for is not there once, or is of another type; or none is of arrays.
    """
    field, _ = opened(import_pyarrow().RecordBatchReader.from_batches(schema, []))
    children = {child.name: child for child in field.children}
    names = _names(schema, children, columns.names)
    values = _values(schema, children, columns, names)
    if columns.meta is not None:
        _check_there(schema, columns.meta)
        _check_once(columns.meta, names, values)
    others = [name for name in schema.names if name != names and name not in values]
    wanted = dict.fromkeys(others if columns.meta is None else columns.meta)
    notes = {name: _note(schema, name, children[name]) for name in wanted}
    kept = tuple(name for name, note in notes.items() if note is None or note.is_kept)
    told = tuple(Noted(name, note.about) for name, note in notes.items() if note is not None)
    return Plan(names, values, kept, told)


def _check_there(schema: Any, names: Iterable[str]) -> None:
    for name in names:
        n_found = schema.names.count(name)
        if n_found != 1:
            there = ", ".join(map(repr, schema.names))
            raise BadInputError(
                f"it has {n_found or 'no'} columns {name!r:.80}; there are {there:.300}",
                name=name,
                found=schema.names,
                expected=name,
            )


def _check_once(metas: Iterable[str], names: str | None, values: Iterable[str]) -> None:
    taken = {**dict.fromkeys(values, "arrays"), **({} if names is None else {names: "names"})}
    for name in metas:
        if name in taken:
            raise BadInputError(
                f"column {name!r:.80} is asked for as metadata, and is that of the {taken[name]}",
                name=name,
            )


def _names(schema: Any, children: Mapping[str, Field], wanted: str | None) -> str | None:
    """Return the column of names, None for numbers."""
    if wanted is None:
        is_there = schema.names.count(NAME) == 1 and _is_text(children[NAME])
        return NAME if is_there else None
    if not wanted:
        return None
    _check_there(schema, [wanted])
    if not _is_text(children[wanted]) and not _is_whole(schema.field(wanted).type):
        raise BadInputError(
            f"column {wanted!r:.80} is of {children[wanted]!s:.80}; expected names: text or "
            "integers; '' numbers the rows",
            name=wanted,
            found=str(children[wanted]),
            expected="text",
        )
    return wanted


def _is_text(field: Field) -> bool:
    return from_arrow.is_text(field.dictionary or field)


def _is_whole(kind: Any) -> bool:
    return bool(import_pyarrow("pyarrow.types").is_integer(kind))


def _values(
    schema: Any, children: Mapping[str, Field], columns: Columns, names: str | None
) -> dict[str, Form]:
    """Return the columns of arrays."""
    single = [name for name in schema.names if schema.names.count(name) == 1 and name != names]
    wanted = single
    if columns.values is not None:
        _check_there(schema, columns.values)
        wanted = list(columns.values)
    taken = columns.meta or ()
    found = {}
    for name in wanted:
        form = form_of(children[name], schema.field(name), columns.row_shape)
        if form is not None and (columns.values is not None or name not in taken):
            found[name] = form
        elif columns.values is not None:
            raise _no_arrays(children, [name])
    if columns.values is None and names == NAME and VALUES in found:
        return {VALUES: found[VALUES]}  # as stores write them
    if not found:
        raise _no_arrays(children, wanted)
    return found


def _no_arrays(children: Mapping[str, Field], names: Sequence[str]) -> BadInputError:
    kinds = ", ".join(f"{name!r:.80} of {children[name]!s:.80}" for name in names)
    return BadInputError(
        f"it has no arrays in {kinds or 'no columns':.400}; expected lists of numbers, bools, moments, "
        "durations or bytes of one width, one list for each array",
        found=kinds,
        expected="lists",
    )


# Metadata -------------------------------------------------------------------------------------------


class _Note(NamedTuple):
    """What is said of a column of metadata, and whether it is kept all the same."""

    about: str
    is_kept: bool


def _note(schema: Any, name: str, field: Field) -> _Note | None:
    if name in _MEANT:
        return _Note(
            "columns have a name that means something in metadata, and are left out", False
        )
    if schema.names.count(name) > 1:
        return _Note("names stand for several columns, which are left out", False)
    kind = schema.field(name).type
    if not _is_plain(kind) or _has_tensors(field):
        return _Note(f"columns are of {kind}, which metadata cannot hold, and left out", False)
    types = import_pyarrow("pyarrow.types")
    kind = _stored(kind)
    if types.is_duration(kind):
        return _Note(f"columns of {kind} are whole numbers of that unit in metadata", True)
    if types.is_temporal(kind) or types.is_decimal(kind):
        return _Note(f"columns of {kind} are text in metadata", True)
    return None


def _is_plain(kind: Any) -> bool:
    """Tell whether the items of a type are values of Python that metadata can hold."""
    pyarrow = import_pyarrow()
    try:
        _, pieces = opened(_readied(pyarrow.nulls(0, _stored(kind))))
        from_arrow.plain_values(next(pieces))
    except (BadInputError, pyarrow.ArrowException):
        return False
    return True


def _stored(kind: Any) -> Any:
    """Return the type of the values that a column stands for."""
    types = import_pyarrow("pyarrow.types")
    if isinstance(kind, import_pyarrow().BaseExtensionType):
        return _stored(kind.storage_type)
    is_other = types.is_dictionary(kind) or types.is_run_end_encoded(kind)
    return _stored(kind.value_type) if is_other else kind


def _has_tensors(field: Field) -> bool:
    """Tell whether there are tensors in it, whose shapes would be lost."""
    is_one = field.extension.endswith("_shape_tensor")
    return is_one or any(map(_has_tensors, field.children))


def _readied(array: Any) -> Any:
    """Return a column of metadata as one of a type that Python's values are made of."""
    pyarrow, types = import_pyarrow(), import_pyarrow("pyarrow.types")
    while isinstance(array.type, pyarrow.BaseExtensionType):
        array = array.storage
    kind = array.type
    if types.is_run_end_encoded(kind):
        return _readied(import_pyarrow("pyarrow.compute").run_end_decode(array))
    if types.is_dictionary(kind):
        items = _readied(array.dictionary)
        return pyarrow.DictionaryArray.from_arrays(array.indices, items)
    if types.is_date64(kind):  # which may have hours
        array = array.cast(pyarrow.timestamp("ms"))
        return array.cast(pyarrow.string())
    if types.is_duration(kind):
        return array.cast(pyarrow.int64())
    if types.is_temporal(kind) or types.is_decimal(kind):
        return array.cast(pyarrow.string())
    return array.cast(pyarrow.binary()) if types.is_fixed_size_binary(kind) else array


# Batches ----------------------------------------------------------------------------------------------


def found_in(
    batches: Iterable[Any],
    plan: Plan,
    *,
    first: int = 0,
    prefix: str = "",
    more: Mapping[str, Any] | None = None,
) -> Iterator[Found]:
    """Yield the arrays of batches of one table.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        All have the columns of the plan.
    plan : Plan
        Which columns are what.
    first : int
        Number of the first row.
    prefix : str
        Before each key.
    more : mapping, optional
        Metadata that all have.
    """
    for whole in _joined(batches, plan):
        for part in _cut(whole):
            yield from _of_batch(part, plan, first, prefix, more or {})
            first += part.num_rows


def _joined(batches: Iterable[Any], plan: Plan) -> Iterator[Any]:
    """Yield the columns of a plan, those of small batches that follow each other as one.

    To copy a thousand small arrays costs less than what has to be done for each batch and commit. All
    are looked at before, and if what comes next cannot be read, those before it are there.
    """
    waiting: list[Any] = []
    nbytes = 0
    try:
        for batch in batches:
            # Of all of it, as it is in memory as long as a part of it waits.
            size = nbytes_of(batch)
            if nbytes + size > JOINED_NBYTES:
                yield from _together(waiting)
                nbytes = 0
            waiting.append(_picked(batch, plan))
            nbytes += size
            if nbytes >= JOINED_NBYTES:
                yield from _together(waiting)
                nbytes = 0
    except Exception:
        yield from _together(waiting)
        raise
    yield from _together(waiting)


def _together(waiting: list[Any]) -> Iterator[Any]:
    """Yield batches as one, if pyarrow can lay them end to end, and forget them."""
    pyarrow, batches = import_pyarrow(), waiting.copy()
    waiting.clear()
    if len(batches) > 1:
        with suppress(pyarrow.ArrowException):  # of dictionaries that are too large together, say
            batches = pyarrow.Table.from_batches(batches).combine_chunks().to_batches()
    yield from batches


def _picked(batch: Any, plan: Plan) -> Any:
    """Return the columns of a plan, looked at before anything is computed from them."""
    picked, types = batch.select(plan.columns), import_pyarrow("pyarrow.types")
    for array in picked.columns:
        array.validate(full=not types.is_date64(array.type))  # which should have no hours, but may
    return picked


def _cut(batch: Any) -> Iterator[Any]:
    """Cut a batch into some of a bounded number of rows and, on the average, bytes."""
    n = batch.num_rows
    most = min(BATCH_ROWS, max(1, 4 * BATCH_NBYTES * n // max(nbytes_of(batch), 1)))
    for start in range(0, n, most):
        yield batch.slice(start, most)


def nbytes_of(batch: Any) -> int:
    """Return how many bytes a batch has, or all of what it is a part, where pyarrow cannot tell."""
    try:
        return int(batch.nbytes)
    except import_pyarrow().ArrowException:  # of views, before pyarrow 18
        return int(batch.get_total_buffer_size())


def _of_batch(
    batch: Any, plan: Plan, first: int, prefix: str, more: Mapping[str, Any]
) -> Iterator[Found]:
    ready = _ready(batch, plan)
    children = _children(ready)
    columns = dict(zip(plan.columns, children, strict=True))
    n, unnamed = batch.num_rows, []
    if plan.names is None:
        keys = [f"{prefix}{row}" for row in range(first, first + n)]
    else:
        nulls = from_arrow.nulls_of(columns[plan.names])
        unnamed = [] if nulls is None else np.flatnonzero(nulls).tolist()
        keys = _texts(ready.column(0), columns[plan.names])
        keys = [f"{prefix}{key}" for key in keys] if prefix else keys
    for row in unnamed:
        yield Refused(f"{prefix}{first + row}", "its name is null")
    metas = _metas(plan, columns, n, more)
    is_one = len(plan.values) == 1
    for name, form in plan.values.items():
        own = keys if is_one else [f"{key}/{name}" for key in keys]
        yield from _of_column(columns[name], form, own, metas, unnamed)


def _texts(array: Any, column: Column) -> list[str]:
    """Return text item by item; what stands for a null is any."""
    types = import_pyarrow("pyarrow.types")
    if types.is_string(array.type) or types.is_large_string(array.type):
        texts: list[str] = array.to_numpy(zero_copy_only=False).tolist()  # in a third of the time
        return texts
    return from_arrow.texts_of(column)


def _of_column(
    column: Column,
    form: Form,
    keys: list[str],
    metas: Sequence[Mapping[str, Any]],
    unnamed: list[int],
) -> Iterator[Found]:
    pieces, problems = arrays_of(column, form, unnamed)
    for piece in pieces:
        many = Many(keys, piece.values, piece.offsets, metas)
        if len(piece.rows) < len(keys):
            rows = piece.rows.tolist()
            some = [metas[row] for row in rows] if metas else ()
            many = Many([keys[row] for row in rows], piece.values, piece.offsets, some)
        yield many
    for row, what in sorted(problems.items()):
        yield Refused(keys[row], what)


def _ready(batch: Any, plan: Plan) -> Any:
    """Return a batch with names as text, and metadata of types that Python's values are made of."""
    pyarrow = import_pyarrow()
    columns = dict(zip(plan.columns, batch.columns, strict=True))
    for name in plan.metas:
        columns[name] = _readied(columns[name])
    if plan.names is not None and _is_whole(columns[plan.names].type):
        columns[plan.names] = columns[plan.names].cast(pyarrow.string())
    return pyarrow.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _children(batch: Any) -> list[Column]:
    _, pieces = opened(batch)
    whole = next(pieces)
    return [whole.child(at, whole.start, whole.length) for at in range(batch.num_columns)]


def _metas(
    plan: Plan, columns: Mapping[str, Column], n: int, more: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Return the metadata of each row; none at all if there is none."""
    if not plan.metas:
        return [more] * n if more else []
    items = [from_arrow.plain_values(columns[name]) for name in plan.metas]
    found: list[Mapping[str, Any]] = []
    for row in zip(*items, strict=True):
        pairs = zip(plan.metas, row, strict=True)
        found.append({**more, **{key: item for key, item in pairs if item is not None}})
    return found
