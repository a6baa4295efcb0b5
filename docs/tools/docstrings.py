"""Prepares the package's docstrings for the API reference."""

from __future__ import annotations

import re
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

    def on_class_members(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Documents `__new__` of a compiled class as its constructor."""
        new = cls.members.get("__new__")
        if isinstance(new, griffe.Function) and "__init__" not in cls.members:
            init = griffe.Function("__init__", parameters=new.parameters, lineno=new.lineno)
            cls.set_member("__init__", init)


def _link(name: str, scope: griffe.Object) -> str:
    """A link where the reference has an entry for the name, plain code elsewhere."""
    try:
        path = scope.resolve(name)
    except griffe.NameResolutionError:
        path = name
    return f'<autoref identifier="{path}" optional><code>{name}</code></autoref>'
