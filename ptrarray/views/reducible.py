"""Reductions over the arrays of something: all of a store, or those of one dtype in it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ptrarray import reductions
from ptrarray.errors import BadInputError
from ptrarray.rows.types import Array

if TYPE_CHECKING:
    from ptrarray.views.spread import Spread


class Reducible(Mapping[str, Array]):
    """A mapping from name to array, whose arrays can be reduced without a Python loop."""

    # With operators numpy would treat a mapping as a sequence of names.
    __array_ufunc__ = None
    # Comparing arrays gives arrays, so these are equal when they are the same.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    @abstractmethod
    def path(self) -> str:
        """Absolute path of the store."""

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """Names by position, in data order."""

    @abstractmethod
    def _reducible(self) -> reductions.Living:
        """Return what a reduction works on: rows, and the ranges of them that are arrays."""

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        result = reductions.array_function(func, self._reducible(), args, kwargs)
        if result is NotImplemented and all(
            issubclass(kind, (Reducible, np.ndarray)) for kind in types
        ):
            raise reductions.no_function(func, self.path)
        return result

    @abstractmethod
    def _spread(self) -> Spread:
        """Return what other processes need to work on some of these ranges."""

    def reduce(
        self,
        ufunc: np.ufunc,
        *,
        axis: int | None = 0,
        dtype: npt.DTypeLike | None = None,
        executor: Executor | None = None,
    ) -> Any:
        """Reduce all living rows to one result, on all cores.

        Parameters
        ----------
        ufunc : numpy.ufunc
            Associative and commutative: `numpy.add`, `numpy.maximum`, …
        axis : {0, None}
            0 keeps the row shape, as ``ufunc.reduce`` does; None reduces
            that, too.
        dtype : dtype, optional
            As for ``ufunc.reduce``.
        executor : concurrent.futures.Executor, optional
            Works out the parts: processes, threads, or those of a cluster, as of
            dask, Ray or MPI. Each opens the store by its path, and uses one core.

        Returns
        -------
        scalar or ndarray of shape `row_shape`
            The same with an executor as without, to the last bit.

        Raises
        ------
        StoreError
            With an executor, if a worker cannot open the store as it is open here, because it
            was checkpointed, compacted or replaced since: `refresh`, and begin again.

        Notes
        -----
        Living rows are those of some array: holes do not count, and rows with
        two names count once. Reads each row once, in bounded memory. Floats are
        added up pairwise, whatever the row shape, and the result depends on the
        rows and their order alone.

        Examples
        --------
        >>> store.reduce(np.maximum)
        np.float32(6.0)
        """
        if executor is None:
            return reductions.reduce(self._reducible(), ufunc, axis=axis, dtype=dtype)
        from ptrarray.views import spread

        what = self._spread(), self._reducible(), executor
        return spread.reduce(*what, ufunc, axis=axis, dtype=dtype)

    def reduce_each(
        self,
        ufunc: np.ufunc,
        dtype: npt.DTypeLike | None = None,
        *,
        axis: int | None = 0,
        executor: Executor | None = None,
    ) -> Array:
        """Reduce each array to one result, without a Python loop.

        Parameters
        ----------
        ufunc : numpy.ufunc
            Of two arguments.
        dtype : dtype, optional
            As for ``ufunc.reduce``.
        axis : {0, None}
            0 reduces each array over its rows, to one row; None reduces all of
            its elements, to one number. In a store of ``row_shape=()`` or None
            both are the same.
        executor : concurrent.futures.Executor, optional
            As for `reduce`; the results are those without.

        Returns
        -------
        ndarray, shape (n_arrays, *row_shape); (n_arrays,) with ``axis=None``
            In data order. An empty array gives the ufunc's identity.

        Raises
        ------
        BadInputError
            If an array is empty and the ufunc has no identity; names it. Also
            for another axis.

        Notes
        -----
        Floats are added up pairwise, whatever the row shape, and the result of
        an array depends on that array alone.

        Examples
        --------
        >>> store.reduce_each(np.add)
        array([6., 9., 6.], dtype=float32)

        One number for each array, also of rows that are more than that:

        >>> with ptrarray.create("pairs.ptr", dtype="i4", row_shape=(2,)) as writer:
        ...     _ = writer.write({"a": [[1, 2], [3, 4]], "b": [[5, 6]]})
        >>> pairs = ptrarray.open("pairs.ptr")
        >>> pairs.reduce_each(np.maximum, axis=None), pairs.reduce_each(np.maximum).tolist()
        (array([4, 6], dtype=int32), [[3, 4], [5, 6]])
        """
        living = self._reducible()
        try:
            if executor is None:
                return reductions.reduce_each(living, ufunc, dtype, axis=axis)
            from ptrarray.views import spread

            what = self._spread(), living, executor
            return spread.reduce_each(*what, ufunc, axis=axis, dtype=dtype)
        except BadInputError as error:
            position = getattr(error, "position", None)
            if position is None:
                raise error.at(self.path) from error
            name = self.names[position]
            raise BadInputError(
                f"array {name!r:.80} of {self.path} is empty, and np.{ufunc.__name__} has "
                "no result for that",
                path=self.path,
                name=name,
            ) from error

    def mean_each(self) -> Array:
        """Return the mean of each array, shape ``(n_arrays, *row_shape)``; nan for empty ones.

        Examples
        --------
        >>> store.mean_each()
        array([2. , 4.5, 6. ], dtype=float32)
        """
        return reductions.mean_each(self._reducible())

    def std_each(self, ddof: int = 0) -> Array:
        """Return the standard deviation of each array, as `mean_each` the mean.

        Parameters
        ----------
        ddof : int
            Divides by ``length - ddof``.

        Examples
        --------
        >>> store.std_each()[1:]
        array([0.5, 0. ], dtype=float32)
        """
        return reductions.std_each(self._reducible(), ddof=ddof)
