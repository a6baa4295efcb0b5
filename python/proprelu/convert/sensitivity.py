"""Which activations a network can lose: measured."""

import math
from collections.abc import Callable, Collection, Iterable
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from proprelu.convert.calibration import Batch, batches_of
from proprelu.convert.inspect import inspect, need_sites
from proprelu.convert.progress import progress_bar
from proprelu.convert.ranking import Ranking
from proprelu.graph import RECTIFIERS, Traced, find_sites, rewrite
from proprelu.graph.mode import kept_modes
from proprelu.graph.step import first_tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def sensitivity(
    model: nn.Module,
    data: object,
    loss: Loss | None = None,
    *,
    greedy: bool = False,
    example_input: object = None,
    activations: Collection[str] = RECTIFIERS,
    progress: bool = True,
) -> Ranking:
    """Measure what a network loses when a site turns linear, for each site.

    The model runs in evaluation mode, without gradient, and is left as it is. What comes before a
    site is computed once for all that come after it: for each site what follows it runs again, so
    that all of them take half a forward each, on average.

    Args:
        model: a convolutional network, trained: of random weights the result says nothing.
        data: a calibration batch (images, labels), images alone, or an iterable of these such as a
            ``DataLoader``; images as the model takes them. All of it is used, and with ``greedy``
            it is read again and again.
        loss: called with the output and the labels; cross-entropy unless given. Without labels
            the change of the output is measured: squared distance over squared size.
        greedy: turn the cheapest site linear for good, measure the others again, and so on, for
            each number of sites: the square of the time, and sites that can replace each other
            are seen.
        example_input: see :func:`plan_for`.
        activations: see :func:`plan_for`.
        progress: whether to show a progress bar.

    Returns:
        The ranking: ``convert(model, "2:1", placement=ranking)``; ``ranking.plot()`` draws it. A
        site that was dropped before costs nothing.

    Raises:
        ValueError: see :func:`plan_for`; data that can't be read.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> ranking = sensitivity(net, torch.randn(4, 3, 16, 16), progress=False)
        >>> ranking.sites
        ('1', '3')

    Reference:
        The ratio: Zhao et al., arXiv 1709.06247; this choice of the ReLUs is ours.
    """
    traced, sites = inspect(model, example_input, activations)
    need_sites(model, sites, activations)
    applied = [not site.activation.dropped for site in sites.sites]
    network = rewrite(traced, sites.sites, applied)  # a graph of its own, the model's modules
    found = find_sites(Traced(network, network.graph), activations).sites
    nodes = [site.node for site, there in zip(found, applied, strict=True) if there]
    rounds = len(nodes) if greedy else 1
    costs: dict[fx.Node, float] = {}
    shown = progress_bar(progress)
    with kept_modes(network), torch.no_grad(), shown as bar:
        network.eval()
        task = bar.add_task("sensitivity", total=rounds)
        for _ in range(rounds):
            left = [node for node in nodes if not greedy or node not in costs]
            gone = set(costs) if greedy else set()
            measured = _measure(network, left, gone, batches_of(data, network), loss)
            if greedy:
                cheapest = min(left, key=measured.__getitem__)
                costs[cheapest] = measured[cheapest]
            else:
                costs = measured
            bar.advance(task)
    return _ranking([site.name for site in found], [site.node for site in found], costs, greedy)


def _ranking(
    names: list[str], nodes: list[fx.Node], costs: dict[fx.Node, float], greedy: bool
) -> Ranking:
    # a greedy cost is that of all who went until then, and may fall: who went first goes first
    if greedy:
        highest = -math.inf
        for node in costs:
            highest = costs[node] = max(math.nextafter(highest, math.inf), costs[node])
    unit = "what all that went until then cost" if greedy else "what is lost without it"
    name = "greedy" if greedy else "sensitivity"
    return Ranking(name, tuple(names), tuple(costs.get(node, 0.0) for node in nodes), unit)


def _measure(
    network: fx.GraphModule,
    sites: list[fx.Node],
    gone: set[fx.Node],
    batches: Iterable[Batch],
    loss: Loss | None,
) -> dict[fx.Node, float]:
    """What the network loses without each of some sites, over all batches."""
    totals, count = dict.fromkeys(sites, 0.0), 0
    for batch in batches:
        walk = _Walk(network, gone, batch.images)
        outputs = {}
        for site in sites:
            walk.to(site)
            outputs[site] = walk.without(site)
        whole = walk.end()
        size = len(batch.images)
        for site, output in outputs.items():
            totals[site] += size * _cost(output, whole, batch.labels, loss)
        count += size
    return {site: total / count for site, total in totals.items()}


def _cost(output: Tensor, whole: Tensor, labels: Tensor | None, loss: Loss | None) -> float:
    if labels is None:
        size = whole.float().square().sum().clamp(min=1e-30)
        return float((output - whole).float().square().sum() / size)
    measure = F.cross_entropy if loss is None else loss
    return float(measure(output, labels) - measure(whole, labels))


class _Walk:
    """Runs a graph node by node, and from any place to the end with a site left out."""

    def __init__(self, network: fx.GraphModule, gone: set[fx.Node], images: Tensor) -> None:
        self.runner = fx.Interpreter(network)
        self.nodes = list(network.graph.nodes)
        self.gone = gone
        self.values: dict[fx.Node, Any] = {}
        self.next = 0
        placeholders = [node for node in self.nodes if node.op == "placeholder"]
        for i, node in enumerate(placeholders):
            # the network may overwrite its input
            self.values[node] = images.clone() if i == 0 else (node.args[0] if node.args else None)

    def to(self, site: fx.Node) -> None:
        """Run what stands before a site."""
        while self.nodes[self.next] is not site:
            self._run(self.nodes[self.next], self.values, self.gone)
            self.next += 1

    def without(self, site: fx.Node) -> Tensor:
        """The output with ``site`` left out too; the walk stays where it is."""
        shared: dict[int, Any] = {}  # what is written in place is seen by one run alone
        values = {node: deepcopy(value, shared) for node, value in self.values.items()}
        return self._finish(values, self.gone | {site})

    def end(self) -> Tensor:
        """The output of the walk itself."""
        return self._finish(self.values, self.gone)

    def _finish(self, values: dict[fx.Node, Any], gone: set[fx.Node]) -> Tensor:
        output: Any = None
        for node in self.nodes[self.next :]:
            output = self._run(node, values, gone)
        return first_tensor(output)

    def _run(self, node: fx.Node, values: dict[fx.Node, Any], gone: set[fx.Node]) -> Any:
        if node.op != "placeholder":
            self.runner.env = values
            if node in gone:
                values[node] = values[node.all_input_nodes[0]].clone()
            else:
                values[node] = self.runner.run_node(node)
        for last in self.runner.user_to_last_uses.get(node, []):
            if last is not node:
                values.pop(last, None)
        return values[node]
