"""Fashion-MNIST: the full set, and the part that is shipped with the package.

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms", arXiv 1708.07747. 28x28 gray images of 10 kinds of clothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from proprelu._core import Dataset
from proprelu.datasets.download import download as fetch
from proprelu.datasets.folders import check_split, data_folders

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_URL = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
_PREFIXES = {"train": "train", "test": "t10k"}
# Subfolders of a data folder that may hold the files: none, Debian's, torchvision's.
_SUBFOLDERS = ("", "fashion-mnist", "FashionMNIST/raw")
_SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    ),
}


def fashion_mnist(
    split: str = "train",
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
) -> Dataset:
    """The full set: 60,000 training or 10,000 test images, uint8, 28x28x1, 10 classes.

    The IDX files, gzipped or plain, are searched in ``root`` if given; otherwise in
    ``$PROPRELU_DATA``, the cache folder (``~/.cache/proprelu``) and ``/usr/share/datasets`` (the
    Debian package dataset-fashion-mnist). If none of these holds them, they are downloaded into
    the first one (31 MB for both splits) and their SHA-256 sums are checked.

    Args:
        split: "train" or "test".
        root: a folder with the four files, or with them in ``fashion-mnist/`` or
            ``FashionMNIST/raw/``.
        download: whether to download files that are not found.

    Raises:
        FileNotFoundError: the files are not found and ``download`` is false.
        OSError: the download failed.
        ValueError: an unknown split, or a damaged file.

    Example:
        >>> from proprelu.datasets import fashion_mnist
        >>> fashion_mnist("test")  # doctest: +SKIP
        Dataset(10000 uint8 images of 28x28x1, 10 classes)
    """
    check_split(split)
    folders = data_folders(root)
    found = _find(folders, split)
    if found is None:
        target = folders[0] / "fashion-mnist"
        if not download:
            searched = ", ".join(map(str, folders))
            raise FileNotFoundError(f"Fashion-MNIST is not in {searched}; {_advice(target)}")
        found = _download(target, split)
    return Dataset.read_idx(*found, num_classes=len(CLASSES))


def fashion_mnist_small(split: str = "train") -> Dataset:
    """The part that is shipped with the package: 8,000 training or 2,000 test images.

    The first 800 (200) of each of the 10 classes of the full set, in its order; uint8, 28x28x1.

    Args:
        split: "train" or "test".

    Raises:
        ValueError: an unknown split.

    Example:
        >>> from proprelu.datasets import fashion_mnist_small
        >>> fashion_mnist_small("train")
        Dataset(8000 uint8 images of 28x28x1, 10 classes)
    """
    check_split(split)
    folder = Path(__file__).parent / "embedded"
    images, labels = (folder / name for name in file_names(split))
    return Dataset.read_idx(images, labels, num_classes=len(CLASSES))


def file_names(split: str) -> tuple[str, str]:
    """The names of a split's image and label files."""
    prefix = _PREFIXES[split]
    return f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"


def _find(folders: list[Path], split: str) -> tuple[Path, Path] | None:
    for folder in (base / sub for base in folders for sub in _SUBFOLDERS):
        images, labels = (_either(folder / name) for name in file_names(split))
        if images is not None and labels is not None:
            return images, labels
    return None


def _either(path: Path) -> Path | None:
    """The file, gzipped or plain; None if neither exists."""
    return next((p for p in (path, path.with_suffix("")) if p.is_file()), None)


def _download(target: Path, split: str) -> tuple[Path, Path]:
    images, labels = (target / name for name in file_names(split))
    try:
        for path in (images, labels):
            if not path.is_file():
                fetch(_URL + path.name, path, _SHA256[path.name])
    except OSError as error:
        message = f"Fashion-MNIST could not be downloaded ({error}); {_advice(target)}"
        raise OSError(message) from error
    return images, labels


def _advice(target: Path) -> str:
    return (
        "install the Debian package dataset-fashion-mnist, or put its four IDX files into "
        f"{target} or into a folder that PROPRELU_DATA names"
    )
