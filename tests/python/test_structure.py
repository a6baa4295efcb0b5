"""The structure of the project: which parts may import which. CONTRIBUTING.md draws it."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import proprelu
import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "proprelu"
SOURCE = ROOT / "src"

# Each part of the package, a folder or a file, with the parts that it may import. A part may always
# import its own parts (`train` imports `train.recipe`) and `_core`.
PYTHON_ARROWS = {
    "_torch_version": set(),
    "_start": {"_torch_version", "findings"},
    "atomic": set(),
    "cache": set(),
    "figures": {"atomic"},
    "checks": set(),
    "findings": set(),
    "progress": set(),
    "tables": set(),
    "warned": set(),
    "functional": {"cache", "checks"},
    "nn": {"functional"},
    "models": {"nn"},
    "graph": set(),
    "merge": {"atomic", "cache", "checks", "graph", "nn", "tables"},
    "convert": {"checks", "figures", "graph", "merge", "nn", "progress", "tables"},
    "data": {"checks", "warned"},
    "datasets": {"atomic", "cache", "data"},
    "weights": {"atomic", "convert", "graph", "merge"},
    "train": {"atomic", "checks", "data", "graph", "warned", "weights"},
    "train.checks": set(),
    "train.recipe": {"cache", "checks", "functional", "graph", "train.checks", "warned"},
    "train.report": {"atomic", "figures", "progress", "tables"},
    "train.device": {"cache"},
    "shrink": {
        "atomic",
        "checks",
        "convert",
        "data",
        "figures",
        "graph",
        "merge",
        "tables",
        "train",
        "train.recipe",
    },
    "sweep": {
        "atomic",
        "checks",
        "convert",
        "data",
        "figures",
        "graph",
        "merge",
        "progress",
        "tables",
        "train",
        "train.device",
        "train.recipe",
        "train.report",
    },
    "backend": {"cache", "graph", "train.recipe"},
    "cli": {
        "_torch_version",
        "atomic",
        "cache",
        "convert",
        "data",
        "datasets",
        "findings",
        "merge",
        "models",
        "progress",
        "shrink",
        "sweep",
        "tables",
        "train",
        "train.recipe",
        "weights",
    },
    "__main__": {"cli"},
}
# A module of the core, and the modules that it may use. `FREE` ones are free to all.
FREE = {"activation", "cpu", "error", "files"}
RUST_ARROWS = {
    **{module: set() for module in FREE},
    "ratio": set(),
    "weights": set(),
    "program": set(),
    "kernels": set(),
    "data": set(),
    "optim": set(),
    "tuning": {"program", "kernels"},
    "engine": {"program", "kernels", "tuning"},
    "train": {"engine", "program", "kernels", "optim", "data"},
    "python": {
        "train",
        "engine",
        "tuning",
        "program",
        "optim",
        "data",
        "weights",
        "ratio",
        "kernels",
    },
}


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, in functions too, except for types only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by the full name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "proprelu")


def part_of(module: str) -> str | None:
    """The part of the package that a module belongs to; None for the package itself."""
    _, *names = module.split(".")
    paths = (".".join(names[:length]) for length in range(len(names), 0, -1))
    return next((path for path in paths if path in PYTHON_ARROWS), names[0] if names else None)


def test_the_picture_has_every_part_of_the_package_and_no_other():
    parts = {part_of(module_of(path)) for path in python_files()} - {None}
    assert parts == set(PYTHON_ARROWS)


@pytest.mark.parametrize("path", python_files(), ids=module_of)
def test_python_imports_follow_the_arrows(path):
    part = part_of(module_of(path))
    if part is None:
        return
    for name in imports_of(path):
        target = part_of(name)
        if target in PYTHON_ARROWS and target != part and not target.startswith(f"{part}."):
            assert target in PYTHON_ARROWS[part], f"{part} must not import {target}: {name}"
        assert target is not None, f"{path.name}: import from the module, not from the package"


def test_no_python_modules_import_each_other_in_a_circle():
    modules = {module_of(path): path for path in python_files()}
    graph = {}
    for module, path in modules.items():
        if path.name == "__init__.py":  # it only re-exports from its own folder
            continue
        targets = set()
        for name in imports_of(path):
            found = name if name in modules else name.rpartition(".")[0]
            if found in modules and modules[found].name != "__init__.py":
                targets.add(found)
        graph[module] = targets
    graphlib.TopologicalSorter(graph).prepare()


def test_the_arrows_have_no_circle():
    own = {part: {p for p in PYTHON_ARROWS if p.startswith(f"{part}.")} for part in PYTHON_ARROWS}
    python = {part: targets | own[part] for part, targets in PYTHON_ARROWS.items()}
    for arrows in (python, RUST_ARROWS):
        graphlib.TopologicalSorter(arrows).prepare()


@pytest.mark.parametrize(
    "path", [p for p in python_files() if p.name == "__init__.py"], ids=module_of
)
def test_init_files_hold_declarations_only(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
        assert docstring or isinstance(node, allowed), f"{path}:{node.lineno}"


def rust_files() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.rs") if path.parent != SOURCE)


def rust_code(path: Path) -> str:
    """A file without comments, and without the tests at its end."""
    text = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
    return re.split(r"#\[cfg\(test\)\]\n(?:pub\S* )?mod tests\b", text)[0]


def test_the_picture_has_every_module_of_the_core_and_no_other():
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir()}
    files = {path.stem for path in SOURCE.glob("*.rs")} - {"lib", "build"}
    assert folders | files == set(RUST_ARROWS)


@pytest.mark.parametrize("path", rust_files(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_rust_modules_follow_the_arrows(path):
    module = path.relative_to(SOURCE).parts[0]
    text = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
    assert not re.search(r"\bcrate::\{", text), "write one `use crate::module` a line"
    for used in set(re.findall(r"\bcrate::(\w+)", text)) - FREE - {module}:
        assert used in RUST_ARROWS[module], f"{module} must not use {used}"
    if module != "python":
        assert not re.search(r"\b(pyo3|pyo3_tch)::", text), "only src/python speaks to Python"


def test_rust_tests_are_at_the_end_of_a_file_or_in_tests():
    """Tests that would make a file too long are in `tests.rs` or `tests/` beside its children."""
    for path in rust_files():
        assert not path.stem.endswith("_tests"), f"{path}: a child module `tests` holds the tests"
        assert "#[path" not in path.read_text(encoding="utf-8"), path


def rust_module(path: Path) -> tuple[str, ...]:
    """The names of a module below `crate`: `src/a/b.rs` and `src/a/b/mod.rs` are `("a", "b")`."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "mod" else parts


def rust_paths(text: str, module: tuple[str, ...]) -> set[tuple[str, ...]]:
    """The paths from `crate` of what a module's code names by `crate::`, `super::` or `self::`."""
    found = set()
    for start, rest in re.findall(
        r"\b(crate|super|self)((?:::(?:\w+|\*|\{[^;]*?\}(?=\s*;)))+)", text
    ):
        names = {"crate": (), "super": module[:-1], "self": module}[start]
        found |= {(*names, *path) for path in expanded(rest.removeprefix("::"))}
    # A file's children can be named from it without `self`.
    for first, rest in re.findall(r"\buse (\w+)((?:::(?:\w+|\*|\{[^;]*?\}(?=\s*;)))*);", text):
        if first not in ("crate", "super", "self", "std"):
            found |= {(*module, first, *path) for path in expanded(rest.removeprefix("::"))}
    return {tuple(parents(path)) for path in found}


def parents(path: tuple[str, ...]) -> list[str]:
    """A path with each `super` applied to the name before it."""
    names: list[str] = []
    for name in path:
        names.pop() if name == "super" else names.append(name)
    return names


def expanded(tree: str) -> Iterator[tuple[str, ...]]:
    """The paths in a tree of a `use` declaration: `a::{b, c::d}` is `a::b` and `a::c::d`."""
    head, brace, inner = tree.partition("{")
    names = tuple(name for name in re.split(r"::|\s+", head.split(" as ")[0]) if name)
    if not brace:
        yield names
        return
    depth, start, inner = 0, 0, inner.rstrip().removesuffix("}") + ","
    for at, character in enumerate(inner):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            if branch := inner[start:at].strip():
                yield from ((*names, *path) for path in expanded(branch))
            start = at + 1


def rust_targets() -> dict[Path, set[Path]]:
    """For each file the files that define what it names. A `mod.rs` only re-exports."""
    files = {rust_module(path): path for path in rust_files()}
    paths = {path: rust_paths(rust_code(path), module) for module, path in files.items()}
    exports = {}
    for module, path in files.items():
        for exported in re.findall(r"\bpub(?:\(\w+\))? use ([^;]+);", rust_code(path)):
            for target in expanded(exported):
                absolute = parents((*module, *target))
                if target[0] == "crate":
                    absolute = list(target[1:])
                elif target[0] == "self":
                    absolute = [*module, *target[1:]]
                elif target[0] == "super":
                    absolute = parents((*module, *target))
                exports[(*module, target[-1])] = tuple(absolute)

    def definition(names: tuple[str, ...]) -> Path | None:
        for _ in range(10):
            length = next((n for n in range(len(names), 0, -1) if names[:n] in exports), 0)
            if not length or exports[names[:length]] == names[:length]:
                break
            names = exports[names[:length]] + names[length:]
        length = next((n for n in range(len(names), 0, -1) if names[:n] in files), 0)
        return files.get(names[:length])

    return {
        path: {target for names in named if (target := definition(names))}
        for path, named in paths.items()
    }


def test_no_rust_files_use_each_other_in_a_circle():
    targets = rust_targets()
    kept = {path for path in targets if path.name != "mod.rs" and "tests" not in path.parts}
    graph = {str(p): {str(t) for t in targets[p] & kept if t != p} for p in kept}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    "path",
    [path for path in rust_files() if path.name == "mod.rs" and "tests" not in path.parts],
    ids=lambda path: str(path.relative_to(SOURCE)),
)
def test_mod_files_hold_declarations_only(path):
    code = re.sub(r"#!?\[[^\]]*\]", "", re.sub(r"//.*", "", path.read_text(encoding="utf-8")))
    for statement in filter(None, map(str.strip, code.split(";"))):
        declaration = re.match(
            r"(pub(\([\w ]+\))? )?(mod \w+|use [\w\s:{},*]+|const .*)$", statement
        )
        assert declaration, f"{path}: {statement[:60]}"


def test_the_stub_names_what_the_extension_has():
    tree = ast.parse((PACKAGE / "_core.pyi").read_text(encoding="utf-8"))
    assert_same_names(tree.body, proprelu._core, "_core")


def assert_same_names(body: list[ast.stmt], real: object, where: str) -> None:
    """Compare public names, and those of classes in turn."""
    stub = {}
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            stub[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            stub[node.target.id] = node
    listed = {name for name in stub if not name.startswith("_")}
    found = {name for name in vars(real) if not name.startswith("_")}
    assert listed == found, f"{where}: the stub and the built module differ in {listed ^ found}"
    for name in listed:
        if isinstance(stub[name], ast.ClassDef):
            assert_same_names(stub[name].body, getattr(real, name), f"{where}.{name}")


def test_no_two_files_of_tests_have_the_same_name():
    """pytest imports them by name; where two are alike, it collects neither."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
