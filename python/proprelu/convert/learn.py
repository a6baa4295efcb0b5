"""Learns during training which activations a network can lose."""

import math
from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proprelu.convert.calibration import Batch, batches_of
from proprelu.convert.inspect import inspect, need_sites
from proprelu.convert.parts import Ratios
from proprelu.convert.plan import make_plan
from proprelu.convert.ranking import Ranking
from proprelu.convert.surgery import Parts, apply_plan
from proprelu.convert.verify import verify_conversion
from proprelu.graph import RECTIFIERS, Blend, Slopes, decide, install
from proprelu.graph.mode import kept_modes
from proprelu.graph.step import first_tensor
from proprelu.progress import Bars

Loss = Callable[[Tensor, Tensor], Tensor]


def learn_placement(
    model: nn.Module,
    ratio: Ratios,
    data: object,
    epochs: int = 1,
    loss: Loss | None = None,
    *,
    lr: float = 0.01,
    slope_lr: float = 0.05,
    penalty: float = 1.0,
    example_input: object = None,
    inplace: bool = False,
    skip: Collection[str] = (),
    group: str = "network",
    count_shortcuts: bool = False,
    activations: Collection[str] = RECTIFIERS,
    progress: bool = True,
) -> tuple[nn.Module, Ranking]:
    """Train a network together with the choice of the activations that it loses.

    Each site computes ``a * x + (1 - a) * activation(x)``. The slope ``a`` of each site, 0 to 1, is
    trained with the weights. A penalty of ``penalty * t**2 * sum((a - goal)**2)``, with ``t``
    rising from 0 to 1 during the training, pulls the largest slopes, as many as the ratio drops,
    towards 1 and the others towards 0. At the end the former sites are dropped, and the latter
    become plain activations.

    Training is plain PyTorch, SGD with momentum 0.9 and a cosine schedule, on the model's device.

    Args:
        model: a convolutional network; it is not changed, unless ``inplace``.
        ratio: see ``plan_for``.
        data: batches to train with, normalized images and labels; a ``DataLoader`` or a list is
            read once per epoch.
        epochs: the number of passes over ``data``, at least 1.
        loss: called with the output and the labels; the default is cross-entropy.
        lr: the initial learning rate of the weights; 0 leaves them unchanged.
        slope_lr: the initial learning rate of the slopes.
        penalty: the weight of the penalty at the end.
        example_input: see ``plan_for``.
        inplace: train the model's own parameters; see ``convert``.
        skip: see ``plan_for``.
        group: see ``plan_for``.
        count_shortcuts: see ``plan_for``.
        activations: see ``plan_for``.
        progress: whether to show a progress bar.

    Returns:
        The converted and trained model, in the mode of ``model``; and the ranking by the final
        slopes, which can be the placement for another model of the same architecture.

    Raises:
        ValueError: see ``plan_for``; or the data has no labels, or a setting is out of range.
        FloatingPointError: the loss is no longer finite.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        ...                     nn.Flatten(), nn.LazyLinear(10))
        >>> batch = torch.randn(8, 3, 8, 8), torch.randint(10, (8,))
        >>> _ = net(batch[0])
        >>> learned, ranking = learn_placement(net, "2:1", [batch], epochs=5, progress=False)
        >>> from proprelu import ratio_of
        >>> print(ratio_of(learned))
        2:1

    Reference:
        The ratio: Zhao et al., arXiv 1709.06247; this way to choose the ReLUs is ours.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    own = apply_plan(
        model, "1:1", "last", example_input, inplace, activations=activations, verify=False
    )
    traced, sites = inspect(own, example_input, activations)
    need_sites(own, sites, activations)
    parts = Parts(skip, group, count_shortcuts)
    names = [site.name for site in sites.sites]
    slopes = Slopes(len(names)).to(next(own.parameters()))
    decide(traced, sites.sites, [False] * len(names), lambda site: Blend(slopes, site))
    verify_conversion(own, traced, example_input)
    install(own, traced)

    def plan_of(values: Tensor) -> tuple[list[bool], Ranking]:
        unit = "distance from linear (1 - slope)"
        ranking = Ranking("learned", tuple(names), tuple((1 - values).tolist()), unit)
        return make_plan(own, sites, ratio, ranking, *parts).keep, ranking

    def goal() -> Tensor:
        keep, _ = plan_of(slopes.values.detach())
        return 1 - torch.tensor(keep, dtype=slopes.values.dtype, device=slopes.values.device)

    learner = _Learner(own, slopes, goal, loss or F.cross_entropy, (lr, slope_lr), penalty)
    with kept_modes(own):
        own.train()
        learner.train(data, epochs, progress)
    keep, ranking = plan_of(slopes.values.detach())
    learned = apply_plan(
        own, "1:1", keep, example_input, inplace=True, activations=activations, verify=False
    )
    return learned, ranking


class _Learner:
    """Trains the weights and the slopes.

    Args:
        soft: the network with a slope at each site.
        slopes: the slopes.
        goal: returns the final value of each slope, 0 or 1, that follows from the current slopes.
        loss: called with the output and the labels.
        rates: the initial learning rates of the weights and of the slopes.
        penalty: the weight of the penalty at the end.
    """

    def __init__(
        self,
        soft: nn.Module,
        slopes: Slopes,
        goal: Callable[[], Tensor],
        loss: Loss,
        rates: tuple[float, float],
        penalty: float,
    ) -> None:
        self.soft, self.slopes, self.goal, self.loss = soft, slopes, goal, loss
        self.rates, self.penalty = rates, penalty
        weights = [p for p in soft.parameters() if p.requires_grad]
        groups = [{"params": weights, "lr": rates[0]}, {"params": [slopes.values], "lr": rates[1]}]
        self.optimizer = torch.optim.SGD(groups, momentum=0.9)

    def train(self, data: object, epochs: int, progress: bool) -> None:
        steps = 0  # the steps of one epoch; counted in the first one
        with Bars(shown=progress) as bar:
            task = bar.add_task("learning the placement", total=epochs)
            for epoch in range(epochs):
                step = -1
                for step, batch in enumerate(batches_of(data, self.soft)):
                    part = min((step + 1) / steps, 1.0) if steps else 1.0
                    self._step(batch, (epoch + part) / epochs)
                steps = step + 1
                bar.advance(task)

    def _step(self, batch: Batch, t: float) -> None:
        """Make one update; ``t`` is the fraction of the training that is done after it."""
        if batch.labels is None:
            raise ValueError("data must hold labels to learn a placement, got only images")
        for rate, group in zip(self.rates, self.optimizer.param_groups, strict=True):
            group["lr"] = rate * (0.55 + 0.45 * math.cos(math.pi * t))
        loss = self.loss(first_tensor(self.soft(batch.images)), batch.labels)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss became {loss.item()}; use a lower lr")
        distance = (self.slopes.values - self.goal()).square().sum()
        self.optimizer.zero_grad()
        torch.autograd.backward(loss + self.penalty * t * t * distance)
        self.optimizer.step()
        with torch.no_grad():
            self.slopes.values.clamp_(0, 1)
