"""Creates the embedded part of Fashion-MNIST from the full set.

Run ``python -m proprelu.datasets.embedded.make``; the result is always the same.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

from proprelu.datasets.fashion_mnist import fashion_mnist, file_names

PER_CLASS = {"train": 800, "test": 200}


def first_of_each_class(labels: npt.NDArray[np.int64], count: int) -> list[int]:
    """The indices of the first ``count`` images of each class, in ascending order."""
    chosen = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    return sorted(int(index) for index in np.concatenate(chosen))


def idx_bytes(values: npt.NDArray[np.uint8]) -> bytes:
    """An array in the format of a gzipped IDX file of unsigned bytes; see ``src/data/idx.rs``."""
    header = bytes([0, 0, 8, values.ndim])
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return gzip.compress(header + sizes + values.tobytes(), compresslevel=9, mtime=0)


def make(target: Path) -> None:
    """Write the four files into ``target``."""
    for split, count in PER_CLASS.items():
        full = fashion_mnist(split)
        part = full.subset(first_of_each_class(full.labels(), count))
        arrays = (part.images()[..., 0], part.labels())
        for name, values in zip(file_names(split), arrays, strict=True):
            (target / name).write_bytes(idx_bytes(values.astype(np.uint8)))


if __name__ == "__main__":
    make(Path(__file__).parent)
