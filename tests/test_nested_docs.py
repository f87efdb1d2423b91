"""docs/NESTED-FORMAT.md says what the code does, and docs/coming-from/joblib.md what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.frames import flat, together
from ptrarray.nested import persistence
from ptrarray.objects import registry, states, tokens
from ptrarray.objects.decoder import _Decoder
from ptrarray.objects.leaves import LARGE_DECODERS
from ptrarray.objects.registry import Classes
from tests.support.nested import assert_same
from tests.support.prepared import python

DOCS = Path(__file__).parent.parent / "docs"
NESTED_FORMAT = (DOCS / "NESTED-FORMAT.md").read_text(encoding="utf-8")
JOBLIB = (DOCS / "coming-from" / "joblib.md").read_text(encoding="utf-8")


def first_cells(head: str) -> list[str]:
    """Return what is set as code in the first column of a table."""
    body = re.search(rf"^\| {head} \|.*\n\|[-|]+\n((?:\|.*\n)+)", NESTED_FORMAT, re.MULTILINE)
    assert body
    rows = body[1].splitlines()
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_every_operation_is_told() -> None:
    decoder = _Decoder(iter(()), lambda _: np.zeros(0), lambda _: None, "", Classes())
    assert sorted(first_cells("operation")) == sorted(decoder._openers)


def test_every_kind_of_parts_is_told() -> None:
    assert sorted(first_cells("parts")) == sorted(together._MAKERS)


def test_every_class_and_part_is_told() -> None:
    kept = [kind.name for kind in registry._KEPT]
    assert sorted(first_cells("class")) == sorted([*kept, registry.CLASS])
    assert {*first_cells("part"), ""} == states.SPECIAL
    row = next(line for line in NESTED_FORMAT.splitlines() if line.startswith("| `class`"))
    plain = {name for name in registry._PLAIN_CLASSES if "." not in name}
    assert set(re.findall(r"`(\w+)`", row)) == {registry.CLASS, *plain}


def test_every_word_of_a_description_is_told() -> None:
    assert set(first_cells("in metadata")) == {"kind", *flat._READERS}


def test_every_kind_of_large_value_is_told() -> None:
    row = next(line for line in NESTED_FORMAT.splitlines() if line.startswith("| `large`"))
    assert set(re.findall(r"`([^`]+)`", row)) == {"large", *LARGE_DECODERS}


@pytest.mark.parametrize(
    "said",
    [
        f"`ptrarray.dump` is a\nmap: `version` ({persistence.VERSION})",
        f"at most {tokens.PAGE_LENGTH} *tokens*",
        f"at most {tokens.LARGE:,} characters",
        f"of more than {tokens.SMALL} is",
        f"at\nmost {tokens.KEY_DEPTH_LIMIT} deep",
    ],
)
def test_limits_are_told(said: str) -> None:
    assert said in NESTED_FORMAT


def test_the_page_for_users_of_joblib_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", JOBLIB, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    (tmp_path / "folder").mkdir()
    done = python(script, cwd=tmp_path / "folder", options=("-W", "error"))
    assert done.returncode == 0, done.stderr


def test_gives_back_what_joblib_does(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    array = np.arange(3)
    obj: Any = {"a": [array, (1, {1, 2.5})], ("k", None): {"text": "ü", "raw": b"\0"}}
    obj["self"] = [obj]
    theirs, ours = tmp_path / "object.joblib", tmp_path / "object.ptr"
    joblib.dump(obj, theirs)
    ptrarray.dump(obj, ours)
    assert_same(joblib.load(theirs), ptrarray.load(ours))
    joblib.dump([array, array], theirs)
    ptrarray.dump([array, array], ours, mode="w")
    one, other = joblib.load(theirs)
    assert one is not other
    one, other = ptrarray.load(ours)
    assert one is other
