"""Prepares the package's docstrings for the API reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^(\s*)Example:$", re.MULTILINE)
_NAME = re.compile(r"``([A-Za-z_][\w.]*)``")


class Docstrings(griffe.Extension):
    """Turns a section `Example` into one that shows code, and names into links."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrites the docstring of one object before it is parsed."""
        if obj.docstring is not None:
            text = _EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
            obj.docstring.value = _NAME.sub(lambda found: _link(found[1], obj), text)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Documents a function rather than the module of the same name that defines it.

        In `from proprelu.convert.convert import convert` Python binds the function; static
        analysis finds the module.
        """
        for module in _modules(pkg):
            for name in _shadowed(module):
                _take_over(module, module.members[name])

    def on_class_members(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Documents `__new__` of a compiled class as its constructor."""
        new = cls.members.get("__new__")
        if isinstance(new, griffe.Function) and "__init__" not in cls.members:
            init = griffe.Function("__init__", parameters=new.parameters, lineno=new.lineno)
            cls.set_member("__init__", init)


def _modules(module: griffe.Module) -> Iterator[griffe.Module]:
    yield module
    for member in list(module.members.values()):
        if isinstance(member, griffe.Module):
            yield from _modules(member)


def _shadowed(module: griffe.Module) -> list[str]:
    """The exported names that are a function and the file that defines it."""
    members = ((str(name), module.members.get(str(name))) for name in module.exports or ())
    return [
        name
        for name, member in members
        if isinstance(member, griffe.Module) and not member.is_subpackage and name in member.members
    ]


def _take_over(module: griffe.Module, file: griffe.Module) -> None:
    """Makes the names that a module imports from a file its own."""
    for name, member in list(module.members.items()):
        if member.is_alias and member.target_path == f"{file.path}.{name}":
            module.set_member(name, file.members[name])
    module.set_member(file.name, file.members[file.name])


def _link(name: str, scope: griffe.Object) -> str:
    """A link where the reference has an entry for the name, plain code elsewhere."""
    try:
        path = re.sub(r"\.(\w+)\.\1$", r".\1", scope.resolve(name))  # see `on_package`
    except griffe.NameResolutionError:
        path = name
    return f'<autoref identifier="{path}" optional><code>{name}</code></autoref>'
