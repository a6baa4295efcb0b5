"""The command line as a process: broken installations, interrupts, pipes and old terminals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import proprelu
import pytest

PACKAGE = Path(proprelu.__file__).parent


def command(*arguments, path=(), **variables):
    """Run ``python -m proprelu``; the folders of ``path`` come before the installed packages."""
    folders = [*map(str, path), str(PACKAGE.parent)]
    return {
        "args": [sys.executable, "-m", "proprelu", *arguments],
        "env": {**os.environ, "PYTHONPATH": os.pathsep.join(folders), **variables},
        "text": True,
    }


def run(*arguments, **options):
    return subprocess.run(
        **command(*arguments, **options), capture_output=True, check=False, timeout=120
    )


def fake_torch(folder, text):
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text(text)
    return [folder]


TORCHES = {
    "of another version": ("__version__ = '2.12.0+cpu'", "is built for torch 2.11, but torch 2.12"),
    "missing": (
        "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')",
        "needs torch, which is not installed",
    ),
    "without a version": ("", "but torch unknown is installed"),
    "broken": (
        "raise OSError('libtorch_global_deps.so: cannot open shared object file\\nmore')",
        "cannot import torch (libtorch_global_deps.so: cannot open shared object file)",
    ),
}


@pytest.mark.parametrize("kind", TORCHES)
def test_doctor_reports_a_torch_that_is(kind, tmp_path):
    text, words = TORCHES[kind]
    path = fake_torch(tmp_path, text)
    result = run("doctor", path=path)
    assert (result.returncode, result.stderr) == (1, "")
    assert "! torch " in result.stdout
    assert words in result.stdout
    assert "pip install 'torch==2.11.*'" in result.stdout
    found = json.loads(run("doctor", "--json", path=path).stdout)
    assert words in found["problems"][0]
    other = run("inspect", "resnet20", path=path)
    assert (other.returncode, other.stdout) == (1, "")
    assert other.stderr.startswith("error: proprelu ")
    assert other.stderr.count("\n") == 1


def test_doctor_reports_a_broken_extension(tmp_path):
    (tmp_path / "proprelu").mkdir()
    for file in PACKAGE.iterdir():
        if not file.name.startswith(("_core.abi3", "__pycache__")):
            (tmp_path / "proprelu" / file.name).symlink_to(file)
    (tmp_path / "proprelu" / "_core.abi3.so").write_bytes(b"\x7fELF")
    result = run("doctor", path=[tmp_path])
    assert (result.returncode, result.stderr) == (1, "")
    assert "! extension  cannot be loaded" in result.stdout
    assert "file too short" in result.stdout


def test_an_import_raises_one_readable_error(tmp_path):
    options = command(path=fake_torch(tmp_path, TORCHES["broken"][0]))
    options["args"] = [sys.executable, "-c", "import proprelu"]
    result = subprocess.run(**options, capture_output=True, check=False)
    assert result.stderr.splitlines()[-1].startswith("ImportError: proprelu cannot import torch (")


def test_an_interrupt_while_torch_is_loaded_is_quiet(tmp_path):
    text = "import time; print('loading', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        **command("inspect", "resnet20", path=fake_torch(tmp_path, text)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_terminal_that_knows_only_ascii():
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    shown = run("train", "--help", **ascii_only)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.isascii()


def test_a_reader_that_goes_away_is_no_error():
    process = subprocess.Popen(
        **command("inspect", "resnet20"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) in (0, 1)


def test_a_full_disk_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            **command("inspect", "resnet20"), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert result.returncode == 1
    assert result.stderr == "error: No space left on device\n"
