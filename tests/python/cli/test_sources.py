"""Models and data by name or path."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import proprelu
import pytest
import torch
from proprelu.cli.sources import data_by_name, model_by_name


def test_the_embedded_set():
    data = data_by_name("fashion-mnist-small")
    assert data.train.shape == (8000, 28, 28, 1)
    assert data.val.shape == (2000, 28, 28, 1)
    assert data.augment.flip


def test_a_folder_of_idx_files(tmp_path):
    embedded = Path(proprelu.__file__).parent / "datasets" / "embedded"
    for file in embedded.glob("*.gz"):
        shutil.copy(file, tmp_path)
    data = data_by_name(str(tmp_path))
    assert (len(data.train), len(data.val)) == (8000, 2000)
    assert not data.augment.flip
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte or t10k"):
        data_by_name(str(tmp_path))


def test_an_npz_file(npz):
    data = data_by_name(str(npz))
    assert data.train.shape == (48, 12, 12, 1)
    assert data.val.num_classes == 2


def test_an_npz_file_that_lacks_an_array(tmp_path):
    np.savez(tmp_path / "part.npz", train_images=np.zeros((1, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="train_labels is missing"):
        data_by_name(str(tmp_path / "part.npz"))


def test_unknown_data():
    with pytest.raises(ValueError, match=r'fashion-mnist, cifar10.*got "mnist"'):
        data_by_name("mnist")


def test_registry_models_take_the_ratio():
    model = model_by_name("resnet20", ratio="2:1", num_classes=7, in_channels=1)
    assert str(proprelu.ratio_of(model)) == "19:10"
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 7)


def test_torchvision_models_are_converted_and_take_other_channels():
    model = model_by_name("resnet18", ratio="2:1", num_classes=5, in_channels=1)
    assert str(proprelu.ratio_of(model)) == "17:9"
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 5)


def test_unknown_model():
    with pytest.raises(ValueError, match=r'or of torchvision\.models .*got "resnet21"'):
        model_by_name("resnet21")
