"""Notebooks run in a real kernel, and what they show is what any notebook may show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.html import Page
from tests.test_examples import ROOT

nbclient: Any = pytest.importorskip("nbclient")
nbformat: Any = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

pytestmark = pytest.mark.filterwarnings("ignore")
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))


def run(notebook: Any, folder: Path) -> list[Any]:
    """Run a notebook in a folder, and return what its cells show."""
    where = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def pages(outputs: list[Any]) -> list[Page]:
    """Return what is shown as HTML, each read as a notebook that is not trusted takes it."""
    return [Page(one.data["text/html"]) for one in outputs if "text/html" in one.get("data", {})]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_of_the_examples(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, 4)
    shown = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in shown)
    outputs = run(notebook, tmp_path)
    assert {output.output_type for output in outputs} == {"execute_result"}
    assert len(pages(outputs)) == len(shown)


def test_a_notebook_goes_on_where_a_store_is_closed_or_gone(tmp_path: Path) -> None:
    cells = [
        "import ptrarray, shutil\nwriter = ptrarray.create('a.ptr')\nwriter",
        "writer['a'] = [1, 2]\nstore = ptrarray.open('a.ptr')\nshutil.rmtree('a.ptr')\nwriter",
        "writer.meta",
        "store",
        "store.close()\nstore",
        "'the end'",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    outputs = run(notebook, tmp_path)
    assert outputs[-1].data["text/plain"] == "'the end'"
    texts = [page.text for page in pages(outputs)]
    assert len(texts) >= 4
    assert "no store at" in texts[1]
    assert "closed" in texts[-1]
