"""Drops activations from a graph and restores them."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from proprelu.graph.activations import FUNCTIONS, module_settings, settings
from proprelu.graph.dropped import dropped
from proprelu.graph.kinds import Kinds
from proprelu.graph.rewritten import Rewritten
from proprelu.graph.sites import Site, find_sites
from proprelu.graph.sloped import SLOPE, Slope, Slopes, sloped
from proprelu.graph.trace import Traced


def rewrite(
    traced: Traced,
    sites: Sequence[Site],
    keep: Sequence[bool],
    slope: Slope | Slopes | None = None,
) -> Rewritten:
    """Apply a keep mask to a traced model's graph.

    Args:
        traced: the traced model; its graph is changed in place.
        sites: the sites of that graph.
        keep: for each site, whether its activation is applied. A site that was dropped before and
            is kept now gets its activation back.
        slope: blends the sites that are dropped now into the identity gradually, instead of at
            once; ``Slopes`` hold one slope for each site, by its number.

    Returns:
        A module with the model's own parameters and modules, and the new forward.

    Raises:
        ValueError: the forward uses an activation more often in training than in evaluation.
    """
    blended = _apply_mask(traced.model, traced.graph, sites, keep, slope)
    if traced.training is not None:
        same = _same_sites(traced.model, traced.training, sites)
        blended |= _apply_mask(traced.model, traced.training, same, keep, slope)
    # Activations of kinds that do not count as sites now may still read the previous slope.
    in_use = any(node.target == SLOPE for node in traced.graph.nodes)
    modules: dict[str, nn.Module | None] = {} if in_use else {SLOPE: None}
    if blended:
        modules[SLOPE] = slope
    return Rewritten(traced.model, traced.graph, traced.constants, modules, traced.training)


def settle(model: Rewritten) -> None:
    """Replace the sites that a slope has blended into the identity by dropped ones."""
    for graph in filter(None, (model.graph, model.training_graph)):
        for node in list(graph.nodes):
            if node.target is sloped:
                args, given = _mark_of(node)
                _replace(node, dropped, args, given, node.meta["label"])
        for node in [node for node in graph.nodes if node.target == SLOPE]:
            graph.erase_node(node)
    model._modules.pop(SLOPE, None)
    model.recompile()


def _apply_mask(
    model: nn.Module,
    graph: fx.Graph,
    sites: Sequence[Site],
    keep: Sequence[bool],
    slope: Slope | Slopes | None,
) -> bool:
    """Apply the mask to one graph; returns whether any site is blended by the slope."""
    surgery = _Surgery(model, graph)
    for number, (site, kept) in enumerate(zip(sites, keep, strict=True)):
        if kept:
            surgery.restore(site)
        elif slope is None:
            surgery.drop(site)
        else:
            surgery.blend(site, number if isinstance(slope, Slopes) else None)
    surgery.remove_slopes(graph)
    _guard_in_place(model, graph)
    graph.lint()  # type: ignore[no-untyped-call]
    return bool(surgery.slope_nodes)


def _same_sites(model: nn.Module, training: fx.Graph, sites: Sequence[Site]) -> list[Site]:
    """Find the sites of the evaluation graph in the training graph, which may have more."""
    found: dict[tuple[str, str], list[Site]] = {}
    for site in find_sites(Traced(model, training), tuple(FUNCTIONS)).sites:
        found.setdefault(_use(site), []).append(site)
    uses = Counter(map(_use, sites))
    if any(len(found.get(use, [])) != count for use, count in uses.items()):
        raise ValueError(
            f"cannot convert {type(model).__name__}: its forward uses an activation more often in "
            "training than in evaluation; build the model without that branch (for example "
            "aux_logits=False), or give it activations of its own"
        )
    in_order = {use: iter(found[use]) for use in uses}
    return [next(in_order[_use(site)]) for site in sites]


def _use(site: Site) -> tuple[str, str]:
    return site.label, site.activation.kind


class _Surgery:
    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.slopes = [n for n in graph.nodes if n.target == SLOPE]
        self.slope_nodes: dict[int | None, fx.Node] = {}

    def restore(self, site: Site) -> None:
        if not site.activation.dropped:
            return
        args, given = self._mark(site)
        inplace = {"inplace": True} if site.activation.inplace else {}
        _replace(site.node, FUNCTIONS[site.activation.kind], args[:1], given | inplace, site.label)

    def drop(self, site: Site) -> None:
        blended = site.node.target is sloped
        if blended or not site.activation.dropped:
            args, given = self._mark(site)
            _replace(site.node, dropped, args, given, site.label)

    def blend(self, site: Site, number: int | None) -> None:
        if site.activation.dropped and site.node.target is not sloped:
            return
        args, given = self._mark(site)
        args = (*args, self._slope(site.node.graph, number))
        _replace(site.node, sloped, args, given, site.label)

    def remove_slopes(self, graph: fx.Graph) -> None:
        for node in self.slopes:
            if not node.users:
                graph.erase_node(node)

    def _slope(self, graph: fx.Graph, number: int | None) -> fx.Node:
        """The node that reads the slope of one site, or the slope that all sites share."""
        if number not in self.slope_nodes:
            first = next(node for node in graph.nodes if node.op != "placeholder")
            with graph.inserting_before(first):
                node = graph.call_module(SLOPE, () if number is None else (number,))
            node.meta["scope"] = ""
            self.slope_nodes[number] = node
        return self.slope_nodes[number]

    def _mark(self, site: Site) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the mark that replaces a site."""
        node, activation = site.node, site.activation
        if Kinds.is_mark(node):
            return _mark_of(node)
        name = activation.kind + ("_" if activation.inplace else "")
        given = {} if node.op == "call_module" else settings(node)
        if node.op == "call_module":
            given = module_settings(self.modules[str(node.target)])
            if activation.kind == "prelu":
                with node.graph.inserting_before(node):
                    given["weight"] = node.graph.get_attr(f"{node.target}.weight")
        return (node.all_input_nodes[0], name), given


def _mark_of(node: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(node.args[:2]), dict(node.kwargs)


def _replace(
    node: fx.Node,
    function: Callable[..., Tensor],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    label: str,
) -> None:
    with node.graph.inserting_before(node):
        new = node.graph.call_function(function, args, kwargs)
    new.meta["scope"] = node.meta.get("scope", "")
    new.meta["label"] = label  # the site keeps its name
    node.replace_all_uses_with(new)
    node.graph.erase_node(node)


def _guard_in_place(model: nn.Module, graph: fx.Graph) -> None:
    """Copy the input of dropped activations that a later operation overwrites in place.

    The activation's result was a tensor of its own, but its input may have other readers or be
    needed in the backward pass. A dropped in-place activation needs no copy: operations after it
    overwrote its input before the conversion, too.
    """
    kinds = Kinds(model)
    for node in list(graph.nodes):
        written = kinds.writes_to(node)
        while written is not None and not kinds.makes_fresh(written):
            activation = kinds.activation(written)
            if activation is not None and activation.dropped and not activation.inplace:
                _copy_result(written)
                break
            written = next(iter(written.all_input_nodes), None)


def _copy_result(node: fx.Node) -> None:
    with node.graph.inserting_after(node):
        copied = node.graph.call_function(torch.clone, (node,))
    copied.meta["scope"] = node.meta.get("scope", "")
    node.replace_all_uses_with(copied, delete_user_cb=lambda user: user is not copied)
