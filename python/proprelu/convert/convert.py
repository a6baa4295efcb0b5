"""Converting a model to a ratio: the surgery."""

import warnings
from copy import deepcopy

from torch import nn

from proprelu.convert.inspect import inspect, need_sites
from proprelu.convert.plan import Placement, RatioLike, make_plan
from proprelu.graph import Rewritten, Traced, rewrite


def convert(
    model: nn.Module,
    ratio: RatioLike,
    placement: Placement = "last",
    example_input: object = None,
    inplace: bool = False,
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

    Returns:
        The converted model.

    Raises:
        ValueError: see :func:`plan_for`.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> from proprelu import ratio_of
        >>> print(ratio_of(convert(net, "2:1")))
        2:1

    Reference:
        Zhao et al., "Rethink ReLU to Training Better CNNs", arXiv 1709.06247.
    """
    traced, sites = inspect(model, example_input)
    need_sites(model, sites)
    plan = make_plan(model, sites, ratio, placement)
    _warn_of_lost_hooks(traced)
    converted = rewrite(traced, sites.sites, plan.keep)
    return converted if inplace else deepcopy(converted)


def _warn_of_lost_hooks(traced: Traced) -> None:
    if isinstance(traced.model, Rewritten):  # warned when it was made
        return
    called = {str(node.target) for node in traced.graph.nodes if node.op == "call_module"}
    lost = [
        path
        for path, module in traced.model.named_modules()
        if path
        and (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
        and not any(path == name or path.startswith(name + ".") for name in called)
    ]
    if lost:
        warnings.warn(
            f"the hooks on {', '.join(lost)} will not run in the converted model, as its forward "
            "calls the layers inside directly; hook those layers instead",
            UserWarning,
            stacklevel=3,
        )
