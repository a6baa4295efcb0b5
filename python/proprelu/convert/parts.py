"""Assigns a ratio to each site, and sorts the sites into segments that may share groups."""

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
    """A sequence of convolutions, in execution order, that is divided into groups of one ratio.

    Attributes:
        ratio: convolutions to ReLUs.
        places: for each convolution the number of its site; None if it has no activation.
    """

    ratio: Ratio
    places: list[int | None]

    @property
    def sites(self) -> list[int]:
        """The numbers of the sites."""
        return [place for place in self.places if place is not None]


class Segments(NamedTuple):
    """A division of all sites of a model.

    Attributes:
        segments: the segments.
        left: the sites in no segment, by number, each with the reason.
    """

    segments: list[Segment]
    left: dict[int, str]


def as_ratios(ratio: Ratios) -> Ratio | dict[str, Ratio]:
    """Parse one ratio, or one for each pattern."""
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
    """Divide sites into segments: those with the same ratio that may share a group.

    Args:
        sites: all sites of a model.
        ratio: one ratio for all, or one for each pattern. The first pattern that matches a site
            applies, and ``"default"`` if none does.
        skip: patterns of sites that are left unchanged.
        group: ``"network"``, ``"stage"`` or ``"block"``: the part of the network that a group must
            not extend beyond.
        count_shortcuts: give the convolution of each shortcut a place before the next site.

    Returns:
        The segments, and the sites that are left unchanged.

    Raises:
        ValueError: an unknown ``group``, or a pattern that matches no site.
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
            run += site.block is not None  # outside blocks, consecutive sites form a segment
            key = {"network": None, "stage": site.stage, "block": site.block or run}[group]
            new = Segment(ratios[part], [])
            places = segments.setdefault((part, key), new).places
            places += [None] * bare.get(number, 0)
            places.append(number)
    return Segments(list(segments.values()), left)


def matches(pattern: str, site: Site) -> bool:
    """Whether ``pattern`` matches the path of a site, its convolution or a module around them.

    As in a shell, ``*`` matches any string, ``?`` one character, and ``[2-3]`` one of a set.
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
    """The number of shortcuts before each site; those after the last site count with it."""
    last = len(sites.sites) - 1
    places = [min(before, last) for _, before in sites.shortcuts]
    return {place: places.count(place) for place in set(places)}
