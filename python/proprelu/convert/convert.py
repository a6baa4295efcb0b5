"""Converts a model to a ratio, and back."""

from collections.abc import Collection
from typing import Any

from torch import nn

from proprelu.convert.anneal import Anneal
from proprelu.convert.learn import learn_placement
from proprelu.convert.parts import Ratios
from proprelu.convert.plan import Placement
from proprelu.convert.ranking import MEASURED, Ranking
from proprelu.convert.sensitivity import sensitivity
from proprelu.convert.surgery import Parts, apply_plan
from proprelu.graph import FUNCTIONS, RECTIFIERS


def convert(
    model: nn.Module,
    ratio: Ratios,
    placement: Placement = "last",
    example_input: object = None,
    inplace: bool = False,
    *,
    skip: Collection[str] = (),
    group: str = "network",
    count_shortcuts: bool = False,
    activations: Collection[str] = RECTIFIERS,
    anneal: Anneal | None = None,
    calibration: object = None,
) -> nn.Module:
    """Convert a network to a ratio of convolutions to ReLUs, by dropping ReLUs.

    The result is a ``torch.fx.GraphModule`` that contains all modules of the model under the same
    names. Parameters, buffers, ``state_dict`` keys and values, dtype, device, ``requires_grad`` and
    mode are those of the model. It follows ``train()`` and ``eval()``, and can be pickled and
    deep-copied. It can be converted again to any ratio: a dropped ReLU remains a site, and 1:1
    restores all of them.

    Not carried over are the methods of the model's class other than ``forward``, and the forward
    hooks of its containers (a warning names them), because the result calls the layers inside the
    containers directly. Hooks on the model itself and on layers are kept.

    Args:
        model: a convolutional network. Its own forward is not changed.
        ratio: see ``plan_for``, which shows the effect without converting.
        placement: see ``plan_for``.
        example_input: see ``plan_for``. If it is needed, the shapes with which the forward computes
            become constants of the result.
        inplace: if False, the result has its own copy of all parameters and buffers; create the
            optimizer from the result. If True, the result shares modules, parameters and buffers
            with ``model``: training one trains the other, no memory is copied, and an optimizer
            over the model's parameters remains valid.
        skip: see ``plan_for``.
        group: see ``plan_for``.
        count_shortcuts: see ``plan_for``.
        activations: see ``plan_for``.
        anneal: turn the dropped sites linear gradually, during ``Trainer.fit`` or by calls of
            ``anneal_step``, so that the accuracy of a trained network does not collapse.
        calibration: the data of ``sensitivity`` for ``placement="sensitivity"``, and of
            ``learn_placement`` for ``placement="learned"``. The weights that ``learn_placement``
            trains are discarded; only its choice is used.

    Returns:
        The converted model.

    Raises:
        ValueError: see ``plan_for``; or ``calibration`` is missing for a placement that is measured
            or learned.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> from proprelu import ratio_of
        >>> print(ratio_of(convert(net, "2:1")))
        2:1

    Reference:
        Zhao et al., "Rethink ReLU to Training Better CNNs", arXiv 1709.06247.
    """
    parts = Parts(skip, group, count_shortcuts)
    if isinstance(placement, str) and placement in MEASURED:
        placement = _measure(
            placement, model, ratio, example_input, parts, activations, calibration
        )
    return apply_plan(model, ratio, placement, example_input, inplace, parts, activations, anneal)


def revert(model: nn.Module, inplace: bool = False) -> nn.Module:
    """Restore all activations of a converted model.

    Args:
        model: the result of ``convert``, also after several conversions.
        inplace: see ``convert``.

    Returns:
        A model with all activations of the original network, and the weights of ``model``.

    Raises:
        ValueError: see ``convert``.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> from proprelu import ratio_of
        >>> print(ratio_of(revert(convert(net, "2:1"))))
        2:2
    """
    return convert(model, "1:1", inplace=inplace, activations=tuple(FUNCTIONS))


def _measure(
    placement: str,
    model: nn.Module,
    ratio: Ratios,
    example_input: object,
    parts: Parts,
    activations: Collection[str],
    calibration: object,
) -> Ranking:
    if calibration is None:
        raise ValueError(
            f'placement "{placement}" needs calibration, got none; pass a batch (images, labels) '
            f"or a DataLoader, or the result of {MEASURED[placement]}() as the placement"
        )
    options: dict[str, Any] = {"example_input": example_input, "activations": activations}
    if placement == "sensitivity":
        return sensitivity(model, calibration, **options)
    return learn_placement(model, ratio, calibration, **options, **parts._asdict())[1]
