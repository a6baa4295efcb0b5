"""Which ratio holds for which sites, and what is grouped together."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple, TypeAlias

from proprelu._core import Ratio
from proprelu.graph import Site, Sites

RatioLike: TypeAlias = str | tuple[int, int] | Ratio
Ratios: TypeAlias = RatioLike | Mapping[str, RatioLike]

DEFAULT = "default"
GROUPS = ("network", "stage", "block")


class Segment(NamedTuple):
    """Places of one ratio, in execution order, that are grouped together.

    Attributes:
        ratio: of convolutions to ReLUs.
        places: the numbers of sites; None is a convolution that never has an activation.
    """

    ratio: Ratio
    places: list[int | None]

    @property
    def sites(self) -> list[int]:
        """The numbers of its sites."""
        return [place for place in self.places if place is not None]


class Segments(NamedTuple):
    """All sites: in a segment each, or left as they are, with the reason."""

    segments: list[Segment]
    left: dict[int, str]


def as_ratios(ratio: Ratios) -> Ratio | dict[str, Ratio]:
    """One ratio, or one for each pattern."""
    if not isinstance(ratio, Mapping):
        return Ratio.of(ratio)
    if not ratio:
        raise ValueError('ratio must name a part, got {}; for example {"default": "2:1"}')
    return {str(pattern): Ratio.of(value) for pattern, value in ratio.items()}


def segments_of(
    sites: Sites,
    ratio: Ratio | Mapping[str, Ratio],
    skip: Collection[str] = (),
    group: str = "network",
    count_shortcuts: bool = False,
) -> Segments:
    """Put the sites that have the same ratio, and may share a group, together.

    Args:
        sites: all of a model.
        ratio: one for all, or by patterns; the first that matches a site holds, then ``"default"``.
        skip: patterns of sites that are left as they are.
        group: ``"network"``, ``"stage"`` or ``"block"``: what a group must not leave.
        count_shortcuts: give each shortcut's convolution a place, before the next site.
    """
    if group not in GROUPS:
        raise ValueError(f'group must be "network", "stage" or "block", got {group!r}')
    skip = [skip] if isinstance(skip, str) else list(skip)
    ratios = ratio if isinstance(ratio, Mapping) else {DEFAULT: ratio}
    patterns = [pattern for pattern in ratios if pattern != DEFAULT]
    _check_used(sites.sites, skip, "skip")
    _check_used(sites.sites, patterns, "ratio")

    left: dict[int, str] = {}
    segments: dict[tuple[str, object], Segment] = {}
    bare = _bare_before(sites) if count_shortcuts else {}
    run = 0
    for number, site in enumerate(sites.sites):
        part = next((p for p in patterns if matches(p, site)), DEFAULT)
        if any(matches(pattern, site) for pattern in skip):
            left[number] = "skipped: stays as it is"
        elif part not in ratios:
            left[number] = "the ratio names another part: stays as it is"
        else:
            run += site.block is not None  # outside blocks, what stands together is a group
            key = {"network": None, "stage": site.stage, "block": site.block or run}[group]
            new = Segment(ratios[part], [])
            places = segments.setdefault((part, key), new).places
            places += [None] * bare.get(number, 0)
            places.append(number)
    return Segments(list(segments.values()), left)


def matches(pattern: str, site: Site) -> bool:
    """Whether a site, its convolution or a module around them has a name like ``pattern``.

    As in a shell, ``*`` stands for anything, ``?`` for a character, ``[2-3]`` for one of some.
    """
    return any(fnmatchcase(path, pattern) for path in _paths(site))


def _paths(site: Site) -> Iterator[str]:
    for name in (site.name, site.label, site.conv):
        parts = name.split(".")
        yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


def _check_used(sites: Sequence[Site], patterns: Collection[str], argument: str) -> None:
    for pattern in patterns:
        if not any(matches(pattern, site) for site in sites):
            paths = dict.fromkeys(path for site in sites for path in _paths(site))
            near = " or ".join(map(repr, get_close_matches(pattern, paths, n=3)))
            hint = f"did you mean {near}? " if near else ""
            raise ValueError(
                f"{argument} must name sites of the model, got {pattern!r}, which no site's path "
                f'matches; {hint}plan_for(model, "1:1") lists them'
            )


def _bare_before(sites: Sites) -> dict[int, int]:
    """How many shortcuts stand before each site; those after the last one count with it."""
    last = len(sites.sites) - 1
    places = [min(before, last) for _, before in sites.shortcuts]
    return {place: places.count(place) for place in set(places)}
