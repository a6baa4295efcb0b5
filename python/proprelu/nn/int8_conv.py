"""A convolution with 8-bit operands in the forward and in both of its gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from proprelu.functional.int8 import Int8, int8_conv2d
from proprelu.functional.int8.quantizer import largest
from proprelu.nn.as_convolution import padding_of

# As of the running statistics of batch norms.
_MOMENTUM = 0.1
_SCALES = ("input_scale", "channel_scales", "tensor_scale")


class Int8Conv2d(nn.Conv2d):
    """A convolution that multiplies 8-bit integers, for training as well.

    Input, weight and the gradient of the output are quantized symmetrically; parameters, results
    and the gradients of parameters are floating-point numbers as in ``Conv2d``. In training mode
    the scale of the input is the largest magnitude of the batch; in evaluation mode it is the
    running mean of these, so that the prediction for an image does not depend on the batch.

    It computes what integers would give and is not faster than a ``Conv2d``.

    Args:
        args: those of ``Conv2d``.
        settings: how gradients are quantized.
        kwargs: those of ``Conv2d``.

    Raises:
        TypeError: ``settings`` is not an ``Int8``.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H', W'), as in ``Conv2d``. The buffers
        ``input_scale`` and ``tensor_scale`` are scalars, ``channel_scales`` is (out_channels,): the
        scales of the input and of gradients in the step before; 0 as long as there was none.

    Example:
        >>> layer = Int8Conv2d(3, 8, 3, padding=1)
        >>> layer(torch.randn(2, 3, 6, 6)).shape, layer.channel_scales.shape
        (torch.Size([2, 8, 6, 6]), torch.Size([8]))

    Reference:
        Zhao et al., "Distribution Adaptive INT8 Quantization for Training CNNs", arXiv 2102.04782;
        the scale in evaluation mode is ours.
    """

    # Traced as one node, like torch's own layers.
    traced_whole = True
    input_scale: Tensor
    channel_scales: Tensor
    tensor_scale: Tensor

    def __init__(self, *args: Any, settings: Int8 = Int8(), **kwargs: Any) -> None:  # noqa: B008
        _check(settings)
        super().__init__(*args, **kwargs)
        self._begin(settings)

    @classmethod
    def become(cls, conv: nn.Conv2d, settings: Int8) -> None:
        """Make a ``Conv2d`` a layer of this class, with its parameters, hooks and attributes."""
        _check(settings)
        conv.__class__ = cls
        conv._begin(settings)  # type: ignore[operator]

    def _begin(self, settings: Int8) -> None:
        self.settings = settings
        new: Any = {"dtype": torch.float32, "device": self.weight.device}
        self.register_buffer("input_scale", torch.zeros((), **new))
        self.register_buffer("channel_scales", torch.zeros(self.out_channels, **new))
        self.register_buffer("tensor_scale", torch.zeros((), **new))

    def forward(self, input: Tensor) -> Tensor:
        scale = self._scale_of(input)
        padding: Any = padding_of(self)
        if self.padding_mode != "zeros" or padding is None:
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            input = F.pad(input, self._reversed_padding_repeated_twice, mode)
            padding = 0
        single = input.dim() == 3
        y = int8_conv2d(
            input[None] if single else input,
            self.weight,
            self.bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            input_scale=scale,
            channel_scales=self.channel_scales,
            tensor_scale=self.tensor_scale,
            settings=self.settings,
        )
        return y[0] if single else y

    def _scale_of(self, input: Tensor) -> Tensor:
        """The scale of an input; the running one follows in training mode."""
        known = self.input_scale > 0
        if not self.training:
            return torch.where(known, self.input_scale, largest(input).float())
        scale = largest(input).float()
        # Of steps that diverge nothing is kept.
        following = torch.where(known, self.input_scale.lerp(scale, _MOMENTUM), scale)
        with torch.no_grad():
            self.input_scale.copy_(torch.where(scale.isfinite(), following, self.input_scale))
        return scale

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take the weights of a ``Conv2d`` too, which has no scales."""
        if not any(f"{prefix}{name}" in state_dict for name in _SCALES):
            present = {f"{prefix}{name}": getattr(self, name) for name in _SCALES}
            state_dict = {**state_dict, **present}
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        conv: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{conv}, settings={self.settings}"


def _check(settings: object) -> None:
    if not isinstance(settings, Int8):
        raise TypeError(
            f'settings must be an Int8, such as Int8(clipping="max"), got {type(settings).__name__}'
        )
