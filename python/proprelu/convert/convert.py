"""Converting a model to a ratio: the surgery."""

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
    """Make the same network with the ReLUs that a ratio calls for.

    The result is a ``torch.fx.GraphModule`` with all of the model's modules in their places:
    parameters, buffers, ``state_dict`` keys and values, dtype, device, ``requires_grad`` and mode
    are the model's. It follows ``train()`` and ``eval()``, and can be pickled and deep-copied.
    It can be converted again, to any ratio: a dropped ReLU remains a site, and 1:1 puts all back.

    What is not carried over: methods of the model's class other than ``forward``; the forwards of
    its containers, whose operations are now the model's own, and with them the containers'
    forward hooks (a warning names them). Hooks on the model itself and on layers are kept.

    Args:
        model: a convolutional network. Its own forward stays what it was.
        ratio: see :func:`plan_for`, which shows what would be done.
        placement: see :func:`plan_for`.
        example_input: see :func:`plan_for`. Shapes that the forward computes with become part of
            the result, where they had to be taken from here.
        inplace: False: the result has its own copy of everything. True: it shares modules,
            parameters and buffers with ``model``; training one trains the other, no memory is
            spent, and an optimizer over the model's parameters remains good. (With a copy the
            parameters are new: make the optimizer from the result.)
        skip: see :func:`plan_for`.
        group: see :func:`plan_for`.
        count_shortcuts: see :func:`plan_for`.
        activations: see :func:`plan_for`.
        anneal: lead the sites that go to linear step by step, as ``Trainer.fit`` or
            :func:`anneal_step` says, so that a trained network is never broken at once.
        calibration: for ``placement="sensitivity"`` the data of :func:`sensitivity`, for
            ``placement="learned"`` that of :func:`learn_placement`, of whose training the choice
            alone is kept, not the weights.

    Returns:
        The converted model.

    Raises:
        ValueError: see :func:`plan_for`; a placement that is measured or learned, without
            ``calibration``.

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
    """Give a converted model all of its activations back.

    Args:
        model: what :func:`convert` returned, also after several conversions.
        inplace: see :func:`convert`.

    Returns:
        A model with the network's own activations, of every kind, and the weights of ``model``.

    Raises:
        ValueError: see :func:`convert`.

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
            f'placement "{placement}" needs calibration, got none; give a batch (images, labels) '
            f"or a DataLoader, or what {MEASURED[placement]}() returned as the placement"
        )
    options: dict[str, Any] = {"example_input": example_input, "activations": activations}
    if placement == "sensitivity":
        return sensitivity(model, calibration, **options)
    return learn_placement(model, ratio, calibration, **options, **parts._asdict())[1]
