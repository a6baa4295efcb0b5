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
from proprelu.data.images import images_of
from proprelu.data.tensor_data import TensorData
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


def test_float_tensors_are_never_permuted() -> None:
    """They are (n, c, h, w) as everywhere in torch, also where an image is narrow."""
    narrow = torch.randn(6, 8, 8, 4)
    loader = DataLoader(TensorDataset(narrow, torch.arange(6)), 6)
    for data in ((narrow, LABELS), TensorDataset(narrow, torch.arange(6)), (list(narrow), LABELS)):
        assert as_dataset(data).shape == (6, 8, 4, 8)
    ((images, _),) = as_dataset(loader)
    torch.testing.assert_close(images, narrow)
    # Arrays of NumPy and uint8 images may come in either layout.
    assert as_dataset(narrow.numpy(), LABELS).shape == (6, 8, 8, 4)
    assert as_dataset(torch.zeros(6, 8, 8, 4, dtype=torch.uint8), LABELS).shape == (6, 8, 8, 4)


def test_arrays_in_unusual_memory() -> None:
    frozen = F32.copy()
    frozen.flags.writeable = False
    for images in (frozen, F32[::-1][::-1], np.asfortranarray(F32), F32.astype(np.float16)):
        found = as_dataset(images, LABELS).images()
        np.testing.assert_allclose(found, F32, rtol=1e-3, atol=1e-3)
    objects = np.empty(6, object)
    objects[:] = list(U8)
    numbers = np.array(LABELS, object)
    np.testing.assert_array_equal(as_dataset(objects, numbers).images(), U8)
    flipped = as_dataset(torch.from_numpy(U8), np.array(LABELS)[::-1])
    assert flipped.labels().tolist() == LABELS[::-1]


LABEL_KINDS = [
    (np.zeros((6, 8, 10), np.uint8), torch.int64),
    (np.zeros((6, 8, 10), bool), torch.bool),
    (np.linspace(0, 1, 6), torch.float32),
    (torch.rand(6, 4).double(), torch.float32),
    ([[0, 1]] * 6, torch.int64),
    ([True] * 6, torch.bool),
]


@pytest.mark.parametrize(("labels", "dtype"), LABEL_KINDS)
@pytest.mark.parametrize("images", [U8, F32, torch.from_numpy(F32).permute(0, 3, 1, 2)])
def test_any_labels_that_a_loss_takes(images: Any, labels: Any, dtype: torch.dtype) -> None:
    data = as_dataset(images, labels)
    assert isinstance(data, TensorData)
    assert tuple(data.images.shape) == (6, 3, 8, 10)
    assert data.labels.dtype == dtype
    torch.testing.assert_close(data.labels, torch.as_tensor(labels), check_dtype=False)
    scaled = torch.as_tensor(images).float() / (255 if images is U8 else 1)
    expected = scaled if scaled.shape[1] == 3 else scaled.permute(0, 3, 1, 2)
    torch.testing.assert_close(data.images, expected)
    axes = (0, 2, 3)
    torch.testing.assert_close(torch.tensor(data.mean_std()[0]), expected.mean(axes))
    deviation = expected.std(axes, correction=0)
    torch.testing.assert_close(torch.tensor(data.mean_std()[1]), deviation)


def test_several_labels_and_other_axes() -> None:
    labels = {"class": np.arange(6), "box": np.zeros((6, 4))}
    data = as_dataset(torch.randn(6, 3, 30), labels)
    assert tuple(data.images.shape) == (6, 3, 30)
    assert {name: tuple(leaf.shape) for name, leaf in data.labels.items()} == {
        "class": (6,),
        "box": (6, 4),
    }
    assert tuple(as_dataset(torch.randn(6, 2, 3, 4, 5), LABELS).images.shape) == (6, 2, 3, 4, 5)
    assert tuple(as_dataset(np.zeros((6, 7)), (np.arange(6), np.arange(6))).images.shape) == (6, 7)
    with pytest.raises(ValueError, match="expected 6, got 5"):
        as_dataset(torch.randn(6, 3, 30), (torch.zeros(6), torch.zeros(5)))


def test_labels_below_zero_are_left_to_the_loss() -> None:
    assert as_dataset(U8, [0, 1, 2, -100, -1, 0]).num_classes == 3


def test_a_label_far_from_the_others_is_pointed_out() -> None:
    with pytest.warns(UserWarning, match="largest label is 255 .* have 256 classes") as caught:
        as_dataset(U8, [0, 1, 2, 3, 9, 255])
    assert caught[0].filename == __file__
    assert as_dataset(U8, [0, 1, 2, 3, 9, 255], num_classes=256).num_classes == 256
    as_dataset(U8, [0, 1, 2, 3, 4, 13])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_any_integer_labels(dtype: type) -> None:
    assert as_dataset(U8, np.array(LABELS, dtype)).labels().tolist() == LABELS


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (U8, [0, 1, 2, 3, 4, 5, 6], "expected 6, got 7"),
        (U8, [0.0] * 5, "expected 6, got 5"),
        (U8, ["a"] * 6, "labels must be numbers, got <U1; number the classes from 0"),
        (U8, np.array(["a"] * 6, object), "labels must be numbers, got <U1"),
        (U8, [1j] * 6, "labels must be numbers, got complex128"),
        (U8, [[0], [1, 2]], "labels must be numbers, one for each image"),
        (U8, 3, "expected 6, got 1"),
        (U8.astype(np.int64), LABELS, "images must be uint8 .* got int64"),
        (F32.astype(np.complex64), LABELS, "images must be uint8 .* got complex64"),
        (torch.zeros(6, 8, 8, dtype=torch.bool), LABELS, "images must be uint8 .* got bool"),
        (U8.astype(np.uint16), LABELS, r'got uint16; convert .* images.astype\("float32"\)'),
        (U8 > 3, LABELS, "images must be uint8 .* got bool"),
        (U8[0, 0], LABELS, "expected 10, got 6"),
        (U8[None], LABELS, "expected 1, got 6"),
        (U8[0, 0, 0], LABELS, r"at least one image, got shape \(3,\)"),
        (np.where(U8 > 250, np.nan, F32), LABELS, "images must be finite, got NaN or infinity in"),
        (np.where(U8 > 250, np.inf, 1e-9), LABELS, "images must be finite"),
        (torch.zeros(6, 3, 8, 8).to_sparse(), LABELS, "images must be dense tensors"),
        (
            torch.zeros(6, 3, 8, 8, device="meta"),
            LABELS,
            "got a meta tensor; load them",
        ),
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
    with pytest.raises(TypeError, match=r"got generator; it can be read only once.*Iterable"):
        as_dataset(pair for pair in [(U8, LABELS)])
    with pytest.raises(ValueError, match="labels must be from 0 to 1, got 2 at index 2"):
        as_dataset(U8, LABELS, num_classes=2)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_a_list_of_pairs_is_refused_and_what_to_do_works(count: int) -> None:
    images, labels = torch.rand(6, 3, 8, 8), torch.tensor(LABELS)
    pairs = list(zip(images[:count], labels[:count], strict=True))
    batches = [(images, labels)] * count
    for data in (pairs, batches):
        with pytest.raises(TypeError, match=r"got a list of pairs; pass DataLoader\(data"):
            as_dataset(data)
        with pytest.raises(TypeError, match="got a list of pairs"):
            images_of(data, None, 8)
    assert [len(x) for x, _ in as_dataset(DataLoader(pairs, 8))] == [count]  # type: ignore[arg-type]
    whole = as_dataset(DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    assert [len(x) for x, _ in whole] == [6] * count


@pytest.mark.parametrize("num_classes", [-1, 0, 2.5, "3", True])
def test_refuses_numbers_of_classes(num_classes: Any) -> None:
    with pytest.raises(ValueError, match="num_classes must be a whole number >= 1, got"):
        as_dataset(U8, LABELS, num_classes=num_classes)
    assert as_dataset(U8, LABELS, num_classes=np.int64(4)).num_classes == 4


def test_refuses_labels_for_data_that_have_their_own() -> None:
    whole = TensorDataset(torch.zeros(6, 3, 8, 8), torch.arange(6))
    for data in (whole, Subset(whole, [1]), DataLoader(whole)):
        with pytest.raises(ValueError, match=f"left out: the {type(data).__name__} has its own"):
            as_dataset(data, labels=LABELS)


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
    assert as_dataset(Subset(Subset(whole, [3, 4, 5]), [-1, 0])).labels().tolist() == [0, 2]
    with pytest.raises(ValueError, match="from -6 to 5, the number of images, got 6"):
        as_dataset(Subset(whole, [6]))


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
