"""The command line, called as from a shell but in this process."""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
import pytest
from proprelu.cli import main


class Called(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """`call("inspect", "resnet20")` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["proprelu", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit:
            code = exit.code or 0
        out, err = capsys.readouterr()
        return Called(code, out, err)

    return run


@pytest.fixture
def npz(tmp_path):
    """A .npz file of 64 small images in two classes that differ in brightness."""
    random = np.random.default_rng(0)
    labels = np.arange(64) % 2
    images = random.integers(0, 100, (64, 12, 12, 1)) + 100 * labels[:, None, None, None]
    images = images.astype(np.uint8)
    path = tmp_path / "two.npz"
    halves = {"test_images": images[:16], "test_labels": labels[:16]}
    np.savez(path, train_images=images[16:], train_labels=labels[16:], **halves)
    return path
