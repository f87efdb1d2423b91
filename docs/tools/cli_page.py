"""Write docs/cli.md from the command line's own parser: ``python docs/tools/cli_page.py``.

Made of the parser's parts and not of its help text, which differs between versions of Python.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from ptrarray.cli.commands import _parser

PAGE = Path(__file__).parent.parent / "cli.md"

INTRODUCTION = """\
# Command line

Installing ptrarray installs the command `ptrarray`; `python -m ptrarray` is the same. Commands that take `--json` print
JSON for programs instead of text for people. Progress bars appear only in a terminal; what else one shows, and how shells
complete commands, is in [Look at a store](look.md#in-a-terminal). Options may stand anywhere behind
the command; what comes after `--` is no option, as in `ptrarray get corpus.ptr -- --odd-name`.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | it failed, or damage was found; the reason is on stderr |
| 2 | wrong usage |
| 130, 141 | Ctrl-C; nobody reads its output any more |

```
ptrarray info corpus.ptr
ptrarray ls corpus.ptr --long 'utt1*'
ptrarray get corpus.ptr utt1 --out utt1.npy
ptrarray get corpus.ptr utt1 --plot
ptrarray verify corpus.ptr
ptrarray get https://host/corpus.ptr utt1 --out utt1.npy
ptrarray download https://host/corpus.ptr downloaded.ptr
ptrarray compact corpus.ptr
ptrarray pack corpus.ptr corpus.tar.gz
ptrarray unpack corpus.tar.gz copy.ptr
ptrarray repair corpus.ptr --to repaired.ptr
ptrarray export corpus.ptr --to npz corpus.npz
ptrarray import npz corpus.npz imported.ptr
```

`ptrarray COMMAND --help` shows what this page says of a command. The page is made by `docs/tools/cli_page.py`.
"""


def page() -> str:
    """Return the page."""
    commands = list(_commands(_parser()))
    rows = [f"| [`{name}`](#{_anchor(name)}) | {parser.description} |" for name, parser in commands]
    table = "\n".join(["| command | does |", "|---|---|", *rows])
    return "\n".join([INTRODUCTION, table, *(_section(*command) for command in commands)]) + "\n"


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the commands below a parser that have none below themselves."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not below:
        yield parser.prog, parser
    for action in below:
        listed = {listed.dest for listed in action._choices_actions}  # the others are for shells
        for name in action.choices:
            if name in listed:
                yield from _commands(action.choices[name])


def _anchor(name: str) -> str:
    """Return where the heading of a command is, on GitHub as on the site."""
    return name.replace(" ", "-")


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    shown = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
    actions = sorted(shown, key=_rank)
    options_first = sorted(actions, key=lambda action: not action.option_strings)
    usage = " ".join([name, *map(_usage, options_first)])
    rows = [f"| {_title(action)} | {_escape(action.help or '')} |" for action in actions]
    description = parser.description or ""
    return "\n".join(
        [
            f"\n## `{name}`\n",
            f"{description[:1].upper()}{description[1:]}.\n",
            f"```\n{_wrapped(usage)}\n```\n",
            *(["| argument | meaning |", "|---|---|", *rows] if rows else []),
            *([f"\n```\n{parser.epilog}\n```"] if parser.epilog else []),
        ]
    )


def _rank(action: argparse.Action) -> int:
    """Return where an argument goes: what every command has is last."""
    return 2 if "--json" in action.option_strings else 1 if action.option_strings else 0


def _value(action: argparse.Action) -> str:
    """Return what stands for the value of an argument; nothing for a flag."""
    if action.nargs == 0:
        return ""
    if action.choices is not None and action.metavar is None:
        return "{" + ",".join(action.choices) + "}"
    return str(action.metavar or action.dest.upper())


def _usage(action: argparse.Action) -> str:
    if action.option_strings:
        text = " ".join(filter(None, [action.option_strings[0], _value(action)]))
        return text if action.required else f"[{text}]"
    forms = {"?": "[{0}]", "+": "{0} [{0} ...]", "*": "[{0} ...]"}
    return forms.get(str(action.nargs), "{0}").format(_value(action))


def _title(action: argparse.Action) -> str:
    """Return an argument as the first cell of its row."""
    forms = [" ".join(filter(None, [option, _value(action)])) for option in action.option_strings]
    return ", ".join(f"`{form}`" for form in forms or [_value(action)])


def _escape(text: str) -> str:
    """Return text as Markdown shows it literally in a cell."""
    return re.sub(r"[\\*_|`]", r"\\\g<0>", text).replace("<", "&lt;")


def _wrapped(usage: str, width: int = 96) -> str:
    """Break a usage between arguments, with later lines indented."""
    lines = [""]
    for part in usage.replace("] [", "]\n[").replace(" [-", "\n[-").split("\n"):
        if lines[-1] and len(lines[-1]) + len(part) >= width:
            lines.append("    " + part)
        else:
            lines[-1] += (" " if lines[-1] else "") + part
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
