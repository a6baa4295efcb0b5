"""The plan of a conversion: each site, kept or dropped, and why."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from rich.table import Table
from torch import nn

from proprelu._core import Ratio, plan_sites
from proprelu.convert.inspect import inspect, need_sites
from proprelu.convert.parts import Ratios, Segment, as_ratios, segments_of
from proprelu.convert.ranking import MEASURED, Ranking
from proprelu.graph import RECTIFIERS, Sites

Placement: TypeAlias = str | Sequence[bool] | Ranking

_COLUMNS = ("", "site", "convolution", "block", "group", "ReLU", "why")


@dataclass(frozen=True)
class PlannedSite:
    """One site and what becomes of it.

    Attributes:
        name: the activation's path in the model.
        conv: its convolution's path.
        block: the residual block's path, else None.
        group: the number of its group, from 0; -1 where it is in none and stays as it is.
        keep: whether the activation stays.
        reason: why.
    """

    name: str
    conv: str
    block: str | None
    group: int
    keep: bool
    reason: str


@dataclass(frozen=True)
class Plan:
    """Which activations a conversion keeps. Prints as a table.

    Attributes:
        model: the model's class name.
        ratio: what was asked for; a dict where it was asked by parts.
        placement: the placement's name, ``"mask"`` for an explicit one.
        sites: in execution order.
        others: activations that are no sites and stay, each with the reason.
        convs: convolutions that count in the whole model (see :func:`ratio_of`).
    """

    model: str
    ratio: Ratio | dict[str, Ratio]
    placement: str
    sites: tuple[PlannedSite, ...]
    others: tuple[tuple[str, str], ...]
    convs: int

    @property
    def keep(self) -> list[bool]:
        """The mask: one boolean for each site; ``placement=plan.keep`` repeats the plan."""
        return [site.keep for site in self.sites]

    @property
    def kept(self) -> int:
        """How many sites keep their activation."""
        return sum(self.keep)

    @property
    def dropped(self) -> int:
        """How many sites lose their activation."""
        return len(self.sites) - self.kept

    @property
    def achieved(self) -> str:
        """Sites to kept activations, not reduced: ``"17:9"``."""
        return f"{len(self.sites)}:{self.kept}"

    @property
    def asked(self) -> str:
        """The ratio that was asked for, as text: ``"2:1"``, ``"layer1 1:1, default 2:1"``."""
        if isinstance(self.ratio, Ratio):
            return str(self.ratio)
        return ", ".join(f"{part} {ratio}" for part, ratio in self.ratio.items())

    @property
    def title(self) -> str:
        """What was asked for and what came out, in a line."""
        whole = ""
        if self.convs != len(self.sites):
            whole = f"; {self.convs} convolutions : {self.kept} ReLUs in the whole model"
        return (
            f"{self.model}, {self.asked} asked, placement {self.placement}: "
            f"{self.kept} of {len(self.sites)} ReLUs kept, ratio {self.achieved}{whole}"
        )

    def rows(self) -> list[tuple[str, ...]]:
        """The table's rows: number, site, convolution, block, group, kept or dropped, why."""
        rows: list[tuple[str, ...]] = [
            (str(i), s.name, s.conv, s.block or "", _number(s.group), _word(s.keep), s.reason)
            for i, s in enumerate(self.sites)
        ]
        return rows + [("", name, "", "", "", "no site", why) for name, why in self.others]

    def __str__(self) -> str:
        rows = [_COLUMNS, *self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([self.title, *lines])

    def __rich__(self) -> Table:
        table = Table(*_COLUMNS, title=self.title, title_justify="left")
        for row in self.rows():
            table.add_row(*row, style="dim" if row[5] == "dropped" else None)
        return table

    def _repr_html_(self) -> str:
        def line(cells: Sequence[str], tag: str) -> str:
            row = "".join(f'<{tag} style="text-align: left">{escape(c)}</{tag}>' for c in cells)
            faint = ' style="opacity: 0.5"' if "dropped" in cells else ""
            return f"<tr{faint}>{row}</tr>"

        body = "".join(line(row, "td") for row in self.rows())
        return f"<table><caption>{escape(self.title)}</caption>{line(_COLUMNS, 'th')}{body}</table>"


def plan_for(
    model: nn.Module,
    ratio: Ratios,
    placement: Placement = "last",
    example_input: object = None,
    *,
    skip: Collection[str] = (),
    group: str = "network",
    count_shortcuts: bool = False,
    activations: Collection[str] = RECTIFIERS,
) -> Plan:
    """Say what :func:`convert` would do, without touching the model.

    Args:
        model: a convolutional network; one that was converted before counts with the sites it had.
        ratio: convolutions to ReLUs, ``"2:1"``, ``(2, 1)`` or a :class:`Ratio`. The sites, in
            execution order, are taken in groups of the ratio's first number; each group keeps as
            many ReLUs as its second. A last, shorter group keeps its share, rounded (a half up).
            Or a dict with a ratio for each part of the model, ``{"layer1": "1:1",
            "layer[2-3].*": "2:1", "default": "3:2"}``: a key is the path of an activation, of its
            convolution or of a module around them, with ``*``, ``?`` and ``[...]`` as in a shell.
            The first key that matches holds; a site that none matches stays as it is.
        placement: which of a group's ReLUs stay: ``"last"`` ones, ``"first"`` ones or ``"even"``
            (spread over the group). Or, with as many kept in all, over the whole network (or part,
            or what ``group`` says): ``"front"`` (only the first ReLUs stay), ``"back"`` (only the
            last), ``"block_last"`` (the last ReLU of each residual block goes first), or what
            :func:`sensitivity` measured or :func:`learn_placement` learned (the cheapest go). Or a
            mask, one boolean for each site; then the mask alone decides.
        example_input: a tensor (N, C, H, W), or a tuple of arguments, for a model whose forward
            needs concrete shapes to be traced.
        skip: patterns, as the keys of ``ratio``, of sites that stay as they are and count nowhere.
        group: what a group must not reach across: ``"network"`` (nothing), ``"stage"`` (where the
            resolution changes) or ``"block"`` (a residual block).
        count_shortcuts: whether a shortcut's 1x1 convolution takes a place in its group; it has no
            ReLU that could be kept.
        activations: the kinds that are sites: ``"relu"``, ``"relu6"``, ``"leaky_relu"``,
            ``"prelu"``, ``"elu"``, ``"celu"``, ``"selu"``, ``"gelu"``, ``"silu"``, ``"mish"``,
            ``"hardswish"``.

    Returns:
        The plan, with the ratio that comes out, exactly.

    Raises:
        ValueError: a ratio, placement or mask that can't be; a pattern that matches nothing; a
            model without convolutions or activations, or one that can't be traced or is wrapped
            (DDP, torch.compile).

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> plan_for(net, "2:1").keep
        [False, True]
        >>> plan_for(net, {"1": "1:1", "default": "3:1"}).keep
        [True, False]

    Reference:
        Zhao et al., "Rethink ReLU to Training Better CNNs", arXiv 1709.06247. Where in a group the
        ReLU stands is our interpretation. ``block_last`` follows EraseReLU, arXiv 1709.07634.
    """
    _, sites = inspect(model, example_input, activations)
    need_sites(model, sites, activations)
    return make_plan(model, sites, ratio, placement, skip, group, count_shortcuts)


def make_plan(
    model: nn.Module,
    sites: Sites,
    ratio: Ratios,
    placement: Placement,
    skip: Collection[str] = (),
    group: str = "network",
    count_shortcuts: bool = False,
) -> Plan:
    """Let the core decide over the sites of a model."""
    ratios = as_ratios(ratio)
    by_mask = not isinstance(placement, (str, Ranking))
    if by_mask:  # of what its ratio would be, the groups alone are shown
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
        type(model).__name__,
        ratios,
        _name_of(placement),
        tuple(planned[number] for number in range(len(sites.sites))),
        sites.others,
        len(sites.convs) + (len(sites.shortcuts) if count_shortcuts else 0),
    )


def _name_of(placement: Placement) -> str:
    if isinstance(placement, Ranking):
        return placement.name
    return placement if isinstance(placement, str) else "mask"


def _decide(
    sites: Sites, segment: Segment, placement: Placement, groups: int
) -> dict[int, PlannedSite]:
    """Plan a segment, whose groups are numbered from ``groups`` on."""
    of_places = [None if n is None else sites.sites[n].block for n in segment.places]
    names = list(dict.fromkeys(of_places))
    blocks = [None if block is None else names.index(block) for block in of_places]
    how: str | Sequence[bool] | Sequence[int]
    if isinstance(placement, Ranking):
        how = placement.order([sites.sites[number].name for number in segment.sites])
    elif isinstance(placement, str):
        if placement in MEASURED:
            raise ValueError(
                f'placement "{placement}" has to be measured first, got its name alone; give what '
                f"{MEASURED[placement]}() returned as the placement"
            )
        in_blocks = any(site.block is not None for site in sites.sites)
        apart = placement == "block_last" and in_blocks and not any(of_places)
        how = "last" if apart else placement
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
