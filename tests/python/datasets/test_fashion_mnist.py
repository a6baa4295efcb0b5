"""Fashion-MNIST: the shipped part, the full set, and the download."""

import email.message
import hashlib
import importlib
import io
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch.hub
from proprelu.cache import cache_folder
from proprelu.datasets import fashion_mnist, fashion_mnist_small
from proprelu.datasets.download import download
from proprelu.datasets.embedded import make
from proprelu.datasets.folders import SYSTEM, data_folders

# Imported by name, because the attribute of the package is the function.
module = importlib.import_module("proprelu.datasets.fashion_mnist")
EMBEDDED = Path(make.__file__).parent


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PROPRELU_DATA", raising=False)


@pytest.mark.parametrize(("split", "each"), [("train", 800), ("test", 200)])
def test_the_small_set_is_balanced(split: str, each: int) -> None:
    dataset = fashion_mnist_small(split)
    assert dataset.shape == (10 * each, 28, 28, 1)
    assert np.bincount(dataset.labels()).tolist() == [each] * 10


def test_the_shipped_files_are_small_and_have_a_notice() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED.glob("*.gz")) < 5_000_000
    notice = (EMBEDDED / "NOTICE").read_text()
    assert "Zalando" in notice
    assert "Permission is hereby granted" in notice


@pytest.mark.skipif(not (SYSTEM / "fashion-mnist").is_dir(), reason="needs the full set")
def test_the_shipped_files_can_be_reproduced(tmp_path: Path) -> None:
    make.make(tmp_path)
    for split in ("train", "test"):
        again = module.Dataset.read_idx(*(tmp_path / name for name in module.file_names(split)))
        shipped = fashion_mnist_small(split)
        np.testing.assert_array_equal(again.images(), shipped.images())
        np.testing.assert_array_equal(again.labels(), shipped.labels())


@pytest.mark.parametrize("sub", ["", "fashion-mnist", "FashionMNIST/raw"])
@pytest.mark.parametrize("how", ["root", "environment", "cache"])
def test_finds_the_files(
    sub: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = cache_folder() if how == "cache" else tmp_path / "data"
    (base / sub).mkdir(parents=True, exist_ok=True)
    for name in module.file_names("test"):
        (base / sub / name).write_bytes((EMBEDDED / name).read_bytes())
    if how == "environment":
        monkeypatch.setenv("PROPRELU_DATA", str(base))
    dataset = fashion_mnist("test", base if how == "root" else None, download=False)
    assert len(dataset) == 2000
    assert data_folders(None)[-1] == SYSTEM


def test_absent_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"dataset-fashion-mnist.*PROPRELU_DATA") as raised:
        fashion_mnist("train", tmp_path, download=False)
    assert "\n" not in str(raised.value)
    for function in (fashion_mnist, fashion_mnist_small):
        with pytest.raises(ValueError, match='"train" or "test", got \'val\''):
            function("val")


class Response(io.BytesIO):
    def info(self) -> email.message.Message:
        return email.message.Message()


def serve(monkeypatch: pytest.MonkeyPatch, contents: dict[str, bytes]) -> list[str]:
    asked: list[str] = []

    def urlopen(request: urllib.request.Request) -> Response:
        asked.append(request.full_url)
        return Response(contents[request.full_url.rpartition("/")[2]])

    monkeypatch.setattr(torch.hub, "urlopen", urlopen)
    return asked


def test_downloads_once_and_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {name: (EMBEDDED / name).read_bytes() for name in module.file_names("test")}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    asked = serve(monkeypatch, contents)

    with pytest.raises(OSError, match=r"must have the SHA-256 sum .* dataset-fashion-mnist"):
        fashion_mnist("test", tmp_path)
    assert not list(tmp_path.iterdir())

    monkeypatch.setattr(module, "_SHA256", sums)
    assert len(fashion_mnist("test", tmp_path)) == 2000
    count = len(asked)
    assert len(fashion_mnist("test", tmp_path)) == 2000
    assert len(asked) == count
    assert all(url.startswith("https://") for url in asked)
    assert sorted(path.name for path in (tmp_path / "fashion-mnist").iterdir()) == sorted(sums)


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(request: urllib.request.Request) -> Response:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "urlopen", urlopen)
    with pytest.raises(OSError, match=r"no route to host.*dataset-fashion-mnist.*PROPRELU_DATA"):
        fashion_mnist("train", tmp_path)


def test_only_https(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs an https address, got 'http:"):
        download("http://example.org/x", tmp_path / "x", "0")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    images, labels = module.file_names("test")
    (tmp_path / images).write_bytes((EMBEDDED / images).read_bytes()[:5000])
    (tmp_path / labels).write_bytes((EMBEDDED / labels).read_bytes())
    with pytest.raises(ValueError, match=f"{images} must hold 1568000 values"):
        fashion_mnist("test", tmp_path)
