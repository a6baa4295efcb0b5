"""Dropping activations from a graph, and putting them back."""

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
        traced: its graph is changed.
        sites: those found in that graph.
        keep: for each site, whether its activation is applied. A site that was dropped before and
            is kept now gets its activation back.
        slope: lead the sites that are dropped now to linear by it, instead of at once; `Slopes`
            have one for each site, by its number.

    Returns:
        A module with the model's own parameters and modules, and the new forward.
    """
    led = _operate(traced.model, traced.graph, sites, keep, slope)
    if traced.training is not None:
        same = _same_sites(traced.model, traced.training, sites)
        led |= _operate(traced.model, traced.training, same, keep, slope)
    # activations of kinds that are no sites now may be on their way still
    on_their_way = any(node.target == SLOPE for node in traced.graph.nodes)
    modules: dict[str, nn.Module | None] = {} if on_their_way else {SLOPE: None}
    if led:
        modules[SLOPE] = slope
    return Rewritten(traced.model, traced.graph, traced.constants, modules, traced.training)


def settle(model: Rewritten) -> None:
    """Make the sites of a model that a slope has led to linear what dropped ones are."""
    for graph in filter(None, (model.graph, model.training_graph)):
        for node in list(graph.nodes):
            if node.target is sloped:
                args, told = _mark_of(node)
                _replace(node, dropped, args, told, node.meta["label"])
        for node in [node for node in graph.nodes if node.target == SLOPE]:
            graph.erase_node(node)
    model._modules.pop(SLOPE, None)
    model.recompile()


def _operate(
    model: nn.Module,
    graph: fx.Graph,
    sites: Sequence[Site],
    keep: Sequence[bool],
    slope: Slope | Slopes | None,
) -> bool:
    """Apply the mask to one graph; returns whether a slope leads any site."""
    surgery = _Surgery(model, graph)
    for number, (site, kept) in enumerate(zip(sites, keep, strict=True)):
        if kept:
            surgery.restore(site)
        elif slope is None:
            surgery.drop(site)
        else:
            surgery.lead(site, number if isinstance(slope, Slopes) else None)
    surgery.remove_slopes(graph)
    _guard_in_place(model, graph)
    graph.lint()  # type: ignore[no-untyped-call]
    return bool(surgery.led_by)


def _same_sites(model: nn.Module, training: fx.Graph, sites: Sequence[Site]) -> list[Site]:
    """The sites of the graph of evaluation in that of training, which may have more."""
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
        self.led_by: dict[int | None, fx.Node] = {}

    def restore(self, site: Site) -> None:
        if not site.activation.dropped:
            return
        args, told = self._mark(site)
        inplace = {"inplace": True} if site.activation.inplace else {}
        _replace(site.node, FUNCTIONS[site.activation.kind], args[:1], told | inplace, site.label)

    def drop(self, site: Site) -> None:
        on_its_way = site.node.target is sloped
        if on_its_way or not site.activation.dropped:
            args, told = self._mark(site)
            _replace(site.node, dropped, args, told, site.label)

    def lead(self, site: Site, number: int | None) -> None:
        if site.activation.dropped and site.node.target is not sloped:
            return
        args, told = self._mark(site)
        _replace(site.node, sloped, (*args, self._slope(site.node.graph, number)), told, site.label)

    def remove_slopes(self, graph: fx.Graph) -> None:
        for node in self.slopes:
            if not node.users:
                graph.erase_node(node)

    def _slope(self, graph: fx.Graph, number: int | None) -> fx.Node:
        """The node that reads the slope of a site, or of all."""
        if number not in self.led_by:
            first = next(node for node in graph.nodes if node.op != "placeholder")
            with graph.inserting_before(first):
                node = graph.call_module(SLOPE, () if number is None else (number,))
            node.meta["scope"] = ""
            self.led_by[number] = node
        return self.led_by[number]

    def _mark(self, site: Site) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a mark in the place of a site."""
        node, activation = site.node, site.activation
        if Kinds.is_mark(node):
            return _mark_of(node)
        name = activation.kind + ("_" if activation.inplace else "")
        told = {} if node.op == "call_module" else settings(node)
        if node.op == "call_module":
            told = module_settings(self.modules[str(node.target)])
            if activation.kind == "prelu":
                with node.graph.inserting_before(node):
                    told["weight"] = node.graph.get_attr(f"{node.target}.weight")
        return (node.all_input_nodes[0], name), told


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
    new.meta["label"] = label  # so that its name stays
    node.replace_all_uses_with(new)
    node.graph.erase_node(node)


def _guard_in_place(model: nn.Module, graph: fx.Graph) -> None:
    """Let no in-place operation write through a dropped activation.

    The activation's result was a tensor of its own; what takes its place may be read by others, or
    be wanted in the backward pass. So the place gets a copy again. A dropped in-place activation
    needs none: what came after it wrote into its input before, too.
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
