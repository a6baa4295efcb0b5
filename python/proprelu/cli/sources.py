"""Models and data by their names on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import nn

from proprelu import datasets, models
from proprelu._core import Dataset
from proprelu.convert import convert
from proprelu.data import Augment, as_dataset

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_IDX = ("{}-images-idx3-ubyte", "{}-labels-idx1-ubyte")


class Data(NamedTuple):
    """Training and validation images with a suitable augmentation."""

    train: Dataset
    val: Dataset
    augment: Augment


def data_by_name(name: str) -> Data:
    """Load fashion-mnist-small, fashion-mnist, cifar10, cifar100, or the data at a path.

    The path is a ``.npz`` file with the arrays train_images, train_labels, test_images and
    test_labels, or a folder with four IDX files, named like those of MNIST.

    Raises:
        ValueError: neither a known name nor such a path.
        OSError: the data are not found; the message explains how to get them.
    """
    clothes, photos = Augment(pad=2, flip=True), Augment(pad=4, flip=True)
    known = {
        "fashion-mnist-small": (datasets.fashion_mnist_small, clothes),
        "fashion-mnist": (datasets.fashion_mnist, clothes),
        "cifar10": (datasets.cifar10, photos),
        "cifar100": (datasets.cifar100, photos),
    }
    if name in known:
        load, augment = known[name]
        return Data(load("train"), load("test"), augment)
    path = Path(name)
    if path.is_dir():
        return Data(_read_idx(path, "train"), _read_idx(path, "t10k"), Augment(pad=2))
    if path.suffix == ".npz" and path.is_file():
        return Data(*_read_npz(path), Augment(pad=2))
    raise ValueError(
        f"data must be one of {', '.join(known)}, a .npz file or a folder of IDX files, "
        f'got "{name}"'
    )


def _read_idx(folder: Path, prefix: str) -> Dataset:
    images, labels = (_plain_or_gzipped(folder / name.format(prefix)) for name in _IDX)
    return Dataset.read_idx(images, labels)


def _plain_or_gzipped(path: Path) -> Path:
    gzipped = path.with_name(f"{path.name}.gz")
    if not path.is_file() and not gzipped.is_file():
        raise FileNotFoundError(f"expected the IDX file {path} or {gzipped.name}")
    return path if path.is_file() else gzipped


def _read_npz(path: Path) -> tuple[Dataset, Dataset]:
    with np.load(path, allow_pickle=False) as arrays:
        missing = [name for name in _ARRAYS if name not in arrays]
        if missing:
            raise ValueError(f"{path} must hold {', '.join(_ARRAYS)}; {missing[0]} is missing")
        images, labels, test_images, test_labels = (arrays[name] for name in _ARRAYS)
    num_classes = int(max(labels.max(initial=0), test_labels.max(initial=0))) + 1
    train = as_dataset(images, labels, num_classes=num_classes)
    test = as_dataset(test_images, test_labels, num_classes=num_classes)
    assert isinstance(train, Dataset)
    assert isinstance(test, Dataset)
    return train, test


def model_by_name(
    name: str,
    *,
    ratio: str = "1:1",
    placement: str = "last",
    num_classes: int = 10,
    in_channels: int = 3,
) -> nn.Module:
    """Create a model of proprelu.models with a ratio, or one of torchvision, converted to it.

    Weights are random. The first convolution of a torchvision model is replaced if the images do
    not have 3 channels.

    Raises:
        ValueError: neither library has a model of this name.
        ImportError: the model may be torchvision's, which is not installed.
    """
    if name in models.names():
        return models.create(
            name,
            ratio=ratio,
            placement=placement,
            num_classes=num_classes,
            in_channels=in_channels,
        )
    model = _from_torchvision(name, num_classes)
    if in_channels != 3:
        _set_in_channels(model, in_channels)
    return model if ratio == "1:1" else convert(model, ratio, placement, inplace=True)


def _from_torchvision(name: str, num_classes: int) -> nn.Module:
    try:
        import torchvision.models
    except ImportError:
        raise ImportError(
            f'model must be one of {", ".join(models.names())}, got "{name}"; '
            "for the models of torchvision: pip install 'proprelu[vision]'"
        ) from None
    if name not in torchvision.models.list_models(torchvision.models):
        raise ValueError(
            f"model must be one of {', '.join(models.names())} or of torchvision.models "
            f'(resnet18, vgg11_bn, densenet121, mobilenet_v2, ...), got "{name}"'
        )
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    return model


def _set_in_channels(model: nn.Module, in_channels: int) -> None:
    for name, conv in model.named_modules():
        if isinstance(conv, nn.Conv2d):
            parent, _, last = name.rpartition(".")
            remade = nn.Conv2d(
                in_channels,
                conv.out_channels,
                conv.kernel_size,  # type: ignore[arg-type]
                conv.stride,  # type: ignore[arg-type]
                conv.padding,  # type: ignore[arg-type]
                bias=conv.bias is not None,
            )
            setattr(model.get_submodule(parent), last, remade)
            return
