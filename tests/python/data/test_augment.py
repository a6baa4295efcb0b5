"""The Augment settings."""

import numpy as np
import pytest
from proprelu import Augment
from proprelu._core import Dataset


def test_to_dict_leaves_out_what_is_not_set() -> None:
    assert Augment(pad=4, flip=True).to_dict() == {"pad": 4, "flip": True, "cutout": 0}
    whole = Augment(mean=np.array([0.5]), std=[0.25])
    assert (whole.to_dict()["mean"], whole.to_dict()["std"]) == ((0.5,), (0.25,))
    assert whole.to_json() == '{"pad": 0, "flip": false, "cutout": 0, "mean": [0.5], "std": [0.25]}'


def test_fitted_measures_missing_statistics() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    dataset = Dataset.from_u8(images, np.zeros(5, np.int64))
    fitted = Augment(pad=1, std=[1, 2, 3]).fitted(dataset)
    np.testing.assert_allclose(fitted.mean, (images / 255).mean((0, 1, 2)), rtol=1e-6)
    assert fitted.std == (1.0, 2.0, 3.0)
    assert fitted.evaluation() == Augment(mean=fitted.mean, std=fitted.std)
    assert fitted.fitted(dataset) is fitted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pad": -1}, "pad must be a whole number >= 0, got -1"),
        ({"cutout": 1.5}, "cutout must be a whole number >= 0, got 1.5"),
        ({"pad": True}, "got True"),
        ({"mean": 0.5}, "mean must be one number for each channel, got 0.5"),
        ({"std": [1.0, 0.0]}, "std must be one positive number for each channel"),
        ({"std": []}, "one positive number"),
    ],
)
def test_refuses(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augment(**settings)  # type: ignore[arg-type]


def test_refuses_to_measure_images_that_are_not_finite() -> None:
    images = np.zeros((3, 4, 4, 1), np.float32)
    images[1, 2, 2] = np.nan
    dataset = Dataset.from_f32(images, np.arange(3))
    with pytest.raises(ValueError, match="images must be finite"):
        Augment().fitted(dataset)
