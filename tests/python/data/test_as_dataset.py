"""as_dataset on arrays, tensors and torch's and torchvision's datasets that hold arrays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from proprelu import Augment, as_dataset
from proprelu._core import Dataset, Loader
from proprelu.data import TorchBatches
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision.transforms import Compose, Normalize, RandomCrop, ToTensor, v2

RNG = np.random.default_rng(0)
U8 = RNG.integers(0, 256, (6, 8, 10, 3), np.uint8)
F32 = RNG.normal(size=(6, 8, 10, 3)).astype(np.float32)
LABELS = [0, 1, 2, 2, 1, 0]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (U8, U8),
        (U8[..., 0], U8[..., :1]),
        (U8.transpose(0, 3, 1, 2), U8),
        (torch.from_numpy(U8), U8),
        (torch.from_numpy(U8).permute(0, 3, 1, 2), U8),
        (torch.from_numpy(U8[..., 0]), U8[..., :1]),
        (list(U8), U8),
        (F32.transpose(0, 3, 1, 2), F32),
        (F32, F32),
        (torch.from_numpy(F32).permute(0, 3, 1, 2), F32),
        (torch.from_numpy(F32).permute(0, 3, 1, 2).double().requires_grad_(), F32),
        ([torch.from_numpy(image).permute(2, 0, 1) for image in F32], F32),
        (F32[..., 0].astype(np.float64), F32[..., :1]),
    ],
)
def test_layouts(images: Any, expected: np.ndarray) -> None:
    dataset = as_dataset(images, LABELS)
    assert isinstance(dataset, Dataset)
    np.testing.assert_array_equal(dataset.images(), expected)
    assert dataset.images().dtype == expected.dtype
    assert dataset.labels().tolist() == LABELS


def test_many_channels_follow_the_dtype() -> None:
    u8 = as_dataset(np.zeros((2, 8, 9, 12), np.uint8), [0, 1])
    f32 = as_dataset(torch.zeros(2, 12, 8, 9), [0, 1])
    assert u8.shape == f32.shape == (2, 8, 9, 12)


def test_bfloat16_and_pairs() -> None:
    images = torch.randn(3, 1, 4, 4).bfloat16()
    dataset = as_dataset((images, torch.tensor([0, 1, 1])), num_classes=4)
    np.testing.assert_array_equal(dataset.images()[..., 0], images.float()[:, 0].numpy())
    assert dataset.num_classes == 4


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_any_integer_labels(dtype: type) -> None:
    assert as_dataset(U8, np.array(LABELS, dtype)).labels().tolist() == LABELS


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (U8, [0, 1, 2, 3, 4, 5, 6], "expected 6, got 7"),
        (U8, [0, 1, 2, 3, 4, -5], "got -5 at index 5"),
        (U8, [0.0] * 6, "labels must be integers, got float64"),
        (U8, [True] * 6, "labels must be integers, got bool"),
        (U8, ["a"] * 6, "labels must be integers, got <U1"),
        (U8, np.eye(6, dtype=int), r"labels must have the shape \(n,\), got \(6, 6\)"),
        (U8, [[0], [1, 2]], "labels must be integers, one for each image"),
        (U8.astype(np.int64), LABELS, "images must be uint8 .* got int64"),
        (F32.astype(np.complex64), LABELS, "images must be uint8 .* got complex64"),
        (torch.zeros(6, 8, 8, dtype=torch.bool), LABELS, "images must be uint8 .* got bool"),
        (U8[0, 0], LABELS, r"images must have the shape .* got \(10, 3\)"),
        (U8[None], LABELS, "images must have the shape"),
        (U8[:0], [], "at least one image"),
        ([], [], "at least one image"),
        ([U8[0], U8[1, :4]], [0, 1], r"of one size, got \(8, 10, 3\) at index 0 and \(4, 10, 3\)"),
        ("images", LABELS, "images must be uint8|at least one image|shape"),
    ],
)
def test_refuses(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        as_dataset(images, labels)
    assert "\n" not in str(raised.value)


def test_refuses_object_arrays_of_several_sizes_and_unknown_kinds() -> None:
    ragged = np.empty(2, object)
    ragged[:] = [U8[0], U8[0, :3]]
    with pytest.raises(ValueError, match="at index 1; resize them first"):
        as_dataset(ragged, [0, 1])
    with pytest.raises(TypeError, match="got dict"):
        as_dataset({"images": U8})
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.2, got 2 at index 2"):
        as_dataset(U8, LABELS, num_classes=2)


def test_a_dataset_passes_through() -> None:
    dataset = as_dataset(U8, LABELS)
    assert as_dataset(dataset) is dataset
    assert as_dataset(dataset, num_classes=3) is dataset
    with pytest.raises(ValueError, match="labels must be left out"):
        as_dataset(dataset, LABELS)
    with pytest.raises(ValueError, match="num_classes must be 3"):
        as_dataset(dataset, num_classes=4)


def vision_dataset(kind: str, transform: Any, tmp_path: Path) -> Any:
    """A torchvision dataset with a few images, if possible read by torchvision itself."""
    if kind == "FashionMNIST":
        folder = tmp_path / "FashionMNIST" / "raw"
        folder.mkdir(parents=True)
        for prefix in ("train", "t10k"):
            images = bytes([0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 8, 0, 0, 0, 10]) + U8[..., 0].tobytes()
            (folder / f"{prefix}-images-idx3-ubyte").write_bytes(images)
            labels = bytes([0, 0, 8, 1, 0, 0, 0, 6, *LABELS])
            (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)
        return torchvision.datasets.FashionMNIST(tmp_path, transform=transform)
    # The checksum would refuse any other archive.
    dataset = torchvision.datasets.CIFAR10.__new__(torchvision.datasets.CIFAR10)
    dataset.data, dataset.targets = U8, LABELS
    dataset.transform, dataset.target_transform = transform, None
    dataset.classes = [str(label) for label in range(10)]
    return dataset


TO_TENSOR_V2 = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]


@pytest.mark.parametrize("kind", ["FashionMNIST", "CIFAR10"])
@pytest.mark.parametrize(
    "transform",
    [
        ToTensor(),
        Compose([ToTensor()]),
        Compose([ToTensor(), Normalize((0.3,), (0.6,))]),
        v2.Compose(TO_TENSOR_V2),
        v2.Compose([*TO_TENSOR_V2, v2.Normalize([0.3], [0.6])]),
    ],
)
def test_images_of_torchvision_are_the_same_numbers(
    kind: str, transform: Any, tmp_path: Path
) -> None:
    theirs = vision_dataset(kind, transform, tmp_path)
    ours = as_dataset(theirs)
    assert isinstance(ours, Dataset)
    assert ours.num_classes == 10
    loader = Loader(ours, 6, augment=Augment().fitted(ours).to_dict())
    images, labels = next(iter(loader))
    expected, expected_labels = next(iter(DataLoader(theirs, 6)))
    torch.testing.assert_close(torch.from_numpy(images).permute(0, 3, 1, 2), expected)
    assert labels.tolist() == expected_labels.tolist()


def test_torchvision_without_a_transform_is_measured(tmp_path: Path) -> None:
    ours = as_dataset(vision_dataset("CIFAR10", None, tmp_path))
    np.testing.assert_allclose(ours.mean_std()[0], (U8 / 255).mean((0, 1, 2)), rtol=1e-6)


def test_subsets_and_tensor_datasets() -> None:
    images = torch.from_numpy(F32).permute(0, 3, 1, 2)
    whole = TensorDataset(images, torch.tensor(LABELS))
    ours = as_dataset(Subset(whole, [4, 0]))
    assert isinstance(ours, Dataset)
    np.testing.assert_array_equal(ours.images(), F32[[4, 0]])
    assert ours.labels().tolist() == [1, 0]
    assert ours.mean_std() == ([0.0] * 3, [1.0] * 3)


def other_transform(dataset: Any) -> Any:
    dataset.transform = Compose([RandomCrop(8, 2), ToTensor()])
    return dataset


def target_transform(dataset: Any) -> Any:
    dataset.target_transform = lambda label: label
    return dataset


def subclass(dataset: Any) -> Any:
    dataset.__class__ = type("Mine", (type(dataset),), {})
    return dataset


@pytest.mark.parametrize("change", [other_transform, target_transform, subclass])
def test_anything_else_is_left_to_torch(change: Callable[[Any], Any], tmp_path: Path) -> None:
    theirs = change(vision_dataset("CIFAR10", ToTensor(), tmp_path))
    assert isinstance(as_dataset(theirs), TorchBatches)
