"""Convolutional stems for vision transformers, in the place of the patch embedding."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from proprelu._core import Ratio
from proprelu.nn.relus import relus

ACTS = ("scaled_relu", "relu", "bn", "none")


class _Stem(nn.Module):
    """Stages of a convolution, a norm and a ReLU, then a projection to the tokens' features."""

    stages: nn.Sequential
    proj: nn.Conv2d
    patch_size: int
    flatten: bool

    def forward(self, input: Tensor) -> Tensor:
        x: Tensor = self.proj(self.stages(input))
        return x.flatten(2).transpose(1, 2) if self.flatten else x


class ConvStem(_Stem):
    """A 7x7 and two 3x3 convolutions in front of the patches of a vision transformer.

    Conv 7x7 stride 2, conv 3x3, conv 3x3, each with batch norm and ReLU, at half the resolution;
    then patches of half the size, ``proj``. The authors call batch norm and ReLU together a scaled
    ReLU, and find that it is these, not the convolutions alone, that make the training steady.
    The tokens are as many as those of a patch embedding.

    Args:
        embed_dim: features of a token, D.
        patch_size: of the patch embedding that this replaces, in pixels; even.
        width: channels of the convolutions.
        act: what follows each of them: ``"scaled_relu"`` (batch norm and ReLU), ``"relu"`` alone,
            ``"bn"`` alone or ``"none"``; convolutions without batch norm have a bias.
        ratio: convolutions to ReLUs, over the three convolutions.
        placement: which ReLUs stay, see :func:`proprelu.plan_for`.
        in_channels: of the images.
        flatten: give (N, tokens, D); else the tokens stay a picture.

    Shape:
        (N, in_channels, H, W) -> (N, (H / patch_size) (W / patch_size), D), or without ``flatten``
        (N, D, H / patch_size, W / patch_size), both rounded down.

    Raises:
        ValueError: an odd patch size, another ``act``, or see :func:`proprelu.plan_for`.

    Example:
        >>> import torch
        >>> stem = ConvStem(384)
        >>> stem(torch.randn(1, 3, 64, 64)).shape
        torch.Size([1, 16, 384])
        >>> sum(p.numel() for p in stem.parameters())
        1656768

    Reference:
        Wang et al., "Scaled ReLU Matters for Training Vision Transformers", arXiv 2109.03810; the
        stem as others tell of it.
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
                f"{patch_size}; take {patch_size + 1 if patch_size > 0 else 2} or another even one"
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
    """As many 3x3 convolutions of stride 2 as the patch size has twos, then a 1x1 convolution.

    Each with batch norm and ReLU, twice as wide as the one before: D/8, D/4, D/2, D for patches of
    16. For other sizes the last has D channels likewise; that is ours.

    Args:
        embed_dim: features of a token, D.
        patch_size: of the patch embedding that this replaces; a power of two.
        ratio: convolutions to ReLUs, over the strided convolutions.
        placement: which ReLUs stay, see :func:`proprelu.plan_for`.
        in_channels: of the images.
        flatten: give (N, tokens, D); else the tokens stay a picture.

    Shape:
        (N, in_channels, H, W) -> (N, (H / patch_size) (W / patch_size), D), or without ``flatten``
        (N, D, H / patch_size, W / patch_size), rounded up.

    Raises:
        ValueError: a patch size that is no power of two, an ``embed_dim`` that cannot be halved so
            often, or see :func:`proprelu.plan_for`.

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
