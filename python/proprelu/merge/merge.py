"""Merges the linear operations of a model."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from proprelu.graph import plain_class
from proprelu.graph.mode import untouched_random
from proprelu.merge.chains import find_chains, nodes_of
from proprelu.merge.choose import Run, as_recorded, candidates, choose, fold
from proprelu.merge.costs import check_cost, costs_by_name
from proprelu.merge.evaluation import evaluation_graph
from proprelu.merge.modules import form_of
from proprelu.merge.race import why_only_folded
from proprelu.merge.refusals import check_mergeable
from proprelu.merge.report import MergeReport, described
from proprelu.merge.rewrite import rewrite
from proprelu.merge.verify import verify as compare


def merge(
    model: nn.Module, example_input: object, *, cost: str = "latency", verify: bool = True
) -> fx.GraphModule:
    """Make a network for inference that computes the same with fewer operations.

    Where a conversion has dropped the activation between two convolutions, both are one linear
    operation. Batch norms are folded, chains of convolutions become one where that is cheaper, and
    so do the branches of a residual block that has become linear: the identity and 1x1
    convolutions. The result is exact up to rounding, also at the border of the image: where a
    merged convolution reaches over a zero padding, a ``proprelu.nn.BorderedSequential`` or a
    ``proprelu.nn.FramedConv2d`` corrects what is different there.

    What a chain becomes is decided by its cost: dynamic programming finds the cheapest division of
    each chain. With ``cost="latency"`` each candidate is measured, in PyTorch, on this machine, for
    the shapes of the example and the present number of threads. Measured times are stored in the
    cache folder. At the end the whole is timed beside the model with nothing but its batch norms
    folded, which is returned instead if it is faster.

    The result is a ``torch.fx.GraphModule`` with the operations of evaluation mode, since merging
    removes residual additions and the intercepted calls of activations. It is no object of the
    model's class, cannot be trained as the model was, and takes the arguments that the example has.
    It can be pickled, compiled, traced by ``torch.jit``, and exported by ``torch.export`` and to
    ONNX.

    Args:
        model: a network in evaluation mode, such as the result of ``convert``. It is not changed.
        example_input: a batch (N, C, H, W), or a tuple of the forward's arguments. Its shape
            decides what is cheapest, and the corrections of borders are stored for its size; other
            shapes give right results too, unless the forward computes with shapes. If it or a
            weight of the model is in channels_last, times are measured in that format, and the new
            weights are stored in it.
        cost: ``"latency"``, or ``"macs"`` for the number of multiplications.
        verify: whether to compare the result with the model, see ``verify``.

    Returns:
        The merged network. Its attribute ``report`` is a ``MergeReport``, which prints as a table.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: the model is in training mode, wrapped, has hooks, is still being annealed, or
            cannot be traced; or ``cost`` is unknown.
        RuntimeError: the result differs from the model by more than the dtype explains.

    Example:
        >>> import proprelu
        >>> net = nn.Sequential(
        ...     nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)
        ... )
        >>> net = proprelu.convert(net, "1:1", [False]).eval()
        >>> merged = merge(net, torch.randn(1, 3, 16, 16), cost="macs")
        >>> [type(layer).__name__ for layer in merged.children()]
        ['BorderedSequential']

    Reference:
        Kim et al., "Efficient Latency-Aware CNN Depth Compression via Two-Stage Dynamic
        Programming", arXiv 2301.12187, choose what to merge by dynamic programming over tables of
        latencies; the corrections of the border are ours.
    """
    check_cost(cost)
    check_mergeable(model)
    with torch.inference_mode(False):
        return _merge(model, example_input, cost, verify)


@untouched_random()  # new convolutions begin with random weights
def _merge(model: nn.Module, example_input: object, cost: str, verify: bool) -> fx.GraphModule:
    net = evaluation_graph(model, example_input)
    chains, left = find_chains(net)
    form = form_of(net, example_input)
    costs = costs_by_name(cost, form)
    costs.prepare(operation for chain in chains for operation in candidates(chain))
    name = plain_class(model).__name__

    def report_of(ways: list[tuple[Run, ...]]) -> MergeReport:
        merged = tuple(each for runs in ways for each in described(runs, costs))
        nodes = tuple(each for runs in ways for run in runs for each in _names(run))
        return MergeReport(name, cost, merged, tuple(left), nodes)

    chosen = [choose(chain, costs) for chain in chains]
    # What is read from the graph has to be read before it is rewritten.
    report, alone = report_of(chosen), report_of([fold(chain) for chain in chains])
    rewrite(net, (run for runs in chosen for run in runs), form)
    if cost == "latency" and report.nodes != alone.nodes:
        folded = merge_as(model, example_input, alone.nodes)
        note = why_only_folded(net, folded, example_input, form.device)
        if note:
            net, report = folded, replace(alone, note=note)
    comparison = compare(model, net, _numbers(example_input)) if verify else None
    net.report = replace(report, comparison=comparison)  # type: ignore[assignment]
    return net


@untouched_random()
def merge_as(
    model: nn.Module, example_input: object, nodes: Collection[tuple[str, str]]
) -> fx.GraphModule:
    """Merge a model as another one of the same architecture was merged.

    Args:
        model: see ``merge``.
        example_input: see ``merge``.
        nodes: the ``nodes`` of the report of the other one.

    Returns:
        The merged network, without a report. Nothing is measured or compared.

    Raises:
        ValueError: see ``merge``.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)).eval()
        >>> x = torch.randn(1, 3, 8, 8)
        >>> nodes = merge(net, x, cost="macs").report.nodes
        >>> torch.allclose(merge_as(net, x, nodes)(x), net(x), atol=1e-5)
        True
    """
    check_mergeable(model)
    net = evaluation_graph(model, example_input)
    chains = find_chains(net).chains
    form = form_of(net, example_input)
    rewrite(net, (run for chain in chains for run in as_recorded(chain, nodes)), form)
    return net


def _names(run: Run) -> Iterator[tuple[str, str]]:
    """The first and the last node of what was merged."""
    steps = run.chain.steps[run.start : run.end]
    if run.merged is not None:
        yield next(nodes_of(steps[0])).name, steps[-1].node.name
    for branch in run.branches:
        for inner in branch:
            yield from _names(inner)


def _numbers(example_input: object) -> object:
    """The example; random numbers in place of a constant image, which would show few errors."""
    if isinstance(example_input, tuple):
        return tuple(map(_numbers, example_input))
    value: Any = example_input
    if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
        return value
    if bool((value == value.flatten()[0]).all()):
        generator = torch.Generator().manual_seed(0)
        return torch.randn(value.shape, generator=generator, device="cpu").to(value)
    return value
