"""Replaces the patch embedding of a vision transformer by a convolutional stem."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from proprelu._core import Ratio
from proprelu.graph import check_changeable, copied
from proprelu.nn import ConvStem, EarlyConvStem

# The paths of the patch embedding in torchvision and in timm.
_NAMES = ("conv_proj", "patch_embed.proj")


def conv_stem(
    model: nn.Module,
    stem: str | nn.Module = "scaled_relu",
    width: int = 64,
    ratio: str | tuple[int, int] | Ratio = "1:1",
    placement: str | Sequence[bool] = "last",
    inplace: bool = False,
) -> nn.Module:
    """Replace a vision transformer's patch embedding by a convolutional stem.

    This works for ViT and DeiT of torchvision (``conv_proj``) and of timm (``patch_embed.proj``).
    The number of tokens stays the same, so that the class token, the position embeddings and all
    blocks keep their weights. The stem is new and untrained. Create the optimizer from the result.

    Args:
        model: a vision transformer; it is not changed, unless ``inplace``.
        stem: ``"scaled_relu"``, ``"relu"``, ``"bn"`` or ``"none"`` (the ``act`` of a
            ``proprelu.nn.ConvStem``), ``"early"`` (``proprelu.nn.EarlyConvStem``), or a
            module from images to (N, D, H / patch_size, W / patch_size).
        width: channels of a ``proprelu.nn.ConvStem``.
        ratio: convolutions to ReLUs in the stem.
        placement: which of its ReLUs stay, see ``proprelu.plan_for``.
        inplace: change ``model`` itself, and return it.

    Returns:
        The transformer with the stem, in the mode, on the device and in the dtype of ``model``.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: the model is wrapped, has no patch embedding, or a patch size that the stem
            does not support.

    Example:
        >>> from torchvision.models import VisionTransformer
        >>> vit = VisionTransformer(32, 8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32)
        >>> type(conv_stem(vit, width=8).conv_proj).__name__
        'ConvStem'

    Reference:
        Wang et al., arXiv 2109.03810; Xiao et al., arXiv 2106.14881.
    """
    check_changeable(model, "convert")
    result = model if inplace else copied(model)
    path, patches = _patch_embedding(result)
    (patch_size, *_) = patches.kernel_size
    embed_dim, in_channels = patches.out_channels, patches.in_channels
    new: nn.Module
    if isinstance(stem, nn.Module):
        new = stem
    elif stem == "early":
        new = EarlyConvStem(embed_dim, patch_size, ratio, placement, in_channels, False)
    else:
        new = ConvStem(embed_dim, patch_size, width, stem, ratio, placement, in_channels, False)
    new = new.to(patches.weight.device, patches.weight.dtype).train(model.training)
    parent, _, name = path.rpartition(".")
    setattr(result.get_submodule(parent), name, new)
    return result


def _patch_embedding(model: nn.Module) -> tuple[str, nn.Conv2d]:
    """The convolution that embeds the patches, with its path; its kernel equals its stride."""
    for path, module in model.named_modules():
        if path.endswith(_NAMES) and isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            if module.kernel_size != module.stride or height != width:
                break
            return path, module
    raise ValueError(
        "conv_stem needs a vision transformer with square patches (conv_proj in torchvision, "
        f"patch_embed.proj in timm), got {type(model).__name__} without them; "
        "call proprelu.nn.ConvStem in its forward instead"
    )
