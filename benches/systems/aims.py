"""The ratios that the benchmark of a GPU is about, and the aims for them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.results import Row, is_ours

from systems.gpu import LOADER, OURS, RESIDENT

# The ratios to reach on a work: to a system, to the best with resident data, or to the best peer.
_BEST_RESIDENT = "best of resident and compiled"
_SPEED_AIMS = {
    "resnet20_2to1": ((LOADER.name, 8.0), (_BEST_RESIDENT, 1.3)),
    "resnet50": ((None, 1.1),),
}
# The largest share of the memory of eager training with resident data.
_MEMORY_AIM = 0.7


def last_line(rows: Sequence[Row]) -> str:
    """The ratios that this benchmark is about, of all works that have them."""
    works = dict.fromkeys(row["work"] for row in rows)
    ratios = [_ratios(work, [row for row in rows if row["work"] == work]) for work in works]
    return f"{OURS.name}: {'; '.join(ratios) or 'nothing measured'}"


def _ratios(work: str, rows: Sequence[Row]) -> str:
    by_name = {row["system"]: row for row in rows}
    ours, resident = by_name.get(OURS.name), by_name.get(RESIDENT.name)
    if ours is None:
        return f"{work} not measured"
    texts = []
    for peer, aim in _SPEED_AIMS.get(work, ((None, None),)):
        row = _peer(rows, peer)
        if row is not None:
            ratio = row["median_ms"] / ours["median_ms"]
            wanted = f" (aim {aim:g})" if aim else ""
            texts.append(f"{ratio:.2f} times as fast as {peer or row['system']}{wanted}")
    if resident is not None and resident["peak_mb"] and ours["peak_mb"]:
        share = ours["peak_mb"] / resident["peak_mb"]
        texts.append(f"{share:.2f} of the memory of {RESIDENT.name} (aim at most {_MEMORY_AIM:g})")
    return f"{work} {', '.join(texts) or 'without a peer'}"


def _peer(rows: Sequence[Row], name: str | None) -> Row | None:
    """A system, the best with resident data, or for None the best of PyTorch's."""
    peers = [row for row in rows if not is_ours(row)]
    if name == _BEST_RESIDENT:
        peers = [row for row in peers if row["system"] != LOADER.name]
    elif name is not None:
        peers = [row for row in peers if row["system"] == name]
    return min(peers, key=lambda row: row["median_ms"], default=None)
