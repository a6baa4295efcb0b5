"""A convolution with a large kernel as a stack of 3x3 convolutions."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from proprelu._core import decompose_kernel

PADDING_MODES: tuple[Literal["zeros", "circular"], ...] = ("zeros", "circular")


class DecomposedConv2d(nn.Sequential):
    """A stack of k 3x3 convolutions that equals one convolution with a kernel of size 2k + 1.

    Layer l of k has a channel for each input channel and each shift by at most l pixels, which are
    C (2l + 1)^2 channels. Each layer shifts by one more pixel, and the last one computes the
    weighted sum. With ``variant="lean"`` layer l carries only the shifts by exactly l pixels and
    the sums so far, which are 8 l C + M channels for M outputs. The equality is exact, also at the
    border, with zero or circular padding. The layers are ordinary convolutions with trainable
    weights. Most of these are zero at first; once trained, the stack can represent more than the
    large kernel.

    Args:
        weight: (M, C, 2k + 1, 2k + 1), k >= 1.
        bias: (M,); the bias of the last layer.
        variant: ``"full"`` or ``"lean"``.
        padding_mode: ``"zeros"`` or ``"circular"``; the size of the image is kept.

    Shape:
        (N, C, H, W) -> (N, M, H, W).

    Raises:
        ValueError: the kernel is not square with an odd size of at least 3, or ``variant`` or
            ``padding_mode`` is unknown.

    Example:
        >>> weight = torch.randn(4, 2, 7, 7)
        >>> layer, x = DecomposedConv2d(weight), torch.randn(1, 2, 9, 9)
        >>> expected = nn.functional.conv2d(x, weight, padding=3)
        >>> torch.allclose(layer(x), expected, atol=1e-4)
        True
        >>> [conv.out_channels for conv in layer]
        [18, 50, 4]

    Reference:
        He, Li and Xu, "Approximation Properties of Deep ReLU CNNs", arXiv 2109.00190. The numbers
        of channels are our reading of it; ``"lean"`` is ours.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        variant: str = "full",
        padding_mode: str = "zeros",
    ) -> None:
        weights = decomposed(weight, variant)
        super().__init__(*_convs(weights, bias, padding_mode))

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, variant: str = "full") -> DecomposedConv2d:
        """Decompose a convolution that keeps the size of the image.

        Args:
            conv: a convolution of stride 1, without dilation and groups, with a padding that keeps
                the size.
            variant: see the class.

        Returns:
            The equivalent stack of 3x3 convolutions.

        Raises:
            ValueError: ``conv`` has other settings, or see the class.

        Example:
            >>> DecomposedConv2d.from_conv(nn.Conv2d(1, 2, 5, padding=2))[1].weight.shape
            torch.Size([2, 9, 3, 3])
        """
        size = conv.kernel_size[0]
        kept = conv.padding in ("same", (size // 2, size // 2))
        plain = conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.groups == 1
        if not (kept and plain):
            raise ValueError(
                "conv must have stride 1, dilation 1, groups 1 and padding that keeps the size, "
                f"got {conv}"
            )
        return cls(conv.weight, conv.bias, variant, conv.padding_mode)


class DeepReLUConv2d(nn.Sequential):
    """A decomposed convolution with a ReLU between the layers; see ``deep_relu_form``."""


def deep_relu_form(
    weight: Tensor,
    bias: Tensor | None = None,
    variant: str = "full",
    padding_mode: str = "zeros",
) -> DeepReLUConv2d:
    """Write a convolution with a large kernel as a deep ReLU network of 3x3 convolutions.

    The network equals ``DecomposedConv2d``, and has twice its channels. Every value h between two
    layers is represented by relu(h) and relu(-h), which differ by h. A layer W becomes [W; -W]
    before the first ReLU, [[W, -W], [-W, W]] between two ReLUs, and [W, -W] after the last. This
    gives a network of ReLUs that starts as a linear function. (Dropping all of its ReLUs does not
    restore the linear network: each layer then computes h - (-h), twice the value.)

    Args:
        weight: (M, C, 2k + 1, 2k + 1), k >= 1.
        bias: (M,); the bias of the last layer.
        variant: ``"full"`` or ``"lean"``.
        padding_mode: ``"zeros"`` or ``"circular"``.

    Returns:
        k convolutions with ReLUs between them: (N, C, H, W) -> (N, M, H, W).

    Raises:
        ValueError: see ``DecomposedConv2d``.

    Example:
        >>> weight = torch.randn(4, 2, 5, 5)
        >>> net, x = deep_relu_form(weight), torch.randn(1, 2, 9, 9)
        >>> torch.allclose(net(x), nn.functional.conv2d(x, weight, padding=2), atol=1e-4)
        True
        >>> [type(layer).__name__ for layer in net]
        ['Conv2d', 'ReLU', 'Conv2d']

    Reference:
        He, Li and Xu, arXiv 2109.00190.
    """
    weights = decomposed(weight, variant)
    last = len(weights) - 1
    for i, w in enumerate(weights):
        inputs = w if i == 0 else torch.cat([w, -w], 1)
        weights[i] = inputs if i == last else torch.cat([inputs, -inputs], 0)
    convs = _convs(weights, bias, padding_mode)
    relus = [nn.ReLU(inplace=True) for _ in range(last)]
    between = [layer for pair in zip(convs, relus, strict=False) for layer in pair]
    return DeepReLUConv2d(*between, convs[-1])


def decomposed(weight: Tensor, variant: str) -> list[Tensor]:
    """The weights of the 3x3 convolutions, in the dtype and on the device of ``weight``."""
    if weight.ndim != 4:
        raise ValueError(f"weight must be (M, C, size, size), got {tuple(weight.shape)}")
    layers = decompose_kernel(np.ascontiguousarray(weight.detach().double().cpu()), variant)
    return [torch.from_numpy(layer).to(weight.device, weight.dtype) for layer in layers]


def _convs(weights: list[Tensor], bias: Tensor | None, padding_mode: str) -> list[nn.Conv2d]:
    if padding_mode not in PADDING_MODES:
        raise ValueError(f"padding_mode must be zeros or circular, got {padding_mode!r}")
    convs = []
    for i, weight in enumerate(weights):
        own = bias if i == len(weights) - 1 else None
        conv = nn.Conv2d(
            weight.shape[1],
            weight.shape[0],
            3,
            padding=1,
            bias=own is not None,
            padding_mode=PADDING_MODES[PADDING_MODES.index(padding_mode)],
            device=weight.device,
            dtype=weight.dtype,
        )
        with torch.no_grad():
            conv.weight.copy_(weight)
            if own is not None and conv.bias is not None:
                conv.bias.copy_(own)
        convs.append(conv)
    return convs
