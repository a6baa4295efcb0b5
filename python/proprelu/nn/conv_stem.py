"""Convolutional stems that replace the patch embedding of vision transformers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from proprelu._core import Ratio
from proprelu.nn.relus import relus

ACTS = ("scaled_relu", "relu", "bn", "none")


class _Stem(nn.Module):
    """Convolutions with their norms and ReLUs, then a projection to the features of the tokens."""

    stages: nn.Sequential
    proj: nn.Conv2d
    patch_size: int
    flatten: bool

    def forward(self, input: Tensor) -> Tensor:
        x: Tensor = self.proj(self.stages(input))
        return x.flatten(2).transpose(1, 2) if self.flatten else x


class ConvStem(_Stem):
    """A 7x7 and two 3x3 convolutions before the patch projection of a vision transformer.

    A 7x7 convolution of stride 2 and two 3x3 convolutions, each with batch norm and ReLU, are
    followed by a projection of patches of half the size. The number of tokens is that of a plain
    patch embedding. The authors call batch norm and ReLU together a scaled ReLU, and find that it
    stabilizes the training, rather than the convolutions alone.

    Args:
        embed_dim: D, the features of a token.
        patch_size: the patch size of the replaced embedding, in pixels; even.
        width: the channels of the convolutions.
        act: the layers after each convolution: ``"scaled_relu"`` (batch norm and ReLU), ``"relu"``,
            ``"bn"`` or ``"none"``; convolutions without batch norm have a bias.
        ratio: convolutions to ReLUs, over the three convolutions.
        placement: which ReLUs are kept, see ``proprelu.plan_for``.
        in_channels: the channels of the images.
        flatten: return (N, tokens, D) instead of an image of tokens.

    Shape:
        (N, in_channels, H, W) -> (N, (H / patch_size) (W / patch_size), D), or without ``flatten``
        (N, D, H / patch_size, W / patch_size), both rounded down.

    Raises:
        ValueError: ``patch_size`` is odd, ``act`` is unknown, or see ``proprelu.plan_for``.

    Example:
        >>> import torch
        >>> stem = ConvStem(384)
        >>> stem(torch.randn(1, 3, 64, 64)).shape
        torch.Size([1, 16, 384])
        >>> sum(p.numel() for p in stem.parameters())
        1656768

    Reference:
        Wang et al., "Scaled ReLU Matters for Training Vision Transformers", arXiv 2109.03810; the
        structure of the stem is taken from secondary sources.
    """

    def __init__(
        self,
        embed_dim: int,
        patch_size: int = 16,
        width: int = 64,
        act: str = "scaled_relu",
        ratio: str | tuple[int, int] | Ratio = "1:1",
        placement: str | Sequence[bool] = "last",
        in_channels: int = 3,
        flatten: bool = True,
    ) -> None:
        super().__init__()
        if patch_size < 2 or patch_size % 2:
            raise ValueError(
                f"patch_size must be even, as the first convolution halves the image, got "
                f"{patch_size}; use {patch_size + 1 if patch_size > 0 else 2}, for example"
            )
        if act not in ACTS:
            raise ValueError(f"act must be {', '.join(ACTS)}, got {act!r}")
        self.patch_size, self.flatten = patch_size, flatten
        acts = relus(3, ratio, placement)
        normed = act in ("scaled_relu", "bn")
        layers: list[nn.Module] = []
        for i, relu in enumerate(acts):
            first = i == 0
            layers.append(
                nn.Conv2d(
                    in_channels if first else width,
                    width,
                    7 if first else 3,
                    stride=2 if first else 1,
                    padding=3 if first else 1,
                    bias=not normed,
                )
            )
            layers += [nn.BatchNorm2d(width)] if normed else []
            layers += [relu] if act in ("scaled_relu", "relu") else []
        self.stages = nn.Sequential(*layers)
        half = patch_size // 2
        self.proj = nn.Conv2d(width, embed_dim, half, stride=half)


class EarlyConvStem(_Stem):
    """``log2(patch_size)`` 3x3 convolutions of stride 2, then a 1x1 convolution.

    Each strided convolution is followed by batch norm and ReLU, and has twice the channels of the
    one before it: D/8, D/4, D/2, D for patches of 16. For other patch sizes the last one has D
    channels too, which is our extension.

    Args:
        embed_dim: D, the features of a token.
        patch_size: the patch size of the replaced embedding, in pixels; a power of two.
        ratio: convolutions to ReLUs, over the strided convolutions.
        placement: which ReLUs are kept, see ``proprelu.plan_for``.
        in_channels: the channels of the images.
        flatten: return (N, tokens, D) instead of an image of tokens.

    Shape:
        (N, in_channels, H, W) -> (N, (H / patch_size) (W / patch_size), D), or without ``flatten``
        (N, D, H / patch_size, W / patch_size), rounded up.

    Raises:
        ValueError: ``patch_size`` is not a power of two, ``embed_dim`` is not a multiple of
            ``patch_size / 2``, or see ``proprelu.plan_for``.

    Example:
        >>> import torch
        >>> EarlyConvStem(64)(torch.randn(1, 3, 64, 64)).shape
        torch.Size([1, 16, 64])

    Reference:
        Xiao et al., "Early Convolutions Help Transformers See Better", arXiv 2106.14881.
    """

    def __init__(
        self,
        embed_dim: int,
        patch_size: int = 16,
        ratio: str | tuple[int, int] | Ratio = "1:1",
        placement: str | Sequence[bool] = "last",
        in_channels: int = 3,
        flatten: bool = True,
    ) -> None:
        super().__init__()
        convs = patch_size.bit_length() - 1
        if patch_size < 2 or patch_size != 1 << convs:
            raise ValueError(f"patch_size must be a power of two, got {patch_size}")
        if embed_dim % (patch_size // 2):
            raise ValueError(
                f"embed_dim must be a multiple of {patch_size // 2} for patches of {patch_size}, "
                f"got {embed_dim}"
            )
        self.patch_size, self.flatten = patch_size, flatten
        layers: list[nn.Module] = []
        channels = in_channels
        for i, relu in enumerate(relus(convs, ratio, placement)):
            width = embed_dim >> (convs - 1 - i)
            conv = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(width), relu]
            channels = width
        self.stages = nn.Sequential(*layers)
        self.proj = nn.Conv2d(embed_dim, embed_dim, 1)
