"""Single layers and their inputs. No torch here, so that `--list` is quick."""

from __future__ import annotations

from works.steps import Work


def _layer(name: str, channels: int, size: int, steps: int) -> Work:
    return Work(name, name, size, batch=64, steps=steps, channels=channels)


# Each has its implementation in `works/plain.py`.
LAYER_WORKS = (
    _layer("tied_conv_b2", channels=128, size=16, steps=4),
    _layer("tied_conv_b4", channels=128, size=16, steps=4),
    _layer("covariance_pool", channels=256, size=14, steps=1),
    _layer("tied_squeeze_excite", channels=256, size=16, steps=16),
)
