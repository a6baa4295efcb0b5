"""A MkDocs hook that fails the build where the API reference lacks a public name."""

from __future__ import annotations

import ast
import zlib
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

_PACKAGE = Path(__file__).parents[2] / "python" / "proprelu"
_MODULES = ("convert", "data", "datasets", "functional", "merge", "models", "nn", "sweep", "train")


def on_post_build(config: Any, **kwargs: Any) -> None:
    """Compares the public names of the package with the built inventory."""
    documented = _inventory(Path(config["site_dir"]) / "objects.inv")
    for module in _MODULES:
        names = _public_names(_PACKAGE / module / "__init__.py")
        missing = [name for name in names if f"proprelu.{module}.{name}" not in documented]
        if missing:
            raise PluginError(f"the API reference of proprelu.{module} lacks {', '.join(missing)}")


def _inventory(path: Path) -> set[str]:
    """The names in a Sphinx inventory: four lines of text, then compressed lines."""
    compressed = path.read_bytes().split(b"\n", 4)[4]
    return {line.split(" ")[0] for line in zlib.decompress(compressed).decode().splitlines()}


def _public_names(path: Path) -> list[str]:
    """The value of ``__all__``, read without importing torch."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise PluginError(f"{path} has no __all__")
