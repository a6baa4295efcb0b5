"""The plan of a conversion: each site, kept or dropped, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from rich.table import Table
from torch import nn

from proprelu._core import Ratio, plan_sites
from proprelu.convert.inspect import inspect, need_sites
from proprelu.graph import Sites

Placement: TypeAlias = str | Sequence[bool]
RatioLike: TypeAlias = str | tuple[int, int] | Ratio

_COLUMNS = ("", "site", "convolution", "block", "group", "ReLU", "why")


@dataclass(frozen=True)
class PlannedSite:
    """One site and what becomes of it.

    Attributes:
        name: the activation's path in the model.
        conv: its convolution's path.
        block: the residual block's path, else None.
        group: the number of its group, from 0.
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
        ratio: what was asked for.
        placement: the placement's name, ``"mask"`` for an explicit one.
        sites: in execution order.
        others: activations that are no sites and stay, each with the reason.
        convs: convolutions that count in the whole model (see :func:`ratio_of`).
    """

    model: str
    ratio: Ratio
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
    def title(self) -> str:
        """What was asked for and what came out, in a line."""
        whole = ""
        if self.convs != len(self.sites):
            whole = f"; {self.convs} convolutions : {self.kept} ReLUs in the whole model"
        return (
            f"{self.model}, {self.ratio} asked, placement {self.placement}: "
            f"{self.kept} of {len(self.sites)} ReLUs kept, ratio {self.achieved}{whole}"
        )

    def rows(self) -> list[tuple[str, ...]]:
        """The table's rows: number, site, convolution, block, group, kept or dropped, why."""
        rows: list[tuple[str, ...]] = [
            (str(i), s.name, s.conv, s.block or "", str(s.group), _word(s.keep), s.reason)
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
    ratio: RatioLike,
    placement: Placement = "last",
    example_input: object = None,
) -> Plan:
    """Say what :func:`convert` would do, without touching the model.

    Args:
        model: a convolutional network; one that was converted before counts with the sites it had.
        ratio: convolutions to ReLUs, ``"2:1"``, ``(2, 1)`` or a :class:`Ratio`. The sites, in
            execution order, are taken in groups of the ratio's first number; each group keeps as
            many ReLUs as its second. A last, shorter group keeps its share, rounded (a half up).
        placement: which of a group's ReLUs stay: ``"last"`` ones, ``"first"`` ones or ``"even"``
            (spread over the group). Or, with as many kept in all, over the whole network:
            ``"front"`` (only the first ReLUs stay), ``"back"`` (only the last), ``"block_last"``
            (the last ReLU of each residual block goes first). Or a mask, one boolean for each
            site; then the mask alone decides.
        example_input: a tensor (N, C, H, W), or a tuple of arguments, for a model whose forward
            needs concrete shapes to be traced.

    Returns:
        The plan, with the ratio that comes out, exactly.

    Raises:
        ValueError: a ratio, placement or mask that can't be; a model without convolutions or
            ReLUs, or one that can't be traced or is wrapped (DDP, torch.compile).

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> plan_for(net, "2:1").keep
        [False, True]

    Reference:
        Zhao et al., "Rethink ReLU to Training Better CNNs", arXiv 1709.06247. Where in a group the
        ReLU stands is our interpretation. ``block_last`` follows EraseReLU, arXiv 1709.07634.
    """
    _, sites = inspect(model, example_input)
    need_sites(model, sites)
    return make_plan(model, sites, ratio, placement)


def make_plan(model: nn.Module, sites: Sites, ratio: RatioLike, placement: Placement) -> Plan:
    """Let the core decide over the sites of a model."""
    numbers: dict[str, int] = {}
    blocks = [
        None if site.block is None else numbers.setdefault(site.block, len(numbers))
        for site in sites.sites
    ]
    mask = placement if isinstance(placement, str) else [bool(keep) for keep in placement]
    decided = plan_sites(blocks, ratio, mask)
    planned = tuple(
        PlannedSite(site.name, site.conv, site.block, group, keep, reason)
        for site, group, keep, reason in zip(
            sites.sites, decided.groups, decided.keep, decided.reasons, strict=True
        )
    )
    name = type(model).__name__
    return Plan(name, decided.ratio, decided.placement, planned, sites.others, len(sites.convs))


def _word(keep: bool) -> str:
    return "kept" if keep else "dropped"
