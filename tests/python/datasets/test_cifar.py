"""CIFAR from small archives in both forms, and from archives that must be refused."""

import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from proprelu._core import Dataset
from proprelu.datasets import cifar10, cifar100, safe_pickle

COUNT = 4
TRAIN10 = [f"data_batch_{i}" for i in range(1, 6)]
# kind: (function, classes, files of train, file of test, key, folder)
KINDS: dict[str, Any] = {
    "10": (cifar10, 10, TRAIN10, "test_batch", b"labels", "cifar-10-batches"),
    "100": (cifar100, 100, ["train"], "test", b"fine_labels", "cifar-100"),
}


def part(seed: int, classes: int) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (COUNT, 3072), np.uint8)
    return data, [int(label) for label in rng.integers(0, classes, COUNT)]


def expected(seeds: range, classes: int) -> tuple[np.ndarray, list[int]]:
    parts = [part(seed, classes) for seed in seeds]
    data = np.concatenate([data for data, _ in parts])
    labels = [label for _, labels in parts for label in labels]
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def binary(seed: int, classes: int) -> bytes:
    data, labels = part(seed, classes)
    coarse = b"" if classes == 10 else b"\x05"
    return b"".join(
        coarse + bytes([label]) + row.tobytes() for row, label in zip(data, labels, strict=True)
    )


def pickled(seed: int, classes: int, key: bytes, protocol: int = 2, order: str = "C") -> bytes:
    data, labels = part(seed, classes)
    return pickle.dumps({b"data": np.asarray(data, order=order), key: labels}, protocol)


def files(kind: str, form: str) -> dict[str, bytes]:
    _, classes, train, test, key, _ = KINDS[kind]
    names = [*train, test]
    if form == "binary":
        return {f"{name}.bin": binary(i, classes) for i, name in enumerate(names)}
    return {name: pickled(i, classes, key) for i, name in enumerate(names)}


def write_tar(path: Path, contents: dict[str, bytes], folder: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_folder(path: Path, contents: dict[str, bytes]) -> Path:
    path.mkdir(parents=True)
    for name, content in contents.items():
        (path / name).write_bytes(content)
    return path


def folder_name(kind: str, form: str) -> str:
    if kind == "10":
        return "cifar-10-batches-bin" if form == "binary" else "cifar-10-batches-py"
    return "cifar-100-binary" if form == "binary" else "cifar-100-python"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["binary", "python"])
@pytest.mark.parametrize("place", ["folder", "archive", "itself", "environment"])
def test_reads_every_form(
    kind: str, form: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, classes, train, _, _, _ = KINDS[kind]
    contents, folder = files(kind, form), folder_name(kind, form)
    root: Path | None = tmp_path
    if place in ("folder", "itself"):
        inner = write_folder(tmp_path / folder, contents)
        root = inner if place == "itself" else tmp_path
    else:
        archive = write_tar(tmp_path / f"cifar-{kind}-{form}.tar.gz", contents, folder)
        root = archive if place == "archive" else None
        monkeypatch.setenv("PROPRELU_DATA", str(tmp_path))
    last = len(train)
    for split, seeds in (("train", range(last)), ("test", range(last, last + 1))):
        dataset = function(split, root)
        images, labels = expected(seeds, classes)
        assert isinstance(dataset, Dataset)
        np.testing.assert_array_equal(dataset.images(), images)
        assert dataset.labels().tolist() == labels
        assert dataset.num_classes == classes


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_reads_pickles_of_any_protocol(protocol: int, order: str) -> None:
    loaded = safe_pickle.load("x", pickled(0, 10, b"labels", protocol, order))
    data, labels = part(0, 10)
    np.testing.assert_array_equal(loaded["data"], data)
    assert loaded["labels"] == labels


def test_reads_the_names_of_older_numpy() -> None:
    content = pickled(0, 10, b"labels", 2).replace(b"numpy._core", b"numpy.core")
    np.testing.assert_array_equal(safe_pickle.load("x", content)["data"], part(0, 10)[0])


class Attack:
    """Creates a file when it is unpickled without protection."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_is_refused_and_not_executed(protocol: int, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    content = pickle.dumps({b"data": Attack(trap), b"labels": []}, protocol)
    archive = write_tar(tmp_path / "cifar-10-python.tar.gz", {"test_batch": content}, "x")
    with pytest.raises(ValueError, match=r"test_batch was not read: .*posix\.mkdir") as raised:
        cifar10("test", archive)
    assert "\n" not in str(raised.value)
    assert not trap.exists()
    pickle.loads(content)
    assert trap.exists(), "the attack works where it is let"


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nscalar\n.",
        # Attributes set on the replacement of a function or a class.
        b"c_codecs\nencode\n}S'a'\nI1\nsb.",
        b"c_codecs\nencode\n(N}S'__defaults__'\nI1\nstb.",
        b"cnumpy\nndarray\n}S'fill'\nI1\nsb.",
        # Another dtype, another encoding, a persistent id.
        b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
        b"c_codecs\nencode\n(Vx\nS'rot13'\ntR.",
        b"Pid\n.",
        b"",
        b"not a pickle",
        pickle.dumps([1, 2]),
    ],
)
def test_other_pickles_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^x ") as raised:
        safe_pickle.load("x", content)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, object])
def test_arrays_of_another_dtype_are_refused(dtype: Any) -> None:
    content = pickle.dumps({b"data": np.zeros((2, 3072), dtype)})
    with pytest.raises(ValueError, match="an array must be of uint8"):
        safe_pickle.load("x", content)


def test_a_pickle_cut_anywhere_is_refused() -> None:
    content = pickled(0, 10, b"labels")
    for cut in [*range(60), *range(60, len(content), 977)]:
        with pytest.raises(ValueError, match=r"^x "):
            safe_pickle.load("x", content[:cut])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({b"labels": [1]}, '"data" of shape'),
        ({b"data": np.zeros((1, 3071), np.uint8), b"labels": [1]}, '"data" of shape'),
        ({b"data": np.zeros((1, 3072), np.uint8)}, 'a list "labels" of 1 labels'),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [1, 2]}, "of 1 labels"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}, "from 0 to 9, got 10"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [0.5]}, "must hold integer labels"),
    ],
)
def test_pickles_without_images_and_labels_are_refused(
    content: dict[bytes, Any], message: str, tmp_path: Path
) -> None:
    write_folder(tmp_path / "cifar-10-batches-py", {"test_batch": pickle.dumps(content)})
    with pytest.raises(ValueError, match=message):
        cifar10("test", tmp_path)


def test_damaged_archives(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "cifar-10-binary.tar.gz", files("10", "binary"), "x")
    whole = archive.read_bytes()
    cuts = [whole[:cut] for cut in (0, 5, 500, len(whole) // 2, len(whole) - 9)]
    places = range(len(whole) // 7, len(whole), len(whole) // 7)
    flips = [whole[:i] + bytes([whole[i] ^ 64]) + whole[i + 1 :] for i in places]
    for damaged in [*cuts, *flips]:
        archive.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"cifar-10-binary.tar.gz must (be|hold)") as raised:
            cifar10("train", tmp_path)
        assert "\n" not in str(raised.value)


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    contents = files("100", "binary")
    contents["test.bin"] = contents["test.bin"][:-1]
    write_tar(tmp_path / "cifar-100-binary.tar.gz", contents, "x")
    with pytest.raises(ValueError, match=r"test\.bin must hold whole records of 3074 bytes"):
        cifar100("test", tmp_path)
    del contents["test.bin"]
    write_tar(tmp_path / "cifar-100-binary.tar.gz", contents, "x")
    with pytest.raises(ValueError, match=r"must hold test\.bin or test, got \[\]"):
        cifar100("test", tmp_path)


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("test_batch.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(ValueError, match=r"must hold test_batch\.bin or test_batch, got \[\]"):
        cifar10("test", tmp_path)


def test_absent_files_say_what_to_do(tmp_path: Path) -> None:
    for function in (cifar10, cifar100):
        with pytest.raises(FileNotFoundError, match=r"binary\.tar\.gz into .*PROPRELU_DATA"):
            function("train", tmp_path)
        with pytest.raises(ValueError, match='"train" or "test"'):
            function("val", tmp_path)
