"""Dropping activations from a graph, and putting them back."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from proprelu.graph.dropped import dropped
from proprelu.graph.kinds import Kinds
from proprelu.graph.rewritten import Rewritten
from proprelu.graph.sites import Site
from proprelu.graph.trace import Traced

_FUNCTIONS = {"relu": F.relu, "relu6": F.relu6}


def rewrite(traced: Traced, sites: Sequence[Site], keep: Sequence[bool]) -> Rewritten:
    """Apply a keep mask to a traced model's graph.

    Args:
        traced: its graph is changed.
        sites: those found in that graph.
        keep: for each site, whether its activation is applied. A site that was dropped before and
            is kept now gets its activation back.

    Returns:
        A module with the model's own parameters and modules, and the new forward.
    """
    for site, kept in zip(sites, keep, strict=True):
        if kept and site.activation.dropped:
            _restore(site)
        elif not kept and not site.activation.dropped:
            _drop(site)
    _guard_in_place(traced)
    traced.graph.lint()  # type: ignore[no-untyped-call]
    return Rewritten(traced.model, traced.graph, traced.constants)


def _drop(site: Site) -> None:
    name = site.activation.kind + ("_" if site.activation.inplace else "")
    _replace(site, dropped, (site.node.all_input_nodes[0], name), {})


def _restore(site: Site) -> None:
    function = _FUNCTIONS[site.activation.kind]
    inputs = (site.node.all_input_nodes[0],)
    _replace(site, function, inputs, {"inplace": True} if site.activation.inplace else {})


def _replace(
    site: Site, function: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    node = site.node
    with node.graph.inserting_before(node):
        new = node.graph.call_function(function, args, kwargs)
    new.meta["scope"] = node.meta.get("scope", "")
    new.meta["label"] = site.label  # so that its name stays
    node.replace_all_uses_with(new)
    node.graph.erase_node(node)


def _guard_in_place(traced: Traced) -> None:
    """Let no in-place operation write through a dropped activation.

    The activation's result was a tensor of its own; what takes its place may be read by others, or
    be wanted in the backward pass. So the place gets a copy again. A dropped in-place activation
    needs none: what came after it wrote into its input before, too.
    """
    kinds = Kinds(traced.model)
    for node in list(traced.graph.nodes):
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
