"""Parts of pages: values in few words, whatever their size, and pages that are not too much."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ptrarray.look import html
from ptrarray.look.svg import picture
from tests.support.html import Page

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class Counted(list[Any]):
    """A list that counts how many of its items were asked for."""

    n_asked = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.n_asked += 1
            yield item


@given(VALUES, st.integers(10, 200))
def test_values_in_few_words(value: Any, n_characters: int) -> None:
    told = html.brief(value, n_characters)
    assert len(told) <= n_characters
    if len(repr(value)) <= n_characters and "…" not in told:
        assert told == repr(value)


def test_of_long_values_little_is_looked_at() -> None:
    value = Counted(range(100_000))
    html.brief({"a": [value]})
    assert value.n_asked < 50


@given(st.text(), st.integers(3, 90))
@example("00$", 3)  # whose elements are no text
def test_text_is_cut_and_stays_text(value: str, n_characters: int) -> None:
    page = Page(f"<div>{html.text(value, n_characters)}</div>")
    assert len(page.text) <= n_characters + 1


def test_a_page_leaves_out_what_is_too_much() -> None:
    parts = ["<div>a</div>", f"<div>{'b' * 70_000}</div>", "<div>c</div>"]
    page = Page(html.page("kind", "<about>", parts))
    assert page.text.split("\n")[2:5] == ["a", "left out here, as it is much", "c"]


def test_pairs_say_how_many_are_left_out() -> None:
    values = {f"{number}": "v" * 100 for number in range(1000)}
    assert "and 990 more" in Page(html.pairs(values, 10, 10**6)).text
    assert len(html.pairs(values, 1000, 3000)) < 6000


@pytest.mark.parametrize(
    "formula", ["$x_1$", r"\(x\)", r"\[x\]", "$$x$$", r"\begin{align}x\end{align}"]
)
def test_no_formula_is_in_one_element(formula: str) -> None:
    written = html.text(formula)
    assert unescape(re.sub("<[^>]*>", "", written)) == formula
    for run in re.split("<[^>]*>", written):
        assert run in ("$", "\\") or not set(run) & set("$\\")


def test_what_makes_many_bytes_is_drawn_twice_at_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(values: Any, width: int, *more: Any, **options: Any) -> Any:
        sizes.append(width)
        return picture(values, width, *more, **options)

    monkeypatch.setattr(html, "picture", counted)
    noise = np.random.default_rng(0).normal(size=(5000, 6))
    masked = np.ma.array(noise, mask=noise > 0)
    page = html.arrays([html.Drawn(f"{k}", noise.dtype, noise.shape, masked) for k in range(8)])
    assert sizes == [200, 48] * 8
    assert page.count("<img ") == 8
