"""The picture of any array: valid, harmless, small, and nothing that is masked looks as if it were there."""

from __future__ import annotations

import base64
import re
import tracemalloc
from typing import Any, get_args
from urllib.parse import unquote
from xml.etree import ElementTree

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray.look.kinds import Kind, can_be, kinds_of
from ptrarray.look.svg import Picture, picture
from tests.support.strategies import arrays, dtypes, maybe_hidden, row_shapes
from tests.test_look_kinds import pixels_of

RNG = np.random.default_rng(0)
SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {"svg", "path", "text", "tspan", "image", "g"}


def elements(drawn: Picture) -> Any:
    """Return the parsed picture, once it is seen to hold nothing that HTML should not."""
    root = ElementTree.fromstring(drawn.svg.encode())
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in ELEMENTS
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert name not in ("style", "id", "class")
            if name == "href":
                assert value.startswith("data:image/png;base64,")
            else:
                assert not re.search("nan|inf", value)
    return root


def points_of(drawn: Picture, look: str = "stroke-linecap") -> list[Any]:
    """Return the points of each stroke, in pixels."""
    strokes = []
    for path in elements(drawn).iter(f"{SVG}path"):
        if look not in path.attrib:
            continue
        for one in re.findall(r"M[^M]*", path.attrib["d"]):
            numbers = [int(number) for number in re.findall(r"-?\d+", one.replace("h0", ""))]
            strokes.append(np.cumsum(np.reshape(numbers, (-1, 2)), axis=0) / 10)
    return strokes


def pixels_in(drawn: Picture) -> Any:
    (image,) = elements(drawn).iter(f"{SVG}image")
    _, content = image.attrib["href"].split(",")
    indices, colours = pixels_of(base64.b64decode(content))
    return colours[indices[:, :, 0]] if len(colours) else indices


@st.composite
def any_arrays(draw: st.DrawFn) -> Any:
    array = draw(arrays(draw(dtypes()), draw(row_shapes()), max_length=40))
    return draw(maybe_hidden(array, draw(st.booleans())))


@given(data=st.data(), array=any_arrays())
def test_any_array_has_a_picture_of_each_of_its_kinds(data: st.DataObject, array: Any) -> None:
    for kind in [kind for kind in get_args(Kind) if can_be(array, kind)]:
        width, height = data.draw(st.tuples(st.integers(1, 300), st.integers(1, 200)))
        drawn = picture(array, width, height, kind=kind, axes=data.draw(st.booleans()))
        root = elements(drawn)
        assert (root.attrib["width"], root.attrib["height"]) == (str(width), str(height))
        assert (drawn.kind, drawn.sampled) == (kind, False)
        drawn.caption.encode()


@given(array=any_arrays())
def test_an_element_of_html_holds_the_whole_picture(array: Any) -> None:
    drawn = picture(array)
    name = "<b>&\"'name"
    found = ElementTree.fromstring(drawn.img(name).replace(">", "/>").encode())
    assert found.attrib["alt"] == name
    assert unquote(found.attrib["src"].removeprefix("data:image/svg+xml,")) == drawn.svg
    assert not set(drawn.source) & set('<>"\n#')


def test_what_cannot_be_drawn_so_is_refused() -> None:
    expected = r"array of <U1 \(2,\) is not drawn as 'image', but as text"
    with pytest.raises(ValueError, match=expected):
        picture(np.array(["a", "b"]), kind="image")


@pytest.mark.parametrize("content", ["<script>&\"'</script>", "\0\x1b[31m\ud800\u202e", "]]>"])
def test_text_is_text(content: str) -> None:
    drawn = picture(np.array([content]), 600, 36)
    (line,) = [text.text for text in elements(drawn).iter(f"{SVG}text")]
    assert line == re.sub(r"[\0\x1b\ud800\u202e]", "·", content)
    field = np.zeros(1, [(content.replace("\0", "").replace("\ud800", ""), "i4")])
    assert "<script" not in picture(field, 600, 36).svg


# lines --------------------------------------------------------------------------------------------


def test_a_line_goes_through_each_value() -> None:
    (points,) = points_of(picture(np.array([0, 4, 1, 2] * 10), 103, 20, kind="line"))
    assert points[:, 0] == pytest.approx(np.linspace(2, 101, 40), abs=0.06)
    assert points[:5, 1] == pytest.approx([17, 3, 13.5, 10, 17])


@pytest.mark.parametrize("n_values", [200, 5_000, 1_000_000])
@pytest.mark.parametrize("dtype", ["f4", ">f8", "i1", ml_dtypes.bfloat16])
def test_a_peak_is_seen(n_values: int, dtype: Any) -> None:
    values = np.zeros(n_values, dtype)
    values[n_values * 7 // 10] = 100
    (points,) = points_of(picture(values, max_bytes=None))
    top = points[points[:, 1].argmin()]
    assert top == pytest.approx([2 + 0.7 * 156, 3], abs=1)
    assert picture(values, max_bytes=None).caption == "0 to 100"


def test_masked_values_are_gaps_and_a_lone_value_is_a_dot() -> None:
    mask = np.arange(40) // 5 % 2 == 1
    mask[20:25] = [True, True, False, True, True]
    values = np.ma.array(np.arange(40.0), mask=mask)
    drawn = picture(values, 82, 20)
    strokes = points_of(drawn)
    assert [len(points) for points in strokes] == [5, 5, 5, 1]
    assert strokes[-1][0] == pytest.approx([2 + 22 * 78 / 39, 17 - 14 * 22 / 34], abs=0.06)
    assert drawn.caption == "0 to 34, 24 left out"
    shades = next(path.attrib["d"] for path in elements(drawn).iter(f"{SVG}path"))
    lefts = [float(left) for left in re.findall(r"M([\d.]+)", shades)]
    assert lefts == pytest.approx([2 + 2 * edge for edge in (4.5, 14.5, 22.5, 34.5)], abs=0.06)


def test_one_masked_value_among_many_is_marked() -> None:
    values = np.ma.zeros(1_000_000)
    values[300_000] = np.ma.masked
    drawn = picture(values, max_bytes=None)
    (mark,) = [p for p in elements(drawn).iter(f"{SVG}path") if "fill-opacity" in p.attrib]
    left = float(re.findall(r"M([\d.]+)", mark.attrib["d"])[0])
    assert left == pytest.approx(2 + 0.3 * 156, abs=1)
    assert drawn.caption == "0, 1 left out"


@pytest.mark.parametrize(
    "values",
    [
        np.ma.masked_less(np.zeros(30), 9),
        np.full(30, np.nan),
        np.full(30, "NaT", "M8[s]"),
        np.full(30, np.inf),
    ],
)
def test_where_there_is_nothing_to_draw_all_is_shaded(values: Any) -> None:
    drawn = picture(values)
    (shade,) = elements(drawn).iter(f"{SVG}path")
    assert shade.attrib["d"] == "M2.0 3h156.0v30h-156.0z"
    assert drawn.caption == "30 left out"


def test_a_shade_is_no_wider_than_the_picture() -> None:
    values = np.ma.zeros(1)
    values[0] = np.ma.masked
    assert "M2.0 3h6.0v2h-6.0z" in picture(values, 10, 8).svg


def test_each_column_has_a_colour() -> None:
    values = np.arange(60.0).reshape(20, 3) % 7
    drawn = picture(values, 400, 100, axes=True)
    strokes = {p.attrib["stroke"] for p in elements(drawn).iter(f"{SVG}path")} - {"#808080"}
    named = {t.attrib["fill"]: t.text for t in elements(drawn).iter(f"{SVG}tspan")}
    assert len(strokes) == 3
    assert set(named) == strokes
    assert picture(np.zeros((50, 80)), kind="lines").caption == "0, 6 of 80 columns"


def test_the_ends_of_axes_are_named() -> None:
    def words(drawn: Picture) -> list[str]:
        return [str(text.text) for text in elements(drawn).iter(f"{SVG}text")]

    line = picture(np.linspace(-1.5, 3, 700), 400, 100, axes=True, first_row=3000)
    assert words(line) == ["3", "-1.5", "row 3,000", "3,699"]
    table = picture(np.linspace(-1.5, 3, 700).reshape(7, 100), 400, 160, axes=True)
    assert words(table) == ["99", "column 0", "row 0", "6", "3", "-1.5"]
    days = np.arange("2024-01-01", "2024-02-01", dtype="M8[D]").astype(">M8[D]")
    assert words(picture(days, 400, 100, axes=True))[:2] == ["2024-01-31", "2024-01-01"]
    assert picture(days.astype("M8[ns]")).caption == "2024-01-01T00:00:00 to 2024-01-31T00:00:00"
    assert picture(np.array([5, 7], "m8[10us]")).caption == "50 microseconds to 70 microseconds"


# pixels -------------------------------------------------------------------------------------------


def test_rows_go_to_the_right_and_columns_up() -> None:
    values = np.ma.array([[0.0, 1], [2, 3], [4, 5]])
    values[1, 0] = np.ma.masked
    found = pixels_in(picture(values, kind="heatmap"))
    assert found.shape == (2, 3, 4)
    assert found[1, 0].tolist() == [68, 1, 84, 255]
    assert found[0, 2].tolist() == [253, 231, 37, 255]
    assert (found[:, :, 3] == 0).tolist() == [[False] * 3, [False, True, False]]
    drawn = picture(values, kind="heatmap")
    assert drawn.caption == "0 to 5, 1 left out"
    hatched = [path for path in elements(drawn).iter(f"{SVG}path")]
    assert len(hatched) == 2
    assert len(list(elements(picture(values.data, kind="heatmap")).iter(f"{SVG}path"))) == 0


@pytest.mark.parametrize("n_channels", [None, 1, 3, 4])
def test_an_image_keeps_its_pixels(n_channels: int | None) -> None:
    shape = (20, 30) if n_channels is None else (20, 30, n_channels)
    image = RNG.integers(0, 256, shape, np.uint8)
    found = pixels_in(picture(image))
    assert found.tolist() == image.reshape(20, 30, -1).tolist()
    hidden = np.ma.array(image, mask=np.zeros(shape, bool))
    hidden[3, 5] = np.ma.masked
    clear = pixels_in(picture(hidden))[:, :, -1] == 0
    assert (clear[3, 5], clear.sum()) == (
        True,
        1 if n_channels != 4 else (image[:, :, 3] == 0).sum() + 1,
    )
    assert "image-rendering='pixelated'" in picture(image).svg
    assert "image-rendering='auto'" in picture(np.tile(image, (5, 5, 1)[: image.ndim])).svg


def test_floats_are_colours_from_0_to_1() -> None:
    image = np.zeros((20, 20, 3))
    image[0, 0], image[0, 1] = 1, (0, 0.5, 0)
    found = pixels_in(picture(image))
    assert found[0, :3].tolist() == [[255] * 3, [0, 128, 0], [0, 0, 0]]


def test_images_are_side_by_side() -> None:
    images = np.stack([np.full((30, 30), 10 * k, np.uint8) for k in range(20)])
    drawn = picture(images, 160, 36)
    found = pixels_in(drawn)
    assert found.shape == (30, 158 // 32 * 32 - 2, 2)
    assert found[0, ::32, 0].tolist() == [0, 50, 100, 150]
    assert found[0, 30::32, 1].tolist() == [0, 0, 0]
    assert drawn.caption == "4 of 20 images"
    assert picture(images * 1.0, 160, 36).caption == "4 of 20 images, 0 to 150"


# captions -----------------------------------------------------------------------------------------


def test_a_range_of_means_is_said_to_be_one() -> None:
    table = np.zeros((400, 300))
    table[100, 200] = 1000
    assert picture(table[:30, :20], kind="heatmap", max_bytes=None).caption == "0"
    drawn = picture(table, kind="heatmap", max_bytes=None)
    assert re.fullmatch(r"means 0 to \d\d\.?\d*", drawn.caption)
    images = np.zeros((2, 60, 70))
    images[0, 0, 0] = 1000
    assert picture(images, max_bytes=None).caption.startswith("2 images, means 0 to ")
    assert picture(images, 400, 100, max_bytes=None).caption == "2 images, 0 to 1000"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.7e9, 1.7e9 + 3599, "1700000000 to 1700003599"),
        (10_000_001, 10_000_999, "10000001 to 10000999"),
        (-20_000_003, -20_000_001, "-20000003 to -20000001"),
        (1000.0001, 1000.0002, "1000.0001 to 1000.0002"),
        (1.0, np.nextafter(1, 2), "1 to 1.0000000000000002"),
        (1e300, 1.00001e300, "1e+300 to 1.00001e+300"),
        (0.1234567, 0.1234567, "0.1235"),
    ],
)
def test_two_numbers_of_a_caption_are_told_apart(low: float, high: float, expected: str) -> None:
    values = np.array([low, high, low] * 3)
    assert picture(values, kind="line").caption == expected
    with_axes = picture(values, 300, 100, kind="line", axes=True)
    assert with_axes.caption == expected
    for text in elements(with_axes).iter(f"{SVG}text"):
        if text.attrib["text-anchor"] == "end" and float(text.attrib["x"]) < 100:
            nearly = 6.2 * len(text.text or "")
            width = float(text.attrib.get("textLength", nearly))
            assert float(text.attrib["x"]) - width >= 0


# bounds -------------------------------------------------------------------------------------------

LARGE: list[Any] = [
    RNG.standard_normal(100_000),
    RNG.standard_normal((50_000, 6)),
    RNG.standard_normal((3000, 80)),
    RNG.integers(0, 256, (400, 600, 4), np.uint8),
    RNG.integers(0, 256, (50, 40, 60, 3), np.uint8),
    RNG.integers(0, 99_999, 5000),
    RNG.random(200_000) < 0.5,
    np.ma.array(RNG.standard_normal(310), mask=RNG.random(310) < 0.5),
    np.ma.array(RNG.standard_normal((310, 6)), mask=RNG.random((310, 6)) < 0.5),
    np.frombuffer(b"<&'\"" * 5000, np.uint8),
    np.array(["<&'\"" * 5000] * 3),
]


@pytest.mark.parametrize("array", LARGE, ids=lambda array: f"{array.dtype}{array.shape}")
def test_a_small_picture_is_small(array: Any) -> None:
    for kind in kinds_of(array):
        assert len(picture(array, kind=kind).img("")) < 20_000


@pytest.mark.parametrize("shape", [(10**13,), (10**11, 80), (3, 10**12), (10**9, 480, 640)])
def test_of_what_is_too_large_a_sample_is_drawn(shape: tuple[int, ...]) -> None:
    # All values are one, so that any copy of them would not fit into memory.
    array = np.broadcast_to(np.ones((), "f4"), shape)
    for kind in kinds_of(array):
        tracemalloc.start()
        drawn = picture(array, kind=kind)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert "a sample" in drawn.caption or "columns" in drawn.caption
        assert peak < 50_000_000
