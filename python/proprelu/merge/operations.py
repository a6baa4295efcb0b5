"""The operations that a chain may become, and what they cost in multiplications."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from proprelu._core import ConvGeometry
from proprelu.merge.chains import Chain, Step, Sum, merged_geometry
from proprelu.merge.layers import Layer

# A merged convolution with more multiplications than this many times those of its parts is not
# considered, and none with a larger kernel.
MOST_MULTIPLICATIONS = 4.0
_LARGEST_KERNEL = 31


@dataclass(frozen=True)
class Operation:
    """A convolution, a batch norm or an addition, of an input of one shape.

    Attributes:
        kind: ``"convolution"``, ``"norm"`` or ``"add"``.
        shape: (N, C, H, W) of the input.
        geometry: of the convolution; that of a norm is pointwise.
        single: the convolutions that compute its frame, if it has one.
    """

    kind: str
    shape: tuple[int, ...]
    geometry: ConvGeometry
    single: tuple[ConvGeometry, ...] = ()

    @property
    def multiplications(self) -> float:
        """The multiplications for one image; additions of images count as much."""
        if self.kind != "convolution":
            return float(math.prod(self.shape[1:]))
        height, width = result_size(self.geometry, self.shape)
        own = self.geometry.multiplications
        if self.geometry.border:
            own += self.geometry.out_channels  # its correction is stored, and added
        return height * width * own + self._frame(height, width)

    def _frame(self, height: int, width: int) -> float:
        """Those of the strips along the sides, about."""
        if not self.single:
            return 0.0
        rows, columns = self.geometry.frame
        reach = [d * (k - 1) for d, k in _zipped(self.geometry)]
        part = 2 * (rows + reach[0] / 2) / height * bool(rows)
        part += 2 * (columns + reach[1] / 2) / width * bool(columns)
        return min(part, 1.0) * sum(parts_multiplications(self.single, self.shape))

    @property
    def words(self) -> str:
        """What it is, in a few words: ``"conv 3x3, 8 to 16"``."""
        if self.kind != "convolution":
            return {"norm": "norm", "add": "sum"}[self.kind]
        g = self.geometry
        size = "x".join(map(str, g.kernel_size))
        depthwise = g.groups == g.in_channels > 1
        kind = "depthwise" if depthwise else "conv"
        channels = (
            f"{g.in_channels}" if kind == "depthwise" else f"{g.in_channels} to {g.out_channels}"
        )
        extras = [f"{g.groups} groups"] if 1 < g.groups < g.in_channels else []
        extras += ["border"] if g.border else []
        extras += ["frame"] if any(g.frame) else []
        return ", ".join([f"{kind} {size}", channels, *extras])


def _zipped(geometry: ConvGeometry) -> list[tuple[int, int]]:
    return list(zip(geometry.dilation, geometry.kernel_size, strict=True))


def result_size(geometry: ConvGeometry, shape: Sequence[int]) -> tuple[int, int]:
    """The height and width of the result of a convolution."""
    sizes = []
    for dim, (dilation, kernel) in enumerate(_zipped(geometry)):
        room = shape[2 + dim] + 2 * geometry.padding[dim] - dilation * (kernel - 1) - 1
        sizes.append(room // geometry.stride[dim] + 1)
    return sizes[0], sizes[1]


def parts_multiplications(single: Sequence[ConvGeometry], shape: Sequence[int]) -> list[float]:
    """The multiplications of convolutions that run one after the other, for one image."""
    found = []
    for geometry in single:
        height, width = result_size(geometry, shape)
        found.append(float(height * width * geometry.multiplications))
        shape = (shape[0], geometry.out_channels, height, width)
    return found


def shape_before(chain: Chain, index: int) -> tuple[int, ...]:
    """The shape of the input of a step."""
    node = chain.source if index == 0 else chain.steps[index - 1].node
    shape: tuple[int, ...] = node.meta["shape"]
    return shape


def as_it_is(layer: Layer) -> Operation:
    """The operation of a layer that is left alone."""
    kind = "norm" if layer.is_norm else "convolution"
    return Operation(kind, layer.input.meta["shape"], layer.geometry)


def addition(step: Sum) -> Operation:
    """The addition of a sum that is left alone."""
    shape = step.node.meta["shape"]
    return Operation("add", shape, ConvGeometry.pointwise(shape[1], False))


def originals(steps: Sequence[Step]) -> list[Operation]:
    """The operations of steps before anything is merged."""
    found = []
    for step in steps:
        if isinstance(step, Layer):
            found.append(as_it_is(step))
        else:
            found += [each for branch in step.branches for each in originals(branch.steps)]
            found.append(addition(step))
    return found


def as_one(chain: Chain, start: int, end: int) -> Operation | None:
    """The convolution that some steps of a chain become; None if they cannot be one."""
    geometry = chain.geometry(start, end)
    if geometry is None or max(geometry.kernel_size) > _LARGEST_KERNEL:
        return None
    single: tuple[ConvGeometry, ...] = ()
    if any(geometry.frame):
        groups = single_parts(chain.steps[start:end])
        parts = [part for group in groups if (part := merged_geometry(group))]
        if any(any(part.frame) for part in parts):
            return None
        single = tuple(parts)
    return Operation("convolution", shape_before(chain, start), geometry, single)


def single_parts(steps: Sequence[Step]) -> list[list[Step]]:
    """Steps as convolutions without a frame: each with the norms after it."""
    parts: list[list[Step]] = []
    for step in steps:
        if parts and isinstance(step, Layer) and step.is_norm:
            parts[-1].append(step)
        else:
            parts.append([step])
    return parts
