"""Measures which activations a network can lose."""

import math
from collections.abc import Callable, Collection, Iterable
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from proprelu.convert.calibration import Batch, batches_of
from proprelu.convert.inspect import inspect, need_sites
from proprelu.convert.ranking import Ranking
from proprelu.graph import RECTIFIERS, Traced, find_sites, rewrite
from proprelu.graph.mode import kept_modes
from proprelu.graph.step import first_tensor
from proprelu.progress import Bars

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
    """Measure for each site how much the loss rises when its activation is dropped.

    The model runs in evaluation mode, without gradients, and is not changed. The operations before
    a site run once for all later sites, and those after it run once for each site, which costs half
    a forward per site on average.

    Args:
        model: a trained convolutional network; with random weights the result means nothing.
        data: a calibration batch (images, labels), only images, or an iterable of these such as a
            ``DataLoader``; the images are inputs of the model. All of it is used, and with
            ``greedy`` it is read once for each site.
        loss: called with the output and the labels; the default is cross-entropy. Without labels
            the relative change of the output is measured: its squared distance from the original
            output, divided by the squared norm of the original output.
        greedy: drop the cheapest site, measure the others again, and so on. The time grows with the
            square of the number of sites, but sites that can replace each other are recognized.
        example_input: see ``plan_for``.
        activations: see ``plan_for``.
        progress: whether to show a progress bar.

    Returns:
        The ranking: ``convert(model, "2:1", placement=ranking)`` uses it, ``ranking.plot()`` draws
        it. A site that was dropped before costs 0.

    Raises:
        ValueError: see ``plan_for``; or the data cannot be read.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> ranking = sensitivity(net, torch.randn(4, 3, 16, 16), progress=False)
        >>> ranking.sites
        ('1', '3')

    Reference:
        The ratio: Zhao et al., arXiv 1709.06247; this way to choose the ReLUs is ours.
    """
    traced, sites = inspect(model, example_input, activations)
    need_sites(model, sites, activations)
    applied = [not site.activation.dropped for site in sites.sites]
    network = rewrite(traced, sites.sites, applied)  # has its own graph, shares the modules
    found = find_sites(Traced(network, network.graph), activations).sites
    nodes = [site.node for site, there in zip(found, applied, strict=True) if there]
    rounds = len(nodes) if greedy else 1
    costs: dict[fx.Node, float] = {}
    shown = Bars(shown=progress)
    with kept_modes(network), torch.no_grad(), shown as bar:
        network.eval()
        task = bar.add_task("sensitivity", total=rounds)
        for _ in range(rounds):
            remaining = [node for node in nodes if not greedy or node not in costs]
            dropped = set(costs) if greedy else set()
            measured = _measure(network, remaining, dropped, batches_of(data, network), loss)
            if greedy:
                cheapest = min(remaining, key=measured.__getitem__)
                costs[cheapest] = measured[cheapest]
            else:
                costs = measured
            bar.advance(task)
    return _ranking([site.name for site in found], [site.node for site in found], costs, greedy)


def _ranking(
    names: list[str], nodes: list[fx.Node], costs: dict[fx.Node, float], greedy: bool
) -> Ranking:
    # A greedy cost is that of all sites dropped so far, which may fall from one site to the next.
    # Costs are raised where needed, so that their order is the order of dropping.
    if greedy:
        highest = -math.inf
        for node in costs:
            highest = costs[node] = max(math.nextafter(highest, math.inf), costs[node])
    unit = "cost of dropping it and all cheaper ones" if greedy else "cost of dropping it"
    name = "greedy" if greedy else "sensitivity"
    return Ranking(name, tuple(names), tuple(costs.get(node, 0.0) for node in nodes), unit)


def _measure(
    network: fx.GraphModule,
    sites: list[fx.Node],
    dropped: set[fx.Node],
    batches: Iterable[Batch],
    loss: Loss | None,
) -> dict[fx.Node, float]:
    """The mean cost over all batches of dropping each of ``sites``, in addition to ``dropped``."""
    totals, count = dict.fromkeys(sites, 0.0), 0
    for batch in batches:
        walk = _Walk(network, dropped, batch.images)
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
    """Runs a graph node by node, and can finish it from any node with one site dropped.

    Args:
        network: the model.
        dropped: the sites that are dropped in all runs.
        images: the input.
    """

    def __init__(self, network: fx.GraphModule, dropped: set[fx.Node], images: Tensor) -> None:
        self.runner = fx.Interpreter(network)
        self.nodes = list(network.graph.nodes)
        self.dropped = dropped
        self.values: dict[fx.Node, Any] = {}
        self.next = 0
        placeholders = [node for node in self.nodes if node.op == "placeholder"]
        for i, node in enumerate(placeholders):
            # Copied because the network may overwrite its input.
            self.values[node] = images.clone() if i == 0 else (node.args[0] if node.args else None)

    def to(self, site: fx.Node) -> None:
        """Run the nodes before ``site``."""
        while self.nodes[self.next] is not site:
            self._run(self.nodes[self.next], self.values, self.dropped)
            self.next += 1

    def without(self, site: fx.Node) -> Tensor:
        """The output with ``site`` dropped too; the position of the walk does not change."""
        memo: dict[int, Any] = {}  # copied values alias each other as the originals do
        values = {node: deepcopy(value, memo) for node, value in self.values.items()}
        return self._finish(values, self.dropped | {site})

    def end(self) -> Tensor:
        """The output without further dropped sites."""
        return self._finish(self.values, self.dropped)

    def _finish(self, values: dict[fx.Node, Any], dropped: set[fx.Node]) -> Tensor:
        output: Any = None
        for node in self.nodes[self.next :]:
            output = self._run(node, values, dropped)
        return first_tensor(output)

    def _run(self, node: fx.Node, values: dict[fx.Node, Any], dropped: set[fx.Node]) -> Any:
        if node.op != "placeholder":
            self.runner.env = values
            if node in dropped:
                values[node] = values[node.all_input_nodes[0]].clone()
            else:
                values[node] = self.runner.run_node(node)
        for last in self.runner.user_to_last_uses.get(node, []):
            if last is not node:
                values.pop(last, None)
        return values[node]
