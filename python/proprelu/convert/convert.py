"""Converts a model to a ratio, and back."""

from collections.abc import Collection
from typing import Any

import torch
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
    verify: bool | None = None,
) -> nn.Module:
    """Convert a network to a ratio of convolutions to ReLUs, by dropping ReLUs.

    The result is the model, or a copy of it: an object of its class that runs its own forward.
    Only the calls of activations are intercepted, so that everything around them stays: hooks,
    methods, optional arguments, random numbers, ``no_grad``, custom backwards. Parameters, buffers,
    ``state_dict`` keys and values, dtype, device, ``requires_grad`` and mode are those of the
    model. The result can be pickled, deep-copied, compiled and exported. It can be converted again
    to any ratio: a dropped ReLU remains a site, and 1:1 restores all of them.

    The conversion is verified where it costs less than about a second: with every activation still
    applied, outputs and gradients have to be those of the model, and each activation has to be met
    where it was found.

    Args:
        model: a convolutional network.
        ratio: see ``plan_for``, which shows the effect without converting.
        placement: see ``plan_for``.
        example_input: see ``plan_for``.
        inplace: if False, the result is a copy with its own parameters and buffers; create the
            optimizer from the result. If True, ``model`` itself is converted and returned: no
            memory is copied, and an optimizer over its parameters remains valid.
        skip: see ``plan_for``.
        group: see ``plan_for``.
        count_shortcuts: see ``plan_for``.
        activations: see ``plan_for``.
        anneal: turn the dropped sites linear gradually, during ``Trainer.fit`` or by calls of
            ``anneal_step``, so that the accuracy of a trained network does not collapse.
        calibration: the data of ``sensitivity`` for ``placement="sensitivity"``, and of
            ``learn_placement`` for ``placement="learned"``. The weights that ``learn_placement``
            trains are discarded; only its choice is used.
        verify: True verifies in any case, False not at all. Without an ``example_input`` an input
            is made up from the first convolution.

    Returns:
        The converted model.

    Raises:
        ValueError: see ``plan_for``; or ``calibration`` is missing for a placement that is measured
            or learned; or ``verify`` and no input is known.
        RuntimeError: the verification failed; the message names the operation that differs.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> from proprelu import ratio_of
        >>> print(ratio_of(convert(net, "2:1")))
        2:1

    Reference:
        Zhao et al., "Rethink ReLU to Training Better CNNs", arXiv 1709.06247.
    """
    parts = Parts(skip, group, count_shortcuts)
    # A copy that is made under inference mode could not be trained.
    with torch.inference_mode(False):
        if isinstance(placement, str) and placement in MEASURED:
            placement = _measure(
                placement, model, ratio, example_input, parts, activations, calibration
            )
        return apply_plan(
            model, ratio, placement, example_input, inplace, parts, activations, anneal, verify
        )


def revert(model: nn.Module, inplace: bool = False, *, example_input: object = None) -> nn.Module:
    """Restore all activations of a converted model.

    Args:
        model: the result of ``convert``, also after several conversions.
        inplace: see ``convert``.
        example_input: see ``plan_for``.

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
    return convert(
        model, "1:1", example_input=example_input, inplace=inplace, activations=tuple(FUNCTIONS)
    )


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
