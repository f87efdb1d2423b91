"""Programs written for bigarray run on our classes, with another import, and give the same answers.

Its README is run as it is, and a story of what its users do is told of both.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bigarray_files import FOLDER
from tests.support.bigarray_story import STORY
from tests.support.checks import skip_without_bigarray
from tests.support.prepared import python

ROOT = Path(__file__).parent.parent

# side by side -------------------------------------------------------------------------------------


@functools.cache
def answers_of_bigarray() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        done = python("-m", "tests.support.bigarray_story", "bigarray", folder)
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("tell", STORY, ids=lambda tell: tell.__name__)
def test_answers_as_bigarray_does(tell: Callable[[Any, str], Any], path: Path) -> None:
    skip_without_bigarray()
    ours = tell(importlib.import_module("ptrarray.bigarray"), str(path))
    assert json.loads(json.dumps(ours)) == answers_of_bigarray()[tell.__name__]


def test_the_readme_of_bigarray(tmp_path: Path) -> None:
    skip_without_bigarray()
    readme = importlib.metadata.distribution("bigarray").read_text("METADATA")
    assert readme is not None
    found = re.search(r"```python\n(.*?)```\s+Output:\s+```\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    code, output = found.groups()
    code = code.replace("from bigarray import", "from ptrarray.bigarray import")
    assert "from ptrarray.bigarray import PointerArray" in code
    code = code.replace("'/tmp/array'", repr(str(tmp_path / "array")))
    # As everywhere when it was written; its global writer is for that.
    code = "import multiprocessing\nmultiprocessing.set_start_method('fork')\n" + code
    script = tmp_path / "readme.py"
    script.write_text(code, encoding="utf-8")
    done = python(script)
    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)


# the page for who comes from bigarray -------------------------------------------------------------


def test_the_page_for_who_comes_from_it(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "coming-from" / "bigarray.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    shutil.copy(FOLDER / "named", tmp_path / "old")
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    done = python(script, cwd=tmp_path, options=("-W", "error"))
    assert (done.stderr, done.returncode) == ("", 0)
