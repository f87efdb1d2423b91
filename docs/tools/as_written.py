"""An extension of griffe: the reference shows docstrings as they are written.

griffe reads the type in a docstring as Python, so that ``path-like`` becomes a difference and
``ndarray, shape (n,)`` a call; and of parameters described together (``rows, masked``) all get the
type and default of the first. Here types are text, and parameters described together stay so.
Names in single backticks become links, where the reference has them. A parameter that does not
exist, or text where the name of an exception should be, is a warning, which ends a strict build.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

from griffe import Docstring, Extension, Kind, Object, Parameter, ParameterKind

PUBLIC = ("ptrarray", "ptrarray.convert", "ptrarray.bigarray")
VARIADIC = (ParameterKind.var_positional, ParameterKind.var_keyword)
NAME = re.compile(r"(?<!`)`([A-Za-z_][\w.]*)`(?!`)")

log = logging.getLogger("mkdocs.plugins.griffe.as_written")


class AsWritten(Extension):
    """Change the docstrings of all objects, once they are there."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Parse a docstring, and put back what the parser changed."""
        if obj.docstring is None or not _is_public(obj):
            return
        text = obj.docstring.value
        markdown = re.sub(r"::(?=\n\n {4})", ":", NAME.sub(_linker(obj), text))
        linked = Docstring(markdown, parent=obj)
        quiet = {"warn_unknown_params": False, "warn_missing_types": False}
        sections = linked.parse("numpy", **quiet)
        for section in sections:
            restore = _RESTORE.get(section.kind.value)
            if restore is not None:
                restore(obj, section.value, list(_items(text, section.kind.value)))
        obj.docstring.parsed = [section for section in sections if not _is_bare(section)]


def _items(text: str, title: str) -> Iterator[tuple[str, str]]:
    """Yield names and type of each item of a section, as written."""
    found = re.search(rf"(?im)^{title}\n-+\n((?:(?!^\S.*\n--).*\n?)*)", text)
    for line in re.findall(r"^\S.*", found[1] if found else "", re.MULTILINE):
        names, _, kind = line.partition(" : ")
        yield names, kind.removesuffix(", optional").replace("`", "")


def _is_bare(section: Any) -> bool:
    """Tell whether a section says only what the signature says: a type that is returned."""
    is_returns = section.kind.value == "returns"
    return is_returns and not any(item.name or item.description for item in section.value)


def _parameters(obj: Object, items: list[Any], written: list[tuple[str, str]]) -> None:
    """Give parameters their types as written, else that of the signature; and their defaults."""
    known = _signature(obj)
    described = {item.name: item for item in items}
    items.clear()
    for names, kind in written:
        several = names.split(", ")
        item = described[several[0]]
        parameters = [known.get(name.lstrip("*")) for name in several]
        if None in parameters:
            log.warning("%s documents %s, which it does not take", obj.path, names)
        elif len(several) == 1:
            item.annotation = kind or parameters[0].annotation
            item.value = None if parameters[0].kind in VARIADIC else parameters[0].default
        else:
            item.name, item.annotation, item.value = names, kind, None
        items.append(item)


def _attributes(obj: Object, items: list[Any], written: list[tuple[str, str]]) -> None:
    for item, (_, kind) in zip(items, written, strict=True):
        item.annotation = kind


def _returns(obj: Object, items: list[Any], written: list[tuple[str, str]]) -> None:
    for item, (name, kind) in zip(items, written, strict=True):
        item.name, item.annotation = (name, kind) if kind else ("", name.replace("`", ""))


def _raises(obj: Object, items: list[Any], written: list[tuple[str, str]]) -> None:
    for item, (names, _) in zip(items, written, strict=True):
        item.annotation = names if "," in names else item.annotation
        if not all(name.isidentifier() for name in names.split(", ")):
            log.warning("%s raises %r, which is not an exception", obj.path, names)


_RESTORE: dict[str, Callable[[Object, list[Any], list[tuple[str, str]]], None]] = {
    "parameters": _parameters,
    "attributes": _attributes,
    "returns": _returns,
    "yields": _returns,
    "raises": _raises,
}


def _signature(obj: Object) -> dict[str, Parameter]:
    """Return the parameters of a function or class, with those of a typed ``**options``."""
    function: Any = obj
    if obj.kind is Kind.CLASS:
        makers = ("__init__", "__new__")
        function = next((obj.all_members[n] for n in makers if n in obj.all_members), None)
    if function is None or not function.is_function:
        return {}
    parameters = {parameter.name: parameter for parameter in function.parameters}
    options = parameters.get("options")
    if options is not None and str(options.annotation).startswith("Unpack["):
        fields = function.resolve(str(options.annotation)[7:-1])
        for field in obj.package.modules_collection[fields].members.values():
            parameters[field.name] = Parameter(field.name, annotation=field.annotation)
    return parameters


def _linker(obj: Object) -> Callable[[re.Match[str]], str]:
    """Return what makes a link of a name in a docstring, where it is that of something public."""
    own = _signature(obj)

    def link(found: re.Match[str]) -> str:
        name = found[1]
        path = None if name in own else _public(obj, name)
        return found[0] if path is None else f"[`{name}`][{path}]"

    return link


def _is_public(obj: Object) -> bool:
    """Tell whether something, or the class that it belongs to, is in the reference."""
    if obj.parent is not None and obj.parent.kind is Kind.CLASS:
        return _is_public(obj.parent)
    modules = [obj.package.modules_collection[module] for module in PUBLIC]
    return any(
        obj.name in (module.exports or ()) and module.members[obj.name].canonical_path == obj.path
        for module in modules
    )


def _public(obj: Object, name: str) -> str | None:
    """Return the path of what a docstring means by a name, if it is in the reference."""
    owner = obj if obj.kind is Kind.CLASS else obj.parent
    if owner is not None and owner.kind is Kind.CLASS and name in owner.members:
        return f"{owner.path}.{name}" if owner.members[name].has_docstring else None
    head, _, rest = name.removeprefix("ptrarray.").partition(".")
    for module in PUBLIC:
        if head in (obj.package.modules_collection[module].exports or ()):
            return ".".join(filter(None, [f"{module}.{head}", rest]))
    return None
