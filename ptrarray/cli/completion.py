"""The command ``completion``: what makes a shell complete commands, options, files and names."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from glob import escape
from typing import Any

from ptrarray.cli.elsewhere import place
from ptrarray.errors import import_extra
from ptrarray.reader import open_readable

_SHELLS = ("bash", "zsh", "fish", "tcsh")
_MISSING = "completion needs shtab: pip install 'ptrarray[cli]'"
_FILES = ("STORE", "OTHER", "NEW", "SOURCE", "TARGET", "OLD", "OUT", "FILE")  # packs are files, too
# So many names at the most, in so much time: somebody waits for them.
_SHOWN, _SECONDS = 200, 0.3

# What was typed is never evaluated: it may hold $(...). Quotes and backslashes are taken away.
_BASH = r"""
_ptrarray_names() {  # $1: what is typed of the name; the store is the word before it
  local store="${COMP_WORDS[COMP_CWORD-1]}" word="$1" name
  store="${store//[\\\"\']/}"; word="${word//[\\\"\']/}"
  case "$store" in "~/"*) store="$HOME/${store#"~/"}";; esac
  [ -e "$store" ] || return
  while IFS= read -r name; do printf '%q\n' "$name"; done \
    < <(ptrarray _names -- "$store" "$word" 2>/dev/null)
}"""
_ZSH = r"""
_ptrarray_names() {
  local store=${(Q)words[CURRENT-1]}
  store=${store/#\~\//$HOME/}
  [[ -e $store ]] || return 1
  local -a names
  names=("${(@f)$(ptrarray _names -- $store ${(Q)PREFIX} 2>/dev/null)}")
  compadd -a names
}"""
_NAMES = {"bash": "_ptrarray_names", "zsh": "_ptrarray_names"}


def add_commands(add: Any, commands: Any, parser: argparse.ArgumentParser) -> None:
    """Add ``completion`` to the parser, and ``_names``, which is for shells."""
    text = "print a script that makes a shell complete commands, options, files and names"
    command = add("completion", partial(_print_script, parser), text)
    command.add_argument("shell", choices=_SHELLS, help="the shell that is to read it")
    names = commands.add_parser("_names")  # no help: it is not listed
    names.add_argument("store", type=place)
    names.add_argument("prefix")
    names.set_defaults(run=_print_names)


def _print_script(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    shtab = import_extra("shtab", _MISSING)
    kinds = {**dict.fromkeys(_FILES, shtab.FILE), "DIR": shtab.DIRECTORY, "NAME": _NAMES}
    for action in _actions(parser):
        if action.metavar in kinds:
            action.complete = kinds[action.metavar]  # type: ignore[attr-defined]
    print(shtab.complete(parser, options.shell, preamble={"bash": _BASH, "zsh": _ZSH}))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of those below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action


def _print_names(options: argparse.Namespace) -> int:
    """Print some names that begin with a text, those that a line of a shell can hold."""
    from ptrarray.look.viewer.search import search  # no other command waits for it

    with open_readable(options.store) as store:
        for name in search(store, f"{escape(options.prefix)}*", None, _SHOWN, _SECONDS).names:
            if name.isprintable() and not name.startswith("-"):
                print(name)
    return 0
