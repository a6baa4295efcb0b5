"""The examples in docstrings, in the README and in the guide run."""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import io
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
    """The docstrings of the stub, by name and line."""
    tree = ast.parse((ROOT / "python" / "proprelu" / "_core.pyi").read_text(encoding="utf-8"))
    nodes = [n for n in ast.walk(tree) if isinstance(n, (ast.ClassDef, ast.FunctionDef))]
    return {f"{n.name}:{n.lineno}": ast.get_docstring(n) or "" for n in nodes}


@pytest.mark.parametrize("name", stub_docstrings())
def test_the_stub(name):
    names = {"proprelu": proprelu, **vars(proprelu._core)}
    test = doctest.DocTestParser().get_doctest(stub_docstrings()[name], names, name, "_core.pyi", 0)
    assert doctest.DocTestRunner(optionflags=FLAGS).run(test).failed == 0


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_EXAMPLE = re.compile(
    r"(?P<skip>^<!-- not run: .*? -->\n)?"
    r"^```python\n(?P<code>.*?)^```\n"
    r"(?:(?:\n[^\n]*\n)?\n```text\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)


def examples(page: Path) -> list[re.Match[str]]:
    return list(_EXAMPLE.finditer(page.read_text(encoding="utf-8")))


def comparable(output: str) -> list[str]:
    """The lines of an output, without the percentages, which depend on a training's length."""
    return re.sub(r"[\d.]+%", "%", output).strip().splitlines()


@pytest.mark.parametrize(
    "page", [p for p in PAGES if examples(p)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_a_page(page, tmp_path, monkeypatch):
    """Runs the examples of a page one after another, with fewer epochs and images than shown."""
    monkeypatch.chdir(tmp_path)
    small = proprelu.datasets.fashion_mnist_small
    monkeypatch.setattr(
        proprelu.datasets,
        "fashion_mnist_small",
        lambda split="train": small(split).subset(range(0, 1000, 10)),
    )
    names: dict[str, object] = {}
    for number, example in enumerate(examples(page), 1):
        code = re.sub(r"epochs=\d+", "epochs=1", example["code"])
        compiled = compile(code, f"{page.name}, example {number}", "exec")
        if example["skip"]:
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compiled, names)
        if example["output"]:
            assert comparable(printed.getvalue()) == comparable(example["output"])
