"""What info, ls and get print on a terminal: at several widths, in colours, shades and ASCII."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyte
import pytest

import ptrarray
from ptrarray.cli import main
from tests.support.command_line import Run
from tests.support.terminal import Terminal
from tests.test_examples import blocks_of, run_code

HOSTILE = ["\x1b[2J\nred", "[red]x[/]", "[/]", ":smile:", "日本語", "[link=x]y"]


class Shown:
    """What a command left on a screen."""

    def __init__(self, code: int, raw: str, n_columns: int) -> None:
        self.code, self.raw, self._n_columns = code, raw, n_columns
        drawn = pyte.Screen(n_columns, 60)
        pyte.Stream(drawn).feed(raw.replace("\n", "\r\n"))
        self.buffer = drawn.buffer
        lines = [line.rstrip() for line in drawn.display]
        self.lines = lines[: 1 + max((n for n, line in enumerate(lines) if line), default=-1)]

    @property
    def below(self) -> Shown:
        """What is below the first line, which may be too long."""
        return Shown(self.code, self.raw.partition("\n")[2], self._n_columns)


class _Tty(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


Show = Callable[..., Shown]


@pytest.fixture
def show() -> Show:
    """Return a function that runs a command whose stdout is a terminal."""

    def run(
        *arguments: object, n_columns: int = 80, encoding: str = "utf-8", **environment: str
    ) -> Shown:
        size = {"COLUMNS": str(n_columns), "LINES": "16"}
        # rich keeps the codes of styles as it first made them: one kind of colours in a process.
        colours = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        written = io.BytesIO()
        with pytest.MonkeyPatch.context() as patch:
            for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
                patch.delenv(name, raising=False)
            for name, value in {**size, **colours, **environment}.items():
                patch.setenv(name, value)
            stdout = _Tty(written, encoding)
            patch.setattr(sys, "stdout", stdout)
            code = main(list(map(str, arguments)))
        stdout.flush()
        return Shown(code, written.getvalue().decode(encoding), n_columns)

    return run


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store in the current folder, so that its path has no more than its name."""
    monkeypatch.chdir(tmp_path)
    with ptrarray.create("a.ptr", dtype="i4", attrs={"rate": 16000, "note": "[red]x[/]"}) as writer:
        writer.write({name: np.arange(3) for name in HOSTILE})
        writer.write({f"utt{n}": np.arange(n) for n in range(5)})
    return Path("a.ptr")


# info ---------------------------------------------------------------------------------------------

AT_40 = """\
a.ptr
  arrays      11
  rows        28
  dtype       "<i4"
  row shape   []
  nbytes      112
  attrs       {"rate": 16000, "note":
              "[red]x[/]"}
  generation  2
  holes       0 rows
  lengths     rows of 11 arrays
  0  1  ████▌
  1  1  ████▌
  2  1  ████▌
  3  7  ████████████████████████████████
  4  1  ████▌
"""


def test_info_at_40_columns(path: Path, show: Show) -> None:
    shown = show("info", path, n_columns=40)
    assert shown.code == 0
    assert shown.lines == AT_40.splitlines()


@pytest.mark.parametrize("n_columns", [80, 200])
def test_info_on_wider_terminals(path: Path, show: Show, n_columns: int) -> None:
    shown = show("info", path, n_columns=n_columns)
    narrow = AT_40.replace('"note":\n' + 14 * " ", '"note": ').splitlines()
    assert shown.lines[:10] == narrow[:10]
    assert [line[:8] for line in shown.lines[10:]] == [line[:8] for line in narrow[10:]]
    assert shown.lines[13] == f"  3  7  {'█' * (n_columns - 8)}"
    assert abs(len(shown.lines[14]) - 8 - (n_columns - 8) // 7) <= 1


def test_info_tells_no_terminal_what_a_user_wrote(show: Show, tmp_path: Path) -> None:
    path = tmp_path / "[red]x[\\]\x1b[2J"
    ptrarray.create(path, dtype="u1").close()
    shown = show("info", path, n_columns=200)
    assert shown.lines[0] == str(path).replace("\x1b", r"\x1b")
    assert "\x1b[2J" not in shown.raw


def test_info_without_colours(path: Path, show: Show) -> None:
    coloured, plain = show("info", path), show("info", path, NO_COLOR="1")
    assert "\x1b[34;49m" in coloured.raw
    assert "\x1b[34" not in plain.raw
    assert plain.lines == coloured.lines


@pytest.mark.parametrize(
    "how", [{"TERM": "dumb"}, {"encoding": "latin-1"}, {"encoding": "ascii"}], ids=str
)
def test_info_in_plain_lines(path: Path, show: Show, run: Run, how: dict[str, str]) -> None:
    code, out, errors = run("info", path)
    assert (code, errors) == (0, "")
    assert show("info", path, **how).raw == out
    assert out.splitlines()[:7] == [
        "a.ptr",
        "  arrays     11",
        "  rows       28",
        '  dtype      "<i4"',
        "  row shape  []",
        "  nbytes     112",
        '  attrs      {"rate": 16000, "note": "[red]x[/]"}',
    ]
    assert out.splitlines()[-2:] == [f"  {'':<9}  3  7", f"  {'':<9}  4  1"]


def test_info_in_plain_lines_without_rich(
    path: Path, show: Show, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert show("info", path).raw == run("info", path)[1]


def test_info_of_a_sample(run: Run, tmp_path: Path) -> None:
    n_arrays = 70_000
    with ptrarray.create(tmp_path / "a.ptr", dtype="u1") as writer:
        names, ends = [f"n{n}" for n in range(n_arrays)], np.arange(n_arrays + 1)
        writer.write_ragged(names, np.zeros(n_arrays, "u1"), ends)
    lines = run("info", tmp_path / "a.ptr")[1].splitlines()
    assert lines[-3:] == [
        "  holes      about 0 rows",
        "  lengths    rows of a sample of 4,096 of 70,000 arrays",
        f"  {'':<9}  1  4,096",
    ]


def test_info_of_bytes_and_of_nothing(run: Run, tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "a.ptr", dtype=None) as writer:
        writer["a"] = np.arange(4.0)
    assert run("info", tmp_path / "a.ptr")[1].endswith(
        "lengths    bytes of 1 arrays\n             32  1\n"
    )
    ptrarray.create(tmp_path / "b.ptr", dtype="u1").close()
    assert run("info", tmp_path / "b.ptr")[1].endswith("lengths    rows of 0 arrays\n")


# ls -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_columns", [40, 80, 200])
def test_ls_long(path: Path, show: Show, n_columns: int) -> None:
    shown = show("ls", path, "--long", n_columns=n_columns)
    assert shown.lines[0] == "start    end  name"
    assert shown.lines[1] == r"    0      3  \x1b[2J\nred"
    assert shown.lines[2:4] == ["    3      6  [red]x[/]", "    6      9  [/]"]
    assert len(shown.lines) == 1 + 11


def test_ls_prints_what_it_always_did(path: Path, show: Show, run: Run) -> None:
    names = [name.replace("\x1b[2J\nred", r"\x1b[2J\nred") for name in HOSTILE]
    assert show("ls", path, "[!u]*").raw.splitlines() == names
    assert run("ls", path, "[!u]*") == (0, "".join(f"{name}\n" for name in names), "")
    assert run("ls", path, "utt[12]", "-l") == (0, "18  19  utt1\n19  21  utt2\n", "")
    assert (
        show("ls", path, "utt1", "-l", "--json").raw == '{"name": "utt1", "start": 18, "end": 19}\n'
    )


# get --plot ---------------------------------------------------------------------------------------


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """A store with one array of each kind."""
    x = np.linspace(0, 20, 500)
    line = np.ma.masked_array(np.sin(x), (x > 4) & (x < 6))
    image = np.zeros((8, 16, 3), np.uint8)
    image[:4, :, 0] = 255
    image[4:, :, 2] = 255
    table = np.ma.masked_array(np.add.outer(np.arange(30.0), np.arange(20)))
    table[10:20, 5:15] = np.ma.masked
    with ptrarray.create(tmp_path / "kinds.ptr", dtype=None, masked=True) as writer:
        writer["line"], writer["image"], writer["table"] = line, image, table
        writer["peak"] = np.where(np.arange(1_000_000) == 700_000, 5.0, 0)
        writer["lone"] = np.ma.masked_array(np.ones(50), np.arange(50) != 25)
        writer["images"] = np.stack([image] * 40)
        writer["floats"] = np.arange(3 * 8 * 8.0).reshape(3, 8, 8)
        writer["few"] = np.stack([np.sin(x), np.cos(x)], axis=1)
        writer["text"] = np.frombuffer(b"Once upon\na time", np.uint8)
        writer["words"] = np.array(["[red]\x1b[2J", "zw\xf6lf"])
        writer["record"] = np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")])
        writer["bytes"] = np.zeros(3, "V5")
        writer["ids"] = np.array([5, 3, 9, 1])
        writer["none"], writer["one"] = np.zeros(0), np.float64(3)
        writer["nan"], writer["inf"] = np.full(5, np.nan), np.array([1, np.inf, 2])
        writer["large"] = np.array([1.7e308, -1.7e308])
        writer["small"] = np.array([1e-320, 0])
        writer["alike"] = np.array([2**62, 2**62 + 1])
        writer["flat"], writer["bools"] = np.ones(5), np.arange(40) % 2 == 0
        writer["dates"] = np.arange("2020-01-01", "2020-03-01", dtype="M8[D]")
        writer["complex"] = np.exp(1j * x)
        writer["clear"] = np.ma.masked_array(np.zeros((2, 8, 8)), mask=True)
    return tmp_path / "kinds.ptr"


KINDS = (
    *("line", "image", "table", "peak", "lone", "images", "floats", "few", "text", "words"),
    *("record", "bytes", "ids", "none", "one", "nan", "inf", "large", "small", "alike", "flat"),
    *("bools", "dates", "complex", "clear"),
)


def test_any_array_fits_on_any_terminal(arrays: Path, show: Show, run: Run) -> None:
    assert run("ls", arrays)[1].split() == list(KINDS)
    for name in KINDS:
        for n_columns in (40, 80, 200):
            shown = show("get", arrays, name, "--plot", n_columns=n_columns, NO_COLOR="1")
            assert shown.code == 0
            assert shown.below.lines, name
            assert "\x1b" not in shown.raw
            assert max(map(len, shown.below.raw.splitlines())) <= n_columns, name
        shown = show("get", arrays, name, "--plot", n_columns=20, encoding="ascii")
        assert shown.code == 0
        assert ("\\u" in shown.raw or "\\x" in shown.raw) == (name in ("words", "bytes")), name


def test_a_masked_line(arrays: Path, show: Show) -> None:
    shown = show("get", arrays, "line", "--plot", n_columns=40)
    assert shown.lines[0] == "line: float64 (500,), rows 0 to 4000"
    assert shown.lines[-1] == "50 of 500 values are left out"
    drawing = shown.lines[2:-3]
    assert len(drawing) == 10
    width = len(shown.lines[1]) - 2
    columns = ["".join(line[1 + at] for line in drawing).strip() for at in range(width)]
    first, last = int(0.23 * width), int(0.28 * width)
    assert not any(columns[first:last])  # what is masked
    assert all(columns[: first - 2])
    assert all(columns[last + 2 :])


def test_a_single_peak_is_drawn(arrays: Path, show: Show) -> None:
    shown = show("get", arrays, "peak", "--plot", n_columns=80)
    width = len(shown.lines[1]) - 2
    [at] = [at for at, character in enumerate(shown.lines[2][1 : 1 + width]) if character != " "]
    assert abs(at / width - 0.7) < 0.02


def test_a_lone_point_is_drawn(arrays: Path, show: Show) -> None:
    drawing = show("get", arrays, "lone", "--plot", n_columns=40).below.lines[1:-3]
    width = len(drawing[0].split("│")[1])
    inside = "".join(line[1 : 1 + width] for line in drawing)
    assert len(inside.replace(" ", "")) == 1


def test_an_image_in_colours(arrays: Path, show: Show) -> None:
    shown = show("get", arrays, "image", "--plot", n_columns=40).below
    assert shown.lines == ["▀" * 16] * 4
    for line, colour in enumerate(("ff0000", "ff0000", "0000ff", "0000ff")):
        assert {(cell.fg, cell.bg) for cell in list(shown.buffer[line].values())[:16]} == {
            (colour, colour)
        }


def test_a_heat_map_in_colours(arrays: Path, show: Show) -> None:
    shown = show("get", arrays, "table", "--plot", n_columns=40).below
    drawing = shown.lines[:10]
    assert shown.lines[10:] == [
        "from 0 (dark) to 48 (bright)",
        "rows go to the right, columns upwards",
        "100 of 600 values are left out",
    ]
    assert {line[9:21] for line in drawing[3:7]} == {"▀" + 10 * " " + "▀"}
    assert drawing[2][9:21] == "▀" * 12  # its lower half is clear
    assert shown.buffer[2][15].bg == "default"
    assert shown.buffer[9][0].bg == "440154"  # the first row and column, and the lowest
    assert shown.buffer[0][29].fg == "fde725"


def test_numbers_of_a_drawing_are_those_of_the_array(tmp_path: Path, show: Show) -> None:
    table = np.zeros((400, 40))
    table[7, 7] = 800
    arrays = {
        "days": np.array(["2020-01-01", "NaT", "2021-12-31", "2021-01-01"], "M8[D]"),
        "times": np.array([0, 10**18], "M8[ns]"),
        "complex": np.array([3 + 4j, 0]),
        "means": table,
        "nothing": np.full((400, 40), np.nan),
        "close": 1.7e9 + np.arange(400.0).reshape(20, 20),
    }
    with ptrarray.create(tmp_path / "a.ptr") as writer:
        writer.update(arrays)
    for name, lines in {
        "days": ["below 2020-01-01", "above 2021-12-31", "1 of 4 values are left out"],
        "times": ["below 1970-01-01T00:00:00", "above 2001-09-09T01:46:40"],
        "complex": ["absolute values of complex numbers"],
        "means": ["means 0 (dark) to 80 (bright)", "rows go to the right, columns upwards"],
        "nothing": ["nothing to draw: no finite numbers", "16,000 of 16,000 values are left out"],
        "close": ["from 1700000000 (dark) to 1700000399 (bright)"],
    }.items():
        shown = show("get", tmp_path / "a.ptr", name, "--plot", n_columns=80).below
        assert "\n".join(lines) in "\n".join(shown.lines), name
        assert ("1970" in shown.raw or "18," in shown.raw) == (name == "times")  # no number of days
        assert ("dark" in shown.raw) == (name in ("means", "close"))


def test_a_heat_map_in_shades(arrays: Path, show: Show, run: Run) -> None:
    plain = show("get", arrays, "table", "--plot", n_columns=40, NO_COLOR="1").below
    drawing = plain.lines[:10]
    assert "\x1b" not in plain.raw
    assert drawing[9][0] == "░"
    assert drawing[0][29] == "█"
    assert {line[10:20] for line in drawing[3:7]} == {10 * " "}
    ascii_only = show("get", arrays, "table", "--plot", n_columns=40, encoding="ascii")
    assert ascii_only.below.lines[:10] == [
        line.translate(str.maketrans("░▒▓█", ".:*#")) for line in drawing
    ]


def test_many_images(arrays: Path, show: Show) -> None:
    shown = show("get", arrays, "images", "--plot", n_columns=40).below
    assert shown.lines[0] == f"{'▀' * 16} {'▀' * 16}"
    assert shown.lines[-1] == "2 of 40 images, evenly spaced"
    assert (
        show("get", arrays, "floats", "--plot", n_columns=40).below.lines[0]
        == "▀▀▀▀▀▀▀▀ " * 2 + "▀" * 8
    )


def test_what_is_no_picture(arrays: Path, show: Show) -> None:
    for name, lines in {
        "text": ["Once upon", "a time"],
        "words": ["[red]·[2J", "zwölf"],
        "record": ["a, b", "(1, 2.5)"],
        "none": ["nothing to draw: no values"],
        "nan": ["nothing to draw: no finite numbers"],
        "clear": ["nothing to draw: no finite numbers", "128 of 128 values are left out"],
    }.items():
        assert show("get", arrays, name, "--plot").below.lines == lines


def test_lines_are_told_apart_in_colours(arrays: Path, show: Show) -> None:
    assert "██ 0   ██ 1" in show("get", arrays, "few", "--plot").raw.replace("\x1b[0m", "").replace(
        "\x1b[34m", ""
    ).replace("\x1b[35m", "")
    assert "\x1b" not in show("get", arrays, "few", "--plot", NO_COLOR="1").raw


def test_plots_in_a_pipe(arrays: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    for name in KINDS:
        code, out, errors = run("get", arrays, name, "--plot")
        assert (code, errors) == (0, "")
        assert "\x1b" not in out
        assert max(map(len, out.splitlines()[1:])) <= 60, name


def test_plot_and_save(arrays: Path, run: Run, tmp_path: Path) -> None:
    code, out, errors = run("get", arrays, "ids", "--plot", "--out", tmp_path / "ids.npy")
    assert (code, errors) == (0, "")
    assert out.splitlines()[0].endswith(
        f"saved as {tmp_path / 'ids.npy'} and {tmp_path / 'ids.mask.npy'}"
    )
    assert out.splitlines()[1].startswith("┌──")


def test_refused(arrays: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = "ptrarray: JSON has no drawings: leave out --plot, or --json\n"
    assert run("get", arrays, "ids", "--plot", "--json") == (1, "", what)
    monkeypatch.setitem(sys.modules, "uniplot", None)
    code, out, errors = run("get", arrays, "ids", "--plot", "--out", tmp_path / "x.npy")
    assert (code, out) == (1, "")
    assert errors.endswith(": pip install 'ptrarray[cli]'\n")
    assert not (tmp_path / "x.npy").exists()


# The page -----------------------------------------------------------------------------------------


def test_the_page_shows_what_is_printed(
    show: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parent.parent / "docs" / "look.md").read_text(encoding="utf-8")
    run_code(blocks_of(page)[0].code, "program", tmp_path)
    monkeypatch.chdir(tmp_path / "folder")
    found = re.findall(r"^```text\n\$ ptrarray (.*?)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(found) == 4
    for command, printed in found:
        shown = show(*shlex.split(command), n_columns=72, LINES="40", NO_COLOR="1")
        assert shown.lines == printed.splitlines(), command


# As a process -------------------------------------------------------------------------------------


def test_a_real_terminal(path: Path) -> None:
    with Terminal(30, 40) as terminal:
        terminal.run(
            [sys.executable, "-m", "ptrarray", "info", "a.ptr"],
            PYTHONPATH=str(Path(__file__).parent.parent),
        )
        assert terminal.finish() == 0
        assert terminal.screen() == AT_40.splitlines()


def test_little_is_loaded_in_a_pipe(path: Path) -> None:
    """Nobody waits for libraries that draw."""
    code = (
        "import sys\nfrom ptrarray.cli import main\nmain(['info', 'a.ptr'])\n"
        "main(['ls', 'a.ptr', '-l'])\nmain(['watch', 'a.ptr', '--once'])\n"
        "assert not {'rich', 'uniplot', 'shtab', 'tqdm'} & set(sys.modules), sys.modules"
    )
    environment: Any = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
