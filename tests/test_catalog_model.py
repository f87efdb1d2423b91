"""Whatever catalog lies beside the shards, outdated, of another state or gone, they are a dict."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

import ptrarray
from ptrarray.errors import CorruptStoreError
from ptrarray.format.catalog import FILE_NAME
from ptrarray.storage.shards.catalog import find_catalog_damage, renew
from tests.support.examples import some
from tests.test_shards_model import ShardsMachine


class CatalogMachine(ShardsMachine):
    """The machine of shards, with catalogs that are made, kept, put back and mixed up."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bytes] = []

    @property
    def catalog(self) -> Path:
        return self.path / FILE_NAME

    @rule()
    def renew(self) -> None:
        renew(self.path)
        if self.catalog.exists():
            self.kept.append(self.catalog.read_bytes())

    def replace_catalog(self, content: bytes) -> None:
        """Put a catalog in place by a rename, as whoever makes one: others have the old one mapped."""
        new = self.catalog.with_name("put.new")
        new.write_bytes(content)
        new.replace(self.catalog)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        self.replace_catalog(data.draw(st.sampled_from(self.kept)))

    @precondition(lambda self: self.kept)
    @rule(data=st.data(), at=st.floats(0, 1))
    def mix_up(self, data: st.DataObject, at: float) -> None:
        """Put the beginning of one before the end of another, as no process ever does."""
        one, other = (data.draw(st.sampled_from(self.kept)) for _ in range(2))
        self.replace_catalog(one[: int(at * len(one))] + other[int(at * len(other)) :])
        with ptrarray.open(self.path) as store:
            assert {name: array.tobytes() for name, array in store.items()} == {
                name: array.tobytes() for name, array in self.model.items()
            }
            assert all(store[name].tobytes() == self.model[name].tobytes() for name in self.model)
            found = list(find_catalog_damage(self.path))
            # Which is all that a check of the store has to tell, and what follows looks at that.
            with pytest.raises(CorruptStoreError, match="catalog") if found else nullcontext():
                store.verify()
        self.writers_tell_the_same()
        renew(self.path)

    @rule()
    def lose(self) -> None:
        self.catalog.unlink(missing_ok=True)

    @rule()
    def check(self) -> None:
        """A store that is written to again has one that is right, when that is made anew."""
        self.catalog.unlink(missing_ok=True)
        renew(self.path)
        assert list(find_catalog_damage(self.path)) == []
        with ptrarray.open(self.path) as store:
            assert all(name in store for name in self.model)


TestCatalogModel = CatalogMachine.TestCase
TestCatalogModel.settings = settings(
    max_examples=some(8, of=12), stateful_step_count=25, deadline=None
)
