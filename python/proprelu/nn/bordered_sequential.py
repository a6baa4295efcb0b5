"""Bordered convolutions one after the other, with one stored correction for all of them."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.jit._trace import is_tracing

from proprelu.nn.bordered_conv import BorderedConv2d


class BorderedSequential(nn.Sequential):
    """Convolutions one after the other, with borders that are corrected once, after the last one.

    Without their corrections the layers are wrong near the border, by an amount that depends on
    their weights and on the size of the image, but not on the image. In evaluation mode this amount
    is stored for images of one size, as the buffer ``correction``, and added to the last result. In
    training mode, and for images of other sizes, each layer corrects its own border.

    The correction is made by ``eval()``, also if that is the mode already, and again by
    ``load_state_dict``. After weights were changed in another way, call ``eval()``. A correction is
    not used with other layers than those it was made of: where layers were appended, replaced or
    deleted, each corrects its own border until ``eval()``. There is none while a layer is something
    else than a plain ``Conv2d`` or ``BorderedConv2d``, or has hooks. A slice, such as
    ``layers[:2]``, is an ``nn.Sequential`` in which each layer corrects its own border.

    Args:
        layers: each a ``Conv2d`` or a ``BorderedConv2d``.
        size: height and width of the images that the correction is stored for.

    Raises:
        ValueError: ``size`` is not two numbers above 0.

    Shape:
        (N, C, H, W) -> (N, M, H', W'), those of the layers one after the other. ``correction`` is
        (M, H', W') for images of ``size``, and None in training mode. It is no part of the
        ``state_dict``, which therefore fits layers of any ``size``.

    Example:
        >>> import torch
        >>> from proprelu.nn import BorderedConv2d
        >>> layers = BorderedConv2d(2, 4, 3, padding=1), BorderedConv2d(4, 2, 3, padding=1)
        >>> net = BorderedSequential(*layers, size=(8, 8)).eval()
        >>> net(torch.randn(5, 2, 8, 8)).shape, net.correction.shape
        (torch.Size([5, 2, 8, 8]), torch.Size([2, 8, 8]))
    """

    # Traced as one node, like torch's own layers.
    traced_whole = True
    correction: Tensor | None

    def __init__(self, *layers: nn.Conv2d, size: tuple[int, int]) -> None:
        super().__init__(*layers)
        self.size = _checked(size)
        self.register_buffer("correction", None, persistent=False)
        # The layers that the correction was made of.
        self._made_of: tuple[nn.Module, ...] = ()
        self.register_load_state_dict_post_hook(_loaded)  # type: ignore[no-untyped-call]

    def forward(self, input: Tensor) -> Tensor:
        if self.correction is None or not self._fits(input):
            corrected: Tensor = super().forward(input)  # type: ignore[no-untyped-call]
            return corrected
        return _uncorrected(self, input).add_(self.correction)

    def train(self, mode: bool = True) -> BorderedSequential:
        """Set the mode, and make the correction for evaluation."""
        super().train(mode)
        is_stored = not mode and len(self) > 0 and all(map(_is_plain, self))
        self.correction = self._made() if is_stored else None
        self._made_of = tuple(self) if is_stored else ()
        return self

    def __getitem__(self, idx: Any) -> Any:
        """A layer; or for a slice an ``nn.Sequential``, as its images have other sizes."""
        if isinstance(idx, slice):
            return nn.Sequential(OrderedDict(list(self.named_children())[idx]))
        return super().__getitem__(idx)

    def _fits(self, input: Tensor) -> bool:
        # False for sizes that an export leaves open: the answer would fix them.
        if input.dim() != 4 or is_tracing():  # type: ignore[no-untyped-call]
            return False
        if tuple(self) != self._made_of or not all(map(_is_plain, self)):
            return False
        sizes = zip(input.shape[2:], self.size, strict=True)
        return all(statically_known_true(found == expected) for found, expected in sizes)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _made(self) -> Tensor:
        """What the corrections of the layers change, computed in float64."""
        layers = copy.deepcopy(nn.Sequential(*self)).to("cpu", torch.float64)
        first: Any = self[0]
        height, width = self.size
        zeros = torch.zeros((1, first.in_channels, height, width), dtype=torch.float64)
        correction: Tensor = layers(zeros) - _uncorrected(layers, zeros)
        # Without a batch dimension: with the shape of the result of a single image, torch.compile
        # with freezing would add the result to it in place, and change it.
        return self._ordered(correction.to(first.weight)[0])

    def _ordered(self, correction: Tensor) -> Tensor:
        """A correction in the memory format of the weights."""
        first: Any = self[0]
        is_last = first.weight.is_contiguous(memory_format=torch.channels_last)
        order = torch.channels_last if is_last else torch.contiguous_format
        return correction[None].contiguous(memory_format=order)[0]

    def _apply(self, fn: Any, recurse: bool = True) -> BorderedSequential:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.correction is not None:
            self.correction = self._ordered(self.correction)
        return self

    def extra_repr(self) -> str:
        return f"size={self.size}"


def _checked(size: Any) -> tuple[int, int]:
    """Height and width, or a ``ValueError`` for what is none."""
    numbers = tuple(size) if isinstance(size, Sequence) else (size,)
    if len(numbers) != 2 or not all(type(each) is int and each > 0 for each in numbers):
        raise ValueError(
            f"size must be the height and the width of the images, got {size!r}; give the shape "
            "that they have most often, as in size=(56, 56)"
        )
    return numbers


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer does nothing beside its convolution and the correction of its border."""
    has_hooks = layer._forward_hooks or layer._forward_pre_hooks
    return type(layer) in (nn.Conv2d, BorderedConv2d) and not has_hooks


def _uncorrected(layers: nn.Sequential, x: Tensor) -> Tensor:
    for layer in layers:
        assert isinstance(layer, nn.Conv2d)
        x = nn.Conv2d.forward(layer, x)
    return x


def _loaded(module: BorderedSequential, _: object) -> None:
    module.train(module.training)
