"""What arrays look like, and their pixels as PNG."""

from __future__ import annotations

import struct
import unicodedata
import zlib
from typing import Any, get_args

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ptrarray.look.colours import levels, palette
from ptrarray.look.kinds import Kind, can_be, kind_of, kinds_of
from ptrarray.look.png import png
from ptrarray.look.words import lines_of, plain

RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 30_000, 100)
TEXT = np.frombuffer("Ein König,\nein <b>Wort</b>\t日本".encode() * 9000, np.uint8)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros(5), "line"),
        (np.zeros((5, 1)), "line"),
        (np.zeros((5, 1, 1)), "line"),
        (np.zeros(()), "line"),
        (np.zeros(5, bool), "line"),
        (np.zeros(5, "c16"), "line"),
        (np.zeros(5, ">M8[D]"), "line"),
        (np.zeros(5, ml_dtypes.bfloat16), "line"),
        (np.zeros(5, ml_dtypes.int4), "line"),
        (np.zeros((50, 3)), "lines"),
        (np.zeros((50, 2, 3)), "lines"),
        (np.zeros((2, 3)), "heatmap"),
        (np.zeros((50, 80), "f4"), "heatmap"),
        (np.zeros((50, 80), bool), "heatmap"),
        (np.zeros((50, 80), "u2"), "heatmap"),
        (np.zeros((50, 4, 4)), "heatmap"),
        (np.zeros((1, 80)), "heatmap"),
        (np.zeros((5000, 8), "u1"), "heatmap"),
        (np.zeros((48, 64), "u1"), "image"),
        (np.zeros((48, 64, 1), "u1"), "image"),
        (np.zeros((48, 64, 3), "u1"), "image"),
        (np.zeros((48, 64, 4), "u1"), "image"),
        (np.ma.zeros((48, 64, 4), "u1"), "image"),
        (RNG.random((48, 64, 3)), "image"),
        (RNG.random((48, 64, 3)) * 9, "heatmap"),
        (np.zeros((48, 64, 5), "u1"), "heatmap"),
        (np.zeros((9, 48, 64), "u1"), "images"),
        (np.zeros((9, 48, 64, 3), "u1"), "images"),
        (np.zeros((9, 48, 64)), "images"),
        (np.zeros((50, 3), "u1"), "lines"),
        (np.array(["a", "b"]), "text"),
        (np.array([b"\xff"]), "text"),
        (np.array([["a", "b"]]), "text"),
        (TEXT, "text"),
        (np.frombuffer("日本".encode()[:-1], np.uint8), "line"),  # a character is cut
        (np.ma.masked_equal(TEXT, ord("b")), "text"),
        (TEXT[:, np.newaxis], "text"),
        (np.arange(32, dtype="u1"), "line"),
        (np.full(99, 120, "u1"), "line"),
        (np.array([0xC3, 0x28], "u1"), "line"),
        (IDS, "tokens"),
        (IDS.astype(">u2"), "tokens"),
        (np.ma.masked_less(IDS - 200, 0), "tokens"),
        (IDS - 200, "line"),
        (np.arange(100), "line"),
        (np.ma.masked_less(np.arange(4), 9), "line"),
        (np.zeros(3, [("a", "i4"), ("b", "f8")]), "table"),
        (np.zeros((3, 2), [("a", "i4")]), "table"),
        (np.zeros(3, "V8"), "bytes"),
        (np.zeros(0), "nothing"),
        (np.zeros((0, 80)), "nothing"),
        (np.zeros((80, 0)), "nothing"),
        (np.zeros(0, "S0"), "nothing"),
    ],
)
def test_what_arrays_look_like(array: Any, expected: Kind) -> None:
    assert kind_of(array) == expected


def test_an_array_can_be_looked_at_in_other_ways() -> None:
    assert kinds_of(np.zeros((50, 80))) == ("heatmap", "lines", "image")
    assert kinds_of(np.zeros((50, 80), "u1")) == ("image", "heatmap", "lines")
    assert kinds_of(np.zeros((50, 3))) == ("lines", "heatmap")
    assert kinds_of(np.arange(9)) == ("line", "tokens")
    assert kinds_of(np.zeros((9, 48, 64))) == ("images", "heatmap")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros(5), "line lines heatmap bytes"),
        (np.zeros((5, 3)), "lines heatmap image bytes"),
        (np.zeros((5, 8, 3)), "heatmap image images bytes"),
        (np.zeros((5, 8, 3, 4)), "heatmap images bytes"),
        (np.arange(5), "line lines heatmap tokens bytes"),
        (TEXT, "line lines heatmap text tokens bytes"),
        (np.array(["a"]), "text bytes"),
        (np.zeros(3, [("a", "i4")]), "table bytes"),
        (np.zeros((0, 3)), "nothing"),
    ],
)
def test_what_an_array_can_be(array: Any, expected: str) -> None:
    assert " ".join(kind for kind in get_args(Kind) if can_be(array, kind)) == expected
    assert all(can_be(array, kind) for kind in kinds_of(array))


def test_little_of_a_large_array_is_looked_at() -> None:
    # All of these lie on one value, so that any copy of them would not fit into memory.
    for dtype in ("u1", "i4", "f4", "M8[s]"):
        for shape in ((10**13,), (10**11, 80), (10**9, 480, 640), (10**5, 10**5, 3)):
            assert kinds_of(np.broadcast_to(np.ones((), dtype), shape))


def pixels_of(file: bytes) -> tuple[Any, Any]:
    """Return the pixels of a PNG file, and its palette."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, []
    while at < len(file):
        (length,) = struct.unpack_from(">I", file, at)
        name, content = file[at + 4 : at + 8], file[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", file, at + 8 + length) == (zlib.crc32(name + content),)
        chunks.append((name, content))
        at += 12 + length
    header = struct.unpack(">IIBBBBB", chunks[0][1])
    assert chunks[0][0] == b"IHDR"
    assert chunks[-1] == (b"IEND", b"")
    assert (header[2], *header[4:]) == (8, 0, 0, 0)
    by_name = dict(chunks)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[header[3]]
    rows = np.frombuffer(zlib.decompress(by_name[b"IDAT"]), np.uint8).reshape(header[1], -1)
    colours = np.frombuffer(by_name.get(b"PLTE", b""), np.uint8).reshape(-1, 3)
    alphas = np.full(len(colours), 255, np.uint8)
    given_alphas = np.frombuffer(by_name.get(b"tRNS", b""), np.uint8)
    alphas[: len(given_alphas)] = given_alphas
    pixels = rows[:, 1:].reshape(header[1], header[0], channels).copy()
    for at, of_row in enumerate(rows[:, 0]):
        if of_row == 1:
            pixels[at] = np.cumsum(pixels[at], axis=0, dtype=np.uint8)
        elif of_row == 2:
            pixels[at] += pixels[at - 1] if at else 0
        else:
            assert of_row == 0
    return pixels, np.c_[colours, alphas]


@given(
    sides=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    channels=st.sampled_from([None, 1, 2, 3, 4]),
    seed=st.integers(0, 2**32),
)
def test_pixels_come_back_from_a_png(sides: Any, channels: int | None, seed: int) -> None:
    shape = sides if channels is None else (*sides, channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    smooth = np.cumsum(pixels // 64, axis=seed % 2, dtype=np.uint8)
    for order in (pixels, smooth, np.asfortranarray(pixels), pixels[::-1, ::-1]):
        found, _ = pixels_of(png(order))
        assert_array_equal(found.reshape(shape), order)


def test_a_palette_comes_back_from_a_png() -> None:
    indices = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for colours in (palette(5), palette(5)[1:], palette(255)):
        found, of_file = pixels_of(png(indices, colours))
        assert_array_equal(found[:, :, 0], indices)
        assert_array_equal(of_file, colours)


def test_colours_go_from_the_lowest_to_the_highest_number() -> None:
    largest = np.finfo(float).max
    assert levels(np.array([-largest, 0, largest, np.nan]), -largest, largest, 5).tolist() == [
        1,
        3,
        5,
        0,
    ]
    assert levels(np.array([7.0, np.nan]), 7, 7, 5).tolist() == [3, 0]
    assert levels(np.full(3, np.nan), np.nan, np.nan, 5).tolist() == [0, 0, 0]
    light = palette(127)[1:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(light) > 0).all()


def columns_of(line: str) -> int:
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in line)
    return len(line) + wide - sum(unicodedata.combining(character) > 0 for character in line)


@given(
    content=st.text(max_size=200),
    n_columns=st.integers(2, 30),
    n_lines=st.integers(1, 5),
    as_bytes=st.booleans(),
)
def test_any_text_fits_into_its_lines(
    content: str, n_columns: int, n_lines: int, as_bytes: bool
) -> None:
    array: Any = np.array([content])
    if as_bytes:
        array = np.frombuffer(content.encode("utf-8", "replace"), np.uint8)
    lines = lines_of(array, "text", n_columns, n_lines)
    assert len(lines) <= n_lines
    assert all(line.isprintable() or plain(line) == line for line in lines)
    joined = "".join(lines)
    assert all(columns_of(line) <= n_columns for line in lines)
    joined.encode()
    if not joined.endswith("…") and not as_bytes:
        assert joined == plain(str(array[0]))


def test_words_of_other_kinds() -> None:
    ids = np.ma.masked_equal([17, 4, 99, 4], 99)
    assert lines_of(ids, "tokens", 7, 3) == ["17 4 --", "4"]
    assert lines_of(ids, "tokens", 7, 1) == ["17 4 -…"]
    records = np.array([(1, 2.5), (3, 4.5)], [("id", "i4"), ("x", "f8")])
    assert lines_of(records, "table", 20, 5) == ["id, x", "(1, 2.5)", "(3, 4.5)"]
    assert lines_of(np.ma.array(records, mask=[True, False]), "table", 20, 5)[1] == "(--, --)"
    assert lines_of(np.frombuffer(b"\x01\x02\xff\xfe", "V2"), "bytes", 9, 5) == ["01 02", "ff fe"]
    assert lines_of(np.array([b"a\xff", b"b"]), "text", 9, 5) == ["a\ufffd", "b"]
    assert lines_of(np.ma.array(["a", "b"], mask=[False, True]), "text", 9, 5) == ["a", "--"]
    masked = np.ma.masked_equal(np.frombuffer(b"abc", np.uint8), ord("b"))
    assert lines_of(masked, "text", 9, 5) == ["a·c"]
