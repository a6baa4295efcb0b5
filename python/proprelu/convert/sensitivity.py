"""Measures which activations a network can lose."""

import math
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proprelu.convert.calibration import Batch, batches_of
from proprelu.convert.inspect import inspect, need_sites
from proprelu.convert.ranking import Ranking
from proprelu.convert.remove_layers import removing
from proprelu.graph import (
    RECTIFIERS,
    Switch,
    check_changeable,
    copied,
    decide,
    install,
    plain,
)
from proprelu.graph.mode import kept_modes, set_mode
from proprelu.graph.step import first_tensor
from proprelu.merge import Removal, find_removals
from proprelu.progress import Bars

Loss = Callable[[Tensor, Tensor], Tensor]


def sensitivity(
    model: nn.Module,
    data: object,
    loss: Loss | None = None,
    *,
    greedy: bool = False,
    layers: bool = False,
    example_input: object = None,
    activations: Collection[str] = RECTIFIERS,
    progress: bool = True,
) -> Ranking:
    """Measure for each site how much the loss rises when its activation is dropped.

    The model runs in evaluation mode, without gradients, and is not changed. Each batch costs one
    forward, and one more for each site and each layer.

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
        layers: measure as well what it costs to remove each layer and each residual branch that
            ``remove_layers`` can remove; with a budget ``plan_for`` then considers these too.
        example_input: see ``plan_for``.
        activations: see ``plan_for``.
        progress: whether to show a progress bar.

    Returns:
        The ranking: ``convert(model, "2:1", placement=ranking)`` uses it, ``ranking.plot()`` draws
        it. A site that was dropped before costs 0, and one without which no finite output is left
        costs infinity; with a budget it is never dropped.

    Raises:
        ValueError: see ``plan_for``; or the data cannot be read, or have no finite loss; or
            ``greedy`` with ``layers``.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> ranking = sensitivity(net, torch.randn(4, 3, 16, 16), progress=False)
        >>> ranking.sites
        ('1', '3')

    Reference:
        The ratio: Zhao et al., arXiv 1709.06247; this way to choose the ReLUs is ours.
    """
    if greedy and layers:
        raise ValueError("greedy must be False with layers=True, whose costs have to add up")
    check_changeable(model, "measure")
    traced, sites = inspect(model, example_input, activations)
    need_sites(model, sites, activations)
    removals = _removals(model, data, example_input) if layers else ()
    applied = [not site.activation.dropped for site in sites.sites]
    switches = {number: Switch() for number, there in enumerate(applied) if there}
    decide(
        traced, sites.sites, [n not in switches for n in range(len(applied))], switches.__getitem__
    )
    names = [site.name for site in sites.sites]
    with (
        plain(model),
        kept_modes(model),
        torch.no_grad(),
        ExitStack() as stack,
        Bars(shown=progress) as bar,
    ):
        set_mode(model, False)
        install(model, traced)
        removed = {len(applied) + number: each for number, each in enumerate(removals)}
        for number, removal in removed.items():
            switches[number] = stack.enter_context(removing(model, removal))
        measure = _Measurement(model, switches, data, loss)
        costs = measure.greedy(bar) if greedy else measure.all(bar)
    ranking = _ranking(names, costs, greedy)
    found = tuple(costs[number] for number in removed)
    return replace(ranking, layers=tuple(each.name for each in removals), layer_costs=found)


def _removals(model: nn.Module, data: object, example_input: object) -> tuple[Removal, ...]:
    """What can be removed from a model, which is not changed."""
    if example_input is None:
        example_input = next(batches_of(data, model)).images[:2]
    return find_removals(copied(model).eval(), example_input)


def _ranking(names: list[str], costs: dict[int, float], greedy: bool) -> Ranking:
    # A greedy cost is that of all sites dropped so far, which may fall from one site to the next.
    # Costs are raised where needed, so that their order is the order of dropping.
    if greedy:
        highest = -math.inf
        for site in costs:
            highest = costs[site] = max(math.nextafter(highest, math.inf), costs[site])
    unit = "cost of dropping it and all cheaper ones" if greedy else "cost of dropping it"
    name = "greedy" if greedy else "sensitivity"
    return Ranking(name, tuple(names), tuple(costs.get(n, 0.0) for n in range(len(names))), unit)


class _Measurement:
    """Runs a model with some of its activations and layers switched off.

    Args:
        model: the model, with a switch at each site.
        switches: the switches by the number of the site; those of layers have the numbers after.
        data: see ``sensitivity``.
        loss: see ``sensitivity``.
    """

    def __init__(
        self, model: nn.Module, switches: dict[int, Switch], data: object, loss: Loss | None
    ) -> None:
        self.model, self.switches, self.data, self.loss = model, switches, data, loss

    def all(self, bar: Bars) -> dict[int, float]:
        """The cost of dropping each site by itself."""
        task = bar.add_task("sensitivity", total=1)
        costs = self._costs(list(self.switches))
        bar.advance(task)
        return costs

    def greedy(self, bar: Bars) -> dict[int, float]:
        """The cost of dropping each site after all cheaper ones, in this order."""
        task = bar.add_task("sensitivity", total=len(self.switches))
        costs: dict[int, float] = {}
        while len(costs) < len(self.switches):
            measured = self._costs([site for site in self.switches if site not in costs])
            cheapest = min(measured, key=measured.__getitem__)
            costs[cheapest] = measured[cheapest]
            self.switches[cheapest].off = True
            bar.advance(task)
        return costs

    def _costs(self, sites: list[int]) -> dict[int, float]:
        """The mean cost over all batches of dropping each of ``sites`` too."""
        totals, count = dict.fromkeys(sites, 0.0), 0
        for batch in batches_of(self.data, self.model):
            whole, size = self._run(batch), len(batch.images)
            for site in sites:
                self.switches[site].off = True
                output = self._run(batch)
                self.switches[site].off = False
                totals[site] += size * _cost(output, whole, batch.labels, self.loss)
            count += size
        return {site: total / count for site, total in totals.items()}

    def _run(self, batch: Batch) -> Tensor:
        return first_tensor(self.model(batch.images.clone()))  # the model may overwrite its input


def _cost(output: Tensor, whole: Tensor, labels: Tensor | None, loss: Loss | None) -> float:
    if labels is None:
        before = float(whole.float().square().sum().clamp(min=1e-30))
        cost = float((output - whole).float().square().sum()) / before
    else:
        measure = F.cross_entropy if loss is None else loss
        before = float(measure(whole, labels))
        cost = float(measure(output, labels)) - before
    if not math.isfinite(before):
        raise ValueError(
            "model must have finite outputs and losses to be measured, got NaN or infinity; check "
            "its weights, and normalize the images as in its training"
        )
    return math.inf if math.isnan(cost) else cost  # without the activation the values explode
