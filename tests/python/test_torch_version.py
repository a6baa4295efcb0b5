"""The extension accepts one minor version of torch; others give an error of one line."""

from __future__ import annotations

import subprocess
import sys

import pytest
from proprelu import _core, _torch_version


def import_with(version):
    code = f"import torch; torch.__version__ = {version!r}; import proprelu"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", ["2.12.0", "2.10.1+cu128", "3.11.0"])
def test_another_minor_version_is_refused(version):
    result = import_with(version)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        f"ImportError: proprelu is built for torch 2.11, but torch {version} is installed; "
        "pip install 'torch==2.11.*', or build proprelu from source for your torch"
    )
    assert "undefined symbol" not in result.stderr


def test_another_patch_version_is_taken():
    assert import_with("2.11.7+cpu").returncode == 0


def test_the_constant_is_what_the_extension_was_built_for():
    assert _torch_version.matches(_core.build_info()["torch"])
