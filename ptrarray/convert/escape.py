"""Names of arrays as names of files, that lead nowhere else and can be turned back.

As in URLs, ``%`` and two hexadecimal digits stand for a byte of UTF-8. What is so written are ``%``,
backslashes, characters that cannot be seen, and whatever is of meaning to a path.
"""

from __future__ import annotations

from urllib.parse import unquote

# Beside files whose names are written so, that an import finds out by itself; in an archive of zip
# its comment.
MARK = ".ptrarray"
_NOTHING = "%"  # an empty name; no byte is written so


def file_name(name: str) -> str:
    """Return a name as one component of a path.

    Examples
    --------
    >>> file_name("../etc/passwd"), file_name("utt1/word"), file_name("zwölf"), file_name("")
    ('%2E.%2Fetc%2Fpasswd', 'utt1%2Fword', 'zwölf', '%')
    """
    quoted = "".join(map(_quoted, name)).replace("/", "%2F")
    return (f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted) or _NOTHING


def archive_path(name: str) -> str:
    """Return a name as a path in an archive, slashes as they are, but not out of it.

    Examples
    --------
    >>> archive_path("utt1/word"), archive_path("/a/../b")
    ('utt1/word', '%/a/%2E%2E/b')
    """
    return "/".join(map(_component, "".join(map(_quoted, name)).split("/")))


def word(name: str) -> str:
    """Return a name as one word, slashes as they are.

    Examples
    --------
    >>> word("utt1/a b"), word("zwölf"), word("")
    ('utt1/a%20b', 'zwölf', '%')
    """
    return "".join(map(_quoted, name)).replace(" ", "%20") or _NOTHING


def _component(text: str) -> str:
    return text.replace(".", "%2E") if text in (".", "..") else text or _NOTHING


def _quoted(character: str) -> str:
    if character.isprintable() and character not in "%\\":
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode())


def unescape(text: str) -> str:
    """Return the name that one of these functions was given.

    Examples
    --------
    >>> unescape(file_name("a/100%")), unescape(archive_path("/a//b"))
    ('a/100%', '/a//b')
    """
    if "%" not in text:  # most are as they were
        return text
    return "/".join("" if part == _NOTHING else unquote(part) for part in text.split("/"))
