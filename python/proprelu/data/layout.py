"""Which axis of images holds the channels."""

from __future__ import annotations

from collections.abc import Sequence

# An axis with at most this many values is taken for the channels.
_MOST_CHANNELS = 4


def is_channels_last(shape: Sequence[int], *, otherwise: bool) -> bool:
    """Whether images of this shape (n, ., ., .) are NHWC rather than NCHW.

    The axis with 4 or fewer values holds the channels. Float tensors are not asked: they are NCHW.

    Args:
        shape: the four axes.
        otherwise: the answer if both axes have 4 or fewer values, or neither has.
    """
    first, last = shape[1] <= _MOST_CHANNELS, shape[3] <= _MOST_CHANNELS
    return last if first != last else otherwise
