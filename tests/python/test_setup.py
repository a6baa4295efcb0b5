"""If a tool is missing, the setup names it and how to install it, in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHELL_TOOLS = [
    "bash",
    "cat",
    "cut",
    "dirname",
    "find",
    "head",
    "sed",
    "sha256sum",
    "sort",
    "tr",
    "xargs",
]


def set_up(folder, missing):
    """Runs the setup with a PATH of the needed tools except one."""
    tools = folder / "bin"
    tools.mkdir()
    for name in (*SHELL_TOOLS, "cargo", "cc", "c++"):
        if name != missing:
            (tools / name).symlink_to(shutil.which(name))
    if missing != "python3":
        (tools / "python3").symlink_to(sys.executable)
    env = {**os.environ, "PATH": str(tools), "VENV": str(folder / "venv")}
    env.pop("CXX", None)
    setup = ROOT / ".ci" / "setup"
    return subprocess.run(["bash", setup], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("missing", "what", "how"),
    [
        ("cargo", "Rust is missing", "https://rustup.rs"),
        ("cc", "a C++ compiler is missing", "apt-get install g++"),
        ("c++", "a C++ compiler is missing", "apt-get install g++"),
        ("python3", "Python 3.10 or newer is missing", "apt-get install python3"),
    ],
)
def test_a_missing_tool(tmp_path, missing, what, how):
    result = set_up(tmp_path, missing)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {what}")
    assert how in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "venv").exists()


def test_an_old_python_is_named(tmp_path):
    fake = tmp_path / "python3.9"
    fake.write_text("#!/bin/sh\necho 'is Python 3.9, 3.10 or newer is needed'\n")
    fake.chmod(0o755)
    env = {**os.environ, "PYTHON": str(fake), "VENV": str(tmp_path / "venv")}
    command = ["bash", ROOT / ".ci" / "setup"]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"{fake} is Python 3.9" in result.stderr
