"""The plan of a conversion: which activations are kept or dropped, and why."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from torch import nn

from proprelu._core import Ratio, plan_sites
from proprelu.convert.parts import Ratios, Segment, as_ratios, segments_of
from proprelu.convert.ranking import MEASURED, Ranking
from proprelu.graph import Sites, plain_class
from proprelu.tables import Table, Tabular

Placement: TypeAlias = str | Sequence[bool] | Ranking

_COLUMNS = ("", "site", "convolution", "block", "group", "ReLU", "why")
_LAYER = {True: "layer kept", False: "layer removed"}


@dataclass(frozen=True)
class PlannedSite:
    """The decision for one site.

    Attributes:
        name: the activation's path in the model.
        conv: its convolution's path.
        block: the residual block's path, else None.
        group: the number of its group, from 0; -1 if it is in no group and stays unchanged.
        keep: whether the activation is kept.
        reason: the reason for the decision.
    """

    name: str
    conv: str
    block: str | None
    group: int
    keep: bool
    reason: str


@dataclass(frozen=True)
class PlannedLayer:
    """The decision for a layer, or for a residual branch, that can be removed.

    Attributes:
        name: its path in the model; that of its block for a branch.
        convolutions: the number of convolutions in it.
        keep: whether it is kept.
        reason: the reason for the decision.
    """

    name: str
    convolutions: int
    keep: bool
    reason: str


@dataclass(frozen=True)
class Plan(Tabular):
    """The decision for each activation of a model. Prints as a table.

    Attributes:
        model: the model's class name.
        ratio: the requested ratio, or a dict of ratios by parts of the model.
        placement: the placement's name, ``"mask"`` for an explicit mask.
        sites: the sites, in execution order.
        others: activations that are not sites and therefore stay, and parts that were not looked
            into, each with the reason.
        convs: the number of convolutions in the whole model that count (see ``ratio_of``).
        fixed: the number of ``others`` that follow a convolution, but cannot be changed.
        objective: what a budget limits, ``"latency"`` or ``"macs"``; None without a budget.
        expected: the cost of the network after ``convert`` and ``merge``, relative to that of the
            merged original: a latency as it was measured, multiplications as they are planned; None
            without a budget.
        layers: what can be removed of the network, if a budget was planned with its costs.
    """

    model: str
    ratio: Ratio | dict[str, Ratio]
    placement: str
    sites: tuple[PlannedSite, ...]
    others: tuple[tuple[str, str], ...]
    convs: int
    fixed: int = 0
    objective: str | None = None
    expected: float | None = None
    layers: tuple[PlannedLayer, ...] = ()

    @property
    def keep(self) -> list[bool]:
        """The mask, one boolean for each site; ``placement=plan.keep`` repeats the plan."""
        return [site.keep for site in self.sites]

    @property
    def kept(self) -> int:
        """The number of sites that keep their activation."""
        return sum(self.keep)

    @property
    def relus(self) -> int:
        """The number of ReLUs after convolutions in the whole result (see ``ratio_of``)."""
        return self.kept + self.fixed

    @property
    def dropped(self) -> int:
        """The number of sites that lose their activation."""
        return len(self.sites) - self.kept

    @property
    def removed(self) -> list[str]:
        """The names of what is removed, for ``remove_layers`` after ``convert``."""
        return [layer.name for layer in self.layers if not layer.keep]

    @property
    def removed_convolutions(self) -> int:
        """The number of convolutions in what is removed."""
        return sum(layer.convolutions for layer in self.layers if not layer.keep)

    @property
    def achieved(self) -> str:
        """The ratio of sites to kept activations, not reduced: ``"17:9"``."""
        return f"{len(self.sites)}:{self.kept}"

    @property
    def asked(self) -> str:
        """The requested ratio as text: ``"2:1"``, ``"layer1 1:1, default 2:1"``."""
        if isinstance(self.ratio, Ratio):
            return str(self.ratio)
        return ", ".join(f"{part} {ratio}" for part, ratio in self.ratio.items())

    @property
    def title(self) -> str:
        """The requested and the achieved ratio, in one line."""
        whole = ""
        if self.convs != len(self.sites) or self.fixed:
            whole = f"; {self.convs} convolutions : {self.relus} ReLUs in the whole model"
        if self.fixed:
            whole += f", {self.fixed} of which cannot be changed"
        if self.removed:
            count = self.removed_convolutions
            whole += f"; {count} convolution{'s' * (count != 1)} removed"
        if self.expected is not None:
            whole += f"; {self.expected:.0%} of the original's {self.objective} when merged"
        return (
            f"{self.model}, requested {self.asked}, placement {self.placement}: "
            f"{self.kept} of {len(self.sites)} ReLUs kept, ratio {self.achieved}{whole}"
        )

    @property
    def off(self) -> bool:
        """Whether the whole model's ratio is more than 10% away from the requested one.

        The ratio counts sites. It is another one for the whole model where convolutions have no
        activation, or activations share a convolution.
        """
        if not (isinstance(self.ratio, Ratio) and self.kept and self.dropped):
            return False
        asked = self.ratio.convs / self.ratio.relus
        uneven = abs(self.convs - len(self.sites)) > 0.1 * self.convs
        return uneven and abs(self.convs / self.relus - asked) > 0.1 * asked

    def warn(self, stacklevel: int = 3) -> None:
        """Warn if the whole model's ratio is another one."""
        if self.off and self.placement != "mask":
            warnings.warn(
                f"{self.asked} counts the {len(self.sites)} activations after convolutions, and "
                f"{self.model} has {self.convs} convolutions: the result has {self.convs} "
                f"convolutions to {self.relus} ReLUs",
                UserWarning,
                stacklevel=stacklevel,
            )

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""
        ratio = self.ratio
        texts = str(ratio) if isinstance(ratio, Ratio) else {k: str(v) for k, v in ratio.items()}
        return {**asdict(replace(self, ratio=Ratio(1, 1))), "ratio": texts}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """What ``to_dict`` returned, also after it was JSON.

        Raises:
            KeyError: a part is missing.
            TypeError: a part is something else.
            ValueError: the ratio is none.
        """
        parts: dict[str, Any] = {
            "ratio": as_ratios(values["ratio"]),
            "sites": tuple(PlannedSite(**site) for site in values["sites"]),
            "others": tuple((name, why) for name, why in values["others"]),
            "layers": tuple(PlannedLayer(**layer) for layer in values["layers"]),
        }
        return cls(**{**values, **parts})

    def rows(self) -> list[tuple[str, ...]]:
        """The table's rows: number, site, convolution, block, group, kept or dropped, why.

        Those of activations that are no sites, and of layers that can be removed, come last.
        """
        rows: list[tuple[str, ...]] = [
            (str(i), s.name, s.conv, s.block or "", _number(s.group), _word(s.keep), s.reason)
            for i, s in enumerate(self.sites)
        ]
        rows += [("", name, "", "", "", "no site", why) for name, why in self.others]
        return rows + [
            ("", layer.name, "", "", "", _LAYER[layer.keep], layer.reason) for layer in self.layers
        ]

    def _table(self) -> Table:
        faint = [index for index, site in enumerate(self.sites) if not site.keep]
        first = len(self.sites) + len(self.others)
        faint += [first + index for index, layer in enumerate(self.layers) if not layer.keep]
        return Table(_COLUMNS, self.rows(), self.title, left=len(_COLUMNS), faint=faint)


def make_plan(
    model: nn.Module,
    sites: Sites,
    ratio: Ratios,
    placement: Placement,
    skip: Collection[str] = (),
    group: str = "network",
    count_shortcuts: bool = False,
) -> Plan:
    """Make the plan for sites that were already found; see ``plan_for``."""
    ratios = as_ratios(ratio)
    by_mask = not isinstance(placement, (str, Ranking))
    if by_mask:  # a mask replaces the ratio, which then only numbers the groups in the table
        ratios = ratios if isinstance(ratios, Ratio) else Ratio(1, 1)
        skip, group, count_shortcuts = (), "network", False
    segments, left = segments_of(sites, ratios, skip, group, count_shortcuts)
    planned: dict[int, PlannedSite] = {
        number: _planned(sites, number, -1, not sites.sites[number].activation.dropped, reason)
        for number, reason in left.items()
    }
    groups = 0
    for segment in segments:
        planned |= _decide(sites, segment, placement, groups)
        groups = 1 + max(planned[number].group for number in segment.sites)
    return Plan(
        plain_class(model).__name__,
        ratios,
        _name_of(placement),
        tuple(planned[number] for number in range(len(sites.sites))),
        sites.others,
        len(sites.convs) + (len(sites.shortcuts) if count_shortcuts else 0),
        len(sites.fixed),
    )


def _name_of(placement: Placement) -> str:
    if isinstance(placement, Ranking):
        return placement.name
    return placement if isinstance(placement, str) else "mask"


def _decide(
    sites: Sites, segment: Segment, placement: Placement, groups: int
) -> dict[int, PlannedSite]:
    """Plan one segment; its groups are numbered from ``groups`` on."""
    paths = [None if n is None else sites.sites[n].block for n in segment.places]
    names = list(dict.fromkeys(paths))
    blocks = [None if path is None else names.index(path) for path in paths]
    how: str | Sequence[bool] | Sequence[int]
    if isinstance(placement, Ranking):
        how = placement.order([sites.sites[number].name for number in segment.sites])
    elif isinstance(placement, str):
        if placement in MEASURED:
            raise ValueError(
                f'placement "{placement}" must be measured first, got only its name; pass the '
                f"result of {MEASURED[placement]}() as the placement"
            )
        in_blocks = any(site.block is not None for site in sites.sites)
        outside = placement == "block_last" and in_blocks and not any(paths)
        how = "last" if outside else placement
    else:
        how = [bool(keep) for keep in placement]
    decided = plan_sites(blocks, segment.ratio, how, [n is None for n in segment.places])
    return {
        number: _planned(sites, number, groups + decided.groups[i], decided.keep[i], reason)
        for i, (number, reason) in enumerate(zip(segment.places, decided.reasons, strict=True))
        if number is not None
    }


def _planned(sites: Sites, number: int, group: int, keep: bool, reason: str) -> PlannedSite:
    site = sites.sites[number]
    return PlannedSite(site.name, site.conv, site.block, group, keep, reason)


def _number(group: int) -> str:
    return "" if group < 0 else str(group)


def _word(keep: bool) -> str:
    return "kept" if keep else "dropped"
