"""What a sweep compares: ratios, each with a placement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product

from torch import nn

from proprelu.convert import Plan, Ranking, plan_for
from proprelu.convert.parts import Ratios
from proprelu.convert.plan import Placement
from proprelu.graph import RECTIFIERS

__all__ = ["Variant", "variants_of"]


@dataclass(frozen=True)
class Variant:
    """A network that is trained with every seed. Variants that keep the same are equal.

    Attributes:
        ratio: as it was asked for.
        placement: the name of the placement.
        keep: for each activation, whether it is kept.
        convs: the convolutions of the whole network.
        relus: the activations after convolutions that it keeps.
        alike: other ratios and placements that come to the same network.
    """

    ratio: str = field(compare=False)
    placement: str = field(compare=False)
    keep: tuple[bool, ...]
    convs: int = field(compare=False)
    relus: int = field(compare=False)
    alike: tuple[str, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """``"2:1 last"``; without the placement where nothing is dropped."""
        return self.ratio if all(self.keep) else f"{self.ratio} {self.placement}"

    @property
    def is_baseline(self) -> bool:
        """Whether this is the network with all of its activations."""
        return all(self.keep)


def variants_of(
    model: nn.Module,
    ratios: Sequence[Ratios],
    placements: Sequence[Placement],
    example_input: object = None,
    activations: Collection[str] = RECTIFIERS,
) -> list[Variant]:
    """The variants of a model, the one with all activations first.

    Ratios and placements that come to the same network are one variant.

    Args:
        model: a network that is not converted.
        ratios: see ``plan_for``.
        placements: see ``plan_for``.
        example_input: see ``plan_for``.
        activations: see ``plan_for``.

    Raises:
        TypeError: one of them is neither; see ``plan_for``.
        ValueError: the network cannot be converted to one of them.
    """
    plan = partial(plan_for, model, example_input=example_input, activations=activations)
    baseline = _variant(plan, "1:1", "last")
    found = {baseline.keep: baseline}
    for ratio, placement in product(ratios, placements):
        variant = _variant(plan, ratio, placement)
        same = found.get(variant.keep)
        found[variant.keep] = variant if same is None else _also(same, variant)
    return _with_distinct_names(found.values())


def _with_distinct_names(variants: Iterable[Variant]) -> list[Variant]:
    """The variants, where several masks or rankings are numbered."""
    count: Counter[str] = Counter()
    found = []
    for variant in variants:
        count[variant.name] += 1
        number = count[variant.name]
        again = number > 1 and not variant.is_baseline
        found.append(
            replace(variant, placement=f"{variant.placement}-{number}") if again else variant
        )
    return found


def _variant(plan_for: Callable[..., Plan], ratio: Ratios, placement: Placement) -> Variant:
    if not isinstance(placement, (str, Sequence, Ranking)):
        raise TypeError(
            f"placements must be names, masks or rankings, got {type(placement).__name__}; for "
            'example "last"'
        )
    try:
        plan = plan_for(ratio=ratio, placement=placement)
    except (TypeError, ValueError) as error:
        name, _, rest = str(error).partition(" ")
        if name not in ("ratio", "placement"):
            raise
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{name}s {rest}") from None  # one of several
    _check_reached(plan)
    return Variant(plan.asked, plan.placement, tuple(plan.keep), plan.convs, plan.relus)


def _check_reached(plan: Plan) -> None:
    """Raise a ``ValueError`` if a ratio leaves no activation, or is beyond the network's length."""
    ratio = plan.ratio
    if isinstance(ratio, Mapping):
        return
    if ratio.convs > len(plan.sites) or (plan.kept == 0 and plan.sites):
        raise ValueError(
            f"ratios must be within the reach of {plan.model}, which has {len(plan.sites)} "
            f"activation{'s' * (len(plan.sites) != 1)} after convolutions, got {ratio}"
        )


def _also(variant: Variant, other: Variant) -> Variant:
    if other.name == variant.name or other.name in variant.alike:
        return variant
    return replace(variant, alike=(*variant.alike, other.name))
