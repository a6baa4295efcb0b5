"""Puts merged convolutions into a graph."""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx, nn

from proprelu._core import Convolution
from proprelu.merge.borders import gather_borders
from proprelu.merge.chains import layers_of, merged_weights, nodes_of
from proprelu.merge.choose import Run
from proprelu.merge.modules import Form, module_of
from proprelu.merge.operations import single_parts


def rewrite(net: fx.GraphModule, runs: Iterable[Run], form: Form) -> None:
    """Replace the operations of runs that are merged.

    Args:
        net: the model that the runs were found in.
        runs: all runs of its chains.
        form: of the new weights.
    """
    for run in runs:
        _apply(net, run, form)
    gather_borders(net)
    net.delete_all_unused_submodules()
    net.graph.lint()  # type: ignore[no-untyped-call]
    net.recompile()


def _apply(net: fx.GraphModule, run: Run, form: Form) -> None:
    if run.merged is None:
        for branch in run.branches:
            for inner in branch:
                _apply(net, inner, form)
        return
    steps = run.chain.steps[run.start : run.end]
    source = run.chain.source if run.start == 0 else run.chain.steps[run.start - 1].node
    # The value that the step before it has now.
    source = source.meta.get("now", source)
    nodes = [node for step in steps for node in nodes_of(step)]
    path = _put(net, run, _module(run, form))
    first = min(nodes, key=list(net.graph.nodes).index)
    with net.graph.inserting_before(first):
        new = net.graph.call_module(path, (source,))
    last = steps[-1].node
    new.meta = {"shape": last.meta["shape"], "dtype": last.meta["dtype"]}
    last.replace_all_uses_with(new)
    last.meta["now"] = new
    for node in sorted(nodes, key=list(net.graph.nodes).index, reverse=True):
        net.graph.erase_node(node)


def _module(run: Run, form: Form) -> nn.Module:
    assert run.merged is not None
    steps = run.chain.steps[run.start : run.end]
    single: list[Convolution] = []
    if run.merged.single:
        single = [merged_weights(part) for part in single_parts(steps)]
    return module_of(merged_weights(steps), single, form)


def _put(net: fx.GraphModule, run: Run, module: nn.Module) -> str:
    """Set a module at the path of the run's first convolution, if nothing else uses it."""
    steps = run.chain.steps[run.start : run.end]
    layers = [layer for step in steps for layer in layers_of(step)]
    layers = [layer for layer in layers if layer.node.op == "call_module"]
    convs = [layer for layer in layers if not layer.is_norm] or layers
    path = convs[0].name if convs else "merged"
    uses = [node for node in net.graph.nodes if node.op == "call_module" and node.target == path]
    if len(uses) > 1 or not convs:
        names = {name for name, _ in net.named_modules()}
        numbers = (f"{path}_{number}" for number in range(1, len(names) + 2))
        path = next(name for name in numbers if name not in names)
        net.add_submodule(path, module)
        return path
    parent, _, name = path.rpartition(".")
    setattr(net.get_submodule(parent), name, module)
    return path
