"""An activation that is being blended into the identity."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from proprelu.graph.functions import FUNCTIONS


def sloped(input: Tensor, activation: str, slope: Tensor, **settings: Any) -> Tensor:
    """Blend an activation with the identity: ``slope * x + (1 - slope) * activation(x)``.

    For a ReLU this is a Leaky ReLU: the plain ReLU at slope 0, and the identity at slope 1.

    Args:
        input: any tensor.
        activation: the name of a function, as in ``dropped``; it is never applied in place.
        slope: (1,), between 0 and 1.
        settings: the arguments of the activation other than its input.

    Returns:
        A tensor of ``input``'s shape and dtype.

    Example:
        >>> import torch
        >>> sloped(torch.tensor([-2.0, 2.0]), "relu", torch.tensor([0.5]))
        tensor([-1.,  2.])
    """
    if has_torch_function((input, slope)):
        result: Tensor = handle_torch_function(
            sloped, (input, slope), input, activation, slope, **settings
        )
        return result
    slope = slope.to(input.device, input.dtype)
    kind = activation.rstrip("_")
    if kind == "relu":
        return F.prelu(input, slope)
    active: Tensor = FUNCTIONS[kind](input, **settings)
    return active + slope * (input - active)
