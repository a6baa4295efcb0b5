"""Notes at each node of a trace what the model is to compute there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from torch import fx, nn

from proprelu.graph.activations import MARK, module_activation
from proprelu.graph.aliases import overwritten
from proprelu.graph.decisions import Apply, Blend, Decision, Drop, Keep, copying
from proprelu.graph.events import Event
from proprelu.graph.functions import FUNCTIONS
from proprelu.graph.intercept import plain_class
from proprelu.graph.kinds import Kinds
from proprelu.graph.sites import Site, find_sites
from proprelu.graph.trace import Traced

_KEEP = Keep()


def decide(
    traced: Traced,
    sites: Sequence[Site],
    keep: Sequence[bool],
    dropped: Callable[[int], Decision] = lambda site: Drop(),
) -> None:
    """Note at each node of a trace what the model is to compute there.

    Args:
        traced: the trace.
        sites: its sites.
        keep: for each site, whether its activation is applied.
        dropped: makes the decision for a site that is not kept, from its number. A site that is
            linear already is not blended again.

    Raises:
        ValueError: the forward uses an activation more often in training than in evaluation.
    """
    for path in traced.paths:
        same = sites if path is traced else _same_sites(path, sites)
        for number, (site, kept) in enumerate(zip(same, keep, strict=True)):
            if site is None:
                continue
            site.node.meta["decision"] = _decision(traced, site, kept, dropped, number)
    for path in traced.paths:
        kinds = Kinds(path.model, path.constants)
        gone = [
            event.node
            for event in path.events
            if event.node is not None and _returns_input(event.node.meta["decision"])
            and not getattr(kinds.activation(event.node), "inplace", True)
        ]  # fmt: skip
        for node in overwritten(kinds, path.graph, gone):
            node.meta["decision"] = copying(node.meta["decision"])


def _returns_input(decision: Decision) -> bool:
    return isinstance(decision.settled(), Drop)


def _decision(
    traced: Traced, site: Site, kept: bool, dropped: Callable[[int], Decision], number: int
) -> Decision:
    before: Decision = site.node.meta["decision"]
    mark = _is_mark(traced.model, site.node)
    if kept:
        return Apply() if mark else _KEEP
    if site.activation.dropped and not isinstance(before, Blend):
        linear = isinstance(before, Drop) or mark
        if linear:
            return _KEEP if mark else Drop()
    return dropped(number)


def _is_mark(model: nn.Module, node: fx.Node) -> bool:
    """Whether a node by itself applies nothing: a mark, or a module that stands for one."""
    if node.op == "call_module":
        activation = module_activation(model.get_submodule(str(node.target)))
        return activation is not None and activation.dropped
    event: Event = node.meta["event"]
    return event.family == MARK


def _same_sites(training: Traced, sites: Sequence[Site]) -> list[Site | None]:
    """Find the sites of the evaluation graph in the training graph, which may have more.

    A part may be left out in training by chance (stochastic depth): then it has no trace, and the
    decisions for it are those of evaluation.
    """
    found: dict[tuple[str, str], list[Site]] = {}
    for site in find_sites(training, tuple(FUNCTIONS)).sites:
        found.setdefault(_use(site), []).append(site)
    uses = Counter(map(_use, sites))
    if any(len(found.get(use, [])) not in (0, count) for use, count in uses.items()):
        raise ValueError(
            f"cannot convert {plain_class(training.model).__name__}: its forward uses an "
            "activation more often in training than in evaluation; build the model without that "
            "branch (for example aux_logits=False), or give it activations of its own"
        )
    in_order = {use: iter(found.get(use, [])) for use in uses}
    return [next(in_order[_use(site)], None) for site in sites]


def _use(site: Site) -> tuple[str, str]:
    return site.label, site.activation.kind
