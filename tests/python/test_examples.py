"""The examples in docstrings and in the README run."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import proprelu
import pytest

ROOT = Path(__file__).parents[2]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def modules() -> list[str]:
    names = (m.name for m in pkgutil.walk_packages(proprelu.__path__, "proprelu."))
    return [name for name in names if not name.endswith(("._core", "__main__", ".make"))]


@pytest.mark.parametrize("name", modules())
def test_docstrings(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    assert doctest.testmod(module, optionflags=FLAGS).failed == 0


def stub_docstrings() -> dict[str, str]:
    """The compiled names that the stub documents."""
    tree = ast.parse((ROOT / "python" / "proprelu" / "_core.pyi").read_text(encoding="utf-8"))
    nodes = [n for n in ast.walk(tree) if isinstance(n, (ast.ClassDef, ast.FunctionDef))]
    return {f"{n.name}:{n.lineno}": ast.get_docstring(n) or "" for n in nodes}


@pytest.mark.parametrize("name", stub_docstrings())
def test_the_stub(name):
    names = {"proprelu": proprelu, **vars(proprelu._core)}
    test = doctest.DocTestParser().get_doctest(stub_docstrings()[name], names, name, "_core.pyi", 0)
    assert doctest.DocTestRunner(optionflags=FLAGS).run(test).failed == 0


def readme_examples() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("index", range(len(readme_examples())))
def test_the_readme(index, tmp_path, monkeypatch):
    """Small settings instead of those that take a minute: fewer epochs, fewer images."""
    monkeypatch.chdir(tmp_path)
    small = proprelu.datasets.fashion_mnist_small
    monkeypatch.setattr(
        proprelu.datasets,
        "fashion_mnist_small",
        lambda split="train": small(split).subset(range(0, 1000, 10)),
    )
    code = re.sub(r"epochs=\d+", "epochs=1", readme_examples()[index])
    exec(compile(code, f"README.md, example {index + 1}", "exec"), {})
