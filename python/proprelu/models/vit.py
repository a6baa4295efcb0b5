"""A small vision transformer for small images, for experiments with stems.

Reference:
    Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv 2010.11929; with the average of the
    tokens instead of a class token.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from proprelu._core import Ratio
from proprelu.nn import ConvStem, EarlyConvStem


class Block(nn.Module):
    """Attention, then two linear layers; each part has a norm before it and a residual add.

    Shape:
        (B, tokens, embed_dim), unchanged.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.fc1 = nn.Linear(embed_dim, 4 * embed_dim)
        self.fc2 = nn.Linear(4 * embed_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        qkv = torch.unflatten(self.qkv(self.norm1(x)), 2, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.proj(attended)
        result: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return result


class ViT(nn.Module):
    """Tokens from a stem, transformer blocks, the average of the tokens, linear; see ``vit``."""

    def __init__(
        self,
        stem: nn.Module,
        tokens: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.position = nn.Parameter(0.02 * torch.randn(1, tokens, embed_dim))
        self.blocks = nn.Sequential(*(Block(embed_dim, num_heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(embed_dim)
        self.fc = nn.Linear(embed_dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x) + self.position)
        result: Tensor = self.fc(self.norm(x).mean(1))
        return result


class Patches(nn.Module):
    """The patch embedding: a convolution with a stride equal to its kernel size.

    Shape:
        (B, in_channels, H, W) -> (B, (H / patch_size) (W / patch_size), embed_dim).
    """

    def __init__(self, embed_dim: int, patch_size: int, in_channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.proj(x)
        return tokens.flatten(2).transpose(1, 2)


def vit(
    ratio: str | tuple[int, int] | Ratio = "1:1",
    placement: str | Sequence[bool] = "last",
    num_classes: int = 10,
    in_channels: int = 3,
    stem: str = "patch",
    image_size: int = 28,
    patch_size: int = 4,
    embed_dim: int = 96,
    depth: int = 6,
    num_heads: int = 4,
    width: int = 32,
) -> ViT:
    """Build a small vision transformer.

    Args:
        ratio: convolutions to ReLUs in a convolutional stem; ``"patch"`` has no ReLUs.
        placement: which ReLUs are kept, see ``proprelu.plan_for``.
        num_classes: the length of the output.
        in_channels: the channels of the images.
        stem: ``"patch"``, ``"scaled_relu"`` (``proprelu.nn.ConvStem``) or ``"early"``
            (``proprelu.nn.EarlyConvStem``).
        image_size: the height and width of the images in pixels, a multiple of ``patch_size``.
        patch_size: the height and width of a patch in pixels.
        embed_dim: the features of a token.
        depth: the number of transformer blocks.
        num_heads: the number of attention heads; divides ``embed_dim``.
        width: the channels of the stem ``"scaled_relu"``.

    Returns:
        The network, with random weights.

    Shape:
        (B, in_channels, image_size, image_size) -> (B, num_classes).

    Raises:
        ValueError: the sizes do not divide, the stem is unknown, or see ``proprelu.plan_for``.

    Example:
        >>> vit(stem="scaled_relu", embed_dim=16, depth=1)(torch.randn(2, 3, 28, 28)).shape
        torch.Size([2, 10])
    """
    if image_size % patch_size or embed_dim % num_heads:
        raise ValueError(
            "patch_size must divide image_size, and num_heads must divide embed_dim, got "
            f"{patch_size} and {image_size}, {num_heads} and {embed_dim}"
        )
    stems: dict[str, Callable[[], nn.Module]] = {
        "patch": lambda: Patches(embed_dim, patch_size, in_channels),
        "scaled_relu": lambda: ConvStem(
            embed_dim, patch_size, width, "scaled_relu", ratio, placement, in_channels
        ),
        "early": lambda: EarlyConvStem(embed_dim, patch_size, ratio, placement, in_channels),
    }
    if stem not in stems:
        raise ValueError(f"stem must be {', '.join(stems)}, got {stem!r}")
    tokens = (image_size // patch_size) ** 2
    return ViT(stems[stem](), tokens, embed_dim, depth, num_heads, num_classes)
