"""How gradients are quantized."""

from __future__ import annotations

from dataclasses import dataclass

from proprelu.checks import as_fraction, as_positive

CLIPPINGS = ("adaptive", "max", "direction")
ROUNDINGS = ("nearest", "stochastic")


@dataclass(frozen=True)
class Int8:
    """How the operands of convolutions are quantized in a training.

    Activations and weights have one scale for a tensor, their largest magnitude. Gradients of
    outputs have one for each channel in the product that gives the gradient of the weight, and one
    for the whole tensor in the product that gives the gradient of the input.

    Args:
        clipping: where gradients are clipped. ``"adaptive"``: a channel is taken as Gaussian if a
            share above ``gaussian_share`` of its values is larger than their standard deviation,
            and is then quantized up to its maximum; any other one, most values of which are small,
            up to ``(1 - k * rate) * s + rate * maximum``, where ``s`` is its scale in the step
            before. ``"max"``: always up to the maximum. ``"direction"``: where the cosine of the
            angle between the gradient and the quantized one is largest.
        per_channel: whether each channel has a scale of its own for the gradient of the weight.
        rounding: ``"nearest"``, or ``"stochastic"``, which rounds gradients up with a probability
            that makes the result right on average.
        delayed: quantize gradients with the scales of the step before, so that no pass over a
            gradient is needed before it is quantized.
        gaussian_share: see ``clipping``, 0 to 1.
        rate: see ``clipping``, above 0.
        k: see ``clipping``, above 0.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> Int8(clipping="max").per_channel
        True

    Reference:
        Zhao et al., "Distribution Adaptive INT8 Quantization for Training CNNs", arXiv 2102.04782:
        the scales of channels, the two families and their rules, with these numbers. Unknown, and
        ours: the first scale is the maximum, the scale that a channel has had stays its own when
        its family changes, and the rule is applied to the whole tensor likewise. ``"direction"`` is
        after Zhu et al., "Towards Unified INT8 Training for Convolutional Neural Network", CVPR
        2020, with a search in each step.
    """

    clipping: str = "adaptive"
    per_channel: bool = True
    rounding: str = "nearest"
    delayed: bool = False
    gaussian_share: float = 0.3
    rate: float = 0.8
    k: float = 1.0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("clipping", self.clipping, CLIPPINGS),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be {', '.join(map(repr, known))}, got {value!r}")
        as_fraction("gaussian_share", self.gaussian_share)
        as_positive("rate", self.rate)
        as_positive("k", self.k)
