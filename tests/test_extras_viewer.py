"""The page of the viewer in a real Chromium: what grows, is searched, drawn, changed, gone and back."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import numpy as np
import pytest

import ptrarray
from tests.support.browsing import ARRAYS, HTML, IMAGE, TOKEN, WAVE, Server, Tabs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium: apt-get install chromium"),
    # Of what playwright leaves to be collected.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
expect = sync_api.expect

QUIET = "--no-sandbox --disable-gpu --disable-quic --disable-background-networking --disable-component-update --disable-sync"
HIDE = "(is) => { Object.defineProperty(document, 'hidden', { value: is, configurable: true }); document.dispatchEvent(new Event('visibilitychange')); }"
WRITER = """
import sys, numpy as np, ptrarray
for line in sys.stdin:
    with ptrarray.append(sys.argv[1]) as writer:
        writer.write({f"{line.strip()}/{k:04}": np.arange(9.0) for k in range(25)})
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        expect.set_options(timeout=20_000)
        yield browser
        browser.close()


@pytest.fixture
def tabs(browser: Any, server: Server) -> Iterator[Tabs]:
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    tabs = Tabs(context)
    yield tabs
    context.close()
    tabs.check()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store.ptr"
    attrs = {"<b>": [HTML, {"deep": 1}]}
    with ptrarray.create(path, masked=True, attrs=attrs) as writer:
        writer.write(ARRAYS, meta={"wave": {HTML: {"gain": HTML}}})
        writer.write({f"utt/{k:05}": np.arange(k % 9 + 1.0) for k in range(1500)})
    return path


@pytest.fixture
def server(store: Path) -> Iterator[Server]:
    server = Server(store)
    yield server
    server.kill()


def route(name: str, **more: object) -> str:
    return f"#/array?{urlencode({'name': name, **more})}"


def hover(page: Any, x: float, y: float = 0.5) -> None:
    """Put the pointer on a drawing, at these fractions of where its numbers are."""
    image = page.locator(".drawing img")
    expect(image).to_be_visible()
    seen, (left, top, wide, high) = image.bounding_box(), box(page)
    scale = seen["width"] / int(image.get_attribute("width"))
    page.mouse.move(seen["x"] + (left + x * wide) * scale, seen["y"] + (top + y * high) * scale)


def box(page: Any) -> tuple[int, ...]:
    """Return where in a drawing numbers are: between its axes, or all of it."""
    size = [int(page.locator(".drawing img").get_attribute(side)) for side in ("width", "height")]
    if page.locator(".plot.pixels").count():
        return 2, 3, size[0] - 4, size[1] - 6
    right = 84 if page.locator("#tab-heatmap[aria-selected=true]").count() else 10
    return 62, 8, size[0] - 62 - right, size[1] - 26


def is_settled(page: Any) -> None:
    expect(page.locator("#view")).to_have_attribute("aria-busy", "false")


# the overview -----------------------------------------------------------------------------------


def test_counts_rise_while_another_process_appends(tabs: Tabs, server: Server) -> None:
    page = tabs.open(server.url)
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#n-arrays")).to_have_text("1,510")
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(server.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        for number, count in enumerate(("1,535", "1,560")):
            writer.stdin.write(f"live{number}\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "done\n"
            expect(page.locator("#n-arrays")).to_have_text(count)
            expect(page.locator("#newest a").first).to_have_text(f"live{number}/0024")
        writer.stdin.close()
    expect(page.locator("#growth svg")).to_have_attribute("aria-label", re.compile("1,510.*1,560"))
    expect(page.locator("#lengths svg")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("mixed")
    page.locator("#newest a").first.click()
    expect(page.locator("h1")).to_have_text("live1/0024")


def test_names_and_metadata_with_html_are_text(tabs: Tabs, server: Server) -> None:
    page = tabs.open(server.url)
    expect(page.locator("main")).to_contain_text(HTML)  # of attrs
    page.keyboard.press("/")
    page.keyboard.type("<img")
    expect(page.locator("#results li").first).to_have_text(HTML)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(HTML)
    page.goto(server.url + route("wave"))
    expect(page.locator("#meta")).to_contain_text(HTML)
    page.goto(server.url + route("table"))
    expect(page.locator("#view td").nth(1)).to_have_text("<i>0")
    assert page.locator("main img[onerror], main b, main i").count() == 0
    assert page.title() == "store.ptr · ptrarray"


def test_any_name_has_a_page(tabs: Tabs, server: Server) -> None:
    page = tabs.open(server.url, route("a/b ?#&+%2F\n"))
    expect(page.locator("#summary")).to_contain_text("4 · float64")
    page.goto(server.url + route(""))
    expect(page.locator("#summary")).to_contain_text("2 · float64")
    expect(page.locator("h1")).to_have_text("(no name)")


# search -----------------------------------------------------------------------------------------


def test_search_goes_on_by_itself_and_keeps_the_keyboard(tabs: Tabs, server: Server) -> None:
    page = tabs.open(server.url)
    page.keyboard.press("/")
    page.keyboard.type("utt/")
    expect(page.locator("#results li").first).to_have_text("utt/00000")
    before = page.locator("#results li").count()
    assert before < 1500
    page.keyboard.press("PageDown")
    expect(page.locator('#results [aria-selected="true"]')).to_have_count(1)
    page.locator("#found").evaluate("(panel) => panel.scrollTo(0, panel.scrollHeight)")
    expect(page.locator("#results li").nth(before)).to_be_attached()
    assert page.evaluate("() => document.activeElement.id") == "query"
    none = "no name matches"
    asked = {"utt/*99": "15 names found", "nothing": none, "late*": none, "/00013": "1 name found"}
    for text, told in (*asked.items(), ("late*", none)):
        page.locator("#query").fill(text)
        expect(page.locator("#progress")).to_have_text(told)
        if text == "/00013":  # with which none begins
            page.keyboard.press("Enter")
            expect(page.locator("h1")).to_have_text("utt/00013")
    with ptrarray.append(server.path) as writer:
        writer["late"] = [1.0]
    expect(page.locator("#progress")).to_have_text("1 name found")
    page.locator("#query").fill("utt/0001")
    expect(page.locator("#progress")).to_have_text("10 names found")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("utt/00011")
    expect(page.locator("#found")).to_be_hidden()


# arrays -----------------------------------------------------------------------------------------


def test_a_masked_line_shows_what_is_left_out(tabs: Tabs, server: Server) -> None:
    page = tabs.open(server.url, route("wave"))
    readout = page.locator(".plot .readout")
    hover(page, 0.5)
    expect(readout).to_contain_text("left out")
    hover(page, 0.1)
    expect(readout).to_contain_text(
        re.compile(r"^rows (4,9|5,0)\d\d to 5,0\d\d: 0\.\d+ to 0\.\d+$")
    )
    drawing = unquote(page.locator(".drawing img").get_attribute("src"))
    assert ">3</text>" in drawing
    assert ">-1</text>" in drawing
    assert "fill-opacity='.25'" in drawing  # the shade of a masked stretch
    page.locator(".drawing").focus()
    page.keyboard.press("Home")
    expect(readout).to_contain_text(re.compile("^rows 0 to"))
    page.keyboard.press("End")
    expect(readout).to_contain_text("to 49,999")


def test_a_crosshair_is_at_the_point_that_it_tells(tabs: Tabs, server: Server) -> None:
    page = tabs.open(server.url, route("a/b ?#&+%2F\n"))
    for x, row in ((0.02, 0), (0.3, 1), (0.6, 2), (0.9, 3)):
        hover(page, x)
        expect(page.locator(".plot .readout")).to_have_text(f"row {row}: {row}")
        cross, image = (page.locator(each).bounding_box() for each in (".cross", ".drawing img"))
        left, _, wide, _ = box(page)
        assert abs(cross["x"] - image["x"] - left - wide * row / 3) < 2


def test_sliders_zoom_and_drag_choose_rows(tabs: Tabs, server: Server) -> None:
    page = tabs.open(server.url, route("wave"))
    window = page.locator("#window")
    expect(window).to_have_text("rows 0 to 49,999 of 50,000")
    hover(page, 0.8)
    page.mouse.down()
    hover(page, 0.9)
    page.mouse.up()
    expect(window).to_contain_text(
        re.compile(r"^rows (39,9|40,0)\d\d to (44,9|45,0)\d\d of 50,000$")
    )
    assert "start=" in page.url
    slider = page.locator("#rows")
    slider.evaluate("(s) => { s.value = 41000; s.dispatchEvent(new Event('input')); }")
    expect(window).to_contain_text("rows 41,000 to 4")
    for _ in range(12):
        page.keyboard.press("+")
    is_settled(page)
    page.reload()
    expect(window).to_contain_text(re.compile(r"^rows 4\d,\d\d\d to 4"))
    page.keyboard.press("0")
    expect(window).to_have_text("rows 0 to 49,999 of 50,000")


def test_an_image_and_a_stack(tabs: Tabs, server: Server) -> None:
    page = tabs.open(server.url, route("image"))
    readout = page.locator(".plot .readout")
    hover(page, (7 + 0.5) / 40, (3 + 0.5) / 24)
    expect(readout).to_have_text(f"row 3, column 7: {', '.join(map(str, IMAGE[3, 7]))}")
    assert pixel(page, (7 + 0.5) / 40, (3 + 0.5) / 24) == IMAGE[3, 7].tolist()
    page.goto(server.url + route("stack"))
    expect(page.locator("#picture")).to_have_text("picture 0, 12 in all")
    page.locator("#stack").evaluate("(s) => { s.value = 9; s.dispatchEvent(new Event('input')); }")
    expect(page.locator("#picture")).to_have_text("picture 9, 12 in all")
    is_settled(page)
    assert pixel(page, 0.5, 0.5) == [90, 90, 90]
    page.keyboard.press("]")
    expect(page.locator("#picture")).to_have_text("picture 10, 12 in all")
    hover(page, 0.5)
    expect(readout).to_have_text("row 8, column 12: 100")


def pixel(page: Any, x: float, y: float) -> list[int]:
    """Return the colour that a drawing has at these fractions."""
    code = """async ([image, x, y]) => {
        await image.decode();
        const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0, image.width, image.height);
        const at = [2 + x * (image.width - 4), 3 + y * (image.height - 6)].map(Math.floor);
        return [...context.getImageData(...at, 1, 1).data].slice(0, 3);
    }"""
    image = page.locator(".drawing img").element_handle()
    found: list[int] = page.evaluate(code, [image, x, y])
    return found


def test_each_kind_has_its_views(tabs: Tabs, server: Server) -> None:
    page = tabs.open(server.url, route("text"))
    expect(page.locator("#view pre")).to_have_text("Once upon a time\n" * 20)
    page.goto(server.url + route("tokens"))
    expect(page.locator("#view .ids span").first).to_have_text(str(ARRAYS["tokens"][0]))
    page.keyboard.press("2")
    expect(page.locator(".drawing img")).to_be_visible()
    page.keyboard.press("3")
    expect(page.locator("#window")).to_have_text("rows 0 to 199 of 700")
    page.keyboard.press("]")
    expect(page.locator("#view tbody th").first).to_have_text("200")
    page.goto(server.url + route("heat"))
    hover(page, (100 + 0.5) / 300, 1 - 2.5 / 8)
    expect(page.locator(".plot .readout")).to_have_text("row 100, column 2: 802.0")


def test_files_are_those_arrays(tabs: Tabs, server: Server, tmp_path: Path) -> None:
    page = tabs.open(server.url, route("wave"))
    for label, wanted in (("Array (.npy)", WAVE.data), ("Mask (.npy)", WAVE.mask)):
        with page.expect_download() as download:
            page.get_by_text(label).click()
        download.value.save_as(tmp_path / "a.npy")
        assert np.array_equal(np.load(tmp_path / "a.npy"), wanted)


# what becomes of the store ----------------------------------------------------------------------


def test_a_store_is_compacted_and_an_array_deleted_while_looked_at(
    tabs: Tabs, server: Server
) -> None:
    tabs.allowed = ["404"]
    page = tabs.open(server.url, route("utt/00700"))
    expect(page.locator("#summary")).to_contain_text("8 · float64")
    before = page.locator("#summary").text_content()
    with ptrarray.append(server.path) as writer:
        writer.delete(["wave", "stack"])
    ptrarray.compact(server.path)
    # It lies elsewhere now, and is drawn anew.
    expect(page.locator("#summary")).not_to_have_text(before)
    expect(page.locator("#state")).to_have_text("live")
    hover(page, 0.01)
    expect(page.locator(".plot .readout")).to_have_text("row 0: 0")
    with ptrarray.append(server.path) as writer:
        writer.delete(["utt/00700"])
    expect(page.locator(".notice")).to_contain_text("There is no array of this name now")
    with ptrarray.append(server.path) as writer:
        writer["utt/00700"] = [5.0, 6.0]
    expect(page.locator("#summary")).to_contain_text("2 · float64")
    expect(page.locator(".notice")).to_be_hidden()


def test_a_store_is_made_again_with_other_values(tabs: Tabs, server: Server) -> None:
    tabs.allowed = ["404"]
    page = tabs.open(server.url, route("same"))
    for values in ([1.0, 2.0], [7.0, 8.0]):
        with ptrarray.create(server.path, mode="w") as writer:
            writer["same"] = values
        expect(page.locator("#statistics")).to_contain_text(f"mean{sum(values) / 2:g}")
    hover(page, 0.01)
    expect(page.locator(".plot .readout")).to_have_text("row 0: 7")


def test_a_store_is_replaced_and_gone_and_back(tabs: Tabs, server: Server) -> None:
    tabs.allowed = ["410", "404"]
    page = tabs.open(server.url)
    expect(page.locator("#n-arrays")).to_have_text("1,510")
    with ptrarray.create(server.path, dtype="i2", mode="w") as writer:
        writer["only"] = [1, 2, 3]
    expect(page.locator("#n-arrays")).to_have_text("1")
    expect(page.locator("#facts")).to_contain_text("i2")
    aside = server.path.with_name("aside")
    server.path.rename(aside)
    expect(page.locator("#state")).to_have_text("not there")
    late = [tabs.open(server.url), tabs.open(server.url, route("only"))]
    for opened in late:
        expect(opened.locator("#facts .failure, .notice")).to_contain_text("no store at")
    aside.rename(server.path)
    expect(page.locator("#state")).to_have_text("live")
    # It is the same commit as before, and shown all the same.
    expect(late[0].locator("#facts")).to_contain_text("i2")
    expect(late[1].locator("#summary")).to_contain_text("3 · int16")
    expect(late[1].locator(".notice")).to_be_hidden()


def test_a_server_is_killed_and_started_again(tabs: Tabs, server: Server) -> None:
    tabs.allowed = ["net::ERR_", "404"]  # which depends on how far an answer has come
    page = tabs.open(server.url)
    expect(page.locator("#state")).to_have_text("live")
    server.kill()
    expect(page.locator("#state")).to_have_text("reconnecting…")
    with ptrarray.append(server.path) as writer:
        writer["meanwhile"] = [1.0]
    assert server.start(TOKEN) == server.url
    expect(page.locator("#n-arrays")).to_have_text("1,511")
    expect(page.locator("#state")).to_have_text("live")
    server.kill()
    # Under another token it is another address, and the page says so.
    assert server.start("another-token-than-before") != server.url
    expect(page.locator("#state")).to_have_text("ended")
    expect(page.locator("#state")).to_have_attribute("title", re.compile("started anew"))


def test_ten_tabs_have_one_stream(tabs: Tabs, server: Server) -> None:
    pages = [tabs.open(server.url) for _ in range(10)]
    with ptrarray.append(server.path) as writer:
        writer["new"] = [1.0]
    for page in pages:
        expect(page.locator("#n-arrays")).to_have_text("1,511")
    # Had each a stream of its own, the seventh connection would wait for ever.
    pages[-1].goto(server.url + route("wave"))
    expect(pages[-1].locator("#summary")).to_contain_text("50,000")
    # One that is opened while nobody looks at the others knows what they knew.
    for page in pages:
        page.evaluate(HIDE, True)
    expect(tabs.open(server.url).locator("#n-arrays")).to_have_text("1,511")


def test_without_shared_workers_each_tab_has_its_own(tabs: Tabs, server: Server) -> None:
    tabs.context.add_init_script("delete window.SharedWorker")
    page = tabs.open(server.url)
    expect(page.locator("#state")).to_have_text("live")
    # A tab that nobody looks at holds no connection.
    page.evaluate(HIDE, True)
    with ptrarray.append(server.path) as writer:
        writer["new"] = [1.0]
    expect(page.locator("#n-arrays")).to_have_text("1,510")
    page.evaluate(HIDE, False)
    expect(page.locator("#n-arrays")).to_have_text("1,511")


def test_a_stream_that_ended_for_ever_is_begun_anew(tabs: Tabs, server: Server) -> None:
    """After such an answer a browser does not ask again by itself."""
    tabs.allowed = ["503"]
    tabs.context.add_init_script("delete window.SharedWorker")
    refused: list[str] = []

    def answer(asked: Any) -> None:
        refused.append(asked.request.url)
        if len(refused) > 2:
            asked.continue_()
        else:
            asked.fulfill(status=503)

    tabs.context.route("**/api/events*", answer)
    page = tabs.open(server.url)
    expect(page.locator("#state")).to_have_text("reconnecting…")
    expect(page.locator("#state")).to_have_text("live")
    assert len(refused) == 3


# how it is used, and looks ----------------------------------------------------------------------


def test_all_of_it_by_keys(tabs: Tabs, server: Server) -> None:
    page = tabs.open(server.url)
    expect(page.locator("#newest a").first).to_be_visible()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("#newest a").nth(1)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("utt/01499")
    expect(page.locator("h1")).to_be_focused()
    page.keyboard.press("k")
    expect(page.locator("h1")).to_have_text("utt/01498")
    page.keyboard.press("j")
    expect(page.locator("h1")).to_have_text("utt/01499")
    expect(page.locator("#tab-line")).to_be_visible()
    page.keyboard.press("2")
    expect(page.locator("#tab-values")).to_have_attribute("aria-selected", "true")
    page.locator("#tab-values").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#tab-line")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Escape")
    expect(page.locator("h1")).to_have_text("Overview")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_pages_fit_and_are_readable(browser: Any, server: Server, scheme: str, width: int) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 844})
    tabs = Tabs(context)
    page = tabs.open(server.url)
    expect(page.locator("#n-arrays")).to_have_text("1,510")
    rows = page.locator("#n-rows")
    height = rows.bounding_box()["height"]
    rows.evaluate("(seen) => { seen.textContent = '10,000,000,000'; }")
    assert rows.bounding_box()["height"] == height  # digits do not go on in the next line
    for name in (None, *ARRAYS):
        if name is not None:
            page.goto(server.url + route(name))
            is_settled(page)
            expect(page.locator("#statistics")).not_to_have_text("reading…")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    look = "() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor].map((c) => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0)); }"
    text, back = page.evaluate(look)
    assert abs(text - back) > 500
    assert (text < back) == (scheme == "light")
    context.close()
    tabs.check()


def test_what_is_not_named_is_labelled(tabs: Tabs, server: Server) -> None:
    """Everything that can be used has a name that can be read out, and no id comes twice."""
    for where in ("#/", route("stack"), route("wave")):
        page = tabs.open(server.url, where)
        expect(page.locator("#state")).to_have_text("live")
        if where != "#/":
            is_settled(page)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("a, button, input, [role=slider], [role=img], img")]
            .filter((e) => e.checkVisibility() && !(e.ariaLabel || e.textContent.trim() || e.alt || e.title))
            .map((e) => e.outerHTML.slice(0, 80))"""
        )
        assert nameless == []
        ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids))
