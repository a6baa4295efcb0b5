"""MgNet: a multigrid cycle as a network.

Reference:
    He and Xu, "MgNet: A Unified Framework of Multigrid and Convolutional Neural Network", arXiv
    1901.10415, and He, Li and Xu, "Approximation Properties of Deep ReLU CNNs", arXiv 2109.00190.
    The positions of the batch norms and the defaults are our interpretation, taken from secondary
    sources.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from torch import Tensor, nn

from proprelu._core import Ratio
from proprelu.nn import relus


class Level(nn.Module):
    """Smoothing on one grid: iterations of ``u <- u + relu(norm(S relu(norm(f - A u))))``.

    They solve ``A u = f`` approximately. A and S are 3x3 convolutions, ``r = f - A u`` is the
    residual, and S is the smoother. Without norms and the outer ReLU an iteration changes the
    residual to ``r - A S relu(r)``, similar to a block of a pre-activation ResNet.

    Args:
        channels: the channels of u and f.
        iterations: the number of iterations.
        shared: whether all iterations share A and S, or each has its own.
        acts: yields the activations, two for each iteration.
        from_zero: whether u starts at zero; the first residual then is f, without a convolution.

    Shape:
        u (None for zero) and f: (B, channels, H, W) -> u.
    """

    def __init__(
        self,
        channels: int,
        iterations: int,
        shared: bool,
        acts: Iterator[nn.Module],
        from_zero: bool = False,
    ) -> None:
        super().__init__()
        self.shared, self.from_zero = shared, from_zero
        own = 1 if shared else iterations
        self.a = nn.ModuleList(_conv(channels, channels) for _ in range(max(1, own - from_zero)))
        self.s = nn.ModuleList(_conv(channels, channels) for _ in range(own))
        self.residual_norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(iterations))
        self.smooth_norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(iterations))
        pairs = [(next(acts), next(acts)) for _ in range(iterations)]
        self.residual_relus = nn.ModuleList(first for first, _ in pairs)
        self.smooth_relus = nn.ModuleList(second for _, second in pairs)

    def forward(self, u: Tensor | None, f: Tensor) -> Tensor | None:
        for i in range(len(self.residual_norms)):
            r = f if u is None else f - self.a[0 if self.shared else i - self.from_zero](u)
            r = self.residual_relus[i](self.residual_norms[i](r))
            r = self.s[0 if self.shared else i](r)
            change = self.smooth_relus[i](self.smooth_norms[i](r))
            u = change if u is None else u + change
        return u


class Restriction(nn.Module):
    """Restriction to the next grid, which has half the size.

    ``u' = relu(norm(P u))`` and ``f' = relu(norm(R (f - A u))) + A' u'``, with P and R of stride 2.

    Args:
        channels: the channels of u and f on both grids.
        acts: yields the two activations.
    """

    def __init__(self, channels: int, acts: Iterator[nn.Module]) -> None:
        super().__init__()
        self.p, self.r = _conv(channels, channels, 2), _conv(channels, channels, 2)
        self.norm_p, self.norm_r = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.relu_p, self.relu_r = next(acts), next(acts)

    def forward(self, u: Tensor, f: Tensor, a: nn.Module, coarse_a: nn.Module) -> list[Tensor]:
        residual = f - a(u)
        coarse_u = self.relu_p(self.norm_p(self.p(u)))
        coarse_f = self.relu_r(self.norm_r(self.r(residual))) + coarse_a(coarse_u)
        return [coarse_u, coarse_f]


class MgNet(nn.Module):
    """Computes data f from the image, and a solution u from zero, on one grid after the other.

    The arguments are those of ``mgnet``.
    """

    def __init__(
        self,
        nu: Sequence[int],
        ratio: str | tuple[int, int] | Ratio,
        placement: str | Sequence[bool],
        num_classes: int,
        in_channels: int,
        channels: int,
        shared: bool,
    ) -> None:
        super().__init__()
        if not nu or min(nu) < 1:
            raise ValueError(f"nu must hold at least 1 for each level, got {tuple(nu)}")
        acts = iter(relus(1 + 2 * sum(nu) + 2 * (len(nu) - 1), ratio, placement))
        self.conv = _conv(in_channels, channels)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = next(acts)
        levels, restrictions = [Level(channels, nu[0], shared, acts, from_zero=True)], []
        for iterations in nu[1:]:
            restrictions.append(Restriction(channels, acts))
            levels.append(Level(channels, iterations, shared, acts))
        self.levels = nn.ModuleList(levels)
        self.restrictions = nn.ModuleList(restrictions)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        f = self.relu(self.norm(self.conv(x)))
        finest, *others = cast(Iterable[Level], self.levels)
        u, finer = finest(None, f), finest
        for restriction, level in zip(self.restrictions, others, strict=True):
            u, f = restriction(u, f, finer.a[-1], level.a[0])
            u, finer = level(u, f), level
        result: Tensor = self.fc(self.avgpool(u).flatten(1))
        return result


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def mgnet(
    ratio: str | tuple[int, int] | Ratio = "1:1",
    placement: str | Sequence[bool] = "last",
    num_classes: int = 10,
    in_channels: int = 3,
    channels: int = 128,
    nu: Sequence[int] = (2, 2, 2, 2),
    shared: bool = True,
) -> MgNet:
    """Build an MgNet.

    Args:
        ratio: convolutions to ReLUs, over all sites in execution order.
        placement: which ReLUs are kept, see ``proprelu.plan_for``.
        num_classes: the length of the output.
        in_channels: the channels of the images.
        channels: the channels of u and f on every level; the authors use 128 or 256.
        nu: the number of iterations on each level, from the finest to the coarsest.
        shared: whether all iterations of a level share A and S, or each has its own.

    Returns:
        The network, with random weights.

    Shape:
        (B, in_channels, H, W) -> (B, num_classes).

    Raises:
        ValueError: ``nu`` is empty or holds a 0, or see ``proprelu.plan_for``.

    Example:
        >>> import torch
        >>> mgnet("2:1", channels=8).eval()(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    return MgNet(nu, ratio, placement, num_classes, in_channels, channels, shared)
