"""Which layers, at which sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proprelu import functional
from proprelu.nn import TiedBlockConv2d, TiedSqueezeExcite
from torch import Tensor, nn

from single_layers import plain

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Work:
    """A layer and its input.

    Attributes:
        make: gives the layer's module, or None, and two ways to compute it: ours, then the plain.
        macs: multiply-adds of a forward, as the plain way has them.
        steps: in one turn.
    """

    name: str
    make: Callable[[], tuple[nn.Module | None, Run, Run]]
    macs: float
    batch: int = 64
    channels: int = 128
    size: int = 16
    steps: int = 4


def _tied_conv(channels: int, blocks: int) -> tuple[nn.Module, Run, Run]:
    layer = TiedBlockConv2d(channels, channels, 3, padding=1, bias=False, num_blocks=blocks)
    return layer, layer, lambda x: plain.tied_conv(layer, x)


def _tied_squeeze_excite(channels: int) -> tuple[nn.Module, Run, Run]:
    layer = TiedSqueezeExcite(channels, num_blocks=8)
    return layer, layer, lambda x: plain.tied_squeeze_excite(layer, x)


def _covariance(num_iters: int) -> tuple[None, Run, Run]:
    def ours(x: Tensor) -> Tensor:
        return functional.covariance_pool(x, num_iters)

    return None, ours, lambda x: plain.covariance_pool(x, num_iters)


def _conv_macs(channels: int, blocks: int) -> float:
    return 64 * 16 * 16 * 9 * channels**2 / blocks


def _covariance_macs(num_iters: int) -> float:
    products = 1 if num_iters == 1 else 3 * num_iters - 3  # A T; two of the last update; the others
    return 64.0 * (256 * 256 * 14 * 14 + products * 256**3)


WORKS = (
    Work("tied_conv_b2", lambda: _tied_conv(128, 2), _conv_macs(128, 2)),
    Work("tied_conv_b4", lambda: _tied_conv(128, 4), _conv_macs(128, 4)),
    Work(
        "covariance_pool",
        lambda: _covariance(5),
        _covariance_macs(5),
        channels=256,
        size=14,
        steps=1,
    ),
    Work(
        "tied_squeeze_excite",
        lambda: _tied_squeeze_excite(256),
        2 * 64 * 256 * 16,
        channels=256,
        steps=16,
    ),
)


def work_named(name: str) -> Work:
    return next(work for work in WORKS if work.name == name)
