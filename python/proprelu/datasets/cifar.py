"""CIFAR-10 and CIFAR-100, read from their binary or Python archives.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009;
https://www.cs.toronto.edu/~kriz/cifar.html. 32x32 color images.
"""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from proprelu._core import Dataset
from proprelu.data.labels import class_numbers, label_tree
from proprelu.datasets import safe_pickle
from proprelu.datasets.folders import check_split, data_folders

_PIXELS = 3 * 32 * 32
_LARGEST_MEMBER = 1 << 28


@dataclass(frozen=True)
class _Kind:
    title: str
    num_classes: int
    # Files of each split, without the ".bin" of the binary form.
    files: dict[str, tuple[str, ...]]
    # Archives and folders, in the order in which they are tried.
    places: tuple[str, ...]
    labels_key: str


_CIFAR10 = _Kind(
    "CIFAR-10",
    10,
    {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
    (
        "cifar-10-batches-bin",
        "cifar-10-binary.tar.gz",
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
    ),
    "labels",
)
_CIFAR100 = _Kind(
    "CIFAR-100",
    100,
    {"train": ("train",), "test": ("test",)},
    ("cifar-100-binary", "cifar-100-binary.tar.gz", "cifar-100-python", "cifar-100-python.tar.gz"),
    "fine_labels",
)


def cifar10(split: str = "train", root: str | os.PathLike[str] | None = None) -> Dataset:
    """CIFAR-10: 50,000 training or 10,000 test images, uint8, 32x32x3, 10 classes.

    Reads the binary and the Python form, as the archive (``cifar-10-binary.tar.gz``,
    ``cifar-10-python.tar.gz``) or its unpacked folder. An archive is read in memory; its pickles
    are read without executing code. Nothing is downloaded.

    Args:
        split: "train" or "test".
        root: the archive, its unpacked folder, or a folder that holds one of them; by default
            ``$PROPRELU_DATA``, the cache folder and ``/usr/share/datasets`` are searched.

    Raises:
        FileNotFoundError: it is not found; the message contains its address and the folder for
            it.
        ValueError: an unknown split, or a damaged or manipulated file.

    Example:
        >>> from proprelu.datasets import cifar10
        >>> cifar10("test", "~/data")  # doctest: +SKIP
        Dataset(10000 uint8 images of 32x32x3, 10 classes)
    """
    return _read(_CIFAR10, split, root)


def cifar100(split: str = "train", root: str | os.PathLike[str] | None = None) -> Dataset:
    """CIFAR-100: 50,000 training or 10,000 test images, uint8, 32x32x3, 100 (fine) classes.

    Read like ``cifar10``, from ``cifar-100-binary.tar.gz`` or ``cifar-100-python.tar.gz``.

    Args:
        split: "train" or "test".
        root: see ``cifar10``.

    Raises:
        FileNotFoundError: it is not found; the message contains its address and the folder for
            it.
        ValueError: an unknown split, or a damaged or manipulated file.

    Example:
        >>> from proprelu.datasets import cifar100
        >>> cifar100("test", "~/data")  # doctest: +SKIP
        Dataset(10000 uint8 images of 32x32x3, 100 classes)
    """
    return _read(_CIFAR100, split, root)


def _read(kind: _Kind, split: str, root: str | os.PathLike[str] | None) -> Dataset:
    check_split(split)
    names = kind.files[split]
    place = _find(kind, names, data_folders(root))
    binary = tuple(f"{name}.bin" for name in names)
    contents = _contents(place, {*names, *binary})
    if all(name in contents for name in binary):
        files = [(f"{place}: {name}", contents[name]) for name in binary]
        return Dataset.parse_cifar(files, kind.num_classes)
    if all(name in contents for name in names):
        return _from_pickles(kind, [(f"{place}: {name}", contents[name]) for name in names])
    expected = f"{' '.join(binary)} or {' '.join(names)}"
    raise ValueError(f"{place} must hold {expected}, got {sorted(contents)}; fetch it again")


def _find(kind: _Kind, names: tuple[str, ...], folders: list[Path]) -> Path:
    for folder in folders:
        if folder.is_file():
            return folder
        inside = (folder / place for place in kind.places)
        found = next((path for path in inside if path.exists()), None)
        if found is not None:
            return found
        if any((folder / f"{names[0]}{suffix}").is_file() for suffix in ("", ".bin")):
            return folder
    searched = ", ".join(map(str, folders))
    archive = kind.places[1]
    raise FileNotFoundError(
        f"{kind.title} is not in {searched}; put https://www.cs.toronto.edu/~kriz/{archive} into "
        f"{folders[0]}, or name its folder in PROPRELU_DATA"
    )


def _contents(place: Path, wanted: set[str]) -> dict[str, bytes]:
    """The wanted files of a folder or of a tar archive; nothing is unpacked to disk."""
    if place.is_dir():
        paths = (place / name for name in sorted(wanted))
        return {path.name: path.read_bytes() for path in paths if path.is_file()}
    contents = {}
    try:
        with tarfile.open(place) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name not in wanted or not member.isfile():
                    continue
                if member.size > _LARGEST_MEMBER:
                    raise ValueError(f"{place}: {name} is too large, {member.size} bytes")
                file = archive.extractfile(member)
                contents[name] = file.read() if file else b""
            # Read to the end, where gzip verifies its checksum.
            while archive.fileobj is not None and archive.fileobj.read(1 << 20):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())
        message = f"{place} must be a whole tar archive ({reason}); fetch it again"
        raise ValueError(message) from error
    return contents


def _from_pickles(kind: _Kind, files: list[tuple[str, bytes]]) -> Dataset:
    parts = [_part(kind, name, safe_pickle.load(name, content)) for name, content in files]
    images = np.concatenate([images for images, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    return Dataset.from_u8(images, labels, kind.num_classes)


def _part(kind: _Kind, name: str, content: dict[str, object]) -> tuple[np.ndarray, np.ndarray]:
    data, labels = content.get("data"), content.get(kind.labels_key)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != _PIXELS:
        raise ValueError(f'{name} must hold "data" of shape (n, {_PIXELS}); fetch it again')
    if not isinstance(labels, list) or len(labels) != len(data):
        raise ValueError(
            f'{name} must hold a list "{kind.labels_key}" of {len(data)} labels; fetch it again'
        )
    numbers = class_numbers(label_tree(labels))
    if numbers is None or numbers.min(initial=0) < 0:
        raise ValueError(f"{name} must hold integer labels from 0; fetch it again")
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), numbers
