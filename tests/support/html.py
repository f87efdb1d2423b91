"""HTML as notebooks take it: read tag by tag, with whatever is not allowed as an error."""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import pairwise

# What Jupyter leaves of the HTML of a notebook that is not trusted.
TAGS = {"div", "b", "span", "table", "tr", "td", "th", "details", "summary", "img"}
ATTRIBUTES = {"style", "width", "height", "alt", "src"}
EMPTY = {"img"}
LIMIT_NBYTES = 60_000


class Page(HTMLParser):
    """The text and the pictures of a page.

    Attributes
    ----------
    text : str
        All of it, with what is between two tags on a line of its own; a plain ``<span>``, which keeps
        characters from being a formula, is in the line around it.
    alts, sources : list of str
        What stands for each picture, and what it is.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        assert len(html.encode()) <= LIMIT_NBYTES
        self.text, self._open, self._is_in_line = "", list[tuple[str, bool]](), False
        self.alts, self.sources = list[str](), list[str]()
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        is_plain = tag == "span" and not attrs
        self._is_in_line &= is_plain
        found = {name: value or "" for name, value in attrs}
        if tag in EMPTY:
            assert int(found["width"]) > 0
            assert int(found["height"]) > 0
            assert found["src"].startswith(("data:image/svg+xml,", "data:image/png;"))
            self.alts.append(found["alt"])
            self.sources.append(found["src"])
        else:
            self._open.append((tag, is_plain))

    def handle_endtag(self, tag: str) -> None:
        opened, is_plain = self._open.pop()
        assert opened == tag
        self._is_in_line &= is_plain

    def handle_data(self, data: str) -> None:
        before = self.text.removesuffix("\n") if self._is_in_line else self.text
        self.text, self._is_in_line = f"{before}{data}\n", True

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)


def facts_in(page: Page) -> dict[str, str]:
    """Return the facts that a page tells, by name: each is a line that follows its name."""
    lines = page.text.split("\n")
    return dict(reversed([*pairwise(lines)]))  # the first of each
