"""Several convolutions as one, except along the sides of the image."""

from __future__ import annotations

from torch import Tensor, nn


class FramedConv2d(nn.Module):
    """A merged convolution, and the single ones for a frame along the sides of the result.

    Where the second of two convolutions has padding, it reads zeros. The merged one computes there
    what the kernel of the first reaches of the image, so that a few rows and columns along each
    side are wrong. They are computed by the single convolutions, from strips of the image.

    Args:
        merged: the merged convolution.
        single: the single ones, one after the other.
        frame: the number of rows, and of columns, along each side that ``single`` computes.

    Shape:
        (N, C, H, W) -> (N, M, H', W'), those of ``single``.

    Example:
        >>> import torch
        >>> single = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 3, 3, padding=1))
        >>> layer = FramedConv2d(nn.Conv2d(1, 3, 5, padding=2), single, (1, 1))
        >>> x = torch.randn(1, 1, 9, 9)
        >>> torch.allclose(layer(x)[..., 0, :], single(x)[..., 0, :], atol=1e-6)
        True
    """

    # Traced as one node, like torch's own layers.
    traced_whole = True

    def __init__(self, merged: nn.Conv2d, single: nn.Sequential, frame: tuple[int, int]) -> None:
        super().__init__()
        self.merged, self.single, self.frame = merged, single, frame

    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = self.merged(input)
        for axis, rows in enumerate(self.frame):
            size, before = y.shape[axis - 2], self._rows_before(axis)
            if rows and (2 * rows >= size or size - rows < before):  # the frame is the whole image
                whole: Tensor = self.single(input)
                return whole
        for axis, rows in enumerate(self.frame):
            if rows:
                self._put_strips(input, y, axis, rows)
        return y

    def _rows_before(self, axis: int) -> int:
        """How many rows of the result have the upper padding in reach."""
        return -(-int(self.merged.padding[axis]) // self.merged.stride[axis])

    def _put_strips(self, x: Tensor, y: Tensor, axis: int, rows: int) -> None:
        conv, dim = self.merged, axis - 2
        stride, padding = conv.stride[axis], int(conv.padding[axis])
        reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
        end = min((rows - 1) * stride - padding + reach + 1, x.shape[dim])
        y.narrow(dim, 0, rows).copy_(self.single(x.narrow(dim, 0, end)).narrow(dim, 0, rows))
        # The lower strip starts where a stride does, and so far up that no padding is in reach.
        before = self._rows_before(axis)
        at = y.shape[dim] - rows
        start = (at - before) * stride
        below = self.single(x.narrow(dim, start, x.shape[dim] - start))
        y.narrow(dim, at, rows).copy_(below.narrow(dim, before, rows))

    def extra_repr(self) -> str:
        return f"frame={self.frame}"
