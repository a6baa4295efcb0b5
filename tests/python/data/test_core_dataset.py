"""The core's Dataset: round trips, and errors for unsuitable input."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from proprelu._core import Dataset

LABELS = np.array([0, 2, 1, 0], np.int64)


def random_u8(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_u8_round_trip_from_any_strides() -> None:
    planar = random_u8(4, 3, 5, 7)
    dataset = Dataset.from_u8(planar.transpose(0, 2, 3, 1), LABELS)
    np.testing.assert_array_equal(dataset.images(), planar.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(dataset.labels(), LABELS)
    assert dataset.images().dtype == np.uint8
    assert (dataset.shape, dataset.num_classes, len(dataset)) == ((4, 5, 7, 3), 3, 4)
    assert repr(dataset) == "Dataset(4 uint8 images of 5x7x3, 3 classes)"


def test_f32_round_trip_and_items() -> None:
    images = np.random.default_rng(1).normal(size=(4, 2, 3, 1)).astype(np.float32)
    dataset = Dataset.from_f32(images, LABELS, 5)
    np.testing.assert_array_equal(dataset.images(), images)
    assert dataset.num_classes == 5
    image, label = dataset[-3]
    np.testing.assert_array_equal(image, images[1])
    assert label == 2
    for index in (4, -5):
        with pytest.raises(IndexError, match=f"got {index}"):
            dataset[index]


def test_mean_std_agrees_with_numpy() -> None:
    images = random_u8(4, 6, 5, 3)
    mean, std = Dataset.from_u8(images, LABELS).mean_std()
    np.testing.assert_allclose(mean, (images / 255.0).mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, (images / 255.0).std((0, 1, 2)), rtol=1e-6)
    stated = Dataset.from_u8(images, LABELS, None, ([0.5] * 3, [0.25] * 3))
    assert stated.mean_std() == ([0.5] * 3, [0.25] * 3)


def test_subset() -> None:
    images = random_u8(4, 2, 2, 1)
    subset = Dataset.from_u8(images, LABELS).subset([3, 1])
    np.testing.assert_array_equal(subset.images(), images[[3, 1]])
    np.testing.assert_array_equal(subset.labels(), LABELS[[3, 1]])
    assert subset.num_classes == 3
    with pytest.raises(ValueError, match="must be from -2 to 1, got 2"):
        subset.subset([2])


@pytest.mark.parametrize(
    ("labels", "num_classes", "message"),
    [
        ([0, 1, 2, 3], 3, r"labels must be from 0 to 2, got 3 at index 3"),
        ([0, 1], None, "expected 4, got 2"),
        ([0, 1, 2, 2**63 - 1], 10, "got 9223372036854775807"),
    ],
)
def test_refuses_labels(labels: list[int], num_classes: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        Dataset.from_u8(random_u8(4, 2, 2, 1), np.array(labels), num_classes)
    assert "\n" not in str(raised.value)


def test_refuses_empty_and_untyped() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        Dataset.from_u8(random_u8(0, 2, 2, 1), LABELS[:0])
    with pytest.raises(ValueError, match="std must be finite and positive"):
        Dataset.from_u8(random_u8(4, 2, 2, 1), LABELS, None, ([0.0], [0.0]))
    with pytest.raises(TypeError):
        Dataset.from_u8(random_u8(4, 2, 2, 1).astype(np.int16), LABELS)


def test_read_idx(tmp_path: Path) -> None:
    images, labels = random_u8(4, 3, 2), LABELS.astype(np.uint8)
    header = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in images.shape)
    (tmp_path / "images.gz").write_bytes(gzip.compress(header + images.tobytes()))
    (tmp_path / "labels").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 4]) + labels.tobytes())
    dataset = Dataset.read_idx(tmp_path / "images.gz", tmp_path / "labels", 10)
    np.testing.assert_array_equal(dataset.images()[..., 0], images)
    assert dataset.num_classes == 10

    (tmp_path / "labels").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 4]) + labels.tobytes()[:2])
    with pytest.raises(ValueError, match=r"labels must hold 4 values .* got 2"):
        Dataset.read_idx(tmp_path / "images.gz", tmp_path / "labels")
    with pytest.raises(OSError, match=r"cannot read .*absent"):
        Dataset.read_idx(tmp_path / "absent", tmp_path / "labels")


def test_parse_cifar_needs_a_known_kind() -> None:
    record = bytes([7]) + random_u8(3072).tobytes()
    dataset = Dataset.parse_cifar([("x.bin", record)], 10)
    np.testing.assert_array_equal(
        dataset.images()[0], random_u8(3072).reshape(3, 32, 32).transpose(1, 2, 0)
    )
    assert dataset.labels().tolist() == [7]
    with pytest.raises(ValueError, match="10 or 100 for CIFAR, got 20"):
        Dataset.parse_cifar([("x.bin", record)], 20)
