"""What a network costs in use, once it is merged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from proprelu.merge import MergeReport, merge
from proprelu.merge.measured import medians, parameters_of
from proprelu.sweep.networks import Networks
from proprelu.sweep.variants import Variant

__all__ = ["Costs", "costs_of"]

# Networks are timed in turn so often; the least median of a network counts.
_ROUNDS = 3


@dataclass(frozen=True)
class Costs:
    """A network in use.

    Attributes:
        macs: multiplications of its convolutions for one image; None if it cannot be merged.
        parameters: the number of its parameters.
        milliseconds: the median time of a forward of one batch.
    """

    macs: int | None
    parameters: int
    milliseconds: float


def costs_of(
    networks: Networks,
    seed: int,
    variants: Sequence[Variant],
    example: object,
    convert: Callable[[nn.Module, Variant], None],
) -> dict[Variant, Costs]:
    """The costs of variants, merged as far as they can be, and timed in turn.

    Args:
        networks: makes the networks; the values of their weights do not matter.
        seed: one of its seeds.
        variants: what is measured.
        example: a batch, which is timed.
        convert: makes a network the one of a variant.
    """
    given = [networks.of(seed) for _ in variants]
    device = next(given[0].parameters()).device
    inputs = tree_map_only(Tensor, lambda each: each.to(device), example)
    for network, variant in zip(given, variants, strict=True):
        convert(network.eval(), variant)
    models = [_in_use(network, inputs) for network in given]
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    rounds = [medians(models, inputs) for _ in range(_ROUNDS)]
    found = {}
    for variant, model, times in zip(variants, models, zip(*rounds, strict=True), strict=True):
        report = getattr(model, "report", None)
        macs = report.macs_after if isinstance(report, MergeReport) else None
        found[variant] = Costs(macs, parameters_of(model), min(times))
    return found


def _in_use(network: nn.Module, example: object) -> nn.Module:
    """The merged network; as it is where it cannot be merged."""
    try:
        return merge(network, example)
    except (RuntimeError, TypeError, ValueError):
        return network
